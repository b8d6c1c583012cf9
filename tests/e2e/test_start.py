"""A stack that cannot start names the failed part, keeps its logs, and leaves no processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import results
from demo.processes import DemoError
from demo.stack import Stack

pytestmark = pytest.mark.e2e


class NoBigQuery(Stack):
    """A stack whose BigQuery emulator exits immediately."""

    def start_bigquery(self) -> None:
        self.processes.start(
            "bigquery",
            ["sh", "-c", "echo no such extension; exit 1"],
            env={"PATH": "/usr/bin:/bin"},
            cwd=self.folder,
        )
        self.processes.wait_for("bigquery", lambda: False)


def test_a_failed_service_is_named_with_its_log(tmp_path: Path) -> None:
    stack = NoBigQuery([], root=tmp_path)
    try:
        with pytest.raises(DemoError, match=r"(?s)bigquery ended.*no such extension"):
            stack.start()
        out = tmp_path / "out"
        results.prepare(out)
        missing = results.collect(stack, out)
        assert (out / "logs" / "bigquery.log").read_text() == "no such extension\n"
        assert any(each.startswith("bigquery.ndjson: ") for each in missing)
    finally:
        stack.close()
    assert not stack.folder.exists()
