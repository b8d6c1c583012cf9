"""What `sendit recipe check` prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sendit.recipe.coverage import beyond_the_table, cover
from sendit.recipe.parse import read_recipe
from sendit.recipe.report import check
from tests.recipe.test_parse import HEAD


def run(*paths: str, as_json: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)
    return check(paths, console, as_json=as_json), out.getvalue()


def test_invalid_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}remove PatientID\nREMOVE [b]Patient\n")
    code, text = run(str(path))
    assert code == 1
    assert (
        f"{path}:3: remove is an action in the wrong case: deid would skip the line\n"
        "    write REMOVE" in text
    )
    assert f"{path}:4: [b]Patient is not a DICOM keyword" in text
    assert "2 problems" in text


def test_output_without_a_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\n")
    assert check([str(path)]) == 0
    assert "usable: 1 header rules" in capsys.readouterr().out


def test_default_recipe_exposes_nothing() -> None:
    code, text = run("default")
    assert code == 0
    assert "Nothing is exposed" in text
    assert "113100" in text


def test_exposed_attributes_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\nKEEP PatientName\n")
    code, text = run(str(path))
    assert code == 0
    assert "KEEP on" in text
    assert "PatientAddress" in text
    assert "no rule" in text


def test_singular_and_advice(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}remove PatientID\n")
    code, text = run(str(path))
    assert code == 1
    assert "\n1 problem: not usable\n" in text
    assert "sendit recipe fix corrects what needs no decision" in text
    path.write_text(f"{HEAD}REMOVE NoSuchThing\n")
    assert "recipe fix" not in run(str(path))[1]


def test_json_of_problems(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}remove PatientSex\nREMOVE NoSuchThing\nREPLACE PatientID var:id\n")
    code, text = run(str(path), as_json=True)
    report_json = json.loads(text)
    assert (code, report_json["usable"]) == (1, False)
    wrong_case, unknown, warning = report_json["problems"]
    assert wrong_case == {
        "file": str(path),
        "line": 3,
        "column": 1,
        "severity": "error",
        "rule": "action",
        "message": "remove is an action in the wrong case: deid would skip the line",
        "suggestion": "write REMOVE",
        "docs": "docs/recipes.md#action",
        "can_be_fixed": True,
    }
    assert (unknown["line"], unknown["column"], unknown["can_be_fixed"]) == (4, 8, False)
    assert (warning["line"], warning["severity"]) == (5, "warning")


def test_json_of_warnings(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REPLACE PatientID var:id\n")
    code, text = run(str(path), as_json=True)
    report_json = json.loads(text)
    assert (code, report_json["usable"]) == (0, True)
    assert [problem["severity"] for problem in report_json["problems"]] == ["warning"]


def cells(text: str) -> list[list[str]]:
    """Return the cells of the tables' rows."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_numbers_match_the_coverage(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\nKEEP PatientName\nJITTER StudyDate var:jitter\n")
    recipe = read_recipe(str(path))
    coverage = cover(recipe)
    _, text = run(str(path))
    counts, exposed = cells(text)[:4], cells(text)[4:]
    kept = coverage.treatments["kept"]
    assert counts == [
        ["removed, emptied or replaced", str(coverage.treatments["gone"]), ""],
        ["cleaned", "0", ""],
        ["dates shifted by the patient's jitter", "1", ""],
        ["kept", str(kept), str(len(coverage.exposed))],
    ]
    assert ["PatientName", "Patient's Name", "Z", "KEEP on"] in [
        [*row[:3], row[3][:7]] for row in exposed
    ]
    assert sum(bool(row[0]) for row in exposed) == len(coverage.exposed)
    for option in coverage.options:
        assert f"  uses {option.label}\n" in text
    assert "UIDs stay, but" not in text


def test_attributes_beyond_the_table_are_sampled_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\n")
    kept = beyond_the_table(read_recipe(str(path)))
    _, text = run(str(path))
    assert f"Beyond the table: {len(kept)} potentially identifying attributes are kept" in text
    samples = [
        line for line in text[text.index("Beyond the table") :].splitlines() if line[0] == " "
    ]
    by_kind: dict[str, list[str]] = {}
    for one in kept:
        by_kind.setdefault(str(one.holds), []).append(one.name)
    assert len(samples) == len(by_kind)
    for kind, names in by_kind.items():
        rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
        assert f"  {kind}: {', '.join(names[:8])}{rest}" in samples
    assert "Beyond the table: no potentially" in run("default")[1]


def test_kept_uids_with_dates_are_reported(tmp_path: Path) -> None:
    assert (
        "UIDs are kept, but those that contain a date are remapped" in run("default-retain-uids")[1]
    )
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE ALL\nKEEP StudyInstanceUID\n")
    _, text = run(str(path))
    assert "UIDs are kept unchanged, StudyInstanceUID among them" in text
    assert f"{len(cover(read_recipe(str(path))).dated_uids)} UIDs are kept unchanged" in text
