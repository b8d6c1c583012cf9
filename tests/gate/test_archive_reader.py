"""The gate's archive reader: reads the whole archive, and rejects anything else."""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit

from sendit.archive import BULK, Archive
from sendit.gate import archive_reader
from sendit.gate.archive_reader import (
    OVERLAP,
    Damaged,
    Head,
    Pixels,
    Totals,
    Unreadable,
    read_archive,
)
from testing.builder import end_with_pixels, make_dataset, to_bytes
from testing.operations import calls_of


def archive(path: Path, *, side: int = 512, count: int = 3) -> bytes:
    """Write an archive of images with skipped pixels and return its bytes."""
    with Archive(path) as writer:
        for number in range(1, count + 1):
            dataset = make_dataset(instance=number, rows=side, columns=side)
            end_with_pixels(dataset)
            data = to_bytes(dataset)
            pixels = side * side * 2
            writer.add(f"{number}.dcm", data[:-pixels], memoryview(data)[-pixels:])
        writer.close()
    return path.read_bytes()


def read(path: Path, *, thorough: bool = False) -> Totals:
    totals = Totals()
    heads = [
        part for part in read_archive(path, totals, thorough=thorough) if isinstance(part, Head)
    ]
    assert [head.number for head in heads] == [*range(1, totals.members + 1)]
    return totals


def test_pixels_are_skipped_and_counted(tmp_path: Path) -> None:
    whole = zlib.decompress(archive(tmp_path / "a.tar.gz"), 31)
    assert BULK < 512 * 512 * 2
    totals = read(tmp_path / "a.tar.gz")
    assert totals.members == 3
    assert 2 * 512 * 512 * 2 < totals.passed < 3 * 512 * 512 * 2  # the first is sampled
    assert totals.inflated + totals.passed == len(whole)
    thorough = read(tmp_path / "a.tar.gz", thorough=True)
    assert (thorough.passed, thorough.inflated) == (0, len(whole))


@pytest.mark.parametrize("by", [-1, 1, 512, -(512 * 512 * 2), 1 << 31])
@pytest.mark.parametrize("thorough", [False, True])
def test_skipped_length_must_match_gzip(tmp_path: Path, by: int, thorough: bool) -> None:
    """Otherwise bytes hidden among skipped pixels would not be noticed."""
    path = tmp_path / "a.tar.gz"
    data = bytearray(archive(path))
    (length,) = struct.unpack("<L", data[-4:])
    data[-4:] = struct.pack("<L", (length + by) & 0xFFFFFFFF)
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="not as long as it says"):
        read(path, thorough=thorough)


def test_bytes_hidden_among_skipped_pixels_are_detected(tmp_path: Path) -> None:
    """Where nothing is inflated, only the total length reveals additional bytes."""
    path = tmp_path / "a.tar.gz"
    data = archive(path)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(b"Winterbottom^Ada") + packer.flush(zlib.Z_FULL_FLUSH)
    (length,) = struct.unpack("<L", data[-4:])
    trailer = data[-8:-4] + struct.pack("<L", length + 16)
    flushed = [hit.end() for hit in re.finditer(b"\x00\x00\xff\xff", data)]
    assert len(flushed) >= 6
    for position in flushed:
        path.write_bytes(data[:position] + piece + data[position:-8] + trailer)
        with pytest.raises(Unreadable):
            read(path)


@pytest.mark.parametrize("keep", [0, 10, 17, 18, 100])
def test_a_truncated_archive_is_rejected(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.tar.gz"
    data = archive(path, side=16)
    path.write_bytes(data[:keep])
    with pytest.raises(Unreadable):
        read(path)


@pytest.mark.parametrize("cut", [1, 8, 9, 100])
def test_an_archive_without_end_blocks_is_rejected(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tar.gz"
    data = archive(path, side=16)
    path.write_bytes(data[:-cut])
    with pytest.raises(Unreadable):
        read(path)


def test_data_after_the_last_member_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    whole = zlib.decompress(archive(path, side=16), 31)
    for more in (b"x", bytes(511) + b"x", bytes(4096) + b"Winterbottom"):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        packed = packer.compress(whole + more) + packer.flush()
        path.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + packed[8:])
        with pytest.raises(Unreadable, match=r"something follows|not an archive|cut short|header"):
            read(path)


def test_pixel_chunks_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    archive(path, side=1024, count=1)
    native = [
        part for part in read_archive(path, Totals(), thorough=True) if isinstance(part, Pixels)
    ]
    assert len(native) > 1
    assert all(part.samples for part in native)
    assert [part.first for part in native] == [True] + [False] * (len(native) - 1)
    assert [part.last for part in native] == [False] * (len(native) - 1) + [True]
    overlaps = sum(min(OVERLAP, len(part.data)) for part in native[:-1])
    assert sum(len(part.data) for part in native) - overlaps == 1024 * 1024 * 2
    with Archive(tmp_path / "b.tar.gz") as writer:
        writer.add("1.dcm", to_bytes(make_dataset(transfer_syntax=JPEGBaseline8Bit)))
        writer.close()
    coded = [
        part for part in read_archive(tmp_path / "b.tar.gz", Totals()) if isinstance(part, Pixels)
    ]
    (frame,) = (part for part in coded if part.data.startswith(b"\xff\xd8"))
    assert (frame.samples, frame.first, frame.last) == (False, True, True)


def test_an_implicit_length_that_looks_like_a_vr(tmp_path: Path) -> None:
    """Implicit VR: a length of 16,962 bytes is encoded as BB, where Explicit VR has the VR."""
    item = Dataset()
    item.TextValue = "x" * 0x4242
    made = make_dataset(
        transfer_syntax=ImplicitVRLittleEndian, ContentSequence=DicomSequence([item])
    )
    with Archive(tmp_path / "a.tar.gz") as writer:
        writer.add("1.dcm", to_bytes(made))
        writer.close()
    (head,) = (
        part for part in read_archive(tmp_path / "a.tar.gz", Totals()) if isinstance(part, Head)
    )
    (place,) = (place for place in head.elements if place[0] == 0x0040A160)
    _, vr, start, end, path = place
    assert (vr, end - start, path) == ("UT", 0x4242, (0x0040A730,))


@pytest.mark.parametrize("offset", range(12, 48))
def test_a_flush_is_found_wherever_it_lies(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across two of the windows that are searched."""
    monkeypatch.setattr(archive_reader, "WINDOW", 16)
    data = bytearray(b"x" * 60)
    data[offset : offset + 4] = b"\0\0\xff\xff"
    with mmap.mmap(-1, len(data)) as mapped:
        mapped[:] = bytes(data)
        ends = list(islice(archive_reader._flushes(mapped, len(data)), 2))
    assert ends == [offset + 4, len(data)]


def test_an_unexpected_error_in_a_member_is_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("DOE^JANE")

    with Archive(tmp_path / "a.tar.gz") as writer:
        writer.add("1.dcm", to_bytes(make_dataset(private=False)))
        writer.close()
    monkeypatch.setattr(archive_reader, "_head", fail)
    (damaged,) = read_archive(tmp_path / "a.tar.gz", Totals(), thorough=False)
    assert damaged == Damaged(1, "an element that cannot be read")


def test_pixels_that_cannot_be_skipped_are_read_in_linear_time(tmp_path: Path) -> None:
    """A header larger than its image is flushed, and the image after it is not."""
    random = Random(7)

    def written(count: int) -> Path:
        path = tmp_path / f"{count}.tar.gz"
        with Archive(path) as writer:
            for number in range(1, count + 1):
                dataset = make_dataset(instance=number, rows=64, columns=64, private=False)
                dataset.add_new(0x00420011, "OB", random.randbytes(2 * BULK))
                end_with_pixels(dataset)
                data = to_bytes(dataset)
                pixels = 64 * 64 * 2
                writer.add(f"{number}.dcm", data[:-pixels], data[-pixels:])
            writer.close()
        return path

    few, many = written(20), written(80)
    per_file = calls_of(lambda: read(few)) / 20
    assert calls_of(lambda: read(many)) / 80 < 1.2 * per_file
