"""Clearing task instances in the UI leads to the same delivered result."""

from __future__ import annotations

import pytest

from testing.builder import write_study
from tests.e2e.site import Delivered, Site

pytestmark = pytest.mark.e2e

SUBFOLDER = "again"


@pytest.fixture(scope="module")
def run_id(site: Site) -> str:
    folder = site.inputs / SUBFOLDER
    write_study(folder / "A1", patient=11, study=1)
    write_study(folder / "A2", patient=12, study=1, kind="MR")
    run_id = site.run(SUBFOLDER)
    assert site.state(run_id) == "success", site.explain(run_id)
    return run_id


@pytest.fixture(scope="module")
def delivered(site: Site, run_id: str) -> Delivered:
    delivered = site.delivered(run_id)
    assert len(delivered.objects) == len(delivered.rows) == len(delivered.deliveries) == 2
    return delivered


@pytest.mark.parametrize(
    "cleared",
    [
        ("process.dasher", 1, True),
        ("process.anonymize", 0, False),
        ("upload.archives", 0, True),
        ("upload.load", None, False),
        ("discover", None, True),
    ],
    ids=lambda cleared: f"{cleared[0]}[{cleared[1]}]{' and on' if cleared[2] else ''}",
)
def test_clearing_after_delivery_changes_nothing(
    site: Site,
    run_id: str,
    delivered: Delivered,
    cleared: tuple[str, int | None, bool],
) -> None:
    task_id, map_index, downstream = cleared
    site.clear(run_id, task_id, map_index, downstream=downstream)
    assert site.wait(run_id) == "success", site.explain(run_id)
    assert site.delivered(run_id) == delivered
    assert {batch["status"] for batch in site.batches(run_id)} == {"DONE"}


def test_clearing_during_upload_gives_one_archive_and_one_row(site: Site) -> None:
    folder = site.inputs / "meanwhile"
    write_study(folder / "A1", patient=13, study=1)
    run_id = site.trigger("meanwhile")
    site.wait_for_task(run_id, "upload.archives", "running")
    site.clear(run_id, "process.dasher", 0)
    assert site.wait(run_id) == "success", site.explain(run_id)
    delivered = site.delivered(run_id)
    assert len(delivered.objects) == len(delivered.rows) == len(delivered.deliveries) == 1


def test_a_run_without_batches_succeeds(site: Site) -> None:
    run_id = site.run("nothing")
    assert site.state(run_id) == "success", site.explain(run_id)
    assert "no batch is ready: nothing to do in this run" in site.log(run_id, "discover")
    assert site.batches(run_id) == []


def test_follow_on_runs_until_the_number_is_reached(configured: Site) -> None:
    site = configured
    site.stack.configure(SENDIT_BATCHES_PER_RUN="1")
    for number in (1, 2, 3):
        write_study(site.inputs / "some" / f"A{number}", patient=40 + number, instances=1)
    earlier = {run["dag_run_id"] for run in site.stack.runs()}
    first = site.run("some", number=2)
    # The next run exists before the first has ended.
    (second,) = {run["dag_run_id"] for run in site.stack.runs()} - earlier - {first}
    site.wait(second)
    assert len(site.batches(first)) == len(site.batches(second)) == 1
    assert len({run["dag_run_id"] for run in site.stack.runs()} - earlier) == 2
    assert site.delivered(first).objects.keys().isdisjoint(site.delivered(second).objects)
