"""User actions on runs that have already ended."""

from __future__ import annotations

import random
from unittest.mock import create_autospec

import pytest

from chaos.faults import Fault, Run
from chaos.people import TooLate, act
from chaos.site import ChaosSite


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("requeue", "waiting for a batch in progress"),
        ("requeue what a run left", "waiting for a batch in progress"),
        ("mark group success", "waiting for a task group that can be marked success"),
        ("delete xcom", "waiting for a task to return a value"),
        ("clear task, with what came before", "waiting for a task to start"),
        ("mark task success", "none of 0 task instances"),
    ],
)
def test_an_action_on_an_ended_run_raises_too_late(action: str, why: str):
    site = create_autospec(ChaosSite, instance=True)
    site.run_state.return_value = "success"
    site.ledger.return_value = site.task_instances.return_value = site.started.return_value = []
    site.patient_api.return_value = {"xcom_entries": []}
    run = Run("manual__1", {}, 0.0, 1.0)
    with pytest.raises(TooLate, match=why):
        act(site, Fault("person", action), run, random.Random(1))
    site.sendit.assert_not_called()


def test_last_state_of_an_ended_run_is_read():
    site = create_autospec(ChaosSite, instance=True)
    site.run_state.return_value = "failed"
    site.ledger.return_value = [{"id": "b1"}]
    site.sendit.return_value = 0
    act(site, Fault("person", "requeue"), Run("manual__1", {}, 0.0, 1.0), random.Random(1))
    site.sendit.assert_called_once_with("requeue", "b1")
