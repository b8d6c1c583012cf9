"""Normal forms for the ways in which people write a name, a number or a date.

Texts and values are normalised and then compared, so that spellings need not be enumerated:
"MÜLLER", "Mueller" and "Muller" have the same skeleton, "00-7734512" and "773 4512" the same key,
"14MAR1957" and "14.3.57" the same day.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

MAX_TOKENS: Final = 8
"""Maximum number of runs of letters or digits that form one identifier in a text."""

MIN_JOINED_DIGITS: Final = 7
"""Minimum number of digits of an identifier without letters that is written in pieces."""

_TOKEN: Final = re.compile(r"[^\W\d_]+|\d+")
_DOUBLED: Final = re.compile(r"([aou])e|aa")
_JOINS: Final = frozenset(("", " ", "-", "/", "_", ".", "\u2010", "\u2011", "\u2013", "\u2014"))
# Cyrillic and Greek as passports and name tags write them.
_LETTERS: Final = str.maketrans(
    dict(
        zip(
            "æœøłđðıħŋŧабвгґдеєзиіклмнопрстуфыэαβγδεζηικλμνξοπρσςτυφω",
            "aoolddihntabvggdeeziiklmnoprstufyeavgdeziiklmnxoprsstyfo",
            strict=True,
        )
    )
    | {"þ": "th", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch"}
    | {"ъ": "", "ь": "", "ю": "iu", "я": "ia", "θ": "th", "χ": "ch", "ψ": "ps"}
)
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen янв",
            "feb fev fév fav",
            "mar mär mrt мар",
            "apr avr abr апр",
            "may mai mei mag maj мая май",
            "jun giu jui июн",
            "jul lug июл",
            "aug ago aoû aou авг",
            "sep set сен",
            "oct okt ott out окт",
            "nov ноя",
            "dec dez dic déc des дек",
        ),
        1,
    )
    for name in names.split()
}
_DIGITS: Final = re.compile(r"\d")
_NO_DECIMALS: Final = re.compile(r"(?<=\d)\.0+$")
_MONTH: Final = r"(?P<{}>[^\W\d_]{{3}})[^\W\d_]{{0,7}}"
_DATES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # yyyymmdd, optionally followed by a time; ddmmyyyy and mmddyyyy
        r"(?<!\d)(?<!\d[.])(?P<run>\d{8})(?:[0-2]\d[0-5]\d(?:[0-6]\d)?)?(?!\d)",
        # year first, with separators; a time may follow
        r"(?<!\d)(?P<y>\d{4})(?P<mark>[-/.: _])(?P<a>\d\d?)(?P=mark)(?P<b>\d\d?)(?!\d)",
        # year last
        r"(?<!\d)(?P<a>\d\d?)[-/. _]{1,2}(?P<b>\d\d?)[-/. _]{1,2}(?P<y>\d{4})(?!\d)",
        # two-digit year
        r"(?<![\d.])(?P<a>\d\d?)(?P<mark>[-/.])(?P<b>\d\d?)(?P=mark)(?P<c>\d\d)(?![\d.]\d|\d)",
        # the month in letters: 14MAR1957, 14. März 1957, Mar 14th, 1957
        rf"(?<!\d)(?P<d>\d\d?)(?:st|nd|rd|th)?[-/., _]{{0,2}}(?:de )?{_MONTH.format('m')}"
        r"[-/., _]{0,2}(?:de )?(?P<y>\d{4}|\d\d)(?!\d)",
        rf"(?<![^\W\d_]){_MONTH.format('m')}[-/., _]{{0,2}}(?P<d>\d\d?)(?:st|nd|rd|th)?"
        r"[-/., _]{1,2}(?P<y>\d{4}|\d\d)(?!\d)",
        rf"(?<!\d)(?P<y>\d{{4}})[-/., _]{{0,2}}{_MONTH.format('m')}[-/., _]{{0,2}}"
        r"(?P<d>\d\d?)(?!\d)",
        r"(?P<y>\d{4})\s*[年년]\s*(?P<a>\d\d?)\s*[月월]\s*(?P<b>\d\d?)",
    )
)


class Token(NamedTuple):
    """A run of letters or of digits: its skeleton, and its offsets in the folded text."""

    form: str
    start: int
    end: int


def fold(text: str) -> str:
    """Return a text without case, accents or presentation forms (Unicode NFKD, recomposed)."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", bare).casefold()


@lru_cache(maxsize=1 << 14)
def skeleton(word: str) -> str:
    """Return the form that a folded word shares with its transliterations.

    ``ae``, ``oe``, ``ue`` and ``aa`` are read as the letter that they may transliterate.
    """
    plain = word if word.isascii() else word.translate(_LETTERS)
    return _DOUBLED.sub(lambda doubled: doubled[1] or "a", plain)


def tokens(folded: str) -> list[Token]:
    """Return the runs of letters and of digits of a folded text, in order."""
    return [
        Token(skeleton(match[0]), match.start(), match.end()) for match in _TOKEN.finditer(folded)
    ]


def words(text: str) -> list[str]:
    """Return the skeletons of a text's words, without numbers."""
    return [token.form for token in tokens(fold(text)) if not token.form.isdigit()]


def without_decimals(text: str) -> str:
    """Return an identifier without the ".0" that spreadsheets put behind a number."""
    return _NO_DECIMALS.sub("", text.rstrip(" \0"))


def key(text: str) -> str:
    """Normalise an identifier for comparison: letters and digits, no leading zeros.

    A long one (an address) is truncated to its first :data:`MAX_TOKENS` tokens.
    """
    return "".join(token.form for token in tokens(fold(text))[:MAX_TOKENS]).lstrip("0")


def keys_in(folded: str, tokens: list[Token], beginnings: Container[str]) -> Iterator[str]:
    """Yield the keys of possible identifiers in a text.

    Adjacent tokens are joined if at most one separator is between them. The decimals of a number
    are not an identifier.

    Parameters
    ----------
    folded
        The text, folded (:func:`fold`).
    tokens
        Its tokens.
    beginnings
        All prefixes of the keys to find, including the keys; others are not pursued.
    """
    for first, token in enumerate(tokens):
        joined = token.form.lstrip("0")
        if joined not in beginnings or _is_decimals(folded, token):
            continue
        yield joined
        end = token.end
        for following in tokens[first + 1 : first + MAX_TOKENS]:
            between = folded[end : following.start]
            joined = (joined + following.form).lstrip("0")
            joins = between in _JOINS or (between == ", " and not joined.isdigit())
            if joined not in beginnings or not joins:
                break
            if between == "." and folded[end - 1].isdigit() and following.form.isdigit():
                break
            end = following.end
            if not joined.isdigit() or len(joined) >= MIN_JOINED_DIGITS:
                yield joined


def _is_decimals(folded: str, token: Token) -> bool:
    before = folded[max(0, token.start - 2) : token.start]
    return token.form.isdigit() and len(before) == 2 and before[1] == "." and before[0].isdigit()


def days(folded: str) -> Iterator[str]:
    """Yield the days (yyyymmdd) that a folded text may contain; a spelling can be ambiguous."""
    if len(_DIGITS.findall(folded)) < 3:
        return
    for pattern in _DATES:
        for match in pattern.finditer(folded):
            yield from _readings(match.groupdict())


def _readings(parts: dict[str, str | None]) -> Iterator[str]:
    if run := parts.get("run"):
        yield from _valid(run[:4], run[4:6], run[6:])
        yield from _valid(run[4:], run[2:4], run[:2])
        yield from _valid(run[4:], run[:2], run[2:4])
    elif month := parts.get("m"):
        number = _MONTHS.get(month)
        if number is not None:
            for year in _years(parts["y"] or ""):
                yield from _valid(year, str(number), parts["d"] or "")
    elif last := parts.get("c"):
        first, second = parts["a"] or "", parts["b"] or ""
        for year in _years(last):
            yield from _valid(year, second, first)
            yield from _valid(year, first, second)
        for year in _years(first.zfill(2)):
            yield from _valid(year, second, last)
    else:
        year, first, second = parts["y"] or "", parts["a"] or "", parts["b"] or ""
        yield from _valid(year, first, second)
        yield from _valid(year, second, first)


def _years(year: str) -> tuple[str, ...]:
    return (year,) if len(year) == 4 else (f"19{year}", f"20{year}")


def _valid(year: str, month: str, day: str) -> Iterator[str]:
    try:
        yield f"{date(int(year), int(month), int(day)):%Y%m%d}"
    except ValueError:
        return
