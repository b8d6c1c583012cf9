"""Blank blocks of a sequential JPEG; no other block is decoded to samples or encoded again.

A JPEG consists of minimum coded units (MCUs): 8 by 8 pixels of each component, or as many as share
one block of chrominance (16 by 8, 16 by 16). Each block is a difference of its DC coefficient to
the block before, and its AC coefficients, as Huffman codes (ISO/IEC 10918-1, Annex F). Here the
codes of the MCUs that a box touches are replaced by those of a black block, the difference after
them is adjusted, and all other bits are copied.

A table that lacks a code for the new differences gets one of 16 bits: its other codes stay the
same. JPEGs for which this is impossible, and progressive, arithmetic or corrupted ones, and
those with a scan for each component, are left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sendit.dicom.jpeg import walk_jpeg
from sendit.errors import SkipInstance
from sendit.pixels.boxes import Blank, Mask

Bits = npt.NDArray[np.uint8]
"""One bit per item."""

_SOF0, _SOF1, _DHT, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC1, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
_SKIPPED: Final = (*range(0xE0, 0xF0), 0xFE)
_AFTER_SCAN: Final = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_RESTART: Final = re.compile(rb"\xff+[\xd0-\xd7]")

_BLOCK: Final = 8
_COEFFICIENTS: Final = 64
_BITS: Final = 8
_MAX_CATEGORY: Final = 11
"""Largest number of bits of a DC difference for samples of 8 bits."""

_BLACK: Final = 128 * _BLOCK
"""DC coefficient of a black block, without its sign and before quantisation."""

_MAX_DC: Final = 4 * _BLACK
_MAX_CODE: Final = 16
_ZERO_RUN: Final = 0xF0
_END: Final = 128
_INVALID: Final = 200
"""Steps that end a block: its end, and no valid code."""

_CHUNK: Final = 1 << 15
_MARGIN: Final = 1 << 12
"""Codes are looked up for so many bytes at a time; a MCU has less than 10 * 64 * 31 bits."""


class _UnusualError(ValueError):
    """This JPEG cannot be edited here."""


@dataclass(slots=True)
class _Component:
    number: int
    across: int
    down: int
    quantisation: int


@dataclass(slots=True)
class _Huffman:
    """A Huffman table: its class and number, its numbers of codes of each length, its symbols."""

    place: int
    counts: tuple[int, ...]
    symbols: bytes
    added: bytes = b""
    _codes: dict[int, tuple[int, int]] = field(default_factory=dict)
    _next: int = 0

    def __post_init__(self) -> None:
        code = 0
        symbols = iter(self.symbols)
        for length, count in enumerate(self.counts, start=1):
            for _ in range(count):
                self._codes[next(symbols)] = code, length
                code += 1
            if code > 1 << length:
                raise _UnusualError
            code <<= 1
        self._next = code >> 1

    def code(self, symbol: int) -> tuple[int, int]:
        """Return a symbol's code and its length; add one if there is none.

        Raises
        ------
        _UnusualError
            There is no code left; the one of all ones is reserved (C.2).
        """
        if symbol not in self._codes:
            if self._next >= (1 << _MAX_CODE) - 1:
                raise _UnusualError
            self._codes[symbol] = self._next, _MAX_CODE
            self._next += 1
            self.added += bytes([symbol])
        return self._codes[symbol]

    def definition(self) -> bytes:
        """Return a DHT segment that defines the table with all added codes (B.2.4.2)."""
        counts = (*self.counts[:-1], self.counts[-1] + len(self.added))
        body = bytes([self.place, *counts]) + self.symbols + self.added
        return bytes([0xFF, _DHT]) + (len(body) + 2).to_bytes(2) + body


@dataclass(slots=True)
class _Scan:
    """The components of a scan, and for each block of a MCU the index of its component."""

    components: list[_Component]
    dc: list[_Huffman]
    ac: list[_Huffman]
    order: list[int]
    targets: list[int]

    @property
    def tables(self) -> list[_Huffman]:
        """All tables of the scan, each once."""
        return list({table.place: table for table in (*self.dc, *self.ac)}.values())


def blank_blocks(frame: bytes, blank: Blank, *, rgb: bool) -> bytes | None:
    """Blank all MCUs of a JPEG that the boxes touch.

    Parameters
    ----------
    frame
        A JPEG of 8 bits per sample.
    blank
        The boxes.
    rgb
        Whether its components are red, green and blue if it does not say so itself.

    Returns
    -------
    bytes or None
        The JPEG with its quantisation, subsampling and restart intervals, without comments and
        application data; None if it cannot be edited.
    """
    try:
        clean = bytearray(frame)
        *inside, last = walk_jpeg(frame, jpeg_ls=False).spans
        for start, end in inside:
            clean[start:end] = bytes(end - start)
        return _Editor(bytes(clean[: last[0]]), blank, rgb=rgb).edited()
    except (_UnusualError, SkipInstance):
        return None


class _Editor:
    """Reads the segments of a JPEG in order, and rewrites its scan."""

    def __init__(self, frame: bytes, blank: Blank, *, rgb: bool) -> None:
        self._frame = frame
        self._blank = blank
        self._rgb = rgb
        self._declared = False
        self._quantisation: dict[int, int] = {}
        self._huffman: dict[int, _Huffman] = {}
        self._components: list[_Component] = []
        self._mask: Mask = np.zeros((0, 0), np.bool_)
        self._interval = 0

    def edited(self) -> bytes:
        frame = self._frame
        position, scans = 2, 0
        parts = [frame[:2]]
        while True:
            first = position
            while frame[position] == 0xFF:
                position += 1
            marker = frame[position]
            position += 1
            if marker == _EOI:
                break
            start, end = position + 2, position + int.from_bytes(frame[position : position + 2])
            position = end
            if marker == _SOS:
                after = _AFTER_SCAN.search(frame, end)
                assert after is not None  # walk_jpeg has found it
                position = after.start()
                scans += 1
                scan = self._scan(frame[start:end])
                coded = self._rewritten(scan, frame[end:position])
                parts += [table.definition() for table in scan.tables if table.added]
                parts += [frame[first:end], coded]
                continue
            self._segment(marker, frame[start:end])
            parts.append(frame[first:end])
        if scans != 1:
            raise _UnusualError
        return b"".join([*parts, frame[first:position]])

    def _segment(self, marker: int, body: bytes) -> None:
        if marker == _DQT:
            self._quantisations(body)
        elif marker == _DHT:
            self._huffman_tables(body)
        elif marker == _DRI:
            self._interval = int.from_bytes(body)
        elif marker in (_SOF0, _SOF1):
            self._frame_header(body)
        elif marker in _SKIPPED:
            if body[:5] == b"JFIF\0":
                self._declared, self._rgb = True, False
            elif body[:6] == b"Adobe\0" and not self._declared:
                self._declared, self._rgb = True, body[11] == 0
        else:
            raise _UnusualError  # progressive, lossless, arithmetic; number of lines after the scan

    def _quantisations(self, body: bytes) -> None:
        while body:
            size = 2 if body[0] >> 4 else 1
            self._quantisation[body[0] & 15] = int.from_bytes(body[1 : 1 + size])
            body = body[1 + 64 * size :]

    def _huffman_tables(self, body: bytes) -> None:
        while body:
            counts = tuple(body[1:17])
            end = 17 + sum(counts)
            self._huffman[body[0]] = _Huffman(body[0], counts, body[17:end])
            body = body[end:]

    def _frame_header(self, body: bytes) -> None:
        rows, columns = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
        if body[0] != _BITS or (rows, columns) != (self._blank.rows, self._blank.columns):
            raise _UnusualError
        self._components = [
            _Component(body[at], body[at + 1] >> 4, body[at + 1] & 15, body[at + 2])
            for at in range(6, len(body), 3)
        ]
        numbers = [each.number for each in self._components]
        if len(numbers) not in {1, 3} or len(set(numbers)) != len(numbers):
            raise _UnusualError
        if len(numbers) == 1:  # subsampled to itself (A.2.2)
            self._components[0].across = self._components[0].down = 1
        if not all(
            1 <= side <= 4 for each in self._components for side in (each.across, each.down)
        ):
            raise _UnusualError
        self._rgb = self._rgb or (not self._declared and numbers == [*b"RGB"])
        across = _BLOCK * max(each.across for each in self._components)
        down = _BLOCK * max(each.down for each in self._components)
        self._mask = self._blank.aligned(across, down).mask[::down, ::across]

    def _scan(self, body: bytes) -> _Scan:
        """Read a scan header (B.2.3)."""
        by_number = {each.number: each for each in self._components}
        if body[0] != len(by_number) or tuple(body[-3:]) != (0, _COEFFICIENTS - 1, 0):
            raise _UnusualError  # not all components, or not all coefficients
        scan = _Scan([], [], [], [], [])
        for index, at in enumerate(range(1, len(body) - 3, 2)):
            component = by_number.get(body[at])
            tables = body[at + 1]
            dc, ac = self._huffman.get(tables >> 4), self._huffman.get(0x10 | tables & 15)
            quantisation = self._quantisation.get(component.quantisation) if component else None
            if component is None or dc is None or ac is None or not quantisation:
                raise _UnusualError
            scan.components.append(component)
            scan.dc.append(dc)
            scan.ac.append(ac)
            scan.order += [index] * (component.across * component.down)
            scan.targets.append(self._target(component, quantisation))
        return scan

    def _target(self, component: _Component, quantisation: int) -> int:
        """Return the DC coefficient of a blanked block: black, and no colour."""
        if component is not self._components[0] and not self._rgb:
            return 0
        level = -(-_BLACK // quantisation)
        if level * quantisation > _MAX_DC:
            raise _UnusualError
        return -level

    def _rewritten(self, scan: _Scan, coded: bytes) -> bytes:
        """Return the entropy-coded data of a scan with its units in the mask blanked."""
        mask = self._mask.ravel()
        interval = self._interval or len(mask)
        pieces = _RESTART.split(coded)
        if len(pieces) != -(-len(mask) // interval):
            raise _UnusualError
        parts = []
        for number, piece in enumerate(pieces):
            part = mask[number * interval : (number + 1) * interval]
            if number:
                parts.append(bytes([0xFF, 0xD0 + (number - 1) % 8]))
            parts.append(_interval(scan, piece, part) if part.any() else piece)
        return b"".join(parts)


def _interval(scan: _Scan, coded: bytes, mask: npt.NDArray[np.bool_]) -> bytes:
    """Blank MCUs of a restart interval; its DC coefficients are predicted from 0 (F.1.1.5.1)."""
    data = coded.replace(b"\xff\0", b"\xff")
    starts, after_dc = _positions(scan, data, len(mask))
    level = _levels(scan, data, starts, after_dc)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    size = len(scan.order)
    first_of = [scan.order.index(index) for index in range(len(scan.components))]
    last_of = [*(first - 1 for first in first_of[1:]), size - 1]
    pieces: list[Bits] = []
    copied = 0
    for first, last in _runs(mask):
        pieces.append(bits[copied : starts[first * size]])
        before = [level[(first - 1) * size + each] if first else 0 for each in last_of]
        pieces.append(_blank_unit(scan, before))
        if last - first > 1:
            pieces.append(np.tile(_blank_unit(scan, scan.targets), last - first - 1))
        copied = starts[last * size]
        if last == len(mask):
            continue
        for index, (one, two) in enumerate(zip(first_of, last_of, strict=True)):
            block = last * size + one
            pieces.append(_difference(scan.dc[index], level[block] - scan.targets[index]))
            copied = starts[last * size + two + 1]
            pieces.append(bits[after_dc[block] : copied])
    pieces.append(bits[copied : starts[-1]])
    joined = np.concatenate(pieces)
    padding = np.ones(-len(joined) % 8, np.uint8)
    packed = np.packbits(np.concatenate([joined, padding])).tobytes()
    return packed.replace(b"\xff", b"\xff\0")


def _runs(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _blank_unit(scan: _Scan, before: Sequence[int]) -> Bits:
    """Return the code of a blank MCU after blocks with these DC coefficients."""
    levels = list(before)
    pieces = []
    for index in scan.order:
        pieces.append(_difference(scan.dc[index], scan.targets[index] - levels[index]))
        pieces.append(_bits(*scan.ac[index].code(0)))
        levels[index] = scan.targets[index]
    return np.concatenate(pieces)


def _difference(table: _Huffman, value: int) -> Bits:
    """Return the code of a DC difference (F.1.2.1)."""
    category = abs(value).bit_length()
    if category > _MAX_CATEGORY:
        raise _UnusualError
    code, length = table.code(category)
    extra = value if value >= 0 else value + (1 << category) - 1
    return _bits(code << category | extra, length + category)


@lru_cache(4096)
def _bits(value: int, length: int) -> Bits:
    return np.array([value >> place & 1 for place in range(length - 1, -1, -1)], np.uint8)


# Decoding -------------------------------------------------------------------------------


def _positions(scan: _Scan, data: bytes, units: int) -> tuple[list[int], list[int]]:
    """Return the offsets in bits at which blocks start, and at which their DC difference ends.

    Parameters
    ----------
    scan
        The scan's tables.
    data
        Entropy-coded data without stuffing.
    units
        Number of MCUs.

    Returns
    -------
    tuple[list[int], list[int]]
        The first has the end of the last block in addition.
    """
    starts: list[int] = []
    after_dc: list[int] = []
    base, at, limit = 0, 0, -1
    blocks: list[tuple[bytes, bytes, bytes]] = []
    for _ in range(units):
        if at > limit:  # look up all codes of the next chunk
            base += at - at % 8
            at %= 8
            blocks = _lookups(scan, data[base // 8 : base // 8 + _CHUNK + _MARGIN])
            limit = 8 * _CHUNK
        for dc, skip, run in blocks:
            starts.append(base + at)
            at += dc[at]
            after_dc.append(base + at)
            place = 1
            while place < _COEFFICIENTS:
                place += run[at]
                at += skip[at]
            if place != _COEFFICIENTS and not _END < place < _INVALID:
                raise _UnusualError
        if base + at > 8 * len(data):
            raise _UnusualError
    starts.append(base + at)
    padding = 8 * len(data) - starts[-1]
    if padding >= 8 and not (padding < 16 and data[-1] == 0xFF):  # some encoders add a whole byte
        raise _UnusualError
    if any(start == end for start, end in zip(starts, after_dc, strict=False)):
        raise _UnusualError
    return starts, after_dc


def _lookups(scan: _Scan, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return for each block of a MCU what starts at each bit: the number of bits of a DC
    difference, of an AC coefficient, and the number of coefficients that this codes."""
    padded = np.zeros(len(data) + _MARGIN + 2, np.uint32)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    words = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    shifts = np.arange(8, 0, -1, dtype=np.uint32)
    codes = (words[:, None] >> shifts & 0xFFFF).astype(np.uint16).ravel()
    looked_up: dict[int, tuple[Any, ...]] = {}
    for table in scan.tables:
        decoder = _decoder(table.counts, table.symbols)
        steps = decoder.coefficients if table.place >> 4 else decoder.differences
        looked_up[table.place] = tuple(step.take(codes).tobytes() for step in steps)
    each = [
        (*looked_up[dc.place], *looked_up[ac.place])
        for dc, ac in zip(scan.dc, scan.ac, strict=True)
    ]
    return [each[index] for index in scan.order]


class _Decoder:
    """The lengths and symbols of a table's codes, for each number of 16 bits that starts with one;
    a length of 0 means that there is none."""

    def __init__(self, counts: Sequence[int], symbols: bytes) -> None:
        values = np.frombuffer(symbols, np.uint8)
        lengths = np.repeat(np.arange(1, _MAX_CODE + 1, dtype=np.uint8), counts)
        spans = 1 << _MAX_CODE - lengths.astype(np.int64)
        none = (1 << _MAX_CODE) - int(spans.sum())
        self.symbols = np.append(np.repeat(values, spans), np.zeros(none, np.uint8))
        self.lengths = np.append(np.repeat(lengths, spans), np.zeros(none, np.uint8))

    @cached_property
    def differences(self) -> tuple[Bits]:
        """Number of bits of a DC difference with its code."""
        known = (self.lengths > 0) & (self.symbols <= _MAX_CATEGORY)
        return (np.where(known, self.lengths + self.symbols, 0).astype(np.uint8),)

    @cached_property
    def coefficients(self) -> tuple[Bits, Bits]:
        """Numbers of bits of an AC coefficient with its code, and of coefficients that it ends."""
        category = (self.symbols & 15).astype(np.uint8)
        run = ((self.symbols >> 4) + 1).astype(np.uint8)
        run[(category == 0) & (self.symbols != _ZERO_RUN)] = _INVALID
        run[self.symbols == 0] = _END
        run[self.lengths == 0] = _INVALID
        return self.lengths + category, run


_decoder = lru_cache(64)(_Decoder)


def _window(data: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> Any:
    """Return the 16 bits that start at each position, in bits."""
    byte = positions >> 3
    words = data[byte] << 16 | data[byte + 1] << 8 | data[byte + 2]
    return words >> 8 - (positions & 7) & 0xFFFF


def _levels(scan: _Scan, data: bytes, starts: Sequence[int], after_dc: Sequence[int]) -> list[int]:
    """Return the DC coefficients of all blocks of a restart interval."""
    ends = np.array(after_dc, np.int64)
    first = np.array(starts[:-1], np.int64)
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.int64)
    level = np.empty(len(first), np.int64)
    for index in range(len(scan.components)):
        own = np.array(scan.order) == index
        chosen = np.flatnonzero(np.tile(own, len(first) // len(own)))
        table = scan.dc[index]
        category = (
            _decoder(table.counts, table.symbols)
            .symbols[_window(padded, first[chosen])]
            .astype(np.int64)
        )
        extra = _window(padded, ends[chosen] - category) >> _MAX_CODE - category
        negative = (category > 0) & (extra >> np.maximum(category - 1, 0) == 0)
        level[chosen] = np.cumsum(np.where(negative, extra - (1 << category) + 1, extra))
    return list(map(int, level))
