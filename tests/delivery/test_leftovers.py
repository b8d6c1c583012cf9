"""What ended runs left in bucket and table: what is deleted, and what is somebody else's."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sendit.delivery import leftovers, objects
from sendit.delivery.leftovers import LAST_LOOK_SECONDS, remove_stages, retract_strays, stages_left
from sendit.errors import FailBatch
from sendit.ledger import Delivery, StageLeft

NOW = 2e9
STRAY = Delivery(
    batch_id="b0",
    bucket="bucket",
    object="name",
    size=1,
    crc32c="AAAAAA==",
    members=1,
    recipe_digest="0" * 64,
    engine="1",
    study_key="c/p/s",
    generation=5,
)


class LedgerStandin:
    """Remembers what it was told."""

    def __init__(self, stages: list[StageLeft] | None = None, others: Any = ()) -> None:
        self._stages = stages or []
        self._others = others
        self.told: list[Any] = []

    def stages(self) -> list[StageLeft]:
        return self._stages

    def batch(self, batch_id: str) -> Any:
        return SimpleNamespace(collection=f"of-{batch_id}")

    def deliveries_of(self, bucket: str, study_key: str) -> Any:
        assert (bucket, study_key) == ("bucket", "c/p/s")
        return self._others

    def put_stage_dropped(self, stage: StageLeft, *, for_good: bool) -> None:
        self.told.append((stage, for_good))

    def put_retracted(self, batch_id: str, *, found: bool) -> None:
        self.told.append((batch_id, found))


def stage(holder: str = "ended", dropped_at: float | None = None) -> StageLeft:
    return StageLeft(holder, 3, "bucket", "c", dropped_at)


@pytest.mark.parametrize(
    ("left", "due"),
    [
        (stage(), True),
        (stage("still at work"), False),
        (stage(dropped_at=NOW), False),
        (stage(dropped_at=NOW - LAST_LOOK_SECONDS), False),
        (stage(dropped_at=NOW - LAST_LOOK_SECONDS - 1), True),
        (stage("still at work", NOW - LAST_LOOK_SECONDS - 1), False),
    ],
)
def test_staging_data_is_looked_for_at_once_and_once_more_an_hour_later(
    monkeypatch: pytest.MonkeyPatch, left: StageLeft, due: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    found = stages_left(LedgerStandin([left]), ["ended", "another"])  # type: ignore[arg-type]
    assert found == ([left] if due else [])


def test_what_the_bucket_retains_is_left_for_a_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def remove_stage(left: StageLeft, *rest: Any) -> bool:
        asked.append((left, *rest))
        return left.holder != "kept"

    monkeypatch.setattr(leftovers, "remove_stage", remove_stage)
    ledger: Any = LedgerStandin()
    clients: Any = ("storage", "bigquery")
    kept, first, second = stage("kept"), stage(), stage(dropped_at=1.0)
    remove_stages(ledger, Path("/work"), [kept, first, second], *clients)
    assert asked == [(each, Path("/work"), *clients) for each in (kept, first, second)]
    # The second look is the last.
    assert ledger.told == [(first, False), (second, True)]


class Bucket:
    """Objects by name, each with its checksum and generation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **there: tuple[str, int]) -> None:
        self.there = there
        self.retracted: list[Any] = []
        self.refuses: set[str] = set()
        monkeypatch.setattr(objects, "find", self.find)
        monkeypatch.setattr(leftovers, "retract", self.retract)

    def find(self, client: str, bucket: str, name: str) -> Any:
        assert (client, bucket) == ("storage", "bucket")
        if name not in self.there:
            return None
        checksum, generation = self.there[name]
        return SimpleNamespace(name=name, crc32c=checksum, generation=generation)

    def retract(self, delivery: Delivery, *rest: Any) -> None:
        if delivery.object in self.refuses:
            raise FailBatch("a hold")
        self.retracted.append((delivery, *rest))


CLIENTS: Any = ("storage", "bigquery")


def test_an_archive_that_was_sent_and_never_proven_is_deleted_where_it_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7))
    ledger: Any = LedgerStandin()
    retract_strays(ledger, [STRAY], *CLIENTS)
    # The generation is the one that is there, whatever was written down.
    assert bucket.retracted == [(replace(STRAY, generation=7), "of_b0", *CLIENTS)]
    assert ledger.told == [("b0", True)]


def test_what_was_on_its_way_under_another_name_is_deleted_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = replace(STRAY, sent_object="sent", sent_crc32c="BBBBBB==")
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7), sent=("BBBBBB==", 8))
    ledger: Any = LedgerStandin()
    retract_strays(ledger, [sent], *CLIENTS)
    assert {(each.object, each.generation) for each, *_ in bucket.retracted} == {
        ("name", 7),
        ("sent", 8),
    }
    assert ledger.told == [("b0", True)]
    # Sent under the archive's own name, with the bytes of an earlier try.
    bucket = Bucket(monkeypatch, name=("BBBBBB==", 9))
    retract_strays(ledger, [replace(STRAY, sent_crc32c="BBBBBB==")], *CLIENTS)
    assert [each.generation for each, *_ in bucket.retracted] == [9]


@pytest.mark.parametrize("there", [{}, {"name": ("CCCCCC==", 7)}])
def test_what_is_not_there_or_has_other_bytes_is_left_and_written_down(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, tuple[str, int]]
) -> None:
    bucket = Bucket(monkeypatch, **there)
    ledger: Any = LedgerStandin()
    retract_strays(ledger, [STRAY], *CLIENTS)
    assert bucket.retracted == []
    assert ledger.told == [("b0", False)]


@pytest.mark.parametrize(
    ("changed", "deleted"),
    [
        ({}, False),
        ({"generation": 6}, True),
        ({"object": "another"}, True),
        ({"rows_at": None}, True),
        ({"withdrawn_at": 2.0}, True),
        ({"batch_id": "b0"}, True),  # the stray itself
    ],
)
def test_what_another_batch_delivered_is_its_own(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], deleted: bool
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7))
    other = replace(STRAY, **{"batch_id": "b1", "generation": 7, "rows_at": 1.0, **changed})
    ledger: Any = LedgerStandin(others=[other])
    retract_strays(ledger, [STRAY], *CLIENTS)
    assert bool(bucket.retracted) is deleted
    assert ledger.told == [("b0", deleted)]


def test_what_may_not_be_deleted_is_tried_again_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7), second=("AAAAAA==", 8))
    bucket.refuses = {"name"}
    ledger: Any = LedgerStandin()
    second = replace(STRAY, batch_id="b1", object="second")
    retract_strays(ledger, [STRAY, second], *CLIENTS)
    assert [each.object for each, *_ in bucket.retracted] == ["second"]
    assert ledger.told == [("b1", True)]
    assert "a hold" in caplog.text
