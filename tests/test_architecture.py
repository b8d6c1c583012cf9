"""docs/architecture.md names what exists, and leaves no package out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "plugins" / "sendit"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
#: Files and folders in backticks: `pipeline/discover.py`, `recipe/bundled/`, `settings.py`.
NAMED = sorted(set(re.findall(r"`([\w./-]+(?:\.(?:py|txt|tsv|toml)|/))`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_named_modules_exist(name: str) -> None:
    assert (PACKAGE / name).exists() or (ROOT / name).exists()


@pytest.mark.parametrize(
    "package", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
)
def test_every_package_is_in_the_layout(package: str) -> None:
    layout = PAGE.split("\n## Layout\n")[1].split("\n## ")[0]
    assert f"\n| `{package}/` |" in layout


def test_every_top_level_module_is_named() -> None:
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert modules <= set(NAMED)


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("[a-z]*/*.py")}),
)
def test_every_folder_of_code_is_in_the_layout(folder: str) -> None:
    assert f"\n| `{folder}/` |" in PAGE or folder == "plugins"


def test_walkthrough_covers_every_task() -> None:
    walk = PAGE.split("\n## One batch, step by step\n")[1].split("\n## ")[0]
    tasks = {"manifest"}  # of upload.py's other tasks the page speaks as one
    for module in ("process.py", "finish.py"):
        source = (PACKAGE / "tasks" / module).read_text()
        for options, name in re.findall(r"^@task\(\n(.*?)^\)\ndef (\w+)", source, re.M | re.S):
            task_id = re.search(r'task_id="(\w+)"', options)
            tasks.add(task_id[1] if task_id else name)
    assert len(tasks) > 7
    assert {task for task in tasks if f"**`{task}`**" not in walk} == set()
