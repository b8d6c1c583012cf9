"""The functions of ``sendit.recipe.functions``, applied to one element.

A function is given a :class:`ElementContext` and answers with the new value as bytes (unpadded),
with the items of a new sequence, or with what is to happen instead: :data:`REMOVED` (the
element goes) or :class:`ApplyToItems` (the items of a sequence stay, and what no rule names in
them goes through a function).
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
from sendit.deidentify.own_values import OwnValues
from sendit.deidentify.plan import Plan, SequencePath
from sendit.deidentify.structured_content import NOTHING, Beside, code_of
from sendit.deidentify.uids import UidMap
from sendit.dicom import charset
from sendit.dicom.dates import PADDING
from sendit.dicom.encode import NewElement, one_vr, pack
from sendit.dicom.iod import Need, need_of
from sendit.dicom.scan import Buffer, Encoding, Item, value_text, vr_of
from sendit.recipe.attributes import keyword_of
from sendit.recipe.coverage import METHODS
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.model import Function
from sendit.recipe.profile import EDITION
from sendit.vendors import canon

MAX_AGE_SHOWN: Final = 89
"""Years of age above which HIPAA's Safe Harbor asks for one group (164.514(b)(2)(i)(C))."""

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
"""Functions whose answers are text whatever the VR is."""

_CUT: Final = frozenset(("basic_uuid", "dicom_uuid", "keyed_hash", "pydicom_uuid", "suffix_uuid"))
_SHORT: Final = {"AE": 16, "CS": 16, "LO": 64, "PN": 64, "SH": 16}
"""Functions that give a text longer than these VRs hold (PS3.5 6.2), and how much they do."""

_BINARY_NUMBERS: Final = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "US or SS", "UV"))

# What a structured report is built of (PS3.3 C.17.3): terms that the standard defines say
# nothing about anyone, and without them the report falls apart.
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
"""Names by which segments, findings, layers of graphics, regions and beams are told apart in an
object, and what stands for one that goes."""

_TEXT_VALUE: Final = 0x0040A160
_LONGEST_LABEL: Final = 64
_DUMMY: Final = Function("dummy")
_CLEAN: Final = Function("clean_text")
_CLEAN_CONTENT: Final = Function("clean_content")
_CLEAN_AGE: Final = Function("clean_content", (("of", "age"),))
"""What cleans the number of a content item that is an age, for the items inside it."""

_CLEAN_CODE: Final = Function("clean_code")
_CODE_VALUE: Final = 0x00080100
_UNIT: Final = re.compile(r"(?:[A-Za-z0-9*/.^%'\"()\[\]_+-]|\{[^{}]*\})+", re.ASCII)
"""A unit of UCUM."""

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
    """A sequence's items stay; what no rule names in them goes through ``function``."""

    function: Function


NewValue = bytes | Removed | ApplyToItems | tuple[tuple[NewElement, ...], ...]


@dataclass(frozen=True, slots=True)
class StudyContext:
    """What all files of a study share. ``people`` are the words of names, and numbers, that no
    text may keep; ``own`` finds them in values of a form. ``found`` are values that the last gate
    has found something in: attribute, and bytes without padding."""

    plan: Plan
    uids: UidMap
    days: int
    variables: dict[str, str]
    people: frozenset[str] = frozenset()
    flagged: Set[tuple[int, bytes]] = frozenset()
    own: OwnValues = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", OwnValues(self.people))


@dataclass(slots=True)  # not frozen: that would double the time to make one
class ElementContext:
    """One element as a function sees it. ``vr`` is SQ for everything that has items, which
    are ``items``, with their values in ``data``. ``code`` are the code and the scheme beside it
    in its item, for functions that look there."""

    tag: int
    vr: str
    value: bytes
    level: SequencePath
    encoding: Encoding
    character_set: bytes
    sop_class: str
    site: StudyContext
    items: Sequence[Item] = ()
    data: Buffer = b""
    beside: Beside = NOTHING

    def with_value(self, value: bytes | tuple[tuple[NewElement, ...], ...]) -> ElementContext:
        """Return the element as an earlier rule has left it (new items read as empty)."""
        return replace(self, value=value if isinstance(value, bytes) else b"", items=())

    @property
    def need(self) -> Need:
        """How much the object's IOD needs this attribute."""
        return need_of(self.sop_class, self.level.tags, self.tag)

    @property
    def text(self) -> str:
        """The value as text (several values joined by a backslash)."""
        return value_text(self.tag, self.vr, self.value, self.encoding, self.character_set)


Implementation = Callable[[ElementContext, Mapping[str, str]], NewValue]


def call(function: Function, subject: ElementContext) -> NewValue:
    """Apply a function to an element.

    A number of a binary VR stays one: what a function answers as text is packed as the VR says.
    """
    spec = FUNCTIONS[function.name]
    if (
        spec.vrs is not None
        and (spec.prefix == "deid_func" or function.name == "keyed_hash")
        and spec.vrs.isdisjoint((subject.vr, one_vr(vr_of(subject.tag))))
    ):
        return b""  # a pattern has reached what cannot hold it
    answer = _FUNCTIONS[function.name](subject, _arguments(function))
    if isinstance(answer, bytes) and function.name in _CUT and subject.vr in _SHORT:
        return answer[: _SHORT[subject.vr]].rstrip(b".-")
    if (
        subject.vr in _BINARY_NUMBERS
        and isinstance(answer, bytes)
        and answer != subject.value
        and answer.strip(b"\0")  # a dummy of such a VR
        and function.name in _OF_TEXT
    ):
        text = answer.decode("ascii", "replace")
        return pack(one_vr(subject.vr), text, subject.encoding, b"") or b""
    return answer


@cache
def _arguments(function: Function) -> Mapping[str, str]:
    defaults = {argument.name: argument.default for argument in FUNCTIONS[function.name].arguments}
    return defaults | dict(function.arguments)


# PS3.15's letters -----------------------------------------------------------------------


def _remap_uid(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    if subject.vr == "SQ":
        return ApplyToItems(Function("remap_uid"))
    is_uid = "UI" in (subject.vr, vr_of(subject.tag))  # whatever VR the file gives it
    return subject.site.uids.many(subject.value) if is_uid else subject.value


def _undated_uid(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    is_uid = "UI" in (subject.vr, vr_of(subject.tag))  # whatever VR the file gives it
    return subject.site.uids.undated(subject.value) if is_uid else subject.value


def _dummy(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    vr = subject.vr
    if vr == "SQ":
        return ApplyToItems(Function("dummy"))
    if vr == "UI":
        return subject.site.uids.many(subject.value) or subject.site.uids.one(b"")
    if vr[0] == "O" or vr == "UN":
        return bytes(len(subject.value))
    if subject.tag == _REFERENCED_ITEM or subject.text in _STRUCTURE.get(subject.tag, ()):
        return subject.value
    dummy = DUMMIES.get(vr, DUMMY_TEXT)
    if vr in _BINARY_NUMBERS:  # as many as there were: coordinates come in pairs
        return dummy * max(1, len(subject.value) // len(dummy))
    return dummy


def _empty_or_dummy(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return _dummy(subject, _) if subject.need == Need.VALUE else b""


def _gone_or_empty_or_dummy(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if subject.need == Need.NONE else _empty_or_dummy(subject, _)


def _gone_or_dummy(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if subject.need == Need.NONE else _dummy(subject, _)


def _gone_or_remapped(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return REMOVED if subject.need == Need.NONE else ApplyToItems(Function("remap_uid"))


def _clean_text(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    from sendit.clean_descriptors import clean  # noqa: PLC0415 - only recipes that clean

    if subject.vr == "SQ":
        return ApplyToItems(_CLEAN)
    text = subject.text.strip(PADDING)
    if subject.tag in _CODES and subject.level.inherited == _CLEAN:
        # Without it nobody knows what was meant, and a part of a code is another code.
        return subject.value if _is_code(text, subject) else _empty_or_dummy(subject, _)
    if subject.tag == canon.IMAGE_COMMENTS and (gradient := canon.gradient(text)):
        return gradient.encode("ascii")
    if subject.vr not in charset.TEXT_VRS:
        disguised = vr_of(subject.tag) in charset.TEXT_VRS
        return _empty_or_dummy(subject, _) if disguised else subject.value
    cleaned = "" if subject.vr == "PN" else clean(subject.text, subject.site.people)
    if subject.tag in _LABELS and cleaned != text:
        cleaned = _label(cleaned, text, _LABELS[subject.tag], subject)
    if cleaned:
        return _written(cleaned, subject)
    return _empty_or_dummy(subject, _) if subject.value.strip(b" \0") else b""


def _label(cleaned: str, original: str, name: str, subject: ElementContext) -> str:
    """Return a name that is another's for every other original, and the same for the same one:
    without it, two regions become one."""
    mark = subject.site.uids.uuid(original.encode()).hex[:8]
    longest = _SHORT.get(subject.vr, _LONGEST_LABEL)
    kept = cleaned[: longest - 1 - len(mark)].strip()
    label = f"{kept or name} {mark}"
    return label.upper() if subject.vr == "CS" else label


def _is_code(text: str, subject: ElementContext) -> bool:
    """Whether a text in an item of a code sequence is a code, its scheme or the scheme's version:
    of the standard, or in the form that codes have and nobody's name."""
    code, people = subject.beside.code, subject.site.people
    if not text or _is_published(text, subject):
        return True
    if _holds_a_name(text, people):
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


def _holds_a_name(text: str, people: Set[str]) -> bool:
    """Whether a word of a text is one of a name, even one that is also a term."""
    from sendit.clean_descriptors import fold  # noqa: PLC0415 as in _clean_text

    return not people.isdisjoint(map(fold, _LETTERS.findall(text)))


def _is_published(text: str, subject: ElementContext) -> bool:
    """Whether a text is a code of the standard with its scheme, or such a scheme."""
    code = subject.beside.code
    return (code[0] == text and bool(codes.standard_meanings(*code))) or (
        subject.tag == content.CODING_SCHEME and text in codes.SCHEMES
    )


def _written(cleaned: str, subject: ElementContext) -> bytes:
    """Return cleaned text in the element's character set; without accents that it lacks."""
    written = charset.encode(cleaned, subject.character_set)
    if charset.decode(written, subject.character_set) == cleaned:
        return written
    return _ascii(cleaned).encode("ascii")


def _ascii(cleaned: str) -> str:
    from sendit.clean_descriptors import fold  # noqa: PLC0415 - only recipes that clean

    if cleaned.isascii():
        return cleaned
    return fold(cleaned).encode("ascii", "ignore").decode("ascii")


def _clean_code(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    inherited = subject.level.inherited
    if inherited is not None:
        answer = call(inherited, subject)
        if answer != subject.value:
            return answer
    text = subject.text.strip(PADDING)
    is_own = not _is_published(text, subject) and subject.site.own.stand_in(text, "SH")
    is_own = is_own or _was_found(subject, subject.value)
    return _dummy(subject, arguments) if is_own or _holds_no_text(subject.vr) else subject.value


def _clean_code_meaning(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    if subject.level.inherited == _DUMMY:  # a person's own code, not a term
        return _dummy(subject, _)
    text = subject.text.strip(PADDING)
    known = codes.standard_meanings(*subject.beside.code)
    if subject.beside.code == (text, "UCUM") and _keeps_code(subject):
        return subject.value  # a unit's code says what it means: there is no list
    standard = any(text.casefold() == meaning.casefold() for meaning in known)
    if standard or says_radiology(text, subject.site.people):
        return subject.value
    if known:
        return known[0].encode("ascii")
    cleaned = _clean_text(subject, _)
    if cleaned == DUMMY_TEXT and _keeps_code(subject):
        return subject.beside.code[0].encode("ascii")
    return cleaned


def _keeps_code(subject: ElementContext) -> bool:
    """Whether the code of an item is one by its form, and stays."""
    here = replace(subject, tag=_CODE_VALUE)
    program = subject.level.program(_CODE_VALUE, "SH")
    inherited = subject.level.inherited
    cleans = inherited is not None and inherited.name in {"clean_content", "clean_text"}
    stays = program.removed is None and all(step.value == _CLEAN_CODE for step in program.steps)
    return _is_code(subject.beside.code[0], here) and (cleans or stays)


def _clean_content(  # noqa: PLR0911 one way for each kind of value
    subject: ElementContext, arguments: Mapping[str, str]
) -> NewValue:
    vr, concept = subject.vr, subject.beside.concept
    if vr == "SQ":
        is_age = subject.tag == content.MEASURED_VALUE and concept in content.AGES
        return ApplyToItems(_CLEAN_AGE if is_age else _CLEAN_CONTENT)
    if vr == "UI":
        return subject.site.uids.many(subject.value)
    if _holds_no_text(vr) and not _holds_no_text(vr_of(subject.tag)):
        return REMOVED  # its bytes may be text all the same
    if vr in _BINARY_NUMBERS or vr == "AT" or not {vr, vr_of(subject.tag)}.isdisjoint(_DECIMALS):
        is_age = concept in content.AGES or arguments.get("of") == "age"
        return _content_number(subject, is_age=is_age)
    if vr in {"DA", "DT", "TM"}:
        moved = jitter.shift(vr, subject.text, subject.site.days)
        return REMOVED if moved is None else moved.encode("ascii")
    if vr == "AS":
        return _cap_age(subject, arguments)
    if vr == "PN":
        return _dummy(subject, arguments)
    if vr == "CS":
        return _technical_value(subject, _TERM)
    if vr not in charset.TEXT_VRS:
        return REMOVED
    return _content_text(subject, arguments)


def _content_number(subject: ElementContext, *, is_age: bool) -> NewValue:
    """Return a number as it is, an age of 90 years or more as 90; what is no number goes."""
    if not _holds_no_text(subject.vr) and not _NUMBERS.fullmatch(subject.text):
        return REMOVED
    if is_age and subject.tag in content.MEASURED_NUMBERS:
        limit = content.most(MAX_AGE_SHOWN + 1, subject.beside.unit) or MAX_AGE_SHOWN + 1
        written = [value for value in subject.text.split("\\") if value.strip(PADDING)]
        if any(float(value) >= limit for value in written):
            return pack(subject.vr, f"{limit:g}", subject.encoding, b"") or b""
    return subject.value


def _content_text(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    """Return a text of a content item, cleaned as its concept asks."""
    text = subject.text.strip(PADDING)
    if subject.tag in _CODES:  # a part of a code is another code
        return subject.value if _is_code(text, subject) else _empty_or_dummy(subject, arguments)
    if subject.tag != _TEXT_VALUE:
        return _clean_text(subject, arguments)
    concept, people = subject.beside.concept, subject.site.people
    if concept in content.CODED and text:
        return subject.site.variables[content.CODED[concept]].encode("ascii")
    form = content.TECHNICAL.get(concept)
    if form is not None and _stays(form, text, subject):
        return subject.value
    if concept in content.LABELS and text:
        from sendit.clean_descriptors import clean  # noqa: PLC0415 as in _clean_text

        cleaned = clean(text, people)
        return subject.value if cleaned == text else _label_bytes(cleaned, text, subject)
    return _clean_text(subject, arguments)


def _label_bytes(cleaned: str, text: str, subject: ElementContext) -> bytes:
    return _written(_label(cleaned, text, "tracked", subject), subject)


def _content_date(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    if _holds_no_text(subject.vr):
        return REMOVED
    if subject.beside.concept in content.BIRTH_DATES:
        return _empty_or_dummy(subject, arguments)
    return subject.value


_DECIMALS: Final = frozenset(("DS", "IS"))
_TERM: Final[Mapping[str, str]] = {"form": "term"}


def _holds_no_text(vr: str) -> bool:
    return vr[0] == "O" or vr == "AT" or vr in _BINARY_NUMBERS


def _stays(form: str, value: str, subject: ElementContext) -> bool:
    """Whether a value has a form, and is not somebody's name or number.

    What people type (a layer of graphics) is no term or maker that coincides with a name.
    """
    site = subject.site
    if subject.tag in _LABELS and _holds_a_name(value, site.people):
        return False
    return (
        fits(form, value, site.people)
        and not site.own.stand_in(value, subject.vr)
        and not _was_found(subject, value.encode("ascii", "ignore"))
    )


def _was_found(subject: ElementContext, value: bytes) -> bool:
    """Whether the last gate has found something in a value of this attribute."""
    return (subject.tag, value.strip(b" \0")) in subject.site.flagged


def _technical_value(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    from sendit.clean_descriptors import clean  # noqa: PLC0415 - most values have their form

    if _holds_no_text(subject.vr) and not _holds_no_text(vr_of(subject.tag)):
        # Its bytes may be text all the same, and nobody reads a term in this form.
        return _gone_or_empty_or_dummy(subject, arguments)
    form, people = arguments["form"], subject.site.people
    values = [value.strip(PADDING) for value in subject.text.split("\\")]
    stay = [not value or _stays(form, value, subject) for value in values]
    if all(stay) and not _was_found(subject, subject.value):
        return subject.value
    left = [
        value if stays else _ascii(clean(value, people))
        for value, stays in zip(values, stay, strict=True)
    ]
    if subject.tag in _LABELS:
        name = _LABELS[subject.tag]
        return _label("", "\\".join(values), name, subject).encode("ascii")
    for written in (left, [_ascii(clean(value, people)) for value in values]):
        answer = "\\".join(written).encode("ascii")
        if any(written) and not _was_found(subject, answer):
            return answer
    return _gone_or_empty_or_dummy(subject, arguments)


def _cap_age(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    text = subject.text
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
"""A number that is not negative, as PS3.5 6.2 writes a DS or IS."""

_MAX_DECIMAL_LENGTH: Final = 16
_MEASURES: Final = {0x00101020: 300.0, 0x00101030: 1000.0}
"""What Patient's Size (m, of some sites cm) and Weight (kg) do not exceed: a number above it is
a date or an identifier."""

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
"""What PS3.3 C.7.1.1, C.7.2.2 and C.12.1 define these to hold; ethnic groups are free text
there, so that only words that name one stay."""


def _known_value(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    text = subject.text.strip(PADDING)
    if not text:
        return b""
    if subject.vr == "TM":
        kept = jitter.shift("TM", text, 0)
    elif subject.tag in _MEASURES:
        kept = _measure(text, _MEASURES[subject.tag])
    else:
        pattern = _KNOWN.get(subject.tag)
        kept = text if pattern is not None and pattern.fullmatch(text) else None
    return _empty_or_dummy(subject, _) if kept is None else kept.encode("ascii")


def _measure(text: str, most: float) -> str | None:
    """Return a decimal number up to ``most`` as a DS, or None if it is no such number."""
    if not _DECIMAL.fullmatch(text) or float(text) > most:
        return None
    return text if len(text) <= _MAX_DECIMAL_LENGTH else f"{float(text):.10g}"


def _keyed_hash(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    if "UI" in (subject.vr, vr_of(subject.tag)):
        return subject.site.uids.many(subject.value)
    value = subject.value.strip(b" \0")
    return subject.site.uids.uuid(value).hex[::-1].upper().encode() if value else b""


# What was done --------------------------------------------------------------------------


def _method_text(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    plan = subject.site.plan
    profile = f"PS3.15 {EDITION} " if plan.coverage.codes else ""
    text = f"sendit {__version__} {profile}recipe {plan.recipe.digest[:16]}"
    if plan.coverage.undates_uids:
        text += "\\UIDs that hold a date are remapped"
    return text.encode()


def _method_codes(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    # PS3.15 E.1.1: the codes are added to what the sequence holds of earlier steps.
    codes = {code: METHODS[code] for code in _earlier_methods(subject)}
    codes |= dict(subject.site.plan.coverage.codes)
    return tuple(
        (
            NewElement(0x00080100, "SH", value),
            NewElement(0x00080102, "SH", "DCM"),
            NewElement(0x00080104, "LO", meaning),
        )
        for value, meaning in codes.items()
    )


def _earlier_methods(subject: ElementContext) -> Iterator[str]:
    """Yield the standard's methods that the object says were applied to it before."""
    for _, elements in subject.items:
        code, scheme = code_of(elements, subject.data)
        if code in METHODS and scheme == "DCM":
            yield code


def _dates_modified(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return subject.site.plan.coverage.dates.encode()


# deid's built-ins -----------------------------------------------------------------------


def _deid_jitter(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    days = int(arguments["days"]) + 365 * int(arguments["years"])
    moved = jitter.shift(subject.vr, subject.text, days)
    return REMOVED if moved is None else moved.encode("ascii")


def _pydicom_uuid(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    return subject.site.uids.many(subject.value, arguments["prefix"])


def _dicom_uuid(subject: ElementContext, arguments: Mapping[str, str]) -> NewValue:
    return subject.site.uids.many(subject.value, arguments["org_root"])


def _basic_uuid(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    return str(subject.site.uids.uuid(subject.value.strip(b" \0"))).encode()


def _suffix_uuid(subject: ElementContext, _: Mapping[str, str]) -> NewValue:
    identifier = subject.site.uids.uuid(subject.value.strip(b" \0"))
    return f"{keyword_of(subject.tag).lower()}-{identifier}".encode()


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
    "profile_xd": _gone_or_dummy,
    "profile_xz": _gone_or_empty_or_dummy,
    "profile_xzd": _gone_or_empty_or_dummy,
    "profile_xzu": _gone_or_remapped,
    "profile_z": _empty_or_dummy,
    "pydicom_uuid": _pydicom_uuid,
    "remap_uid": _remap_uid,
    "suffix_uuid": _suffix_uuid,
    "technical_value": _technical_value,
    "undated_uid": _undated_uid,
}
