"""Implement the functions declared in :mod:`sendit.recipe.functions`.

A function takes an :class:`ElementContext` and returns the new value as bytes (unpadded), the
items of a new sequence, :data:`REMOVED`, or :class:`ApplyToItems` (the items of a sequence stay,
and a function is applied to the elements in them that no rule names).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from sendit import __version__
from sendit.deidentify import codes, jitter
from sendit.deidentify import structured_content as content
from sendit.deidentify.forms import fits, says_radiology
from sendit.deidentify.people_matcher import PeopleMatcher
from sendit.deidentify.plan import DATES, DECIMALS, Plan, SequencePath
from sendit.deidentify.structured_content import NO_ITEM_CODES, ItemCodes, code_of
from sendit.deidentify.uids import UidMap
from sendit.dicom import charset
from sendit.dicom.dates import PADDING
from sendit.dicom.encode import NewElement, one_vr, pack
from sendit.dicom.iod import Need, need_of
from sendit.dicom.scan import Buffer, Encoding, Item, value_text, vr_of
from sendit.recipe.attributes import keyword_of
from sendit.recipe.coverage import METHODS
from sendit.recipe.functions import FUNCTIONS, HASHED
from sendit.recipe.literals import MAX_LENGTHS
from sendit.recipe.model import Function
from sendit.recipe.profile import EDITION
from sendit.vendors import canon

MAX_AGE_SHOWN: Final = 89
"""Age in years above which HIPAA's Safe Harbor requires a single group (164.514(b)(2)(i)(C))."""

CAPPED_AGE: Final = b"090Y"
DUMMY_TEXT: Final = b"DEIDENTIFIED"

_PER_YEAR: Final = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
DUMMIES: Final[dict[str, bytes]] = {
    "AE": b"SENDIT",
    "AS": b"000Y",
    "AT": bytes(4),
    "CS": b"OTHER",
    "DA": b"19000101",
    "DS": b"0",
    "DT": b"19000101000000",
    "FD": bytes(8),
    "FL": bytes(4),
    "IS": b"1",
    "SL": bytes(4),
    "SS": bytes(2),
    "SV": bytes(8),
    "TM": b"000000",
    "UL": bytes(4),
    "UR": b"about:blank",
    "US": bytes(2),
    "US or SS": bytes(2),
    "UV": bytes(8),
}


_OF_TEXT: Final = frozenset(
    (
        *("basic_uuid", "cap_age", "dates_modified", "dicom_uuid", "jitter", "keyed_hash"),
        *("clean_code", "known_value"),
        *("method_text", "pydicom_uuid", "remap_uid", "suffix_uuid", "technical_value"),
    )
)
"""Functions that return text whatever the VR is."""

_TRUNCATED: Final = frozenset(
    ("basic_uuid", "dicom_uuid", "keyed_hash", "pydicom_uuid", "suffix_uuid")
)
"""Functions whose results may be longer than a VR allows, and are truncated."""

_BINARY_NUMBERS: Final = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "US or SS", "UV"))

# Structural terms of structured reports (PS3.3 C.17.3): defined by the standard, so they identify
# nobody, and the report is unreadable without them.
_STRUCTURE: Final[dict[int, frozenset[str]]] = {
    0x0040A010: frozenset(
        (
            *("CONTAINS", "HAS ACQ CONTEXT", "HAS CONCEPT MOD", "HAS OBS CONTEXT"),
            *("HAS PROPERTIES", "INFERRED FROM", "SELECTED FROM"),
        )
    ),
    0x0040A040: frozenset(
        (
            *("CODE", "COMPOSITE", "CONTAINER", "DATE", "DATETIME", "IMAGE", "NUM", "PNAME"),
            *("SCOORD", "SCOORD3D", "TABLE", "TCOORD", "TEXT", "TIME", "UIDREF", "WAVEFORM"),
        )
    ),
    0x0040A050: frozenset(("CONTINUOUS", "SEPARATE")),
    0x0040A130: frozenset(("BEGIN", "END", "MULTIPOINT", "MULTISEGMENT", "POINT", "SEGMENT")),
    0x00700023: frozenset(
        ("CIRCLE", "ELLIPSE", "ELLIPSOID", "MULTIPOINT", "POINT", "POLYGON", "POLYLINE")
    ),
}
_REFERENCED_ITEM: Final = 0x0040DB73
_CODE: Final = re.compile(r"(?=.*\d)[\w.:/-]{1,18}|[A-Za-z]{1,6}", re.ASCII)
_CODES: Final = content.CODE_VALUES | {content.CODING_SCHEME, content.CODING_SCHEME_VERSION}
_LABELS: Final = {
    0x00620005: "segment",
    0x00620020: "tracked",
    0x00700002: "LAYER",
    0x30060026: "ROI",
    0x30060085: "region",
    0x300A00C2: "beam",
}
"""Attributes that label segments, findings, graphic layers, regions and beams within an object, and
the word that replaces a label."""

_TEXT_VALUE: Final = 0x0040A160
_MAX_LABEL: Final = 64
_DUMMY: Final = Function("dummy")
_CLEAN: Final = Function("clean_text")
_CLEAN_CONTENT: Final = Function("clean_content")
_CLEAN_AGE: Final = Function("clean_content", (("of", "age"),))
"""Applied to the items in the measured value of a content item that is an age."""

_CLEAN_CODE: Final = Function("clean_code")
_CODE_VALUE: Final = 0x00080100
_UNIT: Final = re.compile(r"(?:[A-Za-z0-9*/.^%'\"()\[\]_+-]|\{[^{}]*\})+", re.ASCII)
"""A UCUM unit."""

_LETTERS: Final = re.compile(r"[^\W\d_]+")

_NUMBERS: Final = re.compile(
    r"[ \0]*(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)?[ \0]*"
    r"(?:\\[ ]*(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)?[ \0]*)*",
    re.ASCII,
)


class Removed:
    """The element is removed."""


REMOVED: Final = Removed()


@dataclass(frozen=True, slots=True)
class ApplyToItems:
    """The items of a sequence stay; ``function`` applies to elements in them without a rule."""

    function: Function


NewValue = bytes | Removed | ApplyToItems | tuple[tuple[NewElement, ...], ...]


@dataclass(frozen=True, slots=True)
class StudyContext:
    """What all files of a study share.

    Attributes
    ----------
    plan
        The compiled recipe.
    uids
        Maps the site's UIDs.
    days
        The patient's jitter.
    variables
        Values of the recipe's variables.
    people
        Words of names, and numbers, that no text may keep.
    flagged
        Values with a finding of the last gate: attribute, and bytes without padding.
    folder_name
        Name of the batch's folder, usually its accession number; empty if unknown.
    people_matcher
        Recognises ``people`` in technical values.
    """

    plan: Plan
    uids: UidMap
    days: int
    variables: dict[str, str]
    people: frozenset[str] = frozenset()
    flagged: Set[tuple[int, bytes]] = frozenset()
    folder_name: str = ""
    people_matcher: PeopleMatcher = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "people_matcher", PeopleMatcher(self.people))


@dataclass(slots=True)  # not frozen: that would double the time to create one
class ElementContext:
    """One element as a function sees it.

    Attributes
    ----------
    tag, vr
        Its tag and VR; SQ for everything that has items.
    value
        Its value as encoded.
    level
        The path of the item that it is in.
    encoding, character_set
        How the value is encoded.
    sop_class
        SOP class of the object.
    study
        What all files of the study share.
    items, data
        The items of a sequence, and the bytes that their offsets refer to.
    item_codes
        The codes of the item that it is in, for functions that need them.
    """

    tag: int
    vr: str
    value: bytes
    level: SequencePath
    encoding: Encoding
    character_set: bytes
    sop_class: str
    study: StudyContext
    items: Sequence[Item] = ()
    data: Buffer = b""
    item_codes: ItemCodes = NO_ITEM_CODES

    def with_value(self, value: bytes | tuple[tuple[NewElement, ...], ...]) -> ElementContext:
        """Return the element with the result of an earlier rule (new items read as empty)."""
        return replace(self, value=value if isinstance(value, bytes) else b"", items=())

    @property
    def need(self) -> Need:
        """Whether the object's IOD needs this attribute, and with a value."""
        return need_of(self.sop_class, self.level.tags, self.tag)

    @property
    def text(self) -> str:
        """The value as text, several values separated by backslashes."""
        return value_text(self.tag, self.vr, self.value, self.encoding, self.character_set)


Implementation = Callable[[ElementContext, Mapping[str, str]], NewValue]


def call(function: Function, element: ElementContext) -> NewValue:
    """Apply a function to an element.

    For binary VRs, a result that is text is packed into a number.
    """
    spec = FUNCTIONS[function.name]
    if (
        spec.vrs is not None
        and spec.prefix == "deid_func"
        and spec.vrs.isdisjoint((element.vr, one_vr(vr_of(element.tag))))
    ):
        return b""  # the rule's pattern matches an attribute that cannot hold the result
    result = _FUNCTIONS[function.name](element, _arguments(function))
    if isinstance(result, bytes) and function.name in _TRUNCATED and element.vr in MAX_LENGTHS:
        return result[: MAX_LENGTHS[element.vr]].rstrip(b".-")
    if (
        element.vr in _BINARY_NUMBERS
        and isinstance(result, bytes)
        and result != element.value
        and result.strip(b"\0")  # a dummy of such a VR
        and function.name in _OF_TEXT
    ):
        text = result.decode("ascii", "replace")
        return pack(one_vr(element.vr), text, element.encoding, b"") or b""
    return result


@cache
def _arguments(function: Function) -> Mapping[str, str]:
    defaults = {argument.name: argument.default for argument in FUNCTIONS[function.name].arguments}
    return defaults | dict(function.arguments)


# The actions of PS3.15 Table E.1-1 --------------------------------------------------------


def _remap_uid(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    if element.vr == "SQ":
        return ApplyToItems(Function("remap_uid"))
    is_uid = "UI" in (element.vr, vr_of(element.tag))  # the file may give it another VR
    return element.study.uids.many(element.value) if is_uid else element.value


def _undated_uid(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    is_uid = "UI" in (element.vr, vr_of(element.tag))  # the file may give it another VR
    return element.study.uids.undated(element.value) if is_uid else element.value


def _dummy(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    vr = element.vr
    if vr == "SQ":
        return ApplyToItems(Function("dummy"))
    if vr == "UI":
        return element.study.uids.many(element.value) or element.study.uids.one(b"")
    if vr[0] == "O" or vr == "UN":
        return bytes(len(element.value))
    if element.tag == _REFERENCED_ITEM or element.text in _STRUCTURE.get(element.tag, ()):
        return element.value
    dummy = DUMMIES.get(vr, DUMMY_TEXT)
    if vr in _BINARY_NUMBERS:  # keep the number of values: coordinates come in pairs
        return dummy * max(1, len(element.value) // len(dummy))
    return dummy


def _empty_or_dummy(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return _dummy(element, _) if element.need == Need.VALUE else b""


def _remove_or_empty_or_dummy(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if element.need == Need.NONE else _empty_or_dummy(element, _)


def _remove_or_dummy(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if element.need == Need.NONE else _dummy(element, _)


def _remove_or_remap(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if element.need == Need.NONE else ApplyToItems(Function("remap_uid"))


def _clean_text(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    from sendit.clean_descriptors import clean  # noqa: PLC0415 - only recipes that clean need it

    if element.vr == "SQ":
        return ApplyToItems(_CLEAN)
    text = element.text.strip(PADDING)
    if element.tag in _CODES and element.level.inherited == _CLEAN:
        # A code is kept or removed as a whole: a part of a code is another code.
        return element.value if _is_code(text, element) else _empty_or_dummy(element, _)
    if element.tag == canon.IMAGE_COMMENTS and (gradient := canon.gradient(text)):
        return gradient.encode("ascii")
    if element.vr not in charset.TEXT_VRS:
        disguised = vr_of(element.tag) in charset.TEXT_VRS
        return _empty_or_dummy(element, _) if disguised else element.value
    cleaned = "" if element.vr == "PN" else clean(element.text, element.study.people)
    if element.tag in _LABELS and cleaned != text:
        cleaned = _label(cleaned, text, _LABELS[element.tag], element)
    if cleaned:
        return _encoded(cleaned, element)
    return _empty_or_dummy(element, _) if element.value.strip(b" \0") else b""


def _label(cleaned: str, original: str, name: str, element: ElementContext) -> str:
    """Return a label that is unique for its original: otherwise two regions would become one.

    It consists of the cleaned label, or ``name`` if nothing is left of it, and a keyed hash.
    """
    suffix = element.study.uids.uuid(original.encode()).hex[:8]
    longest = MAX_LENGTHS.get(element.vr, _MAX_LABEL)
    kept = cleaned[: longest - 1 - len(suffix)].strip()
    label = f"{kept or name} {suffix}"
    return label.upper() if element.vr == "CS" else label


def _is_code(text: str, element: ElementContext) -> bool:
    """Whether a text in an item of a code sequence is a code, coding scheme or scheme version.

    It is if the standard publishes it, or if it looks like a code and contains no name.
    """
    code, people = element.item_codes.code, element.study.people
    if not text or _is_published(text, element):
        return True
    if _contains_name(text, people):
        return False
    if _CODE.fullmatch(text):
        return True
    if code[1] in codes.LANGUAGES:
        return codes.LANGUAGE.fullmatch(text) is not None
    return (
        code == (text, "UCUM")
        and _UNIT.fullmatch(text) is not None
        and all(says_radiology(remark, people) for remark in codes.remarks_of(text))
    )


def _contains_name(text: str, people: Set[str]) -> bool:
    """Whether a text contains a word of a name, even one that is also a radiology term."""
    from sendit.clean_descriptors import fold  # noqa: PLC0415 as in _clean_text

    return not people.isdisjoint(map(fold, _LETTERS.findall(text)))


def _is_published(text: str, element: ElementContext) -> bool:
    """Whether a text is a code that the standard publishes, or a coding scheme."""
    code = element.item_codes.code
    return (code[0] == text and bool(codes.standard_meanings(*code))) or (
        element.tag == content.CODING_SCHEME and text in codes.SCHEMES
    )


def _encoded(cleaned: str, element: ElementContext) -> bytes:
    """Encode cleaned text in the element's character set, without accents if that lacks them."""
    encoded = charset.encode(cleaned, element.character_set)
    if charset.decode(encoded, element.character_set) == cleaned:
        return encoded
    return _ascii(cleaned).encode("ascii")


def _ascii(cleaned: str) -> str:
    from sendit.clean_descriptors import fold  # noqa: PLC0415 as in _clean_text

    if cleaned.isascii():
        return cleaned
    return fold(cleaned).encode("ascii", "ignore").decode("ascii")


def _clean_code(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    inherited = element.level.inherited
    if inherited is not None:
        result = call(inherited, element)
        if result != element.value:
            return result
    text = element.text.strip(PADDING)
    is_own = not _is_published(text, element) and element.study.people_matcher.matches(text, "SH")
    is_own = is_own or _is_flagged(element, element.value)
    is_none = _holds_no_text(element.vr) or element.vr in DATES
    return _dummy(element, arguments) if is_own or is_none else element.value


def _clean_code_meaning(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    if element.level.inherited == _DUMMY:  # a person's own code, not a term
        return _dummy(element, _)
    text = element.text.strip(PADDING)
    known = codes.standard_meanings(*element.item_codes.code)
    if element.item_codes.code == (text, "UCUM") and _keeps_code(element):
        return element.value  # a unit is its own meaning, and there is no list of all
    standard = any(text.casefold() == meaning.casefold() for meaning in known)
    if standard or says_radiology(text, element.study.people):
        return element.value
    if known:
        return known[0].encode("ascii")
    cleaned = _clean_text(element, _)
    if cleaned == DUMMY_TEXT and _keeps_code(element):
        return element.item_codes.code[0].encode("ascii")
    return cleaned


def _keeps_code(element: ElementContext) -> bool:
    """Whether the code of an item looks like a code, and the recipe keeps it."""
    here = replace(element, tag=_CODE_VALUE)
    program = element.level.program(_CODE_VALUE, "SH")
    inherited = element.level.inherited
    cleans = inherited is not None and inherited.name in {"clean_content", "clean_text"}
    stays = program.removed is None and all(step.value == _CLEAN_CODE for step in program.steps)
    return _is_code(element.item_codes.code[0], here) and (cleans or stays)


def _clean_content(  # noqa: PLR0911 one branch per kind of value
    element: ElementContext, arguments: Mapping[str, str]
) -> NewValue:
    vr, concept = element.vr, element.item_codes.concept
    if vr == "SQ":
        is_age = element.tag == content.MEASURED_VALUE and concept in content.AGES
        return ApplyToItems(_CLEAN_AGE if is_age else _CLEAN_CONTENT)
    if vr == "UI":
        return element.study.uids.many(element.value)
    if _holds_no_text(vr) and not _holds_no_text(vr_of(element.tag)):
        return REMOVED  # a text attribute with a binary VR: its bytes may still be text
    if vr in _BINARY_NUMBERS or vr == "AT" or not {vr, vr_of(element.tag)}.isdisjoint(DECIMALS):
        is_age = concept in content.AGES or arguments.get("of") == "age"
        return _content_number(element, is_age=is_age)
    if vr in {"DA", "DT", "TM"}:
        moved = jitter.shift(vr, element.text, element.study.days)
        return REMOVED if moved is None else moved.encode("ascii")
    if vr == "AS":
        return _cap_age(element, arguments)
    if vr == "PN":
        return _dummy(element, arguments)
    if vr == "CS":
        return _technical_value(element, _TERM)
    if vr not in charset.TEXT_VRS:
        return REMOVED
    return _content_text(element, arguments)


def _content_number(element: ElementContext, *, is_age: bool) -> NewValue:
    """Keep a number, cap an age at 90 years, and remove what is not a number."""
    if not _holds_no_text(element.vr) and not _NUMBERS.fullmatch(element.text):
        return REMOVED
    if is_age and element.tag in content.MEASURED_NUMBERS:
        limit = content.years_in(MAX_AGE_SHOWN + 1, element.item_codes.unit) or MAX_AGE_SHOWN + 1
        written = [value for value in element.text.split("\\") if value.strip(PADDING)]
        if any(float(value) >= limit for value in written):
            return pack(element.vr, f"{limit:g}", element.encoding, b"") or b""
    return element.value


def _content_text(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    """Clean a text of a content item according to its concept."""
    text = element.text.strip(PADDING)
    if element.tag in _CODES:  # a part of a code is another code
        return element.value if _is_code(text, element) else _empty_or_dummy(element, arguments)
    if element.tag != _TEXT_VALUE:
        return _clean_text(element, arguments)
    concept, people = element.item_codes.concept, element.study.people
    if concept in content.CODED and text:
        return element.study.variables[content.CODED[concept]].encode("ascii")
    form = content.TECHNICAL.get(concept)
    if form is not None and _stays(form, text, element):
        return element.value
    if concept in content.LABELS and text:
        from sendit.clean_descriptors import clean  # noqa: PLC0415 as in _clean_text

        cleaned = clean(text, people)
        return element.value if cleaned == text else _label_bytes(cleaned, text, element)
    return _clean_text(element, arguments)


def _label_bytes(cleaned: str, text: str, element: ElementContext) -> bytes:
    return _encoded(_label(cleaned, text, "tracked", element), element)


def _content_date(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    if _holds_no_text(element.vr):
        return REMOVED
    if element.item_codes.concept in content.BIRTH_DATES:
        return _empty_or_dummy(element, arguments)
    return element.value


_TERM: Final[Mapping[str, str]] = {"form": "term"}


def _holds_no_text(vr: str) -> bool:
    return vr[0] == "O" or vr == "AT" or vr in _BINARY_NUMBERS


def _stays(form: str, value: str, element: ElementContext) -> bool:
    """Whether a technical value stays: it has its form and is not somebody's name or number.

    In labels, which people type, a name counts even if it is also a term or a maker.
    """
    study = element.study
    if element.tag in _LABELS and _contains_name(value, study.people):
        return False
    return (
        fits(form, value, study.people)
        and not study.people_matcher.matches(value, element.vr)
        and not _is_flagged(element, value.encode("ascii", "ignore"))
    )


def _is_flagged(element: ElementContext, value: bytes) -> bool:
    """Whether the last gate reported a finding in this value of the attribute."""
    return (element.tag, value.strip(b" \0")) in element.study.flagged


def _technical_value(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    from sendit.clean_descriptors import clean  # noqa: PLC0415 - most values have their form

    if element.vr in DATES or (
        _holds_no_text(element.vr) and not _holds_no_text(vr_of(element.tag))
    ):
        # A date is not a term. A binary VR's bytes may still be text, and no tool reads it.
        return _remove_or_empty_or_dummy(element, arguments)
    form, people = arguments["form"], element.study.people
    values = [value.strip(PADDING) for value in element.text.split("\\")]
    stay = [not value or _stays(form, value, element) for value in values]
    if all(stay) and not _is_flagged(element, element.value):
        return element.value
    left = [
        value if stays else _ascii(clean(value, people))
        for value, stays in zip(values, stay, strict=True)
    ]
    if element.tag in _LABELS:
        name = _LABELS[element.tag]
        return _label("", "\\".join(values), name, element).encode("ascii")
    for written in (left, [_ascii(clean(value, people)) for value in values]):
        result = "\\".join(written).encode("ascii")
        if any(written) and not _is_flagged(element, result):
            return result
    return _remove_or_empty_or_dummy(element, arguments)


def _cap_age(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    text = element.text
    age = _AGE.fullmatch(text.strip(PADDING).upper())
    if age is None:
        return b""
    years = int(age[1]) / _PER_YEAR[age[2]]
    return CAPPED_AGE if years >= MAX_AGE_SHOWN + 1 else f"{int(age[1]):03d}{age[2]}".encode()


_ETHNIC: Final = (
    "AFRICAN|ALASKA|AMERICAN|AND|ARAB|ASIAN|BLACK|CAUCASIAN|CHINESE|DECLINED|EAST|EASTERN|EUROPEAN"
    "|FILIPINO|HAWAIIAN|HISPANIC|INDIAN|INDIGENOUS|ISLANDER|JAPANESE|KOREAN|LATINA|LATINO|LATINX"
    "|MIDDLE|MIXED|MORE|NATIVE|NON|NOT|OF|OR|ORIGIN|OTHER|PACIFIC|RACE|SOUTH|SPECIFIED|STATED|TWO"
    "|UNKNOWN|VIETNAMESE|WHITE"
)
_DECIMAL: Final = re.compile(r"[+]?(\d+\.?\d*|\.\d+)(E[+-]?\d{1,9})?", re.ASCII | re.IGNORECASE)
"""A nonnegative number in the syntax of DS and IS (PS3.5 6.2)."""

_MAX_DECIMAL_LENGTH: Final = 16
_MEASURES: Final = {0x00101020: 300.0, 0x00101030: 1000.0}
"""Maximum of Patient's Size (m, at some sites cm) and Weight (kg): a larger number is a date or an
identifier."""

_KNOWN: Final = {
    tag: re.compile(pattern, re.ASCII | re.IGNORECASE)
    for tag, pattern in {
        0x00080201: r"[+-](0\d|1[0-4])[0-5]\d",  # Timezone Offset From UTC
        0x00100040: "[MFO]",  # Patient's Sex
        0x00102160: rf"[A-Z]|({_ETHNIC})([ /,&-]+({_ETHNIC}))*",  # Ethnic Group
        0x00102162: rf"[A-Z]|({_ETHNIC})([ /,&\\-]+({_ETHNIC}))*",  # Ethnic Groups
        0x001021A0: "YES|NO|UNKNOWN",  # Smoking Status
        0x00102203: "ALTERED|UNALTERED",  # Patient's Sex Neutered
    }.items()
}
"""Valid values according to PS3.3 C.7.1.1, C.7.2.2 and C.12.1; ethnic groups are free text there,
of which only words that name one stay."""


def _known_value(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    text = element.text.strip(PADDING)
    if not text:
        return b""
    if element.vr == "TM":
        kept = jitter.shift("TM", text, 0)
    elif element.tag in _MEASURES:
        kept = _measure(text, _MEASURES[element.tag])
    else:
        pattern = _KNOWN.get(element.tag)
        kept = text if pattern is not None and pattern.fullmatch(text) else None
    return _empty_or_dummy(element, _) if kept is None else kept.encode("ascii")


def _measure(text: str, maximum: float) -> str | None:
    """Return a decimal number up to ``maximum`` as a DS; None for anything else."""
    if not _DECIMAL.fullmatch(text) or float(text) > maximum:
        return None
    return text if len(text) <= _MAX_DECIMAL_LENGTH else f"{float(text):.10g}"


def _keyed_hash(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    if HASHED.isdisjoint((element.vr, one_vr(vr_of(element.tag)))):
        return _dummy(element, _)
    if "UI" in (element.vr, vr_of(element.tag)):
        return element.study.uids.many(element.value)
    value = element.value.strip(b" \0")
    return element.study.uids.uuid(value).hex[::-1].upper().encode() if value else b""


# Attributes that record the de-identification --------------------------------------------


def _method_text(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    plan = element.study.plan
    profile = f"PS3.15 {EDITION} " if plan.coverage.codes else ""
    text = f"sendit {__version__} {profile}recipe {plan.recipe.digest[:16]}"
    if plan.coverage.remaps_dated_uids:
        text += "\\UIDs that hold a date are remapped"
    return text.encode()


def _method_codes(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    # PS3.15 E.1.1: codes of earlier de-identification steps stay in the sequence.
    codes = {code: METHODS[code] for code in _earlier_methods(element)}
    codes |= dict(element.study.plan.coverage.codes)
    return tuple(
        (
            NewElement(0x00080100, "SH", value),
            NewElement(0x00080102, "SH", "DCM"),
            NewElement(0x00080104, "LO", meaning),
        )
        for value, meaning in codes.items()
    )


def _earlier_methods(element: ElementContext) -> Iterator[str]:
    """Yield the codes of methods of the standard that were applied to the object before."""
    for _, elements in element.items:
        code, scheme = code_of(elements, element.data)
        if code in METHODS and scheme == "DCM":
            yield code


def _dates_modified(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return element.study.plan.coverage.dates.encode()


# deid's built-ins -----------------------------------------------------------------------


def _deid_jitter(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    days = int(arguments["days"]) + 365 * int(arguments["years"])
    moved = jitter.shift(element.vr, element.text, days)
    return REMOVED if moved is None else moved.encode("ascii")


def _pydicom_uuid(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    return element.study.uids.many(element.value, arguments["prefix"])


def _dicom_uuid(element: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    return element.study.uids.many(element.value, arguments["org_root"])


def _basic_uuid(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    return str(element.study.uids.uuid(element.value.strip(b" \0"))).encode()


def _suffix_uuid(element: ElementContext, _: Mapping[str, str]) -> NewValue:
    identifier = element.study.uids.uuid(element.value.strip(b" \0"))
    return f"{keyword_of(element.tag).lower()}-{identifier}".encode()


_FUNCTIONS: Final[dict[str, Implementation]] = {
    "basic_uuid": _basic_uuid,
    "cap_age": _cap_age,
    "clean_code": _clean_code,
    "clean_code_meaning": _clean_code_meaning,
    "clean_content": _clean_content,
    "clean_text": _clean_text,
    "content_date": _content_date,
    "dates_modified": _dates_modified,
    "dicom_uuid": _dicom_uuid,
    "dummy": _dummy,
    "jitter": _deid_jitter,
    "keyed_hash": _keyed_hash,
    "known_value": _known_value,
    "method_codes": _method_codes,
    "method_text": _method_text,
    "profile_xd": _remove_or_dummy,
    "profile_xz": _remove_or_empty_or_dummy,
    "profile_xzd": _remove_or_empty_or_dummy,
    "profile_xzu": _remove_or_remap,
    "profile_z": _empty_or_dummy,
    "pydicom_uuid": _pydicom_uuid,
    "remap_uid": _remap_uid,
    "suffix_uuid": _suffix_uuid,
    "technical_value": _technical_value,
    "undated_uid": _undated_uid,
}
