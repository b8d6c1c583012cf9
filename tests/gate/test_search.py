"""Multi-pattern search, in as many databases as compile quickly."""

from __future__ import annotations

import pytest

from sendit.gate import search
from sendit.gate.search import Hit, Search, literal


@pytest.mark.parametrize("count", [1, 24, 25, 96, 97, 130])
def test_matches_do_not_depend_on_the_number_of_patterns(count: int) -> None:
    values = [f"value{number:03}".encode() for number in range(count)]
    data = b" ".join(reversed(values)).upper()
    folded = Search([literal(value) for value in values], [True] * count)
    wanted = [Hit(number, data.index(value.upper()) + 8) for number, value in enumerate(values)]
    assert folded.hits(data) == wanted[::-1]
    exact = Search([literal(value) for value in values], [number > 0 for number in range(count)])
    assert exact.hits(data) == wanted[:0:-1]


@pytest.mark.parametrize(("count", "databases"), [(0, 0), (24, 1), (25, 2), (96, 4), (97, 1)])
def test_few_patterns_share_a_database(
    count: int, databases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    database = search.hyperscan.Database

    def counted() -> object:
        made.append(1)
        return database()

    monkeypatch.setattr(search.hyperscan, "Database", counted)
    patterns = [literal(f"value{number:03}".encode()) for number in range(count)]
    assert Search(patterns, [True] * count).hits(b"value") == []
    assert len(made) == databases
