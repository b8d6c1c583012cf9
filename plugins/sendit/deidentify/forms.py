"""Patterns of technical values (the forms in :data:`sendit.recipe.functions.FORMS`).

A coil, a convolution kernel or a Defined Term identifies nobody. A person's name, a sentence or
an ID in its place usually has another form: a caret, an accent, an ``@``, six digits in a row.
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
        # upper case of any length, as VR CS requires, or free spelling of a CS's length
        "term": rf"{_NO_NUMBER}(?:[A-Z0-9_ ]+|[\w .+/:#%()*=<>&-]{{1,16}})",
        # no comma between words: "Doe, Jane"
        "label": (
            rf"{_NO_NUMBER}(?!.*[A-Za-z], ?[A-Za-z])[\w .,+/:;#%()*=<>&!?\[\]{{}}|$~-]{{1,64}}"
        ),
        "maker": rf"{_NO_NUMBER}[\w .,+/:;#%()*=<>&!'-]{{1,64}}",
        # build numbers and release dates are long
        "version": r"(?=.*\d|.{1,16}$)[\w .,+/:;#()*=<>&\[\]\"-]{1,64}",
        "words": r"(?:[Ww][Ii][Nn][Dd][Oo][Ww]|[Aa]lgo|[Pp]reset)\d{0,2}",
    }.items()
}
_WORD: Final = re.compile(r"[^\W_]+")


def fits(form: str, value: str, people: Set[str] = frozenset()) -> bool:
    """Whether a value has a form, or consists only of radiology terms.

    Parameters
    ----------
    form
        Name of the form.
    value
        One value, without padding.
    people
        Words of the names of the study's people, folded; such a word is not a radiology term.
    """
    pattern = _PATTERNS.get(form)
    if pattern is not None and pattern.fullmatch(value):
        return True
    return says_radiology(value, people)


def says_radiology(value: str, people: Set[str] = frozenset()) -> bool:
    """Whether a text consists only of words on the allow-list, none of them in ``people``."""
    from sendit.clean_descriptors import fold, is_allowed  # noqa: PLC0415 - only where it is asked

    words = _WORD.findall(value)
    return bool(words) and all(is_allowed(word) and fold(word) not in people for word in words)
