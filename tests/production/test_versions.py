"""One version of everything, wherever it is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker

from sendit import __version__
from tests.production.compose_file import ROOT, load

PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)(?: ; ([^\\\n]+))?", re.MULTILINE)
DOCUMENTS = sorted(path for path in (ROOT / "docs").glob("*.md"))


def pins(lock: str) -> dict[str, set[str]]:
    """Return a lock's versions by package, without those for Pythons that sendit is not for."""
    versions: dict[str, set[str]] = {}
    for name, version, marker in PINNED.findall((ROOT / lock).read_text()):
        if not marker or any(
            Marker(marker.strip()).evaluate(
                {"python_version": each, "python_full_version": f"{each}.9"}
            )
            for each in ("3.11", "3.12")
        ):
            versions.setdefault(name, set()).add(version)
    return versions


LOCK = pins("requirements.txt")
AIRFLOW = next(iter(LOCK["apache-airflow"]))


@pytest.mark.parametrize("lock", ["requirements-test.txt", "deploy/requirements.txt"])
def test_locks_for_one_environment_agree(lock: str) -> None:
    for name, versions in pins(lock).items():
        if name in LOCK:
            assert versions <= LOCK[name], name


def test_image_airflow_and_python_versions() -> None:
    base = re.search(
        r"^ARG BASE=apache/airflow:([\d.]+)-python([\d.]+)$",
        (ROOT / "Dockerfile").read_text(),
        re.MULTILINE,
    )
    assert base
    assert base[1] == AIRFLOW
    assert f"--python python{base[2]} " in (ROOT / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest, highest = re.findall(r"3\.(\d+)", project["requires-python"])
    assert int(lowest) <= int(base[2].split(".")[1]) < int(highest)


def test_image_has_the_package_version() -> None:
    images = {definition["image"] for definition in load()["services"].values()}
    assert f"sendit:{__version__}" in images
    assert [image for image in images if image.startswith("sendit:")] == [f"sendit:{__version__}"]


@pytest.mark.parametrize("document", [ROOT / "README.md", *DOCUMENTS], ids=lambda path: path.name)
def test_documented_versions(document: Path) -> None:
    text = document.read_text()
    for name in ("Airflow", "apache-airflow", "pydicom", "deid", "som"):
        package = "apache-airflow" if name == "Airflow" else name
        for version in re.findall(rf"\b{name}(?: |==)(\d+\.\d+(?:\.\d+)+)", text):
            assert LOCK[package] == {version}, (name, version)


def test_readme_names_the_airflow_version() -> None:
    assert f"Airflow {AIRFLOW}" in (ROOT / "README.md").read_text()
