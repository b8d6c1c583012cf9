"""What a technical value looks like (the forms of ``sendit.recipe.functions.FORMS``).

A coil, a kernel or a term of PS3.3 names no person. A name, a sentence or a number of someone
that stands in its place mostly has another form: a caret, an accent, an address's sign, six
digits in a row.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

_DATE: Final = r"(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d\d"
_NO_NUMBER: Final = rf"(?!.*(?:\d{{6}}|{_DATE}))"
_PATTERNS: Final = {
    form: re.compile(pattern, re.ASCII)
    for form, pattern in {
        # upper case as CS asks, of any length, or as people write it, of a CS's length
        "term": rf"{_NO_NUMBER}(?:[A-Z0-9_ ]+|[\w .+/:#%()*=<>&-]{{1,16}})",
        # no comma between words: "Doe, Jane"
        "label": (
            rf"{_NO_NUMBER}(?!.*[A-Za-z], ?[A-Za-z])[\w .,+/:;#%()*=<>&!?\[\]{{}}|$~-]{{1,64}}"
        ),
        "maker": rf"{_NO_NUMBER}[\w .,+/:;#%()*=<>&!'-]{{1,64}}",
        # build numbers and dates of releases are long
        "version": r"(?=.*\d|.{1,16}$)[\w .,+/:;#()*=<>&\[\]\"-]{1,64}",
        "words": r"(?:[Ww][Ii][Nn][Dd][Oo][Ww]|[Aa]lgo|[Pp]reset)\d{0,2}",
    }.items()
}
_WORD: Final = re.compile(r"[^\W_]+")


def fits(form: str, value: str, people: Set[str] = frozenset()) -> bool:
    """Whether one value without padding has a form, or says nothing but words of radiology,
    none of them in the names of ``people`` (folded)."""
    pattern = _PATTERNS.get(form)
    if pattern is not None and pattern.fullmatch(value):
        return True
    return says_radiology(value, people)


def says_radiology(value: str, people: Set[str] = frozenset()) -> bool:
    """Whether a text consists only of words of the allow-list."""
    from sendit.clean_descriptors import fold, is_allowed  # noqa: PLC0415 - only where it is asked

    words = _WORD.findall(value)
    return bool(words) and all(is_allowed(word) and fold(word) not in people for word in words)
