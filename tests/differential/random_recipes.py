"""Random recipes from the language that deid and sendit interpret alike.

They leave out what docs/differences.md lists; each row there has a test of its own.
"""

from __future__ import annotations

from datetime import datetime
from random import Random

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from sendit.dicom.placeholder_dates import is_placeholder

_LITERALS = {
    **dict.fromkeys(("LO", "SH", "PN", "LT", "ST", "UT"), ("ANON", "X1", "nobody")),
    "CS": ("OTHER", "X"),
    "DA": ("19990101",),
    "TM": ("101112",),
    "IS": ("7",),
    "DS": ("7", "1.5"),
    "AE": ("NODE",),
    "UI": ("1.2.3",),
}
_PATTERNS = (
    *("contains:Date", "contains:Time", "contains:Patient", "contains:Name", "contains:UID"),
    *("endswith:ID", "endswith:Description", "endswith:Number", "startswith:Patient"),
    *("startswith:Series", "startswith:Acq", "contains:^Study", "contains:Image|Series"),
    *("select:VR:LO", "select:VR:PN", "select:VR:DS", "select:GROUP:0010", "select:GROUP:0018"),
)


NEEDED = tuple(
    f"KEEP {keyword}"
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
)


# deid never applies rules to them: a separate row in docs/differences.md.
COLOUR_TABLES = (0x00281201, 0x00281202, 0x00281203)


def random_recipe(rng: Random, dataset: Dataset) -> str:
    """Return a recipe for an object: mostly about attributes that it has."""
    tags = sorted(_tags(dataset))
    inside = _tags(dataset, nested_only=True)
    flat = sorted({one for one in tags if one[1] != "SQ"} - inside)
    unmoved = _with_placeholders(dataset)
    lines = list(NEEDED)
    jittered = False
    used = {line.split()[1] for line in NEEDED}
    for _ in range(rng.choice((1, 2, 3, 5, 8, 13))):
        action = rng.choice(
            ("REMOVE", "REMOVE", "BLANK", "KEEP", "REPLACE", "REPLACE", "JITTER", "ADD", "PATTERN")
        )
        tag, vr = rng.choice(tags)
        if action == "KEEP" and flat:
            tag, vr = rng.choice(flat)
        if keyword_for_tag(tag) in used:
            continue
        name = _name(rng, tag)
        if action == "PATTERN":
            pattern = rng.choice(_PATTERNS)
            ways = ("REMOVE", "REMOVE", "BLANK") if inside else ("REMOVE", "BLANK", "KEEP")
            lines.append(f"{rng.choice(ways)} {pattern}")
        elif action == "JITTER":
            dates = [one for one in tags if one[1] == "DA" and one[0] not in unmoved]
            if dates and not jittered:
                name = _name(rng, rng.choice(dates)[0])
                lines.append(f"JITTER {name} {rng.choice(('var:jitter', '-3', '40'))}")
                jittered = True
        elif action in {"REPLACE", "ADD"}:
            if vr not in _LITERALS:
                continue
            values = (*_LITERALS[vr], *(("var:entity_id",) if vr in {"LO", "SH", "LT"} else ()))
            if vr == "UI" and action == "REPLACE":
                values = (*values, "deid_func:pydicom_uuid")
            lines.append(f"{action} {name} {rng.choice(values)}")
        else:
            lines.append(f"{action} {name}")
        used.add(keyword_for_tag(tag))
    if rng.random() < 0.15:
        lines.append("REMOVE ALL")
    if rng.random() < 0.1:
        lines.insert(0, "BLANK ALL")
    return "\n".join(["FORMAT dicom", "", "%header", "", *lines, ""])


def _tags(dataset: Dataset, *, nested_only: bool = False) -> set[tuple[BaseTag, str]]:
    """Return the dictionary attributes of an object, at any level."""
    tags = set()
    for element in dataset:
        if nested_only or element.tag in COLOUR_TABLES or element.tag.group in {0x7FE0, 0xFFFC}:
            pass
        elif keyword_for_tag(element.tag):
            tags.add((element.tag, element.VR))
        if element.VR == "SQ":
            for item in element.value:
                tags |= _tags(item)
    return tags


def _with_placeholders(dataset: Dataset) -> set[BaseTag]:
    """Return the attributes that contain a placeholder anywhere in an object."""
    tags = set()
    for element in dataset.iterall():
        values = [element.value] if isinstance(element.value, str) else element.value or ()
        if element.VR == "DA" and any(_is_placeholder(str(value)) for value in values):
            tags.add(element.tag)
    return tags


def _is_placeholder(text: str) -> bool:
    try:
        return is_placeholder(datetime.strptime(text.replace(".", ""), "%Y%m%d").date())
    except ValueError:
        return False


def _name(rng: Random, tag: BaseTag) -> str:
    way = rng.random()
    if way < 0.8:
        return keyword_for_tag(tag)
    if way < 0.9:
        return f"({tag.group:04x},{tag.element:04x})"
    return f"{tag.group:04X}{tag.element:04X}"
