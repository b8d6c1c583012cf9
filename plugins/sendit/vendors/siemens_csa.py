"""Siemens CSA headers: rebuild them from the numbers that image geometry and timing need.

``(0029,"SIEMENS CSA HEADER",10)`` describes an image, ``(...,20)`` its series. Both consist of
named tags with text items, and contain uninitialised memory of the scanner after each name. Mosaics
cannot be unpacked without the first, the only place with the direction of their slices. A header is
therefore parsed and rebuilt with only the tags of a fixed list whose values have the expected form
and range; no byte is copied that was not understood.

The layout ("SV10", syngo VA25 and later; little endian whatever the transfer syntax) is not
published by Siemens. It is the one that nibabel (``nibabel.nicom.csareader``) and dcm2niix read:
``SV10``, four bytes, the number of tags, 77; for each tag a name of 64 bytes ended by NUL, its
multiplicity, VR, syngo type, number of items and 77 or 205; for each item four integers, of which
the second is the length of the text that follows, padded to four bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final

from sendit.vendors import NotUnderstood

MAX_TAGS: Final = 1000
"""Maximum number of tags in a header (images have about 80, series 70)."""

MAX_ITEMS: Final = 1000
"""Maximum number of items of a tag (nibabel has the same limit)."""

MIN_ITEMS: Final = 6
"""Number of items that Siemens writes for a tag with a value; dcm2niix reads three unchecked."""

_MAGIC: Final = b"SV10"
_UNUSED: Final = b"\x04\x03\x02\x01"
_COUNTS: Final = struct.Struct("<2I")
_TAG: Final = struct.Struct("<64si4s3i")
_ITEM: Final = struct.Struct("<4i")
_NUMBER_OF_ITEMS: Final = struct.Struct("<76xi4x")
_LENGTH: Final = struct.Struct("<4xi8x")
_CHECK: Final = 77
_MAX_BEFORE: Final = 8
_NO_VALUE: Final = 205
_NAME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9_]{0,62})\0")
_NUMBER: Final = re.compile(
    r"[+-]?(?:\d{1,12}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,3})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class CsaTag:
    """A tag of a CSA header.

    Attributes
    ----------
    name
        Its name.
    multiplicity
        Number of values; 0 if variable.
    vr, syngo_type
        Types of its values.
    items
        Texts of its items, in order; unused items are empty.
    """

    name: str
    multiplicity: int
    vr: str
    syngo_type: int
    items: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The nonempty items."""
        return tuple(item for item in self.items if item)


def read_csa(value: bytes) -> Iterator[CsaTag]:
    """Parse a CSA header.

    Raises
    ------
    NotUnderstood
        It has another layout, or is truncated.
    """
    number, place = _start(value)
    try:
        for _ in range(number):
            tag, place = _read_tag(value, place)
            yield tag
    except struct.error:
        raise NotUnderstood("ends early") from None


def _start(value: bytes) -> tuple[int, int]:
    """Return the number of tags and the offset of the first."""
    if value[:8] != _MAGIC + _UNUSED or len(value) < 8 + _COUNTS.size:
        raise NotUnderstood("no SV10 header")
    number, check = _COUNTS.unpack_from(value, 8)
    if check != _CHECK or not 0 < number <= MAX_TAGS:
        raise NotUnderstood("number of tags")
    return number, 8 + _COUNTS.size


def _read_tag(value: bytes, place: int) -> tuple[CsaTag, int]:
    raw_name, multiplicity, raw_vr, syngo_type, number, check = _TAG.unpack_from(value, place)
    name = _NAME.match(raw_name)
    vr = raw_vr[:2]
    if (
        name is None
        or check not in (_CHECK, _NO_VALUE)
        or not (vr.isalpha() and vr.isupper())
        or not 0 <= number <= MAX_ITEMS
    ):
        raise NotUnderstood("a tag's head")
    place += _TAG.size
    items: list[str] = []
    for _ in range(number):
        length = _ITEM.unpack_from(value, place)[1]
        place += _ITEM.size
        if not 0 <= length <= len(value) - place:
            raise NotUnderstood("an item's length")
        text = value[place : place + length].split(b"\0", 1)[0]
        items.append(text.decode("latin-1").strip(" "))
        place += (length + 3) // 4 * 4
    return CsaTag(name[1].decode(), multiplicity, vr.decode(), syngo_type, tuple(items)), place


def write_csa(tags: Iterable[CsaTag]) -> bytes:
    """Encode a CSA header; empty if there are no tags."""
    return _joined([_write_tag(tag) for tag in tags])


def _joined(written: Sequence[bytes]) -> bytes:
    if not written:
        return b""
    return b"".join([_MAGIC, _UNUSED, _COUNTS.pack(len(written), _CHECK), *written])


def _write_tag(tag: CsaTag) -> bytes:
    number = max(MIN_ITEMS, len(tag.items))
    head = _TAG.pack(
        tag.name.encode(), tag.multiplicity, tag.vr.encode(), tag.syngo_type, number, _CHECK
    )
    parts = [head]
    for item in (*tag.items, *("",) * (number - len(tag.items))):
        if not item:
            parts.append(_ITEM.pack(0, 0, _NO_VALUE, 0))
            continue
        text = item.encode("latin-1") + b"\0"
        parts += [_ITEM.pack(len(text), len(text), _CHECK, len(text)), text]
        parts.append(bytes(-len(text) % 4))
    return b"".join(parts)


# The image's header ---------------------------------------------------------------------


def _number(lowest: float, highest: float) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        return _NUMBER.fullmatch(text) is not None and lowest <= float(text) <= highest

    return fits


_WRITTEN_DATE: Final = re.compile(
    r"(?:1[89]|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\.0*)?"
)


def _time_of_slice(text: str) -> bool:
    """Whether a text is a time in ms within a day, and not a date with the same digits."""
    return _number(-1, 86_400_000)(text) and not _WRITTEN_DATE.fullmatch(text)


def _term(pattern: str) -> Callable[[str], bool]:
    expression = re.compile(pattern, re.ASCII)
    return lambda text: expression.fullmatch(text) is not None


_INDEX: Final = _number(0, 9999)
_POSITION: Final = _number(-10_000, 10_000)
_UNIT: Final = _number(-1.001, 1.001)

IMAGE_TAGS: Final[Mapping[str, tuple[int, Callable[[str], bool]]]] = {
    # name: (maximum number of values, check of a value)
    "EchoLinePosition": (1, _INDEX),
    "EchoColumnPosition": (1, _INDEX),
    "EchoPartitionPosition": (1, _INDEX),
    "ICE_Dims": (1, _term(r"(?:X|\d{1,3})(?:_\d{1,4}){8,13}(?:_\d{1,7})?")),
    "B_value": (1, _number(0, 50_000)),
    "ProtocolSliceNumber": (1, _INDEX),
    "RealDwellTime": (1, _number(0, 999_999)),  # ns
    "SliceMeasurementDuration": (1, _number(0, 9_999_999)),  # ms
    "AcquisitionMatrixText": (1, _term(r"\d{1,4}[ps]?\*\d{1,4}[ps]?")),
    "MeasuredFourierLines": (1, _INDEX),
    "PhaseEncodingDirectionPositive": (1, _number(0, 1)),
    "PhaseEncodingDirection": (1, _term("ROW|COL")),
    "NumberOfImagesInMosaic": (1, _INDEX),
    "DiffusionGradientDirection": (3, _UNIT),
    "SliceNormalVector": (3, _UNIT),
    "DiffusionDirectionality": (1, _term("NONE|DIRECTIONAL|ISOTROPIC|BMATRIX")),
    "TimeAfterStart": (1, _number(0, 99_999)),  # s
    "ImaAbsTablePosition": (3, _POSITION),
    "ImaRelTablePosition": (3, _POSITION),
    "NonPlanarImage": (1, _number(0, 1)),
    "SlicePosition_PCS": (3, _POSITION),
    "RBMoCoTrans": (3, _POSITION),
    "RBMoCoRot": (3, _POSITION),
    "MultistepIndex": (1, _INDEX),
    "ImaPATModeText": (1, _term(r"(?:p\d{1,2})?(?:s\d{1,2})?")),
    "B_matrix": (6, _number(-100_000, 100_000)),
    "BandwidthPerPixelPhaseEncode": (1, _number(0, 99_999)),  # Hz
    "MosaicRefAcqTimes": (MAX_ITEMS, _time_of_slice),
    "Columns": (1, _INDEX),
    "Rows": (1, _INDEX),
}
"""Tags of an image's header that stay if all values pass the check."""

GEOMETRY: Final = frozenset(
    (
        *("B_matrix", "B_value", "DiffusionGradientDirection", "NumberOfImagesInMosaic"),
        *("PhaseEncodingDirectionPositive", "SliceNormalVector"),
    )
)
"""Tags without which the rest of a header would be misinterpreted."""


def clean_image_header(value: bytes) -> bytes:
    """Rebuild the header of an image with only the tags of :data:`IMAGE_TAGS`.

    A tag is dropped if a value has an unexpected form, if it has too many values, or if it occurs
    twice.

    Returns
    -------
    bytes
        The new header; empty if no tag stays.

    Raises
    ------
    NotUnderstood
        It is not a CSA header, or one of :data:`GEOMETRY` would have to be dropped.
    """
    kept: dict[str, bytes] = {}
    for raw in _tags_of(value):
        name, written = _clean_tag(raw)
        if written is None:
            continue
        if not written or name in kept:
            if name in GEOMETRY:
                raise NotUnderstood(name)
            written = b""
        kept[name] = written
    return _joined([written for written in kept.values() if written])


_before: dict[int, list[bytes]] = {}
"""The tags of the previous header, by number of tags: those of the next image are mostly equal, and
equal bytes have the same length."""


def _tags_of(value: bytes) -> Iterator[bytes]:
    """Yield the bytes of each tag of a header; hot, because it is called for each image."""
    number, place = _start(value)
    before = _before.get(number, ())
    tags: list[bytes] = []
    try:
        for same in before:
            if not value.startswith(same, place):
                same = value[place : _end_of(value, place)]  # noqa: PLW2901 differs from the previous one
            tags.append(same)
            place += len(same)
            yield same
        for _ in range(number - len(before)):
            tags.append(value[place : _end_of(value, place)])
            place += len(tags[-1])
            yield tags[-1]
    except struct.error:
        raise NotUnderstood("ends early") from None
    if place < len(value):  # the last tag is complete
        if len(_before) >= _MAX_BEFORE:
            _before.clear()
        _before[number] = tags


def _end_of(value: bytes, place: int) -> int:
    """Return the end of the tag at an offset."""
    (items,) = _NUMBER_OF_ITEMS.unpack_from(value, place)
    if not 0 <= items <= MAX_ITEMS:
        raise NotUnderstood("a tag's head")
    place += _TAG.size
    for _ in range(items):
        (length,) = _LENGTH.unpack_from(value, place)
        place += _ITEM.size
        if not 0 <= length <= len(value) - place:
            raise NotUnderstood("an item's length")
        place += (length + 3) // 4 * 4
    return place


@lru_cache(maxsize=1 << 12)
def _clean_tag(raw: bytes) -> tuple[str, bytes | None]:
    """Return a tag's name and the rebuilt tag: empty if it must be dropped, None if it has no
    value.

    Cached, because the images of a series differ in few tags.
    """
    tag, _ = _read_tag(raw, 0)
    values = tag.values
    if not values:
        return tag.name, None
    limit, is_valid = IMAGE_TAGS.get(tag.name, (0, bool))
    if len(values) > limit or not all(map(is_valid, values)):
        return tag.name, b""
    multiplicity = 0 if limit == MAX_ITEMS else limit
    return tag.name, _write_tag(CsaTag(tag.name, multiplicity, tag.vr, tag.syngo_type, values))


# The series' header: its protocol --------------------------------------------------------

PROTOCOLS: Final = ("MrPhoenixProtocol", "MrProtocol")
"""Tags of a series' header with the scan protocol as text, the newer one first."""

PROTOCOL_KEYS: Final = "siemens_protocol_keys.txt"

_BEGIN: Final = "### ASCCONV BEGIN"
_END: Final = "### ASCCONV END ###"
_LINE: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9_.\[\]]{0,120})\s*=\s*"
    r"([+-]?\d{1,10}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?|0x[0-9a-fA-F]{1,8})\s*",
    re.ASCII,
)
_SUBSCRIPT: Final = re.compile(r"\[\d{1,4}\]")
SEQUENCE: Final = "tSequenceFileName"
_SEQUENCE_LINE: Final = re.compile(
    SEQUENCE + r'\s*=\s*"{1,2}(%(?:Siemens|Customer)Seq%\\\w{1,40})"{1,2}\s*', re.ASCII
)

SEQUENCES: Final = frozenset(
    (
        *(
            rf"%SiemensSeq%\{name}"
            for name in (
                *("AALScout", "csi_se", "csi_st", "de3d", "ep2d_asl", "ep2d_bold", "ep2d_diff"),
                *("ep2d_fid", "ep2d_pace", "ep2d_pasl", "ep2d_perf", "ep2d_se", "ep_seg_fid"),
                *("ep_seg_se", "fl"),
                *("fl3d_ce", "fl3d_vibe", "fl_pc", "fl_r", "fl_tof", "gre", "gre_field_mapping"),
                *("haste", "haste_irm", "medic", "petra", "psif", "resolve", "se", "se_mc"),
                *(
                    "space",
                    "svs_se",
                    "svs_st",
                    "tfl",
                    "tgse",
                    "tgse_pasl",
                    "tir",
                    "trufi",
                    "tse",
                    "tse_dixon",
                ),
                *("tse_rst", "tse_vfl"),
            )
        ),
        *(
            rf"%CustomerSeq%\{name}"
            for name in (
                *("cmrr_mbep2d_bold", "cmrr_mbep2d_diff", "cmrr_mbep2d_se"),
                *("tfl_mgh_epinav_ABCD", "space_mgh_epinav_ABCD", "gre_field_mapping_PMUlog"),
                *("ep2d_pcasl", "ep2d_pcasl_ve11c", "tgse_pcasl", "tgse_pcasl_ve11c"),
                *("ep2d_fairest", "to_ep2d_VEPCASL", "jw_tgse_VEPCASL"),
                *("ep2d_diff_fwf", "ep2d_diff_sms_fwf_simple"),
            )
        ),
    )
)
"""Pulse sequences of Siemens, and published ones of research groups. dcm2niix uses their names to
distinguish field maps from functional series, and to read parameters of arterial spin labelling.
Names that a site chose are removed."""


@cache
def protocol_keys() -> frozenset[str]:
    """Return the names of protocol values that stay, with empty subscripts."""
    text = (resources.files("sendit.vendors") / PROTOCOL_KEYS).read_text("ascii")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def clean_series_header(value: bytes) -> bytes:
    """Rebuild the header of a series with only the numbers of its protocol.

    Lines of the protocol stay that assign a number to a name of :func:`protocol_keys`, and the
    one that names a pulse sequence of :data:`SEQUENCES`.

    Returns
    -------
    bytes
        The new header; empty if nothing stays.

    Raises
    ------
    NotUnderstood
        It is not a CSA header.
    """
    protocols = {tag.name: tag for tag in read_csa(value) if tag.name in PROTOCOLS and tag.values}
    for name in PROTOCOLS:
        tag = protocols.get(name)
        text = "" if tag is None else clean_protocol(tag.values[0])
        if tag is not None and text:
            return write_csa([CsaTag(name, 1, tag.vr, tag.syngo_type, (text,))])
    return b""


def clean_series_protocol(value: bytes) -> bytes:
    """Rebuild a protocol in an element of its own (syngo XA) with only its numbers; may be
    empty.

    It begins with a line feed, because dcm2niix skips the first byte of what does not begin with
    ``SV10``, and would not find the beginning of the protocol's ASCII part.
    """
    protocol = clean_protocol(value.decode("latin-1"))
    return f"\n{protocol}".encode("ascii") if protocol else b""


def clean_protocol(text: str) -> str:
    """Rebuild the ASCCONV part of a protocol with only the lines of known numbers, or of a known
    pulse sequence; may be empty."""
    _, begin, rest = text.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not begin or not end:
        return ""
    known = protocol_keys()
    kept = []
    for line in body.split("\n"):
        assignment = _LINE.fullmatch(line)
        if assignment and _SUBSCRIPT.sub("[]", assignment[1]) in known:
            kept.append(f"{assignment[1]:<40} = {assignment[2]}")
        sequence = _SEQUENCE_LINE.fullmatch(line)
        if sequence and sequence[1] in SEQUENCES:
            kept.append(f'{SEQUENCE:<40} = ""{sequence[1]}""')
    return "\n".join([f"{_BEGIN} ###", *kept, _END]) if kept else ""
