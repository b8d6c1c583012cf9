"""The stack's servers are checked while a run is awaited."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from demo.processes import DemoError
from demo.stack import Stack


class FakeProcesses:
    """Processes of which the scheduler has ended, with these last lines in its log."""

    def __init__(self, code: int | None, log: str) -> None:
        self.codes = {"scheduler": code}
        self.log = log

    def poll(self, name: str) -> int | None:
        return self.codes.get(name)

    def tail(self, name: str) -> str:
        assert name == "scheduler"
        return self.log

    def check(self, names: Sequence[str]) -> None:
        for name in names:
            if self.poll(name) is not None:
                raise DemoError(f"{name} ended")


def stack_with(code: int | None, log: str) -> tuple[Stack, list[str]]:
    stack = Stack.__new__(Stack)
    processes = FakeProcesses(code, log)
    started: list[str] = []

    def start(name: str) -> None:
        started.append(name)
        processes.codes[name] = None

    vars(stack).update(processes=processes, say=lambda _: None, start_component=start)
    return stack, started


def test_a_scheduler_that_a_deleted_run_ended_is_restarted() -> None:
    stack, started = stack_with(1, "    sqlalchemy.orm.exc.ObjectDeletedError: Instance '<DagRun>'")
    stack.check()
    assert started == ["scheduler"]


def test_a_scheduler_that_ended_otherwise_is_reported() -> None:
    stack, started = stack_with(1, "    OperationalError")
    with pytest.raises(DemoError, match="scheduler ended"):
        stack.check()
    assert started == []


def test_a_running_scheduler_is_left_alone() -> None:
    stack, started = stack_with(None, "    ObjectDeletedError")
    stack.check()
    assert started == []
