"""Wanted rules: describe the images that need a rule saying what to blank.

Images with the same key come from the same device and software and have the same layout, so a
single rule with regions covers them. Keys are kept in the ledger, so they contain nothing of a
patient: only attributes of equipment and pixels, truncated, without long numbers, and without words
of names or parts of identifiers that occur in them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Set
from dataclasses import astuple, dataclass, fields
from typing import Final

from sendit.batch import Outcome, Reason
from sendit.clean_descriptors import fold
from sendit.dicom.pixel_data import COLUMNS, PHOTOMETRIC, ROWS
from sendit.dicom.scan import IMAGE_TYPE, Header
from sendit.pixels.boxes import ULTRASOUND_REGIONS, trusted_regions
from sendit.recipe.filters import WITHHELD

_LONG_NUMBER: Final = re.compile(r"\d{6,}")
_WORD: Final = re.compile(r"[^\W_]+")
_IDENTIFIERS: Final = (0x00080050, 0x00100020, 0x00101000, 0x00200010)
"""Accession Number, Patient ID, Other Patient IDs and Study ID."""

_MIN_IDENTIFIER: Final = 4
_MAX_TEXT: Final = 64
_IMAGE_TYPES: Final = 3


@dataclass(frozen=True, slots=True)
class RuleKey:
    """The properties that distinguish one kind of image from another.

    ``regions`` says whether the image has ultrasound regions, and whether they can be trusted. In
    all texts ``#`` replaces numbers of six digits or more, names and identifiers.
    """

    modality: str
    sop_class: str
    manufacturer: str
    model: str
    software: str
    size: str
    photometric: str
    image_type: str
    regions: str
    burned_in: str

    @property
    def text(self) -> str:
        """The key as JSON, for the ledger."""
        return json.dumps(astuple(self))

    @property
    def id(self) -> str:
        """A short name, derived from the key."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:10]

    @classmethod
    def from_text(cls, text: str) -> RuleKey:
        """Parse a key from :attr:`text`."""
        values = json.loads(text)
        return cls(**dict(zip((field.name for field in fields(cls)), values, strict=True)))


def key_of(header: Header, people: Set[str]) -> RuleKey:
    """Return the key of an image.

    Parameters
    ----------
    header
        The image's header.
    people
        Words of the names in it, folded.
    """
    hidden = people | _identifiers(header)

    def plain(value: str | None) -> str:
        text = "".join(sign if sign.isprintable() else " " for sign in value or "")
        text = _WORD.sub(lambda word: "#" if fold(word[0]) in hidden else word[0], text)
        return _LONG_NUMBER.sub("#", " ".join(text.split()))[:_MAX_TEXT]

    if header.element(ULTRASOUND_REGIONS) is None:
        regions = "none"
    else:
        regions = "trusted" if trusted_regions(header) else "not trusted"
    image_type = (header.text(IMAGE_TYPE) or "").split("\\")[:_IMAGE_TYPES]
    return RuleKey(
        modality=plain(header.text(0x00080060)),
        sop_class=header.sop_class,
        manufacturer=plain(header.text(0x00080070)),
        model=plain(header.text(0x00081090)),
        software=plain(header.text(0x00181020)),
        size=f"{header.text(COLUMNS) or '-'} x {header.text(ROWS) or '-'}",
        photometric=plain(header.text(PHOTOMETRIC)),
        image_type=plain("\\".join(part.strip() for part in image_type)),
        regions=regions,
        burned_in=plain(header.text(0x00280301)),
    )


def wants_rule(outcome: Outcome | None, reason: str | None) -> bool:
    """Whether a file with this outcome would be delivered if a rule said what to blank in it."""
    if not reason:
        return False
    if outcome is Outcome.FILTERED:
        group = reason.partition(": ")[0]
        return group in WITHHELD or reason.endswith((Reason.NO_REGIONS, Reason.NOT_BLANKED))
    return outcome is Outcome.QUARANTINED and reason.startswith(Reason.TEXT_IN_PIXELS)


def _identifiers(header: Header) -> set[str]:
    values = [header.text(tag) or "" for tag in _IDENTIFIERS]
    words = {fold(word) for value in values for word in _WORD.findall(value)}
    return {word for word in words if len(word) >= _MIN_IDENTIFIER and not word.isalpha()}
