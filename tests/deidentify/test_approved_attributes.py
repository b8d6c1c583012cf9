"""What becomes of every attribute of the dictionary, with values of every kind."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache

import pytest

from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.rewrite import Rewriter
from sendit.dicom.dictionary import DicomDictionary
from sendit.dicom.encode import one_vr
from sendit.dicom.scan import PIXEL_DATA_TAGS, Header
from sendit.recipe.parse import read_recipe
from testing.approval import Approved
from testing.builder import ROOT, SOP_CLASSES, basic_profile
from tests.deidentify.corpus import (
    VALUES,
    context,
    flat,
    grouped,
    identity,
    in_bytes,
    items_of,
    object_of,
    one,
    result_of,
    rewritten,
)

_REPEATED = {
    0x50000030: "CS",
    0x50003000: "OW",
    0x60000022: "LO",
    0x60001500: "LO",
    0x60003000: "OW",
    0x60004000: "LT",
    0x00209999: "UN",
    0x00109999: "UN",
}
DEFINED = frozenset(
    (
        *(0x00080201, 0x00100040, 0x00101020, 0x00101030, 0x00102160, 0x00102162, 0x001021A0),
        *(0x00102203, 0x00080100, 0x00080102, 0x00080104, 0x0040A010, 0x0040A040, 0x0040A050),
        *(0x0040A130, 0x00700023, 0x0040DB73, 0x00204000, 0x00620005, 0x00620020, 0x00700002),
        *(0x30060026, 0x30060085, 0x300A00C2, 0x0040A160, 0x0040A30A),
    )
)
"""Attributes of which the functions know more than their VR."""

_LEFT_OUT = {*identity(""), *PIXEL_DATA_TAGS}
ATTRIBUTES: dict[str, list[int]] = {}
for _tag, _vr in sorted(
    {tag: one_vr(entry[0]) for tag, entry in DicomDictionary.items()}.items() | _REPEATED.items()
):
    if 8 <= _tag >> 16 < 0xFFFE and _tag not in _LEFT_OUT:
        ATTRIBUTES.setdefault(_vr, []).append(_tag)

_CODE = (
    one(0x00080100, "SH", b"99WB"),
    one(0x00080102, "SH", b"99HOSP"),
    one(0x00080104, "LO", b"Winterbottom's protocol"),
)
_IN_ITEM = (
    one(0x00080023, "DA", b"20160314"),
    one(0x00080100, "SH", b"113691"),
    one(0x00080102, "SH", b"DCM"),
    one(0x00080104, "LO", b"CT of Winterbottom"),
    one(0x00081155, "UI", f"{ROOT}.7".encode()),
    one(0x00100010, "PN", b"Winterbottom^Joan"),
    one(0x00180015, "CS", b"CHEST"),
    one(0x0040A160, "UT", b"no fracture, Winterbottom"),
    one(0x0040A30A, "DS", b"1.5"),
)
SEQUENCES = {
    "empty": b"",
    "an empty item": items_of(()),
    "an item": items_of(_IN_ITEM),
    "two items": items_of(_CODE, (one(0x00080104, "LO", b"chest"),)),
}
RECIPES = (
    "ct-mr",
    "default-no-private",
    "default-retain-device",
    "default-retain-institution",
    "default-retain-safe-private",
    "default-retain-uids",
)
OBJECTS = {
    "MR": SOP_CLASSES["MR"],
    "Enhanced MR": SOP_CLASSES["ENHANCED"],
    "Ultrasound": SOP_CLASSES["US"],
    "Comprehensive SR": SOP_CLASSES["SR"],
    "Secondary Capture": SOP_CLASSES["SC"],
    "RT Structure Set": "1.2.840.10008.5.1.4.1.1.481.3",
    "Segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
    "Presentation State": "1.2.840.10008.5.1.4.1.1.11.1",
    "PET": "1.2.840.10008.5.1.4.1.1.128",
    "unknown": "1.2.3.4",
}


@cache
def plan_of(recipe: str) -> Plan:
    return compile_plan(read_recipe(recipe))


def with_values(
    plan: Plan,
    values: Mapping[str, Mapping[str, bytes]],
    tags: Container[int],
    sop_class: str = SOP_CLASSES["CT"],
) -> dict[int, list[str]]:
    """Return what becomes of each attribute with each of the values of its VR."""
    results: dict[int, list[str]] = {}
    rewriter = Rewriter(plan, context(plan))
    for vr, all_tags in ATTRIBUTES.items():
        selected = [tag for tag in all_tags if tag in tags]
        for name, value in values.get(vr, {}).items():
            before = object_of({tag: one(tag, vr, value) for tag in selected}, sop_class)
            was, now = by_attribute(before), by_attribute(rewritten(before, rewriter))
            for tag in selected:
                changes = became(was[tag], now.get(tag, {}))
                results.setdefault(tag, []).extend(f"  {name} -> {line}" for line in changes)
    return results


def by_attribute(header: Header) -> dict[int, dict[str, str]]:
    """Return for each top-level attribute what :func:`flat` shows of it and inside it."""
    places: dict[int, dict[str, str]] = {}
    for place, value in flat(header).items():
        places.setdefault(int(place[:8], 16), {})[place[8:]] = value
    return places


def became(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield what became of an attribute, and of the elements inside it."""
    if not now:
        yield "gone"
    elif was == now:
        yield "kept"
    else:
        yield now[""]
        for place in sorted(was | now):
            if place:
                yield f"  {place} {result_of(was.get(place, ''), now.get(place))}"


def every_value() -> dict[str, dict[str, bytes]]:
    """Return the corpus' values by VR and how they are written down."""
    values = {
        vr: {repr(value).removeprefix("b"): in_bytes(value) for value in several}
        for vr, several in VALUES.items()
    }
    return values | {"SQ": SEQUENCES}


def different(
    of_all: Mapping[int, Sequence[str]], usual: Mapping[int, Sequence[str]]
) -> dict[int, list[str]]:
    """Return the results that are not the usual ones."""
    return {
        tag: [line for line, other in zip(lines, usual[tag], strict=False) if line != other]
        or [*lines]
        for tag, lines in of_all.items()
        if list(lines) != list(usual[tag])
    }


OF_PROFILE = frozenset(basic_profile())
"""The attributes of PS3.15's table."""

ALL = frozenset(tag for tags in ATTRIBUTES.values() for tag in tags)
PROBES = {
    vr: {name: several[name] for name in [*several][:2]} for vr, several in every_value().items()
}
"""Two values of each VR: the first is somebody's name where the VR can hold one."""

ALIKE = 3
"""Attributes whose probes come out the same of which all values are tried."""


@cache
def of_all() -> dict[int, list[str]]:
    return with_values(plan_of("default"), PROBES, ALL)


@cache
def in_detail() -> dict[int, list[str]]:
    alike: dict[tuple[str, ...], list[int]] = {}
    for tag, lines in of_all().items():
        alike.setdefault((str(tag in OF_PROFILE), *lines), []).append(tag)
    chosen = {tag for tags in alike.values() for tag in (*tags[:ALIKE], tags[-1])}
    return with_values(plan_of("default"), every_value(), chosen | DEFINED)


@pytest.mark.parametrize("vr", sorted(ATTRIBUTES))
def test_every_attribute(vr: str, approved: Approved) -> None:
    approved(grouped({tag: of_all()[tag] for tag in ATTRIBUTES[vr]}))


@pytest.mark.parametrize("vr", sorted(ATTRIBUTES))
def test_every_value(vr: str, approved: Approved) -> None:
    results = in_detail()
    approved(grouped({tag: results[tag] for tag in ATTRIBUTES[vr] if tag in results}))


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_recipes(recipe: str, approved: Approved) -> None:
    results = with_values(plan_of(recipe), PROBES, OF_PROFILE)
    approved(grouped(different(results, of_all())))


@pytest.mark.parametrize("name", OBJECTS)
def test_other_objects(name: str, approved: Approved) -> None:
    results = with_values(plan_of("default"), PROBES, OF_PROFILE, OBJECTS[name])
    approved(grouped(different(results, of_all())))


_WRITTEN = {
    "UN": b"Winterbottom 20160314",
    "LO": b"Winterbottom 20160314",
    "OB": b"Winterbottom 20160314",
    "CS": b"CHEST",
    "DS": b"1.5",
    "DA": b"20160314",
    "US": b"\x07\0",
    "SQ": SEQUENCES["an item"],
    "UI": b"1.2.3.20160314",
}


def test_under_another_vr(approved: Approved) -> None:
    """What a file may do: give an attribute a VR that is not its own."""
    plan = plan_of("default")
    rewriter = Rewriter(plan, context(plan))
    chosen = sorted(in_detail())
    results: dict[int, list[str]] = {tag: [] for tag in chosen}
    for written, value in _WRITTEN.items():
        before = object_of({tag: one(tag, written, value) for tag in chosen})
        was, now = by_attribute(before), by_attribute(rewritten(before, rewriter))
        for tag in chosen:
            changes = became(was[tag], now.get(tag, {}))
            results[tag] += [f"  as {written} -> {line}" for line in changes]
    approved(grouped(results))


_AROUND = {
    "RequestAttributesSequence": 0x00400275,
    "ContentSequence": 0x0040A730,
    "ReferencedImageSequence": 0x00081140,
    "AnatomicRegionSequence": 0x00082218,
    "GraphicAnnotationSequence": 0x00700001,
    "ReferencedPatientSequence": 0x00081120,
    "AcquisitionContextSequence": 0x00400555,
    "PatientSexNeuteredSequence": 0x00101100,
}


@pytest.mark.parametrize("name", _AROUND)
def test_inside_a_sequence(name: str, approved: Approved) -> None:
    plan, around = plan_of("default"), _AROUND[name]
    chosen = sorted(in_detail())
    vr_of = {tag: vr for vr, tags in ATTRIBUTES.items() for tag in tags}
    values = {tag: next(iter(every_value()[vr_of[tag]].values())) for tag in chosen}
    items = items_of([one(tag, vr_of[tag], value) for tag, value in values.items()])
    before = object_of({around: one(around, "SQ", items)})
    was, now = flat(before), flat(rewritten(before, Rewriter(plan, context(plan))))
    results = {}
    for tag in chosen:
        place = f"{around:08X}[0].{tag:08X}"
        results[tag] = [f"  {was[place]} -> {result_of(was[place], now.get(place))}"]
    approved(grouped(results))
