"""
### sendit: folders of DICOM in, coded and de-identified archives and rows out

`discover` finds accession folders. Each becomes a **batch**, known by an opaque id, and goes
through `import` (reads headers, filters files), `dasher` (gets coded ids and jitter) and
`anonymize` (applies the recipe and writes one archive). `collect` assigns finished batches to
upload lanes, which send archives to Cloud Storage and rows to BigQuery. `cleanup` deletes working
files and identifiers. `report` fails the run if any batch failed, once everything that could be
delivered has been.

**To retry**, clear the failed task. Any task can be cleared any number of times; the result is the
same. **To see** which batches failed and why: `sendit batches --errors`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import Param, dag, task_group

from sendit.batch import STUDY_NAME
from sendit.pipeline.run_params import MAX_NUMBER
from sendit.settings import batches_at_once
from sendit.tasks import finish, process
from sendit.tasks.upload import manifest, upload

AT_ONCE = batches_at_once()
#: Matches the end of the text, in Python and in JavaScript: ``$`` would allow a trailing newline.
END = r"(?![\s\S])"
ONE_LINE = rf"^[^\x00-\x1f\x7f]*{END}"


@dag(
    dag_id="sendit",
    doc_md=__doc__,
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    tags=["dicom", "de-identification"],
    default_args={
        "owner": "research-it",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "show_return_value_in_logs": False,
    },
    params={
        "number": Param(
            1,
            type=["null", "integer"],
            minimum=1,
            maximum=MAX_NUMBER,
            title="Batches",
            description="Maximum number of batches. Empty: all that are ready, in as many runs as "
            "it takes. A scheduled run always takes all.",
        ),
        "subfolder": Param(
            None,
            type=["null", "string"],
            pattern=ONE_LINE,
            title="Input folder",
            description="One input folder to use instead of the configured ones: its name, or a "
            "folder within one. Not an accession folder.",
        ),
        "study": Param(
            None,
            type=["null", "string"],
            pattern=f"^{STUDY_NAME.pattern}{END}",
            title="Study",
            description="Study at the identifier service. Empty: as configured.",
        ),
        "recipe": Param(
            None,
            type=["null", "string"],
            pattern=ONE_LINE,
            title="Recipe",
            description="Name of a bundled recipe, or absolute path of a deid recipe. Empty: as "
            "configured.",
        ),
        "revise": Param(
            False,
            type="boolean",
            title="Replace earlier archives",
            description="Replace archives of studies that were delivered before with different "
            "content or by a different recipe. Off: such a batch fails.",
        ),
    },
)
def sendit() -> None:
    """Wire the pipeline."""

    @task_group(group_id="process")
    def process_batch(batch_id: str) -> None:
        imported = process.import_batch.override(max_active_tis_per_dagrun=AT_ONCE)(
            batch_id=batch_id
        )
        coded = process.dasher.override(max_active_tis_per_dagrun=AT_ONCE)(batch_id=imported)
        process.anonymize.override(max_active_tis_per_dagrun=AT_ONCE)(batch_id=coded)

    lanes = process.collect()
    process_batch.expand(batch_id=process.discover()) >> lanes
    (
        upload.expand(lane=lanes)
        >> manifest()
        >> finish.cleanup()
        >> finish.follow_on()
        >> finish.report()
    )


pipeline = sendit()
