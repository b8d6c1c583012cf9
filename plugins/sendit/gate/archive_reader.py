"""Read a finished archive back from disk, sharing no code with its writer.

Parses gzip, tar and DICOM from the bytes alone. A member is yielded in parts: its head
(everything up to the pixel data), its pixels in pieces, its tail (everything after them).
Native pixel samples, whose length follows from the head, are inflated in every
:data:`SAMPLED`-th member only: the writer flushes the compressor so that the next header can
be found without inflating them (:data:`~sendit.archive.BULK`), and the total length in the
gzip trailer proves that no header was skipped. Whatever cannot be skipped is inflated.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from isal import isal_zlib
from pydicom._dicom_dict import DicomDictionary

from sendit.gate.search import Search, literal

SAMPLED: Final = 16
"""The native pixels of one member in so many are inflated, too."""

MAX_SAMPLED: Final = 1 << 18
"""Approximate number of bytes of native pixels to inflate in a sampled member."""

PIECE: Final = 1 << 18
WINDOW: Final = 1 << 26
MAX_DEPTH: Final = 80
MAX_HEAD_BYTES: Final = 1 << 30
MAX_TEMPLATE_BYTES: Final = 1 << 18
MAX_TEMPLATES: Final = 256
_CHUNK: Final = 512  # bytes that are compared at once

_InflateError: Final[type[Exception]] = isal_zlib.error  # type: ignore[assignment] # wrong stub
_BLOCK: Final = 512
_GZIP: Final = b"\x1f\x8b\x08\x00" + bytes(4)
_FLUSHED: Final = b"\0\0\xff\xff"
_UNDEFINED: Final = 0xFFFFFFFF
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT_VRS: Final = {
    vr.encode(): vr
    for vr in (
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
        *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
    )
}
_LONG_VRS: Final = {
    vr.encode(): vr
    for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
}
_OPEN: Final = frozenset(("UN", "OB", "OW"))
_STRUCTS: Final = {
    big: tuple(struct.Struct(order + form).unpack_from for form in ("HH2sH", "L", "HHL"))
    for big, order in ((False, "<"), (True, ">"))
}
_VR: Final = re.compile(rb"[A-Z]{2}")
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
_BIG: Final = b"1.2.840.10008.1.2.2"
_IMPLICIT: Final = b"1.2.840.10008.1.2"
_RUN_LENGTHS: Final = b"1.2.840.10008.1.2.5"
_NATIVE: Final = frozenset((_IMPLICIT, b"1.2.840.10008.1.2.1", _BIG))
_SIZES: Final = {
    0x00280002: "samples",
    0x00280008: "frames",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280100: "bits",
}
_CHARACTER_SET: Final = 0x00080005
_LOOKED_AT: Final = frozenset((0x00020000, 0x00020010, _CHARACTER_SET, *_SIZES))


class Unreadable(Exception):
    """The archive is malformed. The message says how and contains no values."""


class _MalformedMember(Exception):
    """A member is malformed DICOM. The message says how and contains no values."""


class _NeedMore(Exception):
    """More bytes are needed: ``need`` in total, 0 if unknown."""

    def __init__(self, need: int = 0) -> None:
        super().__init__(need)
        self.need = need


# An element other than a sequence: tag, VR, start and end of its value in the part's data, and
# the tags of the enclosing sequences. A plain tuple, because there are so many.
Place = tuple[int, str, int, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Head:
    """A member up to its pixel data.

    Attributes
    ----------
    number
        Number of the member, from 1.
    name
        Name of the member.
    data
        Its bytes including ``meta``; the inflated data set if the transfer syntax is deflated.
    meta
        Preamble, prefix and file meta information.
    meta_elements
        Elements in ``meta``.
    elements
        Elements in ``data`` after ``meta``.
    new
        The subset of ``elements`` that differ from the previous member of the same structure.
    sequences
        Tags of all sequences in ``data``.
    """

    number: int
    name: str
    data: bytes
    meta: bytes
    meta_elements: list[Place]
    elements: list[Place]
    new: list[Place]
    sequences: list[int]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A piece of a member's pixel data. Pieces overlap, so that no match is cut in two.

    Attributes
    ----------
    number
        Number of the member, from 1.
    data
        The bytes.
    samples
        Whether these are native or run-length encoded samples; otherwise they are compressed.
    first, last
        Whether this is the first or last piece of its fragment.
    """

    number: int
    data: bytes
    samples: bool = True
    first: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Tail:
    """The part of a member after its pixel data, usually empty; attributes as in :class:`Head`."""

    number: int
    data: bytes
    elements: list[Place]
    sequences: list[int]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A member that cannot be read to its end; the others can."""

    number: int
    why: str


@dataclass(slots=True)
class Totals:
    """Number of members read, of bytes inflated, and of bytes skipped (``passed``)."""

    members: int = 0
    inflated: int = 0
    passed: int = 0


OVERLAP: Final = 256
"""Bytes by which pieces of pixel data overlap."""


MemberPart = Head | Pixels | Tail | Damaged


def read_archive(path: Path, totals: Totals, *, thorough: bool = False) -> Iterator[MemberPart]:
    """Yield the parts of every member.

    Parameters
    ----------
    path
        A ``.tar.gz`` of DICOM files.
    totals
        Updated while reading.
    thorough
        Inflate all pixels.

    Yields
    ------
    Head, Pixels, Tail or Damaged
        Of each member the head, then its pixels in pieces, then the tail; ``Damaged`` as soon
        as a member cannot be read.

    Raises
    ------
    Unreadable
        The archive is incomplete or malformed.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 18:
            raise Unreadable("the archive is cut short")
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            stream = _Stream(data, size, totals)
            try:
                yield from _members(stream, totals, thorough=thorough)
                stream.finish()
            finally:
                stream.close()


class _Stream:
    """The inflated archive as a stream.

    ``buffer`` holds the bytes that were inflated but not consumed; ``position`` is its offset
    in the stream.
    """

    def __init__(self, data: mmap.mmap, size: int, totals: Totals) -> None:
        if data[:8] != _GZIP:
            raise Unreadable("the archive is not gzip")
        self._data = data
        self._end = size - 8
        self._next = 10
        self._inflate = isal_zlib.decompressobj(-15)
        self._totals = totals
        self._flushes = _flushes(data, self._end)
        self._ahead: deque[int] = deque()
        self._flushed = self._next_flush()
        self.buffer = bytearray()
        self.position = 0

    def close(self) -> None:
        """Close the file."""
        self._flushes = iter(())

    def more(self) -> None:
        """Inflate the next piece: up to the next flush, and no more than a piece.

        Raises
        ------
        Unreadable
            The archive is truncated or does not inflate.
        """
        if self._next >= self._end:
            raise Unreadable("the archive is cut short")
        while self._flushed <= self._next:
            self._flushed = self._next_flush()
        stop = min(self._flushed, self._next + (PIECE >> 1))
        try:
            got = self._inflate.decompress(self._data[self._next : stop])
        except _InflateError:
            raise Unreadable("the archive does not inflate") from None
        self._next = stop
        self._totals.inflated += len(got)
        self.buffer += got

    def _next_flush(self) -> int:
        return self._ahead.popleft() if self._ahead else next(self._flushes)

    def need(self, count: int) -> None:
        """Fill the buffer with at least this many bytes."""
        while len(self.buffer) < count:
            self.more()

    def take(self, count: int) -> bytes:
        """Consume and return the next ``count`` bytes."""
        self.need(count)
        taken = bytes(memoryview(self.buffer)[:count])
        self.drop(count)
        return taken

    def drop(self, count: int) -> None:
        """Discard the next ``count`` bytes, which must be in the buffer."""
        del self.buffer[:count]
        self.position += count

    def skip(self, position: int) -> None:
        """Skip to ``position``, the end of a member that was read in part.

        Raises
        ------
        Unreadable
            The member extends past this position.
        """
        while self.position < position:
            self.need(1)
            self.drop(min(len(self.buffer), position - self.position))
        if self.position > position:
            raise Unreadable("a member takes more than its part of the archive")

    def passed(self, count: int, follows: int) -> bool:
        """Skip the next ``count`` bytes without inflating them, if what follows can be located.

        ``follows`` bytes after them there must be a tar header or the end of the archive. It is
        searched for as far as these bytes can take compressed, so that an archive whose pixels
        cannot be skipped is still read in linear time.

        Returns
        -------
        bool
            Whether they were skipped; if not, nothing has changed.
        """
        if self.buffer or not count:
            return False
        tried: list[int] = []
        position = self._flushed
        last = self._next + count + count // 16 + _BLOCK  # incompressible bytes grow a little
        while True:
            while position <= self._next:
                position = self._next_flush()
            tried.append(position)
            if position == self._end or position > last:
                self._ahead.extendleft(reversed(tried))
                return False
            following = self._next_flush()
            self._ahead.appendleft(following)
            stop = min(position + _BLOCK * 8, following)
            inflate = isal_zlib.decompressobj(-15)
            try:
                got = inflate.decompress(self._data[position:stop])
            except _InflateError:
                got = b""
            block = got[follows : follows + _BLOCK]
            if _is_header(block) and (any(block) or inflate.eof):
                break
            position = self._next_flush()
        self._inflate = inflate
        self._next, self._flushed = stop, position
        self.buffer += got
        self.position += count
        self._totals.inflated += len(got)
        self._totals.passed += count
        return True

    def finish(self) -> None:
        """Check that the stream ends here, with the length in the gzip trailer.

        Raises
        ------
        Unreadable
            Data follows the last member, or the length differs.
        """
        if any(self.buffer):
            raise Unreadable("something follows the last member")
        while self._next < self._end:
            self.more()
            if any(self.buffer):
                raise Unreadable("something follows the last member")
        if not self._inflate.eof:
            raise Unreadable("the archive is cut short")
        length = struct.unpack("<L", self._data[self._end + 4 : self._end + 8])[0]
        if (self._totals.inflated + self._totals.passed) & 0xFFFFFFFF != length:
            raise Unreadable("the archive is not as long as it says")


def _flushes(data: mmap.mmap, end: int) -> Iterator[int]:
    """Yield the offsets at which a flush may have ended, in order, then ``end`` indefinitely."""
    finder = _flush_search()
    window = memoryview(data)
    try:
        for start in range(10, end, WINDOW):
            stop = min(start + WINDOW + len(_FLUSHED) - 1, end)
            for hit in finder.hits(window[start:stop]):
                yield start + hit.end
    finally:
        window.release()
    while True:
        yield end


@cache
def _flush_search() -> Search:
    return Search([literal(_FLUSHED)], [False])


def _is_header(block: bytes) -> bool:
    if len(block) < _BLOCK:
        return False
    if not any(block):
        return True
    return block[257:262] == b"ustar" and _checksum(block) == _octal(block[148:156])


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise Unreadable("a tar header cannot be read") from None


def _members(stream: _Stream, totals: Totals, *, thorough: bool) -> Iterator[MemberPart]:
    extended: dict[bytes, bytes] = {}
    templates = _HeadTemplates()
    while True:
        block = stream.take(_BLOCK)
        if not any(block):
            if any(stream.take(_BLOCK)):
                raise Unreadable("the archive ends in the middle")
            return
        if not _is_header(block):
            raise Unreadable("a tar header cannot be read")
        size = _octal(block[124:136])
        if block[156:157] == b"x":
            extended = _records(stream.take(size + -size % _BLOCK)[:size])
            continue
        if block[156:157] != b"0":
            raise Unreadable("a member is not a plain file")
        size = int(extended.get(b"size", size))
        name = extended.get(b"path", block[:100].rstrip(b"\0")).decode("utf-8", "replace")
        extended = {}
        totals.members += 1
        sample = MAX_SAMPLED if totals.members % SAMPLED == 1 else 0
        sample = size if thorough else sample
        end = stream.position + size
        try:
            walk = _head(stream, size, templates)
            yield Head(
                number=totals.members,
                name=name,
                data=walk.data,
                meta=walk.meta,
                meta_elements=walk.meta_elements,
                elements=walk.elements,
                new=walk.new,
                sequences=walk.sequences,
            )
            yield from _rest(stream, totals.members, size, walk, sample)
        except Unreadable:
            raise
        except Exception as failure:  # noqa: BLE001 a member that crashes the reader is damaged
            malformed = isinstance(failure, _MalformedMember)
            why = str(failure) if malformed else "an element that cannot be read"
            yield Damaged(totals.members, why)
            stream.skip(end)
        if any(stream.take(-size % _BLOCK)):
            raise Unreadable("a member is not followed by zeros")


def _records(data: bytes) -> dict[bytes, bytes]:
    records = {}
    while data:
        length, _, rest = data.partition(b" ")
        key, _, value = rest[: int(length) - len(length) - 1].partition(b"=")
        records[key] = value[:-1]
        data = data[int(length) :]
    return records


def _head(stream: _Stream, size: int, templates: _HeadTemplates) -> _Walk:
    """Read a member up to its pixel data."""
    while True:
        available = min(size, len(stream.buffer))
        data = bytes(memoryview(stream.buffer)[:available])
        walk = templates.find(size, data)
        try:
            if walk is None:
                walk = _Walk(data, complete=available == size)
                templates.keep(size, available, walk)
        except _NeedMore as short:
            if available == size:
                raise _MalformedMember("an element that extends past the end") from None
            if available > MAX_HEAD_BYTES:
                raise _MalformedMember("a header without an end") from None
            stream.more()
            # Fetch a long value at once, a sequence of undefined length in growing steps.
            grown = available * 3 // 2 if available > PIECE else 0
            stream.need(min(size, max(short.need, grown)))
        else:
            stream.drop(walk.taken)
            return walk


def _rest(
    stream: _Stream, number: int, size: int, walk: _Walk, sample: int
) -> Iterator[Pixels | Tail]:
    """Read or skip a member's pixel data, and read what follows."""
    left = size - walk.taken
    if walk.pixels is None:
        return
    if walk.pixels == _UNDEFINED:
        for piece, taken in _fragments(stream, number, left, walk):
            left -= taken
            yield piece
    else:
        left -= walk.pixels
        if left < 0:
            raise _MalformedMember("pixel data that ends early")
        if walk.native == walk.pixels and left <= _BLOCK:
            yield from _sampled(stream, number, walk.pixels, sample, left + -size % _BLOCK)
        else:
            yield from _pieces(stream, number, walk.pixels)
    tail = _Walk.after_pixels(stream.take(left), walk)
    yield Tail(number, tail.data, tail.elements, tail.sequences)


def _sampled(
    stream: _Stream, number: int, count: int, sample: int, follows: int
) -> Iterator[Pixels]:
    """Read about ``sample`` bytes of native pixels and skip the rest where possible."""
    if sample:
        some = min(count, sample)
        yield from _pieces(stream, number, some)
        inflated = min(count - some, len(stream.buffer))
        yield from _pieces(stream, number, inflated)
        count -= some + inflated
    if not stream.passed(count, follows):
        yield from _pieces(stream, number, count)


def _pieces(stream: _Stream, number: int, count: int, *, samples: bool = True) -> Iterator[Pixels]:
    before, first = b"", True
    while count:
        stream.need(1)
        got = stream.take(min(count, len(stream.buffer), PIECE))
        count -= len(got)
        yield Pixels(number, before + got, samples, first, not count)
        before, first = got[-OVERLAP:], False


def _fragments(
    stream: _Stream, number: int, left: int, walk: _Walk
) -> Iterator[tuple[Pixels, int]]:
    head = struct.Struct(">HHL" if walk.big else "<HHL")
    while True:
        if left < 8:
            raise _MalformedMember("pixel data that ends early")
        raw = stream.take(8)
        group, element, length = head.unpack(raw)
        left -= 8
        yield Pixels(number, raw), 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM or length > left:
            raise _MalformedMember("pixel data fragments that cannot be read")
        left -= length
        before = 0
        for piece in _pieces(stream, number, length, samples=walk.samples):
            yield piece, len(piece.data) - before
            before = min(OVERLAP, len(piece.data) - before)


class _HeadTemplates:
    """Cached heads, so that a head that differs only in values need not be parsed.

    Compares the bytes between values (tags, VRs, lengths, delimiters) and the values that
    parsing depends on; if all are equal, the cached result applies.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], _HeadTemplate] = {}

    def find(self, size: int, data: bytes) -> _Walk | None:
        """Return the parsed head of a member if one of the same structure is cached."""
        template = self._known.get((size, len(data)))
        return None if template is None else template.walk(data)

    def keep(self, size: int, available: int, walk: _Walk) -> None:
        """Cache a parsed head."""
        if (
            not walk.deflated
            and walk.taken <= MAX_TEMPLATE_BYTES
            and len(self._known) < MAX_TEMPLATES
        ):
            self._known[size, available] = _HeadTemplate(walk)


class _HeadTemplate:
    """A parsed head, and the bytes of the last one with the same structure."""

    def __init__(self, walk: _Walk) -> None:
        self._walk = walk
        self._last = walk.data
        self._windows: list[tuple[int, int, list[tuple[int, Place]]]] = []
        window: list[tuple[int, Place]] = []
        begin = position = 128
        nothing: Place = (0, "", walk.taken, walk.taken, ())
        for place in (*walk.meta_elements, *walk.elements, nothing):
            if place[3] - begin > _CHUNK and window:
                self._windows.append((begin, position, window))
                window, begin = [], position
            window.append((position, place))
            position = place[3]
        self._windows.append((begin, position, window))

    def walk(self, data: bytes) -> _Walk | None:
        """Return the parsed head of these bytes; None if their structure differs."""
        last = self._last
        new = []
        for begin, end, window in self._windows:
            if data[begin:end] == last[begin:end]:
                continue
            for position, place in window:
                tag, _, start, stop, path = place
                if data[position:start] != last[position:start]:
                    return None
                if data[start:stop] != last[start:stop]:
                    if not path and tag in _LOOKED_AT:
                        return None
                    new.append(place)
        walk = self._walk.copy()
        walk.data, walk.meta = data[: walk.taken], data[: len(walk.meta)]
        of_meta = len(walk.meta)
        walk.new = [place for place in new if place[2] >= of_meta]
        self._last = walk.data
        return walk


class _Walk:
    """The elements of a member's head, or of its tail."""

    def __init__(self, data: bytes, *, complete: bool) -> None:
        self.elements: list[Place] = []
        self.sequences: list[int] = []
        self.pixels: int | None = None
        self.data = data
        self._complete = complete
        self._sizes = {"samples": 1, "frames": 1}
        if len(data) < 132:
            raise _NeedMore
        if data[128:132] != b"DICM":
            raise _MalformedMember("a file that is not DICOM")
        self.big, self._explicit = False, True
        position = self._meta()
        self.meta = data[:position]
        self.meta_elements, self.elements = self.elements, []
        syntax = self._syntax
        self.big, self._explicit = syntax == _BIG, syntax != _IMPLICIT
        self._native = syntax in _NATIVE
        self.samples = self._native or syntax == _RUN_LENGTHS
        self.deflated = syntax == _DEFLATED
        if self.deflated:
            if not complete:
                raise _NeedMore(MAX_HEAD_BYTES)
            self.data = self._inflated(data[position:])
            self.taken = len(data)
            self._dataset(0, len(self.data), (), self._explicit, top=False)
            self.new = self.elements
            return
        self.taken = self._dataset(position, len(data), (), self._explicit, top=True)
        self.new = self.elements
        self.data = data[: self.taken]

    def copy(self) -> _Walk:
        """Return a copy; :func:`copy.copy` takes ten times as long."""
        copied = _Walk.__new__(_Walk)
        copied.__dict__.update(self.__dict__)
        return copied

    @classmethod
    def after_pixels(cls, data: bytes, walk: _Walk) -> _Walk:
        """Parse the elements after the pixel data of a member whose head is known.

        Raises
        ------
        _MalformedMember
            The bytes are not complete elements.
        """
        made = cls.__new__(cls)
        made.elements, made.sequences, made.pixels = [], [], None
        made.data, made.meta, made._complete, made._sizes = data, b"", True, {}
        made.big, made._explicit = walk.big, walk._explicit
        try:
            made._dataset(0, len(data), (), made._explicit, top=False)
        except _NeedMore:
            raise _MalformedMember("an incomplete element after the pixel data") from None
        return made

    @property
    def native(self) -> int | None:
        """Length of the pixel data in bytes according to the head; None if compressed."""
        sizes = self._sizes
        if not self._native or not {"rows", "columns", "bits"} <= sizes.keys():
            return None
        bits = sizes["samples"] * sizes["frames"] * sizes["rows"] * sizes["columns"] * sizes["bits"]
        count = (bits + 7) // 8
        return count + count % 2

    @staticmethod
    def _inflated(data: bytes) -> bytes:
        inflate = isal_zlib.decompressobj(-15)
        try:
            got = inflate.decompress(data, MAX_HEAD_BYTES)
        except _InflateError:
            raise _MalformedMember("a data set that does not inflate") from None
        if not inflate.eof:
            raise _MalformedMember("a deflated data set that ends early")
        return got

    def _meta(self) -> int:
        position, self._syntax = 132, b""
        data = self.data
        if data[132:140] != b"\x02\0\0\0UL\x04\0":
            raise _MalformedMember("no file meta")
        end = 144 + int.from_bytes(data[140:144], "little")
        if end > len(data):
            raise _NeedMore
        position = self._dataset(position, end, (), True, top=False)
        for tag, _, start, stop, _ in self.elements:
            if tag >> 16 != 2:
                raise _MalformedMember("file meta that cannot be read")
            if tag == 0x00020010:
                self._syntax = data[start:stop].rstrip(b" \0")
        if position + 2 > len(data) and not self._complete:
            raise _NeedMore
        return position

    def _dataset(  # noqa: PLR0912 one loop, because it runs for every element
        self, position: int, end: int, path: tuple[int, ...], explicit: bool, *, top: bool
    ) -> int:
        """Parse elements up to ``end``, the end of an item or the pixel data; return the offset."""
        if len(path) > MAX_DEPTH:
            raise _MalformedMember("sequences nested too deep")
        data, add = self.data, self.elements.append
        short, long, plain = _STRUCTS[self.big]
        # Hot: runs for every element of every delivered file.
        while position < end:
            try:
                if explicit:
                    group, element, raw_vr, length = short(data, position)
                    start = position + 8
                else:
                    group, element, length = plain(data, position)
                    start, raw_vr = position + 8, b""
            except struct.error:
                raise _NeedMore from None
            tag = group << 16 | element
            if not explicit:
                vr = _vr(tag)
            elif raw_vr in _SHORT_VRS:
                vr = _SHORT_VRS[raw_vr]
            elif raw_vr in _LONG_VRS:
                vr = _LONG_VRS[raw_vr]
                if start + 4 > len(data):
                    raise _NeedMore
                length = long(data, start)[0]
                start += 4
            elif tag == _ITEM_END:
                vr = ""
            else:
                raise _MalformedMember("an element without a VR")
            if tag == _ITEM_END and path:
                return start
            if group == 0x7FE0 and top and tag in _PIXELS:
                self.pixels = length
                return start
            if vr == "SQ" or (length == _UNDEFINED and vr in _OPEN):
                self.sequences.append(tag)
                position = self._items(start, length, (*path, tag), explicit and vr != "UN")
                continue
            position = start + length
            if position > end:
                raise _NeedMore(0 if path else position)
            add((tag, vr, start, position, path))
            if group == 0x0028 and top and tag in _SIZES and length:
                self._size(tag, vr, data[start:position])
        if top and not self._complete:
            raise _NeedMore
        return position

    def _items(self, position: int, length: int, path: tuple[int, ...], explicit: bool) -> int:
        data, plain = self.data, _STRUCTS[self.big][2]
        end = len(data) if length == _UNDEFINED else position + length
        if end > len(data):
            raise _NeedMore
        while position < end:
            try:
                group, element, size = plain(data, position)
            except struct.error:
                raise _NeedMore from None
            tag, start = group << 16 | element, position + 8
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise _MalformedMember("a sequence that cannot be read")
            stop = end if size == _UNDEFINED else start + size
            if stop > end:
                raise _NeedMore
            inside = explicit and (
                start == stop
                or _VR.fullmatch(data[start + 4 : start + 6]) is not None
                or data[start : start + 2] in {b"\xfe\xff", b"\xff\xfe"}
            )
            position = self._dataset(start, stop, path, inside, top=False)
        if length == _UNDEFINED:
            raise _NeedMore
        return position

    def _size(self, tag: int, vr: str, raw: bytes) -> None:
        if vr == "US":
            self._sizes[_SIZES[tag]] = int.from_bytes(raw[:2], "big" if self.big else "little")
        else:
            text = raw.strip(b" \0")
            self._sizes[_SIZES[tag]] = int(text) if text.isdigit() and len(text) < 13 else 0


@lru_cache(maxsize=4096)
def _vr(tag: int) -> str:
    """Return an attribute's VR from the dictionary, for implicit VR."""
    entry = DicomDictionary.get(tag)
    if entry is not None:
        return entry[0][:2]
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    return "UN"
