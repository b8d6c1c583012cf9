"""Contributor documentation matches the code: pages, hooks, CI, changelog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import sendit
from sendit.dicom import scan
from tools.docs_site import PUBLIC, TOP, api_page, links_from_docs, links_out_of_docs

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


class _Loader(yaml.SafeLoader):
    """Loads mkdocs.yml, in which Python names are tags."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda _, suffix, __: suffix)


def commands_of(target: str) -> list[str]:
    """Return a target's commands."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None, target
    return [line.strip().replace("$(VENV)", ".venv") for line in recipe[1].splitlines()]


def nav_pages() -> list[str]:
    """Return every page in the navigation of the documentation."""
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Loader)
    pages: list[str] = []

    def collect(entry: Any) -> None:
        if isinstance(entry, str):
            pages.append(entry)
        else:
            for child in entry.values() if isinstance(entry, dict) else entry:
                collect(child)

    collect(config["nav"])
    return pages


def test_pre_commit_matches_make_check() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands_of("check")
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False


def test_hosted_ci_runs_make_test_on_every_python_that_is_supported() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())
    job = workflow["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12"]
    assert 'requires-python = ">=3.11,<3.13"' in (ROOT / "pyproject.toml").read_text()
    targets = [
        target
        for each in workflow["jobs"].values()
        for step in each["steps"]
        for target in re.findall(r"^make ([a-z-]+)", step.get("run", ""))
    ]
    assert targets == ["test", "docs"]
    for target in targets:
        commands_of(target)
    assert workflow["permissions"] == {"contents": "read"}


def test_newest_changelog_entry_is_the_current_version() -> None:
    entries = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    released = [(name, day) for name, day in entries if name != "Unreleased"]
    assert entries[0][0] in {"Unreleased", sendit.__version__}
    assert released[0][0] == sendit.__version__
    assert all(day for _, day in released)
    assert [day for _, day in released] == sorted((day for _, day in released), reverse=True)


def test_changelog_sections_follow_keep_a_changelog() -> None:
    sections = set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_page_is_in_the_navigation_once() -> None:
    docs = ROOT / "docs"
    pages = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    made = [*TOP.values(), *(f"api/{name}.md" for name in PUBLIC)]
    assert sorted(nav_pages()) == sorted(pages + made)


def test_packages_have_an_api_page() -> None:
    packages = {path.parent.name for path in (ROOT / "plugins/sendit").glob("*/__init__.py")}
    assert packages - set(PUBLIC) == {"cli", "hooks", "tasks"}
    assert f"::: {scan.__name__}\n" in api_page("dicom")
    assert "::: sendit.errors\n" in api_page("sendit")


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ("[a](docs/gate.md#x)", "[a](gate.md#x)"),
        ("[a](CONTRIBUTING.md)", "[a](contributing.md)"),
        ("![a](docs/images/run.png)", "![a](images/run.png)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](https://example.org/)", "[a](https://example.org/)"),
        ("[docs/decisions/](docs/decisions/)", "docs/decisions/"),
        ("[LICENSE](LICENSE)", "LICENSE"),
    ],
)
def test_root_documents_link_to_pages(link: str, page: str) -> None:
    assert links_from_docs(link) == page


def test_links_out_of_docs() -> None:
    assert links_out_of_docs("[a](../README.md#x)") == "[a](index.md#x)"
    assert links_out_of_docs("[`a.py`](../plugins/sendit/a.py)") == "`a.py`"
    assert links_out_of_docs("[a](../exactly-once.md)") == "[a](../exactly-once.md)"
