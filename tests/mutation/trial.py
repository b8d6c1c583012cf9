"""Run a package's tests against its mutants; run in the folder in which the mutants are.

This process imports and collects all tests once, and forks for each mutant. The tests that
mirror the mutant's module run first, then those against approved results, then all others, until
one fails.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test

NOTHING_RAN = int(pytest.ExitCode.NO_TESTS_COLLECTED)


def main() -> None:
    """Print a JSON line for each mutant: its name and outcome."""
    order = json.loads(sys.argv[1])
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open("pytest.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    set_mutant_under_test("")
    trial = Trial(order["tests"], order["options"], near=order["near"])
    for name in order["names"]:
        results.write(json.dumps([name, trial.of(name)]) + "\n")


class Trial:
    """Tries mutants, with these tests.

    Parameters
    ----------
    tests
        Files and folders of tests, and single tests.
    options
        Of pytest.
    near
        Run only the tests of the module and those against approved results, not all others.
    """

    def __init__(self, tests: Iterable[str], options: list[str], *, near: bool = False) -> None:
        self._tests = list(dict.fromkeys(_files(tests)))
        self._options = options
        self._near = near
        code = pytest.main(["--collect-only", "-q", *options, *self._tests])
        if code != 0:
            raise SystemExit(f"the tests cannot be collected: {code!r}")
        self._cost = cache(self._measured)

    def of(self, mutant: str) -> str:
        """Return ``killed``, ``ran on`` (without end), ``survived``, or ``no test``."""
        own = tuple(test for test in self._tests if _mirrors(test, mutant))
        approved = tuple(test for test in self._tests if "test_approved" in test)
        rest = tuple(test for test in self._tests if test not in {*own, *approved})
        ran = False
        for tests in filter(None, (own, approved, () if self._near else rest)):
            limit = 20 + 4 * self._cost(tests)
            code, _ = self._run(tests, mutant, limit)
            if code not in {0, NOTHING_RAN}:
                return "killed" if code > 0 else "ran on"
            ran |= code == 0
        return "survived" if ran else "no test"

    def _measured(self, tests: tuple[str, ...]) -> float:
        """Return the CPU seconds that the tests take without a mutant."""
        code, took = self._run(tests, "")
        if code not in {0, NOTHING_RAN}:
            raise SystemExit(f"these tests fail without a mutant: {' '.join(tests)}")
        return took

    def _run(
        self, tests: tuple[str, ...], mutant: str, limit: float | None = None
    ) -> tuple[int, float]:
        pid = os.fork()
        if pid == 0:
            set_mutant_under_test(mutant)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
            os._exit(pytest.main(["-x", "-q", *self._options, *tests]))
        _, status, used = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _files(tests: Iterable[str]) -> Iterable[str]:
    for test in tests:
        if Path(test).is_dir():
            yield from map(str, sorted(Path(test).rglob("test_*.py")))
        else:
            yield test


def _mirrors(test: str, mutant: str) -> bool:
    """Whether a test is of the mutant's module: ``test_rows.py`` of ``delivery/rows.py``."""
    module = mutant.split(".")[-2]
    name = Path(test.partition("::")[0]).stem
    return name == f"test_{module}" or name.startswith(f"test_{module}_")


if __name__ == "__main__":
    main()
