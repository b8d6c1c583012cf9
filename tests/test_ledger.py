"""The ledger on both databases: each operation once, twice, and from two sides."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from sendit.batch import BatchError, Counts, Outcome, Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import (
    BatchParams,
    Delivery,
    Event,
    Known,
    Ledger,
    Stored,
    count_outcomes,
    ledger_url,
)

PARAMS = BatchParams(study="test", collection="IRB1", recipe="default")
FOLDERS = [(f"{number:064x}", f"/input/ACC{number}") for number in range(5)]
ARCHIVE = Delivery(
    batch_id="",
    bucket="bucket",
    object="Collection/a.tar.gz",
    size=10,
    crc32c="AAAAAA==",
    members=3,
    recipe_digest="r" * 64,
    engine="2.0.0",
    archive_of="c/p/s",
)


def one_batch(ledger: Ledger) -> str:
    ledger.enqueue(FOLDERS[:1], PARAMS)
    (batch_id,) = ledger.claim("run-1", 1)
    return batch_id


def test_a_folder_is_queued_once(ledger: Ledger) -> None:
    assert ledger.enqueue(FOLDERS, PARAMS) == 5
    assert ledger.enqueue(FOLDERS, PARAMS) == 0
    assert ledger.queued() == 5
    assert ledger.queued({FOLDERS[0][0], "f" * 64}) == 1


def test_a_run_claims_the_oldest_and_the_same_again(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS, PARAMS)
    claimed = ledger.claim("run-1", 2)
    assert [ledger.identifier(batch, "folder") for batch in claimed] == [
        path for _, path in FOLDERS[:2]
    ]
    assert ledger.claim("run-1", 5) == claimed
    assert not set(ledger.claim("run-2", 5)) & set(claimed)
    assert ledger.queued() == 0


def test_a_batch_keeps_what_it_was_queued_with_whichever_run_takes_it(ledger: Ledger) -> None:
    alpha = BatchParams("alpha", "IRB7", "strict", revise=True, subfolder="1_6")
    beta = BatchParams("beta", "beta", "default")
    ledger.enqueue(FOLDERS[:1], alpha)
    ledger.enqueue(FOLDERS[1:2], beta)
    first, second = ledger.claim("a run of beta", 5)
    assert ledger.batch(first).params == alpha
    assert ledger.batch(second).params == beta
    ledger.record(first, status=Status.ERROR)
    ledger.requeue(first)
    assert ledger.claim("another run", 5) == [first]
    assert ledger.batch(first).params == alpha
    # Set aside, put in order, and found by a run of another study.
    ledger.record(first, status=Status.ERROR)
    ledger.forget(first, set_aside=True)
    ledger.enqueue(FOLDERS[:1], beta)
    assert ledger.claim("a third run", 5) == [first]
    assert ledger.batch(first).params == alpha
    # Delivered, and the folder comes again with other files.
    ledger.record(first, status=Status.DONE)
    ledger.enqueue(FOLDERS[:1], beta)
    (again,) = ledger.claim("a fourth run", 5)
    assert again != first
    assert ledger.batch(again).params == dataclasses.replace(alpha, revise=False)


def test_two_runs_that_claim_at_once_share_nothing(ledger: Ledger) -> None:
    ledger.enqueue([(f"{number:064x}", f"/input/{number}") for number in range(40)], PARAMS)
    claimed: dict[str, list[str]] = {}
    start = threading.Barrier(4)

    def claim(run: str) -> None:
        start.wait()
        claimed[run] = ledger.claim(run, 10)

    threads = [threading.Thread(target=claim, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [batch for batches in claimed.values() for batch in batches]
    assert len(taken) == len(set(taken))


def test_claims_only_within_the_chosen_folder(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS, PARAMS)
    (waiting,) = ledger.waiting({FOLDERS[3][0]})
    assert waiting[1] == FOLDERS[3][1]
    assert ledger.claim("run-1", 5, among=[waiting[0]]) == [waiting[0]]


def test_batch_starts_anew_and_forgets_what_an_earlier_try_found(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.start(batch_id)
    ledger.record(
        batch_id,
        status=Status.ERROR,
        counts=Counts(received=3, quarantined=3),
        reasons={"quarantined: truncated": 3},
        errors=[BatchError("import", "truncated", 3, (1, 2, 3))],
        stage="import",
    )
    found = ledger.batch(batch_id)
    assert (found.status, found.has_error, found.counts.quarantined) == (Status.ERROR, True, 3)
    assert found.errors[0]["files"] == [1, 2, 3]
    assert found.finished_at is not None
    ledger.start(batch_id)
    found = ledger.batch(batch_id)
    assert (found.status, found.has_error, found.errors) == (Status.PROCESSING, False, [])
    assert found.counts == Counts()
    assert found.finished_at is None


def test_errors_of_a_stage_are_replaced_and_those_of_others_kept(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, errors=[BatchError("import", "truncated")], stage="import")
    ledger.record(batch_id, errors=[BatchError("upload task", "down")], stage="upload task")
    ledger.record(batch_id, errors=[], stage="upload task")
    assert [error["stage"] for error in ledger.batch(batch_id).errors] == ["import"]
    assert [batch.id for batch in ledger.all_batches(errors_only=True)] == [batch_id]
    ledger.record(batch_id, errors=[], stage="import")
    assert not ledger.batch(batch_id).has_error


def test_forget_leaves_no_byte_of_the_identifiers(ledger: Ledger, tmp_path: Path) -> None:
    batch_id = one_batch(ledger)
    ledger.put_identifier(batch_id, "header", {"00100020": "CANARY-MRN"})
    ledger.put_identifier(batch_id, "header", {"00100020": "CANARY-TWO"})
    assert ledger.identifier(batch_id, "header") == {"00100020": "CANARY-TWO"}
    ledger.forget(batch_id)
    assert ledger.identifier(batch_id, "header") is None
    assert ledger.identifier(batch_id, "folder") is None
    assert ledger.batch(batch_id).cleaned_at is not None
    for file in (tmp_path / "ledger").glob("*"):
        assert b"CANARY" not in file.read_bytes()
        assert b"ACC0" not in file.read_bytes()


def test_a_folder_set_aside_is_queued_again_under_its_batch(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, status=Status.ERROR)
    ledger.forget(batch_id, set_aside=True)
    assert ledger.known([FOLDERS[0][0]]) == {
        FOLDERS[0][0]: Known(batch_id, Status.ERROR, set_aside=True, cleaned=True, listing=None)
    }
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 1
    assert ledger.claim("run-2", 1) == [batch_id]
    assert ledger.batch(batch_id).run_id == "run-2"
    assert not ledger.batch(batch_id).set_aside


def test_a_delivered_folder_that_comes_again_is_a_batch_of_its_own(ledger: Ledger) -> None:
    first = one_batch(ledger)
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 0
    ledger.record(first, status=Status.DONE)
    ledger.forget(first)
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 1
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 0
    (second,) = ledger.claim("run-2", 5)
    assert second != first
    assert ledger.batch(first).status is Status.DONE
    assert ledger.batch(second).folder_digest == FOLDERS[0][0]


def test_only_a_batch_in_error_is_requeued(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    with pytest.raises(FailBatch, match="neither in ERROR nor withdrawn"):
        ledger.requeue(batch_id)
    ledger.record(batch_id, status=Status.ERROR)
    ledger.requeue(batch_id)
    assert ledger.queued() == 1


def test_the_same_archive_again_keeps_what_the_store_answered(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    ledger.put_done(batch_id, 1)
    assert ledger.batch(batch_id).status is Status.DONE
    ledger.put_archive(archive)
    held = ledger.delivery(batch_id)
    assert held is not None
    assert (held.generation, held.rows) == (7, 1)
    ledger.put_archive(dataclasses.replace(archive, crc32c="BBBBBB=="))
    held = ledger.delivery(batch_id)
    assert held is not None
    assert (held.generation, held.rows, held.rows_at) == (None, None, None)
    ledger.put_stored(archive, Stored(8, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    held = ledger.delivery(batch_id)
    assert held is not None
    assert held.generation is None  # the archive that was stored is not the one held


def test_two_batches_never_share_an_object(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS[:2], PARAMS)
    first, second = ledger.claim("run-1", 2)
    ledger.put_archive(dataclasses.replace(ARCHIVE, batch_id=first))
    with pytest.raises(FailBatch, match="two folders hold one study"):
        ledger.put_archive(dataclasses.replace(ARCHIVE, batch_id=second))
    assert ledger.delivery(second) is None


def test_the_history_outlives_what_it_tells_of(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS[:2], PARAMS)
    first, second = ledger.claim("run-1", 2)
    archive = dataclasses.replace(ARCHIVE, batch_id=first)
    ledger.put_archive(archive)
    ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    ledger.put_done(first, 1)
    for _ in range(2):
        ledger.supersede(first, second)
        ledger.put_withdrawn(first, "asked for")
    ledger.put_same(second, first)
    ledger.start(first)
    events = [(entry.event, entry.generation, entry.note) for entry in ledger.history(first)]
    assert events == [
        (Event.DELIVERED, 7, None),
        (Event.SUPERSEDED, 7, second),
        (Event.WITHDRAWN, 7, "asked for"),
    ]
    assert [entry.note for entry in ledger.history(second)] == [first]
    assert ledger.batch(second).same_as == first


def test_beginning_anew_forgets_an_archive_that_never_left(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    ledger.start(batch_id)
    assert ledger.delivery(batch_id) is None
    ledger.put_archive(archive)
    ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    ledger.start(batch_id)
    assert ledger.delivery(batch_id) is not None


def test_codes_are_kept_and_the_first_wins(ledger: Ledger) -> None:
    assert ledger.patient_code("d" * 64, "p1", 5) == ("p1", 5)
    assert ledger.patient_code("d" * 64, "p2", 9) == ("p1", 5)
    assert ledger.study_code("e" * 64, "s1") == "s1"
    assert ledger.study_code("e" * 64, "s2") == "s1"


def test_codes_asked_for_at_once_are_one(ledger: Ledger) -> None:
    answers: set[tuple[str, int]] = set()
    start = threading.Barrier(6)

    def ask(number: int) -> None:
        start.wait()
        answers.add(ledger.patient_code("d" * 64, f"code{number}", number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 1


def test_a_ledger_of_another_schema_is_refused(ledger: Ledger) -> None:
    ledger.queued()
    again = Ledger(ledger.uri)  # type: ignore[attr-defined]
    with again._engine.begin() as db:
        db.execute(sa.text("UPDATE schema_info SET version = 99"))
    with pytest.raises(Misconfigured, match="schema 99"):
        Ledger(ledger.uri).queued()  # type: ignore[attr-defined]


def test_a_path_that_is_not_utf8_survives(ledger: Ledger) -> None:
    path = "/input/caf\udce9"
    ledger.enqueue([("a" * 64, path)], PARAMS)
    (batch_id,) = ledger.claim("run-1", 1)
    assert ledger.identifier(batch_id, "folder") == path


def test_a_database_that_is_down_is_for_later_and_names_no_value() -> None:
    down = Ledger("postgresql://user:secret@127.0.0.1:1/ledger")
    with pytest.raises(RetryLater, match="sendit_ledger") as caught:
        down.put_identifier("b", "header", {"00100020": "CANARY"})
    assert "CANARY" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("uri", "driver"),
    [
        ("postgres://u:p@h:5432/db", "postgresql+psycopg2"),
        ("postgresql://u:p@h/db", "postgresql+psycopg2"),
        ("sqlite:////tmp/x.db", "sqlite"),
    ],
)
def test_uris_as_airflow_writes_them(uri: str, driver: str) -> None:
    assert ledger_url(uri).drivername == driver


@pytest.mark.parametrize("uri", ["mysql://h/db", "no uri", ""])
def test_other_databases_are_refused(uri: str) -> None:
    with pytest.raises(Misconfigured, match="sendit_ledger"):
        ledger_url(uri)


def test_unknown_batch_fails_clearly(ledger: Ledger) -> None:
    with pytest.raises(FailBatch, match="not in the ledger"):
        ledger.batch("b0000000000000000")


def test_outcomes_are_counted() -> None:
    counts = count_outcomes([Outcome.DELIVERED, Outcome.DELIVERED, Outcome.DUPLICATE])
    assert counts == Counts(received=3, delivered=2, duplicate=1)
    assert counts.conserved
    counts.received = 4
    assert not counts.conserved
