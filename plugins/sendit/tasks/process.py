"""Tasks from folders to finished archives: discover, import, dasher, anonymize, collect.

Every task first asks the ledger for its batch's state, so clearing any of them at any
time, before or after delivery, leads to the same result.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from sendit.batch import Status
from sendit.crashpoint import reach
from sendit.hooks.site import ledger, settings
from sendit.tasks.error_boundary import error_boundary
from sendit.tasks.preflight import Preflight, service_of
from sendit.tasks.task_context import (
    NETWORK_RETRIES,
    is_active,
    own_ledger,
    own_run,
    run_params,
    working,
    workspace,
)

if TYPE_CHECKING:
    from sendit.delivery.lanes import Lane

logger = logging.getLogger(__name__)


@task(
    doc_md="Find accession folders that are ready, and claim up to `number` of them as batches.",
    execution_timeout=timedelta(hours=1),
)
def discover() -> list[str]:
    """Queue new folders and claim batches for this run."""
    context = get_current_context()
    with error_boundary():
        from sendit.ledger import BatchParams
        from sendit.pipeline import discover, ownership

        params = run_params(context)
        study = params.study or settings().study
        own = own_run()
        ownership.take_up(ledger(), own, is_active)
        claimed = discover.discover(
            ledger(),
            settings(),
            settings().keys(),
            context["run_id"],
            BatchParams(
                study=study,
                collection=settings().collection_of(study),
                recipe=params.recipe or settings().recipe,
                revise=params.revise,
                subfolder=params.subfolder,
            ),
            number=params.number,
            preflight=Preflight(),
            holder=own.key,
        )
        if not claimed:
            logger.info("no batch is ready: nothing to do in this run")
        else:
            logger.info("%d batches claimed: %s", len(claimed), ", ".join(claimed))
        return claimed


@task(
    task_id="import",
    map_index_template="{{ task.op_kwargs.batch_id }}",
    doc_md="Read every file's header; record files that are not images, damaged, duplicates or "
    "filtered.",
    execution_timeout=timedelta(hours=6),
)
def import_batch(batch_id: str) -> str:
    """Read the header of every file in the batch's folder."""
    with working(batch_id, "import") as batch:
        from sendit.pipeline import intake
        from sendit.pipeline.discover import locate
        from sendit.pipeline.load_recipe import load_recipe

        if batch.status is Status.DONE:
            return batch_id
        held = own_ledger()
        folder = locate(held, settings(), settings().keys(), batch_id)
        held.put_identifier(batch_id, "folder", str(folder))
        reach("import: folder remembered")
        status = intake.import_batch(
            held, workspace(batch_id), folder, load_recipe(batch.recipe), settings().keys()
        )
        logger.info("batch %s: %s", batch_id, held.batch(batch_id).summary)
        if status is Status.EMPTY:
            raise AirflowSkipException(f"batch {batch_id}: no image is left after filtering")
        return batch_id


@task(
    map_index_template="{{ task.op_kwargs.batch_id }}",
    doc_md="Ask the identifier service for the batch's coded ids and jitter.",
    execution_timeout=timedelta(minutes=30),
    **NETWORK_RETRIES,
)
def dasher(batch_id: str) -> str:
    """Get coded identifiers."""
    with working(batch_id, "dasher") as batch:
        from sendit.pipeline.identify import identify_batch

        if batch.status is not Status.DONE:
            identify_batch(
                own_ledger(), batch, service_of(batch.study), settings().identity_rules()
            )
        return batch_id


@task(
    map_index_template="{{ task.op_kwargs.batch_id }}",
    doc_md="De-identify the batch's images with the recipe, into one archive.",
    execution_timeout=timedelta(hours=12),
)
def anonymize(batch_id: str) -> str:
    """De-identify the batch into its archive."""
    with working(batch_id, "anonymize") as batch:
        from sendit.pipeline.anonymize import anonymize_batch
        from sendit.pipeline.discover import locate
        from sendit.pipeline.load_recipe import load_recipe

        if batch.status is Status.DONE:
            return batch_id
        held = own_ledger()
        anonymize_batch(
            held,
            workspace(batch_id),
            locate(held, settings(), settings().keys(), batch_id),
            recipe=load_recipe(batch.recipe),
            keys=settings().keys(),
            bucket=settings().bucket,
        )
        logger.info("batch %s: %s", batch_id, held.batch(batch_id).summary)
        return batch_id


@task(
    trigger_rule="all_done",
    doc_md="Collect the batches that are ready and assign them to the upload lanes.",
    execution_timeout=timedelta(minutes=10),
    retries=3,
)
def collect() -> list[Lane]:
    """Assign this run's finished batches to at most `lanes` lanes, by a stable hash.

    This asks the ledger, not the tasks' states, because the ledger also knows what was delivered
    before a task was cleared.
    """
    with error_boundary():
        from sendit.delivery.lanes import assign

        ready = [
            batch.id
            for batch in ledger().batches_held_by(own_run().key)
            if batch.status in (Status.DONEPROCESSING, Status.DONE)
        ]
        logger.info("%d batches go to upload", len(ready))
        return assign(ready, settings().lanes)
