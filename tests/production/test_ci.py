""".ci/containers: its behaviour with Docker available, installable, or neither."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.production.compose_file import ROOT

MADE = ["clean", "up", "images", "net on"]


class Machine:
    """A checkout with fake programs that record their calls; each may fail."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.calls.touch()
        self.checkout = folder / "main"
        (self.checkout / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "containers", self.checkout / ".ci")
        for name in ("Dockerfile", "docker-compose.yaml"):
            shutil.copy(ROOT / name, self.checkout)
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.maker = folder / "shared" / "containers" / "machine"
        self.home = folder / "home"
        self.put(self.programs / "docker", "exit 1")
        self.put(self.programs / "id", "echo 0")
        self.has_free(500)
        self.put(self.programs / "make", f'echo "make $*" >>{self.calls}')

    def put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def has_free(self, gigabytes: int) -> None:
        """Have a disk with so much room, whatever this machine's has."""
        self.put(self.programs / "df", f"echo Avail; echo {gigabytes}G")

    def makes_docker(self, text: str = "") -> None:
        self.put(self.maker, f'echo "$*" >>{self.calls}\n{text}')

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.checkout / ".ci" / "containers"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "CONTAINERS_HOME": str(self.home),
                **environment,
            },
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_passes_with_a_message_without_docker(machine: Machine) -> None:
    result = machine.run()
    assert result.returncode == 0
    assert "NOT TESTED" in result.stderr
    assert "Docker Compose is not available" in result.stderr
    assert machine.called() == []


def test_uses_an_available_docker(machine: Machine) -> None:
    machine.put(machine.programs / "docker", "exit 0")
    machine.makes_docker()
    assert machine.run().returncode == 0
    assert machine.called() == ["make test-containers"]


def test_an_unreachable_registry_is_not_a_failure(machine: Machine) -> None:
    machine.put(
        machine.programs / "docker",
        f'echo "$*" >>{machine.calls}; case "$1 $3" in "image postgres:"*|pull*) exit 1;; esac',
    )
    result = machine.run()
    assert result.returncode == 0
    assert "the image postgres:17.6-bookworm is missing and cannot be pulled" in result.stderr
    assert "make test-containers" not in machine.called()
    assert "image inspect apache/airflow:3.3.2-python3.12" in machine.called()


def test_a_full_disk_is_not_a_failure(machine: Machine) -> None:
    machine.makes_docker()
    machine.has_free(3)
    result = machine.run()
    assert result.returncode == 0
    assert "less than 20 GB are free" in result.stderr
    assert machine.called() == []


def test_a_timeout_is_reported_and_cleaned_up(machine: Machine) -> None:
    machine.makes_docker()
    machine.put(machine.programs / "make", "exec sleep 600")
    result = machine.run(SENDIT_CI_CONTAINERS_SECONDS="1")
    assert result.returncode == 0
    assert "it took longer than 0 minutes" in result.stderr
    assert machine.called() == [*MADE, "clean"]


def test_creates_a_docker_and_removes_it_afterwards(machine: Machine) -> None:
    machine.makes_docker()
    assert machine.run().returncode == 0
    assert machine.called() == [*MADE, "make test-containers", "clean"]


def test_a_failing_test_fails_and_leaves_nothing(machine: Machine) -> None:
    machine.makes_docker()
    machine.put(machine.programs / "make", "exit 2")
    assert machine.run().returncode == 2
    assert machine.called() == [*MADE, "clean"]


def test_package_downloads_are_retried_once(machine: Machine) -> None:
    machine.makes_docker(
        f'if [ "$1" = images ] && [ ! -e {machine.home}.once ]; then'
        f" touch {machine.home}.once; exit 1; fi"
    )
    assert machine.run().returncode == 0
    assert machine.called() == ["clean", "up", "images", *MADE, "make test-containers", "clean"]


def test_passes_if_no_docker_can_be_created(machine: Machine) -> None:
    machine.makes_docker('[ "$1" != up ]')
    result = machine.run()
    assert result.returncode == 0
    assert "Docker could not be set up" in result.stderr
    assert machine.called() == ["clean", "up", "clean", "up", "clean"]


def test_can_be_skipped(machine: Machine) -> None:
    machine.makes_docker()
    result = machine.run(SENDIT_CI_CONTAINERS="0")
    assert result.returncode == 0
    assert machine.called() == []
