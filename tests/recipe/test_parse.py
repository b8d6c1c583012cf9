"""deid's grammar, parsed strictly."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sendit.errors import Misconfigured
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Joiner,
    Literal,
    Match,
    PatternSelector,
    PrivateSelector,
    Recipe,
    Region,
    TagSelector,
    ValuesSelector,
    Variable,
)
from sendit.recipe.parse import RecipeError, bundled_names, read_recipe, read_text

HEAD = "FORMAT dicom\n%header\n"


def read(text: str) -> Recipe:
    return read_text(("mine.deid", text))


def rule(line: str, more: str = "") -> HeaderRule:
    return read(f"{HEAD}{line}\n{more}").header[0]


def problems(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "name",
    ["PatientID", "patientid", "(0010,0020)", "(0010, 0020)", "( 0010 ,0020 )", "00100020"],
)
def test_attributes_by_keyword_or_tag(name: str) -> None:
    assert rule(f"REMOVE {name}").selector == TagSelector(0x00100020)


@pytest.mark.parametrize(
    ("line", "selector"),
    [
        ("REMOVE ALL\nKEEP select:VR:UI", PatternSelector(Match.ALL)),
        ("REMOVE allfields\nKEEP select:VR:UI", PatternSelector(Match.ALL)),
        ("REMOVE contains:Physician", PatternSelector(Match.CONTAINS, "Physician")),
        ("REMOVE startswith:Patient", PatternSelector(Match.STARTSWITH, "Patient")),
        ("REMOVE EndsWith:Date", PatternSelector(Match.ENDSWITH, "Date")),
        ("BLANK except:UID|Class", PatternSelector(Match.EXCEPT, "UID|Class")),
        ("REMOVE select:vr:pn", PatternSelector(Match.SELECT, "VR:PN")),
        ("REMOVE select:group:0x10", PatternSelector(Match.SELECT, "GROUP:0010")),
        (
            'KEEP (0033,"MITRA OBJECT UTF8 #1: x",1e)',
            PrivateSelector(0x33, "MITRA OBJECT UTF8 #1: x", 0x1E),
        ),
        ('KEEP 0033,"MITRA",1E', PrivateSelector(0x33, "MITRA", 0x1E)),
        (
            "REMOVE RequestAttributesSequence__AccessionNumber",
            PatternSelector(Match.CONTAINS, "^requestattributessequence__accessionnumber$"),
        ),
        (
            "REMOVE RequestAttributesSequence__12__AccessionNumber",
            PatternSelector(Match.CONTAINS, "^requestattributessequence__12__accessionnumber$"),
        ),
        (
            "REMOVE (0040,0275)__0__(0008,0050)",
            PatternSelector(Match.CONTAINS, "^requestattributessequence__0__accessionnumber$"),
        ),
        ("REMOVE OverlayData", PatternSelector(Match.CONTAINS, r"^\(60[0-9a-f][0-9a-f],3000\)$")),
    ],
)
def test_field_selectors(line: str, selector: object) -> None:
    assert rule(line).selector == selector


def test_lists_of_fields_and_values() -> None:
    recipe = read(
        f"{HEAD}REMOVE fields:people\nREPLACE values:names var:entity_id\n"
        "%fields people\nFIELD contains:Physician\nFIELD PatientName\n"
        '%values names\nFIELD PatientID\nSPLIT PatientName by="^";minlength=4\n'
    )
    assert [r.selector for r in recipe.header] == [
        FieldsSelector("people"),
        ValuesSelector("names"),
    ]
    assert [e.selector for e in recipe.fields["people"]][1] == TagSelector(0x00100010)
    entry = recipe.values["names"][1]
    assert (entry.split_by, entry.minimum_length) == ("^", 4)
    assert recipe.values["names"][0].split_by is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("YES", Literal("YES")),
        ("a  b", Literal("a b")),
        ("var:entity_id", Variable("entity_id")),
        ("func:dummy", Function("dummy")),
    ],
)
def test_values(text: str, value: object) -> None:
    assert rule(f"REPLACE PatientComments {text}").value == value


def test_built_in_functions_take_arguments() -> None:
    line = "REPLACE StudyInstanceUID deid_func:dicom_uuid org_root=1.2.3"
    assert rule(line).value == Function("dicom_uuid", (("org_root", "1.2.3"),))


@pytest.mark.parametrize(
    ("line", "action", "value"),
    [
        ("REMOVE PatientID # gone", Action.REMOVE, None),
        ("REMOVE PatientID#gone", Action.REMOVE, None),
        ("KEEP PatientID # var:nothing", Action.KEEP, None),
        ("REPLACE PatientID var:entity_id # code", Action.REPLACE, Variable("entity_id")),
        ("JITTER StudyDate var:jitter#days", Action.JITTER, Variable("jitter")),
    ],
)
def test_comments(line: str, action: Action, value: object) -> None:
    read_rule = rule(line)
    assert (read_rule.action, read_rule.value) == (action, value)


def test_comments_after_filters_sections_and_labels() -> None:
    recipe = read(
        "FORMAT dicom # ours\n%filter blacklist # no\n# all\nLABEL Burned in # said CTP\n"
        "  contains BurnedInAnnotation YES # really\n  coordinates 0,0,10,10 # top\n"
        "%header # now\nREMOVE PatientID\n"
    )
    rule = recipe.filters[0].rules[0]
    assert rule.label == "Burned in"
    assert rule.lines[0].conditions[0].text == "YES"
    assert rule.regions == (Region(keep=False, box=(0, 0, 10, 10)),)


def test_filters_keep_their_lines() -> None:
    recipe = read(
        "FORMAT dicom\n%filter graylist\nLABEL One\n"
        "missing Manufacturer || empty (0008,0070)\n"
        "+ contains ImageType DERIVED+SECONDARY+SCREEN SAVE\n"
        "|| equals 0x00280010 512 + notcontains Modality CT|MR\n"
        "ctpcoordinates 10,20,30,40\nkeepcoordinates from:SequenceOfUltrasoundRegions\n"
        "coordinates all\n%header\nREMOVE PatientID\n"
    )
    rule = recipe.filters[0].rules[0]
    assert [
        (line.joiner, [(c.joiner, c.operator, c.tag, c.text) for c in line.conditions])
        for line in rule.lines
    ] == [
        (
            Joiner.AND,
            [
                (Joiner.AND, "missing", 0x00080070, ""),
                (Joiner.OR, "empty", 0x00080070, ""),
            ],
        ),
        (Joiner.AND, [(Joiner.AND, "contains", 0x00080008, "DERIVED+SECONDARY+SCREEN SAVE")]),
        (
            Joiner.OR,
            [
                (Joiner.AND, "equals", 0x00280010, "512"),
                (Joiner.AND, "notcontains", 0x00080060, "CT|MR"),
            ],
        ),
    ]
    assert rule.regions == (
        Region(keep=False, box=(10, 20, 40, 60)),
        Region(keep=True, source=0x00186011),
        Region(keep=False),
    )


def test_recipes_are_combined_in_order() -> None:
    one = (
        "FORMAT dicom\n%filter blacklist\nLABEL a\npresent Modality\n%fields f\nFIELD PatientID\n"
        "%header\nREMOVE fields:f\n"
    )
    two = (
        "FORMAT dicom\n%filter blacklist\nLABEL b\npresent Modality\n%fields f\nFIELD StudyID\n"
        "%labels\nADD site here and there\n%header\nBLANK StudyID\n"
    )
    recipe = read_text(("one", one), ("two", two))
    assert [r.action for r in recipe.header] == [Action.REMOVE, Action.BLANK]
    assert [r.label for r in recipe.filters[0].rules] == ["a", "b"]
    assert len(recipe.fields["f"]) == 2
    assert recipe.labels == (("site", "here and there"),)
    assert recipe.files == ("one", "two")
    assert recipe.digest != read_text(("two", two), ("one", one)).digest


def test_digest_ignores_comments_and_whitespace() -> None:
    plain = read(f"{HEAD}REMOVE PatientID\n")
    spaced = read(f"# ours\r\n{HEAD}\r\n  REMOVE   PatientID   # gone\r\n")
    assert plain.digest == spaced.digest
    assert plain.digest != read(f"{HEAD}BLANK PatientID\n").digest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("remove PatientID", "write REMOVE"),
        ("REMVE PatientID", "did you mean REMOVE?"),
        ("REMOVE PatientsName", "did you mean"),
        ("REMOVE", "has no field"),
        ("REMOVE (0010,9999)", "not a DICOM attribute"),
        ("REMOVE ALL func:is_name", "not one of the site's functions"),
        ("ADD PatientID", "has no value"),
        ("REPLACE PatientID var:", "has no name after it"),
        ("REPLACE PatientID var:entity", "did you mean entity_id?"),
        ("REPLACE StudyDescription func:cleantext", "did you mean func:clean_text?"),
        ("REPLACE StudyInstanceUID func:remap_uids", "did you mean func:remap_uid?"),
        ("REPLACE StudyInstanceUID func:pydicom_uid", "did you mean deid_func:pydicom_uuid?"),
        ("REPLACE PatientID func:pusheenize", "define it in SENDIT_RECIPE_FUNCTIONS"),
        ("REPLACE PatientID func:deid_func:basic_uuid", "write deid_func:basic_uuid"),
        ("REMOVE *", "write ALL"),
        ("REPLACE PatientID var:entity_id more", "followed by more text"),
        ("REPLACE PatientID var: entity_id", None),
        ("REPLACE PatientID Var:entity_id", "lower case"),
        ("REPLACE PatientID func:remapped", "not a known function"),
        ("REPLACE StudyInstanceUID func:pydicom_uuid", "deid_func:pydicom_uuid"),
        ("REPLACE StudyInstanceUID deid_func:pydicom_uuid prefix", "not key=value"),
        ("REPLACE StudyInstanceUID deid_func:pydicom_uuid prefx=1.2.", "did you mean prefix?"),
        ("REPLACE StudyInstanceUID deid_func:pydicom_uuid prefix=a.b", "root of a UID"),
        (
            "REPLACE StudyInstanceUID deid_func:pydicom_uuid stable_remapping=maybe",
            "stable_remapping=maybe is not true or false",
        ),
        ("PatientID var:entity_id", "PatientID is not an action, it is an attribute"),
        ("REPLACE StudyDate deid_func:jitter days=soon", "whole number"),
        ("ADD StudyDate deid_func:jitter days=3", "belongs to REPLACE"),
        ("REMOVE contians:Name", "did you mean contains?"),
        ("REMOVE contains:", "no text"),
        ("REMOVE contains:(", "not a regular expression"),
        ("REMOVE startswith:(?i)patient", "not a regular expression"),
        ("REMOVE contains:" + "(" * 3000, "not a regular expression"),
        ("REMOVE contains:a{99999999999}", "not a regular expression"),
        ("REMOVE select:VR:ZZ", "not a value representation"),
        ("REMOVE select:group:xyz", "not a group"),
        ("REMOVE select:name:x", "unknown"),
        (
            "REMOVE RequestAttributesSequence__0__ScheduledProtocolCodeSequence__CodeValue",
            "for only some of its sequences",
        ),
        ("REMOVE RequestAttributesSequence__0__1__AccessionNumber", "only some of its sequences"),
        ("REMOVE 0__AccessionNumber", "for only some of its sequences"),
        ("REMOVE (0040,0275)__0__(0040,9999)", "is not a keyword"),
        ("REMOVE AccessionNumber__PatientID", "not the keyword of a sequence"),
        ("REMOVE RequestAttributesSequence__AcessionNumber", "did you mean AccessionNumber or"),
        ('KEEP (0033,"MITRA,1E)', "nmatched quotation mark"),
        ('KEEP (0032,"MITRA",1E)', "odd"),
        ("REMOVE \x00PatientID", "control characters"),
    ],
)
def test_lines_that_deid_skips_are_errors(line: str, expected: str | None) -> None:
    if expected is None:
        assert rule(line).value == Variable("entity_id")
        return
    messages = problems(f"{HEAD}REMOVE StudyID\n{line}\n")
    assert len(messages) == 1
    assert messages[0].startswith("mine.deid:4: ")
    assert expected in messages[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "mine.deid:1: the recipe is empty"),
        ("# nothing\n\n", "mine.deid:1: the recipe is empty"),
        ("FORMAT nifti\n%header\nREMOVE PatientID\n", "mine.deid:1: format nifti"),
        ("FORMAT dicom\nREMOVE PatientID\n", "mine.deid:2: REMOVE comes before any section"),
        ("REMOV PatientID\n%header\nREMOVE StudyID\n", "1: REMOV comes before any section"),
        ("DELETE PatientID\n%header\nREMOVE StudyID\n", "1: DELETE comes before any section"),
        ("FORMAT dicom\n%haeder\nREMOVE PatientID\n", "did you mean %header?"),
        ("FORMAT dicom\n%header x\nREMOVE PatientID\n", "takes no name"),
        ("FORMAT dicom\n%header\n", "mine.deid:2: %header is empty"),
        ("FORMAT dicom\n%header # later\n%filter blacklist\nLABEL x\n+ present Modality\n", ":2: "),
        ("FORMAT dicom\n%filter\n%header\nREMOVE PatientID\n", "%filter has no name"),
        (f"{HEAD}REMOVE PatientID\n%fields a\nSPLIT PatientID\n", "SPLIT is not for %fields"),
        (f"{HEAD}REMOVE PatientID\n%fields a\nfield PatientID\n", "write FIELD"),
        (f"{HEAD}REMOVE fields:a\n%fields a\n", "%fields a is empty"),
        (f"{HEAD}REMOVE PatientID\n%values a\nSPLIT PatientID min=3\n", "SPLIT has no min"),
        (f"{HEAD}REMOVE PatientID\n%values a\nSPLIT PatientID minlength=0\n", "above 0"),
    ],
)
def test_sections(text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(text))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("contains Modality CT", "before any LABEL"),
        ("LABEL\ncontains Modality CT", "LABEL has no text"),
        ("LABEL x", "has no test"),
        ("LABEL x\nconatins Modality CT", "did you mean contains?"),
        ("LABEL x\ncontains Manfacturer ADAC", "did you mean Manufacturer"),
        ("LABEL x\ncontains Modality", "needs a value"),
        ("LABEL x\ncontains", "needs a field"),
        ("LABEL x\nmissing Modality CT", "takes only a field"),
        ("LABEL x\ncontains Modality (", "not a regular expression"),
        ("LABEL x\n&& contains Modality CT", "not a test"),
        ("LABEL x\ncoordinates 1,2,3", "not a region"),
        ("LABEL x\ncoordinates 5,5,0,9", "empty region"),
        ("LABEL x\nkeepcoordinates from:Nowhere", "not a DICOM keyword"),
        ("LABEL x\npresent Modality\nREMOVE PatientID", "belongs in %header"),
    ],
)
def test_filter_mistakes(lines: str, expected: str) -> None:
    messages = problems(f"FORMAT dicom\n%filter blacklist\n{lines}\n%header\nREMOVE PatientID\n")
    assert any(expected in text for text in messages)


def test_all_problems_are_reported_in_order() -> None:
    messages = problems(f"{HEAD}remove PatientID\nREMOVE Patient\nADD StudyID\nREMOVE (0010,x) x\n")
    assert [text.split(" ")[0] for text in messages] == [f"mine.deid:{n}:" for n in (3, 4, 5, 6)]


def test_parse_errors_are_misconfigured() -> None:
    with pytest.raises(Misconfigured, match=r"2 problems; no image was read\n  mine.deid:3: "):
        read(f"{HEAD}remove PatientID\nREMOVE Patient\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%header\nREMOVE PatientID\n", "has no FORMAT line"),
        ("FORMAT dicom\nFORMAT dicom\n%header\nREMOVE PatientID\n", "given twice"),
        ("FORMAT dicom\n%filter blacklist\nLABEL x\npresent Modality\n", "bundled recipe default"),
        (f"{HEAD}REMOVE PatientID\n%labels\nREMOVE x\n", "REMOVE x is ignored"),
        (f"{HEAD}REMOVE PatientID yes\n", "yes is ignored"),
        (f"{HEAD}KEEP PatientID maybe\n", "maybe is ignored"),
        (f"{HEAD}REMOVE PatientID values:x\n", "not a condition that deid knows"),
        (f"{HEAD}REPLACE PatientID var:id\n", "read as var:entity_id"),
        (f"{HEAD}REPLACE PatientID func:hashuid\n", "read as func:keyed_hash"),
        (
            f"{HEAD}REPLACE StudyInstanceUID deid_func:pydicom_uuid stable_remapping=false\n",
            "equal originals get equal UIDs",
        ),
        (f"{HEAD}REMOVE ALL func:is_tag_private\n", "a rule for private attributes"),
        (
            "Testing jitter\n$ cat\n%header\nREMOVE PatientID\n",
            "Testing comes before any section: it",
        ),
        (f"{HEAD}REMOVE PatientID\n# sendit: decide: what to do\n", "undecided: what to do"),
        ("FORMAT dicom\n%fields people\nFIELD PatientID\n", "bundled recipe default"),
        (
            f"{HEAD}REMOVE PatientID\n%filter graylist\nLABEL x\npresent Modality\n"
            "coordinates 500,10,100,20\n",
            "read as CTP's x,y,width,height",
        ),
    ],
)
def test_lines_that_deid_ignores_are_warnings(text: str, expected: str) -> None:
    warnings = [str(problem) for problem in read(text).warnings]
    assert any(expected in one for one in warnings), warnings


def test_a_recipe_without_header_gets_the_bundled_one() -> None:
    filters = "FORMAT dicom\n%filter blacklist\nLABEL x\npresent Modality\n"
    assert read(filters).header == read_recipe("default").header


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_recipes_are_valid(name: str) -> None:
    assert read_recipe(name).header


@pytest.mark.parametrize("name", ["nowhere", "./mine.deid", "", "../default", "default.deid"])
def test_only_bundled_names_and_absolute_paths(name: str) -> None:
    with pytest.raises(RecipeError, match="not an absolute path"):
        read_recipe(name)


def test_a_local_folder_with_the_name_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # deid reads ./dicom instead of its own recipe of that name
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "deid.x").write_text("FORMAT dicom\n%header\nKEEP PatientID\n")
    here = read_recipe("default").digest
    monkeypatch.chdir(tmp_path)
    assert read_recipe("default").digest == here


def test_paths(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEAD}REMOVE PatientID\n".encode())
    assert len(read_recipe(str(path)).header) == 1
    combined = read_recipe("default", str(path.rename(tmp_path / "x")))
    assert combined.header[-1].position.file == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        (b"\xff\xfeF\0", "not UTF-8"),
        (b"#" * (5 << 20), "too large"),
        (b"", "empty"),
    ],
)
def test_invalid_files(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "mine.deid"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=expected):
        read_recipe(str(path))
    with pytest.raises(RecipeError, match=r"no such file|cannot be read: not a path"):
        read_recipe(str(path) + "\0")
    with pytest.raises(RecipeError, match="this is a folder"):
        read_recipe(str(tmp_path))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\n")

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(RecipeError, match="the file cannot be read: Permission denied"):
        read_recipe(str(path))


def test_duplicate_recipe_is_an_error() -> None:
    with pytest.raises(RecipeError, match="named twice"):
        read_recipe("default", "default")
    with pytest.raises(RecipeError, match="no recipe is given"):
        read_recipe()
