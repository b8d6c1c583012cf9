"""Random recipes from the language that deid and sendit interpret alike.

They leave out what docs/differences.md lists; each row there has a test of its own.
"""

from __future__ import annotations

import re
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
    keeps = any(line.startswith("KEEP") for line in lines[len(NEEDED) :])
    rules, lists = _of_lists_and_paths(rng, dataset, flat, simple=not inside, keeps=keeps)
    lines += rules
    if rng.random() < 0.15:
        lines.append("REMOVE ALL")
    if rng.random() < 0.1:
        lines.insert(0, "BLANK ALL")
    return "\n".join(["FORMAT dicom", "", *lists, "", "%header", "", *lines, ""])


def _of_lists_and_paths(
    rng: Random, dataset: Dataset, flat: list[tuple[BaseTag, str]], *, simple: bool, keeps: bool
) -> tuple[list[str], list[str]]:
    """Return rules for paths and lists, and the lists. deid looks for lists of both kinds by their
    name alone: the names differ."""
    lines: list[str] = []
    lists: list[str] = []
    if rng.random() < 0.3:
        lines += _at_a_path(rng, dataset)
    if rng.random() < 0.3:
        rules, entries = _of_fields(rng, flat, simple=simple)
        lines += rules
        lists += entries
    if rng.random() < 0.3 and simple and not keeps:
        rules, entries = _of_values(rng, dataset)
        lines += rules
        lists += entries
    return lines, lists


def _at_a_path(rng: Random, dataset: Dataset) -> list[str]:
    """Return a rule for an attribute inside a sequence, in one item or in all."""
    paths = sorted(_paths(dataset))
    if not paths:
        return []
    path, vr = rng.choice(paths)
    if rng.random() < 0.5:
        name = "__".join(
            str(part) if isinstance(part, int) else f"({part[:4]},{part[4:]})" for part in path
        )
    else:
        tags = [part for part in path if isinstance(part, str)]
        name = "__".join(keyword_for_tag(int(tag, 16)) for tag in tags)
    ways = ["REMOVE {}", "BLANK {}"]
    if vr in _LITERALS:
        ways.append(f"REPLACE {{}} {rng.choice(_LITERALS[vr])}")
    return [rng.choice(ways).format(name)]


def _paths(
    dataset: Dataset, before: tuple[str | int, ...] = ()
) -> set[tuple[tuple[str | int, ...], str]]:
    """Return the positions of the dictionary attributes in sequences, with their VR."""
    found = set()
    for element in dataset:
        if not keyword_for_tag(element.tag) or element.tag.group == 0x7FE0:
            continue
        path = (*before, f"{element.tag:08x}")
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                found |= _paths(item, (*path, number))
        elif before:
            found.add((path, element.VR))
    return found


def _of_fields(
    rng: Random, flat: list[tuple[BaseTag, str]], *, simple: bool
) -> tuple[list[str], list[str]]:
    """Return a rule for a ``%fields`` list, and the list."""
    names = [_name(rng, tag) for tag, _ in rng.choices(flat, k=rng.choice((1, 2, 4)))]
    if simple and rng.random() < 0.5:
        names.append(rng.choice(_PATTERNS[:-5]))
    rule = rng.choice(("REMOVE fields:mine", "BLANK fields:mine", "KEEP fields:mine"))
    return [rule], ["%fields mine", *(f"FIELD {name}" for name in names)]


def _of_values(rng: Random, dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return a rule for a ``%values`` list, and the list."""
    texts = [
        element
        for element in dataset
        if element.VR in {"LO", "SH", "PN"}
        and keyword_for_tag(element.tag)
        and re.fullmatch(r"[A-Za-z0-9 ]{4,}", str(element.value))
    ]
    if not texts:
        return [], []
    name = _name(rng, rng.choice(texts).tag)
    entry = rng.choice((f"FIELD {name}", f"SPLIT {name}", f'SPLIT {name} by=" ";minlength=3'))
    rule = rng.choice(("REMOVE values:texts", "BLANK values:texts"))
    return [rule], ["%values texts", entry]


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
