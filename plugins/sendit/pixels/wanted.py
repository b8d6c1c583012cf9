"""Rules wanted: what images have in common that are held back until a rule says what to blank.

Images of one key come from one device and program and have one layout, so that one rule with
regions serves them all. A key holds nothing of a patient: attributes of the equipment and of the
pixels, shortened, without long numbers.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import astuple, dataclass, fields
from typing import Final

from sendit.batch import Outcome, Reason
from sendit.dicom.pixel_data import COLUMNS, PHOTOMETRIC, ROWS
from sendit.dicom.scan import Header
from sendit.pixels.boxes import ULTRASOUND_REGIONS, trusted_regions
from sendit.recipe.filters import WITHHELD

_LONG_NUMBER: Final = re.compile(r"\d{6,}")
_MAX_TEXT: Final = 64
_IMAGE_TYPES: Final = 3


@dataclass(frozen=True, slots=True)
class RuleKey:
    """What tells one kind of image from another.

    ``regions`` says whether the image has ultrasound regions, and whether they can be trusted.
    ``#`` stands for a number of six digits or more.
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
        """The key as text, for the ledger."""
        return json.dumps(astuple(self))

    @property
    def id(self) -> str:
        """A short name: the same for the same key everywhere."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:10]

    @classmethod
    def from_text(cls, text: str) -> RuleKey:
        """Return the key that a text was made from."""
        values = json.loads(text)
        return cls(**dict(zip((field.name for field in fields(cls)), values, strict=True)))


def key_of(header: Header) -> RuleKey:
    """Return the key of an image."""
    if header.element(ULTRASOUND_REGIONS) is None:
        regions = "none"
    else:
        regions = "trusted" if trusted_regions(header) else "not trusted"
    image_type = (header.text(0x00080008) or "").split("\\")[:_IMAGE_TYPES]
    return RuleKey(
        modality=_plain(header.text(0x00080060)),
        sop_class=header.sop_class,
        manufacturer=_plain(header.text(0x00080070)),
        model=_plain(header.text(0x00081090)),
        software=_plain(header.text(0x00181020)),
        size=f"{header.text(COLUMNS) or '-'} x {header.text(ROWS) or '-'}",
        photometric=_plain(header.text(PHOTOMETRIC)),
        image_type=_plain("\\".join(part.strip() for part in image_type)),
        regions=regions,
        burned_in=_plain(header.text(0x00280301)),
    )


def wants_rule(outcome: Outcome | None, reason: str | None) -> bool:
    """Whether a file of that outcome would be delivered if a rule said what to blank in it."""
    if not reason:
        return False
    if outcome is Outcome.FILTERED:
        group = reason.partition(": ")[0]
        return group in WITHHELD or reason.endswith((Reason.NO_REGIONS, Reason.NOT_BLANKED))
    return outcome is Outcome.QUARANTINED and reason.startswith(Reason.TEXT_IN_PIXELS)


def _plain(value: str | None) -> str:
    text = "".join(sign if sign.isprintable() else " " for sign in value or "")
    return _LONG_NUMBER.sub("#", " ".join(text.split()))[:_MAX_TEXT]
