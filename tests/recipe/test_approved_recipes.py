"""What is read in recipes: rules, filters and lists, every mistake with its way out, coverage,
explanations, reports, and what filters decide."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console

from sendit.dicom.dictionary import DicomDictionary
from sendit.dicom.scan import read_header
from sendit.errors import SenditError
from sendit.recipe import attributes, literals, spelling
from sendit.recipe.coverage import beyond_the_table, cover
from sendit.recipe.effect import is_carried_out
from sendit.recipe.explain import explain, shown, tag_named
from sendit.recipe.filters import compile_filters
from sendit.recipe.fix import fix
from sendit.recipe.matching import (
    matches,
    matches_a_sequence,
    names_individually,
    names_of,
    private_names_of,
    reaches,
    standard_attribute,
)
from sendit.recipe.model import PatternSelector, Recipe
from sendit.recipe.own import Own, read_own
from sendit.recipe.parse import RecipeError, bundled_names, read_recipe, read_text
from sendit.recipe.profile import safe_private, table
from sendit.recipe.report import check
from sendit.recipe.review import review
from testing.approval import Approved
from testing.builder import make_dataset, to_bytes
from tests.recipe.test_mistakes import mistakes
from tests.recipe.test_parse import HEAD


def read(text: str, own: Own | None = None) -> Iterator[str]:
    """Yield what is read in a recipe: its rules, or its mistakes, and its warnings."""
    try:
        recipe = read_text(("mine.deid", text), own=own)
    except RecipeError as error:
        yield from (f"error {line}" for line in _problems(error.problems))
        yield from (f"warning {line}" for line in _problems(error.warnings))
        return
    except SenditError as error:
        yield f"failed: {error}"
        return
    yield from (f"warning {line}" for line in _problems(recipe.warnings))
    yield from _contents(recipe)


def _problems(problems: Sequence[object]) -> Iterator[str]:
    for problem in problems:
        edit = problem.edit  # type: ignore[attr-defined]
        more = f" edit {edit.old!r} -> {edit.new!r} at {edit.line}" if edit else ""
        yield (
            f"{problem.position}:{problem.position.column} {problem.rule}: "  # type: ignore[attr-defined]
            f"{problem.message} ({problem.suggestion}){more}"  # type: ignore[attr-defined]
        )


def _contents(recipe: Recipe) -> Iterator[str]:
    for rule in recipe.header:
        if rule.position.file == "mine.deid":
            carried = "" if is_carried_out(rule) else " (not carried out)"
            yield f"rule {rule.position}: {shown(rule)} = {rule.selector} {rule.value}{carried}"
    for group in recipe.filters:
        for each in group.rules:
            yield f"filter {group.name} {each.label!r} {each.position}"
            for line in each.lines:
                for test in line.conditions:
                    path = ".".join(f"{tag:08X}" for tag in test.path)
                    yield f"  {line.joiner} {test.joiner} {test.operator} {path} {test.text!r}"
            yield from (f"  {region}" for region in each.regions)
    for kind, lists in (("fields", recipe.fields), ("values", recipe.values)):
        for name, entries in lists.items():
            for entry in entries:
                yield f"{kind} {name}: {entry.selector} {entry.split_by!r} {entry.minimum_length}"
    yield from (f"label {name}: {text}" for name, text in recipe.labels)
    if recipe.as_deid:
        yield "as deid"


def test_mistakes(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for text in mistakes():
            yield f"# {text!r}"
            yield from read(text)
            fixed = fix("mine.deid", text)
            if fixed.changed or fixed.left:
                yield f"fixed {fixed.changed}, left {len(fixed.left)}: {fixed.text!r}"

    approved(lines())


SELECTORS = (
    *("PatientID", "patientid", "(0010,0020)", "00100020", "PatientsName", "PatientId ", "Nobody"),
    *(
        "ALL",
        "all",
        "allfields",
        "contains:Date",
        "contains:(",
        "startswith:Series",
        "endswith:Time",
    ),
    *(
        "except:Patient",
        "select:VR:DA",
        "select:VR:XX",
        "select:GROUP:0010",
        "select:GROUP:11",
        "select:x",
    ),
    *('(0033,"MITRA LINKED ATTRIBUTES 1.0",1E)', '(0033,"A B",1E)', "(0033,101E)", '(0033,"",1E)'),
    *("fields:f", "values:v", "fields:g", "values:", "ReferencedImageSequence__0__StudyDate"),
    *(
        "ReferencedImageSequence",
        "PixelData",
        "SpecificCharacterSet",
        "SOPInstanceUID",
        "StudyDate",
    ),
    *("StudyTime", "(6000,0022)", "(60xx,0022)", "OverlayData", "(0010,0000)", "(0002,0016)", ""),
)
VALUES = {
    "REMOVE": ("", "x", "func:mine", "func:dummy"),
    "BLANK": ("", "x"),
    "KEEP": ("", "x"),
    "JITTER": ("", "var:jitter", "5", "x", "var:arm", "var:nobody"),
    "REPLACE": (
        *("", "x", "20200102", "var:entity_id", "var:patient_id", "var:arm", "func:clean_text"),
        *(
            "func:nothing",
            "func:mine",
            "deid_func:jitter days=3",
            "func:technical_value form=label",
        ),
    ),
    "ADD": ("", "x", "20200102", "var:item_id", "func:method_codes"),
}
FEW = (
    *("PatientID", "(0010,0020)", "contains:Date", "select:VR:DA", '(0033,"A B",1E)', "fields:f"),
    *(
        "values:v",
        "ReferencedImageSequence",
        "SOPInstanceUID",
        "StudyDate",
        "StudyTime",
        "OverlayData",
    ),
)
LISTS = "%fields f\nFIELD PatientName\n%values v\nFIELD PatientName\n"


@pytest.mark.parametrize("action", VALUES)
def test_rules(action: str, approved: Approved) -> None:
    """Every action with every kind of selector and value; same answers together."""

    def lines() -> Iterator[str]:
        own = Own(functions={"mine": len})
        combinations = [*product(VALUES[action][:2], SELECTORS), *product(VALUES[action][2:], FEW)]
        for value, selector in combinations:
            line = f"{action} {selector} {value}".rstrip()
            yield f"# {line}"
            for line_read in read(f"{HEAD}{line}\n{LISTS}", own):
                if (
                    not line_read.startswith(("fields f: T", "values v: T"))
                    and "used by no rule" not in line_read
                ):
                    yield f"  {line_read}"

    approved(lines())


LINES = (
    *(
        "FORMAT dicom",
        "FORMAT nifti",
        "FORMAT",
        "%header",
        "%filter",
        "%filter blacklist",
        "%nothing",
    ),
    *("%labels", "%fields", "%fields a b", "%values", "% header", "%HEADER", "LABEL x", "LABEL"),
    *("contains Modality CT", "contains Modality", "contains", "+ contains Modality CT", "|| x"),
    *(
        "equals Modality CT",
        "notequals Rows 5",
        "missing Modality",
        "present Modality x",
        "empty Rows",
    ),
    *(
        "contains Modality CT + contains Rows 5",
        "contains Modality CT || missing Rows",
        "contains Nope x",
    ),
    *("contains Modality ( ", "contains A__B x", "contains ContentSequence__ValueType TEXT"),
    *(
        "contains ContentSequence__0__ValueType TEXT",
        "containsany Modality CT",
        "Contains Modality CT",
    ),
    *("coordinates 0,0,10,10", "coordinates all", "coordinates 1,2,3", "coordinates 10,10,0,0"),
    *("ctpcoordinates 1,2,3,4", "keepcoordinates 0,0,5,5", "keepctpcoordinates 0,0,5,5"),
    *(
        "coordinates from:SequenceOfUltrasoundRegions",
        "coordinates from:TextInPixels",
        "coordinates from:X",
    ),
    *(
        "keepcoordinates all",
        "coordinates from:Modality",
        "coordinates a,b,c,d",
        "coordinates -1,0,5,5",
    ),
    *(
        "FIELD PatientID",
        "FIELD contains:Date",
        "FIELD",
        'SPLIT PatientName by="^"',
        "SPLIT PatientName",
    ),
    *('SPLIT PatientName by="^";minlength=4', "SPLIT PatientName minlength=x", 'SPLIT X by=" "'),
    *(
        "# a remark",
        "#sendit: as deid",
        "# sendit: as deid",
        "",
        "   ",
        "REMOVE PatientID # why",
        "remove PatientID",
    ),
    *(
        "KEEP PatientSex",
        "REPLACE PatientID 'a b'",
        'REPLACE PatientID "a b"',
        "REPLACE PatientID a b",
        "DELETE X",
    ),
    *(
        "REPLACE PatientID = x",
        "ADD PatientIdentityRemoved YES",
        "JITTER StudyDate var:jitter",
        "name: text",
    ),
)


@pytest.mark.parametrize(
    "section",
    [
        "%header",
        "%filter graylist",
        "%filter blacklist",
        "%fields f",
        "%values v",
        "%labels",
        "nothing",
    ],
)
def test_lines(section: str, approved: Approved) -> None:
    """Every kind of line in every kind of section."""
    above = {
        "%filter graylist": "LABEL a\n  contains Modality CT\n",
        "%filter blacklist": "LABEL a\n",
    }

    def lines() -> Iterator[str]:
        for line in LINES:
            begin = (
                "" if section == "nothing" else f"FORMAT dicom\n{section}\n{above.get(section, '')}"
            )
            end = "" if section == "nothing" else "\n%header\nREMOVE PatientName\n"
            yield f"# {line!r}"
            yield from (
                f"  {line_read}"
                for line_read in read(f"{begin}{line}{end}")
                if "REMOVE PatientName =" not in line_read
            )

    approved(lines())


def test_files(approved: Approved, tmp_path: Path) -> None:
    """Recipes in several files, and files that cannot be read."""
    texts = {
        "a.deid": f"{HEAD}KEEP PatientID\n%fields f\nFIELD StudyID\n",
        "b.deid": f"{HEAD}REMOVE PatientID\nREPLACE fields:f x\n",
        "filters.deid": "FORMAT dicom\n%filter blacklist\nLABEL a\n  contains Modality CT\n",
        "crlf.deid": "\ufeffFORMAT dicom\r\n%header\r\nREMOVE PatientID\r\n",
        "empty.deid": "",
        "header.deid": "FORMAT dicom\n%header\n",
        "latin.deid": "FORMAT dicom\n%header\nREPLACE PatientID M\xfcller\n",
    }
    for name, text in texts.items():
        encoding = "latin-1" if name == "latin.deid" else "utf-8"
        (tmp_path / name).write_bytes(text.encode(encoding))
    paths = {name: str(tmp_path / name) for name in texts}
    cases = (
        *((path,) for path in paths.values()),
        (paths["a.deid"], paths["b.deid"]),
        (paths["b.deid"], paths["a.deid"]),
        ("default", paths["a.deid"]),
        (paths["filters.deid"], paths["a.deid"]),
        ("defualt",),
        ("nothing",),
        (str(tmp_path / "missing.deid"),),
        ("relative.deid",),
        (),
    )

    def lines() -> Iterator[str]:
        for names in cases:
            file_names = " + ".join(Path(name).name for name in names)
            try:
                recipe = read_recipe(*names)
            except SenditError as error:
                yield f"{file_names}: {str(error).replace(str(tmp_path), 'FOLDER')}"
                continue
            own = [rule for rule in recipe.header if "/" in rule.position.file]
            yield f"{file_names}: {len(recipe.header)} rules, {[shown(rule) for rule in own]}"
            yield from (
                f"  {str(each).replace(str(tmp_path), 'FOLDER')}" for each in recipe.warnings
            )
        yield f"bundled: {bundled_names()}"

    approved(lines())


SMALL = {
    "a few rules": "REMOVE PatientID\nKEEP PatientName\nJITTER StudyDate var:jitter\nREPLACE StudyID func:keyed_hash\nREPLACE SeriesDescription func:clean_text\nREPLACE PatientAge func:cap_age\n",
    "everything": "REMOVE ALL\nKEEP select:VR:UI\nJITTER endswith:Date var:jitter\n",
    "dates kept": "REMOVE PatientID\nKEEP contains:Date\n",
    "dated UIDs": "REMOVE ALL\nREPLACE select:VR:UI func:undated_uid\nJITTER select:VR:DA var:jitter\n",
    "as deid": "# sendit: as deid\nREMOVE PatientID\nKEEP PatientID\nKEEP ALL\n",
    "sequences": "REPLACE ContentSequence func:clean_content\nREMOVE RequestAttributesSequence\nKEEP ReferencedImageSequence\nREPLACE contains:ContentSequence__.*TextValue x\n",
}


@cache
def _recipe(name: str) -> Recipe:
    return read_text(("mine.deid", HEAD + SMALL[name])) if name in SMALL else read_recipe(name)


@pytest.mark.parametrize("name", [*SMALL, *bundled_names()])
def test_coverage(name: str, approved: Approved) -> None:
    recipe = _recipe(name)
    covered = cover(recipe)

    def lines() -> Iterator[str]:
        yield f"codes {covered.codes}, dates {covered.dates}, undates {covered.remaps_dated_uids}"
        yield f"options {[option.label for option in covered.options]}"
        yield f"outcomes { ({str(k): n for k, n in covered.treatments.items()}) }"
        yield f"dated UIDs {[row.row.name for row in covered.dated_uids]}"
        groups: dict[str, list[str]] = {}
        for row in covered.rows:
            rule = f"{row.rule.action}" if row.rule else "no rule"
            kind = f"{row.treatment} by {row.by or '-'}, {rule}{', exposed' if row.exposed else ''}"
            groups.setdefault(kind, []).append(row.row.tag)
        yield from (f"{kind}: {' '.join(tags)}" for kind, tags in groups.items())
        kept: dict[str, list[str]] = {}
        for each in beyond_the_table(recipe):
            kept.setdefault(str(each.holds), []).append(
                f"{each.tag:08X}" if isinstance(each.tag, int) else each.tag
            )
        yield from (f"beyond the table, {holds}: {' '.join(tags)}" for holds, tags in kept.items())

    approved(lines())


@pytest.mark.parametrize("name", ["default", "default-retain-device", *SMALL])
def test_explanations(name: str, approved: Approved) -> None:
    recipe = _recipe(name)
    numbers = [each.number for each in table() if each.number is not None][
        :: 4 if name in SMALL else 2
    ]
    words = (
        "PatientID",
        "(0010,0020)",
        "00100020",
        "patientname",
        "Nobody",
        "(0033,1010)",
        "(60xx,3000)",
    )
    words += ("ContentSequence", "PixelData", "TextValue", "SOPInstanceUID", "(0010,9999)", "")

    def lines() -> Iterator[str]:
        groups: dict[tuple[str, ...], list[str]] = {}
        for tag in numbers:
            explanation = explain(recipe, attributes.tag_text(tag))
            key = (
                ("unknown",)
                if explanation is None
                else tuple(_without_numbers(line, tag) for line in explanation.lines)
            )
            groups.setdefault(key, []).append(attributes.keyword_of(tag))
        for key, names in groups.items():
            yield f"# {', '.join(names)}"
            yield from (f"  {line}" for line in key)
        for word in words:
            explanation = explain(recipe, word)
            yield f"# {word!r} {tag_named(word)}"
            yield from [explanation.heading, *explanation.lines] if explanation else ["unknown"]

    approved(line if name in SMALL else _digits(line) for line in lines())


def _without_numbers(line: str, tag: int) -> str:
    return line.replace(attributes.keyword_of(tag), "IT").replace(attributes.tag_text(tag), "TAG")


def _digits(line: str) -> str:
    """Leave out the line numbers of bundled recipes, which change with every rule."""
    import re

    return re.sub(r"(line |deid:)\d+", r"\1N", line)


MAX_LINES = 80
"""Lines of a report of which the middle ones are left out: they list attributes."""


@pytest.mark.parametrize("name", [*SMALL, "default", "ct-mr", "mistakes"])
@pytest.mark.parametrize("as_json", [False, True])
def test_reports(name: str, as_json: bool, approved: Approved) -> None:
    text = "remove PatientID\nREMOVE Nobody\nREPLACE StudyDate yesterday\nBLANK PixelData\n"
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)

    def read_it(*names: str, own: Own | None = None) -> Recipe:
        if name in bundled_names():
            return read_recipe(name)
        return read_text(("mine.deid", HEAD + SMALL.get(name, text)))

    with patch("sendit.recipe.report.read_recipe", read_it):
        code = check([name], console, as_json=as_json)
    report = [
        line.rstrip() for line in out.getvalue().splitlines() if not line.startswith("digest")
    ]
    if len(report) > MAX_LINES:
        report[MAX_LINES // 2 : -MAX_LINES // 2] = ["..."]
    approved((f"code {code}", *report))


FILTERS = """FORMAT dicom
%filter blacklist
LABEL black
  contains Modality ^(SR|KO)$
  + notcontains StudyDescription chest
LABEL black or
  equals Modality OT || equals Modality DOC
  + missing Rows
%filter whitelist
LABEL white
  equals Manufacturer ACME + present SeriesDescription
%filter graylist
LABEL gray
  contains ManufacturerModelName scanner
  coordinates 0,0,10,20
  ctpcoordinates 1,2,3,4
LABEL gray kept
  contains ImageType DERIVED
  coordinates all
  keepcoordinates from:SequenceOfUltrasoundRegions
LABEL gray text
  present BurnedInAnnotation + notequals BurnedInAnnotation NO
  coordinates from:TextInPixels
LABEL gray flag
  empty PatientPosition
%filter withheld
LABEL withheld
  contains ContentSequence__ValueType TEXT
  || contains RequestAttributesSequence__RequestedProcedureDescription CT
%header
REMOVE PatientName
"""
HEADERS: dict[str, dict[str, object]] = {
    "as it is": {},
    "SR": {"Modality": "SR"},
    "SR of a chest": {"Modality": "SR", "StudyDescription": "CHEST"},
    "KO without description": {"Modality": "KO", "StudyDescription": None},
    "OT": {"Modality": "OT"},
    "OT without rows": {"Modality": "OT", "Rows": None},
    "DOC without rows": {"Modality": "doc", "Rows": None},
    "white": {"Manufacturer": "acme"},
    "white, not described": {"Manufacturer": "ACME", "SeriesDescription": ""},
    "another model": {"ManufacturerModelName": "Galan"},
    "derived": {"ImageType": ["DERIVED", "PRIMARY"], "ManufacturerModelName": "x"},
    "derived of the model": {"ImageType": ["DERIVED", "PRIMARY"]},
    "burned in": {"BurnedInAnnotation": "YES", "ManufacturerModelName": "x"},
    "no position": {"PatientPosition": "", "ManufacturerModelName": "x"},
    "no sequence": {"RequestAttributesSequence": None, "ManufacturerModelName": "x"},
    "many": {"ManufacturerModelName": ["Scanner 7", "x"], "ImageType": "DERIVED"},
}


def test_filters(approved: Approved) -> None:
    plan = compile_filters(read_text(("mine.deid", FILTERS)))

    def lines() -> Iterator[str]:
        yield f"fields {plan.fields}, tags {sorted(plan.tags)}, by presence {sorted(map(str, plan.by_presence))}"
        for name, elements in HEADERS.items():
            for kind in ("CT", "SR", "US"):
                header = read_header(to_bytes(make_dataset(kind=kind, **elements)))  # type: ignore[arg-type]
                yield f"{name} {kind}: {_decided(plan.ask(header))}"
                yield f"  again: {_decided(plan.ask(header))}"
        for values in (
            {},
            {0x00080060: "CT\\SR"},
            {0x00080060: " sr "},
            {0x00080060: ""},
            {0x00080060: None},
        ):
            yield f"{values}: {_decided(plan.decide(values))}"

    approved(lines())


def _decided(decision: object) -> str:
    if decision is None:
        return "passes"
    reason = decision.reason  # type: ignore[attr-defined]
    more = f" blanks {decision.coordinates}" if decision.blanks else ""  # type: ignore[attr-defined]
    text = " with text" if decision.blanks_text else ""  # type: ignore[attr-defined]
    return f"{reason}{more}{text}{' wants a rule' if decision.wants_rule else ''}"  # type: ignore[attr-defined]


def test_the_filters_of_the_default_recipe(approved: Approved) -> None:
    plan = compile_filters(_recipe("default"))
    descriptions = (
        *(
            "Dose Report",
            "low dose chest",
            "Patient Protocol",
            "Screen Save",
            "capture d'ecran",
            "CHEST",
        ),
        *(
            "Bildschirmkopie",
            "scanned document",
            "Dosisprotokoll",
            "rapport de dose",
            "save 1",
            "DLP report",
        ),
        *(
            "hoja de dosis",
            "Untersuchungsprotokoll",
            "patientendaten",
            "PACS nomination form",
            "dose",
        ),
    )
    types = (
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ["DERIVED", "SECONDARY", "SCREEN SAVE"],
        ["DERIVED", "SECONDARY", "DOSE"],
        ["DERIVED", "PRIMARY", "MPR"],
        None,
    )

    def lines() -> Iterator[str]:
        for text in descriptions:
            for kind in ("CT", "SR"):
                data = to_bytes(make_dataset(kind=kind, SeriesDescription=text))  # type: ignore[arg-type]
                yield f"{text} {kind}: {_decided(plan.ask(read_header(data)))}"
        for modality, image_type in product(
            (
                "CT",
                "MR",
                "PT",
                "NM",
                "US",
                "CR",
                "DX",
                "MG",
                "XA",
                "RF",
                "OT",
                "SC",
                "SEG",
                "PR",
                "KO",
                "SM",
                "OP",
            ),
            types,
        ):
            made = make_dataset(kind="CT", Modality=modality, ImageType=image_type)
            yield f"{modality} {image_type}: {_decided(plan.ask(read_header(to_bytes(made))))}"
        for elements in (
            {"BurnedInAnnotation": "YES"},
            {"RecognizableVisualFeatures": "YES"},
            {"ConversionType": "DF"},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"},
            {"BitsAllocated": 8, "BitsStored": 8},
            {"SamplesPerPixel": 3},
            {"ManufacturerModelName": "LightSpeed VCT", "ImageType": "LOCALIZER"},
        ):
            made = make_dataset(kind="CT", **elements)
            yield f"{elements}: {_decided(plan.ask(read_header(to_bytes(made))))}"

    approved(lines())


def test_values_of_each_vr(approved: Approved) -> None:
    texts = (
        *(
            "",
            "x",
            "X Y",
            "x" * 17,
            "x" * 65,
            "20200102",
            "2020-01-02",
            "2020-01-02T03:04:05-0800",
            "20201399",
        ),
        *(
            "030405",
            "03:04:05",
            "55",
            "055Y",
            "55y",
            "1.5",
            "-3",
            "abc",
            "1.2.3",
            "1..2",
            "A^B",
            "a\\b",
            "Müller",
        ),
        *(
            "Yes",
            "NO",
            "http://x",
            "99999999999",
            "1e400",
            "nan",
            "(0010,0020)",
            "2020",
            "20200102030405.123456+0100",
        ),
    )
    vrs = sorted(
        {
            vr
            for entry in DicomDictionary.values()
            for vr in [entry[0]]
            if len(vr) == 2 and vr != "NO"
        }
    )

    def lines() -> Iterator[str]:
        for vr in vrs:
            for text in texts:
                try:
                    written = literals.written(vr, text)
                except Exception as error:  # noqa: BLE001 what it raises is what is compared
                    written = f"raises {type(error).__name__}"
                valid = literals.is_valid(vr, text)
                if not (valid and written == text):
                    yield f"{vr} {text!r}: valid {valid}, written {written!r}"

    approved(lines())


def test_names(approved: Approved) -> None:
    words = (
        *(
            "PatientID",
            "patientid",
            "PatientId",
            "PatientNmae",
            "PatietnName",
            "StudyDat",
            "xyz",
            "",
        ),
        *(
            "OverlayData",
            "OverlayRows",
            "CurveData",
            "PixelData",
            "Series",
            "Date",
            "SeriesDescripton",
        ),
    )
    tags = (
        0x00100010,
        0x00081030,
        0x60003000,
        0x60023000,
        0x00109999,
        0x00290010,
        0x00291010,
        0x7FE00010,
    )
    tags += (0x00280106, 0x00080008, 0x00101234, 0x00020010, 0x00100000, 0x00041500, 0xFFFCFFFC)

    def lines() -> Iterator[str]:
        for word in words:
            tag = attributes.tag_of(word)
            yield f"{word!r}: {tag and f'{tag:08X}'}, near {spelling.near(word)!r}, only {spelling.only_near(word)!r}, repeating {attributes.repeating(word)!r}"
        for mask in ("60xx3000", "(60xx,3000)", "50xx0010", "0010", "60xx9999"):
            yield f"{mask}: {attributes.repeating_keyword(mask)}"
        for tag in tags:
            yield (
                f"{tag:08X}: {attributes.is_known(tag)} {attributes.keyword_of(tag)} {attributes.tag_text(tag)} "
                f"{attributes.vrs_of(tag)} one value {attributes.has_one_value(tag)} {names_of(tag)}"
            )
        for tag, creator in (
            (0x00291010, "SIEMENS CSA HEADER"),
            (0x00291110, "SIEMENS CSA HEADER"),
            (0x00291010, "X"),
            (0x00290010, "X"),
        ):
            yield f"{tag:08X} {creator}: {attributes.private_vr(tag, creator)} {private_names_of(tag, creator)}"
        yield f"{len(attributes.standard_tags())} attributes"

    approved(lines())


def test_selector_matches(approved: Approved) -> None:
    texts = (
        *(
            "PatientID",
            "(60xx,3000)",
            "OverlayData",
            "contains:Patient",
            "startswith:Patient",
            "endswith:Date",
        ),
        *(
            "except:Patient|Study",
            "select:VR:SQ",
            "select:VR:DA",
            "select:GROUP:0020",
            "ALL",
            "contains:^Rows$",
        ),
        *(
            '(0029,"ACME",10)',
            "fields:f",
            "contains:Sequence__",
            "ReferencedImageSequence__0__StudyDate",
        ),
        *("contains:physician", "contains:(0010", "contains:0020"),
    )

    def lines() -> Iterator[str]:
        for text in texts:
            try:
                recipe = read_text(
                    ("mine.deid", f"{HEAD}REMOVE {text}\n%fields f\nFIELD contains:Operator\n")
                )
            except RecipeError as error:
                yield f"{text}: {error.problems[0].message}"
                continue
            selector = recipe.header[0].selector
            reached = [
                attributes.keyword_of(tag)
                for tag in attributes.standard_tags()
                if reaches(selector, tag, recipe.fields)
            ]
            kept = sum(
                matches(selector, standard_attribute(tag), recipe.fields, keeping=True)
                for tag in attributes.standard_tags()
            )
            one = names_individually(selector, recipe.fields, private=False)
            private = names_individually(selector, recipe.fields, private=True)
            sequence = isinstance(selector, PatternSelector) and matches_a_sequence(selector)
            yield (
                f"{text}: {len(reached)} ({', '.join(reached[:5])} … {', '.join(reached[-3:])}), kept {kept}, "
                f"one by one {one}, private {private}, finds a sequence {sequence}"
            )

    approved(lines())


def test_the_tables(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for row in table():
            options = " ".join(f"{option}={action}" for option, action in row.options.items())
            yield f"{row.tag} {row.name}: {row.basic} {options}"
        origins: dict[str, int] = {}
        for safe in safe_private():
            key = f"{safe.origin} {safe.need or '-'} {safe.tools or '-'}"
            origins[key] = origins.get(key, 0) + 1
        yield from (f"private {key}: {count}" for key, count in sorted(origins.items()))
        holds: dict[str, int] = {}
        for each in review():
            holds[str(each.holds)] = holds.get(str(each.holds), 0) + 1
        yield from (f"{key}: {count}" for key, count in holds.items())

    approved(lines())


def test_own_functions_and_variables(approved: Approved, tmp_path: Path) -> None:
    modules = {
        "good.py": "def mine(item, value, field, dicom):\n    return 1\ndef _not(): pass\n",
        "keywords.py": "def mine(**given):\n    return 1\n",
        "few.py": "def mine(item, value):\n    return 1\n",
        "fails.py": "raise ValueError('x')\n",
        "syntax.py": "def (\n",
        "text.txt": "",
    }
    tables = {
        "good.csv": "accession,arm,visit\nA1,x,1\nA2,y,2\n\n",
        "patients.csv": "patient,arm\nP1,x\n",
        "empty.csv": "",
        "no_key.csv": "arm,accession\nx,A1\n",
        "one.csv": "accession\nA1\n",
        "name.csv": "accession,a b\nA1,x\n",
        "twice.csv": "accession,a,a\nA1,x,y\n",
        "rows.csv": "accession,a\nA1,x,y\n",
        "double.csv": "accession,a\nA1,x\nA1,y\n",
        "entity.csv": "accession,entity_id\nA1,x\n",
        "hollow.csv": "accession,a\nA1,\n",
        "bom.csv": "\ufeffaccession,a\nA1,x\n",
    }
    for name, text in (modules | tables).items():
        (tmp_path / name).write_text(text)

    def lines() -> Iterator[str]:
        for functions, variables in (
            *((name, None) for name in (*modules, "missing.py")),
            *((None, name) for name in (*tables, "missing.csv")),
            ("good.py", "good.csv"),
        ):
            try:
                own = read_own(
                    tmp_path / functions if functions else None,
                    tmp_path / variables if variables else None,
                )
            except SenditError as error:
                message = str(error).replace(str(tmp_path), "FOLDER")
                message = message.partition(" at ")[0] if "cannot be loaded" in message else message
                yield f"{functions} {variables}: {type(error).__name__} {message}"
                continue
            yield f"{functions} {variables}: {sorted(own.functions)} {own.variables} {own.digest[:8]}"
            if own.table is not None:
                for number, patient in (("A1", "P1"), ("A2", ""), ("A3", "P2"), (" A1 ", "p1")):
                    try:
                        row: object = own.table.row(number, patient)
                    except Exception as error:  # noqa: BLE001 what it raises is what is compared
                        row = f"{type(error).__name__} {error}"
                    yield f"  {number} {patient}: {row}"
            yield from (
                f"  {line}"
                for line in read(
                    f"{HEAD}REPLACE PatientID func:mine\nREPLACE StudyID var:arm\n", own
                )
            )

    approved(lines())
