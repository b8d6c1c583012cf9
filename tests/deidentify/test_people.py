"""Words of a person's name are removed from texts, whatever else they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from sendit.clean_descriptors import Sort, clean, fold, vocabulary
from sendit.deidentify.people import PERSON_NAMES, People, numbers_of, words_of
from sendit.deidentify.people_matcher import PeopleMatcher
from sendit.dicom.scan import read_header
from sendit.pipeline.intake import import_folder
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_recipe
from sendit.workspace import Workspace
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentify_files, plan_of


def read(data: bytes) -> FileDataset:
    return dcmread(BytesIO(data))


@pytest.mark.parametrize(
    ("name", "patient", "words"),
    [
        ("Stone^Per", True, {"stone", "per"}),
        ("STONE, PER", True, {"stone", "per"}),
        ("Long^Black^^Mr", True, {"long", "black"}),
        ("Mr. Per Stone", True, {"per", "stone"}),
        ("Stone^J^L^Dr.^MD", False, {"stone"}),
        ("Head-Rao^Åsa", True, {"head", "rao", "asa"}),
        ("Müller^Kopf", False, {"muller", "kopf"}),
        ("Li^Or", True, {"li", "or"}),
        ("Li^Or", False, set()),
        ("De La Cruz^Maria", True, {"cruz", "maria"}),
        ("No^Kim", True, {"no", "kim"}),
        ("王^小东=Wang^Stone", True, {"wang", "stone", "小东"}),
        # nobody's name
        ("CT^Chest", True, set()),
        ("QA^PHANTOM", True, set()),
        ("Head^Phantom", True, set()),
        ("TEST^ABDOMEN", True, set()),
        ("Phantom^Q", True, set()),  # an initial is not a name
        ("Test^Xu", True, {"xu"}),
        ("CT^Smith", True, {"smith"}),
        ("Chest Clinic", False, set()),
        ("Department of Radiology", False, set()),
        ("UNKNOWN", True, set()),
        ("^^^^", True, set()),
    ],
)
def test_words_of_a_name(name: str, patient: bool, words: set[str]) -> None:
    assert set(words_of(name, patient=patient)) == words


PLAIN = sorted(w for w, s in vocabulary().items() if s is Sort.PLAIN and w.isalpha() and len(w) > 2)


@given(
    st.lists(st.sampled_from(PLAIN), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(PLAIN), max_size=6),
    st.sampled_from("/-+_^,.:( "),
    st.sampled_from([str.upper, str.title, str.lower]),
    st.randoms(use_true_random=False),
)
def test_names_are_removed_in_every_spelling(
    name: list[str], others: list[str], sign: str, case: Callable[[str], str], random: Random
) -> None:
    people = set(words_of("^".join(name), patient=True))
    words = [*name, *others]
    random.shuffle(words)
    kept = clean(sign.join(map(case, words)), people)
    assert not people & {fold(word) for word in kept.split()}


def test_names_are_collected_from_all_levels() -> None:
    item = Dataset()
    item.PersonName = "Innermost^Deep"
    outer = Dataset()
    outer.ContentSequence = Sequence([item])
    ds = make_dataset(
        PatientName="Stone^Per",
        PatientMotherBirthName="Black^Rao",
        OperatorsName=["Long^Ann", "Short^Bo"],
        ReferringPhysicianName="Field^Hand",
        ContentSequence=Sequence([outer]),
    )
    people = People()
    people.see(read_header(to_bytes(ds)))
    wanted = {"stone", "per", "black", "rao", "long", "short", "field", "hand", "innermost", "deep"}
    assert wanted <= people.words
    assert "bo" not in people.words
    assert {0x00100010, 0x00080090, 0x0040A123} <= PERSON_NAMES


TEXT = "CT HEAD STONE PROTOCOL Per patient Rao"


def test_a_name_in_one_file_applies_to_the_whole_study() -> None:
    plan = plan_of("REPLACE StudyDescription func:clean_text\nREMOVE select:VR:PN")
    files = [
        to_bytes(make_dataset(instance=1, StudyDescription=TEXT, PatientName="Doe^Jane")),
        to_bytes(make_dataset(instance=2, StudyDescription=TEXT, PatientName="Doe^Jane")),
        to_bytes(make_dataset(instance=3, StudyDescription=TEXT, OperatorsName="Rao^Stone")),
    ]
    _, members = deidentify_files(files, plan)
    assert {read(data).StudyDescription for data in members.values()} == {
        "CT HEAD PROTOCOL Per patient"
    }


def test_names_do_not_carry_over_to_the_next_study() -> None:
    plan = plan_of("REPLACE StudyDescription func:clean_text")
    for name, kept in (("Stone^A", "HEAD Per patient"), ("Per^A", "HEAD STONE patient")):
        ds = make_dataset(StudyDescription="HEAD STONE Per patient", PatientName=name)
        _, members = deidentify_files([to_bytes(ds)], plan)
        assert [read(data).StudyDescription for data in members.values()] == [kept]


def test_names_are_passed_on_in_the_working_folder(tmp_path: Path) -> None:
    filters = compile_filters(read_recipe("default"))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "1").write_bytes(to_bytes(make_dataset(PatientName="Stone^Per")))
    filtered = make_dataset(instance=2, Modality="US", OperatorsName="Rao^Ann")
    (folder / "2").write_bytes(to_bytes(filtered))
    people = import_folder(folder, filters).people
    assert {"stone", "per", "rao"} <= people.words
    workspace = Workspace(tmp_path / "work", "b1")
    workspace.make()
    assert workspace.read_people() is None
    workspace.write_people(people.words)
    assert workspace.read_people() == people.words
    assert json.loads((workspace.folder / "people.json").read_text()) == sorted(people.words)


@pytest.mark.parametrize("name", ["CT^Chest", "QA^PHANTOM"])
def test_phantom_names_do_not_affect_descriptions(name: str) -> None:
    plan = plan_of("REPLACE StudyDescription func:clean_text")
    ds = make_dataset(StudyDescription="CT CHEST PHANTOM QA", PatientName=name)
    _, members = deidentify_files([to_bytes(ds)], plan)
    assert [read(data).StudyDescription for data in members.values()] == ["CT CHEST PHANTOM QA"]


@pytest.mark.parametrize(
    ("rule", "text", "name", "kept"),
    [
        ("technical_value form=words", "head stone", "Stone^A", "head"),
        ("technical_value form=words", "Schädel Quackenbush 77", "Doe^A", "schadel"),
        ("clean_text", "Schädel Stone", "Stone^A", "Schädel"),
    ],
)
def test_names_are_removed_from_technical_texts(rule: str, text: str, name: str, kept: str) -> None:
    plan = plan_of(f"REPLACE SeriesDescription func:{rule}")
    ds = make_dataset(
        SeriesDescription=text, PatientName=name, SpecificCharacterSet="ISO_IR 100", private=False
    )
    _, members = deidentify_files([to_bytes(ds)], plan)
    assert [read(data).SeriesDescription for data in members.values()] == [kept]


def test_names_are_removed_from_non_standard_code_meanings() -> None:
    plan = plan_of("REPLACE CodeMeaning func:clean_code_meaning")
    local, standard = Dataset(), Dataset()
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = "X", "99LOCAL", "Head stone"
    standard.CodeValue, standard.CodingSchemeDesignator = "69536005", "SCT"
    standard.CodeMeaning = "Head"
    ds = make_dataset(ProcedureCodeSequence=Sequence([local, standard]), PatientName="Head^A")
    _, members = deidentify_files([to_bytes(ds)], plan)
    (after,) = [read(data) for data in members.values()]
    assert [item.CodeMeaning for item in after.ProcedureCodeSequence] == ["stone", "Head"]


def test_a_number_that_a_spreadsheet_has_written_is_the_number() -> None:
    assert set(numbers_of("7734512.0")) == {"7734512"}
    assert set(numbers_of("1.0")) == set()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("345", {"345"}),
        ("0345", {"0345", "345"}),
        ("12-345", {"12345"}),
        ("3", set()),
        ("A-17", set()),  # three characters may mean anything
        ("A-179", {"a179"}),
        ("A123456", {"a123456", "123456"}),
        ("A12345", {"a12345"}),
        ("345\\A", {"345"}),
    ],
)
def test_short_numbers(text: str, numbers: set[str]) -> None:
    assert set(numbers_of(text)) == numbers


def test_a_short_number_leaves_technical_values() -> None:
    assert not PeopleMatcher(frozenset(numbers_of("345"))).matches("FILTER 345", "SH")
    assert PeopleMatcher(frozenset(numbers_of("A345"))).matches("FILTER A345", "SH")
