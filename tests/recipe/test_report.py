"""What `sendit recipe check` prints."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from sendit.recipe.report import check
from tests.recipe.test_parse import HEAD


def run(*paths: str) -> tuple[int, str]:
    out = io.StringIO()
    return check(paths, Console(file=out, width=120, highlight=False)), out.getvalue()


def test_a_bad_recipe_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}remove PatientID\nREMOVE [b]Patient\n")
    code, text = run(str(path))
    assert code == 1
    assert (
        f"{path}:3: remove is an action in the wrong case: deid skips the line\n    write REMOVE"
        in text
    )
    assert f"{path}:4: [b]Patient is not a DICOM keyword" in text
    assert "2 problems" in text


def test_the_default_recipe_exposes_nothing() -> None:
    code, text = run("default")
    assert code == 0
    assert "Nothing is exposed" in text
    assert "113100" in text


def test_what_a_recipe_leaves_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "mine.deid"
    path.write_text(f"{HEAD}REMOVE PatientID\nKEEP PatientName\n")
    code, text = run(str(path))
    assert code == 0
    assert "KEEP on" in text
    assert "PatientAddress" in text
    assert "no rule" in text
