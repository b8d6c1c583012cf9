"""Find the keyword that a misspelt, outdated or abbreviated name stands for.

Recipes that were translated from other anonymizers use the names of RSNA's CTP and of the old
dcm4che dictionary (``RefPatientSeq``, ``PhysicianOfRecordIdSeq``, ``SPSDescription``), and earlier
editions of the standard had other ones (``PatientsName``, ``OperatorIDSequence``). They differ from
keywords by abbreviations, plurals and small words, or by the order of the words.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from sendit.recipe.attributes import keyword_of, keywords

MIN_SIMILARITY = 0.88
"""Minimum similarity (of 1) between a misspelt keyword and its correction."""

MIN_MARGIN = 0.02
"""Minimum distance in similarity to the second best keyword."""

_LONG = {
    "acq": "acquisition",
    "addr": "address",
    "aet": "ae title",
    "dept": "departmental",
    "desc": "description",
    "dob": "birth date",
    "gen": "general",
    "geo": "geographic",
    "identification": "id",
    "loc": "location",
    "lut": "lookup table",
    "num": "number",
    "org": "organization",
    "phone": "telephone",
    "pps": "performed procedure step",
    "proc": "procedure",
    "ref": "referenced",
    "req": "request",
    "sched": "scheduled",
    "seq": "sequence",
    "sps": "scheduled procedure step",
    "tel": "telephone",
    "trans": "transaction",
}
"""Abbreviations and synonyms in names of attributes."""

_SMALL = frozenset(("for", "of", "on", "s", "the"))
_NAMES_OF_CTP = {
    "codesetextensioncreatoruid": "ContextGroupExtensionCreatorUID",
    "confidentialitypatientdata": "ConfidentialityConstraintOnPatientDataDescription",
    "contrastallergies": "Allergies",
    "fillerordernumber": "FillerOrderNumberImagingServiceRequest",
    "placeordernumberofimagingservicereq": "PlacerOrderNumberImagingServiceRequest",
    "placerordernumber": "PlacerOrderNumberImagingServiceRequest",
}
"""Names in CTP's scripts (lower case) that consist of other words than the keyword."""

_WORD = re.compile(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+|\d+")
_ACRONYMS = re.compile(r"(AET|AE|ID|LUT|MAC|PPS|SOP|SPS|UID|VOI)(?=s?$|[A-Z])")


def only_near(word: str) -> str:
    """Return the keyword that a name must stand for, or an empty string if it is not certain."""
    if known := _NAMES_OF_CTP.get(word.lower()):
        return known
    words = _words(word)
    for key in (words, tuple(sorted(words))) if len(words) > 1 else ():
        if candidates := _by_words().get(key):
            return next(iter(candidates)) if len(candidates) == 1 else ""
    return _only_similar(word)


def near(word: str) -> str:
    """Return a hint with the keywords closest to a misspelt one, or an empty string."""
    close = difflib.get_close_matches(word.lower(), keywords(), n=3, cutoff=0.75)
    names = [keyword_of(keywords()[name]) for name in close]
    certain = only_near(word)
    if certain:
        names = [certain, *(name for name in names if name != certain)][:3]
    return f"did you mean {' or '.join(names)}?" if names else ""


def _only_similar(word: str) -> str:
    known = keywords()
    close = difflib.get_close_matches(word.lower(), known, n=2, cutoff=MIN_SIMILARITY)
    if not close:
        return ""
    ratios = [difflib.SequenceMatcher(None, name, word.lower()).ratio() for name in close]
    if len(close) > 1 and ratios[0] - ratios[1] < MIN_MARGIN:
        return ""
    return keyword_of(known[close[0]])


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name: in full, in the singular, without small words."""
    parts = (part for word in _WORD.findall(name) for part in _ACRONYMS.sub(r"\1 ", word).split())
    full = (long for part in parts for long in _in_full(part.lower()).split())
    return tuple(word for word in map(_singular, full) if word not in _SMALL)


def _in_full(word: str) -> str:
    return _LONG.get(word) or _LONG.get(_singular(word), word)


def _singular(word: str) -> str:
    word = re.sub("oses$", "osis", word)
    return word[:-1] if word.endswith("s") and (len(word) > 3 or word == "ids") else word


@cache
def _by_words() -> dict[tuple[str, ...], set[str]]:
    """Return the standard's keywords by their words, in their order and sorted."""
    by_words: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for keyword in map(keyword_of, _data_set_tags(keywords().values())):
        words = _words(keyword)
        by_words[words].add(keyword)
        by_words[tuple(sorted(words))].add(keyword)
    return by_words


def _data_set_tags(tags: Iterable[int]) -> Iterable[int]:
    return (tag for tag in tags if tag >= 0x00080000)
