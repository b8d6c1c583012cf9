"""GE MR: two blocks of bytes, reduced to the numbers that slice times and directions are read from.

``(0025,"GEMS_SERS_01",1B)`` is the scan protocol: a length of four bytes (little endian), and a
text that gzip has compressed, a setting on each line. It names the exam and whoever set it up.
``(0043,"GEMS_PARM_01",2A)`` is a block of the scanner's memory, with dates and names in it; four of
its values say which way phases are encoded. GE has published neither; dcm2niix reads both
(``geProtocolBlock``, ``kUserDefineDataGE``). They are written anew: no byte is copied.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from typing import Final

from sendit.vendors import NotUnderstood

# The protocol ---------------------------------------------------------------------------

MAX_TEXT: Final = 1 << 20
"""Bytes of a protocol above which it is not one (they have about 20 kB)."""

NUMBERS: Final = frozenset(("DELACQ", "DELACQNOAV", "MBACCEL", "NOSLC", "SLICEORDER", "VIEWORDER"))
"""Settings that stay if they are a number; the acquisition's delay may be the word Minimum."""

OPTIONS: Final = "IOPT"
"""The imaging options: those of :data:`KNOWN_OPTIONS` stay."""

KNOWN_OPTIONS: Final = frozenset(
    (
        *("ARC", "ASSET", "Asset", "DIFF", "EDR", "EPI", "FAST", "FC", "FMRI", "Fast", "HyperBand"),
        *("MPh", "MPhVar", "SAT", "SS", "VB"),
    )
)
_DELAY: Final = "DELACQ"
MINIMUM: Final = "Minimum"

_GZIP: Final = b"\x1f\x8b\x08"
_LENGTH: Final = struct.Struct("<I")
_LINE: Final = re.compile(
    r'(?:set\s+)?([A-Z][A-Z0-9]{2,15})[ \t=]+"?([^"\n]{0,200})"?\s*', re.ASCII
)
_NUMBER: Final = re.compile(r"-?\d{1,4}(?:\.\d{1,3})?", re.ASCII)


def clean_protocol_block(value: bytes) -> bytes:
    """Return a protocol with the settings of :data:`NUMBERS` and the known options only.

    Raises
    ------
    NotUnderstood
        It is no compressed text of this kind (newer scanners write XML), or has a setting twice.
    """
    kept: dict[str, str] = {}
    for line in _text_of(value).split("\n"):
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            continue
        name, setting = found[1], _setting(found[1], found[2].strip())
        if setting is None:
            continue
        if kept.setdefault(name, setting) != setting:
            raise NotUnderstood(name)
    text = "".join(f'{name} "{setting}"\n' for name, setting in kept.items())
    # What reads it looks for a line's beginning behind the end of another.
    packed = gzip.compress(f"\n{text}".encode("ascii"), mtime=0)
    return _LENGTH.pack(len(packed)) + packed


def _text_of(value: bytes) -> str:
    """Return the text of a protocol block."""
    if len(value) < _LENGTH.size or not value.startswith(_GZIP, _LENGTH.size):
        raise NotUnderstood("no compressed text")
    (length,) = _LENGTH.unpack_from(value)
    packed = value[_LENGTH.size : _LENGTH.size + length]
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        text = reader.decompress(packed, MAX_TEXT)
    except zlib.error:
        raise NotUnderstood("damaged") from None
    if not reader.eof or text.startswith(b"<?"):
        raise NotUnderstood("cut short, too long, or XML")
    return text.decode("latin-1")


def _setting(name: str, value: str) -> str | None:
    """Return what stays of a setting; None if nothing does."""
    if name in NUMBERS:
        if _NUMBER.fullmatch(value) or (name == _DELAY and value == MINIMUM):
            return value
        return None
    if name != OPTIONS:
        return None
    return ", ".join(word for word in re.split(r"[,\s]+", value) if word in KNOWN_OPTIONS)


# The block of memory ----------------------------------------------------------------------

_HEADER_AT: Final = struct.Struct("<24xH")
_VERSION: Final = struct.Struct("<f")
_FLAGS: Final = struct.Struct("<H")
_SIZE: Final = 920
"""Bytes behind the header's place that are read at most."""

_NEWER_FROM: Final = 25.002
_OLDER, _NEWER = 24.0, 26.0
_LOWEST, _HIGHEST = 5.0, 40.0
_SHIFTED: Final = 0x4C
"""Bytes by which a newer header's fields stand further behind."""

_POLARITY_AT, _POLARITY = 0x30, 0x0004
_EPI_AT, _EPI = 0x3A, 0x0800
_ORDER_AT, _NEWER_ORDER_AT = 0x394, 0x394 - 0x8C
_BOTTOM_UP: Final = 2
_WRITTEN_AT: Final = 32


def clean_user_data(value: bytes) -> bytes:
    """Return a block that says no more than whether the image is echo planar, and which way its
    phases and slices run.

    Raises
    ------
    NotUnderstood
        It is too short, or has no header that is known.
    """
    try:
        (start,) = _HEADER_AT.unpack_from(value)
        (version,) = _VERSION.unpack_from(value, start)
    except struct.error:
        raise NotUnderstood("too short") from None
    if len(value) < start + _SIZE or not _LOWEST <= version <= _HIGHEST:
        raise NotUnderstood("no header")
    newer = version >= _NEWER_FROM
    start += _SHIFTED if newer else 0
    order_at = _NEWER_ORDER_AT if newer else _ORDER_AT
    polarity = _flags(value, start + _POLARITY_AT) & _POLARITY
    epi = _flags(value, start + _EPI_AT) & _EPI
    order = _BOTTOM_UP if _flags(value, start + order_at) == _BOTTOM_UP else 0

    written = bytearray(_WRITTEN_AT + _SIZE)
    _FLAGS.pack_into(written, _HEADER_AT.size - _FLAGS.size, _WRITTEN_AT)
    _VERSION.pack_into(written, _WRITTEN_AT, _NEWER if newer else _OLDER)
    start = _WRITTEN_AT + (_SHIFTED if newer else 0)
    _FLAGS.pack_into(written, start + _POLARITY_AT, polarity)
    _FLAGS.pack_into(written, start + _EPI_AT, epi)
    _FLAGS.pack_into(written, start + order_at, order)
    return bytes(written)


def _flags(value: bytes, place: int) -> int:
    (flags,) = _FLAGS.unpack_from(value, place)
    return int(flags)
