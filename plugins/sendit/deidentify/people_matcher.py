"""Recognise names and numbers of a study's people in technical values.

A kernel, a coil or a Defined Term has a form (:mod:`sendit.deidentify.forms`), but a surname or a
patient's number may have it, too: HABERSHAM as a filter type. Such a value is removed alone, so
that the last gate need not stop the file. A name that is also a radiology term or a maker stays,
because there it has the other meaning.
"""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import pairwise
from typing import Final

from sendit.deidentify import spellings
from sendit.deidentify.common_words import is_common_word

MIN_WORD: Final = 4
"""Minimum length of a word of a name that counts alone, in letters."""

MIN_TERM: Final = 6
"""The same in code strings (VR CS), because short Defined Terms are also surnames."""

MIN_COMPOUND: Final = 6
"""Minimum length of a compound of two words of names, or of one and an initial, in letters."""

TRUNCATED: Final = 8
"""Letters to which old systems truncate a name."""

MIN_NUMBER: Final = 6
"""Minimum length of a number that counts in any spelling. A shorter one with letters must be
literal; one of digits only may be any value of a device."""

_ALNUM: Final = re.compile(r"[^\W_]+")


class PeopleMatcher:
    """Recognises the names and numbers of one study's people.

    Parameters
    ----------
    people
        Words of names, and numbers (see :class:`sendit.deidentify.people.People`).
    """

    def __init__(self, people: Set[str] = frozenset()) -> None:
        self._words: set[str] = set()
        self._short: set[str] = set()
        self._keys: set[str] = set()
        self._beginnings = {""}
        for value in people:
            if value.isalpha():
                self._words.update(spellings.words(value))
            elif len(key := spellings.key(value)) < MIN_NUMBER:
                if not value.isdigit():
                    self._short.add(value)
            else:
                self._keys.add(key)
                self._beginnings.update(key[:end] for end in range(1, len(key) + 1))
        self._cut = {word[:TRUNCATED] for word in self._words if len(word) > TRUNCATED}

    def matches(self, text: str, vr: str) -> bool:
        """Whether a text with a VR contains one of them, whatever the spelling."""
        folded = spellings.fold(text)
        tokens = spellings.tokens(folded)
        forms = [token.form for token in tokens if not token.form.isdigit()]
        minimum = MIN_TERM if vr == "CS" else MIN_WORD
        return (
            any(len(form) >= minimum and self._is_name(form) for form in forms)
            or any(self._are_names(first, second) for first, second in pairwise(forms))
            or not self._short.isdisjoint(_ALNUM.findall(folded))
            or not self._keys.isdisjoint(spellings.keys_in(folded, tokens, self._beginnings))
        )

    def _is_name(self, form: str) -> bool:
        if is_common_word(form):
            return False
        return form in self._words or form in self._cut or self._is_compound(form)

    def _is_compound(self, form: str) -> bool:
        """Whether a word is two words of names, or one and an initial: OBrien, vanGogh, StoneP."""
        if len(form) < MIN_COMPOUND:
            return False
        words = self._words
        if any(form[:end] in words and form[end:] in words for end in range(2, len(form) - 1)):
            return True
        return any(
            len(rest) >= MIN_WORD and rest in words and not is_common_word(rest)
            for rest in (form[1:], form[:-1])
        )

    def _are_names(self, first: str, second: str) -> bool:
        words = self._words
        return (
            first != second
            and first in words
            and second in words
            and not (is_common_word(first) and is_common_word(second))
        )
