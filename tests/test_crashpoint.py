"""Crash points: each is registered, occurs once in the code, and kills once when armed."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sendit.crashpoint import POINTS, VARIABLE, arm, reach

PACKAGE = Path(__file__).parents[1] / "plugins" / "sendit"
#: Reached through a name derived from the task's.
STEPS = ("stage: ran", "load: ran", "merge: ran")


def points_in_the_code() -> list[str]:
    points = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "reach"
                and isinstance(node.args[0], ast.Constant)
            ):
                points.append(node.args[0].value)
    return points


def test_every_crash_point_occurs_once_in_the_code():
    assert sorted([*points_in_the_code(), *STEPS]) == sorted(POINTS)


def test_crash_points_are_inert_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    reach(POINTS[0])
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    reach(POINTS[0])


@pytest.mark.parametrize("point", POINTS)
def test_an_armed_crash_point_kills_once(point, tmp_path):
    arm(tmp_path, point)
    command = [
        sys.executable,
        "-c",
        "import sys; from sendit.crashpoint import reach; reach(sys.argv[1]); print('past')",
        point,
    ]
    environment = {VARIABLE: str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    first = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    second = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (0, "past\n")


def test_unknown_crash_points_cannot_be_armed(tmp_path):
    with pytest.raises(ValueError, match="no such"):
        arm(tmp_path, "nowhere")
