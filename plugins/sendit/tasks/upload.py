"""The task group `upload`, one instance per lane: archives, then their rows, then confirmation.

    archives ─► stage ─► load ─► merge ─► confirm

`archives` uploads the lane's archives and writes their rows to a file; the provider's
operators bring the file to BigQuery: `stage` (LocalFilesystemToGCSOperator), `load`
(GCSToBigQueryOperator, WRITE_TRUNCATE into the lane's own table) and `merge`
(BigQueryInsertJobOperator). `confirm` reads both back. Every step asks the ledger what remains
to be done, so each may be cleared alone, or with its downstream tasks, any number of times.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from sendit.crashpoint import reach
from sendit.errors import FailBatch, RetryLater, SenditError, TakenOver, joined, keep_failure
from sendit.hooks.google import bigquery_client, storage_client
from sendit.hooks.site import ledger, settings
from sendit.tasks.error_boundary import error_boundary
from sendit.tasks.google import GoogleOperator, feed, lane_work
from sendit.tasks.task_context import NETWORK_RETRIES, fail_batch, is_last_try

if TYPE_CHECKING:
    from google.cloud import storage

    from sendit.delivery.lanes import Lane
    from sendit.delivery.upload import CollectionPart, Failures, LaneWork, Waiting

logger = logging.getLogger(__name__)

GROUP = "upload"
ENDED = {"success", "failed", "skipped", "upstream_failed"}
#: The largest possible number of batches in a run (SENDIT_BATCHES_PER_RUN).
MAX_BATCHES = 1000
_PROVIDER = "airflow.providers.google.cloud"
STAGE = f"{_PROVIDER}.transfers.local_to_gcs.LocalFilesystemToGCSOperator"
LOAD = f"{_PROVIDER}.transfers.gcs_to_bigquery.GCSToBigQueryOperator"
MERGE = f"{_PROVIDER}.operators.bigquery.BigQueryInsertJobOperator"


@task(
    map_index_template="lane {{ task.op_kwargs.lane.lane }}",
    doc_md="Upload the lane's archives to Cloud Storage, read back checksum and location, and "
    "write their rows to a file. An archive that cannot be delivered does not stop the others.",
    execution_timeout=timedelta(hours=12),
    **NETWORK_RETRIES,
)
def archives(lane: Lane) -> None:
    """Deliver the lane's archives."""
    context = get_current_context()
    with error_boundary():
        from sendit.delivery.objects import check_bucket
        from sendit.delivery.upload import deliver_archives, write_lane

        work = lane_work(lane)
        waiting = work.waiting()
        if not waiting:
            logger.info("lane %d: nothing to do", lane["lane"])
            return
        if _is_alone(context):
            raise AirflowFailException(
                "this task was cleared alone; its archives would never get rows. Clear it again "
                "with its downstream tasks"
            )
        with _recorded(work, context):
            # Before the first upload: what its row needs must exist too.
            client = storage_client()
            for bucket in sorted({each.delivery.bucket for each in waiting}):
                check_bucket(client, bucket)
            refused = _refused(waiting, client)
            if len(refused) == len(waiting):
                raise next(iter(refused.values()))
            reach("archives: table ready")
            failures = refused | deliver_archives(work, client, refused) | write_lane(work)
        later = [error for error in failures.values() if isinstance(error, RetryLater)]
        if later and not is_last_try(context):
            raise RetryLater(f"{len(later)} of {len(waiting)} archives: {later[0]}")
        _record(failures)


def _refused(waiting: Sequence[Waiting], client: storage.Client) -> Failures:
    """Return the batches whose collection cannot accept archives, and why: another site feeds it,
    or its table cannot be created. Batches of other collections continue."""
    from sendit.delivery.table import ensure_table

    refused: Failures = {}
    places = {(each.delivery.bucket, each.batch.collection, each.batch.study) for each in waiting}
    for bucket, collection, study in sorted(places):
        problem: Failures = {}
        with keep_failure(problem, collection):
            feed(client, bucket, collection, study).check()
            ensure_table(bigquery_client(), collection, settings().location)
        refused |= {
            each.batch.id: error
            for each in waiting
            for error in problem.values()
            if (each.batch.collection, each.batch.study) == (collection, study)
        }
    return refused


def stage_arguments(part: CollectionPart) -> dict[str, Any]:
    """Return LocalFilesystemToGCSOperator's arguments: the lane's rows into the bucket."""
    if not part.rows_file.exists():
        raise FailBatch(
            f"lane {part.stage.lane}: its file of rows is gone from the working folder; "
            "clear the archives task of this lane, with downstream tasks"
        )
    return {
        "src": str(part.rows_file),
        "dst": part.stage.object,
        "bucket": part.bucket,
        "mime_type": "application/x-ndjson",
    }


def load_arguments(part: CollectionPart) -> dict[str, Any]:
    """Return GCSToBigQueryOperator's arguments: the object into the lane's own table."""
    from sendit.delivery.rows import schema_fields

    return {
        "bucket": part.bucket,
        "source_objects": [part.stage.object],
        "destination_project_dataset_table": f"{part.dataset}.{part.stage.table}",
        "schema_fields": schema_fields(),
        "source_format": "NEWLINE_DELIMITED_JSON",
        "autodetect": False,
        # A row that BigQuery rejects is skipped; confirm notices that it is missing, and retracts
        # only that batch.
        "max_bad_records": MAX_BATCHES,
        "write_disposition": "WRITE_TRUNCATE",
        "job_id": f"sendit_load_{part.dataset}_{part.stage.run}_{part.stage.lane}",
        "result_timeout": 600.0,
    }


def merge_arguments(part: CollectionPart) -> dict[str, Any]:
    """Return BigQueryInsertJobOperator's arguments: MERGE on the archive's place.

    Not durable: a retry submits the MERGE again, which changes nothing, whereas a job
    remembered from before the task was cleared would have merged an older stage table.
    """
    from sendit.delivery.rows import merge_statement

    return {
        "configuration": {
            "query": {
                "query": merge_statement(part.dataset, part.stage.table),
                "useLegacySql": False,
            }
        },
        "job_id": f"sendit_merge_{part.dataset}_{part.stage.run}_{part.stage.lane}",
        "durable": False,
        "result_timeout": 600.0,
    }


@task(
    trigger_rule="all_done",
    map_index_template="lane {{ task.op_kwargs.lane.lane }}",
    doc_md="Read every archive and row of the lane back; batches whose archive and row agree are "
    "DONE. Fails, with the batches' ids, if any was not delivered.",
    execution_timeout=timedelta(hours=1),
    **NETWORK_RETRIES,
)
def confirm(lane: Lane) -> None:
    """Confirm the lane's deliveries and delete its staging data."""
    context = get_current_context()
    with error_boundary():
        from sendit.delivery.upload import confirm as confirm_lane
        from sendit.delivery.upload import drop_stage

        work = lane_work(lane)
        with _recorded(work, context):
            storage, bigquery = storage_client(), bigquery_client()
            failures = confirm_lane(work, storage, bigquery)
            later = {id_: e for id_, e in failures.items() if isinstance(e, RetryLater)}
            if later and not is_last_try(context):
                _record({id_: e for id_, e in failures.items() if id_ not in later})
                raise RetryLater(f"{len(later)} batches cannot be confirmed now: {joined(later)}")
            _record(failures)
            drop_stage(work, storage, bigquery, for_good=not failures)
        if failures:
            raise AirflowFailException(
                f"{len(failures)} of {len(lane['batches'])} batches of lane {lane['lane']} were "
                "not delivered: "
                + "; ".join(f"{batch_id}: {error}" for batch_id, error in failures.items())
                + "; fix that, then clear this lane's archives task with downstream tasks"
            )


@contextmanager
def _recorded(work: LaneWork, context: Any) -> Iterator[None]:
    """Record an error that stops the whole lane with all its waiting batches, unless a retry
    follows."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, RetryLater) or is_last_try(context):
            reason = f"{type(error).__name__} in sendit; see the task's log"
            for each in work.waiting():
                with suppress(TakenOver):
                    fail_batch(
                        each.batch.id, "upload", error if isinstance(error, SenditError) else reason
                    )
        raise


@task(
    trigger_rule="all_done",
    doc_md="Write the run's manifest into the bucket: archives, checksums and counts, for "
    "`sendit verify`.",
    execution_timeout=timedelta(minutes=30),
    **NETWORK_RETRIES,
)
def manifest() -> None:
    """Write the record of this run's deliveries."""
    run_id = get_current_context()["run_id"]
    with error_boundary():
        if not ledger().batches_of_run(run_id):
            logger.info("no batch in this run: no manifest")
            return
        from sendit.delivery.manifest import write_manifests

        client = storage_client()
        for name in write_manifests(ledger(), client, settings().bucket, run_id):
            logger.info("manifest: %s", name)
        delivered = {
            (delivery.bucket, batch.collection, batch.study)
            for batch in ledger().batches_of_run(run_id)
            if (delivery := ledger().delivery(batch.id)) is not None and delivery.rows_at
        }
        for bucket, collection, study in sorted(delivered):
            feed(client, bucket, collection, study).count()


def _record(failures: Failures) -> None:
    for batch_id, error in failures.items():
        with suppress(TakenOver):
            fail_batch(batch_id, "upload", error)


def _is_alone(context: Any) -> bool:
    """Whether the lane's confirm task has ended, so that no task would follow this one."""
    ti = context["ti"]
    states = ti.get_task_states(
        dag_id=ti.dag_id,
        map_index=ti.map_index,
        task_ids=[f"{GROUP}.confirm"],
        run_ids=[context["run_id"]],
    )
    confirmed = states.get(context["run_id"], {}).values()
    return any(state in ENDED for state in confirmed)


@task_group(group_id=GROUP)
def upload(lane: Any) -> None:
    """Wire one lane."""
    steps = {"lane": lane, "execution_timeout": timedelta(hours=1), **NETWORK_RETRIES}
    label = "lane {{ task.lane.lane }}"
    (
        archives(lane=lane)
        >> GoogleOperator(
            task_id="stage",
            operator=STAGE,
            arguments=stage_arguments,
            map_index_template=label,
            doc_md="Upload the lane's file of rows to the bucket.",
            **steps,
        )
        >> GoogleOperator(
            task_id="load",
            operator=LOAD,
            arguments=load_arguments,
            map_index_template=label,
            doc_md="Load the rows into the lane's own staging table.",
            **steps,
        )
        >> GoogleOperator(
            task_id="merge",
            operator=MERGE,
            arguments=merge_arguments,
            map_index_template=label,
            doc_md="Merge the rows into the table `dicom`, one per archive.",
            **steps,
        )
        >> confirm(lane=lane)
    )
