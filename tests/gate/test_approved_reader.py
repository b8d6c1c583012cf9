"""What the gate reads of an archive: its parts, sizes and elements, and what it refuses."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.archive import Archive
from sendit.dicom.encode import head, item
from sendit.dicom.scan import EXPLICIT_LITTLE, UNDEFINED
from sendit.gate import archive_reader
from sendit.gate.archive_reader import (
    Damaged,
    Head,
    Pixels,
    Tail,
    Totals,
    Unreadable,
    read_archive,
)
from testing import derived_objects
from testing.approval import Approved
from testing.builder import make_dataset, to_bytes
from tests.deidentify.corpus import one

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)


def parts(path: Path, *, thorough: bool = False, detail: bool = False) -> Iterator[str]:
    """Yield a line for each part, and how much was read or why no more could be."""
    totals = Totals()
    try:
        for part in read_archive(path, totals, thorough=thorough):
            match part:
                case Head():
                    sequences = " ".join(f"{tag:08X}" for tag in part.sequences)
                    yield (
                        f"head {part.number} {part.name} {len(part.data)} bytes, meta "
                        f"{len(part.meta)} with {len(part.meta_elements)}, "
                        f"{len(part.elements)} elements, {len(part.new)} new, sequences {sequences}"
                    )
                    if detail:
                        yield from _elements(part.elements, part.data)
                case Tail():
                    yield f"tail {part.number} {len(part.data)} bytes, {part.sequences}"
                    yield from _elements(part.elements, part.data)
                case Pixels():
                    ends = f"{' first' * part.first}{' last' * part.last}"
                    kind = "samples" if part.samples else "coded"
                    yield f"pixels {part.number} {len(part.data)} bytes, {kind}{ends}"
                case Damaged():
                    yield f"damaged {part.number}: {part.why}"
    except Unreadable as unreadable:
        yield f"unreadable: {unreadable}"
    yield f"{totals.members} members, inflated {totals.inflated}, passed over {totals.passed}"


def in_short(path: Path, *, thorough: bool = False) -> Iterator[str]:
    """Yield what does not depend on how well the archive is compressed: the parts of large pixels."""
    totals = Totals()
    before = ""
    for part in read_archive(path, totals, thorough=thorough):
        line = f"{type(part).__name__} {part.number}"
        if isinstance(part, Pixels):
            line = f"Pixels {part.number} {'samples' if part.samples else 'coded'}"
            yield from (f"{line} {end}" for end in ("first", "last") if getattr(part, end))
        if line != before:
            yield line
        before = line
    yield f"{totals.members} members, {totals.inflated + totals.passed} bytes"
    yield f"passed over some: {totals.passed > 0}, most: {totals.passed > totals.inflated}"


def _elements(elements: list[archive_reader.Place], data: bytes) -> Iterator[str]:
    for tag, vr, start, end, path in elements:
        inside = "".join(f"{each:08X}." for each in path)
        yield f"  {inside}{tag:08X} {vr} {start}-{end}"


def _written(path: Path, *members: bytes) -> Path:
    with Archive(path) as writer:
        for number, data in enumerate(members, 1):
            writer.add(f"{number}.dcm", data)
        writer.close()
    return path


@cache
def _made(syntax: str, side: int = 16, **options: object) -> tuple[bytes, ...]:
    return tuple(
        to_bytes(
            make_dataset(instance=n, transfer_syntax=syntax, rows=side, columns=side, **options)  # type: ignore[arg-type]
        )
        for n in range(1, 4)
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_elements(syntax: str, approved: Approved, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.tar.gz", *_made(syntax))
    approved(parts(path, detail=True))


def test_other_objects(approved: Approved, tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        for kind in ("MR", "ENHANCED", "US", "SR", "SC", "PDF"):
            made = [to_bytes(make_dataset(instance=n, kind=kind)) for n in (1, 2)]  # type: ignore[arg-type]
            yield f"# {kind}"
            yield from parts(_written(tmp_path / "a.tar.gz", *made))
        made = [to_bytes(derived_objects.structure_set()), to_bytes(derived_objects.dose())]
        yield "# radiotherapy"
        yield from parts(_written(tmp_path / "a.tar.gz", *made))

    approved(lines())


@pytest.mark.parametrize("thorough", [False, True])
def test_large_pixels(thorough: bool, approved: Approved, tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        for side in (200, 512):
            made = _made(ExplicitVRLittleEndian, side)
            yield f"# {side}"
            yield from in_short(_written(tmp_path / "a.tar.gz", *made, *made), thorough=thorough)

    approved(lines())


def test_pixels_contradicting_the_header(approved: Approved, tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        for keyword, value in (
            ("Rows", 17),
            ("Columns", 8),
            ("BitsAllocated", 8),
            ("SamplesPerPixel", 3),
            ("NumberOfFrames", "2"),
            ("NumberOfFrames", "1"),
            ("Rows", None),
            ("BitsAllocated", None),
        ):
            made = make_dataset(rows=300, columns=300)
            if value is None:
                delattr(made, keyword)
            else:
                setattr(made, keyword, value)
            yield f"# {keyword} {value}"
            yield from in_short(_written(tmp_path / "a.tar.gz", to_bytes(made), to_bytes(made)))

    approved(lines())


def _file(*elements: bytes, syntax: bytes = b"1.2.840.10008.1.2.1", tail: bytes = b"") -> bytes:
    meta = one(0x00020010, "UI", syntax)
    group = one(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    return bytes(128) + b"DICM" + group + meta + b"".join(elements) + tail


def _sequence(*content: bytes, length: int | None = None) -> bytes:
    joined = b"".join(content)
    return (
        head(0x00081140, "SQ", len(joined) if length is None else length, EXPLICIT_LITTLE) + joined
    )


END_OF_ITEM = b"\xfe\xff\x0d\xe0\0\0\0\0"
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0\0\0\0\0"
NAME = one(0x00100010, "PN", b"A^B ")
MODALITY = one(0x00080060, "CS", b"CT")
PIXELS = head(0x7FE00010, "OB", UNDEFINED, EXPLICIT_LITTLE)
FRAGMENT = b"\xfe\xff\0\xe0" + struct.pack("<L", 8) + b"ABCDEFGH"
TABLE = b"\xfe\xff\0\xe0" + bytes(4)


def _members() -> dict[str, bytes]:
    nested = MODALITY
    for _ in range(90):
        nested = _sequence(item(nested, EXPLICIT_LITTLE))
    implicit = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
    return {
        "small": _file(MODALITY, NAME),
        "empty": b"",
        "no prefix": bytes(400),
        "no file meta": bytes(128) + b"DICM" + MODALITY + NAME,
        "meta longer than the file": _file()[:140] + b"\xff\xff\0\0",
        "another group in the meta": bytes(128)
        + b"DICM"
        + one(0x00020000, "UL", struct.pack("<L", len(MODALITY)))
        + MODALITY,
        "an item of defined length": _file(_sequence(item(MODALITY, EXPLICIT_LITTLE)), NAME),
        "an item of undefined length": _file(
            _sequence(item(MODALITY, EXPLICIT_LITTLE, undefined=True)), NAME
        ),
        "a sequence of undefined length": _file(
            _sequence(item(MODALITY, EXPLICIT_LITTLE), END_OF_SEQUENCE, length=UNDEFINED), NAME
        ),
        "both undefined": _file(
            _sequence(
                item(MODALITY, EXPLICIT_LITTLE, undefined=True), END_OF_SEQUENCE, length=UNDEFINED
            ),
            NAME,
        ),
        "no end of a sequence": _file(
            _sequence(item(MODALITY, EXPLICIT_LITTLE), length=UNDEFINED), NAME
        ),
        "a sequence of defined length with a delimiter": _file(
            _sequence(item(MODALITY, EXPLICIT_LITTLE), END_OF_SEQUENCE), NAME
        ),
        "an item longer than its sequence": _file(
            _sequence(b"\xfe\xff\0\xe0" + struct.pack("<L", 100) + MODALITY), NAME
        ),
        "no item in a sequence": _file(_sequence(MODALITY), NAME),
        "an empty sequence": _file(_sequence(), NAME),
        "an empty item": _file(_sequence(item(b"", EXPLICIT_LITTLE)), NAME),
        "implicit VR in a UN": _file(
            head(0x00081140, "UN", UNDEFINED, EXPLICIT_LITTLE)
            + item(implicit, EXPLICIT_LITTLE)
            + END_OF_SEQUENCE,
            NAME,
        ),
        "explicit VR in an OB": _file(
            head(0x00420011, "OB", UNDEFINED, EXPLICIT_LITTLE)
            + item(MODALITY, EXPLICIT_LITTLE)
            + END_OF_SEQUENCE,
            NAME,
        ),
        "no VR": _file(MODALITY, struct.pack("<HHL", 0x0010, 0x0010, 4) + b"A^B "),
        "an element too long": _file(MODALITY, NAME[:-8] + struct.pack("<H", 900) + b"A^B "),
        "cut in a header": _file(MODALITY, NAME[:5]),
        "cut in a long header": _file(MODALITY, one(0x00420011, "OB", b"1234")[:9]),
        "nested too deep": _file(nested),
        "fragments": _file(MODALITY, PIXELS, TABLE, FRAGMENT, FRAGMENT, END_OF_SEQUENCE),
        "fragments and a tail": _file(
            MODALITY, PIXELS, TABLE, FRAGMENT, END_OF_SEQUENCE, one(0xFFFCFFFC, "OB", b"pad ")
        ),
        "fragments without an end": _file(MODALITY, PIXELS, TABLE, FRAGMENT),
        "a fragment too long": _file(MODALITY, PIXELS, TABLE, FRAGMENT[:-4]),
        "no fragment": _file(MODALITY, PIXELS, MODALITY, END_OF_SEQUENCE),
        "run-length coded": _file(
            MODALITY, PIXELS, TABLE, FRAGMENT, END_OF_SEQUENCE, syntax=b"1.2.840.10008.1.2.5"
        ),
        "native pixels": _file(MODALITY, one(0x7FE00010, "OW", b"ABCD")),
        "native pixels too short": _file(MODALITY, one(0x7FE00010, "OW", b"ABCD")[:-2]),
        "native pixels and a tail": _file(
            MODALITY, one(0x7FE00010, "OW", b"ABCD"), one(0xFFFCFFFC, "OB", b"pad ")
        ),
        "a tail that is none": _file(MODALITY, one(0x7FE00010, "OW", b"ABCD"), b"\1\2\3"),
        "float pixels": _file(MODALITY, one(0x7FE00008, "OF", b"ABCD")),
        "pixels in an item": _file(
            _sequence(item(one(0x7FE00010, "OW", b"ABCD"), EXPLICIT_LITTLE)), NAME
        ),
        "deflated badly": _file(b"\xff\xff\xff\xff", syntax=b"1.2.840.10008.1.2.1.99"),
        "deflated, cut": _made(DeflatedExplicitVRLittleEndian)[0][:-200],
        "big endian": _file(
            struct.pack(">HH2sH", 8, 0x60, b"CS", 2) + b"CT", syntax=b"1.2.840.10008.1.2.2"
        ),
        "implicit": _file(
            implicit,
            struct.pack("<HHL", 0x0029, 0x10, 4) + b"ACME",
            struct.pack("<HHL", 0x0029, 0x1001, 2) + b"xx",
            syntax=b"1.2.840.10008.1.2",
        ),
        "sizes in text": _file(
            one(0x00280008, "IS", b"2 "),
            one(0x00280010, "UL", b"\1\0\0\0"),
            one(0x7FE00010, "OW", bytes(600)),
        ),
    }


@pytest.mark.filterwarnings("ignore")
def test_members(approved: Approved, tmp_path: Path) -> None:
    good = _file(MODALITY, NAME)

    def lines() -> Iterator[str]:
        for name, data in _members().items():
            yield f"# {name}"
            path = _written(tmp_path / "a.tar.gz", data, good)
            yield from parts(path, detail=len(data) < 500)

    approved(lines())


def test_templates(approved: Approved, tmp_path: Path) -> None:
    """Members like one before: which elements are new, and when one is walked anew."""

    def lines() -> Iterator[str]:
        base = _made(ExplicitVRLittleEndian)[0]
        others = {
            "the same": base,
            "a value": base.replace(b"THORAX routine", b"thorax routine"),
            "a nested value": base.replace(b"CT thorax", b"CT THORAX", 1),
            "two values": base.replace(b"CHEST ", b"chest ").replace(b"TESTWORKS ", b"testworks "),
            "another VR": base.replace(b"\x08\0\x70\0LO", b"\x08\0\x70\0SH"),
            "another tag": base.replace(b"\x08\0\x70\0LO", b"\x08\0\x71\0LO"),
            "rows": base.replace(b"\x28\0\x10\0US\2\0\x10\0", b"\x28\0\x10\0US\2\0\x11\0"),
            "character set": base.replace(b"ISO_IR 100", b"ISO_IR 101"),
            "the preamble": b"x" + base[1:],
            "a syntax": base.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
        }
        for name, data in others.items():
            yield f"# {name}: {sum(a != b for a, b in zip(base, data, strict=True))} bytes"
            path = _written(tmp_path / "a.tar.gz", base, data, base)
            yield from parts(path)

    approved(lines())


def _tar(
    path: Path, *members: tuple[str, bytes], form: int = tarfile.USTAR_FORMAT, **options: object
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in options.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_corrupted_archives(approved: Approved, tmp_path: Path) -> None:
    good = _file(MODALITY, NAME)
    path = tmp_path / "a.tar.gz"

    def packed(tar: bytes) -> bytes:
        """Return a gzip of blocks that are stored: libraries compress the same bytes otherwise."""
        blocks = [tar[at : at + 0xFFFF] for at in range(0, len(tar), 0xFFFF)]
        made = b"".join(
            struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block
            for block in blocks
        )
        tail = struct.pack("<LL", zlib.crc32(tar), len(tar))
        return b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff" + made + tail

    def lines() -> Iterator[str]:
        tar = _tar(path, ("a", good), ("b", good))
        long = "x" * 150
        whole = packed(tar)
        cases = {
            "as it should be": whole,
            "empty": b"",
            "short": whole[:17],
            "not gzip": b"PK" + whole[2:],
            "with a time": whole[:4] + b"\1" + whole[5:],
            "cut": whole[:-30],
            "cut in its length": whole[:-2],
            "another length": whole[:-1] + b"\1",
            "bytes behind": whole + b"behind it",
            "garbage inside": whole[:40] + b"\xff" * 40 + whole[80:],
            "a long name": packed(_tar(path, (long, good), form=tarfile.PAX_FORMAT)),
            "a directory": packed(_tar(path, ("d", b""), type=tarfile.DIRTYPE)),
            "a link": packed(_tar(path, ("d", b""), type=tarfile.SYMTYPE, linkname="x")),
            "no end": packed(tar[:-10240] + tar[-10240:].rstrip(b"\0").ljust(512, b"\0")),
            "one block of end": packed(
                tar.rstrip(b"\0").ljust(2048, b"\0") + bytes(512) + b"x" * 512
            ),
            "a checksum": packed(tar[:148] + b"0000000\0" + tar[156:]),
            "a size that is none": packed(tar[:124] + b"zzzzzzzzzzz\0" + tar[136:]),
            "a size that is too large": packed(tar[:124] + b"00000177777\0" + tar[136:]),
            "not padded with zeros": packed(
                tar[:512] + tar[512:1024].rstrip(b"\0").ljust(512, b"x") + tar[1024:]
            ),
            "something behind the end": packed(tar + b"x" * 512),
            "nothing in it": packed(bytes(1024)),
        }
        for name, data in cases.items():
            path.write_bytes(data)
            yield f"# {name}"
            yield from parts(path)
        info = packed(tar.rstrip(b"\0").ljust(2048, b"\0") + bytes(1024))
        yield "# each byte changed"
        by_line: dict[str, list[int]] = {}
        for at in range(len(info)):
            path.write_bytes(info[:at] + bytes((info[at] ^ 0x55,)) + info[at + 1 :])
            by_line.setdefault(
                " | ".join(line for line in parts(path) if not line.startswith("head")), []
            ).append(at)
        for line, places in sorted(by_line.items()):
            yield f"{line}: {len(places)} places, first {places[0]}"

    approved(lines())
