"""What the approved results of de-identification are made from: values of each VR, elements with
them, and how a result is written down."""

from __future__ import annotations

import gzip
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from sendit.coded_study import CodedStudy
from sendit.deidentify.functions import StudyContext
from sendit.deidentify.people import numbers_of, words_of
from sendit.deidentify.plan import Plan
from sendit.deidentify.rewrite import Rewriter
from sendit.deidentify.uids import UidMap
from sendit.dicom.encode import element, item, one_vr
from sendit.dicom.scan import EXPLICIT_LITTLE, Encoding, Header, read_header
from sendit.recipe.attributes import keyword_of
from testing.builder import ROOT, SOP_CLASSES
from tests.deidentify.engine import IDENTIFIERS, KEYS

NAME = "Winterbottom^Joan^Mae"
MRN = "MRN-7734512"
PEOPLE = frozenset(
    (
        *words_of(NAME, patient=True),
        *words_of("Müller-Lüdenscheidt^Li", patient=True),
        *words_of("Stone^Dr Head", patient=False),
        *numbers_of(MRN),
        *numbers_of("ACC12345"),
        *numbers_of("A-17 9"),
    )
)

TEXTS = (
    "Winterbottom^Joan",
    "CT thorax of Mrs WINTERBOTTOM",
    "Abdomen w/o contrast, no fracture",
    "STONE",
    "HEAD FIRST",
    "Mueller",
    "7734512",
    "ref 0-7734512.0",
    "14MAR1957",
    "born 14.03.1957",
    "20160314",
    "19000101",
    "B31f",
    "Scanner 7",
    "1.5",
    "T2 TSE 3.0 mm",
    "+1 650 555 0100",
    "x@hospital.example",
    "kv120 Winter-bottom",
    "",
    " ",
)
LATIN = "Müller Größe"

_DATES = (
    "20160314",
    "2016.03.14",
    "2016-03-14",
    "14.03.2016",
    "14MAR2016",
    "19000101",
    "19700101",
    "00010101",
    "20161399",
    "201603",
    "20160314-20160315",
    "20160314\\20160315",
    "20160314\\",
    "99991231",
    "Winterbottom",
    "",
)
VALUES: Mapping[str, Sequence[str | bytes]] = {
    "AE": ("CTNORTH1", "WINTERBOTTOM", "PACS", "7734512", ""),
    "AS": ("045Y", "089Y", "090Y", "113Y", "999M", "012W", "45y", "old", "", "045Y\\091Y"),
    "CS": (
        "AXIAL",
        "WINTERBOTTOM",
        "STONE",
        "DOE_JANE",
        "Stone Head",
        "YES",
        "NO\\YES",
        "ORIGINAL\\PRIMARY\\WINTERBOTTOM",
        "MRN7734512",
        "20160314",
        "F",
        "x:y/z",
        "CHEST\\\\ABDOMEN",
        "",
    ),
    "DA": _DATES,
    "DS": ("1.5", "-3\\7", "70", "19570314", "7734512", "1e5", "nan", "Winterbottom", "1.5x", ""),
    "DT": (
        *_DATES,
        "20160314101112.123456+0100",
        "20160314101112",
        "2016-03-14T10:11:12Z",
        "2016",
    ),
    "IS": ("1", "-3\\7", "19570314", "7734512", "Winterbottom", "1a", ""),
    "LO": (*TEXTS, "A\\Winterbottom", "Chest\\\\Head", LATIN.encode("latin-1"), "thorax " * 12),
    "LT": (*TEXTS, "Chest\\Winterbottom\r\nno change", LATIN.encode("latin-1")),
    "PN": ("Winterbottom^Joan", "Anonymous", "QA^PHANTOM", "A^B\\C^D", LATIN.encode("latin-1"), ""),
    "SH": (*TEXTS, "A\\Winterbottom", LATIN.encode("latin-1")),
    "ST": (*TEXTS, LATIN.encode("latin-1")),
    "TM": (
        "101112.123",
        "10:11:12",
        "1011",
        "3:54 PM",
        "9999",
        "Winterbottom",
        "20160314101112",
        "",
    ),
    "UC": (*TEXTS, "A\\Winterbottom", LATIN.encode("latin-1")),
    "UI": (
        f"{ROOT}.7734512.1",
        "1.2.840.10008.5.1.4.1.1.2",
        f"{ROOT}.20160314.7",
        f"{ROOT}.1\\{ROOT}.2",
        f"{ROOT}.1\\\\1.2.840.10008.1.1",
        "Winterbottom",
        "",
    ),
    "UR": ("http://pacs.example/7734512", "urn:oid:1.2.3", "Winterbottom", ""),
    "UT": (*TEXTS, LATIN.encode("latin-1")),
    "AT": (struct.pack("<2H", 0x0010, 0x0010), b"Wint", b""),
    "FD": (struct.pack("<d", 1.5), struct.pack("<3d", 1.5, -2.5, 1e300), b"Winterbo", b""),
    "FL": (struct.pack("<f", 1.5), struct.pack("<2f", 1.5, -2.5), b"Winterbottom", b""),
    "SL": (struct.pack("<l", -7), struct.pack("<2l", 7, 19570314), b""),
    "SS": (struct.pack("<h", -7), struct.pack("<2h", 7, 8), b""),
    "SV": (struct.pack("<q", -7), b""),
    "UL": (struct.pack("<L", 7), struct.pack("<2L", 7, 19570314), b""),
    "US": (struct.pack("<H", 7), struct.pack("<3H", 1, 2, 3), b""),
    "UV": (struct.pack("<Q", 7734512), b""),
    "OB": (bytes(range(8)), b"Winterbottom", b""),
    "OD": (struct.pack("<2d", 1.5, 2.5), b""),
    "OF": (struct.pack("<2f", 1.5, 2.5), b"Winterbottom", b""),
    "OL": (bytes(range(8)), b""),
    "OV": (bytes(range(8)), b""),
    "OW": (bytes(range(8)), b"Winterbottom", b""),
    "UN": (bytes(range(8)), b"Winterbottom", b""),
}
"""Values of each VR: right ones, other ways to write them, people's where they do not belong."""

_NUMBERS = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
    "AT": "H",
}


_METHOD = re.compile(rb"sendit \d[\w.+]*(.* recipe )[0-9a-f]{16}")
"""What DeidentificationMethod says: another thing with each version and recipe."""


def in_bytes(value: str | bytes) -> bytes:
    """Return a value as it stands in a file."""
    return value if isinstance(value, bytes) else value.encode("ascii")


def context(
    plan: Plan,
    identifiers: CodedStudy = IDENTIFIERS,
    flagged: frozenset[tuple[int, bytes]] = frozenset(),
) -> StudyContext:
    """Return what a study of this corpus is: its people, its UIDs, its jitter."""
    return StudyContext(
        plan, UidMap(KEYS), identifiers.jitter, identifiers.variables, PEOPLE, flagged
    )


def identity(sop_class: str) -> dict[int, bytes]:
    """Return the elements that say what an object is."""
    return {
        0x00080005: element(0x00080005, "CS", b"ISO_IR 100", EXPLICIT_LITTLE),
        0x00080016: element(0x00080016, "UI", sop_class.encode(), EXPLICIT_LITTLE),
        0x00080018: element(0x00080018, "UI", f"{ROOT}.1.1.1.1".encode(), EXPLICIT_LITTLE),
    }


def object_of(elements: Mapping[int, bytes], sop_class: str = SOP_CLASSES["CT"]) -> Header:
    """Return an object (Explicit VR Little Endian) with these elements; without pixels."""
    every = identity(sop_class) | elements
    meta = element(0x00020010, "UI", b"1.2.840.10008.1.2.1", EXPLICIT_LITTLE)
    length = element(0x00020000, "UL", len(meta).to_bytes(4, "little"), EXPLICIT_LITTLE)
    data = b"".join(every[tag] for tag in sorted(every))
    return read_header(bytes(128) + b"DICM" + length + meta + data)


def items_of(*items: Sequence[bytes], encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
    """Return the value of a sequence with items of these elements."""
    return b"".join(item(b"".join(elements), encoding) for elements in items)


def rewritten(header: Header, rewriter: Rewriter) -> Header:
    """Return an object after a plan was applied, without what stands behind the pixel data."""
    output = rewriter.rewrite(header)
    meta = bytes(header.data[: header.elements[0][2]])
    return read_header(meta + b"".join(output.before))


def shown(vr: str, value: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> str:
    """Return a value as it is written down: without padding, UIDs and long ones shortened."""
    form = _NUMBERS.get(vr)
    if form is not None and value and len(value) % struct.calcsize(f"={form}") == 0:
        order = "<" if encoding.little else ">"
        count = len(value) // struct.calcsize(f"={form}")
        numbers = struct.unpack(f"{order}{count}{form}", value)
        return short(" ".join(f"{number:g}" for number in numbers))
    value = _METHOD.sub(rb"sendit VERSION\1DIGEST", value)
    at = value.find(b"\x1f\x8b\x08", 0, 8)
    if at >= 0:  # what libraries make of the same text differs
        return short(f"compressed {gzip.decompress(value[at:].rstrip(bytes(1)) + bytes(4))!r}")
    return short(repr(value.rstrip(b" \0"))[1:])


def short(text: str) -> str:
    """Return a text, or of a long one its beginning and a digest."""
    if len(text) <= 90:
        return text
    return f"{text[:60]}… ({len(text)}, {sha256(text.encode()).hexdigest()[:8]})"


def flat(header: Header) -> dict[str, str]:
    """Return the elements of an object: path of tags to VR and value."""
    return dict(_flat(header.elements, header, header.encoding, ""))


def _flat(
    elements: Iterable[object], header: Header, encoding: Encoding, path: str
) -> Iterator[tuple[str, str]]:
    for tag, vr, _, start, end, items in elements:  # type: ignore[misc]
        place = f"{path}{tag:08X}"
        if items is None:
            yield place, f"{vr} {shown(vr, bytes(header.data[start:end]), encoding)}"
            continue
        yield place, f"SQ of {len(items)}"
        for number, (inner, nested) in enumerate(items):
            yield from _flat(nested, header, inner, f"{place}[{number}].")


def changes(before: Header, after: Header) -> Iterator[str]:
    """Yield a line for each element: what it was, and what has become of it."""
    old, new = flat(before), flat(after)
    for place in sorted({*old, *new}):
        name = keyword_of(int(place.rpartition(".")[2], 16))
        was, now = old.get(place), new.get(place)
        if was == now:
            yield f"{place} {name} = {was}"
        else:
            yield f"{place} {name} {was or '(absent)'} -> {now or 'gone'}"


def grouped(results: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """Yield attributes with the same results together: the attributes, then the results."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for tag in sorted(results):
        alike[tuple(results[tag])].append(tag)
    for lines, tags in alike.items():
        yield ""
        yield f"# {len(tags)}: {', '.join(f'{tag:08X} {keyword_of(tag)}' for tag in tags)}"
        yield from lines


def result_of(element_before: str, element_after: str | None) -> str:
    """Return what became of an element, as :func:`flat` shows it before and after."""
    if element_after is None:
        return "gone"
    return "kept" if element_after == element_before else element_after


def one(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in Explicit VR Little Endian."""
    return element(tag, one_vr(vr), value, EXPLICIT_LITTLE)
