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
    """Return (source, target) of every COPY out of the checkout."""
    pairs = []
    for line in LINES:
        if line.startswith("COPY ") and "--from=" not in line:
            *sources, target = line.split()[1:]
            pairs += [(source, target) for source in sources]
    return pairs


def test_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--failure-threshold", "warning", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_installed_packages_are_verified_by_hash() -> None:
    installer, environment, package = (line for line in LINES if "pip install" in line)
    assert "--require-hashes -r requirements-uv.txt" in installer
    assert "--require-hashes --no-deps" in environment
    # What comes as sources is built by pinned packages, and the package by those installed.
    assert "--build-constraints deploy/requirements.txt" in environment
    assert "--no-deps --no-build-isolation" in package


def test_image_and_tests_use_the_same_locks() -> None:
    image, tests = lock("deploy/requirements.txt"), lock("requirements.txt")
    shared = image.keys() & tests.keys()
    assert {name: image[name] for name in shared} == {name: tests[name] for name in shared}
    wanted = re.findall(r"^[a-z0-9-]+", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert set(wanted) <= {name for name, _ in shared}


def lock(file: str) -> dict[tuple[str, str], set[str]]:
    """Return a lock's hashes by package and version."""
    text = (ROOT / file).read_text().replace("\\\n", " ")
    return {
        (line.split("==")[0], line.split("==")[1].split()[0]): set(re.findall(r"sha256:\w+", line))
        for line in text.splitlines()
        if "==" in line
    }


@pytest.mark.airflow
def test_excluded_packages_are_not_needed() -> None:
    """Everything is imported with the packages that the image lacks out of reach."""
    kept = {name for name, _ in lock("deploy/requirements.txt")}
    gone = sorted({name for name, _ in lock("requirements.txt")} - kept)
    assert {"ray", "matplotlib", "google-ads"} <= set(gone)
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *gone],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "AIRFLOW_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) > 50


IMPORT_ALL = """
import importlib, importlib.metadata, pkgutil, sys
sys.path.insert(0, "deploy")
sys.argv, gone = ["airflow", "celery", "worker"], sys.argv[1:]

out_of_reach = set()
for name in gone:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        continue  # another platform's
    out_of_reach.update(str(distribution.locate_file(file)) for file in distribution.files or ())

class Without:
    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec and spec.origin in out_of_reach:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
        return None

sys.meta_path.insert(0, Without())
try:
    import ray
except ModuleNotFoundError:
    pass
else:
    sys.exit("ray can still be imported")

import sendit, airflow_local_settings
from airflow.providers.celery.executors.celery_executor import CeleryExecutor
from airflow.providers.celery.cli import celery_command
from airflow.providers.standard.operators import trigger_dagrun
from airflow.providers.google.cloud.hooks import bigquery, gcs
for module in pkgutil.walk_packages(sendit.__path__, "sendit."):
    if not module.name.endswith("__main__") and ".migrations." not in module.name:
        importlib.import_module(module.name)
importlib.import_module("dags.sendit_dag")
print(len([name for name in sys.modules if name.startswith("sendit")]))
"""


def test_image_does_not_run_as_root() -> None:
    users = [line.split()[1] for line in LINES if line.startswith("USER ")]
    assert users[-1] == "airflow"


@pytest.mark.parametrize("source", sorted({source for source, _ in copied()}))
def test_copied_files_exist_and_are_in_the_build_context(source: str) -> None:
    assert (ROOT / source).exists()
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert source.rstrip("/") in allowed


def test_files_used_in_containers_are_copied() -> None:
    to_airflow = {Path(source).name for source, target in copied() if target[:8] == "airflow/"}
    assert "COPY --from=builder /build/airflow/ /opt/airflow/" in LINES
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
