"""Tasks after delivery: cleanup, the follow-on run while batches wait, and the report."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.batch import Status
from sendit.digests import short_digest
from sendit.errors import SenditError, TakenOver, joined, keep_failure
from sendit.hooks.google import bigquery_client, storage_client
from sendit.hooks.site import ledger, settings
from sendit.tasks.error_boundary import error_boundary
from sendit.tasks.task_context import (
    TASK_FAILURE,
    fail_batch,
    is_active,
    own_run,
    run_params,
)

if TYPE_CHECKING:
    from sendit.ledger import Batch, Delivery

logger = logging.getLogger(__name__)


@task(
    trigger_rule="all_done",
    doc_md="Delete working files and stored identifiers of finished batches; keep or delete "
    "originals as configured; rename folders with bad files to `.err`.",
    execution_timeout=timedelta(hours=2),
    retries=3,
)
def cleanup() -> None:
    """Clean up this run's batches and whatever ended runs left behind; a batch that cannot be
    cleaned does not stop the others."""
    with error_boundary():
        from sendit.pipeline import ownership
        from sendit.pipeline.cleanup import to_clean

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
    from sendit.pipeline.cleanup import clean_batch

    keys = settings().keys()
    failures: dict[str, SenditError] = {}
    for batch_id in batch_ids:
        with keep_failure(failures, batch_id):
            clean_batch(ledger(), settings(), keys, batch_id)
    return failures


def _clean_stores(strays: list[Delivery], ended: set[str]) -> None:
    """Remove leftovers from bucket and table; Google is asked only if there are any."""
    from sendit.delivery.leftovers import remove_stages, retract_strays, stages_left

    stages = stages_left(ledger(), ended)
    if strays or stages:
        clients = storage_client(), bigquery_client()
        retract_strays(ledger(), strays, *clients)
        remove_stages(ledger(), settings().work, stages, *clients)


@task(
    trigger_rule="all_done",
    doc_md="Trigger the next run, as long as batches are waiting in the queue.",
    execution_timeout=timedelta(minutes=10),
    retries=3,
)
def follow_on() -> None:
    """Trigger the next run; skip if the queue is empty or if the cause that failed all batches of
    this run would fail the next ones too.

    The next run's id is derived from this run's key, so clearing this task does not start a
    second one, but a new run with the same id does.
    """
    context = get_current_context()
    with error_boundary():
        # Takes 0.7 CPU seconds to import, which every task instance would pay at module level.
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        params = run_params(context)
        key = own_run().key
        taken = ledger().claimed_by(key)
        number = None if params.number is None else params.number - len(taken)
        if not taken or number == 0 or not ledger().count_queued():
            raise AirflowSkipException("no batch is waiting: no follow-on run")
        if all_failed_from_outside(taken):
            raise AirflowSkipException(
                "all batches of this run failed for a reason outside them: no follow-on run. See "
                "the reason with: sendit batches --errors; once it is corrected, requeue them "
                f"with: sendit requeue --run {context['run_id']}"
            )
        TriggerDagRunOperator(
            task_id="follow_on",
            trigger_dag_id=context["dag"].dag_id,
            trigger_run_id=f"follow_on__{short_digest(key)}",
            conf=asdict(replace(params, number=number)),
            skip_when_already_exists=True,
        ).execute(context)


def all_failed_from_outside(batches: Sequence[Batch]) -> bool:
    """Whether all batches of a run failed, and none because of its content: each because of a
    setting or service, or several all for the same reason."""
    if not all(batch.status is Status.ERROR for batch in batches):
        return False
    last = [error for batch in batches for error in batch.errors if _is_task_failure(error)]
    if len({error["stage"] + error["reason"] for error in last}) == 1 < len(batches) == len(last):
        return True
    return all(
        any(_is_task_failure(error) and error.get("outside") for error in batch.errors)
        for batch in batches
    )


def _is_task_failure(error: dict[str, Any]) -> bool:
    return str(error["stage"]).endswith(TASK_FAILURE)


@task(
    trigger_rule="all_done",
    doc_md="Write the metrics; fail the run if any task or batch of it failed.",
    execution_timeout=timedelta(minutes=10),
)
def report() -> None:
    """Write the metrics, and fail if any task of the run failed.

    A run's state is that of its last task, which is this one, so it fails if any other task of
    the run failed. A batch that is not in a final state by now had a task that was killed or gave
    up, and is set to ERROR.
    """
    context = get_current_context()
    with error_boundary():
        from sendit.ledger import FINAL
        from sendit.pipeline.metrics import default_name, write_metrics

        key = own_run().key
        for batch in ledger().batches_held_by(key):
            if batch.status not in FINAL:
                with suppress(TakenOver):
                    fail_batch(batch.id, "run", f"the run ended while it was {batch.status}")
        held = ledger().batches_held_by(key)
        every = ledger().all_batches()
        unwritten: dict[str, SenditError] = {}
        with keep_failure(unwritten, "metrics"):
            write_metrics(every, settings().home_folder / "metrics" / default_name())
        for batch in held:
            logger.info("batch %s: %s", batch.id, batch.summary)
        problems = [
            *_failed_batches(held),
            *_blocked(every, context["params"].get("subfolder")),
            *_failed_tasks(context),
        ]
        if problems:
            raise AirflowFailException("; ".join([*problems, *map(str, unwritten.values())]))
        if unwritten:
            raise joined(unwritten)
        logger.info("%d batches, none failed", len(held))


def _failed_batches(held: Sequence[Batch]) -> list[str]:
    failed = [batch.id for batch in held if batch.status is Status.ERROR]
    if not failed:
        return []
    return [
        f"{len(failed)} of {len(held)} batches failed: {', '.join(failed)}; all others "
        "were delivered. See why with: sendit batches --errors; correct it, then clear "
        "the failed task of each, or requeue them with: sendit requeue"
    ]


def _blocked(every: Sequence[Batch], subfolder: str | None) -> list[str]:
    """Return messages about batches that stay in the queue because their preflight fails; a run
    on a subfolder considers only that subfolder's batches."""
    from sendit.pipeline.discover import QUEUE_STAGE

    reasons = [
        error["reason"]
        for batch in every
        for error in batch.errors
        if batch.status is Status.QUEUE
        and error["stage"] == QUEUE_STAGE
        and subfolder in {None, "", batch.subfolder}
    ]
    return [
        f"{count} batches stay in the queue: {reason}" for reason, count in Counter(reasons).items()
    ]


def _failed_tasks(context: Any) -> list[str]:
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[context["run_id"]])
    failed = Counter(
        re.sub(r"_\d+$", "", name)  # instances of a mapped task are listed one by one
        for name, state in states.get(context["run_id"], {}).items()
        if state == "failed" and name != ti.task_id
    )
    if not failed:
        return []
    named = (f"{name} ({count} times)" if count > 1 else name for name, count in failed.items())
    return [f"tasks of the run failed, see their logs: {', '.join(sorted(named))}"]
