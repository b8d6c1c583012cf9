"""A site's own functions and variables: deid's signature, run on real objects."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pydicom
import pytest

from sendit.deidentify.plan import compile_plan
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.recipe.own import read_own
from sendit.recipe.parse import RecipeError, read_text
from sendit.recipe.problems import Rule
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentify_files

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
HEAD = (
    "FORMAT dicom\n%header\nKEEP SOPClassUID\nKEEP SOPInstanceUID\nKEEP StudyInstanceUID\n"
    "KEEP SeriesInstanceUID\n"
)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def rules_with(word: str) -> str:
    """Return the rules of the page's only example that contains a word."""
    (example,) = (block for block in blocks("deid") if word in block)
    return str(example.partition("%header")[2])


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    """The documented example, and functions as in deid's own tests."""
    path = tmp_path / "ours.py"
    path.write_text(
        blocks("python")[0]
        + """

def remove_day(item, value, field, dicom):
    return field.element.value[:6] + "01"


def nothing(item, value, field, dicom):
    return None


def fails(item, value, field, dicom):
    raise ValueError(str(field.element.value))
"""
    )
    return path


def deidentified(rules: str, functions: Path | None = None, table: Path | None = None, **values):
    own = read_own(functions, table)
    plan = compile_plan(read_text(("ours.deid", HEAD + rules), own=own))
    result, members = deidentify_files([to_bytes(make_dataset(**values))], plan)
    return result, [pydicom.dcmread(io.BytesIO(data)) for data in members.values()]


def test_documented_functions_example(functions: Path) -> None:
    rules = rules_with("func:research_label")
    _, (ours,) = deidentified(rules, functions, ImageComments="DRAFT: do not send")
    assert ours.SeriesDescription == f"IR1A00001-{make_dataset().SeriesNumber}"
    assert "ImageComments" not in ours
    _, (ours,) = deidentified(rules, functions, ImageComments="final")
    assert ours.ImageComments == "final"


def test_results_are_formatted_for_the_vr(functions: Path) -> None:
    _, (ours,) = deidentified(
        "REPLACE StudyDate func:remove_day\nREPLACE PatientName func:nothing", functions
    )
    assert ours.StudyDate == f"{make_dataset().StudyDate[:6]}01"
    assert not ours.PatientName


def test_a_failing_function_quarantines_the_file_without_quoting_values(functions: Path) -> None:
    result, members = deidentified("REPLACE PatientName func:fails", functions)
    assert not members
    (_, reason) = result.outcomes[1]
    assert reason == "func:fails, of the site's own, failed (ValueError) on PatientName"


def test_functions_are_called_for_each_file(functions: Path) -> None:
    own = read_own(functions, None)
    rules = "REPLACE SeriesDescription func:research_label"
    plan = compile_plan(read_text(("ours.deid", HEAD + rules), own=own))
    files = [
        to_bytes(make_dataset(SOPInstanceUID=f"1.2.3.{number}", SeriesNumber=str(number)))
        for number in (4, 5)
    ]
    _, members = deidentify_files(files, plan)
    descriptions = {
        pydicom.dcmread(io.BytesIO(data)).SeriesDescription for data in members.values()
    }
    assert descriptions == {"IR1A00001-4", "IR1A00001-5"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def x(:", "cannot be loaded"),
        ("def x(value):\n    return value", "does not take dicom, field, item"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_invalid_functions_file(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "ours.py"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=expected):
        read_own(path, None)


def test_documented_table_example(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(blocks("csv")[0])
    rules = rules_with("var:trial_arm")
    _, (ours,) = deidentified(rules, None, table, AccessionNumber="ACC774411")
    assert (ours.PatientID, ours.ClinicalTrialTimePointID) == ("T-0047", "B")
    with pytest.raises(FailBatch, match="no row for this study's accession number"):
        deidentified(rules, None, table, AccessionNumber="ACC1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must begin with a header line"),
        ("number,arm\n1,A\n", "must begin with a header line"),
        ("patient,arm\n1,A\n1,B\n", "line 3: the patient is empty, or occurs"),
        ("patient,arm\n1,\n", "line 2: a value is empty"),
        ("patient,arm\n1\n", "line 2: 1 cells, not 2"),
        ("patient,entity_id\n1,A\n", "comes from the identifier service"),
        ("patient,two words\n1,A\n", "is not a valid variable name"),
    ],
)
def test_invalid_table(tmp_path: Path, text: str, expected: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(Misconfigured, match=expected):
        read_own(None, table)


def test_an_unknown_function_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="var:entity_id: the patient's code"):
        read_text(("x", f"{HEAD}REPLACE PatientID var:unheard_of\n"))
    with pytest.raises(RecipeError, match="SENDIT_RECIPE_FUNCTIONS"):
        read_text(("x", f"{HEAD}REPLACE PatientID func:unheard_of\n"))


def test_site_functions_take_no_arguments(functions: Path) -> None:
    rules = "REPLACE PatientID func:remove_day days=3"
    with pytest.raises(RecipeError, match="func:remove_day is followed by more text") as caught:
        read_text(("ours.deid", HEAD + rules), own=read_own(functions, None))
    (problem,) = caught.value.problems
    assert problem.rule is Rule.FUNCTION
    assert problem.suggestion == "the site's own functions take no arguments"


def test_error_text_of_the_module_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text('raise KeyError("DOE^JANE")\n')
    with pytest.raises(Misconfigured, match="KeyError") as caught:
        read_own(file, None)
    assert "DOE" not in str(caught.value)


def test_a_missing_file_is_retried(tmp_path: Path) -> None:
    for given in ((tmp_path / "own.py", None), (None, tmp_path / "table.csv")):
        with pytest.raises(RetryLater, match="cannot be read"):
            read_own(*given)
