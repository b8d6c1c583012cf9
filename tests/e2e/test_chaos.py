"""A few rounds of the chaos harness (`make chaos` runs any number)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.__main__ import Harness, running_site
from chaos.faults import Fault

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROUNDS = [
    (Fault("crash", "archives: uploaded"), ""),
    (Fault("crash", "take back: row deleted"), "revised, under another date"),
    (Fault("break", "bigquery", moment=0.5, how="cut after", calls=3), "again"),
    (Fault("clear", "one task, with what follows"), "revised"),
    (Fault("person", "delete run, same id again", moment=0.4), ""),
    (Fault("person", "withdraw"), ""),
]


def test_a_few_chaos_rounds(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        harness = Harness(site, seed=7)
        for number, (fault, extra) in enumerate(ROUNDS, start=1):
            done = harness.round(number, fault, extra)
            assert not done.broken, done.line(7)
