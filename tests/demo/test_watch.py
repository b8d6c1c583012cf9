"""The progress summary and the order of a DAG's tasks."""

from collections import Counter
from typing import Any

from demo.watch import Progress, task_order


class FakeStack:
    def __init__(self, downstream: dict[str, list[str]]) -> None:
        self.downstream = downstream

    def api(self, method: str, path: str) -> dict[str, Any]:
        return {
            "tasks": [
                {"task_id": name, "downstream_task_ids": after}
                for name, after in self.downstream.items()
            ]
        }


def test_summary_counts_ended_batches_and_names_unusual_states() -> None:
    progress = Progress(
        tasks={
            "discover": Counter(success=1),
            "process.import": Counter(success=2, failed=1, running=1, waiting=3),
            "report": Counter(waiting=1),
        }
    )
    assert progress.summary() == "discover 1/1  import 3/7 (1 running, 1 failed)"


def test_tasks_are_in_topological_order() -> None:
    stack = FakeStack({"report": [], "b": ["report"], "discover": ["a", "b"], "a": ["b"]})
    assert task_order(stack) == ["discover", "a", "b", "report"]  # type: ignore[arg-type]


def test_runs_are_active_until_all_have_ended() -> None:
    runs = [{"state": "success"}, {"state": "queued"}]
    assert Progress(runs=runs).active
    runs[1]["state"] = "failed"
    assert not Progress(runs=runs).active
    assert Progress(runs=runs).failed
