"""Free text reduced to words that cannot name a person (PS3.15 E.3.5, Clean Descriptors).

Only words of an allow-list stay: anatomy, protocols, contrast, orientation, the vocabulary
of CT and MR descriptors. A word that is also a family name is not in the list unless a
descriptor can hardly do without it. Numbers stay where they carry a unit, or name a vertebra,
a weighting, a dimension or a phase; every other number goes, since it may be a date or part
of an identifier.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

DATA: Final = "words.txt"

_TOKEN: Final = re.compile(r"[A-Za-z0-9.,+/\-:]*[A-Za-z0-9+]", re.ASCII)
_PIECE: Final = re.compile(r"[A-Za-z]+|[^A-Za-z]+", re.ASCII)
_SPLIT: Final = re.compile(r"([/+\-])")
_MEASURE: Final = re.compile(
    r"\d{1,4}(?:\.\d{1,3})?(?:x\d{1,4}(?:\.\d{1,3})?){0,2}"
    r"(?:mm|cm|ms|msec|sec|s|hz|khz|mhz|t|kv|kvp|mas|ma|ml|cc|deg|min|hu|kev|ph|pct|%)",
    re.ASCII | re.IGNORECASE,
)
_NAMED_NUMBER: Final = re.compile(
    # vertebrae, weightings, dimensions, b-values, kernels, phases
    r"[ctls]\d{1,2}|t[12][wc]?|t2star|[234]d|b\d{1,4}|[bihjfqur][a-z]?\d{2}[a-z]?|ph?\d{1,2}|"
    r"\d(?:st|nd|rd|th)",
    re.ASCII | re.IGNORECASE,
)


@cache
def allowed() -> frozenset[str]:
    """Return the allow-list, in lower case."""
    text = (resources.files("sendit.deidentify") / DATA).read_text("utf-8")
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return frozenset(word for words in lines for word in words)


def clean(text: str) -> str:
    """Return the words of a text that are allowed, in their order, separated by blanks.

    The result is ASCII; empty if nothing may stay. Values of a multi-valued text stay apart.
    """
    return "\\".join(_clean_one(value) for value in text.split("\\")).strip("\\ ")


def _clean_one(text: str) -> str:
    kept: list[str] = []
    for word in re.split(r"[\s_^=,;()\[\]<>\"'|&*]+", text):
        kept.extend(_parts(word.strip(".:!?")))
    return " ".join(kept)


def _parts(word: str) -> list[str]:
    if not word or not word.isascii():
        return []
    if is_allowed(word):
        return [word]
    pieces = _SPLIT.split(word)
    if len(pieces) == 1:
        return []
    # T1/T2, C-spine, w/o: each part on its own, unless digits make it a date or a number
    if sum(piece.isdigit() for piece in pieces) > 0:
        return []
    return [piece for piece in pieces if is_allowed(piece)]


def is_allowed(word: str) -> bool:
    """Whether one word may stay."""
    return (
        word.lower() in allowed()
        or _MEASURE.fullmatch(word) is not None
        or _NAMED_NUMBER.fullmatch(word) is not None
    )
