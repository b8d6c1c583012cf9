"""DAG policy: it imports, has the documented graph, is self-documenting and cheap to parse."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from sendit.pipeline.run_params import RunParams

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="module")
def dag(bag: DagBag) -> Any:
    return bag.dags["sendit"]


def test_no_import_errors(bag: DagBag) -> None:
    assert not bag.import_errors
    assert set(bag.dags) == {"sendit"}


def test_graph(dag: Any) -> None:
    edges = {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}
    assert edges["discover"] == {"process.import"}
    assert edges["process.import"] == {"process.dasher"}
    assert edges["process.dasher"] == {"process.anonymize"}
    assert edges["process.anonymize"] == {"collect"}
    assert edges["manifest"] == {"cleanup"}
    assert edges["cleanup"] == {"follow_on"}
    assert edges["follow_on"] == {"report"}
    assert edges["report"] == set()
    assert {task.task_id for task in dag.leaves} == {"report"}


def test_schedule(dag: Any) -> None:
    assert dag.timetable.expression == "0 0 * * *"
    assert dag.max_active_runs == 1
    assert dag.is_paused_upon_creation is True
    assert dag.catchup is False


def test_params_have_descriptions(dag: Any) -> None:
    assert list(dag.params) == [each.name for each in fields(RunParams)]
    assert dag.params["number"] == 1
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"]
        assert param.description.endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 0),
        ("number", "5"),
        ("number", 10**30),
        ("study", "../x"),
        ("study", "alpha\n"),
        ("subfolder", 7),
        ("subfolder", "a\n"),
        ("recipe", "a\0b"),
        ("revise", 1),
    ],
)
def test_params_are_validated(dag: Any, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        dag.params.get_param(name).resolve(value)


def test_task_owner_doc_timeout_and_retries(dag: Any) -> None:
    assert dag.doc_md
    for task in dag.tasks:
        assert task.owner == "research-it", task.task_id
        assert task.doc_md, task.task_id
        assert task.execution_timeout is not None, task.task_id
    for name in ("process.dasher", *[t for t in dag.task_ids if t.startswith("upload.")]):
        task = dag.get_task(name)
        assert task.retries >= 3, name
        assert task.retry_exponential_backoff, name


def test_collectors_run_after_failed_batches(dag: Any) -> None:
    for name in ("collect", "manifest", "cleanup", "follow_on", "report"):
        assert dag.get_task(name).trigger_rule == "all_done", name


def test_parse_is_cheap() -> None:
    """Every task instance parses this file: it may cost 2 CPU seconds beyond Airflow's own."""
    code = (
        "import resource, runpy, airflow.sdk\n"
        "from airflow.sdk import dag, task, task_group, Param\n"
        "def cpu():\n"
        "    usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    return usage.ru_utime + usage.ru_stime\n"
        "before = cpu()\n"
        f"runpy.run_path({str(ROOT / 'dags' / 'sendit_dag.py')!r})\n"
        "print(cpu() - before)\n"
        "import sys\n"
        "heavy = {'pydicom', 'numpy', 'pandas', 'google.cloud.storage', 'deid', 'sendit.ledger'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
    ).stdout.split("\n")
    assert float(output[-3]) < 2.0, output
    assert output[-2] == "[]"


def test_airflowignore_excludes_the_package() -> None:
    ignore = (ROOT / "plugins" / ".airflowignore").read_text().splitlines()
    assert [line for line in ignore if line and not line.startswith("#")] == ["*.py", "!plugin.py"]
    for file in (ROOT / "plugins").rglob("plugin.py"):
        assert "class " not in file.read_text()
