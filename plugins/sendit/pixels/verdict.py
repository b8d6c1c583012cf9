"""Decide whether text in an image may identify someone.

Identifying are values of the batch (names, numbers, the hospital), allowing for OCR errors; dates;
numbers of six digits or more; names of institutions; and unknown words. Known words are radiology
terms and words that devices display (:mod:`sendit.clean_descriptors`, ``known_vocabulary.txt``).
Only the kind of a finding leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

from sendit.clean_descriptors import fold, is_allowed
from sendit.dicom.scan import Header
from sendit.pixels.boxes import Box
from sendit.pixels.reader import Line


class TextKind(StrEnum):
    """Kinds of identifying text."""

    BATCH_VALUE = "a value of the batch"
    DATE = "a date"
    NUMBER = "a long number"
    INSTITUTION = "an institution"
    UNKNOWN = "unknown words"


MIN_DIGITS: Final = 6
MIN_LETTERS: Final = 3

_NUMBERS: Final = (
    *(0x00080050, 0x00100020, 0x00101000, 0x00101002, 0x00200010, 0x00380010, 0x00402016),
    *(0x00402017, 0x00321064, 0x00100030),
)
"""Attributes that identify the patient, the study or the order, and the birth date."""
_PLACES: Final = (0x00080080, 0x00080081, 0x00081040, 0x00081010, 0x00380300)

_TOKEN: Final = re.compile(r"[^\W_]+", re.UNICODE)
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_LONG_NUMBER: Final = re.compile(r"(?<![\d.])\d(?:[\-./ ]?\d){5,}(?![\d.])")
_COUNTER: Final = re.compile(r"\d{1,4} ?/ ?\d{1,4}")
"""Frame number and number of frames, in a region of an ultrasound image."""

_DECIMAL: Final = re.compile(r"\d+\.\d+")
_MONTHS: Final = "|".join(
    (
        *("jan", "feb", "mar", "apr", "may", "mai", "jun", "jul", "aug", "sep", "oct", "okt"),
        *("nov", "dec", "dez", "janv", "fev", "avr", "juin", "juil", "aout", "ene", "abr"),
        *("ago", "dic"),
    )
)
_DATES: Final = (
    re.compile(r"(?<!\d)(?:19|20)\d\d[\-./ ](?:0?[1-9]|1[0-2])[\-./ ](?:[0-2]?\d|3[01])(?!\d)"),
    re.compile(
        r"(?<!\d)(?:[0-2]?\d|3[01])[\-./](?:[0-2]?\d|3[01])[\-./](?:(?:18|19|20)\d\d|\d\d)(?!\d)"
    ),
    re.compile(
        rf"(?<![\d.])(?:[0-2]?\d|3[01])[\-./ ,]{{0,2}}(?:{_MONTHS})[a-z]{{0,6}}[\-./ ,']{{0,2}}"
        r"(?:(?:18|19|20)\d\d|\d\d)(?!\d)"
    ),
    re.compile(
        rf"(?:{_MONTHS})[a-z]{{0,6}}[\-./ ,]{{0,2}}(?:[0-2]?\d|3[01])[\-./ ,]{{1,3}}"
        r"(?:18|19|20)\d\d"
    ),
)
_INSTITUTIONS: Final = frozenset(
    (
        *("hospital", "hospitals", "clinic", "clinics", "klinik", "klinikum", "krankenhaus"),
        *("praxis", "hopital", "clinique", "ospedale", "clinica", "ziekenhuis", "sjukhus"),
        *("university", "universitat", "universite", "institute", "medical", "radiology"),
        *("memorial", "regional", "county", "veterans", "infirmary", "diagnostic", "imaging"),
        *("healthcare", "health", "saint", "mercy", "baptist", "methodist", "presbyterian"),
    )
)
_UNMISTAKABLE: Final = ("hospital", "klinik", "hopital", "ospedale", "ziekenhuis", "universit")
"""Also matched within a word, because OCR may lose spaces."""

_DEVICES: Final = frozenset(("healthcare", "medical", "imaging", "health", "diagnostic"))
"""The subset that also occurs in makers' names, and so counts only next to another word."""

_AS_DIGITS: Final = str.maketrans("oOQDIlLZSBGi|", "0000111258611")
_AS_LETTERS: Final = str.maketrans("0158|", "oisbi")
_SURE: Final = 0.8
_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")


@dataclass(slots=True)
class BatchValues:
    """The batch's own values, in the form in which OCR may read them.

    Attributes
    ----------
    words
        Names of people and places, folded.
    numbers
        Identifiers and birth dates: letters and digits only, with digits in place of letters that
        look like them.
    """

    words: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)

    def see(self, header: Header) -> None:
        """Add the values in one file's header."""
        for tag in _PLACES:
            for word in _LETTERS.findall(fold(header.text(tag) or "")):
                if len(word) >= MIN_LETTERS and not _is_known(word) and word not in _INSTITUTIONS:
                    self.words.add(word)
        for tag in _NUMBERS:
            for value in (header.text(tag) or "").split("\\"):
                self.add_number(value)

    def add_number(self, value: str) -> None:
        """Add an identifier, ignoring separators."""
        plain = "".join(_TOKEN.findall(value)).translate(_AS_DIGITS)
        if len(plain) >= 4 and any(sign.isdigit() for sign in plain):
            self.numbers.add(plain.lower())


@cache
def _known() -> frozenset[str]:
    text = (resources.files("sendit.pixels") / "known_vocabulary.txt").read_text("utf-8")
    return frozenset(word for line in text.splitlines() for word in line.partition("#")[0].split())


def _is_known(word: str) -> bool:
    return word in _known() or is_allowed(word)


def judge(lines: Sequence[Line], own: BatchValues, regions: Iterable[Box] = ()) -> TextKind | None:
    """Return the first kind of identifying text among lines; None if there is none.

    Parameters
    ----------
    lines
        The lines that OCR read.
    own
        The batch's values.
    regions
        Boxes in which operators type annotations (ultrasound); unknown words are allowed there.
    """
    return next((finding for _, finding in findings(lines, own, regions)), None)


def findings(
    lines: Sequence[Line], own: BatchValues, regions: Iterable[Box] = ()
) -> Iterator[tuple[Line, TextKind]]:
    """Yield the identifying lines, and the kind of each.

    See :func:`judge` for the parameters.
    """
    inner = list(regions)
    for line in lines:
        finding = _judge_line(line, own, typed=_is_within(line.box, inner))
        if finding is not None:
            yield line, finding


def _is_within(box: Box, regions: Sequence[Box]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in regions)


def _judge_line(line: Line, own: BatchValues, *, typed: bool) -> TextKind | None:
    text = fold(line.text)
    words, tokens = _LETTERS.findall(text), _TOKEN.findall(text)
    together = "".join(tokens)
    if any(_is_own(token, own) for token in tokens) or _is_own_number(together, own):
        return TextKind.BATCH_VALUE
    if any(_holds(together.translate(_AS_LETTERS), word) for word in own.words):
        return TextKind.BATCH_VALUE
    if any(pattern.search(text) for pattern in _DATES):
        return TextKind.DATE
    if any(_is_long(number, typed) for number in _LONG_NUMBER.findall(text)):
        return TextKind.NUMBER
    if _names_place(words):
        return TextKind.INSTITUTION
    return None if typed or not _has_unknown(line, words) else TextKind.UNKNOWN


def _is_long(number: str, typed: bool) -> bool:
    if typed and _COUNTER.fullmatch(number):
        return False
    return not _DECIMAL.fullmatch(number) and sum(map(str.isdigit, number)) >= MIN_DIGITS


def _names_place(words: Sequence[str]) -> bool:
    places = [word for word in words if _is_near_any(word, _INSTITUTIONS)]
    others = [word for word in words if len(word) >= MIN_LETTERS and word not in _DEVICES]
    if places and any(word in places or not _is_known(word) for word in others):
        return True
    return any(place in word for word in words for place in _UNMISTAKABLE)


def _has_unknown(line: Line, words: Sequence[str]) -> bool:
    return any(_is_unknown(word, line.score) for word in words) or (
        line.score >= _SURE and _CJK.search(line.text) is not None
    )


def _is_own(token: str, own: BatchValues) -> bool:
    letters = token.translate(_AS_LETTERS)
    if len(letters) == 2:
        return token in own.words
    if len(letters) >= MIN_LETTERS and any(
        _is_near(letters, word) for word in _likely(letters, own)
    ):
        return True
    return _is_own_number(token, own)


def _likely(letters: str, own: BatchValues) -> Iterator[str]:
    return (word for word in own.words if abs(len(word) - len(letters)) <= 2)


def _is_own_number(token: str, own: BatchValues) -> bool:
    digits = token.translate(_AS_DIGITS).lower()
    if sum(map(str.isdigit, digits)) < 4:
        return False
    return any(
        digits == number or (len(number) >= 5 and number in digits) or _is_near(digits, number)
        for number in own.numbers
        if len(number) - len(digits) <= 2
    )


def _is_near_any(word: str, words: Iterable[str]) -> bool:
    return len(word) >= 5 and any(
        abs(len(word) - len(other)) <= 1 and word[0] == other[0] and distance(word, other) <= 1
        for other in words
    )


def _is_near(read: str, real: str) -> bool:
    """Whether OCR may have read one word as another: one error is allowed from four letters on, two
    from eight."""
    return distance(read, real) <= _errors(real)


def _errors(word: str) -> int:
    return 0 if len(word) <= 3 else 1 if len(word) <= 7 else 2


def distance(one: str, two: str) -> int:
    """Return the Levenshtein distance of two words."""
    previous = list(range(len(two) + 1))
    for index, sign in enumerate(one, 1):
        current = [index]
        for place, other in enumerate(two, 1):
            current.append(
                min(previous[place] + 1, current[-1] + 1, previous[place - 1] + (sign != other))
            )
        previous = current
    return previous[-1]


def _holds(text: str, word: str) -> bool:
    """Whether a word of four letters or more occurs within a text, allowing for OCR errors and lost
    spaces."""
    if len(word) < 4:
        return False
    allowed = _errors(word)
    if allowed == 0 or word in text:
        return word in text
    return any(
        distance(text[start : start + len(word)], word) <= allowed
        for start in range(len(text) - len(word) + 1)
    )


def _is_composed(word: str) -> bool:
    """Whether a word is composed of known words of three letters or more."""
    ends = {0}
    for end in range(MIN_LETTERS, len(word) + 1):
        if any(end - start >= MIN_LETTERS and _is_known(word[start:end]) for start in ends):
            ends.add(end)
    return len(word) in ends


def _is_unknown(word: str, score: float) -> bool:
    if len(word) < MIN_LETTERS or (len(word) == MIN_LETTERS and score < _SURE):
        return False
    if len(set(word)) == 1 or _is_known(word) or _is_composed(word):
        return False
    return not any(
        len(word) >= 6 and abs(len(known) - len(word)) <= 1 and distance(word, known) <= 1
        for known in _known()
    )
