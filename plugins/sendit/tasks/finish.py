"""Tasks after delivery: cleanup, the follow-on run while batches wait, and the report."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.batch import Status
from sendit.errors import SenditError, TakenOver, joined, keep_failure
from sendit.tasks.google import bigquery_client, storage_client
from sendit.tasks.guard import guarded
from sendit.tasks.site import fail_batch, is_active, ledger, own_run, settings, takes_all

if TYPE_CHECKING:
    from sendit.ledger import Delivery

logger = logging.getLogger(__name__)


@task(
    trigger_rule="all_done",
    doc_md="Delete working files and stored identifiers of finished batches; keep or delete "
    "originals as configured; rename folders with bad files to `.err`.",
    execution_timeout=timedelta(hours=2),
    retries=3,
)
def cleanup() -> None:
    """Clean up after every batch of this run, and what runs that have ended left; a batch that
    cannot be cleaned stops no other."""
    with guarded():
        from sendit import ownership
        from sendit.cleanup import to_clean

        own = own_run()
        batches, stages = to_clean(ledger(), settings()), ledger().stages()
        strays = [(stray, ledger().batch(stray.batch_id).holder) for stray in ledger().strays()]
        keys = {each for each in [*(b.holder for b in batches), *(h for _, h in strays)] if each}
        runs = ledger().runs({*keys, *(stage.holder for stage in stages)})
        ended = {run.key for run in ownership.ended(ledger(), runs, own, is_active)}
        failures = _clean([each.id for each in batches if each.holder in {own.key, *ended}])
        with keep_failure(failures, "stores"):
            _clean_stores([stray for stray, holder in strays if holder in {own.key, *ended}], ended)
        if failures:
            raise joined(failures)


def _clean(batch_ids: list[str]) -> dict[str, SenditError]:
    """Clean up after batches; return why it was not possible for some."""
    from sendit.cleanup import clean_batch

    keys = settings().keys()
    failures: dict[str, SenditError] = {}
    for batch_id in batch_ids:
        with keep_failure(failures, batch_id):
            clean_batch(ledger(), settings(), keys, batch_id)
    return failures


def _clean_stores(strays: list[Delivery], ended: set[str]) -> None:
    """Remove from bucket and table what was put there for nothing; ask Google only if there is
    something."""
    from sendit.delivery.leftovers import remove_stages, retract_strays, stages_left

    stages = stages_left(ledger(), ended)
    if strays or stages:
        clients = storage_client(), bigquery_client()
        retract_strays(ledger(), strays, *clients)
        remove_stages(ledger(), settings().work, stages, *clients)


@task(
    trigger_rule="all_done",
    doc_md="Trigger the run that takes the next batches, while any wait in the queue.",
    execution_timeout=timedelta(minutes=10),
    retries=3,
)
def follow_on() -> None:
    """Trigger the next run, or be skipped when the queue is dry.

    The next run's id is made from this one's key, so that clearing this task starts no second
    one, and a run of the same id that is made anew does start one.
    """
    context = get_current_context()
    with guarded():
        # 0.7 CPU seconds to import: not at the top, which every task instance would pay.
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        params = context["params"]
        key = own_run().key
        taken = len(ledger().claimed_by(key))
        number = None if takes_all(context) else params["number"] - taken
        if not taken or number == 0 or not ledger().queued():
            raise AirflowSkipException("no batch waits: no follow-on run")
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        TriggerDagRunOperator(
            task_id="follow_on",
            trigger_dag_id=context["dag"].dag_id,
            trigger_run_id=f"follow_on__{digest}",
            conf={**params, "number": number},
            skip_when_already_exists=True,
        ).execute(context)


@task(
    trigger_rule="all_done",
    doc_md="Write the metrics; fail the run if any batch failed.",
    execution_timeout=timedelta(minutes=10),
)
def report() -> None:
    """Write the processing times and say which batches failed, if any.

    A batch that is in no final state by now had a task that was killed or gave up: it is in
    error too.
    """
    with guarded():
        from sendit.ledger import FINAL
        from sendit.metrics import default_name, write_metrics

        key = own_run().key
        for batch in ledger().batches_held_by(key):
            if batch.status not in FINAL:
                with suppress(TakenOver):
                    fail_batch(batch.id, "run", f"the run ended while it was {batch.status}")
        found = ledger().batches_held_by(key)
        problem: dict[str, SenditError] = {}
        with keep_failure(problem, "metrics"):
            folder = settings().home_folder / "metrics"
            write_metrics(ledger().all_batches(), folder / default_name())
        for batch in found:
            logger.info(
                "batch %s: %s%s; %s; %s",
                batch.id,
                batch.status,
                " with errors" if batch.has_error else "",
                batch.tally,
                batch.reasons,
            )
        failed = [batch.id for batch in found if batch.status is Status.ERROR]
        if failed:
            raise AirflowFailException(
                f"{len(failed)} of {len(found)} batches failed: {', '.join(failed)}; all others "
                "were delivered. See why with: sendit batches --errors; mend it, then clear "
                "the failed task of each" + "".join(f"; {error}" for error in problem.values())
            )
        if problem:
            raise joined(problem)
        logger.info("%d batches, none failed", len(found))
