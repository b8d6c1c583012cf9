"""Names and numbers of a study's people where a device's value should be.

A kernel, a coil or a Defined Term has a form (:mod:`sendit.deidentify.forms`), and a surname or a
patient's number may have it, too: HABERSHAM in place of a filter's type. Such a value goes by
itself, so that the last gate need not stop its file. A name that is a word of radiology or a
maker's stays: there it is what the attribute says in its own right.
"""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import pairwise
from typing import Final

from sendit.deidentify import spellings
from sendit.deidentify.common_words import is_common_word

MIN_WORD: Final = 4
"""Letters of a word of a name below which it counts only beside another."""

MIN_TERM: Final = 6
"""The same in code strings (VR CS): short Defined Terms are surnames as well."""

MIN_MADE: Final = 6
"""Letters of a word that is made of words of names, or of one and an initial."""

TRUNCATED: Final = 8
"""Letters that old systems leave of a name."""

MIN_NUMBER: Final = 6
"""Letters and digits from which a number counts in any spelling; a shorter one as it is."""

_ALNUM: Final = re.compile(r"[^\W_]+")


class OwnValues:
    """The names and numbers of one study's people.

    Parameters
    ----------
    people
        Words of names, and numbers (:class:`sendit.deidentify.people.People`).
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
                self._short.add(value)
            else:
                self._keys.add(key)
                self._beginnings.update(key[:end] for end in range(1, len(key) + 1))
        self._cut = {word[:TRUNCATED] for word in self._words if len(word) > TRUNCATED}

    def stand_in(self, text: str, vr: str) -> bool:
        """Whether a text holds one of them, in whatever spelling."""
        folded = spellings.fold(text)
        tokens = spellings.tokens(folded)
        forms = [token.form for token in tokens if not token.form.isdigit()]
        least = MIN_TERM if vr == "CS" else MIN_WORD
        return (
            any(len(form) >= least and self._is_name(form) for form in forms)
            or any(self._are_names(first, second) for first, second in pairwise(forms))
            or not self._short.isdisjoint(_ALNUM.findall(folded))
            or not self._keys.isdisjoint(spellings.keys_in(folded, tokens, self._beginnings))
        )

    def _is_name(self, form: str) -> bool:
        if is_common_word(form):
            return False
        return form in self._words or form in self._cut or self._is_made(form)

    def _is_made(self, form: str) -> bool:
        """Whether a word is two words of names, or one and an initial: OBrien, vanGogh, StoneP."""
        if len(form) < MIN_MADE:
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
