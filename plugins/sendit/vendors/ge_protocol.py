"""GE MR: rebuild two private structures from the numbers that slice timing and directions need.

``(0025,"GEMS_SERS_01",1B)`` is the scan protocol: a length of four bytes (little endian), followed
by gzip-compressed text with one setting per line. It contains names of the exam and of its author.
``(0043,"GEMS_PARM_01",2A)`` is a dump of the scanner's memory, with dates and names; four of its
values determine the phase encoding. GE publishes neither format; dcm2niix reads both
(``geProtocolBlock``, ``kUserDefineDataGE``). Both are rebuilt: no byte is copied.
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
"""Maximum size of a protocol's text in bytes (typically 20 kB)."""

NUMBERS: Final = frozenset(("DELACQ", "DELACQNOAV", "MBACCEL", "NOSLC", "SLICEORDER", "VIEWORDER"))
"""Settings that stay if they are numbers; the acquisition's delay may also be ``Minimum``."""

OPTIONS: Final = "IOPT"
"""The imaging options, of which those in :data:`KNOWN_OPTIONS` stay."""

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
    """Rebuild a protocol with only the settings of :data:`NUMBERS` and the known options.

    Parameters
    ----------
    value
        The value of ``(0025,"GEMS_SERS_01",1B)``.

    Raises
    ------
    NotUnderstood
        It is not compressed text of this kind (newer scanners write XML), or a setting occurs
        twice with different values.
    """
    kept: dict[str, str] = {}
    for line in _text_of(value).split("\n"):
        assignment = _LINE.fullmatch(line.rstrip("\r"))
        if assignment is None:
            continue
        name, setting = assignment[1], _setting(assignment[1], assignment[2].strip())
        if setting is None:
            continue
        if kept.setdefault(name, setting) != setting:
            raise NotUnderstood(name)
    text = "".join(f'{name} "{setting}"\n' for name, setting in kept.items())
    # dcm2niix finds the beginning of a line by the line feed before it.
    packed = gzip.compress(f"\n{text}".encode("ascii"), mtime=0)
    return _LENGTH.pack(len(packed)) + packed


def _text_of(value: bytes) -> str:
    """Decompress the text of a protocol block."""
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
    """Return what remains of a setting; None if nothing does."""
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
"""Number of bytes from the beginning of the header that are read."""

_NEWER_FROM: Final = 25.002
_OLDER, _NEWER = 24.0, 26.0
_MIN_VERSION, _MAX_VERSION = 5.0, 40.0
_SHIFTED: Final = 0x4C
"""Offset of the fields in a newer header, relative to an older one."""

_POLARITY_AT, _POLARITY = 0x30, 0x0004
_EPI_AT, _EPI = 0x3A, 0x0800
_ORDER_AT, _NEWER_ORDER_AT = 0x394, 0x394 - 0x8C
_BOTTOM_UP: Final = 2
_WRITTEN_AT: Final = 32


def clean_user_data(value: bytes) -> bytes:
    """Rebuild a block with only three values: echo planar, phase polarity and slice order.

    Parameters
    ----------
    value
        The value of ``(0043,"GEMS_PARM_01",2A)``.

    Raises
    ------
    NotUnderstood
        It is too short, or has no known header.
    """
    try:
        (start,) = _HEADER_AT.unpack_from(value)
        (version,) = _VERSION.unpack_from(value, start)
    except struct.error:
        raise NotUnderstood("too short") from None
    if len(value) < start + _SIZE or not _MIN_VERSION <= version <= _MAX_VERSION:
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
