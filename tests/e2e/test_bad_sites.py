"""Misconfigured sites: a clear error in the UI, nothing lost, and fixing it is enough."""

from __future__ import annotations

import pytest

from testing.builder import write_study
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e


def test_an_invalid_recipe_names_file_and_line(configured: Site) -> None:
    site = configured
    recipe = site.inputs.parent / "mine.deid"
    recipe.write_text("FORMAT dicom\n\n%header\nREMOV PatientName\n")
    write_study(site.inputs / "garbage" / "A1", patient=31)
    run_id = site.run("garbage", recipe=str(recipe))
    assert site.state(run_id) == "failed"
    log = "".join(
        site.log(run_id, name, index)
        for (name, index), state in site.task_states(run_id).items()
        if state == "failed" and name != "report"
    )
    assert "mine.deid:4" in log
    assert "REMOVE" in log  # what to write instead
    assert site.deliveries(run_id) == []


def test_a_missing_bucket_is_named_and_creating_it_delivers(configured: Site) -> None:
    site = configured
    folder = site.inputs / "nobucket"
    study = write_study(folder / "A1", patient=32)
    before = [path.read_bytes() for path in study.files]
    site.stack.configure(SENDIT_BUCKET="no-such-bucket")
    run_id = site.run("nobucket")
    assert site.state(run_id) == "failed"
    assert "no-such-bucket" in site.log(run_id, "discover")
    assert site.batches(run_id) == []  # no batch was claimed
    assert [path.read_bytes() for path in study.files] == before

    site.stack.configure()
    site.clear(run_id, "discover")
    assert site.wait(run_id) == "success", site.explain(run_id)
    assert len(site.delivered(run_id).objects) == len(site.delivered(run_id).rows) == 1
