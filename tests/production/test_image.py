"""Dockerfile: the locked environment, the package and the DAG, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.production.compose_file import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()


def copied() -> list[tuple[str, str]]:
    """Return (source, target) of every COPY."""
    found = []
    for line in LINES:
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            found += [(source, target) for source in sources]
    return found


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--failure-threshold", "warning", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_everything_installed_is_checked_against_a_hash() -> None:
    installs = [line for line in LINES if "pip install" in line]
    assert len(installs) == 3
    for line in installs[:2]:
        assert "--require-hashes" in line
    assert "--no-deps" in installs[2]
    assert "--no-build-isolation" in installs[2]


def test_it_does_not_run_as_root() -> None:
    users = [line.split()[1] for line in LINES if line.startswith("USER ")]
    assert users[-1] == "airflow"


@pytest.mark.parametrize("source", sorted({source for source, _ in copied()}))
def test_what_is_copied_exists_and_is_sent_to_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert source.rstrip("/") in allowed


def test_what_runs_in_a_container_is_copied() -> None:
    to_airflow = {Path(source).name for source, target in copied() if "/opt/airflow/" in target}
    assert to_airflow == {
        "airflow.cfg",
        "airflow_local_settings.py",
        "dags",
        "health.py",
        "init.py",
        "secret.sh",
        "webserver_config.py",
    }
    # Airflow's plugins folder is empty there, since the package is installed. A file that
    # registers a plugin would have to be copied too.
    assert not [path.name for path in (ROOT / "plugins").glob("*.py")]
