"""The command: its output, files and exit codes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from sendit import __version__
from sendit.batch import BatchError, Status
from sendit.cli.app import app
from sendit.errors import RetryLater
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.intake import import_batch
from sendit.pipeline.load_recipe import load_recipe
from sendit.settings import read_settings
from sendit.workspace import Workspace
from testing.builder import to_bytes, write_study
from tests.pixels.images import dataset, tissue

run = CliRunner().invoke
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SENDIT_LEDGER_URL", "AIRFLOW_CONN_SENDIT_LEDGER", "SENDIT_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SENDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SENDIT_LEDGER", "embedded")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two_batches(home: Path) -> list[str]:
    ledger = Ledger(f"sqlite:///{home}/home/ledger.db")
    folders = [("a" * 64, str(home / "in" / "ACC1")), ("b" * 64, "/gone/ACC2")]
    ledger.enqueue(folders, BatchParams("s", "c", "d"))
    good, bad = ledger.claim("r", 2)
    ledger.start(good)
    ledger.record(good, status=Status.DONE, bytes_in=1024)
    ledger.record(
        bad, status=Status.ERROR, errors=[BatchError("import", "truncated", 2, (3, 4))], stage="x"
    )
    ledger.close()
    return [good, bad]


def test_version() -> None:
    assert run(app, ["--version"]).output == f"sendit {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["deid"],
        ["batches"],
        ["metrics"],
        ["recipe", "check"],
        ["rules", "wanted"],
        ["rules", "draft"],
        ["key"],
        ["requeue"],
        ["history"],
        ["withdraw"],
        ["verify"],
        ["adopt"],
        ["doctor"],
    ],
)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_key_is_created_once(home: Path) -> None:
    assert run(app, ["key", "site.key"]).exit_code == 0
    assert stat.S_IMODE((home / "site.key").stat().st_mode) == 0o600
    assert run(app, ["key", "site.key"]).exit_code != 0


@pytest.mark.airflow
def test_no_ledger_is_created_unless_configured(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SENDIT_LEDGER")
    result = run(app, ["batches"])
    assert isinstance(result.exception, RetryLater)
    assert "connection sendit_ledger cannot be read" in str(result.exception)
    assert not (home / "home").exists()


def test_batches_of_an_empty_ledger(home: Path) -> None:
    assert "no batches" in run(app, ["batches"]).output
    assert "no batch has an error" in run(app, ["batches", "--errors"]).output


def test_batches_and_errors(two_batches: list[str]) -> None:
    good, bad = two_batches
    output = run(app, ["batches"]).output
    assert good in output and bad in output and "DONE" in output
    output = run(app, ["batches", "--errors"]).output
    assert good not in output
    assert "import: 2 x truncated (files 3, 4)" in output
    assert "ACC" not in output


def test_missing_rules_and_drafts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no image needs" in run(app, ["rules", "wanted"]).output
    monkeypatch.setenv("SENDIT_INPUT_FOLDERS", str(home / "in"))
    assert run(app, ["key", "site.key"]).exit_code == 0
    monkeypatch.setenv("SENDIT_KEY_FILE", str(home / "site.key"))
    folder = home / "in" / "ACC1"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        path = folder / f"{number}.dcm"
        path.write_bytes(to_bytes(dataset(tissue(), instance=number, SOPClassUID=SECONDARY)))
    settings = read_settings()
    ledger = Ledger(f"sqlite:///{home}/home/ledger.db")
    digest = settings.keys().digest("folder", str(folder).encode())
    ledger.enqueue([(digest, str(folder))], BatchParams("s", "c", "default"))
    (batch,) = ledger.claim("r", 1)
    work = Workspace(home / "work", batch)
    import_batch(ledger, work, folder, load_recipe("default"), settings.keys())
    ledger.close()

    (line,) = run(app, ["rules", "wanted", "--json"]).output.splitlines()
    wanted = json.loads(line)
    assert (wanted["files"], wanted["batches"]) == (3, [batch])
    assert wanted["key"] in run(app, ["rules", "wanted"]).output
    done = run(app, ["rules", "draft", wanted["key"], "--out", "draft"])
    assert done.exit_code == 0 and batch in done.output
    assert stat.S_IMODE((home / "draft").stat().st_mode) == 0o700
    names = sorted(path.name for path in (home / "draft").iterdir())
    assert names == [*(f"{wanted['key']}-{number}.png" for number in (1, 2, 3)), "draft.deid"]
    assert run(app, ["recipe", "check", f"default,{home}/draft/draft.deid"]).exit_code == 0
    again = run(app, ["rules", "draft", wanted["key"], "--out", "draft"])
    assert "--out already exists" in str(again.exception)


def test_batches_as_json(two_batches: list[str]) -> None:
    lines = run(app, ["batches", "--json"]).output.splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["id"] for entry in entries] == two_batches
    assert entries[0]["delivered"] == 0
    assert "folder_digest" not in entries[0]


def test_metrics_file_name(two_batches: list[str], home: Path) -> None:
    assert run(app, ["metrics"]).exit_code == 0
    assert len(list(home.glob("sendit-process-time-*.tsv"))) == 1
    assert "2 batches" in run(app, ["metrics", "--out", "m.tsv"]).output
    assert two_batches[0] in (home / "m.tsv").read_text()


def test_requeue_selection(two_batches: list[str], home: Path) -> None:
    good, bad = two_batches
    assert run(app, ["requeue"]).exit_code == 2
    for option in (["--run", "other"], ["--reason", "no such"], ["--stage", "dasher"]):
        assert run(app, ["requeue", *option]).exit_code == 1
    ledger = Ledger(f"sqlite:///{home}/home/ledger.db")
    for option in (["--run", "r"], ["--reason", "TRUNC"], ["--stage", "import"], ["--all"]):
        ledger.record(
            bad, status=Status.ERROR, errors=[BatchError("import", "truncated")], stage="import"
        )
        result = run(app, ["requeue", *option])
        assert (result.exit_code, good in result.output, bad in result.output) == (0, False, True)
        ledger.claim("r", 1)
    ledger.close()


def test_requeue_with_other_params(two_batches: list[str], home: Path) -> None:
    bad = two_batches[1]
    ledger = Ledger(f"sqlite:///{home}/home/ledger.db")
    for wrong in (["--study", "../x"], ["--recipe", "defualt"]):
        assert run(app, ["requeue", bad, *wrong]).exit_code != 0
        assert ledger.batch(bad).status is Status.ERROR
    assert run(app, ["requeue", bad, "--study", "knee", "--recipe", "default"]).exit_code == 0
    assert ledger.batch(bad).params == BatchParams("knee", "knee", "default")
    # A queued batch can be given other params, too.
    assert run(app, ["requeue", bad]).exit_code == 1
    assert run(app, ["requeue", bad, "--revise"]).exit_code == 0
    assert ledger.batch(bad).params == BatchParams("knee", "knee", "default", revise=True)
    assert ledger.claim("next", 5) == [bad]
    assert run(app, ["requeue", bad, "--study", "hip"]).exit_code == 1
    assert ledger.batch(bad).params.study == "knee"
    ledger.close()


def test_requeue_refuses_batches_that_did_not_fail(two_batches: list[str]) -> None:
    good, bad = two_batches
    assert run(app, ["requeue", bad]).exit_code == 0
    assert run(app, ["requeue", good]).exit_code != 0


def test_history_of_an_undelivered_batch(two_batches: list[str]) -> None:
    assert "this batch has delivered nothing" in run(app, ["history", two_batches[0]]).output


def test_lookup_prints_the_folder(
    two_batches: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "in" / "ACC1").mkdir(parents=True)
    monkeypatch.setenv("SENDIT_INPUT_FOLDERS", str(home / "in"))
    assert run(app, ["key", "site.key"]).exit_code == 0
    monkeypatch.setenv("SENDIT_KEY_FILE", str(home / "site.key"))
    run(app, ["key", "site.key"])
    monkeypatch.setenv("SENDIT_KEY_FILE", str(home / "site.key"))
    assert run(app, ["lookup", two_batches[0]]).output.strip() == str(home / "in" / "ACC1")
    assert run(app, ["lookup", two_batches[1]]).exit_code != 0


@pytest.mark.filterwarnings("ignore")
def test_recipe_combined_with_the_default(home: Path) -> None:
    (home / "ours.deid").write_text("FORMAT dicom\n%header\nKEEP DeviceSerialNumber\n")
    (home / "default").mkdir()  # a bundled name keeps its meaning
    write_study(home / "in", instances=1, DeviceSerialNumber="SN7731845")
    checked = run(app, ["recipe", "check", "default,ours.deid"])
    assert checked.exit_code == 0, checked.output
    assert checked.output == run(app, ["recipe", "check", "default", f"{home}/ours.deid"]).output
    done = run(app, ["deid", "in", "--out", "out", "--recipe", "default, ours.deid"])
    assert done.exit_code == 0, done.output
    (file,) = (home / "out").glob("*.dcm")
    assert dcmread(file).DeviceSerialNumber == "SN7731845"
    assert "DOE" not in str(dcmread(file).PatientName)
    wrong = run(app, ["recipe", "check", "default,"])
    assert wrong.exit_code == 1


@pytest.mark.airflow
def test_doctor_prints_findings_and_exit_code(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "incoming").mkdir()
    monkeypatch.setenv("SENDIT_INPUT_FOLDERS", str(home / "incoming"))
    monkeypatch.setenv("SENDIT_BUCKET", "archives")
    result = run(app, ["doctor"])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "ok     settings: all values are valid" in lines
    assert any(line.startswith("?      input folder 1: has no accession folder") for line in lines)
    assert any(line.startswith("WRONG  bucket: ") for line in lines)
