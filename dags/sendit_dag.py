"""
### sendit: folders of DICOM in; coded, de-identified archives and rows out

`discover` finds accession folders; each becomes a **batch**, known by an opaque id, and goes
through `import` (headers read, files filtered), `dasher` (coded ids and jitter) and
`anonymize` (the recipe, into one archive). `collect` deals finished batches over upload lanes:
archives to Cloud Storage, rows to BigQuery. `cleanup` removes working files and identifiers;
`report` fails the run if any batch failed, after all that could be delivered was.

**To retry**, clear the failed task: any task, any number of times, ends in the same result.
**To see** what a batch is and why it failed: `sendit batches --errors`.
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
#: The end of a text in a pattern, for Python as for JavaScript: ``$`` lets a line feed through.
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
            description="How many batches at most. Empty: all that are ready, in runs that "
            "follow one another. A scheduled run always takes all.",
        ),
        "subfolder": Param(
            None,
            type=["null", "string"],
            pattern=ONE_LINE,
            title="Input folder",
            description="One input folder in place of the configured ones: its name, or a folder "
            "within one. Never an accession folder.",
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
            description="A bundled recipe's name or the absolute path of a deid recipe. Empty: "
            "as configured.",
        ),
        "revise": Param(
            False,
            type="boolean",
            title="Replace earlier archives",
            description="Replace archives of studies that were delivered before with other "
            "content or by another recipe. Off: such a batch fails.",
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
