"""Malformed files: real and synthetic ones, mutated in sensitive places."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.dicom.scan import SOP_INSTANCE, Element, read_header
from sendit.errors import SkipInstance
from testing.builder import end_with_pixels, make_dataset, plant_canaries, to_bytes

_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT ZZ".split()
_LENGTHS = (0, 1, 2, 7, 0xFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
_ITEM = b"\xfe\xff\x00\xe0"
_LARGEST = 100_000

Mutation = Callable[[Random, bytearray], bytearray]


@cache
def canary_files() -> list[bytes]:
    """Return synthetic files with a canary in every place, in every transfer syntax."""
    files = []
    for number, syntax in enumerate(_SYNTAXES):
        for kind in ("CT", "MR", "ENHANCED"):
            dataset = make_dataset(
                1, 1, 1, 1 + number, kind=kind, rows=8, columns=8, transfer_syntax=syntax
            )
            plant_canaries(dataset, start=1 + 2000 * number, absent=kind == "MR")
            files.append(to_bytes(dataset))
            end_with_pixels(dataset)
            files.append(to_bytes(dataset))
    return files


@cache
def plain_files() -> list[bytes]:
    """Return small files: synthetic ones, and pydicom's."""
    files = [
        to_bytes(make_dataset(1, 1, 1, 1, kind=kind, rows=8, columns=8, transfer_syntax=syntax))
        for syntax in _SYNTAXES
        for kind in ("CT", "MR", "ENHANCED", "SR", "US")
    ]
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files += [
        path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size <= _LARGEST
    ]
    return files


def broken(rng: Random) -> tuple[bytes, bytes]:
    """Return one file, original and mutated in one to four places."""
    origin = rng.choice(canary_files() if rng.random() < 0.7 else plain_files())
    data = bytearray(origin)
    if rng.random() < 0.004:  # takes as long as a hundred others
        data = _deflated_whole(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            data = rng.choice(_MUTATIONS)(rng, data)
    return origin, bytes(data)


def of_another_instance(data: bytes) -> bytes | None:
    """Return a file with another SOPInstanceUID of the same length, or None if that is not
    possible.
    """
    try:
        uid = read_header(data).uid(SOP_INSTANCE).encode()
        other = uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2")
        changed = data.replace(uid, other) if uid else data
        return changed if read_header(changed).uid(SOP_INSTANCE).encode() != uid else None
    except SkipInstance:
        return None


def _bits(rng: Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _header_bytes(rng: Random, data: bytearray) -> bytearray:
    at = rng.randrange(128, min(len(data), 4000)) if len(data) > 200 else 0
    data[at : at + 2] = rng.randbytes(2)
    return data


def _truncate(rng: Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(len(data))]


def _insert(rng: Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data))
    piece = rng.choice(
        (rng.randbytes(rng.choice((1, 2, 8, 300))), bytes(4), b"\xff" * 8, _nested(rng))
    )
    return data[:at] + piece + data[at:]


def _repeat(rng: Random, data: bytearray) -> bytearray:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice((8, 64, 512, 4096))]
    at = rng.randrange(len(data))
    return data[:at] + piece * rng.choice((1, 2, 9)) + data[at:]


def _drop(rng: Random, data: bytearray) -> bytearray:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 8, 200))]
    return data


def _splice(rng: Random, data: bytearray) -> bytearray:
    other = rng.choice(canary_files())
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _elements(data: bytearray) -> list[Element]:
    try:
        header = read_header(bytes(data))
    except SkipInstance:
        return []
    return [] if header.deflated else header.elements


def _length(rng: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        _, vr, start, value, _, _ = rng.choice(elements)
        length = rng.choice((*_LENGTHS, rng.randrange(1 << 16)))
        if value - start == 8 and data[start + 4 : start + 6] == vr.encode():
            data[start + 6 : start + 8] = struct.pack("<H", length & 0xFFFF)
        else:
            data[value - 4 : value] = struct.pack("<L", length)
    return data


def _value(rng: Random, data: bytearray) -> bytearray:
    """Replace an element's value and its length."""
    elements = [element for element in _elements(data) if element[3] - element[2] == 8]
    if elements:
        _, vr, start, value, end, _ = rng.choice(elements)
        text = bytes(rng.choices(b"0123456789.\\\0 AZa^\xe4", k=2 * rng.randrange(20)))
        explicit = data[start + 4 : start + 6] == vr.encode()
        data[value:end] = text
        at, form = (start + 6, "<H") if explicit else (start + 4, "<L")
        struct.pack_into(form, data, at, len(text))
    return data


def _vr(rng: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        start = rng.choice(elements)[2]
        data[start + 4 : start + 6] = rng.choice(_VRS)
    return data


def _tag(rng: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        one, other = rng.choice(elements)[2], rng.choice(elements)[2]
        data[one : one + 4] = data[other : other + 4]
    return data


def _swap(rng: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if len(elements) > 2:
        at = rng.randrange(len(elements) - 1)
        (_, _, first, _, middle, _), (_, _, second, _, end, _) = elements[at : at + 2]
        if middle == second:
            data[first:end] = data[second:end] + data[first:middle]
    return data


def _deep(rng: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    at = rng.choice(elements)[2] if elements else rng.randrange(len(data))
    return data[:at] + _nested(rng) + data[at:]


def _nested(rng: Random) -> bytes:
    """Return nested sequences, terminated or not."""
    depth = rng.choice((3, 60, 200, 3000))
    start = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return start * depth + end * rng.choice((depth, depth, depth - 1, 0))


def _deflated(rng: Random, data: bytearray) -> bytearray:
    """Declare the dataset deflated; sometimes make it a decompression bomb."""
    dataset = make_dataset(transfer_syntax=DeflatedExplicitVRLittleEndian, PixelData=None)
    whole = to_bytes(dataset)
    meta = whole[: 144 + int.from_bytes(whole[140:144], "little")]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    if rng.random() < 0.02:
        size = rng.choice((1 << 20, 1 << 26, 700 << 20))
        head = b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
        body = packer.compress(head)
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            body += packer.compress(block)
        return bytearray(meta + body + packer.flush())
    body = packer.compress(bytes(data)) + packer.flush()
    return bytearray(meta + body[: rng.randrange(1, len(body) + 1)])


def _deflated_whole(rng: Random, data: bytearray) -> bytearray:
    """Deflate a whole dataset followed by a lot of data: zeros, one long value, or many."""
    dataset = make_dataset(rows=8, columns=8, transfer_syntax=DeflatedExplicitVRLittleEndian)
    whole = to_bytes(dataset)
    at = 144 + int.from_bytes(whole[140:144], "little")
    body = zlib.decompress(whole[at:], -15)
    count = rng.choice((1 << 10, 1 << 20, 1 << 25, 1 << 27))
    kind = rng.randrange(3)
    if kind == 0:
        more = [bytes(count)]
    elif kind == 1:
        more = [struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, count), bytes(count)]
    else:
        one = b"\x11\x00\x10\x10LO\x04\x00ABCD"
        more = [one * min(count // len(one), 1 << 20)]
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = b"".join(map(packer.compress, [body, *more])) + packer.flush()
    return bytearray(whole[:at] + packed)


def _huge(rng: Random, data: bytearray) -> bytearray:
    """Insert an element of millions of bytes, present or only declared."""
    elements = _elements(data)
    at = rng.choice(elements)[2] if elements else len(data)
    tag, vr = rng.choice(
        (
            (0x00104000, b"LT"),
            (0x00081030, b"UT"),
            (0x00091010, b"UN"),
            (0x00420011, b"OB"),
            (0x00081140, b"SQ"),
            (0x7FE00010, b"OW"),
        )
    )
    there = rng.choice((0, 1 << 10, 1 << 20, 1 << 24))
    said = rng.choice((there, 1 << 26, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF))
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    fill = rng.choice((b"\0", b"A", b" ", b"1\\", b"Doe^"))
    if vr == b"LT":
        head += vr + struct.pack("<H", min(said, 0xFFFE))
    else:
        head += vr + b"\0\0" + struct.pack("<L", said)
    return data[:at] + head + (fill * (there // len(fill) + 1))[:there] + data[at:]


def _behind(rng: Random, data: bytearray) -> bytearray:
    """Append data: zeros as of an aborted transfer, text, or a second file."""
    more = rng.choice(
        (
            bytes(rng.choice((1, 512, 1 << 16, 1 << 24))),
            b"Kanarie000001Q " * 40,
            bytes(data),
            b"\xff\xfe\0\x20Kanarie000001Q  ",
        )
    )
    return data + more


def _zeros(rng: Random, data: bytearray) -> bytearray:
    """Replace everything from some offset on by zeros, as in a preallocated file."""
    at = rng.randrange(len(data))
    data[at:] = bytes(len(data) - at)
    return data


def _second_meta(rng: Random, data: bytearray) -> bytearray:
    """Repeat the file meta at the start of the dataset, with another transfer syntax."""
    if data[128:132] != b"DICM" or data[132:136] != b"\x02\x00\x00\x00":
        return data
    end = 144 + int.from_bytes(data[140:144], "little")
    if end >= len(data):
        return data
    meta = bytes(data[132:end]).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0")
    return data[:end] + meta + data[end:]


def _syntax(rng: Random, data: bytearray) -> bytearray:
    """Declare another transfer syntax than the dataset is encoded in."""
    end = data.find(b"\x02\x00\x10\x00UI")
    if end < 0:
        return data
    length = int.from_bytes(data[end + 6 : end + 8], "little")
    names = (
        *(b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"),
        *(b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.90"),
        *(b"1.2.840.10008.1.2.1.99", b"1.2.3.4.5.6.7", b"1.2.840.10008.1.2.4.201", b""),
    )
    name = rng.choice(names)
    name += b"\0" * (len(name) % 2)
    data[end + 6 : end + 8 + length] = struct.pack("<H", len(name)) + name
    return data


def _numbers(rng: Random, data: bytearray) -> bytearray:
    """Put invalid content into a number: NaN, infinity, the maximum, words."""
    elements = [e for e in _elements(data) if e[1] in ("FD", "FL", "DS", "IS", "US", "SS", "UL")]
    if elements:
        _, vr, _, value, end, _ = rng.choice(elements)
        size = end - value
        piece = {
            "FD": struct.pack("<d", rng.choice((float("nan"), float("inf"), 1.8e308, 5e-324)))
            if size
            else b"",
            "FL": struct.pack("<f", rng.choice((float("nan"), float("-inf"), 3.4e38))),
        }.get(vr, rng.choice((b"1e999   ", b"NaN     ", b"-0      ", b"99999999", b"Kanarie0")))
        data[value:end] = (piece * (size // len(piece) + 1))[:size] if piece else data[value:end]
    return data


def _names(rng: Random, data: bytearray) -> bytearray:
    """Add a name with very many words, or a huge number of values."""
    word = rng.choice((b"Anna ", b"O'Neil-", b"A\\", b"^", b"\x1b$B", b"1.2.20190304.", b"=="))
    count = rng.choice((10, 400, 4000, 12_000))
    text = (word * count)[: 2 * (len(word) * count // 2)][:0xFFFE]
    name = rng.choice((b"\x10\x00\x10\x00PN", b"\x08\x00\x90\x00PN", b"\x08\x00\x30\x10LO"))
    piece = name + struct.pack("<H", len(text)) + text
    elements = _elements(data)
    at = rng.choice(elements)[2] if elements else len(data)
    return data[:at] + piece + data[at:]


def _pixel_module(rng: Random, data: bytearray) -> bytearray:
    """Make the pixel description contradict the pixel data."""
    wanted = set(range(0x00280002, 0x00280104))
    elements = [e for e in _elements(data) if e[0] in wanted and e[4] - e[3] == 2]
    if elements:
        value = rng.choice(elements)[3]
        data[value : value + 2] = struct.pack(
            "<H", rng.choice((0, 1, 7, 8, 12, 15, 16, 255, 65535))
        )
    return data


_MUTATIONS: tuple[Mutation, ...] = (
    *(_bits, _bits, _header_bytes, _header_bytes, _truncate, _insert, _repeat, _drop),
    *(_splice, _length, _length, _length, _value, _value, _value),
    *(_vr, _vr, _tag, _swap, _deep, _deflated),
    *(_huge, _behind, _zeros, _second_meta, _syntax, _numbers, _names, _pixel_module),
)


def readable(data: bytes) -> pydicom.FileDataset:
    """Return a result as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(data))
