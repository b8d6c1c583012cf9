"""A whole site for end-to-end tests: the demo's stack, runs on given folders, and their results."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.stack import LEDGER_DATABASE, Stack

RUN_SECONDS = 240.0
FINAL = {"success", "failed"}


@dataclass(frozen=True)
class Delivered:
    """Delivered objects, rows and ledger entries, as comparable values."""

    objects: dict[str, tuple[str, str]]
    rows: list[tuple[Any, ...]]
    deliveries: list[tuple[Any, ...]]


class Site:
    """Runs the DAG on folders and inspects the results.

    ``inputs`` is the one configured input folder; each test has its own subfolder. ``connections``
    is the file with the ledger's connection.
    """

    def __init__(self, stack: Stack, inputs: Path, connections: Path) -> None:
        self.stack = stack
        self.inputs = inputs
        self.connections = connections

    # -- runs --------------------------------------------------------------------------------

    def trigger(self, subfolder: str, **conf: object) -> str:
        """Start a run on a subfolder of the input folder."""
        (self.inputs / subfolder).mkdir(exist_ok=True)
        return self.stack.trigger({"number": None, "subfolder": subfolder} | conf)

    def run(self, subfolder: str, **conf: object) -> str:
        """Start a run, wait for its end, and return its id."""
        run_id = self.trigger(subfolder, **conf)
        self.wait(run_id)
        return run_id

    def wait(self, run_id: str) -> str:
        """Wait for a run's end and return its state."""
        deadline = time.monotonic() + RUN_SECONDS
        while (state := self.state(run_id)) not in FINAL:
            self.stack.check()
            assert time.monotonic() < deadline, self.explain(run_id)
            time.sleep(0.5)
        return state

    def explain(self, run_id: str) -> str:
        """Return the states of a run's tasks, and the logs of those that failed."""
        lines = []
        for (name, index), state in self.task_states(run_id).items():
            lines.append(f"{name}[{index}] {state}")
            if state in {"failed", "up_for_retry"}:
                lines += self.log(run_id, name, index).splitlines()[-15:]
        return "\n".join(lines)

    def state(self, run_id: str) -> str:
        """Return a run's state."""
        quoted = urllib.parse.quote(run_id, safe="")
        return str(self.stack.api("GET", f"/dags/sendit/dagRuns/{quoted}")["state"])

    def task_states(self, run_id: str) -> dict[tuple[str, int], str | None]:
        """Return the states of a run's task instances by task id and map index."""
        return {
            (each["task_id"], each["map_index"]): each["state"]
            for each in self.stack.task_instances(run_id)
        }

    def wait_for_task(self, run_id: str, task_id: str, state: str) -> None:
        """Wait until a task instance is in a state."""
        deadline = time.monotonic() + RUN_SECONDS
        while not any(
            name == task_id and current == state
            for (name, _), current in self.task_states(run_id).items()
        ):
            self.stack.check()
            assert time.monotonic() < deadline, self.explain(run_id)
            time.sleep(0.1)

    def clear(
        self, run_id: str, task_id: str, map_index: int | None = None, *, downstream: bool = True
    ) -> None:
        """Clear task instances, as the UI does."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id if map_index is None else [task_id, map_index]],
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.press("POST", "/dags/sendit/clearTaskInstances", body)

    def press(self, method: str, path: str, body: dict[str, object]) -> None:
        """Send Airflow a request that changes a run, as a button of the UI does.

        Airflow responds 500 when the call and its scheduler block each other's rows; a person
        would press the button again.
        """
        for tries_left in (4, 3, 2, 1, 0):
            try:
                self.stack.api(method, path, body)
                return
            except urllib.error.HTTPError as error:
                if error.code != 500 or not tries_left:
                    raise
                time.sleep(1.0)

    def log(self, run_id: str, task_id: str, map_index: int = -1) -> str:
        """Return a task instance's last log, as the UI shows it."""
        quoted = urllib.parse.quote(run_id, safe="")
        tries = [
            each["try_number"]
            for each in self.stack.task_instances(run_id)
            if (each["task_id"], each["map_index"]) == (task_id, map_index)
        ]
        page = self.stack.api(
            "GET",
            f"/dags/sendit/dagRuns/{quoted}/taskInstances/{task_id}/logs/{tries[0] or 1}"
            f"?map_index={map_index}&full_content=true",
        )
        return "\n".join(json.dumps(line) for line in page["content"])

    # -- results ----------------------------------------------------------------------------

    def batches(self, run_id: str) -> list[dict[str, Any]]:
        """Return the ledger's batches of a run."""
        return self.stack.ledger(
            f"SELECT * FROM batches WHERE run_id = '{run_id}' ORDER BY queued_at, id"
        )

    def deliveries(self, run_id: str) -> list[dict[str, Any]]:
        """Return the ledger's deliveries of a run's batches."""
        return self.stack.ledger(
            "SELECT d.* FROM deliveries d JOIN batches b ON b.id = d.batch_id"
            f" WHERE b.run_id = '{run_id}' ORDER BY d.batch_id"
        )

    def delivered(self, run_id: str) -> Delivered:
        """Return a run's objects, rows and ledger entries."""
        deliveries = self.deliveries(run_id)
        names = {each["object"] for each in deliveries}
        return Delivered(
            objects={
                each["name"]: (each["crc32c"], each["size"])
                for each in self.stack.objects()
                if each["name"] in names
            },
            rows=sorted(
                tuple(sorted((key, str(value)) for key, value in row.items()))
                for table, rows in self.stack.tables().items()
                if table.endswith(".dicom")
                for row in rows
                if row["name"] in names
            ),
            deliveries=[
                (each["batch_id"], each["object"], each["crc32c"], each["size"], each["rows"])
                for each in deliveries
            ],
        )

    def ledger_dump(self, file: Path) -> None:
        """Dump the ledger to a file."""
        self.stack.postgres.dump(LEDGER_DATABASE, file)
