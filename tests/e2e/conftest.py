"""One site for all end-to-end tests of a session."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Port, get_json, listens, send_json
from demo.stack import PROJECT_ROOT, Stack, clean_environment
from testing.dasher_standin import BASE
from tests.e2e.site import Site

DASHER_TOKENS = "dasher-tokens.json"


@dataclass
class RemoteDasher:
    """The DASHER stand-in in its own process."""

    url: str

    def seen(self) -> list[dict[str, Any]]:
        """Return the received calls."""
        return list(get_json(f"{self.url}/control/seen"))

    def script(self, *faults: dict[str, Any], where: str = "uid") -> None:
        """Make the next calls fail, one fault each."""
        send_json("POST", f"{self.url}/control/faults", {"where": where, "faults": list(faults)})

    def expire(self) -> None:
        """Expire the access token."""
        send_json("POST", f"{self.url}/control/expire", {})


@pytest.fixture(scope="session")
def dasher_port() -> Iterator[Port]:
    """A port for DASHER, known in advance: the site's connection names it."""
    port = Port()
    yield port
    port.release()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, dasher_port: Port) -> Iterator[Site]:
    """The whole stack, started once; one input folder with a subfolder per test."""
    folder = tmp_path_factory.mktemp("site")
    inputs = folder / "inputs"
    inputs.mkdir()
    stack = Stack(
        [inputs],
        root=folder,
        environment={
            "AIRFLOW_CONN_SENDIT_DASHER": json.dumps(
                {
                    "conn_type": "dasher",
                    "host": f"http://127.0.0.1:{dasher_port.number}{BASE}",
                    "extra": {"token_file": str(folder / DASHER_TOKENS), "timeout": 5},
                }
            )
        },
    )
    # The ledger's connection is in a file, as at a site, so that tests can remove it.
    connections = folder / "connections.json"
    ledger = stack.environment.pop("AIRFLOW_CONN_SENDIT_LEDGER")
    connections.write_text(json.dumps({"sendit_ledger": ledger}))
    stack.environment |= {
        "AIRFLOW__WORKERS__SECRETS_BACKEND": (
            "airflow.secrets.local_filesystem.LocalFilesystemBackend"
        ),
        "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS": json.dumps(
            {"connections_file_path": str(connections)}
        ),
    }
    with stack:
        stack.wait_for_dag()
        yield Site(stack, inputs, connections)


@pytest.fixture(scope="session")
def remote_dasher(site: Site, dasher_port: Port) -> RemoteDasher:
    """The DASHER that the site's connection points to."""
    stack = site.stack
    port = dasher_port.release()
    stack.processes.start(
        "dasher",
        [
            sys.executable,
            *("-m", "testing.dasher_standin", "--port", str(port)),
            *("--secrets", site.inputs.parent / DASHER_TOKENS),
        ],
        env=clean_environment(),
        cwd=PROJECT_ROOT,
    )
    stack.processes.wait_for("dasher", lambda: listens(port), seconds=30)
    return RemoteDasher(f"http://127.0.0.1:{port}")


@pytest.fixture
def configured(site: Site) -> Iterator[Site]:
    """The site, for tests that change its settings; the usual ones are restored afterwards."""
    yield site
    site.stack.configure()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for results."""
    made = tmp_path / "out"
    made.mkdir()
    return made
