"""Files broken on purpose: real and made ones, changed where it hurts."""

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
from tests.builder import end_with_pixels, make_dataset, plant_canaries, to_bytes

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
    """Return made files with a canary in every place, in every transfer syntax."""
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
    """Return small files: made ones, and pydicom's."""
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


def broken(dice: Random) -> tuple[bytes, bytes]:
    """Return one file, as it was and changed in one to four places."""
    origin = dice.choice(canary_files() if dice.random() < 0.7 else plain_files())
    data = bytearray(origin)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        if data:
            data = dice.choice(_MUTATIONS)(dice, data)
    return origin, bytes(data)


def of_another_instance(data: bytes) -> bytes | None:
    """Return a file with another SOPInstanceUID of the same length; None if that is not easy."""
    try:
        uid = read_header(data).uid(SOP_INSTANCE).encode()
        other = uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2")
        changed = data.replace(uid, other) if uid else data
        return changed if read_header(changed).uid(SOP_INSTANCE).encode() != uid else None
    except SkipInstance:
        return None


def _bits(dice: Random, data: bytearray) -> bytearray:
    for _ in range(dice.choice((1, 1, 3, 20))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data


def _header_bytes(dice: Random, data: bytearray) -> bytearray:
    at = dice.randrange(128, min(len(data), 4000)) if len(data) > 200 else 0
    data[at : at + 2] = dice.randbytes(2)
    return data


def _truncate(dice: Random, data: bytearray) -> bytearray:
    return data[: dice.randrange(len(data))]


def _insert(dice: Random, data: bytearray) -> bytearray:
    at = dice.randrange(len(data))
    piece = dice.choice(
        (dice.randbytes(dice.choice((1, 2, 8, 300))), bytes(4), b"\xff" * 8, _nested(dice))
    )
    return data[:at] + piece + data[at:]


def _repeat(dice: Random, data: bytearray) -> bytearray:
    start = dice.randrange(len(data))
    piece = data[start : start + dice.choice((8, 64, 512, 4096))]
    at = dice.randrange(len(data))
    return data[:at] + piece * dice.choice((1, 2, 9)) + data[at:]


def _drop(dice: Random, data: bytearray) -> bytearray:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 8, 200))]
    return data


def _splice(dice: Random, data: bytearray) -> bytearray:
    other = dice.choice(canary_files())
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def _elements(data: bytearray) -> list[Element]:
    try:
        header = read_header(bytes(data))
    except SkipInstance:
        return []
    return [] if header.deflated else header.elements


def _length(dice: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        _, vr, start, value, _, _ = dice.choice(elements)
        length = dice.choice((*_LENGTHS, dice.randrange(1 << 16)))
        if value - start == 8 and data[start + 4 : start + 6] == vr.encode():
            data[start + 6 : start + 8] = struct.pack("<H", length & 0xFFFF)
        else:
            data[value - 4 : value] = struct.pack("<L", length)
    return data


def _value(dice: Random, data: bytearray) -> bytearray:
    """Give an element another value, and the length that belongs to it."""
    elements = [element for element in _elements(data) if element[3] - element[2] == 8]
    if elements:
        _, vr, start, value, end, _ = dice.choice(elements)
        text = bytes(dice.choices(b"0123456789.\\\0 AZa^\xe4", k=2 * dice.randrange(20)))
        explicit = data[start + 4 : start + 6] == vr.encode()
        data[value:end] = text
        at, form = (start + 6, "<H") if explicit else (start + 4, "<L")
        struct.pack_into(form, data, at, len(text))
    return data


def _vr(dice: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        start = dice.choice(elements)[2]
        data[start + 4 : start + 6] = dice.choice(_VRS)
    return data


def _tag(dice: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if elements:
        one, other = dice.choice(elements)[2], dice.choice(elements)[2]
        data[one : one + 4] = data[other : other + 4]
    return data


def _swap(dice: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    if len(elements) > 2:
        at = dice.randrange(len(elements) - 1)
        (_, _, first, _, middle, _), (_, _, second, _, end, _) = elements[at : at + 2]
        if middle == second:
            data[first:end] = data[second:end] + data[first:middle]
    return data


def _deep(dice: Random, data: bytearray) -> bytearray:
    elements = _elements(data)
    at = dice.choice(elements)[2] if elements else dice.randrange(len(data))
    return data[:at] + _nested(dice) + data[at:]


def _nested(dice: Random) -> bytes:
    """Return sequences in sequences, ended or not."""
    depth = dice.choice((3, 60, 200, 3000))
    start = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return start * depth + end * dice.choice((depth, depth, depth - 1, 0))


def _deflated(dice: Random, data: bytearray) -> bytearray:
    """Say that the data set is deflated; make it a bomb at times."""
    dataset = make_dataset(transfer_syntax=DeflatedExplicitVRLittleEndian, PixelData=None)
    whole = to_bytes(dataset)
    meta = whole[: 144 + int.from_bytes(whole[140:144], "little")]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    if dice.random() < 0.02:
        size = dice.choice((1 << 20, 1 << 26, 700 << 20))
        head = b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
        body = packer.compress(head)
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            body += packer.compress(block)
        return bytearray(meta + body + packer.flush())
    body = packer.compress(bytes(data)) + packer.flush()
    return bytearray(meta + body[: dice.randrange(1, len(body) + 1)])


_MUTATIONS: tuple[Mutation, ...] = (
    *(_bits, _bits, _header_bytes, _header_bytes, _truncate, _insert, _repeat, _drop),
    *(_splice, _length, _length, _length, _value, _value, _value),
    *(_vr, _vr, _tag, _swap, _deep, _deflated),
)


def readable(data: bytes) -> pydicom.FileDataset:
    """Return a result as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(data))
