"""A review of what each attribute of the dictionary may contain, beyond PS3.15's table.

The dictionary has two thousand attributes that can hold text or a number but are not in Table
E.1-1. Each was reviewed; ``bundled/attributes.tsv`` holds the results with their reasons. The
bundled recipes, ``sendit recipe check`` and docs/deidentification.md are based on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources


class Holds(StrEnum):
    """What an attribute may reveal about people."""

    PROFILE = "profile"
    DATE = "date"
    SHARED_DATE = "shared date"
    PERSON = "person"
    IDENTIFIER = "identifier"
    DEVICE = "device"
    UID = "uid"
    ADDRESS = "address"
    TEXT = "text"
    CODE_MEANING = "code meaning"
    TECHNICAL = "technical"
    CODE = "code"
    KIND = "kind"
    NUMBER = "number"
    TIME = "time"
    DATA = "data"
    SEQUENCE = "sequence"
    STRUCTURE = "structure"
    NOT_OF_AN_IMAGE = "not of an image"

    @property
    def identifies(self) -> bool:
        """Whether it may identify someone, so that a recipe must not keep it."""
        return self in _IDENTIFY

    @property
    def acted_on(self) -> bool:
        """Whether the bundled recipes have a rule for each attribute of this class."""
        return self in _IDENTIFY or self is Holds.TECHNICAL


_IDENTIFY = frozenset(
    {
        Holds.DATE,
        Holds.SHARED_DATE,
        Holds.PERSON,
        Holds.IDENTIFIER,
        Holds.DEVICE,
        Holds.UID,
        Holds.ADDRESS,
        Holds.TEXT,
        Holds.CODE_MEANING,
    }
)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The review of one attribute.

    Attributes
    ----------
    tag, vr
        Tag and VR in the dictionary.
    keyword
        Empty for the few retired attributes that have none.
    holds
        What it may hold.
    form
        For technical values, one of :data:`sendit.recipe.functions.FORMS`; else empty.
    reason
        Why.
    """

    tag: int
    vr: str
    keyword: str
    holds: Holds
    form: str
    reason: str

    @property
    def name(self) -> str:
        """Its name in a recipe: the keyword, or the tag if it has none."""
        return self.keyword or f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"


@cache
def review() -> tuple[Reviewed, ...]:
    """Return the reviews of all attributes, sorted by tag."""
    file = resources.files("sendit.recipe") / "bundled" / "attributes.tsv"
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    cells = (line.split("\t") for line in lines[1:])
    return tuple(
        Reviewed(int(tag, 16), vr, keyword, Holds(holds), form, reason)
        for tag, vr, keyword, holds, form, reason in cells
    )
