"""What people do to runs in Airflow's UI: each batch still finishes once, in the next run."""

from __future__ import annotations

import urllib.error
import urllib.parse

import pytest

from testing.builder import write_study
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e


def path_of(run_id: str) -> str:
    return f"/dags/sendit/dagRuns/{urllib.parse.quote(run_id, safe='')}"


def mark(site: Site, run_id: str, state: str) -> None:
    """Mark a run, as a person does in the grid, unless it has ended in the meantime."""
    try:
        site.press("PATCH", path_of(run_id), {"state": state})
    except urllib.error.HTTPError as error:
        assert error.code in {409, 422}


def nothing_is_left(site: Site) -> None:
    """Look for leftovers of finished batches; those in ERROR wait for a person."""
    ended = "SELECT id FROM batches WHERE status IN ('DONE', 'EMPTY')"
    assert site.stack.ledger(f"SELECT * FROM identifiers WHERE batch_id IN ({ended})") == []
    assert site.stack.ledger("SELECT * FROM stages WHERE dropped_at IS NULL") == []
    folders = {each.name for each in (site.stack.home / "work").glob("b*")}
    assert folders.isdisjoint(each["id"] for each in site.stack.ledger(ended))
    assert not [each for each in site.stack.objects() if each["name"].startswith("Stage/")]
    assert not [name for name in site.stack.tables() if ".stage_" in name]


@pytest.mark.parametrize(
    ("state", "task", "deleted"),
    [
        ("failed", "process.import", True),
        ("success", "process.anonymize", False),
        ("failed", "upload.stage", True),
    ],
)
def test_unfinished_batches_are_continued_by_the_next_run(
    site: Site, state: str, task: str, deleted: bool
) -> None:
    name = f"left-{task.rpartition('.')[2]}"
    write_study(site.inputs / name / "A1", patient=61, study=len(name))
    write_study(site.inputs / name / "A2", patient=62, study=len(name), kind="MR")
    first = site.trigger(name)
    site.wait_for_task(first, task, "running")
    mark(site, first, state)
    site.wait(first)
    if deleted:
        site.stack.api("DELETE", path_of(first))
    second = site.run(name)
    assert site.state(second) == "success", site.explain(second)
    batches = [*site.batches(first), *site.batches(second)]
    assert {batch["status"] for batch in batches} == {"DONE"}
    assert len(batches) == 2
    assert len(site.deliveries(first)) + len(site.deliveries(second)) == 2
    nothing_is_left(site)


def test_a_reused_run_id_takes_the_current_folders(site: Site) -> None:
    folder = site.inputs / "same-id"
    write_study(folder / "A1", patient=63, study=1)
    run_id = site.run("same-id")
    assert site.state(run_id) == "success", site.explain(run_id)
    site.stack.api("DELETE", path_of(run_id))
    write_study(folder / "A2", patient=64, study=1)
    body = {
        "conf": {"number": None, "subfolder": "same-id"},
        "logical_date": None,
        "dag_run_id": run_id,
    }
    site.stack.api("POST", "/dags/sendit/dagRuns", body)
    assert site.wait(run_id) == "success", site.explain(run_id)
    assert [batch["status"] for batch in site.batches(run_id)] == ["DONE", "DONE"]
    assert len(site.delivered(run_id).objects) == 2
    nothing_is_left(site)


def test_clearing_import_of_an_empty_batch_leaves_no_files(site: Site) -> None:
    write_study(site.inputs / "empty" / "A1", patient=65, study=1, kind="SR")
    run_id = site.run("empty")
    assert [batch["status"] for batch in site.batches(run_id)] == ["EMPTY"]
    nothing_is_left(site)
    site.clear(run_id, "process.import", 0, downstream=False)
    assert site.wait(run_id) == "success", site.explain(run_id)
    again = site.run("empty")
    assert site.state(again) == "success", site.explain(again)
    nothing_is_left(site)
