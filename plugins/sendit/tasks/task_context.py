"""The context of a task: its run, the run's ledger, and the batch's working folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

from sendit.batch import BatchError, Status
from sendit.errors import Misconfigured, RetryLater, SenditError, TakenOver
from sendit.hooks.site import ledger, settings
from sendit.pipeline.run_params import RunParams, read_run_params
from sendit.tasks.error_boundary import error_boundary

if TYPE_CHECKING:
    from sendit.ledger import Batch, Holder, Ledger
    from sendit.workspace import Workspace

#: States of a run that has not ended.
ACTIVE = ["queued", "running"]
#: Suffix of the stage under which a task's own failure is recorded.
TASK_FAILURE = " task"

#: For tasks that call a service: retries with exponential backoff.
NETWORK_RETRIES: dict[str, Any] = {
    "retries": 5,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
}


def own_run() -> Holder:
    """Return this task's run as the ledger knows it."""
    from sendit.ledger import Holder, Run

    context = get_current_context()
    run = context["dag_run"]
    key = ledger().run_key(
        Run(
            dag_id=context["ti"].dag_id,
            run_id=context["run_id"],
            created=run.run_after.isoformat(),
            clears=run.clear_number or 0,
            started=run.start_date.isoformat() if run.start_date else "",
        )
    )
    return Holder(key, context["ti"].dag_id, context["run_id"])


def own_ledger() -> Ledger:
    """Return the ledger bound to this task's run."""
    return ledger().of_run(own_run().key)


def is_active(dag_id: str, run_id: str) -> bool:
    """Whether Airflow says that a run is queued or running.

    Raises
    ------
    RetryLater
        Airflow does not answer.
    """
    ti = get_current_context()["ti"]
    try:
        return bool(ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=ACTIVE))
    except AirflowRuntimeError:
        raise RetryLater(
            "Airflow's API server did not say whether earlier runs have ended; the task will be "
            "retried"
        ) from None


def workspace(batch_id: str) -> Workspace:
    """Return a batch's working folder."""
    from sendit.workspace import Workspace

    return Workspace(settings().work, batch_id)


@contextmanager
def working(batch_id: str, stage: str) -> Iterator[Batch]:
    """Work on a batch of this run inside the error boundary; failures are recorded in the ledger.

    A batch that another run has taken over is skipped: that run will produce its result.
    """
    with error_boundary():
        context = get_current_context()
        own = own_ledger()
        own.check_held(batch_id)
        batch = own.batch(batch_id)
        if batch.status is Status.ERROR:
            own.record(batch_id, status=Status.PROCESSING, errors=[], stage=failure_stage(stage))
        try:
            yield batch
        except (AirflowException, RetryLater) as error:
            if isinstance(error, RetryLater) and is_last_try(context):
                fail_batch(batch_id, stage, error)
            raise
        except TakenOver:
            raise
        except SenditError as error:
            fail_batch(batch_id, stage, error)
            raise
        except Exception as error:
            fail_batch(batch_id, stage, f"{type(error).__name__} in sendit; see the task's log")
            raise


def is_last_try(context: Any) -> bool:
    """Whether Airflow will not retry the task after this try."""
    return bool(context["ti"].try_number > context["ti"].max_tries)


def failure_stage(stage: str) -> str:
    """Return the stage under which a task's own failure is recorded. Errors about files have the
    plain stage; only for those does cleanup rename the folder."""
    return f"{stage}{TASK_FAILURE}"


def fail_batch(batch_id: str, stage: str, problem: SenditError | str) -> None:
    """Record that a stage failed a batch, if this task's run still holds it; causes outside the
    batch are marked as such."""
    failed = failure_stage(stage)
    outside = isinstance(problem, (Misconfigured, RetryLater))
    error = BatchError(failed, str(problem), outside=outside)
    own_ledger().record(batch_id, status=Status.ERROR, errors=[error], stage=failed)


def run_params(context: Any) -> RunParams:
    """Return the run's validated params; a scheduled run takes every batch."""
    run = context["dag_run"]
    params = read_run_params(run.conf or {}, context["params"])
    return replace(params, number=None) if run.run_type == "scheduled" else params
