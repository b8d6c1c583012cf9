"""The secrets backend of the production image: one file, and no other source."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sendit.errors import Misconfigured, RetryLater

pytestmark = pytest.mark.airflow

CONNECTIONS = """
sendit_ledger: postgresql://sendit:pass%2Fword@postgres:5432/ledger
google_cloud_default:
  conn_type: google_cloud_platform
  extra: {project: p, key_path: /run/secrets/google_key.json}
sendit_dasher: {conn_type: dasher}
"""
#: What a user with the role Op may write into Airflow's database, or a site leave in the
#: environment.
ELSEWHERE = {
    name: json.dumps({"conn_type": "dasher", "host": "https://elsewhere.example"})
    for name in ("sendit_ledger", "google_cloud_default", "sendit_dasher")
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file, configured as docker-compose.yaml does; other sources contain other values."""
    from airflow.sdk.configuration import clear_secrets_backends_cache

    path = tmp_path / "connections.yaml"
    path.write_text(CONNECTIONS)
    monkeypatch.setenv(
        "AIRFLOW__WORKERS__SECRETS_BACKEND", "sendit.hooks.connection_file.ConnectionFile"
    )
    monkeypatch.setenv(
        "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS", json.dumps({"connections_file_path": str(path)})
    )
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", value)
    clear_secrets_backends_cache()
    yield path
    clear_secrets_backends_cache()  # Airflow caches the backend for the life of the process


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_connections_come_from_the_file(file: Path, name: str) -> None:
    from sendit.hooks.connections import read_connection

    assert read_connection(name).host != "https://elsewhere.example"


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
@pytest.mark.parametrize("text", ["{}\n", "[", None], ids=["not there", "broken", "no file"])
def test_missing_connections_are_not_looked_up_elsewhere(
    file: Path, name: str, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    from sendit.hooks.connections import read_connection

    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with caplog.at_level(logging.ERROR), pytest.raises(RetryLater, match=name):
        read_connection(name)
    assert bool(caplog.records) == (text != "{}\n")


def test_entry_formats(file: Path) -> None:
    from sendit.hooks.connections import read_connection

    assert read_connection("sendit_ledger").password == "pass/word"
    google = read_connection("google_cloud_default")
    assert (google.conn_type, google.extra_dejson["project"]) == ("google_cloud_platform", "p")
    assert read_connection("sendit_dasher").conn_type == "dasher"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: {nonsense: hunter2}", "connection 1 must be a URI"),
        ("a: postgresql://h/d\nb: 3", "connection 2 must be a URI"),
        ("hunter2", "must map each connection"),
        ("a: b\n[hunter2", r"not YAML \(line 2\)"),
    ],
)
def test_errors_do_not_quote_the_file(tmp_path: Path, text: str, says: str) -> None:
    from sendit.hooks.connection_file import read_connections

    path = tmp_path / "connections.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=says) as stopped:
        read_connections(path)
    assert "hunter2" not in str(stopped.value)
