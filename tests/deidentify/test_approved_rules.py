"""What each action, function, selector and list of the language does to values of every VR."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.rewrite import Rewriter
from sendit.dicom.scan import read_header
from sendit.errors import Misconfigured, SkipInstance
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.model import Action
from sendit.recipe.own import Own
from sendit.recipe.parse import RecipeError, read_text
from testing.approval import Approved
from testing.builder import ROOT, SOP_CLASSES, make_dataset, to_bytes
from tests.deidentify.corpus import (
    VALUES,
    changes,
    context,
    flat,
    in_bytes,
    items_of,
    object_of,
    one,
    result_of,
    rewritten,
)

#: One attribute of each VR that no object needs, and that functions know nothing of.
OF_VR = {
    "AE": 0x00080054,
    "AS": 0x00101010,
    "AT": 0x00209165,
    "CS": 0x00180022,
    "DA": 0x00080022,
    "DS": 0x00180060,
    "DT": 0x0008002A,
    "FD": 0x00189306,
    "FL": 0x00089459,
    "IS": 0x00181150,
    "LO": 0x00081040,
    "LT": 0x00104000,
    "OB": 0x00420011,
    "OW": 0x00660023,
    "PN": 0x00081070,
    "SH": 0x00081010,
    "SL": 0x00186020,
    "SS": 0x00189219,
    "ST": 0x00080081,
    "TM": 0x00080032,
    "UC": 0x00189367,
    "UI": 0x00080014,
    "UL": 0x00081161,
    "UN": 0x0072006D,
    "UR": 0x00287FE0,
    "US": 0x00189058,
    "UT": 0x0040A160,
}
CALLS = (
    *(f"func:{name}" for name, spec in FUNCTIONS.items() if spec.prefix == "func"),
    *(f"deid_func:{name}" for name, spec in FUNCTIONS.items() if spec.prefix == "deid_func"),
    "deid_func:jitter days=-3 years=2",
    "deid_func:pydicom_uuid prefix=1.2.3.",
    "deid_func:dicom_uuid org_root=1.2.3",
    *(f"func:technical_value form={form}" for form in ("label", "maker", "version", "words")),
)


def _named(call: str) -> str:
    return call.replace(":", " ")


_SQ = {
    "items": items_of(
        (
            one(0x00081155, "UI", f"{ROOT}.7".encode()),
            one(0x00080100, "SH", b"113691"),
            one(0x00080102, "SH", b"DCM"),
            one(0x00080104, "LO", b"Winterbottom"),
            one(0x00100010, "PN", b"Winterbottom"),
            one(0x0040A160, "UT", b"no fracture, Winterbottom"),
        )
    )
}


def plan(rules: str, sections: str = "", own: Own | None = None) -> Plan:
    return compile_plan(
        read_text(("test.deid", f"FORMAT dicom\n{sections}\n%header\n{rules}\n"), own=own or Own())
    )


def _refused(error: Exception) -> Iterator[str]:
    problems = getattr(error, "problems", None) or [error]
    for problem in problems:
        yield f"refused: {getattr(problem, 'message', problem)}"


def by_value(rules: str, tags: dict[str, int], sop_class: str) -> Iterator[str]:
    """Yield what a rule does to an attribute of each VR, with each value; same ones together."""
    made = plan(rules)
    rewriter = Rewriter(made, context(made))
    for vr, tag in tags.items():
        by_result: dict[str, list[str]] = {}
        for value in VALUES[vr]:
            raw = in_bytes(value)
            before = object_of({tag: one(tag, vr, raw)}, sop_class)
            after = flat(rewritten(before, rewriter))
            result = result_of(flat(before)[f"{tag:08X}"], after.get(f"{tag:08X}"))
            by_result.setdefault(result, []).append(repr(value).removeprefix("b"))
        for result, values in by_result.items():
            yield f"  {vr} {result} <- {', '.join(values)}"


def _rule(action: str, tag: int, call: str) -> str:
    return f"{action} ({tag >> 16:04x},{tag & 0xFFFF:04x}) {call}".rstrip()


@pytest.mark.parametrize("call", CALLS, ids=_named)
def test_functions(call: str, approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for vr, tag in OF_VR.items():
            try:
                yield from by_value(_rule("REPLACE", tag, call), {vr: tag}, SOP_CLASSES["CT"])
            except (RecipeError, Misconfigured) as error:
                yield from (f"  {vr} {line}" for line in _refused(error))
        tag = 0x00400275
        try:
            made = plan(_rule("REPLACE", tag, call))
        except (RecipeError, Misconfigured) as error:
            yield from (f"  SQ {line}" for line in _refused(error))
            return
        before = object_of({tag: one(tag, "SQ", _SQ["items"])})
        yield from changes(before, rewritten(before, Rewriter(made, context(made))))

    approved(lines())


@pytest.mark.parametrize(
    "action",
    [
        "REMOVE",
        "BLANK",
        "KEEP",
        "JITTER var:jitter",
        "JITTER 5",
        "REPLACE 1",
        "REPLACE Text",
        "REPLACE 20200102",
        "REPLACE var:entity_id",
        "REPLACE var:item_timestamp",
        "REPLACE var:jitter",
    ],
    ids=_named,
)
def test_actions(action: str, approved: Approved) -> None:
    word, _, value = action.partition(" ")

    def lines() -> Iterator[str]:
        for vr, tag in OF_VR.items():
            try:
                yield from by_value(_rule(word, tag, value), {vr: tag}, SOP_CLASSES["CT"])
            except (RecipeError, Misconfigured) as error:
                yield from (f"  {vr} {line}" for line in _refused(error))

    approved(lines())


_NEEDED = (
    *("profile_z", "profile_xz", "profile_xd", "profile_xzd", "dummy", "clean_text"),
    *("known_value", "technical_value", "content_date"),
)


def test_functions_that_ask_what_an_object_needs(approved: Approved) -> None:
    tags = {
        "DA": (0x00080020, 0x00080021, 0x00080023, 0x00100030),
        "LO": (0x00080070, 0x00100020, 0x0008103E, 0x00101040),
        "CS": (0x00080060, 0x00080064, 0x00100040, 0x00185100, 0x00700002),
        "PN": (0x00100010, 0x00080090, 0x00700084),
        "SH": (0x00200010, 0x00080050),
        "TM": (0x00080030, 0x00080033),
    }
    classes = {
        **{name: SOP_CLASSES[name] for name in ("CT", "SC", "SR", "ENHANCED")},
        "PR": "1.2.840.10008.5.1.4.1.1.11.1",
        "unknown": "1.2.3",
    }
    values = {"DA": b"x", "LO": b"Wx^y@z", "CS": b"W^x", "PN": b"W^x", "SH": b"W^x@", "TM": b"x"}

    def lines() -> Iterator[str]:
        for name in _NEEDED:
            for vr, several in tags.items():
                for tag in several:
                    try:
                        made = plan(_rule("REPLACE", tag, f"func:{name}"))
                    except (RecipeError, Misconfigured):
                        continue
                    by_result: dict[str, list[str]] = {}
                    for kind, sop_class in classes.items():
                        before = object_of({tag: one(tag, vr, values[vr])}, sop_class)
                        after = flat(rewritten(before, Rewriter(made, context(made))))
                        was = flat(before)[f"{tag:08X}"]
                        result = result_of(was, after.get(f"{tag:08X}"))
                        by_result.setdefault(result, []).append(kind)
                    results = "; ".join(f"{what}: {', '.join(k)}" for what, k in by_result.items())
                    yield f"{name} of {tag:08X} {vr} -> {results}"

    approved(lines())


def _rich() -> bytes:
    made = make_dataset(kind="CT")
    made.StudyComments = "seen by Musterfrau0001; MRN77000001"
    made.TextComments = "Musterfrau0001^Änne0001"
    made.RequestAttributesSequence[0].RequestedProcedureDescription = "of ACC880001001"
    block = made.private_block(0x0011, "ACME 1", create=True)
    block.add_new(1, "LO", "one")
    block.add_new(2, "LO", "Musterfrau0001")
    block.add_new(3, "SQ", make_dataset(kind="SR").ConceptNameCodeSequence)
    other = made.private_block(0x0011, "ACME 2", create=True)
    other.add_new(1, "DA", "20160314")
    other.add_new(2, "UN", b"bytes")
    return to_bytes(made)


RULES = {
    "nothing": ("KEEP PatientSex", ""),
    "everything goes": ("REMOVE ALL", ""),
    "everything is emptied": ("BLANK ALL", ""),
    "everything is moved": ("JITTER ALL var:jitter", ""),
    "all fields with a keep": ("REMOVE ALL\nKEEP StudyDate\nKEEP contains:Series", ""),
    "contains": ("REMOVE contains:Date", ""),
    "contains, a part of a path": ("REMOVE contains:RequestAttributes.*Description", ""),
    "startswith": ("REPLACE startswith:Patient x", ""),
    "endswith": ("BLANK endswith:Time", ""),
    "except": ("REMOVE except:Patient|Study|SOP", ""),
    "select a VR": (
        "REMOVE select:VR:DA\nBLANK select:VR:PN\nREPLACE select:VR:UI func:remap_uid",
        "",
    ),
    "select a group": ("REMOVE select:GROUP:0010", ""),
    "select a private group": ("KEEP select:GROUP:0011", ""),
    "keep by creator": ('KEEP (0011,"ACME 1",01)\nKEEP (0011,"ACME 1",03)', ""),
    "keep by tag": ("KEEP (0011,1001)\nKEEP (0011,1102)", ""),
    "jitter private": ('JITTER (0011,"ACME 2",01) var:jitter\nKEEP (0011,"ACME 2",02)', ""),
    "replace private": ('REPLACE (0011,"ACME 1",01) two\nBLANK (0011,"ACME 1",02)', ""),
    "keep all private": ("KEEP contains:ACME", ""),
    "add private": (
        'ADD (0011,"ACME 3",05) new\nADD (0011,"ACME 1",01) other\nADD (0013,"ACME 4",01) 7',
        "",
    ),
    "add": (
        "ADD PatientID var:entity_id\nADD StudyID s1\nADD ClinicalTrialProtocolID p\n"
        "ADD SeriesNumber 5\nADD DeidentificationMethod func:method_text\n"
        "ADD DeidentificationMethodCodeSequence func:method_codes\n"
        "ADD LongitudinalTemporalInformationModified func:dates_modified",
        "",
    ),
    "order": (
        "REPLACE PatientName one\nREPLACE PatientName two\nBLANK PatientID\nREMOVE StudyID\n"
        "ADD StudyID later\nREPLACE SeriesDescription a\nREMOVE SeriesDescription",
        "",
    ),
    "jitter after a replace": (
        "REPLACE StudyDate 20200102\nJITTER StudyDate var:jitter\n"
        "REPLACE SeriesDate deid_func:jitter days=3",
        "",
    ),
    "an item by its number": (
        "REMOVE ReferencedImageSequence__1__ReferencedSOPInstanceUID\n"
        "REPLACE ReferencedImageSequence__0__ReferencedSOPClassUID 1.2.3",
        "",
    ),
    "a kept sequence": ("KEEP RequestAttributesSequence\nREMOVE contains:Description", ""),
    "a kept sequence and a named attribute": (
        "KEEP RequestAttributesSequence\nREMOVE ScheduledProcedureStepID\nBLANK ALL",
        "",
    ),
    "fields": (
        "REMOVE fields:people\nBLANK fields:dates\nKEEP fields:kept",
        "%fields people\nFIELD contains:Name\nFIELD PatientID\n%fields dates\nFIELD endswith:Date\n"
        "%fields kept\nFIELD StudyDate\n",
    ),
    "values": (
        "REPLACE values:people gone\n",
        '%values people\nFIELD PatientID\nSPLIT PatientName by="^";minlength=4\n'
        "FIELD AccessionNumber\n",
    ),
    "values that are dates": (
        "JITTER values:dates var:jitter\n",
        "%values dates\nFIELD StudyDate\n",
    ),
    "values removed": (
        "REMOVE values:people\n",
        '%values people\nSPLIT PatientName by="^"\nFIELD contains:PatientID\n'
        "FIELD StudyInstanceUID\n",
    ),
    "values blanked with a keep": (
        "BLANK values:people\nKEEP StudyComments\n",
        '%values people\nSPLIT PatientName by="^";minlength=20\nFIELD PatientID\n'
        "FIELD OtherPatientIDs\n",
    ),
    "needed UIDs": (
        "REMOVE SOPInstanceUID\nBLANK StudyInstanceUID\nREPLACE SeriesInstanceUID 1.2.3\n"
        "REMOVE SOPClassUID",
        "",
    ),
    "dummies in a sequence": (
        "REPLACE RequestAttributesSequence func:dummy\nREPLACE ScheduledProcedureStepID x",
        "",
    ),
    "cleaned sequences": (
        "REPLACE RequestAttributesSequence func:clean_text\n"
        "REPLACE ProcedureCodeSequence func:clean_content\n"
        "REPLACE ReferencedImageSequence func:profile_xzu\n"
        "REPLACE AnatomicRegionSequence func:clean_text",
        "",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rules(name: str, approved: Approved) -> None:
    """Only what changes is listed; how many elements became what, below."""
    rules, sections = RULES[name]
    try:
        made = plan(rules, sections)
    except RecipeError as error:
        approved(_refused(error))
    else:
        approved(_applied(made, _rich()))


def _applied(made: Plan, data: bytes) -> Iterator[str]:
    rewriter = Rewriter(made, context(made))
    before = read_header(data)
    after = rewritten(before, rewriter)
    yield from (line for line in changes(before, after) if " = " not in line)
    yield from (f"{kind}: {count}" for kind, count in sorted(rewriter.counts.items()) if count)
    named = {
        "added": [f"{tag:08X}" for tag in made.added],
        "added private": [tuple(each) for each in made.added_private],
        "values": made.values,
        "private": made.private,
        "creators": sorted(made.creators),
        "items": sorted(made.items),
        "own": made.own,
    }
    yield from (f"plan: {key}: {value}" for key, value in named.items() if value)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("name", ["add", "add private", "order", "values", "cleaned sequences"])
def test_rules_in_other_syntaxes(name: str, syntax: str, approved: Approved) -> None:
    rules, sections = RULES[name]
    data = to_bytes(make_dataset(kind="CT", transfer_syntax=syntax))
    approved(_applied(plan(rules, sections), data))


def test_own_functions(approved: Approved) -> None:
    module = ModuleType("site")
    source = """
import datetime

def seen(item, value, field, dicom):
    element = field.element
    return "|".join((field.name, field.tag, field.stripped_tag, element.VR, str(element.value),
        value, item["entity_id"], item["jitter"], str(dicom.PatientID), str("PixelData" in dicom)))

def text(item, value, field, dicom):
    return "text"

def number(item, value, field, dicom):
    return 17

def nothing(item, value, field, dicom):
    return None

def several(item, value, field, dicom):
    return ["a", 2, None]

def octets(item, value, field, dicom):
    return b"octets "

def day(item, value, field, dicom):
    return datetime.datetime(2020, 1, 2, 3, 4, 5)

def true(item, value, field, dicom):
    return True

def false(item, value, field, dicom):
    return 0

def fails(item, value, field, dicom):
    raise ValueError("Musterfrau")
"""
    exec(source, module.__dict__)
    names = (
        "seen",
        "text",
        "number",
        "nothing",
        "several",
        "octets",
        "day",
        "true",
        "false",
        "fails",
    )
    own = Own(functions={name: getattr(module, name) for name in names})

    def lines() -> Iterator[str]:
        data = to_bytes(make_dataset(kind="CT"))
        for name in names:
            for tags in (
                "PatientComments",
                "StudyDate",
                "SeriesNumber",
                "AcquisitionDateTime",
                "StudyTime",
                "SingleCollimationWidth",
                "PatientName",
                "RequestedProcedureDescription",
                "ReferencedSOPInstanceUID",
            ):
                try:
                    made = plan(f"REPLACE {tags} func:{name}", own=own)
                    outcome = [
                        line
                        for line in _applied(made, data)
                        if " -> " in line and "gone" not in line
                    ]
                except RecipeError as error:
                    outcome = [*_refused(error)]
                except SkipInstance as skipped:
                    outcome = [f"quarantined: {skipped.reason}"]
                yield from (f"{name}: {line}" for line in outcome)
        made = plan(
            "REMOVE PatientID func:true\nREMOVE StudyID func:false\nADD StudyComments func:text",
            own=own,
        )
        yield from _applied(made, data)

    approved(lines())


def test_compile_errors(approved: Approved) -> None:
    from dataclasses import replace

    from sendit.recipe.model import Function, Literal, OwnFunction, Variable

    good = read_text(
        (
            "test.deid",
            "FORMAT dicom\n%header\nREPLACE PatientID x\nADD StudyID x\n"
            'JITTER StudyDate 1\nADD (0011,"A",01) x\n',
        )
    )
    values = (None, Literal("x"), Literal("-12"), Literal("1234567"), Variable("nobody"))
    values += (Variable("jitter"), Variable("entity_id"), Function("nothing"), OwnFunction("mine"))

    def lines() -> Iterator[str]:
        for rule in good.header:
            for action in Action:
                for value in values:
                    recipe = replace(good, header=(replace(rule, action=action, value=value),))
                    try:
                        compile_plan(recipe)
                        outcome = "compiled"
                    except Misconfigured as error:
                        outcome = str(error)
                    yield f"{action} {rule.selector} {value} -> {outcome}"

    approved(lines())
