import base64
import errno
import gzip
import io
import os
import subprocess
import tarfile
import zlib
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendit import archive
from sendit.archive import Archive, ArchiveInfo
from sendit.errors import FailBatch, RetryLater

NAMES = st.text(
    st.characters(blacklist_characters="\0/\n", blacklist_categories=["Cs"]), min_size=1
).filter(lambda name: name.strip(".") != "")
MEMBERS = st.dictionaries(NAMES, st.lists(st.binary(max_size=2000), max_size=4), max_size=8)


def write(path: Path, members: dict[str, list[bytes]]) -> ArchiveInfo:
    with Archive(path) as writer:
        for name, parts in members.items():
            writer.add(name, *map(memoryview, parts))
        return writer.close()


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:gz") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


@settings(max_examples=60)
@given(members=MEMBERS)
def test_tarfile_reads_the_archive(members, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "a.tar.gz"
    info = write(path, members)
    assert read(path) == {name: b"".join(parts) for name, parts in members.items()}
    assert info.members == len(members)


def test_gnu_tar_reads_the_archive_without_warnings(tmp_path):
    members = {"S1_1_1.dcm": [b"x" * 513], "é" * 60: [b"long"], "n" * 200: [b"longer"]}
    path = tmp_path / "a.tar.gz"
    write(path, members)
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        ["tar", "-xzf", path, "-C", out], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        name: b"".join(parts) for name, parts in members.items()
    }


def test_archive_bytes_are_deterministic(tmp_path):
    members = {f"S_{n}.dcm": [os.urandom(700), b"y" * 3_000_000] for n in range(3)}
    first, second = tmp_path / "first.tar.gz", tmp_path / "sub" / "second.tar.gz"
    second.parent.mkdir()
    write(first, members)
    os.utime(first, (1, 1))
    write(second, members)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:10] == b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    with tarfile.open(first) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.mode) == (archive.MTIME, 0, 0, 0o644)
            assert (info.uname, info.gname) == ("", "")


def test_checksums_match_the_file(tmp_path):
    path = tmp_path / "a.tar.gz"
    info = write(path, {"a": [b"abc" * 1000]})
    data = path.read_bytes()
    assert info.path == path
    assert info.size == len(data)
    assert base64.b64decode(info.crc32c) == google_crc32c.Checksum(data).digest()


def test_memoryviews_are_measured_in_bytes(tmp_path):
    wide = memoryview(bytes(range(64))).cast("I")
    path = tmp_path / "a.tar.gz"
    with Archive(path) as writer:
        writer.add("a", wide, wide)
        writer.close()
    assert read(path)["a"] == bytes(range(64)) * 2


def test_sizes_beyond_ustar_use_a_pax_header():
    size = archive.USTAR_MAX + 1
    assert len(archive._headers("a", size - 1)) == archive.BLOCK
    for length in (size, size - 1):
        header = io.BytesIO(archive._headers("big.dcm", length))
        with tarfile.open(fileobj=header) as tar:
            info = tar.next()
        assert (info.name, info.size) == ("big.dcm", length)


def test_data_after_pixels_can_be_inflated_separately(tmp_path):
    pixels = os.urandom(archive.BULK)
    path = tmp_path / "a.tar.gz"
    write(path, {"a": [b"head", pixels], "b": [b"next"]})
    data = path.read_bytes()
    marker = b"\0\0\xff\xff"
    after = data.rindex(marker) + len(marker)
    follows = zlib.decompressobj(-15).decompress(data[after:])
    assert follows.lstrip(b"\0")[:100].rstrip(b"\0") == b"b"


def test_the_file_appears_only_on_close(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"older")
    with Archive(path) as writer:
        writer.add("a", b"x")
        assert path.read_bytes() == b"older"
        writer.close()
    assert read(path) == {"a": b"x"}
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_partial_file(tmp_path):
    with pytest.raises(KeyError), Archive(tmp_path / "a.tar.gz") as writer:
        writer.add("a", os.urandom(100_000))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_duplicate_member_names_are_refused(tmp_path):
    with pytest.raises(FailBatch), Archive(tmp_path / "a.tar.gz") as writer:
        writer.add("a", b"1")
        writer.add("a", b"2")
    assert not list(tmp_path.iterdir())


def test_empty_archive(tmp_path):
    path = tmp_path / "a.tar.gz"
    assert write(path, {}).members == 0
    assert gzip.decompress(path.read_bytes()) == bytes(1024)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EIO, "Input/output error")]
)
def test_disk_errors_contain_no_path(tmp_path, monkeypatch, number, words):
    def fail(*_):
        raise OSError(number, os.strerror(number), str(tmp_path))

    writer = Archive(tmp_path / "a.tar.gz")
    monkeypatch.setattr(archive.os, "write", fail)
    with pytest.raises(RetryLater, match=words) as caught:
        writer.add("a", os.urandom(3_000_000))
        writer.close()
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_error_contains_no_path(tmp_path):
    with pytest.raises(RetryLater) as caught:
        Archive(tmp_path / "missing" / "a.tar.gz")
    assert "missing" not in str(caught.value)


def test_a_finished_archive_is_invisible_until_closed(tmp_path):
    path = tmp_path / "a.tar.gz"
    with Archive(path) as writer:
        writer.add("a", b"x")
        finished = writer.finish()
        assert not path.exists()
        assert read(finished.path) == {"a": b"x"}
        closed = writer.close()
    assert closed.path == path
    assert (closed.size, closed.crc32c) == (finished.size, finished.crc32c)
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_but_unclosed_archive_leaves_no_file(tmp_path):
    with Archive(tmp_path / "a.tar.gz") as writer:
        writer.add("a", b"x")
        writer.finish()
    assert not list(tmp_path.iterdir())


def test_pax_header_is_stable():
    """The header's own name is part of the bytes, which must be the same in every version and
    place.
    """
    long = "ä" * 60
    header = archive._headers(long, 5)
    assert len(header) == 3 * 512
    assert header[:4] == b"pax\0"
    assert header[156:157] == b"x"
    assert header[512 : 512 + 130] == b"130 path=" + long.encode() + b"\n"
    assert header[1024 : 1024 + 61] == b"?" * 60 + b"\0"
    assert archive._headers("a.dcm", 5)[:6] == b"a.dcm\0"
    assert len(archive._headers("a.dcm", 5)) == 512


def test_a_closed_archive_survives_a_later_error(tmp_path):
    with pytest.raises(ValueError, match="later"), Archive(tmp_path / "a.tar.gz") as made:
        made.add("a", b"b")
        made.close()
        (tmp_path / f"a.tar.gz{archive.PART_SUFFIX}").write_bytes(b"another worker's")
        raise ValueError("later")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.tar.gz",
        f"a.tar.gz{archive.PART_SUFFIX}",
    ]
    with pytest.raises(ValueError, match="closed"):
        made.finish()
