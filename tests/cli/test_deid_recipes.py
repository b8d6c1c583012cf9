"""The recipes of deid, and of the service that sendit replaces, run through ``sendit deid``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import deid
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from demo.samples import make_samples
from sendit.cli.app import app
from sendit.recipe.fix import fix
from testing.builder import write_study

run = CliRunner().invoke

#: som's recipe as documented. deid gets the identifiers' values as variables.
SOM = """\
FORMAT dicom

%header

REPLACE PatientID var:entity_id
REPLACE SOPInstanceUID var:item_id
ADD PatientIdentityRemoved "Yes"
REPLACE PatientBirthDate var:entity_timestamp
REPLACE InstanceCreationDate var:item_timestamp
REPLACE InstanceCreationTime var:item_timestamp
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENDIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SENDIT_KEY_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def delivered(home: Path, kind: str, recipe: str) -> list[Path]:
    """Return the files that ``sendit deid`` writes for a study; all must be delivered."""
    write_study(home / "in", kind=kind, instances=2)
    done = run(app, ["deid", "in", "--out", "out", "--recipe", recipe])
    assert done.exit_code == 0, done.output
    files = sorted((home / "out").glob("*.dcm"))
    assert len(files) == 2
    return files


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["CT", "MR"])
@pytest.mark.parametrize("name", ["deid.dicom", "deid.dicom.ultrasound", "deid.dicom.xray.chest"])
def test_recipes_shipped_with_deid_run_after_fix(name: str, kind: str, home: Path) -> None:
    theirs = Path(deid.__file__).parent / "data" / name
    fixed = run(app, ["recipe", "fix", str(theirs), "--output", "fixed.deid"])
    assert fixed.exit_code == 0, fixed.output
    for path in delivered(home, kind, "fixed.deid"):
        dataset = dcmread(path)
        assert len(dataset.pixel_array)
        if name != "deid.dicom.xray.chest":  # a list of devices; its header keeps everything
            assert "PatientName" not in dataset


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["CT", "MR"])
def test_recipe_of_the_predecessor_runs_unchanged(kind: str, home: Path) -> None:
    (home / "deid.som").write_text(SOM)
    first, second = map(dcmread, delivered(home, kind, "deid.som"))
    assert first.PatientIdentityRemoved == "YES"
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.InstanceCreationTime in ("", None)
    assert first.PatientID == second.PatientID


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the demo's samples."""
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accession", ["7000003", "7000008"])  # an MR study, and US, DX and MG
@pytest.mark.parametrize("name", ["som", "dicom", "dicom.ultrasound", "dicom.xray.chest"])
def test_the_gate_stops_no_sample_of_the_demo(
    name: str, accession: str, samples: Path, home: Path
) -> None:
    recipe = home / f"deid.{name}"
    theirs = Path(deid.__file__).parent / "data" / f"deid.{name}"
    recipe.write_text(SOM if name == "som" else fix(name, theirs.read_text()).text)
    run(app, ["deid", str(samples / accession), "--out", "out", "--recipe", str(recipe)])
    files = json.loads((home / "out" / "manifest.json").read_text())["files"]
    assert not [file["reason"] for file in files if "last gate" in (file["reason"] or "")]
    outcomes = Counter(file["outcome"] for file in files)
    assert outcomes["delivered"] + outcomes["filtered"] >= 2
    for path in (home / "out").glob("*.dcm"):
        assert dcmread(path).get("AccessionNumber") != accession
