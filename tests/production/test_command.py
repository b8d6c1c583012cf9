"""The command in a worker's container: connections come from the secret file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.postgres import Postgres
from sendit.ledger import BatchParams, Ledger
from tests.production.compose_file import load


@pytest.mark.airflow
def test_command_and_tasks_use_the_same_ledger(postgres: Postgres, tmp_path: Path) -> None:
    database = f"ledger_{os.urandom(4).hex()}"
    postgres.query("postgres", f"CREATE DATABASE {database}")
    ledger = Ledger(postgres.uri(database))
    ledger.enqueue([("a" * 64, "/data/1")], BatchParams("s", "c", "d"))
    ledger.close()
    file = tmp_path / "connections.yaml"
    file.write_text(json.dumps({"sendit_ledger": postgres.uri(database)}))
    environment = {
        name: value.replace("/run/secrets/connections.yaml", str(file))
        for name, value in load()["services"]["worker"]["environment"].items()
        if name.startswith("AIRFLOW__WORKERS__")
    }
    printed = subprocess.run(
        [Path(sys.executable).with_name("sendit"), "batches", "--json"],
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "SENDIT_HOME": str(tmp_path / "home"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [json.loads(line)["status"] for line in printed.splitlines()] == ["QUEUE"]
