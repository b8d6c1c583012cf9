"""Tasks after delivery: cleanup, the follow-on run while batches wait, and the report."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.batch import Status
from sendit.errors import SenditError, joined, keep_failure
from sendit.tasks.guard import guarded
from sendit.tasks.site import fail_batch, ledger, settings, takes_all

logger = logging.getLogger(__name__)


@task(
    trigger_rule="all_done",
    doc_md="Delete working files and stored identifiers of finished batches; keep or delete "
    "originals as configured; rename folders with bad files to `.err`.",
    execution_timeout=timedelta(hours=2),
    retries=3,
)
def cleanup() -> None:
    """Clean up after every batch of this run; one that cannot be cleaned stops no other."""
    with guarded():
        from sendit.cleanup import clean_batch

        keys = settings().keys()
        failures: dict[str, SenditError] = {}
        for batch in ledger().batches_of_run(get_current_context()["run_id"]):
            with keep_failure(failures, batch.id):
                clean_batch(ledger(), settings(), keys, batch.id)
        if failures:
            raise joined(failures)


@task(
    trigger_rule="all_done",
    doc_md="Trigger the run that takes the next batches, while any wait in the queue.",
    execution_timeout=timedelta(minutes=10),
    retries=3,
)
def follow_on() -> None:
    """Trigger the next run, or be skipped when the queue is dry.

    The next run's id is made from this one's, so that clearing this task starts no second one.
    """
    context = get_current_context()
    with guarded():
        # 0.7 CPU seconds to import: not at the top, which every task instance would pay.
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        params = context["params"]
        taken = len(ledger().batches_of_run(context["run_id"]))
        number = None if takes_all(context) else params["number"] - taken
        if not taken or number == 0 or not ledger().queued():
            raise AirflowSkipException("no batch waits: no follow-on run")
        digest = hashlib.sha256(context["run_id"].encode()).hexdigest()[:16]
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
    run_id = get_current_context()["run_id"]
    with guarded():
        from sendit.ledger import FINAL
        from sendit.metrics import default_name, write_metrics

        for batch in ledger().batches_of_run(run_id):
            if batch.status not in FINAL:
                fail_batch(batch.id, "run", f"the run ended while it was {batch.status}")
        found = ledger().batches_of_run(run_id)
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
