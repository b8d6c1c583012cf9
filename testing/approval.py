"""Comparison of long, readable results with a text that somebody has read and approved.

A test makes lines; the fixture :func:`approved` compares them with its file under
``__snapshots__`` next to the test. ``make approve`` writes these files anew: read what ``git diff``
shows of them before committing it, as a change of the product's behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import unified_diff
from itertools import islice
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

SHOWN = 60
"""Lines of a difference that a failing test shows."""

HOW = """\
The result is not the approved one (- approved, + now). If the change is meant, run `make approve`,
read the `git diff` of the files under __snapshots__, and commit them with the change."""

Approved = Callable[[Iterable[str]], None]


class TextFile(SingleFileSnapshotExtension):
    """Keeps a test's text in a file of its own."""

    file_extension = "txt"
    _write_mode = WriteMode.TEXT

    def diff_lines(self, serialized_data: Any, snapshot_data: Any) -> Iterator[str]:
        """Yield the first lines that differ. The library's own diff, letter by letter, takes
        minutes for a long text."""
        old, new = str(snapshot_data).splitlines(), str(serialized_data).splitlines()
        yield from islice(unified_diff(old, new, n=0, lineterm=""), SHOWN)


@pytest.fixture
def approved(snapshot: SnapshotAssertion) -> Approved:
    """Return what compares lines with those that were approved for this test."""
    kept = snapshot.use_extension(TextFile)

    def compare(lines: Iterable[str]) -> None:
        text = "\n".join(lines) + "\n"
        if kept != text:
            pytest.fail("\n".join((HOW, *kept.get_assert_diff())), pytrace=False)

    return compare
