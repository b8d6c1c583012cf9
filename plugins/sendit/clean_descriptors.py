"""Reduce free text to words that cannot name a person (PS3.15 E.3.5, Clean Descriptors).

Only words of an allow-list stay: anatomy, protocols, contrast, findings, the vocabulary of
descriptors in English, German, French, Spanish, Portuguese, Italian, Dutch and Swedish. A word
that is also a family name is not in the list unless a descriptor can hardly do without it, and
no word of a name of this study's people stays (:mod:`sendit.deidentify.people`). Numbers stay
where they carry a unit, name a vertebra, a weighting, a dimension or a phase, are part of a
protocol's term (ep2d, dir80, mb4), or are short and stand alone between known words; every other
number goes, since it may be a date or part of an identifier. A text of which everything may stay
is returned as it is.

What stays must not say the opposite of what was written. Negations, doubts and refusals are on
the list. A word that is not may be one in a language that the list does not know, so what could
depend on it goes with it: a claim (contrast, a finding, something done) within
:data:`REACH` words of an unknown one, and a negation together with the rest of its clause if an
unknown word follows it there. See docs/decisions/cleaned-texts-keep-negations.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Set
from enum import Enum
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple

DATA: Final = "vocabulary.txt"

REACH: Final = 3
"""Words between which an unknown one may deny a claim."""

_CHUNK: Final = re.compile(r"[^\s_^=,;()\[\]{}<>\"|&*]+|[\n^,;()\[\]{}|]")
_BREAKS: Final = frozenset("\n^,;()[]{}|.")
_APOSTROPHE: Final = re.compile("['’`´]")
_SIGNED: Final = re.compile(r"([+\-]?)(.+?)(\+/-|[+\-±])?")
_SIGN: Final = re.compile(r"\+/-|[+\-±–—]")
_SPLIT: Final = re.compile(r"[/+\-.:–]")
_MEASURE: Final = re.compile(
    r"\d{1,4}(?:\.\d{1,3})?(?:x\d{1,4}(?:\.\d{1,3})?){0,2}"
    r"(?:mm|cm|ms|msec|sec|s|hz|khz|mhz|t|kv|kvp|mas|ma|ml|cc|deg|min|hu|kev|ph|pct|%)",
    re.ASCII | re.IGNORECASE,
)
_QUANTITY: Final = re.compile(r"\d{1,4}(?:\.\d{1,3})?", re.ASCII)
_UNITS: Final = frozenset(
    (
        *("mm", "cm", "ms", "msec", "sec", "hz", "khz", "mhz", "kv", "kvp", "mas", "ma", "ml"),
        *("cc", "deg", "hu", "kev", "pct", "%", "mm2", "mm3", "cm2", "cm3"),
    )
)
"""Units behind a number and a blank; shorter ones may be anything."""

_NAMED_NUMBER: Final = re.compile(
    # vertebrae, weightings, dimensions, b-values, kernels, phases
    r"[ctls]\d{1,2}|t[12][wc]?|t2star|[234]d|b\d{1,4}|[bihjfqrtu][a-z]?\d{2}[a-z]?|ph?\d{1,2}|"
    r"\d(?:st|nd|rd|th)",
    re.ASCII | re.IGNORECASE,
)
_RUNS: Final = re.compile(r"[234]D(?=[a-z]*[A-Z])|[A-Za-z]+|[0-9]+", re.ASCII)
_CAMEL: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", re.ASCII)
_SHORT: Final = re.compile(r"\d{1,3}", re.ASCII)
_DECIMAL: Final = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_MAX_DIGITS_IN_TERM: Final = 4
_JOINED: Final = frozenset(
    (
        *("ax", "sag", "cor", "tra", "ap", "pa", "rl", "lr", "hf", "fh", "int", "asc", "des"),
        *("desc", "seq", "dwi", "dti", "epi", "fmri", "bold", "asl", "map", "mosaic", "phase"),
    )
)
"""Terms that protocols write together in camel case: SagHF."""

_MONTHS: Final = frozenset(("may", "mai", "mag", "mrt", "out", "des"))
"""Months, written out or abbreviated, that are also words of the list: next to a number, a date."""

_MAX_DAY: Final = 31
_MAX_MONTH: Final = 12
_BRACKETS: Final = frozenset(")]}")
_LETTERS: Final = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i"})


class Sort(Enum):
    """What a word does in a text."""

    PLAIN = "plain"
    CLAIM = "claim"
    DENIAL = "denial"
    REFUSAL = "refusal"
    NUMBER = "number"
    NAME = "name"
    UNKNOWN = "unknown"
    BREAK = "break"


_DROPPED: Final = frozenset((Sort.NUMBER, Sort.NAME, Sort.UNKNOWN))
_NOBODY: Final[frozenset[str]] = frozenset()


class _Token(NamedTuple):
    text: str
    sort: Sort


@cache
def vocabulary() -> dict[str, Sort]:
    """Return the allow-list: each word, folded, and what it does."""
    text = (resources.files("sendit") / DATA).read_text("utf-8")
    words: dict[Sort, set[str]] = {}
    sort = Sort.PLAIN
    for line in text.splitlines():
        if line.startswith("@"):
            sort = Sort(line[1:].strip())
        else:
            words.setdefault(sort, set()).update(line.partition("#")[0].split())
    order = (Sort.PLAIN, Sort.CLAIM, Sort.REFUSAL, Sort.DENIAL)  # the later one holds
    return {word: each for each in order for word in words[each]}


def fold(text: str) -> str:
    """Return a text in lower case and without accents, as words are compared."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(sign for sign in parts if not unicodedata.combining(sign))


def clean(text: str, people: Set[str] = _NOBODY) -> str:
    """Return the words of a text that are allowed, in their order.

    A value all of whose words are allowed is returned as it is; the remaining words of any other
    are separated by blanks.

    Parameters
    ----------
    text
        Values of a multi-valued text stay apart.
    people
        Words of the names of this study's people, folded, and the patient's numbers: none of them
        stays, except as a quantity with its unit.

    Returns
    -------
    str
        Empty if nothing may stay.
    """
    return "\\".join(_clean_one(value, people) for value in text.split("\\")).strip("\\ ")


def is_allowed(word: str) -> bool:
    """Whether one word may stay, beside words that are known too."""
    return _sort(word, _NOBODY) not in _DROPPED


def _clean_one(text: str, people: Set[str]) -> str:
    tokens = [token for chunk in _CHUNK.findall(text) for token in _tokens(chunk, people)]
    tokens = _with_short_numbers(_with_quantities(_with_signs(tokens)), people)
    tokens = _without_lost_denials(_without_doubtful_claims(tokens))
    words = [token for token in tokens if token.sort is not Sort.BREAK]
    stay = [word.text for word in words if word.sort not in _DROPPED]
    if words and len(stay) == len(words):
        return text.strip()
    return " ".join(stay)


# Words ------------------------------------------------------------------------------------


def _tokens(chunk: str, people: Set[str]) -> Iterator[_Token]:
    """Give the words of a chunk without blanks, and the breaks and question marks around it."""
    if chunk in _BREAKS:
        yield _Token(chunk, Sort.BREAK)
        return
    core = chunk.lstrip(".:?¿¡").rstrip(".:!?")  # a ! before a word is a "not"
    words = list(_words(core, people)) if core else []
    if not words:
        doubt = "?" in chunk or "¿" in chunk
        if doubt:
            yield _Token("?", Sort.REFUSAL)
        elif not core or chunk.endswith((".", ":")):
            yield _Token(chunk, Sort.BREAK)
        return
    before, behind = chunk[: chunk.index(core)], chunk[chunk.index(core) + len(core) :]
    if "?" in before + behind or "¿" in before:
        first, last = words[0], words[-1]
        if "?" in behind and last.sort not in _DROPPED:
            words[-1] = last._replace(text=f"{last.text}?")
        elif first.sort not in _DROPPED:
            words[0] = first._replace(text=f"?{first.text}")
    yield from words
    if behind.startswith((".", ":")):
        yield _Token(behind, Sort.BREAK)


def _words(core: str, people: Set[str]) -> Iterator[_Token]:
    sort = _sort(core, people)
    if sort not in _DROPPED or _SIGN.fullmatch(core):
        yield _Token(core, sort)
        return
    signed = _SIGNED.fullmatch(core)
    if signed and (signed[1] or signed[3]):  # C+, KM-, -contrast: the sign carries the meaning
        inner = _sort(signed[2], people)
        if inner not in _DROPPED:
            yield _Token(core, Sort.CLAIM if inner is Sort.PLAIN else inner)
            return
    apart = _APOSTROPHE.split(core)
    if len(apart) > 1:  # d'abdomen, Smith's: an elision or an ending has no meaning
        for part in apart:
            if len(part) > 1:
                yield from _words(part, people)
        return
    pieces = _SPLIT.split(core)
    if len(pieces) == 1 or any(piece.isdigit() for piece in pieces):
        # A date or an identifier, unless it is words with one short number: run-1, 3-plane.
        sorts = Counter(_sort(piece, people) for piece in pieces)
        is_term = sorts[Sort.NUMBER] == 1 and sorts[Sort.PLAIN] == len(pieces) - 1 > 0
        is_term = is_term and (people | _MONTHS).isdisjoint(map(fold, pieces))
        is_term = is_term and all(
            not piece.isdigit() or _SHORT.fullmatch(piece) for piece in pieces
        )
        yield _Token(core, Sort.PLAIN if is_term else sort)
        return
    if core.lower().endswith("+c") and _sort(core[:-2], people) not in _DROPPED:
        yield _Token(core, Sort.CLAIM)
        return
    for piece in pieces:
        if piece:
            yield _Token(piece, _sort(piece, people))


def _sort(word: str, people: Set[str]) -> Sort:
    folded = fold(word)
    known = vocabulary().get(folded)
    if folded in people:
        if folded.isdigit():
            return Sort.NUMBER
        # A name that is a negation, too, may be meant as one.
        return Sort.UNKNOWN if known in (Sort.DENIAL, Sort.REFUSAL) else Sort.NAME
    if known is not None:
        return known
    if not word.isascii():
        return Sort.UNKNOWN
    if _MEASURE.fullmatch(word) or _NAMED_NUMBER.fullmatch(word) or _is_term(word, people):
        return Sort.PLAIN
    digits = sum(sign.isdigit() for sign in word)
    return Sort.NUMBER if digits > 1 or word.isdigit() else Sort.UNKNOWN


def _is_term(word: str, people: Set[str]) -> bool:
    """Whether a word is made of a protocol's terms and short numbers: ep2d, dir80, SagHF, 36sl."""
    runs = _RUNS.findall(word)
    if "".join(runs) != word:
        return False
    digits = [run for run in runs if run.isdigit()]
    if sum(map(len, digits)) > _MAX_DIGITS_IN_TERM or any(
        not _SHORT.fullmatch(run) or run in people for run in digits
    ):
        return False
    terms: list[str] = []
    has_number = not word.isalpha()
    for index, run in enumerate(runs):
        if run[0].isdigit():
            continue
        if len(run) == 1:  # 2d, 1p5: a dimension, a decimal point
            if run.lower() not in "dp" or not index:
                return False
        else:
            terms += [run] if has_number and _is_plain(run, people) else _CAMEL.findall(run)
    return bool(terms) and all(
        len(term) > 1 and _is_plain(term, people) and (has_number or fold(term) in _JOINED)
        for term in terms
    )


def _is_plain(word: str, people: Set[str]) -> bool:
    folded = fold(word)
    is_free = folded not in people and folded not in _MONTHS
    return is_free and vocabulary().get(folded) is Sort.PLAIN


# What hangs together ----------------------------------------------------------------------


def _with_signs(tokens: list[_Token]) -> list[_Token]:
    """Decide on isolated signs and zeros: beside a claim they say whether it holds."""
    decided: list[_Token] = []
    for index, (text, sort) in enumerate(tokens):
        if not _SIGN.fullmatch(text) and text.strip("0"):
            decided.append(_Token(text, sort))
            continue
        before = [each for each in tokens[max(0, index - 6) : index] if each.sort != Sort.BREAK]
        behind = [each for each in tokens[index + 1 : index + 7] if each.sort != Sort.BREAK]
        says = any(other.sort is Sort.CLAIM for other in (*before[-2:], *behind[:1]))
        says = says or any(one.text in _BRACKETS for one in tokens[index + 1 : index + 2])
        if says or text in ("+", "+/-", "±"):
            decided.append(_Token("-" if text in "–—" else text, Sort.REFUSAL))
        elif text == "0" * len(text):
            decided.append(_Token(text, Sort.NUMBER))
    return decided


def _with_quantities(tokens: list[_Token]) -> list[_Token]:
    """Keep a number that its unit follows: 34.5 mm."""
    result = list(tokens)
    for index, (number, unit) in enumerate(pairwise(tokens)):
        if (
            number.sort is Sort.NUMBER
            and unit.text.lower() in _UNITS
            and _QUANTITY.fullmatch(number.text)
        ):
            result[index] = number._replace(sort=Sort.PLAIN)
            result[index + 1] = unit._replace(sort=Sort.PLAIN)
    return result


def _with_short_numbers(tokens: list[_Token], people: Set[str]) -> list[_Token]:
    """Keep a short number between known words: KNEE 3 VIEWS, LUNG 1.25.

    Several in a row may be a date or an identifier; beside an unknown word one may be a room, a
    street, a day. A number of the patient's goes.
    """
    result = list(tokens)
    words = [index for index, token in enumerate(tokens) if token.sort is not Sort.BREAK]
    for place, index in enumerate(words):
        token = tokens[index]
        around = [
            tokens[other] for other in (*words[max(0, place - 1) : place], *words[place + 1 :][:1])
        ]
        if (
            token.sort is Sort.NUMBER
            and _is_short_number(token.text)
            and token.text not in people
            and around
            and all(other.sort not in _DROPPED for other in around)
            and _MONTHS.isdisjoint(fold(other.text) for other in around)
        ):
            result[index] = token._replace(sort=Sort.PLAIN)
    return result


def _is_short_number(text: str) -> bool:
    """Whether a number is too short for a date or an identifier; 14.03 is a day and a month."""
    if _SHORT.fullmatch(text):
        return bool(text.strip("0"))
    decimal = _DECIMAL.fullmatch(text)
    if decimal is None:
        return False
    whole, fraction = decimal.groups()
    is_half = len(whole) == 1 and fraction == "5"
    return is_half or not (
        1 <= int(whole) <= _MAX_DAY and 1 <= int(fraction) <= _MAX_MONTH and len(fraction) <= 2
    )


def _without_doubtful_claims(tokens: list[_Token]) -> list[_Token]:
    """Drop each claim near an unknown word, and then what is near that claim."""
    words = [index for index, token in enumerate(tokens) if token.sort is not Sort.BREAK]
    sorts = [tokens[index].sort for index in words]
    unknown = [place for place, sort in enumerate(sorts) if sort is Sort.UNKNOWN]
    while unknown:
        place = unknown.pop()
        for near in range(max(0, place - REACH), min(len(sorts), place + REACH + 1)):
            if sorts[near] is Sort.CLAIM:
                sorts[near] = Sort.UNKNOWN
                unknown.append(near)
    result = list(tokens)
    for index, sort in zip(words, sorts, strict=True):
        result[index] = tokens[index]._replace(sort=sort)
    return result


def _without_lost_denials(tokens: list[_Token]) -> list[_Token]:
    """Drop a negation of which nobody knows what it governs, with the rest of its clause."""
    result: list[_Token] = []
    lost = False
    for index, token in enumerate(tokens):
        if token.sort is Sort.BREAK:
            lost = False
        elif token.sort is Sort.DENIAL and not lost:
            lost = _is_lost(tokens[index + 1 : index + 1 + REACH])
        result.append(token._replace(sort=Sort.UNKNOWN) if lost else token)
    return result


def _is_lost(following: list[_Token]) -> bool:
    """Whether an unknown word comes before the clause ends."""
    sorts = [token.sort for token in following]
    return Sort.UNKNOWN in sorts[: sorts.index(Sort.BREAK) if Sort.BREAK in sorts else None]
