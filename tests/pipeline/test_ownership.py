"""Who owns a batch when its run has ended or Airflow cannot be asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sendit.batch import Status
from sendit.errors import RetryLater
from sendit.ledger import BatchParams, Holder, Ledger, Run
from sendit.pipeline.ownership import ended, take_up

PARAMS = BatchParams("study", "c", "default")


class Airflow:
    """Runs that Airflow reports as queued or running, and the queries made."""

    def __init__(self, *active: str) -> None:
        self.active = {("sendit", name) for name in active}
        self.queries: list[tuple[str, str]] = []

    def __call__(self, dag_id: str, run_id: str) -> bool:
        self.queries.append((dag_id, run_id))
        return (dag_id, run_id) in self.active


def holder(ledger: Ledger, run_id: str, started: str = "1", dag_id: str = "sendit") -> Holder:
    run = Run(dag_id, run_id, started=started)
    return Holder(ledger.run_key(run), dag_id, run_id)


@pytest.fixture
def batch(embedded_ledger: Ledger) -> str:
    """A batch held by the run "earlier"."""
    embedded_ledger.enqueue([("d" * 64, "/in/A1")], PARAMS)
    key = holder(embedded_ledger, "earlier").key
    (batch_id,) = embedded_ledger.claim("earlier", 1, holder=key)
    embedded_ledger.record(batch_id, status=Status.DONEPROCESSING)
    return batch_id


def test_a_batch_stays_with_a_running_run(embedded_ledger: Ledger, batch: str) -> None:
    own = holder(embedded_ledger, "own")
    take_up(embedded_ledger, own, Airflow("own", "earlier"))
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_a_batch_of_an_ended_or_deleted_run_is_taken_over(
    embedded_ledger: Ledger, batch: str
) -> None:
    own = holder(embedded_ledger, "own")
    take_up(embedded_ledger, own, Airflow("own"))
    assert embedded_ledger.claim("own", 1, holder=own.key) == [batch]


def test_a_new_run_with_the_same_id_takes_over_its_batches(
    embedded_ledger: Ledger, batch: str
) -> None:
    own = holder(embedded_ledger, "earlier", started="2")
    airflow = Airflow("earlier")
    take_up(embedded_ledger, own, airflow)
    assert embedded_ledger.claim("earlier", 1, holder=own.key) == [batch]


def test_a_third_run_takes_over_although_a_run_with_that_id_is_running(
    embedded_ledger: Ledger, batch: str
) -> None:
    holder(embedded_ledger, "earlier", started="2")
    take_up(embedded_ledger, holder(embedded_ledger, "own"), Airflow("own", "earlier"))
    assert embedded_ledger.batch(batch).status is Status.QUEUE


def test_a_run_is_looked_up_in_its_own_dag(embedded_ledger: Ledger) -> None:
    other = holder(embedded_ledger, "run", dag_id="sendit_for_beta")
    airflow = Airflow("own")
    airflow.active.add(("sendit_for_beta", "run"))
    own = holder(embedded_ledger, "own")
    assert ended(embedded_ledger, [other], own, airflow) == []
    assert airflow.queries == [("sendit_for_beta", "run")]


def test_an_answer_that_omits_the_current_run_is_not_trusted(
    embedded_ledger: Ledger, batch: str
) -> None:
    with pytest.raises(RetryLater, match="this very run"):
        take_up(embedded_ledger, holder(embedded_ledger, "own"), Airflow())
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_an_unresponsive_airflow_raises_retry_later(embedded_ledger: Ledger, batch: str) -> None:
    def away(dag_id: str, run_id: str) -> bool:
        raise RetryLater("away")

    asking: Callable[[str, str], bool] = away
    with pytest.raises(RetryLater, match="away"):
        take_up(embedded_ledger, holder(embedded_ledger, "own"), asking)
    assert embedded_ledger.batch(batch).status is Status.DONEPROCESSING


def test_airflow_is_not_queried_without_unfinished_batches(embedded_ledger: Ledger) -> None:
    airflow = Airflow()
    take_up(embedded_ledger, holder(embedded_ledger, "own"), airflow)
    assert airflow.queries == []
