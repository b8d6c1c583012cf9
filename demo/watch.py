"""Follow a run and its follow-on runs until the queue is empty."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from demo.stack import Stack

FINAL_RUN = frozenset({"success", "failed"})
ENDED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 120.0

BATCHES = (
    "SELECT id, status, has_error, errors, reasons, received,"
    " CASE WHEN status = 'DONE' THEN delivered ELSE 0 END AS delivered,"
    " filtered, quarantined, duplicate, run_id FROM batches ORDER BY queued_at, id"
)


@dataclass
class Progress:
    """Current progress.

    ``tasks`` counts states per task name, in the order in which tasks first start; ``batches`` are
    the ledger's rows; ``runs`` Airflow's.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, Counter[str]] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether a run is active or queued."""
        return any(run["state"] not in FINAL_RUN for run in self.runs)

    @property
    def failed(self) -> bool:
        """Whether any run failed."""
        return any(run["state"] == "failed" for run in self.runs)

    def summary(self) -> str:
        """Return the started tasks in one line: ended of all, and unusual states."""
        parts = []
        for name, states in self.tasks.items():
            if not states.keys() - {"waiting", "scheduled", "queued"}:
                continue
            ended = sum(count for state, count in states.items() if state in ENDED_TASK)
            text = f"{name.rpartition('.')[2]} {ended}/{states.total()}"
            odd = [
                f"{states[state]} {state.replace('_', ' ')}"
                for state in ("running", "up_for_retry", "deferred", "failed")
                if states[state]
            ]
            parts.append(text + (f" ({', '.join(odd)})" if odd else ""))
        return "  ".join(parts) or "waiting for the scheduler"


def read_batches(stack: Stack) -> list[dict[str, Any]]:
    """Return the ledger's batches; none before the first task has created its tables."""
    made = stack.ledger("SELECT to_regclass('batches') IS NOT NULL AS made")
    return stack.ledger(BATCHES) if made[0]["made"] else []


def read_progress(stack: Stack, order: list[str]) -> Progress:
    """Read runs, the current run's tasks, and batches."""
    progress = Progress(runs=stack.runs(), batches=read_batches(stack))
    if progress.runs:
        current = next(
            (run for run in progress.runs if run["state"] == "running"), progress.runs[-1]
        )
        instances = stack.task_instances(current["dag_run_id"])
        known = {name: index for index, name in enumerate(order)}
        instances.sort(key=lambda each: known.get(each["task_id"], len(known)))
        for each in instances:
            state = each["state"] or "waiting"
            progress.tasks.setdefault(each["task_id"], Counter())[state] += 1
            if state == "running" and each["rendered_map_index"]:
                progress.stages[each["rendered_map_index"]] = each["task_id"].rpartition(".")[2]
    return progress


def task_order(stack: Stack) -> list[str]:
    """Return the DAG's task ids in topological order."""
    tasks = {task["task_id"]: task for task in stack.api("GET", "/dags/sendit/tasks")["tasks"]}
    before: dict[str, set[str]] = {name: set() for name in tasks}
    for name, task in tasks.items():
        for after in task["downstream_task_ids"]:
            before[after].add(name)
    order: list[str] = []
    while before:
        ready = sorted(name for name, left in before.items() if not left)
        order += ready
        for name in ready:
            del before[name]
        for left in before.values():
            left.difference_update(ready)
    return order


def follow(stack: Stack, show: Callable[[Progress], None]) -> Progress:
    """Wait until all runs have ended; call ``show`` with each update.

    A run that leaves batches in the queue has triggered the next one before it ends, so when no
    run is active, none will follow.
    """
    order = task_order(stack)
    answered = time.monotonic()
    while True:
        stack.check()
        try:
            progress = read_progress(stack, order)
        except (OSError, http.client.HTTPException):
            # Possibly busy; `check` tells whether it has exited.
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        answered = time.monotonic()
        show(progress)
        if progress.runs and not progress.active:
            return progress
        time.sleep(POLL_SECONDS)
