"""Leftovers of ended runs in bucket and table: what is deleted, and what belongs to others."""

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
    """Records the calls that change it."""

    def __init__(self, stages: list[StageLeft] | None = None, others: Any = ()) -> None:
        self._stages = stages or []
        self._others = others
        self.calls: list[Any] = []

    def stages(self) -> list[StageLeft]:
        return self._stages

    def batch(self, batch_id: str) -> Any:
        return SimpleNamespace(collection=f"of-{batch_id}")

    def deliveries_of(self, bucket: str, study_key: str) -> Any:
        assert (bucket, study_key) == ("bucket", "c/p/s")
        return self._others

    def put_stage_dropped(self, stage: StageLeft, *, for_good: bool) -> None:
        self.calls.append((stage, for_good))

    def put_retracted(self, batch_id: str, *, found: bool) -> None:
        self.calls.append((batch_id, found))


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
def test_staging_data_is_checked_immediately_and_again_after_an_hour(
    monkeypatch: pytest.MonkeyPatch, left: StageLeft, due: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    due_stages = stages_left(LedgerStandin([left]), ["ended", "another"])  # type: ignore[arg-type]
    assert due_stages == ([left] if due else [])


def test_retained_staging_data_is_left_for_a_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def remove_stage(left: StageLeft, *rest: Any) -> bool:
        calls.append((left, *rest))
        return left.holder != "kept"

    monkeypatch.setattr(leftovers, "remove_stage", remove_stage)
    ledger: Any = LedgerStandin()
    clients: Any = ("storage", "bigquery")
    kept, first, second = stage("kept"), stage(), stage(dropped_at=1.0)
    remove_stages(ledger, Path("/work"), [kept, first, second], *clients)
    assert calls == [(each, Path("/work"), *clients) for each in (kept, first, second)]
    # The second check is the last.
    assert ledger.calls == [(first, False), (second, True)]


class Bucket:
    """Objects by name, each with its checksum and generation."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, **objects_in_bucket: tuple[str, int]
    ) -> None:
        self.there = objects_in_bucket
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


def test_an_uploaded_but_unconfirmed_archive_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7))
    ledger: Any = LedgerStandin()
    retract_strays(ledger, [STRAY], *CLIENTS)
    # The current generation is deleted, whatever the ledger recorded.
    assert bucket.retracted == [(replace(STRAY, generation=7), "of_b0", *CLIENTS)]
    assert ledger.calls == [("b0", True)]


def test_an_earlier_upload_under_another_name_is_also_deleted(
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
    assert ledger.calls == [("b0", True)]
    # Uploaded under the archive's own name, with the bytes of an earlier attempt.
    bucket = Bucket(monkeypatch, name=("BBBBBB==", 9))
    retract_strays(ledger, [replace(STRAY, sent_crc32c="BBBBBB==")], *CLIENTS)
    assert [each.generation for each, *_ in bucket.retracted] == [9]


@pytest.mark.parametrize("objects_in_bucket", [{}, {"name": ("CCCCCC==", 7)}])
def test_missing_or_different_objects_are_left_and_recorded(
    monkeypatch: pytest.MonkeyPatch, objects_in_bucket: dict[str, tuple[str, int]]
) -> None:
    bucket = Bucket(monkeypatch, **objects_in_bucket)
    ledger: Any = LedgerStandin()
    retract_strays(ledger, [STRAY], *CLIENTS)
    assert bucket.retracted == []
    assert ledger.calls == [("b0", False)]


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
def test_an_object_delivered_by_another_batch_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], deleted: bool
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7))
    other = replace(STRAY, **{"batch_id": "b1", "generation": 7, "rows_at": 1.0, **changed})
    ledger: Any = LedgerStandin(others=[other])
    retract_strays(ledger, [STRAY], *CLIENTS)
    assert bool(bucket.retracted) is deleted
    assert ledger.calls == [("b0", deleted)]


def test_a_failed_deletion_is_retried_later_and_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = Bucket(monkeypatch, name=("AAAAAA==", 7), second=("AAAAAA==", 8))
    bucket.refuses = {"name"}
    ledger: Any = LedgerStandin()
    second = replace(STRAY, batch_id="b1", object="second")
    retract_strays(ledger, [STRAY, second], *CLIENTS)
    assert [each.object for each, *_ in bucket.retracted] == ["second"]
    assert ledger.calls == [("b1", True)]
    assert "a hold" in caplog.text
