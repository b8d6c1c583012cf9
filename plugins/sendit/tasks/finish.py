"""Tasks after delivery: cleanup, the follow-on run while batches wait, and the report."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from sendit.batch import Status
from sendit.errors import RetryLater
from sendit.tasks.guard import guarded
from sendit.tasks.site import fail_batch, ledger, settings

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
        problems: list[str] = []
        for batch in ledger().batches_of_run(get_current_context()["run_id"]):
            try:
                clean_batch(ledger(), settings(), keys, batch.id)
            except RetryLater as error:
                problems.append(str(error))
        if problems:
            raise RetryLater("; ".join(problems))


@task.short_circuit(
    multiple_outputs=True,
    trigger_rule="all_done",
    ignore_downstream_trigger_rules=False,
    doc_md="Go on to a follow-on run while batches wait in the queue.",
    execution_timeout=timedelta(minutes=10),
    retries=3,
)
def more_waiting() -> dict[str, Any] | None:
    """Return the next run's id and conf, or None when the queue is dry.

    The id is made from this run's, so that clearing this task starts no second follow-on.
    """
    context = get_current_context()
    with guarded():
        params = context["params"]
        taken = len(ledger().batches_of_run(context["run_id"]))
        scheduled = context["dag_run"].run_type == "scheduled"
        number = None if scheduled or params["number"] is None else params["number"] - taken
        if not taken or (number is not None and number < 1) or not ledger().queued():
            return None
        digest = hashlib.sha256(context["run_id"].encode()).hexdigest()[:16]
        return {"run_id": f"follow_on__{digest}", "conf": {**params, "number": number}}


def follow_on(next_run: Any) -> TriggerDagRunOperator:
    """Make the task that triggers the follow-on run."""
    return TriggerDagRunOperator(
        task_id="follow_on",
        doc_md="Trigger the run that takes the next batches.",
        trigger_dag_id="{{ dag.dag_id }}",
        trigger_run_id=next_run["run_id"],
        conf=next_run["conf"],
        skip_when_already_exists=True,
        retries=3,
        execution_timeout=timedelta(minutes=10),
    )


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
        write_metrics(ledger().all_batches(), settings().home_folder / "metrics" / default_name())
        for batch in found:
            logger.info(
                "batch %s: %s%s; %s; %s",
                batch.id,
                batch.status,
                " with errors" if batch.has_error else "",
                batch.counts,
                batch.reasons,
            )
        failed = [batch.id for batch in found if batch.status is Status.ERROR]
        if failed:
            raise AirflowFailException(
                f"{len(failed)} of {len(found)} batches failed: {', '.join(failed)}; all others "
                "were delivered. See why with: sendit batches --errors; mend it, then clear "
                "the failed task of each"
            )
        logger.info("%d batches, none failed", len(found))
