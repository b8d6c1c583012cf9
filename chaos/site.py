"""The demo's stack, made to be broken: servers that keep their data, behind proxies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.proxy import Proxy
from demo.postgres import Postgres
from demo.processes import DemoError, Port, listens, send_json
from demo.stack import DAG_ID, PROJECT_ROOT, Stack, clean_environment
from demo.supervisor import descendants
from testing.dasher_standin import BASE

FINAL_RUN = {"success", "failed"}
#: What a person would clear.
FAILED_TASK = {"failed", "upstream_failed"}
STUDY = "Chaos"
#: Title of a process that runs a task's code; LocalExecutor's own workers, which end with the
#: scheduler, have the same prefix.
TASK_PROCESS = re.compile(r"airflow worker -- [0-9a-f]{8}-")
SETTINGS = {
    "SENDIT_IDENTIFIERS": "dasher",
    "SENDIT_STUDY": STUDY,
    "SENDIT_PATIENT_ID_SOURCES": '{"*": "Stanford MRN"}',
}
PROXIED = ("storage", "bigquery", "dasher")
#: Seconds, seconds, calls: a task that gives up is retried.
PATIENCE_WITH_DASHER = {"timeout": 5, "deadline": 15, "attempts": 3}

#: Airflow notices failures sooner than in production.
IMPATIENT = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    # Each parse of the DAG file costs seconds that the runs need.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
#: Seconds between two polls of a run: each costs the API server as much as a task's call.
POLL_SECONDS = 1.0
#: Maximum number of runs in a round, including follow-on runs.
RECENT_RUNS = 30


class ChaosSite(Stack):
    """A stack whose processes can all be killed, stopped and restarted.

    Parameters
    ----------
    folder
        Parent of the run folder.
    """

    bigquery_keeps: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        inputs, self.armed = folder / "inputs", folder / "armed"
        for made in (inputs, self.armed):
            made.mkdir(parents=True)
        self._orphans: dict[str, list[int]] = {}
        self.proxies = {name: Proxy() for name in PROXIED}
        self._dasher_port, self._tokens = Port(), folder / "dasher-tokens.json"
        super().__init__(
            [inputs],
            dags=PROJECT_ROOT / "chaos" / "dags",
            root=folder,
            environment=IMPATIENT
            | {
                "STORAGE_EMULATOR_HOST": self.proxies["storage"].url,
                "BIGQUERY_EMULATOR_HOST": self.proxies["bigquery"].url,
                "SENDIT_CRASH_AT": str(self.armed),
                "AIRFLOW_CONN_SENDIT_DASHER": json.dumps(
                    {
                        "conn_type": "dasher",
                        "host": self.proxies["dasher"].url + BASE,
                        "extra": {"token_file": str(self._tokens)} | PATIENCE_WITH_DASHER,
                    }
                ),
            },
            settings=SETTINGS | {"SENDIT_LANES": "2"},
        )
        self.bigquery_keeps = ("--persistent", "--data-dir", str(self.folder / "tables"))
        # As in production: from a file, which can be missing. Airflow looks nowhere else then.
        self._connections = folder / "connections.json"
        names = ("GOOGLE_CLOUD_DEFAULT", "SENDIT_LEDGER", "SENDIT_DASHER")
        connections = {name.lower(): self.environment.pop(f"AIRFLOW_CONN_{name}") for name in names}
        self._connections.write_text(
            json.dumps(
                {
                    name: json.loads(value) if value.startswith("{") else value
                    for name, value in connections.items()
                }
            )
        )
        self._connections.chmod(0o600)
        self.environment |= {
            "AIRFLOW__WORKERS__SECRETS_BACKEND": "sendit.hooks.connection_file.ConnectionFile",
            "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS": json.dumps(
                {"connections_file_path": str(self._connections)}
            ),
        }
        self.proxies["storage"].target = self.storage_url
        self.proxies["bigquery"].target = self.bigquery_url
        self.proxies["dasher"].target = f"http://127.0.0.1:{self._dasher_port.number}"

    def start(self) -> None:
        """Start everything, DASHER's stand-in first."""
        self._start_dasher()
        super().start()

    def _start_dasher(self) -> None:
        port = self._dasher_port.release()
        self.processes.start(
            "dasher",
            [
                self.airflow_bin / "python",
                *("-m", "testing.dasher_standin", "--port", str(port)),
                *("--secrets", self._tokens),
            ],
            env=clean_environment(),
            cwd=PROJECT_ROOT,
        )
        self.processes.wait_for("dasher", lambda: listens(port), seconds=60)

    def expire_token(self) -> None:
        """Expire DASHER's access token, so that the next call has to refresh it."""
        send_json("POST", f"{self.proxies['dasher'].target}/control/expire", {})

    # -- processes ---------------------------------------------------------------------

    def pids(self, name: str) -> list[int]:
        """Return a server's process, followed by its descendants."""
        pid = self.processes.pids[name]
        return [pid, *descendants(pid)]

    def kill_server(self, name: str, *, with_children: bool) -> None:
        """Kill a server; by default its children live on until it is restarted.

        They may not live longer: a restarted scheduler was seen to process no runs while they
        lived (they inherit the dead one's database connections, and apparently its locks). Service
        managers (systemd, Compose, Kubernetes) end leftover processes before a restart, too.
        """
        pids = self.pids(name)
        self._orphans[name] = [] if with_children else pids[1:]
        for pid in pids if with_children else pids[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._wait(lambda: self.processes.poll(name) is not None, 10, f"{name} to exit")

    def signal_server(self, name: str, number: int) -> None:
        """Send a signal to a server and its descendants."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self, name: str) -> None:
        """Restart a killed server, and wait until it responds."""
        for pid in self._orphans.pop(name, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if name == Postgres.name:
            self._restart_postgres()
        elif name == "storage":
            self.start_storage()
        elif name == "bigquery":
            self.start_bigquery()
        elif name == "dasher":
            self._start_dasher()
        else:
            self.start_component(name)
            if name == "api-server":
                self.wait_for_api()

    def _restart_postgres(self) -> None:
        postgres = self.postgres
        # Its children notice its end and exit; until then its port is in use.
        self._wait(lambda: not listens(postgres.port.number), 30, "the database's port to be free")
        deadline = time.monotonic() + 30
        while True:
            postgres.launch()
            try:
                self.processes.wait_for(postgres.name, postgres.ready, seconds=30)
                return
            except DemoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def task_pids(self) -> list[int]:
        """Return the processes that currently run a task's code."""
        pids = []
        for pid in descendants(self.processes.pids["scheduler"]):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if TASK_PROCESS.match(line):
                    pids.append(pid)
        return pids

    def _wait(
        self, ready: Callable[[], bool], seconds: float, what: str, *, pause: float = 0.1
    ) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise DemoError(f"timed out after {seconds:g} s waiting for {what}")
            time.sleep(pause)

    # -- runs --------------------------------------------------------------------------

    def patient_api(self, method: str, path: str, body: object = None) -> Any:
        """Call Airflow's API, which may be down for a while."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.api(method, path, body)
            except (OSError, urllib.error.URLError) as error:
                final = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if final or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def run_state(self, run_id: str) -> str:
        """Return a run's state."""
        quoted = urllib.parse.quote(run_id, safe="")
        return str(self.patient_api("GET", f"/dags/{DAG_ID}/dagRuns/{quoted}")["state"])

    def wait_for_run(self, run_id: str, seconds: float) -> str:
        """Wait for a run's end and return its state; a timeout is an error."""

        def ended() -> bool:
            self.supervise()
            return self.run_state(run_id) in FINAL_RUN

        self._wait(ended, seconds, f"the run {run_id} to end", pause=POLL_SECONDS)
        return self.run_state(run_id)

    @staticmethod
    def run_path(run_id: str) -> str:
        """Return a run's path in the API."""
        return f"/dags/{DAG_ID}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

    def trigger_as(self, run_id: str, conf: Mapping[str, object]) -> str:
        """Trigger a run with a given id."""
        body = {"conf": dict(conf), "logical_date": None, "dag_run_id": run_id}
        return str(self.patient_api("POST", f"/dags/{DAG_ID}/dagRuns", body)["dag_run_id"])

    def recent_runs(self) -> list[dict[str, Any]]:
        """Return the latest runs, newest first."""
        path = f"/dags/{DAG_ID}/dagRuns?limit={RECENT_RUNS}&order_by=-run_after"
        return list(self.patient_api("GET", path)["dag_runs"])

    def started(self, run_id: str) -> list[tuple[str, int]]:
        """Return a run's started task instances, by task id and map index."""
        return sorted(
            (each["task_id"], each["map_index"])
            for each in self.task_instances(run_id)
            if each["state"] not in {"removed", "scheduled", "queued", None}
        )

    def pause(self, *, paused: bool) -> None:
        """Pause or unpause the DAG."""
        dag = self.patient_api("PATCH", f"/dags/{DAG_ID}", {"is_paused": paused})
        if dag["is_paused"] is not paused:
            raise DemoError("the DAG is not paused, or not let go on, as it was told")

    def wait_until_parsed(self) -> None:
        """Wait until a deleted DAG can be triggered again."""

        def parsed() -> bool:
            try:
                self.api("PATCH", f"/dags/{DAG_ID}", {"is_paused": False})
            except urllib.error.HTTPError:
                return False
            return True

        self._wait(parsed, 120, "the DAG to be parsed again")

    def hide_connections(self) -> None:
        """Remove the connections file temporarily."""
        self._connections.rename(self._connections.with_suffix(".away"))

    def show_connections(self) -> None:
        """Restore the connections file, if it was removed."""
        with contextlib.suppress(FileNotFoundError):
            self._connections.with_suffix(".away").rename(self._connections)

    def sendit(self, *arguments: str) -> int:
        """Run the sendit command, as a person does, with its output in the logs. Return its exit
        code.
        """
        command = [str(self.airflow_bin / "sendit"), *arguments]
        done = subprocess.run(
            command, env=self.environment, check=False, capture_output=True, text=True, timeout=180
        )
        with (self.logs / "sendit.log").open("a") as log:
            log.write(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}\n")
        return done.returncode

    def clear(
        self, run_id: str, task_id: str, map_index: int, *, downstream: bool, upstream: bool = False
    ) -> None:
        """Clear a task instance, as the UI does.

        Raises
        ------
        DemoError
            Airflow cleared nothing.
        """
        cleared = self.patient_api(
            "POST",
            f"/dags/{DAG_ID}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": [task_id if map_index < 0 else [task_id, map_index]],
                "include_downstream": downstream,
                "include_upstream": upstream,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )
        if not cleared["total_entries"]:
            raise DemoError(f"clearing {task_id} cleared nothing")

    def clear_failed(self, run_id: str) -> list[str]:
        """Clear failed tasks, each with its successors, as the error messages ask for."""
        states = {
            (each["task_id"], each["map_index"]): each["state"]
            for each in self.task_instances(run_id)
        }
        first = [
            (name, index)
            for (name, index), state in states.items()
            if state in FAILED_TASK and name != "report"
        ]
        wanted = set()
        for name, index in first:
            if name.startswith("upload."):
                wanted.add(("upload.archives", index))
            elif states[name, index] == "failed":
                wanted.add((name, index))
        if not wanted:
            wanted.add(("report", -1))
        for name, index in sorted(wanted):
            self.clear(run_id, name, index, downstream=True)
        return [f"{name}[{index}]" for name, index in sorted(wanted)]

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of all servers that may be broken."""
        return (
            *("scheduler", "api-server", "dag-processor", "triggerer"),
            *(Postgres.name, "storage", "bigquery", "dasher"),
        )

    def supervise(self) -> None:
        """Restart ended servers, as a service manager does: without its database, Airflow's
        scheduler gives up.
        """
        for name in self.servers:
            if self.processes.poll(name) is not None:
                self.restart(name)
