"""PS3.15 Annex E's table of attributes and what its profile and options ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

EDITION = "2026c"
PRIVATE = "private"


class Option(StrEnum):
    """An option of the Basic Application Level Confidentiality Profile: its column."""

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
    """One row of Table E.1-1.

    ``tag`` is eight hex digits in upper case, with X for the digits of a repeating group,
    or ``private``. ``vr`` and ``keyword`` are PS3.6's, empty where a row has no single tag.
    ``basic`` and the values of ``options`` are the table's letters.
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
    """Return Table E.1-1, in the order of the standard."""
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
"""What tools get wrong without a private attribute."""

DETAIL: Final = "detail"
"""The need for blocks that tools read where they understand them, and do without elsewhere."""

KEPT: Final = NEEDED | {DETAIL}
"""What the bundled recipes keep private attributes for."""

_NEVER_KEPT: Final = "-"


@dataclass(frozen=True, slots=True)
class SafePrivate:
    """One private attribute that says nothing about a person: (gggg,"CREATOR",ee).

    ``vr`` and ``vm`` (``1``, ``3-4``, ``1-n``) are those that it has in PS3.15 Table E.3.10-1, or
    in its vendor's dictionary if it is not in the table. ``form`` is what its value must be to
    stay (:mod:`sendit.deidentify.private_form`), ``origin`` the list that has it ("PS3.15",
    "sendit" or "both"), ``need`` what it is needed for, ``tools`` those that read it.
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
        """Whether this number of values is allowed."""
        least, _, most = self.vm.partition("-")
        most = most or least
        return int(least) <= count and (most == "n" or count <= int(most))


@cache
def safe_private_table() -> tuple[SafePrivate, ...]:
    """Return the list of safe private attributes by group and creator, texts included."""
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
    """Return the private attributes that Retain Safe Private keeps: those with a form."""
    return tuple(safe for safe in safe_private_table() if safe.form != _NEVER_KEPT)
