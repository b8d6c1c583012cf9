"""Declare the functions and variables that a recipe may use: names, arguments and meaning.

The functions are implemented in :mod:`sendit.deidentify.functions`; declaring them here lets a
recipe be checked without the engine. ``deid_func:`` names are deid 0.4.13's built-ins, ``func:``
names are sendit's own.

Functions of the ``profile_`` family may remove the element: deid's language has no action for
"remove unless the object needs it", which PS3.15 Table E.1-1 requires by X/Z, X/D and X/Z/D.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sendit.recipe.model import Action

Prefix = Literal["func", "deid_func"]
ArgumentKind = Literal["integer", "boolean", "text", "uid root", "form"]

REPLACING = frozenset({Action.ADD, Action.REPLACE})
FORMS: Mapping[str, str] = MappingProxyType(
    {
        "term": "a Defined Term, in the form of a CS or as people write it",
        "label": "a device's or program's name for a part, a method or a setting",
        "maker": "a maker, a model or a program",
        "version": "a version",
        "words": "words of the allow-list",
    }
)
"""Forms of technical values with their meaning; implemented in :mod:`sendit.deidentify.forms`."""

_UIDS = frozenset({"UI"})
_WORDS = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
HASHED = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UT"})
"""VRs that can hold a keyed hash."""

_LONG_TEXTS = frozenset({"LO", "LT", "ST", "UC", "UT"})


@dataclass(frozen=True, slots=True)
class Argument:
    """A ``key=value`` argument of a function; every argument has a default."""

    name: str
    kind: ArgumentKind
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function that a recipe may call after ``func:`` or ``deid_func:``.

    Attributes
    ----------
    name, prefix, meaning
        Name, prefix and documentation.
    arguments
        Its arguments.
    actions
        The actions whose value it may be.
    vrs
        The VRs for which its result is valid; None for all.
    siblings
        Whether it reads other elements of the same sequence item.
    before_jitter
        Whether a JITTER of the same attribute may follow and shift its result.
    """

    name: str
    prefix: Prefix
    meaning: str
    arguments: tuple[Argument, ...] = ()
    actions: frozenset[Action] = REPLACING
    vrs: frozenset[str] | None = None
    siblings: bool = False
    before_jitter: bool = False


_DECLARED: tuple[FunctionSpec, ...] = (
    # deid's built-ins
    FunctionSpec(
        "jitter",
        "deid_func",
        "the date, shifted by a fixed number of days (a year counts as 365 days)",
        (
            Argument("days", "integer", "1", "days to shift by, may be negative"),
            Argument("years", "integer", "0", "years of 365 days to shift by"),
        ),
        frozenset({Action.REPLACE}),
        vrs=frozenset({"DA", "DT"}),
    ),
    FunctionSpec(
        "pydicom_uuid",
        "deid_func",
        "a UID, the same for the same original. Keyed with the site's key, unlike deid's, "
        "whose result anyone who knows an original can compute",
        (
            Argument("prefix", "uid root", "2.25.", "root of the new UID"),
            Argument("stable_remapping", "boolean", "true", "always true here"),
        ),
        vrs=_UIDS | _LONG_TEXTS | {"PN", "SH"},
    ),
    FunctionSpec(
        "dicom_uuid",
        "deid_func",
        "a UID under a root of your own, the same for the same original (deid's is random)",
        (Argument("org_root", "uid root", "2.25", "root of the new UID"),),
        vrs=_UIDS | _LONG_TEXTS | {"PN", "SH"},
    ),
    FunctionSpec(
        "basic_uuid",
        "deid_func",
        "a UUID as text, the same for the same original (deid's is random)",
        vrs=_LONG_TEXTS | {"PN", "SH"},
    ),
    FunctionSpec(
        "suffix_uuid",
        "deid_func",
        "the attribute's keyword in lower case, a dash, and a UUID, the same for the same "
        "original (deid's is random)",
        vrs=_LONG_TEXTS | {"PN", "SH"},
    ),
    # sendit's own
    FunctionSpec(
        "keyed_hash",
        "func",
        "a keyed hash of the value, the same for the same original: a UID for a UID, otherwise "
        "hexadecimal digits, as many as the VR allows, or a dummy if it allows none",
    ),
    FunctionSpec(
        "remap_uid",
        "func",
        "U: each UID is replaced by a keyed hash under 2.25, the same in every batch of a site; "
        "UIDs that the standard registers (SOP classes, transfer syntaxes) are kept",
        vrs=_UIDS,
    ),
    FunctionSpec(
        "undated_uid",
        "func",
        "K, checked: a UID is kept unless it contains a date (yyyymmdd, or the seconds since "
        "1970, as many makers' UIDs do); then it is remapped as by remap_uid, because next to "
        "shifted dates it would reveal the shift",
        actions=frozenset({Action.REPLACE}),
        vrs=_UIDS,
    ),
    FunctionSpec(
        "dummy",
        "func",
        "D: a fixed, meaningless value that is valid for the VR; in a sequence the items "
        "are kept and every element in them that no rule names becomes a dummy",
    ),
    FunctionSpec(
        "profile_z",
        "func",
        "Z: emptied, or a dummy if the object's IOD requires a value (type 1); in a sequence "
        "no items, or dummies",
    ),
    FunctionSpec(
        "profile_xz",
        "func",
        "X/Z: removed if the object's IOD has it as type 3 or not at all; emptied if type 2; "
        "a dummy if type 1",
        actions=frozenset({Action.REPLACE}),
    ),
    FunctionSpec(
        "profile_xd",
        "func",
        "X/D: removed if type 3 or not in the IOD; a dummy otherwise",
        actions=frozenset({Action.REPLACE}),
    ),
    FunctionSpec(
        "profile_xzd",
        "func",
        "X/Z/D: removed if type 3 or not in the IOD; emptied if type 2; a dummy if type 1",
        actions=frozenset({Action.REPLACE}),
    ),
    FunctionSpec(
        "profile_xzu",
        "func",
        "X/Z/U*: a sequence of references: removed if type 3 or not in the IOD; otherwise its "
        "items are kept and the UIDs in them are remapped",
        actions=frozenset({Action.REPLACE}),
        vrs=frozenset({"SQ"}),
    ),
    FunctionSpec(
        "clean_text",
        "func",
        "C: only words of the allow-list of radiology terms are kept; if none is left: emptied, or "
        "a dummy if the IOD requires a value; in a sequence the items are kept and every text in "
        "them that no rule names is cleaned",
        actions=frozenset({Action.REPLACE}),
        vrs=_WORDS | {"PN", "SQ"},
        siblings=True,
    ),
    FunctionSpec(
        "clean_code",
        "func",
        "a code, its scheme or another attribute of its origin: kept unless it is a name or number "
        "of people in the study; then replaced by a dummy",
        actions=frozenset({Action.REPLACE}),
        vrs=_WORDS | {"CS", "UI", "UR"},
        siblings=True,
    ),
    FunctionSpec(
        "clean_code_meaning",
        "func",
        "the meaning of a code: the standard's own text is kept if code and scheme are the "
        "standard's (PS3.16); any other text is cleaned as by clean_text, or replaced by the "
        "standard's",
        actions=frozenset({Action.REPLACE}),
        vrs=_WORDS,
        siblings=True,
    ),
    FunctionSpec(
        "clean_content",
        "func",
        "Clean Structured Content (PS3.15 E.3.4): in the items of the sequence, numbers, "
        "coordinates and codes are kept, UIDs remapped, dates shifted, texts cleaned as by "
        "clean_text; an accession number or a subject's number is replaced by the code, an age of "
        "90 years or more by 90; what a device says about itself is kept if it has the expected "
        "form, and names that distinguish findings still do",
        actions=frozenset({Action.REPLACE}),
        siblings=True,
    ),
    FunctionSpec(
        "content_date",
        "func",
        "the date of a content item is kept, to be shifted by a JITTER after it; a birth date is "
        "emptied, or a dummy if the object's IOD requires a value",
        actions=frozenset({Action.REPLACE}),
        vrs=frozenset({"DA", "DT"}),
        siblings=True,
        before_jitter=True,
    ),
    FunctionSpec(
        "technical_value",
        "func",
        "a value is kept if it has the form ("
        + "; ".join(f"{form}: {meaning}" for form, meaning in FORMS.items())
        + ") and contains no name or number of people in the study; of any other value only words "
        "of the allow-list are kept; if none is left: removed if the object's IOD has it as type 3 "
        "or not at all, emptied if type 2, a dummy if type 1",
        (Argument("form", "form", "term", "the form"),),
        actions=frozenset({Action.REPLACE}),
        vrs=_WORDS | {"AE", "CS"},
    ),
    FunctionSpec(
        "cap_age",
        "func",
        "an age over 89 years becomes 090Y (HIPAA 164.514(b)(2)(i)(C)); an invalid age is emptied",
        actions=frozenset({Action.REPLACE}),
        vrs=frozenset({"AS"}),
    ),
    FunctionSpec(
        "known_value",
        "func",
        "K, checked: a value that the attribute is defined to hold is kept (a time of day, M, F "
        "or O as a sex, a weight, ...); any other is removed, or a dummy if the IOD requires one",
        actions=frozenset({Action.REPLACE}),
        vrs=frozenset({"CS", "DS", "SH", "TM", "UC"}),
    ),
    FunctionSpec(
        "method_text",
        "func",
        "(0012,0063): sendit's version, the edition of PS3.15 that the recipe fulfils, the "
        "recipe's digest, and whether UIDs that hold a date are remapped",
        vrs=_LONG_TEXTS,
    ),
    FunctionSpec(
        "method_codes",
        "func",
        "(0012,0064): the PS3.16 CID 7050 codes of the profile and options that the recipe "
        "fulfils, computed from its rules, added to those that the object already has",
        vrs=frozenset({"SQ"}),
    ),
    FunctionSpec(
        "dates_modified",
        "func",
        "(0028,0303): UNMODIFIED, MODIFIED or REMOVED, computed from the recipe's rules",
        vrs=frozenset({"CS"}),
    ),
)

FUNCTIONS: Mapping[str, FunctionSpec] = MappingProxyType({spec.name: spec for spec in _DECLARED})
"""All functions by name; names are unique across both prefixes."""

KEPT_BY_FORM = frozenset({"clean_code", "technical_value"})
"""Functions that keep a value because of its form. If the last gate finds a name, number or date of
the study in such a value, only the value is removed."""

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "entity_id": "the patient's code, from the identifier service",
        "item_id": "the study's code, from the identifier service",
        "entity_timestamp": "the patient's birth date, jittered (yyyymmdd; empty if unknown)",
        "item_timestamp": "the study's date, jittered (yyyymmdd; empty if unknown)",
        "jitter": "the patient's jitter in whole days",
    }
)
"""The variables that a recipe may use, with their meaning."""

_TESTS_FOR_PRIVATE = frozenset(("isprivate", "isprivatetag", "istagprivate"))
"""Names (as by :func:`_plain`) of functions that recipes use as a condition, as in ``REMOVE ALL
func:is_tag_private``, for whether an attribute is private."""

_HASHES = frozenset(("generateid", "remap"))
_HASH = re.compile(r"hash|hmac|md5|sha\d|uuid|uid($|_)", re.IGNORECASE)
_OF_ANOTHER_KIND = re.compile(
    r"(^|_)age(_|$)|birth|(?<!up)date|day|^is_|jitter|private|shift|time", re.IGNORECASE
)

_VARIABLE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("anonid", "anonname", "anonpatientid", "anonpatientname", "anonymizedid", "id"),
                *("newid", "newname", "newpatientid", "newpatientname", "participantid"),
                *("patientcode", "patientid", "patientname", "pid", "pseudoid", "pseudonym"),
                *("subject", "subjectcode", "subjectid"),
            ),
            "entity_id",
        ),
        **dict.fromkeys(
            (
                *("accession", "accessionnumber", "anonaccession", "anonaccessionnumber"),
                *("anonstudyid", "item", "newaccession", "newaccessionnumber", "newstudyid"),
                *("sourceid", "studycode", "studyid", "suid"),
            ),
            "item_id",
        ),
        **dict.fromkeys(
            (
                *("dateinc", "dateincrement", "datejitter", "dateoffset", "dateshift"),
                *("daysjitter", "dayshift", "entityjitter", "jitterdays", "offset"),
                *("patientjitter", "shift"),
            ),
            "jitter",
        ),
        **dict.fromkeys(("timestamp", "studydate", "itemdate"), "item_timestamp"),
        **dict.fromkeys(("birthdate", "dob", "entitydate", "patientbirthdate"), "entity_timestamp"),
    }
)
"""Names of variables in deid's documentation, in Stanford's and other recipes (as by
:func:`_plain`), and the equivalent here."""


def function_like(name: str) -> str | None:
    """Return the function here that is equivalent to one of deid's documentation or of other
    recipes, by its name; None if there is none.

    A function whose name says that it hashes a value, or makes a UID, is a keyed hash here.
    """
    hashes = _plain(name) in _HASHES or (_HASH.search(name) and not _OF_ANOTHER_KIND.search(name))
    return "keyed_hash" if hashes else None


def variable_like(name: str) -> str | None:
    """Return the variable here that is equivalent to one of deid's documentation, of Stanford's or
    other recipes, by its name; None if there is none."""
    return _VARIABLE_ALIASES.get(_plain(name))


def shifts_dates(name: str) -> bool:
    """Whether a function's name says that it shifts a date."""
    plain = _plain(name)
    return "date" in plain and bool(re.search(r"inc|jitter|offset|shift", plain))


def is_test_for_private(name: str) -> bool:
    """Whether a function's name asks whether an attribute is private."""
    return _plain(name) in _TESTS_FOR_PRIVATE


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
