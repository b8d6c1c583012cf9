"""Whose batch it is when the run that took it has ended, or cannot be asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sendit.batch import Status
from sendit.errors import RetryLater
from sendit.ledger import BatchParams, Holder, Ledger, Run
from sendit.pipeline.ownership import ended, take_up

PARAMS = BatchParams("study", "c", "default")


class Airflow:
    """Runs that Airflow says are queued or running, and what it was asked."""

    def __init__(self, *active: str) -> None:
        self.active = {("sendit", name) for name in active}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, dag_id: str, run_id: str) -> bool:
        self.asked.append((dag_id, run_id))
        return (dag_id, run_id) in self.active


def holder(ledger: Ledger, run_id: str, started: str = "1", dag_id: str = "sendit") -> Holder:
    run = Run(dag_id, run_id, started=started)
    return Holder(ledger.run_key(run), dag_id, run_id)


@pytest.fixture
def batch(embedded_ledger: Ledger) -> str:
    """A batch that the run "earlier" works on."""
    embedded_ledger.enqueue([("d" * 64, "/in/A1")], PARAMS)
    key = holder(embedded_ledger, "earlier").key
    (batch_id,) = embedded_ledger.claim("earlier", 1, holder=key)
    embedded_ledger.record(batch_id, status=Status.DONEPROCESSING)
    return batch_id


def test_a_batch_stays_with_a_run_that_goes_on(embedded_ledger: Ledger, batch: str) -> None:
    own = holder(embedded_ledger, "own")
    take_up(embedded_ledger, own, Airflow("own", "earlier"))
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_a_batch_of_a_run_that_is_over_or_gone_is_taken_up(
    embedded_ledger: Ledger, batch: str
) -> None:
    own = holder(embedded_ledger, "own")
    take_up(embedded_ledger, own, Airflow("own"))
    assert embedded_ledger.claim("own", 1, holder=own.key) == [batch]


def test_a_run_of_the_same_id_takes_up_what_the_one_before_it_left(
    embedded_ledger: Ledger, batch: str
) -> None:
    own = holder(embedded_ledger, "earlier", started="2")
    airflow = Airflow("earlier")
    take_up(embedded_ledger, own, airflow)
    assert embedded_ledger.claim("earlier", 1, holder=own.key) == [batch]


def test_a_third_run_does_so_too_although_one_of_that_id_goes_on(
    embedded_ledger: Ledger, batch: str
) -> None:
    holder(embedded_ledger, "earlier", started="2")
    take_up(embedded_ledger, holder(embedded_ledger, "own"), Airflow("own", "earlier"))
    assert embedded_ledger.batch(batch).status is Status.QUEUE


def test_a_run_is_asked_for_in_the_dag_that_it_is_of(embedded_ledger: Ledger) -> None:
    other = holder(embedded_ledger, "run", dag_id="sendit_for_beta")
    airflow = Airflow("own")
    airflow.active.add(("sendit_for_beta", "run"))
    own = holder(embedded_ledger, "own")
    assert ended(embedded_ledger, [other], own, airflow) == []
    assert airflow.asked == [("sendit_for_beta", "run")]


def test_an_airflow_that_knows_not_even_this_run_is_not_believed(
    embedded_ledger: Ledger, batch: str
) -> None:
    with pytest.raises(RetryLater, match="this very run"):
        take_up(embedded_ledger, holder(embedded_ledger, "own"), Airflow())
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_an_airflow_that_does_not_answer_is_asked_later(
    embedded_ledger: Ledger, batch: str
) -> None:
    def away(dag_id: str, run_id: str) -> bool:
        raise RetryLater("away")

    asking: Callable[[str, str], bool] = away
    with pytest.raises(RetryLater, match="away"):
        take_up(embedded_ledger, holder(embedded_ledger, "own"), asking)
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_airflow_is_asked_nothing_when_nothing_is_left(embedded_ledger: Ledger) -> None:
    airflow = Airflow()
    take_up(embedded_ledger, holder(embedded_ledger, "own"), airflow)
    assert airflow.asked == []
