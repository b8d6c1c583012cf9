"""Identification: the same rules for a run and for the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from sendit.batch import Status
from sendit.cli.app import app
from sendit.coded_study import CodedStudy
from sendit.errors import FailBatch, SenditError
from sendit.identifiers.identity import IdentityRules
from sendit.identifiers.local import LocalService
from sendit.identifiers.models import Answer, Request
from sendit.keys import Keys
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.identify import coded_study, identify_batch
from sendit.pipeline.intake import import_batch
from sendit.pipeline.load_recipe import load_recipe
from sendit.workspace import Workspace
from testing.builder import write_study

KEYS = Keys(b"k" * 32)
PARAMS = BatchParams("s", "c", "default")
REFUSE = IdentityRules(unknown_ids="refuse")


class Site:
    """A ledger, and batches taken through import and identify."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.count = 0

    def imported(self, folder: Path) -> str:
        self.count += 1
        self.ledger.enqueue([(f"{self.count:064d}", str(folder))], PARAMS)
        (batch_id,) = self.ledger.claim(f"r{self.count}", 1)
        workspace = Workspace(self.folder / "work", batch_id)
        status = import_batch(self.ledger, workspace, folder, load_recipe("default"), KEYS)
        assert status is Status.PROCESSING
        return batch_id

    def identified(self, folder: Path, rules: IdentityRules | None = None) -> CodedStudy:
        batch_id = self.imported(folder)
        service = LocalService("s", KEYS, self.ledger)
        batch = self.ledger.batch(batch_id)
        coded = identify_batch(self.ledger, batch, service, rules or IdentityRules())
        assert coded_study(self.ledger, batch) == coded
        return coded


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_same_patient_id_of_two_issuers_gets_two_codes(site: Site, tmp_path: Path) -> None:
    for name, study in (("NORTHGATE", 1), ("SOUTHMOOR", 2)):
        write_study(
            tmp_path / name,
            study=study,
            instances=1,
            IssuerOfPatientID=name,
            AccessionNumber="A0001",
        )
    north, south = (site.identified(tmp_path / name) for name in ("NORTHGATE", "SOUTHMOOR"))
    assert north.patient_code != south.patient_code
    assert north.study_code != south.study_code
    joined = IdentityRules(patient_sources={"*": "Stanford MRN"})
    assert (
        site.identified(tmp_path / "NORTHGATE", joined).patient_code
        == site.identified(tmp_path / "SOUTHMOOR", joined).patient_code
    )


@pytest.mark.parametrize(
    "elements",
    [{"PatientID": ""}, {"PatientID": "UNKNOWN"}, {"AccessionNumber": None}],
)
def test_tasks_and_the_command_line_apply_the_same_rule(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: dict[str, Any]
) -> None:
    monkeypatch.setenv("SENDIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SENDIT_KEY_FILE", raising=False)
    folders = [tmp_path / "a", tmp_path / "b"]
    for study, folder in enumerate(folders, start=1):
        write_study(folder, study=study, instances=1, **elements)
    by_run = {site.identified(folder).study_code for folder in folders}
    assert len(by_run) == 2
    codes = set()
    for folder in folders:
        out = folder.with_suffix(".out")
        result = CliRunner().invoke(app, ["deid", str(folder), "--out", str(out)])
        assert result.exit_code == 0, result.output
        (member,) = out.glob("*.dcm")
        codes.add(str(pydicom.dcmread(member).AccessionNumber))
    assert len(codes) == 2

    monkeypatch.setenv("SENDIT_UNKNOWN_IDS", "refuse")
    refused = CliRunner().invoke(app, ["deid", str(folders[0]), "--out", str(tmp_path / "c")])
    assert isinstance(refused.exception, SenditError)
    with pytest.raises(FailBatch) as failed:
        site.identified(folders[0], REFUSE)
    assert str(failed.value) == str(refused.exception)


def test_the_response_of_an_earlier_attempt_is_replaced(site: Site, tmp_path: Path) -> None:
    write_study(tmp_path / "a", instances=1)
    batch_id = site.imported(tmp_path / "a")
    service = LocalService("s", KEYS, site.ledger)
    first = identify_batch(site.ledger, site.ledger.batch(batch_id), service, IdentityRules())
    header = site.ledger.identifier(batch_id, "header")
    assert header is not None
    site.ledger.put_identifier(batch_id, "header", header | {"00100020": "ANOTHER"})
    second = identify_batch(site.ledger, site.ledger.batch(batch_id), service, IdentityRules())
    assert second.patient_code != first.patient_code
    assert coded_study(site.ledger, site.ledger.batch(batch_id)) == second


def test_nothing_is_stored_if_the_service_fails(site: Site, tmp_path: Path) -> None:
    class Broken:
        def identify(self, request: Request) -> Answer:
            raise FailBatch("no")

    write_study(tmp_path / "a", instances=1)
    batch_id = site.imported(tmp_path / "a")
    with pytest.raises(FailBatch):
        identify_batch(site.ledger, site.ledger.batch(batch_id), Broken(), IdentityRules())
    with pytest.raises(FailBatch, match=f"batch {batch_id} has no identifiers; clear its dasher"):
        coded_study(site.ledger, site.ledger.batch(batch_id))


def test_identify_requires_import(site: Site) -> None:
    site.ledger.enqueue([("0" * 64, "/nowhere")], PARAMS)
    (batch_id,) = site.ledger.claim("r", 1)
    service = LocalService("s", KEYS, site.ledger)
    with pytest.raises(FailBatch, match="has no header values; clear its import task"):
        identify_batch(site.ledger, site.ledger.batch(batch_id), service, IdentityRules())


@pytest.mark.parametrize("kind", ["request", "answer"])
def test_an_incomplete_response_fails_the_batch(site: Site, tmp_path: Path, kind: str) -> None:
    write_study(tmp_path / "a", instances=1)
    batch_id = site.imported(tmp_path / "a")
    identify_batch(
        site.ledger,
        site.ledger.batch(batch_id),
        LocalService("s", KEYS, site.ledger),
        IdentityRules(),
    )
    kept = site.ledger.identifier(batch_id, kind)
    site.ledger.record(batch_id, status=Status.ERROR)
    assert site.ledger.delete_identifiers(batch_id)
    site.ledger.put_identifier(batch_id, kind, json.loads(json.dumps(kept)))
    with pytest.raises(FailBatch, match="has no identifiers"):
        coded_study(site.ledger, site.ledger.batch(batch_id))
