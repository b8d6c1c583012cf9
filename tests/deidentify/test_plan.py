"""What a recipe's rules do to an object: deid's order of actions, and where sendit differs."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sendit.deidentify.plan import Change, compile_plan
from sendit.errors import Misconfigured
from sendit.recipe.model import (
    Action,
    Function,
    HeaderRule,
    Literal,
    Position,
    Recipe,
    Selector,
    TagSelector,
    Value,
    Variable,
)
from testing.builder import make_dataset
from tests.deidentify.engine import (
    IDENTIFIERS,
    deidentified_dataset,
    deidentify_files,
    plan_of,
    to_bytes,
)


def rule(action: Action, selector: Selector, value: Value | None) -> Recipe:
    position = Position("test.deid", 3)
    return Recipe(header=(HeaderRule(action, selector, value, position),), filters=())


NAME = TagSelector(0x00100010)


@pytest.mark.parametrize(
    "recipe",
    [
        rule(Action.REPLACE, NAME, Variable("nobody_gives_this")),
        rule(Action.REPLACE, NAME, Function("nobody_wrote_this")),
        rule(Action.REPLACE, NAME, None),
        rule(Action.JITTER, TagSelector(0x00080020), None),
        rule(Action.JITTER, TagSelector(0x00080020), Variable("entity_id")),
        rule(Action.JITTER, TagSelector(0x00080020), Literal("soon")),
        rule(Action.ADD, TagSelector(0x00091001), Literal("x")),
        rule(Action.REPLACE, TagSelector(0x00081110), Literal("x")),
    ],
)
def test_impossible_rules_are_rejected_when_compiled(
    recipe: Recipe,
) -> None:
    with pytest.raises(Misconfigured, match=r"test\.deid:3"):
        compile_plan(recipe)


def test_each_action() -> None:
    plan = plan_of("""
        REMOVE PatientComments
        BLANK PatientName
        REPLACE PatientID var:entity_id
        REPLACE AccessionNumber fixed text
        JITTER StudyDate var:jitter
        JITTER SeriesDate 3
        ADD PatientIdentityRemoved YES
    """)
    before = make_dataset(StudyDate="20200118", SeriesDate="20200118")
    ds = deidentified_dataset(before, plan)
    assert "PatientComments" not in ds
    assert ds["PatientName"].is_empty
    assert ds.PatientID == IDENTIFIERS.patient_code
    assert ds.AccessionNumber == "fixed text"
    assert ds.StudyDate == "20200101"
    assert ds.SeriesDate == "20200121"
    assert ds.PatientIdentityRemoved == "YES"
    assert before.Modality == ds.Modality


def test_unnamed_attributes_are_kept() -> None:
    before = make_dataset(private=False)
    ds = deidentified_dataset(before, plan_of("REMOVE PatientName"))
    assert [int(e.tag) for e in before if e.keyword != "PatientName"] == [int(e.tag) for e in ds]


def test_keep_takes_precedence() -> None:
    before = make_dataset()
    ds = deidentified_dataset(
        before, plan_of("KEEP PatientName\nREMOVE contains:Patient\nBLANK ALL")
    )
    assert ds.PatientName == before.PatientName
    assert "PatientID" not in ds


def test_replace_and_jitter_take_precedence_over_remove() -> None:
    plan = plan_of("REMOVE ALL\nREPLACE PatientID var:entity_id\nJITTER StudyDate 1")
    ds = deidentified_dataset(make_dataset(StudyDate="20200118"), plan)
    assert ds.PatientID == IDENTIFIERS.patient_code
    assert ds.StudyDate == "20200119"
    assert "Modality" not in ds


def test_other_actions_apply_in_recipe_order() -> None:
    blanked = deidentified_dataset(
        make_dataset(), plan_of("REPLACE PatientID x\nBLANK contains:PatientID")
    )
    assert blanked["PatientID"].is_empty
    replaced = deidentified_dataset(
        make_dataset(), plan_of("BLANK contains:PatientID\nREPLACE PatientID x")
    )
    assert replaced.PatientID == "x"
    added = deidentified_dataset(
        make_dataset(), plan_of("REMOVE contains:PatientID\nADD PatientID x")
    )
    assert added.PatientID == "x"
    gone = deidentified_dataset(
        make_dataset(), plan_of("ADD PatientID x\nREMOVE contains:PatientID")
    )
    assert "PatientID" not in gone
    emptied = deidentified_dataset(
        make_dataset(PatientID=None), plan_of("ADD PatientID x\nBLANK ALL")
    )
    assert emptied["PatientID"].is_empty


def test_replace_requires_the_attribute_and_add_applies_to_the_top_level() -> None:
    inner = Dataset()
    inner.PatientID = "inner"
    before = make_dataset(PatientComments=None, ReferencedStudySequence=Sequence([inner]))
    ds = deidentified_dataset(before, plan_of("REPLACE PatientComments x\nADD PatientID outer"))
    assert "PatientComments" not in ds
    assert ds.PatientID == "outer"
    assert ds.ReferencedStudySequence[0].PatientID == "inner"


def private(ds: Dataset) -> dict[str, str]:
    """Return the private elements of a dataset, creators included."""

    def text(value: object) -> str:  # unknown private elements are UN if the file states no VR
        return value.decode().strip() if isinstance(value, bytes) else str(value)

    return {f"{each.tag:08X}": text(each.value) for each in ds if each.tag.is_private}


def made(**elements: Any) -> FileDataset:
    return make_dataset(private=False, **elements)


PROJECT = """
ADD (0013,"CTP",10) LIDC
ADD (0013,"CTP",12) 7
"""


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_private_add_uses_a_block_of_its_creator(syntax: str) -> None:
    plan = plan_of(f"REMOVE ALL{PROJECT}")
    ds = deidentified_dataset(made(transfer_syntax=syntax), plan)
    assert private(ds) == {"00130010": "CTP", "00131010": "LIDC", "00131012": "7"}
    assert [each.tag for each in ds] == sorted(each.tag for each in ds)
    assert "PixelData" in ds


def test_private_add_reserves_the_first_free_block() -> None:
    before = made()
    before.private_block(0x13, "ANOTHER", create=True).add_new(0x01, "LO", "kept")
    before.add_new(0x00131101, "LO", "of nobody")
    ds = deidentified_dataset(before, plan_of(f'{PROJECT}KEEP (0013,"ANOTHER",01)'))
    assert private(ds) == {
        "00130010": "ANOTHER",
        "00131001": "kept",
        "00130012": "CTP",
        "00131210": "LIDC",
        "00131212": "7",
    }


def test_private_add_reuses_an_existing_block() -> None:
    before = made()
    before.private_block(0x13, "ANOTHER", create=True).add_new(0x01, "LO", "goes")
    before.private_block(0x13, "CTP", create=True).add_new(0x10, "LO", "another project")
    ds = deidentified_dataset(before, plan_of(PROJECT))
    assert private(ds) == {"00130011": "CTP", "00131110": "LIDC", "00131112": "7"}


def test_private_add_applies_once_if_the_creator_has_two_blocks() -> None:
    before = made()
    for block, element in ((0x10, 0x12), (0x11, 0x10)):
        before.add_new(0x00130000 | block, "LO", "CTP")
        before.add_new(0x00130000 | block << 8 | element, "LO", "another")
    ds = deidentified_dataset(before, plan_of(PROJECT))
    assert private(ds) == {
        "00130010": "CTP",
        "00130011": "CTP",
        "00131012": "7",
        "00131110": "LIDC",
    }


def test_private_add_without_a_value_leaves_no_block() -> None:
    nothing = plan_of('ADD (0013,"CTP",10) x\nREMOVE (0013,"CTP",10)')
    assert not private(deidentified_dataset(made(), nothing))


def test_private_add_applies_to_each_file_of_a_series() -> None:
    files = [to_bytes(made(InstanceNumber=str(n))) for n in (1, 2, 3)]
    _, members = deidentify_files(files, plan_of(PROJECT.replace("7", "var:entity_id")))
    for data in members.values():
        ds = pydicom.dcmread(BytesIO(data))
        assert private(ds)["00131012"] == IDENTIFIERS.patient_code


def test_private_add_vr() -> None:
    rules = (
        'ADD (0009,"GEMS_IDEN_01",E3) 1.2.3\n'  # in the dictionary
        f'ADD (0033,"MY CREATOR 1.0",1E) {"long " * 20}\nADD (0033,"MY CREATOR 1.0",1F) short'
    )
    ds = deidentified_dataset(made(transfer_syntax=ExplicitVRLittleEndian), plan_of(rules))
    assert [ds[tag].VR for tag in (0x000910E3, 0x0033101E, 0x0033101F)] == ["UI", "UT", "LO"]


def nested() -> Sequence:
    deepest, inner = Dataset(), Dataset()
    deepest.PatientName = "DOE^DEEP"
    deepest.StudyDate = "20200118"
    inner.PatientName = "DOE^INNER"
    inner.InstitutionName = "General"
    inner.RequestAttributesSequence = Sequence([deepest, Dataset()])
    return Sequence([inner])


def test_rules_apply_at_every_nesting_level() -> None:
    plan = plan_of("REPLACE PatientName var:entity_id\nJITTER StudyDate 1")
    ds = deidentified_dataset(make_dataset(ReferencedStudySequence=nested()), plan)
    item = ds.ReferencedStudySequence[0]
    assert item.PatientName == IDENTIFIERS.patient_code
    assert item.InstitutionName == "General"
    assert item.RequestAttributesSequence[0].PatientName == IDENTIFIERS.patient_code
    assert item.RequestAttributesSequence[0].StudyDate == "20200119"
    assert len(item.RequestAttributesSequence) == 2


def test_a_kept_sequence_keeps_content_that_no_rule_names() -> None:
    plan = plan_of("KEEP ReferencedStudySequence\nREMOVE ALL\nREPLACE PatientName x")
    ds = deidentified_dataset(make_dataset(ReferencedStudySequence=nested()), plan)
    item = ds.ReferencedStudySequence[0]
    assert item.PatientName == "x"
    assert item.InstitutionName == "General"
    assert item.RequestAttributesSequence[0].StudyDate == "20200118"
    assert "InstitutionName" not in ds


@pytest.mark.parametrize(
    ("rules", "gone", "stays"),
    [
        ("REMOVE contains:Patient.*Age", ["PatientAge"], ["PatientID", "PatientName"]),
        ("REMOVE startswith:Patient's", ["PatientName", "PatientSex"], ["StudyDate"]),
        ("REMOVE endswith:Date", ["StudyDate", "PatientBirthDate"], ["PatientID", "StudyTime"]),
        ("REMOVE endswith:date", ["StudyDate"], ["PatientID"]),
        ("REMOVE select:VR:DA", ["StudyDate", "PatientBirthDate"], ["StudyTime"]),
        ("REMOVE select:group:0010", ["PatientID", "PatientName"], ["StudyDate"]),
        ("REMOVE except:Patient|UID|Date|Study|Series", ["Modality"], ["PatientID", "StudyDate"]),
        ("REMOVE (0010,0020)", ["PatientID"], ["PatientName"]),
        ("REMOVE contains:\\(0010,00[12]0\\)", ["PatientID", "PatientName"], ["PatientSex"]),
    ],
)
def test_field_patterns(rules: str, gone: list[str], stays: list[str]) -> None:
    ds = deidentified_dataset(make_dataset(), plan_of(rules))
    assert [name for name in gone if name in ds] == []
    assert [name for name in stays if name not in ds] == []


def test_patterns_also_match_the_path() -> None:
    plan = plan_of("BLANK ReferencedStudySequence__InstitutionName")
    ds = deidentified_dataset(
        make_dataset(ReferencedStudySequence=nested(), InstitutionName="A"), plan
    )
    assert ds.InstitutionName == "A"
    assert ds.ReferencedStudySequence[0]["InstitutionName"].is_empty
    inside = plan_of("KEEP contains:ReferencedStudySequence\nREMOVE ALL")
    ds = deidentified_dataset(make_dataset(ReferencedStudySequence=nested()), inside)
    assert ds.ReferencedStudySequence[0].PatientName == "DOE^INNER"


def test_lists_of_fields_and_values() -> None:
    sections = """
        %fields names
        FIELD PatientName
        FIELD endswith:PhysicianName
        %values known
        FIELD PatientID
        SPLIT PatientName by="^";minlength=4
    """
    inner = Dataset()
    inner.CodeMeaning = "operated on janette"
    before = make_dataset(
        PatientName="DOE^JANETTE^X",
        PatientID="MR(N.77",
        PatientComments="mr(n.77 came",
        StudyDescription="for X and DOE",
        RequestedProcedureDescription="Janette came",
        AdmittingDiagnosesDescription="healthy",
        ReferringPhysicianName="X",
        ProcedureCodeSequence=Sequence([inner]),
    )
    plan = plan_of("REMOVE fields:names\nREMOVE values:known", sections=sections)
    ds = deidentified_dataset(before, plan)
    for name in ("PatientName", "ReferringPhysicianName", "PatientComments", "PatientID"):
        assert name not in ds, name
    assert "RequestedProcedureDescription" not in ds
    assert "CodeMeaning" not in ds.ProcedureCodeSequence[0]
    assert ds.StudyDescription == "for X and DOE"
    assert ds.AdmittingDiagnosesDescription == "healthy"


def test_variables_refer_to_the_top_level_dataset() -> None:
    sections = "%values known\nFIELD PatientID\n"
    plan = plan_of("BLANK values:known", sections=sections)
    files = [
        to_bytes(make_dataset(instance=1, PatientID="AAA", PatientComments="AAA BBB")),
        to_bytes(make_dataset(instance=2, PatientID="CCC", PatientComments="AAA BBB")),
    ]
    _, members = deidentify_files(files, plan)
    from io import BytesIO

    import pydicom

    first, second = (pydicom.dcmread(BytesIO(data)) for data in members.values())
    assert first["PatientComments"].is_empty
    assert second.PatientComments == "AAA BBB"


# Private and unknown --------------------------------------------------------------------


def with_private() -> Dataset:
    ds = make_dataset(private=False)
    block = ds.private_block(0x0019, "ACME 1.0", create=True)
    block.add_new(0x01, "LO", "SAFE")
    block.add_new(0x02, "LO", "DOE^JANE")
    other = ds.private_block(0x0019, "OTHER", create=True)
    other.add_new(0x01, "LO", "OTHER VALUE")
    return ds


def test_private_attributes_are_removed() -> None:
    result, members = deidentify_files([to_bytes(with_private())], plan_of("BLANK PatientName"))
    assert result.actions[Change.PRIVATE] == 5
    assert b"ACME" not in next(iter(members.values()))


@pytest.mark.parametrize(
    "keep",
    [
        'KEEP (0019,"ACME 1.0",01)',
        "KEEP (0019,1001)",
        'KEEP contains:0019,"ACME 1\\.0",01',
        "KEEP contains:\\(0019,1001\\)",
    ],
)
def test_kept_private_attributes_keep_their_creator(keep: str) -> None:
    ds = deidentified_dataset(with_private(), plan_of(f"{keep}\nREMOVE ALL"))
    assert [(int(e.tag), e.value) for e in ds if e.tag.is_private] == [
        (0x00190010, "ACME 1.0"),
        (0x00191001, "SAFE"),
    ]


@pytest.mark.parametrize(
    ("group", "keep", "stays"),
    [
        (0x0019, 'KEEP (0019,"ACME",01)', True),
        (0x0023, 'KEEP (0023,"ACME",01)', True),
        (0x0032, "KEEP RequestedProcedureCodeSequence", False),
        (0x0040, "KEEP RequestAttributesSequence", False),
    ],
)
def test_private_attributes_stay_only_in_kept_private_sequences(
    group: int, keep: str, stays: bool
) -> None:
    item = Dataset()
    item.CodeMeaning = "chest"
    item.private_block(0x0029, "OTHER", create=True).add_new(0x01, "LO", "inner")
    ds = make_dataset(private=False)
    if group & 1:
        ds.private_block(group, "ACME", create=True).add_new(0x01, "SQ", [item])
        tag = group << 16 | 0x1001
    else:
        tag = 0x00321064 if group == 0x0032 else 0x00400275
        ds.add_new(tag, "SQ", [item])
    (made,) = deidentified_dataset(ds, plan_of(f"{keep}\nREMOVE ALL"))[tag].value
    assert made.CodeMeaning == "chest"
    assert ((0x0029, 0x1001) in made) is stays


def test_private_attributes_are_matched_by_creator_in_any_block() -> None:
    ds = make_dataset(private=False)
    for creator in ("FIRST", "ACME 1.0"):
        ds.private_block(0x0019, creator, create=True).add_new(0x01, "LO", creator)
    out = deidentified_dataset(ds, plan_of('REPLACE (0019,"ACME 1.0",01) new'))
    assert [(int(e.tag), e.value) for e in out if e.tag.is_private] == [
        (0x00190011, "ACME 1.0"),
        (0x00191101, "new"),
    ]


def test_attributes_not_in_the_dictionary_are_removed_unless_named() -> None:
    ds = make_dataset()
    ds.add_new(0x00100FFE, "LO", "DOE^JANE")
    assert 0x00100FFE not in deidentified_dataset(ds, plan_of("BLANK PatientName"))
    assert (
        deidentified_dataset(ds, plan_of("KEEP contains:00100ffe"))[0x00100FFE].value == "DOE^JANE"
    )


def test_attributes_that_no_recipe_can_keep() -> None:
    ds = make_dataset()
    ds.preamble = b"DOE^JANE".ljust(128, b"\0")
    assert ds.file_meta is not None
    ds.file_meta.SourceApplicationEntityTitle = "DOE^JANE"
    ds.add_new(0xFFFCFFFC, "OB", b"DOE^JANE")
    ds.SpecificCharacterSet = "ISO_IR 100"
    data = to_bytes(ds, trailing=b"DOE^JANE")
    data = data.replace(b"ISO_IR 100", b"DOE^JANE  ", 1)
    from tests.deidentify.engine import deidentified_bytes

    assert b"DOE^JANE" not in deidentified_bytes(data, plan_of("KEEP PatientName\nKEEP Modality"))
    kept = deidentified_bytes(to_bytes(ds, trailing=b"DOE^JANE"), plan_of("KEEP ALL", uids=False))
    assert b"DOE^JANE" not in kept


def test_rules_do_not_change_pixels_or_colour_tables() -> None:
    before = make_dataset()
    ds = deidentified_dataset(before, plan_of("REMOVE ALL"))
    assert ds.PixelData == before.PixelData
    assert deidentified_dataset(before, plan_of("REMOVE PixelData")).PixelData == before.PixelData


def _codes(*meanings: str) -> Sequence:
    items = []
    for meaning in meanings:
        item = Dataset()
        item.CodeMeaning = meaning
        items.append(item)
    return Sequence(items)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("CTDIPhantomTypeCodeSequence__0__CodeMeaning", [[None, "b"], ["c", "d"]]),
        ("(0018,9346)__1__(0008,0104)", [["a", None], ["c", "d"]]),
        ("CTDIPhantomTypeCodeSequence__CodeMeaning", [[None, None], ["c", "d"]]),
        ("CTDIPhantomTypeCodeSequence__7__CodeMeaning", [["a", "b"], ["c", "d"]]),
        ("ContentSequence__0__ConceptNameCodeSequence__1__CodeMeaning", [["a", "b"], ["c", None]]),
        ("ContentSequence__1__ConceptNameCodeSequence__1__CodeMeaning", [["a", "b"], ["c", "d"]]),
    ],
)
def test_paths_with_item_numbers_match_those_items_only(path: str, kept: list[list[str]]) -> None:
    content = Dataset()
    content.ConceptNameCodeSequence = _codes("c", "d")
    ds = make_dataset(
        CTDIPhantomTypeCodeSequence=_codes("a", "b"), ContentSequence=Sequence([content])
    )
    after = deidentified_dataset(ds, plan_of(f"REMOVE {path}"))
    inner = after.ContentSequence[0].ConceptNameCodeSequence
    assert [
        [item.get("CodeMeaning") for item in items]
        for items in (after.CTDIPhantomTypeCodeSequence, inner)
    ] == kept


def test_add_with_a_path_does_not_keep_an_unreadable_sequence() -> None:
    references = TagSelector(0x00081140)
    plan = compile_plan(rule(Action.ADD, references, Function("dummy")))
    inside = plan.top.child(0x00400275, "", kept=False)
    assert inside.program(references.tag, "LO").removed is Change.OPAQUE


@pytest.mark.parametrize(
    ("rules", "there", "elsewhere"),
    [
        ("REMOVE PatientName", False, False),
        ('KEEP (0019,"SIEMENS MR HEADER",0C)', True, False),
        ('KEEP (0019,"ACME",0C)', True, True),  # it may contain items
        ('REPLACE (0019,"ACME",0C) x', True, False),
        ("REPLACE (0019,100C) x", True, False),
        ("KEEP (0019,100C)", True, True),
        ("KEEP select:group:0019", True, True),
        ("KEEP select:group:0018", False, False),
        ("KEEP PatientName", False, False),
    ],
)
def test_may_keep_private(rules: str, there: bool, elsewhere: bool) -> None:
    """The gate compares the archive with it: attributes that may not stay must be absent."""
    plan = plan_of(rules)
    assert plan.keeps_private(0x0019100C) is there
    assert plan.keeps_private(0x0021100C) is elsewhere
    assert plan.private is there
