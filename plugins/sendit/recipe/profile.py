"""The tables of PS3.15 Annex E: attributes with their actions, and safe private attributes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

EDITION = "2026c"
PRIVATE = "private"


class Option(StrEnum):
    """An option of the Basic Application Level Confidentiality Profile; the column's name."""

    SAFE_PRIVATE = "safe_private"
    UIDS = "uids"
    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT = "patient"
    FULL_DATES = "full_dates"
    MODIFIED_DATES = "modified_dates"
    DESCRIPTORS = "descriptors"
    STRUCTURED_CONTENT = "structured_content"
    GRAPHICS = "graphics"

    @property
    def label(self) -> str:
        """The option's name in the standard."""
        return _TITLES[self]


_TITLES = {
    Option.SAFE_PRIVATE: "Retain Safe Private",
    Option.UIDS: "Retain UIDs",
    Option.DEVICE: "Retain Device Identity",
    Option.INSTITUTION: "Retain Institution Identity",
    Option.PATIENT: "Retain Patient Characteristics",
    Option.FULL_DATES: "Retain Longitudinal Temporal Information Full Dates",
    Option.MODIFIED_DATES: "Retain Longitudinal Temporal Information Modified Dates",
    Option.DESCRIPTORS: "Clean Descriptors",
    Option.STRUCTURED_CONTENT: "Clean Structured Content",
    Option.GRAPHICS: "Clean Graphics",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Table E.1-1.

    Attributes
    ----------
    tag
        Eight hex digits in upper case, with X for the digits of a repeating group, or ``private``.
    name
        The attribute's name.
    vr, keyword
        As in PS3.6; empty if the row has no single tag.
    basic
        The action of the Basic Profile, as a letter code (X, Z, D, U, ...).
    options
        The actions of options that differ, as letter codes.
    """

    tag: str
    name: str
    vr: str
    keyword: str
    basic: str
    options: dict[Option, str]

    @property
    def number(self) -> int | None:
        """The tag; None for a repeating group and for private attributes."""
        return None if self.tag == PRIVATE or "X" in self.tag else int(self.tag, 16)


@cache
def table() -> tuple[Row, ...]:
    """Return the rows of Table E.1-1, in the standard's order."""
    file = resources.files("sendit.recipe") / "bundled" / f"ps3.15-{EDITION}.tsv"
    text = file.read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    columns = lines[0]
    rows = []
    for line in lines[1:]:
        cells = dict(zip(columns, line, strict=True))
        options = {option: cells[option] for option in Option if cells[option]}
        rows.append(
            Row(
                cells["tag"].upper().replace("PRIVATE", PRIVATE),
                cells["name"],
                cells["vr"],
                cells["keyword"],
                cells["basic"],
                options,
            )
        )
    return tuple(rows)


NEEDED: Final = frozenset(("geometry", "timing", "diffusion", "scaling", "dose"))
"""What tools need private attributes for to give correct results."""

DETAIL: Final = "detail"
"""The need of structures that tools read if they understand them, but can do without."""

KEPT: Final = NEEDED | {DETAIL}
"""The needs for which the bundled recipes keep private attributes."""

_NEVER_KEPT: Final = "-"


@dataclass(frozen=True, slots=True)
class SafePrivate:
    """A private attribute (gggg,"CREATOR",ee) that identifies nobody.

    Attributes
    ----------
    group, creator, element
        How it is named; ``element`` is without the block.
    vr, vm
        VR and value multiplicity (``1``, ``3-4``, ``1-n``), from PS3.15 Table E.3.10-1 or, if it is
        not there, from the vendor's dictionary.
    meaning
        What it contains.
    form
        The form that its value must have to stay (:mod:`sendit.deidentify.private_form`).
    origin
        The list that it is on: "PS3.15", "sendit" or "both".
    need
        What it is needed for.
    tools
        Tools that read it.
    """

    group: int
    creator: str
    element: int
    vr: str
    vm: str
    meaning: str = ""
    form: str = "number"
    origin: str = "sendit"
    need: str = "other"
    tools: str = "-"

    def has(self, count: int) -> bool:
        """Whether the attribute's VM allows a number of values."""
        low, _, high = self.vm.partition("-")
        high = high or low
        return int(low) <= count and (high == "n" or count <= int(high))


@cache
def safe_private_table() -> tuple[SafePrivate, ...]:
    """Return the full list of safe private attributes, including those that are never kept."""
    text = (resources.files("sendit.recipe") / "bundled" / "safe-private.tsv").read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    rows = (dict(zip(lines[0], line, strict=True)) for line in lines[1:])
    return tuple(
        SafePrivate(
            int(row["group"], 16),
            row["creator"],
            int(row["element"], 16),
            row["vr"],
            row["vm"],
            row["meaning"],
            row["form"],
            row["list"],
            row["need"],
            row["tools"],
        )
        for row in rows
    )


@cache
def safe_private() -> tuple[SafePrivate, ...]:
    """Return the safe private attributes that may be kept: those with a form."""
    return tuple(safe for safe in safe_private_table() if safe.form != _NEVER_KEPT)
