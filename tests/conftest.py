"""Fixtures shared by several kinds of tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from demo.postgres import Postgres
from demo.processes import Processes
from sendit.keys import Keys
from sendit.ledger import Ledger
from testing.approval import approved
from testing.dasher_standin import DasherStandin
from testing.emulators import bigquery_client, bucket, emulators, storage_client
from testing.seeds import IN_CI

__all__ = ["approved", "bigquery_client", "bucket", "emulators", "storage_client"]

# A busy machine is not a fault of the code.
settings.register_profile("sendit", deadline=None, derandomize=IN_CI)
# For a mutant, few and deterministic examples.
settings.register_profile(
    "mutation", deadline=None, max_examples=25, derandomize=True, database=None
)
settings.load_profile("sendit")

ROOT = Path(__file__).resolve().parents[1]
DEMO_PACKAGES = next((ROOT / ".venv-demo" / "lib").glob("python3.*/site-packages"))


@pytest.fixture(autouse=True)
def _fresh_site() -> Iterator[None]:
    """Discard the site that a test's process has cached, as a new process would."""
    yield
    site = sys.modules.get("sendit.hooks.site")
    if site is not None:
        site.settings.cache_clear()
        site.ledger.cache_clear()


@pytest.fixture
def dasher() -> Iterator[DasherStandin]:
    """A DASHER stand-in of the test's own."""
    service = DasherStandin()
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real PostgreSQL on 127.0.0.1."""
    folder = tmp_path_factory.mktemp("postgres")
    processes = Processes(folder)
    try:
        server = Postgres(processes, folder / "server", DEMO_PACKAGES, dict(os.environ))
        server.start([])
        yield server
    finally:
        processes.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on each supported database."""
    yield from _ledgers(request, tmp_path)


@pytest.fixture
def embedded_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on the embedded database, for tests of other parts."""
    made = Ledger(f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}")
    yield made
    made.close()


def _ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        uri = f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        name = f"ledger_{os.urandom(6).hex()}"
        server.query("postgres", f"CREATE DATABASE {name}")
        uri = server.uri(name)
    made = Ledger(uri)
    made.uri = uri  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture
def keys() -> Keys:
    """A fixed key."""
    return Keys(b"0123456789abcdef" * 4)
