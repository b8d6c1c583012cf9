"""Writes the bundled recipes from PS3.15's table: run it after a change, commit what it writes.

    .venv/bin/python tools/generate_recipes.py [--check]

``--check`` writes nothing and fails if a recipe is not what this would write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from sendit.recipe.attributes import FIRST_DATA_SET_TAG, keyword_of, vrs_of
from sendit.recipe.profile import (
    EDITION,
    KEPT,
    Option,
    Row,
    SafePrivate,
    safe_private,
    table,
)
from sendit.recipe.review import Holds, review

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parent / "plugins" / "sendit" / "recipe" / "bundled"

# Lists of filters, each put together from pieces of tools/filters.
ALL_MODALITIES = {
    "blacklist": ("faces", "objects", "pages"),
    "whitelist": ("derived-objects",),
    "graylist": ("ct-mr-devices", "devices", "ultrasound"),
    "withheld": ("modalities", "screens", "colour-beside-8-bits", "films-and-specimens"),
}
CT_AND_MR = {
    "blacklist": (
        *("ct-mr-only", "faces", "screens", "colour-and-8-bits", "ct-localizers", "pages"),
    ),
    "graylist": ("ct-mr-devices",),
}
FILTERS = {"ct-mr": CT_AND_MR}
FILTERS_HEAD = """\
# Lists are asked in this order: black (an image that is hit is filtered), white (passes), gray
# (its regions are blanked, and it goes on), withheld (filtered, unless a white or gray rule names
# it). Every image that goes on is looked at: docs/pixels.md. Why these rules and not others:
# docs/decisions/default-filters.md.
"""

NO_PRIVATE = frozenset(
    {
        Option.MODIFIED_DATES,
        Option.PATIENT,
        Option.DESCRIPTORS,
        Option.STRUCTURED_CONTENT,
        Option.GRAPHICS,
    }
)
BASE = NO_PRIVATE | {Option.SAFE_PRIVATE}
ALL_SAFE_PRIVATE = "default-retain-safe-private"
"""Keeps the whole list; the others, of it, what geometry, timing, diffusion and scaling need."""
RECIPES: dict[str, frozenset[Option]] = {
    "ct-mr": BASE,
    "default": BASE,
    "default-no-private": NO_PRIVATE,
    "default-retain-uids": BASE | {Option.UIDS},
    "default-retain-device": BASE | {Option.DEVICE},
    "default-retain-institution": BASE | {Option.INSTITUTION},
    ALL_SAFE_PRIVATE: BASE,
}

CLEANABLE = {"LO", "LT", "SH", "ST", "UC", "UT", "SQ"}
DATES = {"DA", "DT"}
# Times of day and the time zone: a shift by whole days leaves them right as they are.
TIMES = {"TM", "SH"}
# Kept, but by a list of values: anybody's typing may be in them.
LOOKED_AT = {
    "EthnicGroup",
    "EthnicGroups",
    "PatientSex",
    "PatientSexNeutered",
    "PatientSize",
    "PatientWeight",
    "SmokingStatus",
}

# The coded identity, in place of what the table's Z and Z/D would leave empty.
CODED = {
    "PatientID": "var:entity_id",
    "PatientName": "var:entity_id",
    "AccessionNumber": "var:item_id",
}
# Of content items: what they hold depends on their concept.
CONTENT_TEXTS = {"TextValue"}
CONTENT_DATES = {"Date", "DateTime"}
# X in the table, but type 2C in the Patient module: emptied, so that the object stays valid.
EMPTIED = {"ResponsiblePerson", "ResponsibleOrganization"}
# What becomes of what the table does not name.
BEYOND = {
    Holds.DATE: "JITTER {} var:jitter",
    Holds.SHARED_DATE: "REPLACE {} func:profile_xzd",
    Holds.PERSON: "REPLACE {} func:profile_z",
    Holds.IDENTIFIER: "REPLACE {} func:profile_xzd",
    Holds.DEVICE: "REPLACE {} func:profile_xzd",
    Holds.UID: "REPLACE {} func:remap_uid",
    Holds.ADDRESS: "REPLACE {} func:profile_xzd",
    Holds.TEXT: "REPLACE {} func:clean_text",
    Holds.CODE: "REPLACE {} func:clean_code",
    Holds.CODE_MEANING: "REPLACE {} func:clean_code_meaning",
}
LETTERS = {
    "Z": "func:profile_z",
    "Z/D": "func:profile_z",
    "D": "func:dummy",
    "U": "func:remap_uid",
    "X/Z": "func:profile_xz",
    "X/D": "func:profile_xd",
    "X/Z/D": "func:profile_xzd",
    "X/Z/U*": "func:profile_xzu",
}

GROUPS = (
    ("CODED", "The patient's and the study's codes"),
    ("REMOVE", "X: removed"),
    ("EMPTIED", "X in the table, but type 2C in the Patient module: emptied"),
    ("Z", "Z, Z/D: empty, or a dummy where the object's IOD asks for a value"),
    ("D", "D: a dummy value"),
    ("X?", "X/Z, X/D, X/Z/D: removed unless the object's IOD asks for the attribute"),
    ("U", "U: UIDs, remapped with the site's key; the same original, the same new one"),
    ("BORN", "C: dates of content items: a birth date goes, the others are moved below"),
    ("JITTER", "C: dates, moved by the patient's shift in whole days"),
    ("KEEP", "K: kept"),
    ("UNDATED", "K: UIDs, kept unless they hold a date, which would tell the shift"),
    (
        "KNOWN",
        "K: kept if the value is one that the attribute is defined to hold; times of day (C) are "
        "right as they are when a date moves by whole days",
    ),
    (
        "SAFE",
        "C: private attributes that are known to hold numbers that say nothing of a person; each "
        "stays only in the form that the list gives it (docs/what-survives.md)",
    ),
    ("AGE", "K: ages, capped at 89"),
    ("CLEAN", "C: texts, cleaned by allow-list"),
    ("CONTENT", "C: structured content and graphics, cleaned item by item (PS3.15 E.3.3, E.3.4)"),
    (
        "BEYOND",
        "Not in the table, but in the review of the dictionary: names of people, numbers, dates, "
        "UIDs of instances, addresses, free texts",
    ),
    ("FORM", "Not in the table: technical values, which stay in their form"),
)


def lines_of(
    row: Row, active: frozenset[Option], kept_private: Sequence[SafePrivate]
) -> Iterator[tuple[str, str]]:
    """Yield (group, line) for one row of the table."""
    if row.number is None:
        expression = row.tag.lower()
        if expression == "private":
            yield "REMOVE", "REMOVE contains:^\\([0-9a-f]{3}[13579bdf],  # private attributes"
            if Option.SAFE_PRIVATE in active:
                for safe in kept_private:
                    name = f'({safe.group:04X},"{safe.creator}",{safe.element:02X})'
                    yield "SAFE", f"KEEP {name}  # {safe.meaning}"
        elif expression[:4] == "60xx" and not expression.endswith("3000"):
            return  # the whole group goes with its data
        else:
            yield "REMOVE", f"REMOVE contains:^\\({expression[:2]}[0-9a-f]{{2}},  # {row.name}"
        return
    if row.number < FIRST_DATA_SET_TAG:
        return  # not of an image: goes whatever a recipe says
    name, vr = keyword_of(row.number), vrs_of(row.number)[0]
    if name in CODED:
        yield "CODED", f"REPLACE {name} {CODED[name]}"
        yield "CODED", f"ADD {name} {CODED[name]}"
        return
    if (
        row.number in shared_dates()
    ):  # no option keeps or moves them: their originals tell the shift
        active = frozenset()
    if name in CONTENT_DATES and Option.STRUCTURED_CONTENT in active:
        yield "BORN", f"REPLACE {name} func:content_date"
    yield option_line(row, name, vr, active) or basic_line(row.basic, name, vr)


@cache
def shared_dates() -> frozenset[int]:
    """Return the dates that a recipient may know."""
    return frozenset(one.tag for one in review() if one.holds is Holds.SHARED_DATE)


def option_line(row: Row, name: str, vr: str, active: frozenset[Option]) -> tuple[str, str] | None:
    """Return what the active options ask for, or None: then the Basic Profile's letter holds."""
    asked = {option: letter for option, letter in row.options.items() if option in active}
    if Option.MODIFIED_DATES in asked and vr in DATES:
        return "JITTER", f"JITTER {name} var:jitter"
    if asked.keys() & {Option.STRUCTURED_CONTENT, Option.GRAPHICS} and vr == "SQ":
        return "CONTENT", f"REPLACE {name} func:clean_content"
    # An address (UR) may lead to the patient's record: an option would keep it, nobody needs it.
    if "K" in asked.values() and vr != "UR":
        return kept(name, vr)
    if Option.MODIFIED_DATES in asked and vr in TIMES:
        return kept_if_known(name)
    cleaned = {Option.DESCRIPTORS, Option.PATIENT, Option.DEVICE} & asked.keys()
    # What cannot be cleaned follows the Basic Profile.
    return ("CLEAN", f"REPLACE {name} func:clean_text") if cleaned and vr in CLEANABLE else None


def beyond_the_table(active: frozenset[Option]) -> Iterator[tuple[str, str]]:
    """Yield (group, line) for each attribute that the table does not name but that may tell who
    it is, or whose form is known: what the review of the dictionary says."""
    named = {row.number for row in table()}
    for one in review():
        if one.tag in named or (one.holds is Holds.DEVICE and Option.DEVICE in active):
            continue
        if one.holds is Holds.UID and Option.UIDS in active:
            yield kept(one.name, one.vr)
            continue
        if one.holds is Holds.TECHNICAL:
            yield "FORM", f"REPLACE {one.name} func:technical_value form={one.form}"
        elif one.name in CONTENT_TEXTS and Option.STRUCTURED_CONTENT in active:
            yield "CONTENT", f"REPLACE {one.name} func:clean_content"
        elif one.holds in BEYOND:
            yield "BEYOND", BEYOND[one.holds].format(one.name)


def kept(name: str, vr: str) -> tuple[str, str]:
    """Return the line that keeps what an option retains."""
    if vr == "AS":
        return "AGE", f"REPLACE {name} func:cap_age"
    if vr == "UI":
        return "UNDATED", f"REPLACE {name} func:undated_uid"
    return kept_if_known(name) if name in LOOKED_AT else ("KEEP", f"KEEP {name}")


def kept_if_known(name: str) -> tuple[str, str]:
    """Return the line that keeps a value only if it is one that the attribute may hold."""
    return "KNOWN", f"REPLACE {name} func:known_value"


def basic_line(letter: str, name: str, vr: str) -> tuple[str, str]:
    """Return what the Basic Profile asks for."""
    if name in EMPTIED:
        return "EMPTIED", f"BLANK {name}"
    if letter == "X":
        return "REMOVE", f"REMOVE {name}"
    if vr == "UI":
        return "U", f"REPLACE {name} func:remap_uid"
    group = letter if letter in ("D", "U") else "Z" if letter.startswith("Z") else "X?"
    return group, f"REPLACE {name} {LETTERS[letter]}"


def recipe(name: str, active: frozenset[Option]) -> str:
    """Return a recipe's text."""
    lines: dict[str, list[str]] = {group: [] for group, _ in GROUPS}
    kept_private = [
        safe for safe in safe_private() if safe.need in KEPT or name == ALL_SAFE_PRIVATE
    ]
    for row in table():
        for group, line in lines_of(row, active, kept_private):
            lines[group].append(line)
    for group, line in beyond_the_table(active):
        lines[group].append(line)
    options = "\n".join(f"#   {option.label}" for option in Option if option in active)
    head = f"""FORMAT dicom

# {name}: PS3.15 {EDITION} Annex E, Basic Application Level Confidentiality Profile with
{options}
# Written by tools/generate_recipes.py from Table E.1-1; change that, not this.
# What each function does: docs/recipes.md.

"""
    filters = filters_of(FILTERS.get(name, ALL_MODALITIES))
    header = "\n%header\n"
    for group, title in GROUPS:
        if lines[group]:
            header += f"\n# {title}\n" + "\n".join(lines[group]) + "\n"
    header += """
# What was done, for whoever receives the image
ADD PatientIdentityRemoved YES
ADD DeidentificationMethod func:method_text
ADD DeidentificationMethodCodeSequence func:method_codes
ADD LongitudinalTemporalInformationModified func:dates_modified
"""
    return head + filters + header


def filters_of(lists: Mapping[str, Sequence[str]]) -> str:
    """Return the ``%filter`` lists of a recipe, put together from their pieces."""
    text = FILTERS_HEAD
    for name, pieces in lists.items():
        text += f"\n%filter {name}\n"
        for piece in pieces:
            text += "\n" + (HERE / "filters" / f"{piece}.txt").read_text("utf-8")
    return text


def main() -> int:
    """Write or check every recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, active in RECIPES.items():
        path, text = BUNDLED / f"{name}.deid", recipe(name, active)
        if not check:
            path.write_text(text, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"not what tools/generate_recipes.py writes: {', '.join(stale)}\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
