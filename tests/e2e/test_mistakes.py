"""User mistakes: the run fails, nothing is lost, and nothing is delivered to the wrong place."""

from __future__ import annotations

import json

import pytest

from testing.builder import write_study
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e


def test_a_wrong_ledger_connection_fails_the_run(configured: Site) -> None:
    site = configured
    site.run("nothing")  # creates the ledger's tables if this test runs first
    study = write_study(site.inputs / "typo" / "A1", patient=71)
    before = site.stack.ledger("SELECT * FROM batches ORDER BY id")
    objects = site.stack.objects()
    right = site.connections.read_text()
    (uri,) = json.loads(right).values()
    site.connections.write_text(json.dumps({"sendit_legder": uri}))
    try:
        run_id = site.trigger("typo")
        site.wait_for_task(run_id, "discover", "failed")
    finally:
        site.connections.write_text(right)
    assert site.wait(run_id) == "failed"
    assert "connection sendit_ledger cannot be read" in site.log(run_id, "discover")
    assert "tasks of the run failed, see their logs: discover" in site.log(run_id, "report")
    assert site.stack.ledger("SELECT * FROM batches ORDER BY id") == before
    assert site.stack.objects() == objects
    assert not (site.stack.home / "ledger.db").exists()
    assert all(path.exists() for path in study.files)

    site.clear(run_id, "discover")
    assert site.wait(run_id) == "success", site.explain(run_id)
    assert len(site.delivered(run_id).objects) == 1


def test_concurrent_runs_of_two_studies_keep_batches_apart(
    configured: Site,
) -> None:
    site = configured
    for number in (1, 2, 3):
        write_study(site.inputs / "between" / f"A{number}", patient=72, study=number)
    site.stack.configure(SENDIT_BATCHES_PER_RUN="1")
    runs = [site.trigger("between", study=study) for study in ("alpha", "beta")]
    assert [site.wait(run_id) for run_id in runs] == ["success", "success"]
    (taken,) = site.batches(runs[1])
    assert (taken["study"], taken["collection"]) == ("alpha", "alpha")
    while site.stack.ledger(
        "SELECT id FROM batches WHERE status NOT IN ('DONE', 'EMPTY', 'ERROR')"
    ):
        latest = site.stack.runs()[-1]["dag_run_id"]
        assert site.wait(latest) == "success", site.explain(latest)
    folders = {each["name"].split("/")[1] for each in site.stack.objects()}
    assert "alpha" in folders
    entities = [each["name"] for each in site.stack.objects() if "/Entity/" in each["name"]]
    assert len([name for name in entities if name.startswith("Collection/alpha/")]) == 3
    assert not [name for name in entities if name.startswith("Collection/beta/")]
    rows = {name: len(rows) for name, rows in site.stack.tables().items()}
    assert rows["alpha.dicom"] == 3
    assert not rows.get("beta.dicom")


def test_a_failed_discover_fails_the_run(site: Site) -> None:
    run_id = site.stack.trigger({"number": None, "subfolder": "not-there"})
    assert site.wait(run_id) == "failed"
    assert "subfolder is neither" in site.log(run_id, "discover")
    assert "tasks of the run failed, see their logs: discover" in site.log(run_id, "report")


def test_an_unknown_param_is_refused_with_a_suggestion(site: Site) -> None:
    write_study(site.inputs / "param" / "A1", patient=73)
    run_id = site.run("param", numbr=3)
    assert site.state(run_id) == "failed"
    assert "did you mean number" in site.log(run_id, "discover")
    assert site.batches(run_id) == []
