"""The ledger on both databases: each operation once, repeated, and concurrently."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from sendit.batch import BatchError, Counts, Outcome, Status
from sendit.errors import FailBatch, Misconfigured, RetryLater, TakenOver
from sendit.ledger import (
    MAX_TAKE_UPS,
    UNDER_WAY,
    BatchParams,
    Delivery,
    Event,
    Holder,
    KnownFolder,
    Ledger,
    Run,
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
    study_key="c/p/s",
)


def one_batch(ledger: Ledger) -> str:
    ledger.enqueue(FOLDERS[:1], PARAMS)
    (batch_id,) = ledger.claim("run-1", 1)
    return batch_id


def test_enqueue_is_idempotent(ledger: Ledger) -> None:
    assert ledger.enqueue(FOLDERS, PARAMS) == 5
    assert ledger.enqueue(FOLDERS, PARAMS) == 0
    assert ledger.count_queued() == 5
    assert ledger.count_queued({FOLDERS[0][0], "f" * 64}) == 1


def test_claim_takes_the_oldest_batches_and_is_idempotent(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS, PARAMS)
    claimed = ledger.claim("run-1", 2)
    assert [ledger.identifier(batch, "folder") for batch in claimed] == [
        path for _, path in FOLDERS[:2]
    ]
    assert ledger.claim("run-1", 5) == claimed
    assert not set(ledger.claim("run-2", 5)) & set(claimed)
    assert ledger.count_queued() == 0


def test_a_batch_keeps_its_params_in_any_run(ledger: Ledger) -> None:
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
    # Set aside, repaired, and found by a run of another study.
    ledger.record(first, status=Status.ERROR)
    ledger.delete_identifiers(first, set_aside=True)
    ledger.enqueue(FOLDERS[:1], beta)
    assert ledger.claim("a third run", 5) == [first]
    assert ledger.batch(first).params == alpha
    # Delivered, and the folder returns with other files.
    ledger.record(first, status=Status.DONE)
    ledger.enqueue(FOLDERS[:1], beta)
    (again,) = ledger.claim("a fourth run", 5)
    assert again != first
    assert ledger.batch(again).params == dataclasses.replace(alpha, revise=False)


def test_concurrent_claims_do_not_overlap(ledger: Ledger) -> None:
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


def test_claim_is_limited_to_the_given_subfolder(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS, PARAMS)
    (waiting,) = ledger.waiting({FOLDERS[3][0]})
    assert waiting[1] == FOLDERS[3][1]
    assert ledger.claim("run-1", 5, among=[waiting[0]]) == [waiting[0]]


def test_start_resets_the_results_of_an_earlier_attempt(ledger: Ledger) -> None:
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
    batch = ledger.batch(batch_id)
    assert (batch.status, batch.has_error, batch.counts.quarantined) == (Status.ERROR, True, 3)
    assert batch.errors[0]["files"] == [1, 2, 3]
    assert batch.finished_at is not None
    ledger.start(batch_id)
    batch = ledger.batch(batch_id)
    assert (batch.status, batch.has_error, batch.errors) == (Status.PROCESSING, False, [])
    assert batch.counts == Counts()
    assert batch.finished_at is None


def test_errors_are_replaced_per_stage(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, errors=[BatchError("import", "truncated")], stage="import")
    ledger.record(batch_id, errors=[BatchError("upload task", "down")], stage="upload task")
    ledger.record(batch_id, errors=[], stage="upload task")
    assert [error["stage"] for error in ledger.batch(batch_id).errors] == ["import"]
    assert [batch.id for batch in ledger.all_batches(errors_only=True)] == [batch_id]
    ledger.record(batch_id, errors=[], stage="import")
    assert not ledger.batch(batch_id).has_error


def test_deleted_identifiers_leave_no_bytes_in_the_database(ledger: Ledger, tmp_path: Path) -> None:
    batch_id = one_batch(ledger)
    ledger.put_identifier(batch_id, "header", {"00100020": "CANARY-MRN"})
    ledger.put_identifier(batch_id, "header", {"00100020": "CANARY-TWO"})
    assert ledger.identifier(batch_id, "header") == {"00100020": "CANARY-TWO"}
    assert not ledger.delete_identifiers(batch_id)  # the batch is running
    ledger.record(batch_id, status=Status.DONE)
    assert ledger.delete_identifiers(batch_id)
    assert ledger.identifier(batch_id, "header") is None
    assert ledger.identifier(batch_id, "folder") is None
    assert ledger.batch(batch_id).cleaned_at is not None
    for file in (tmp_path / "ledger").glob("*"):
        assert b"CANARY" not in file.read_bytes()
        assert b"ACC0" not in file.read_bytes()


def test_a_folder_that_was_set_aside_is_requeued_as_the_same_batch(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, status=Status.ERROR)
    ledger.delete_identifiers(batch_id, set_aside=True)
    assert ledger.batches_by_folder([FOLDERS[0][0]]) == {
        FOLDERS[0][0]: KnownFolder(
            batch_id, Status.ERROR, set_aside=True, cleaned=True, listing=None
        )
    }
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 1
    assert ledger.claim("run-2", 1) == [batch_id]
    assert ledger.batch(batch_id).run_id == "run-2"
    assert not ledger.batch(batch_id).set_aside


def test_a_delivered_folder_that_returns_becomes_a_new_batch(ledger: Ledger) -> None:
    first = one_batch(ledger)
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 0
    ledger.record(first, status=Status.DONE)
    ledger.delete_identifiers(first)
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 1
    assert ledger.enqueue(FOLDERS[:1], PARAMS) == 0
    (second,) = ledger.claim("run-2", 5)
    assert second != first
    assert ledger.batch(first).status is Status.DONE
    assert ledger.batch(second).folder_digest == FOLDERS[0][0]


def test_finished_and_queued_batches_are_not_requeued(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, status=Status.DONE)
    with pytest.raises(FailBatch, match="neither in ERROR, nor unfinished, nor withdrawn"):
        ledger.requeue(batch_id)
    ledger.record(batch_id, status=Status.ERROR)
    ledger.requeue(batch_id)
    assert ledger.count_queued() == 1


@pytest.mark.parametrize("status", UNDER_WAY)
def test_an_unfinished_batch_can_be_requeued_manually(ledger: Ledger, status: Status) -> None:
    batch_id = one_batch(ledger)
    ledger.record(batch_id, status=status)
    assert [batch.id for batch in ledger.all_batches(errors_only=True)] == [batch_id]
    ledger.requeue(batch_id)
    assert (ledger.batch(batch_id).status, ledger.count_queued()) == (Status.QUEUE, 1)


SCHEDULED = Run("sendit", "scheduled__2026-11-29", created="2026-11-29", started="01:00")


def test_a_run_has_the_same_key_in_all_tasks_and_after_clearing(ledger: Ledger) -> None:
    key = ledger.run_key(SCHEDULED)
    assert ledger.run_key(SCHEDULED) == key
    while_it_runs = dataclasses.replace(SCHEDULED, clears=1)
    assert ledger.run_key(while_it_runs) == key
    after_its_end = dataclasses.replace(SCHEDULED, clears=2, started="02:00")
    assert ledger.run_key(after_its_end) == key
    for earlier in (SCHEDULED, while_it_runs):  # a task that is still running
        assert ledger.run_key(earlier) == key
    assert ledger.is_latest(Holder(key, "sendit", SCHEDULED.run_id))


@pytest.mark.parametrize("clears", [0, 3])
def test_a_reused_run_id_is_another_run(ledger: Ledger, clears: int) -> None:
    first = ledger.run_key(SCHEDULED)
    for number in range(1, clears + 1):
        ledger.run_key(dataclasses.replace(SCHEDULED, clears=number, started=f"02:0{number}"))
    anew = dataclasses.replace(SCHEDULED, started="03:00")
    second = ledger.run_key(anew)
    assert second != first
    assert ledger.run_key(anew) == second
    assert ledger.run_key(dataclasses.replace(anew, clears=1, started="04:00")) == second
    assert ledger.run_key(SCHEDULED) == first
    assert not ledger.is_latest(Holder(first, "sendit", SCHEDULED.run_id))
    assert ledger.is_latest(Holder(second, "sendit", SCHEDULED.run_id))
    assert ledger.run_key(dataclasses.replace(SCHEDULED, dag_id="other")) not in {first, second}


def left(ledger: Ledger, run: Run = SCHEDULED, status: Status = Status.PROCESSING) -> str:
    """Leave a batch unfinished in a run and return its id."""
    ledger.enqueue(FOLDERS[:1], PARAMS)
    (batch_id,) = ledger.claim(run.run_id, 1, holder=ledger.run_key(run))
    ledger.record(batch_id, status=status)
    return batch_id


@pytest.mark.parametrize("status", UNDER_WAY)
def test_a_batch_left_by_an_ended_run_keeps_its_queue_position(
    ledger: Ledger, status: Status
) -> None:
    batch_id = left(ledger, status=status)
    ledger.enqueue(FOLDERS[1:], PARAMS)
    (holder,) = ledger.holders()
    assert (holder.dag_id, holder.run_id) == ("sendit", SCHEDULED.run_id)
    assert ledger.take_up([holder.key], "next", "next") == ([batch_id], [])
    assert ledger.take_up([holder.key], "next", "next") == ([], [])
    assert ledger.waiting()[0] == (batch_id, FOLDERS[0][1])
    assert ledger.claim("next", 1) == [batch_id]
    assert ledger.holders() == [Holder("next", None, "next")]


def test_a_batch_left_by_too_many_runs_fails(ledger: Ledger) -> None:
    batch_id = left(ledger)
    for number in range(MAX_TAKE_UPS):
        (holder,) = ledger.holders()
        assert ledger.take_up([holder.key], "-", "-") == ([batch_id], [])
        ledger.claim(f"run {number}", 1)
    (holder,) = ledger.holders()
    assert ledger.take_up([holder.key], "last", "last") == ([], [batch_id])
    batch = ledger.batch(batch_id)
    assert (batch.status, batch.run_id, batch.has_error) == (Status.ERROR, "last", True)
    assert "4 runs in a row ended" in batch.errors[-1]["reason"]
    assert ledger.batches_held_by("last") == [batch]
    assert ledger.claimed_by("last") == []
    ledger.requeue(batch_id)
    assert ledger.batch(batch_id).take_ups == 0


def test_a_run_that_lost_its_batch_cannot_write_to_it(ledger: Ledger) -> None:
    batch_id = left(ledger)
    key = ledger.run_key(SCHEDULED)
    late, archive = ledger.of_run(key), dataclasses.replace(ARCHIVE, batch_id=batch_id)
    late.put_archive(archive)
    late.check_held(batch_id)
    ledger.take_up([key], "next", "next")
    ledger.claim("next", 1)
    before = (ledger.batch(batch_id), ledger.delivery(batch_id))
    stored = Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media")
    for write in (
        lambda: late.check_held(batch_id),
        lambda: late.start(batch_id),
        lambda: late.record(batch_id, status=Status.DONE),
        lambda: late.put_identifier(batch_id, "header", {}),
        lambda: late.put_archive(dataclasses.replace(archive, crc32c="BBBBBB==")),
        lambda: late.put_sent(archive),
        lambda: late.put_stored(archive, stored),
        lambda: late.put_done(batch_id, 1),
        lambda: late.mark_duplicate_of(batch_id, "b0"),
        lambda: late.put_retracted(batch_id),
    ):
        with pytest.raises(TakenOver, match="taken over"):
            write()
    assert (ledger.batch(batch_id), ledger.delivery(batch_id)) == before
    ledger.of_run("next").record(batch_id, status=Status.PROCESSING)


def test_a_delivery_that_may_be_in_the_bucket_is_kept(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    ledger.put_sent(archive)
    assert ledger.strays() == []  # it is being uploaded
    ledger.start(batch_id)
    anew = dataclasses.replace(archive, crc32c="BBBBBB==", object="Collection/b.tar.gz")
    ledger.put_archive(anew)
    held = ledger.delivery(batch_id)
    assert held is not None
    assert (held.sent_object, held.sent_crc32c) == (archive.object, archive.crc32c)
    ledger.record(batch_id, status=Status.EMPTY)
    assert ledger.strays() == [held]
    ledger.put_retracted(batch_id, found=False)
    assert ledger.strays() == ledger.history(batch_id) == []


def test_an_upload_before_the_duplicate_was_detected_is_kept(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    ledger.put_sent(archive)
    ledger.mark_duplicate_of(batch_id, "b0123456789abcdef")
    assert [stray.batch_id for stray in ledger.strays()] == [batch_id]
    ledger.put_retracted(batch_id)
    assert ledger.delivery(batch_id) is None


def test_a_concurrently_confirmed_delivery_stays_done(ledger: Ledger) -> None:
    """Anonymize, cleared alone, makes the same archive while confirm verifies it."""
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    assert ledger.batch(batch_id).status is Status.DONEPROCESSING
    ledger.start(batch_id)
    ledger.put_archive(archive)
    assert ledger.batch(batch_id).status is Status.DONEPROCESSING
    ledger.put_done(batch_id, 1)
    ledger.put_archive(archive)
    assert ledger.batch(batch_id).status is Status.DONE


def test_a_concurrently_reimported_batch_is_not_done(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS[:1], PARAMS)
    (batch_id,) = ledger.claim("run-1", 1)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    whole = Counts(received=2, delivered=2)

    def proven() -> None:
        ledger.record(batch_id, counts=whole)
        ledger.put_archive(archive)
        ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))

    proven()
    ledger.start(batch_id)  # import starts ...
    with pytest.raises(TakenOver, match="imported again"):
        ledger.put_done(batch_id, 1)
    ledger.record(batch_id, status=Status.PROCESSING, counts=Counts(received=2))  # ... and ends
    for end in (
        lambda: ledger.put_done(batch_id, 1),
        lambda: ledger.mark_duplicate_of(batch_id, "b0"),
        lambda: ledger.record(batch_id, status=Status.DONE),
    ):
        with pytest.raises(TakenOver, match="imported again"):
            end()
    assert ledger.batch(batch_id).status is Status.PROCESSING
    assert ledger.history(batch_id) == []
    proven()
    ledger.put_done(batch_id, 1)
    assert ledger.batch(batch_id).counts == whole


def test_stages_are_recorded_until_they_are_removed(ledger: Ledger) -> None:
    lane = ledger.of_run("r1")
    lane.put_stage(3, "bucket", "c")
    lane.put_stage(3, "bucket", "c")
    (stage,) = ledger.stages()
    ledger.put_stage_dropped(stage, for_good=False)
    (dropped,) = ledger.stages()
    assert dropped.dropped_at is not None
    ledger.put_stage_dropped(dropped, for_good=True)
    assert ledger.stages() == []


def test_registering_the_same_archive_again_keeps_the_stored_object(ledger: Ledger) -> None:
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
    assert held.generation is None  # the stored archive is not the registered one


def test_two_batches_cannot_share_an_object(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS[:2], PARAMS)
    first, second = ledger.claim("run-1", 2)
    ledger.put_archive(dataclasses.replace(ARCHIVE, batch_id=first))
    with pytest.raises(FailBatch, match="two folders hold one study"):
        ledger.put_archive(dataclasses.replace(ARCHIVE, batch_id=second))
    assert ledger.delivery(second) is None


def test_history_is_kept_after_the_delivery_is_deleted(ledger: Ledger) -> None:
    ledger.enqueue(FOLDERS[:2], PARAMS)
    first, second = ledger.claim("run-1", 2)
    archive = dataclasses.replace(ARCHIVE, batch_id=first)
    ledger.put_archive(archive)
    ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    ledger.put_done(first, 1)
    for _ in range(2):
        ledger.supersede(first, second)
        ledger.put_withdrawn(first, "asked for")
    ledger.mark_duplicate_of(second, first)
    ledger.start(first)
    events = [(entry.event, entry.generation, entry.note) for entry in ledger.history(first)]
    assert events == [
        (Event.DELIVERED, 7, None),
        (Event.SUPERSEDED, 7, second),
        (Event.WITHDRAWN, 7, "asked for"),
    ]
    assert [entry.note for entry in ledger.history(second)] == [first]
    assert ledger.batch(second).same_as == first


def test_starting_again_drops_an_archive_that_was_never_uploaded(ledger: Ledger) -> None:
    batch_id = one_batch(ledger)
    archive = dataclasses.replace(ARCHIVE, batch_id=batch_id)
    ledger.put_archive(archive)
    ledger.start(batch_id)
    assert ledger.delivery(batch_id) is None
    ledger.put_archive(archive)
    ledger.put_stored(archive, Stored(7, "md5", "2026-01-01T00:00:00Z", "self", "media"))
    ledger.start(batch_id)
    assert ledger.delivery(batch_id) is not None


def test_the_first_stored_code_wins(ledger: Ledger) -> None:
    assert ledger.patient_code("d" * 64, "p1", 5) == ("p1", 5)
    assert ledger.patient_code("d" * 64, "p2", 9) == ("p1", 5)
    assert ledger.study_code("e" * 64, "s1") == "s1"
    assert ledger.study_code("e" * 64, "s2") == "s1"


def test_concurrent_code_requests_return_the_same_code(ledger: Ledger) -> None:
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


def test_non_utf8_paths_round_trip(ledger: Ledger) -> None:
    path = "/input/caf\udce9"
    ledger.enqueue([("a" * 64, path)], PARAMS)
    (batch_id,) = ledger.claim("run-1", 1)
    assert ledger.identifier(batch_id, "folder") == path


def test_an_unavailable_database_raises_retry_later_without_values() -> None:
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
def test_airflow_connection_uris_are_accepted(uri: str, driver: str) -> None:
    assert ledger_url(uri).drivername == driver


@pytest.mark.parametrize("uri", ["mysql://h/db", "no uri", ""])
def test_other_databases_are_refused(uri: str) -> None:
    with pytest.raises(Misconfigured, match="sendit_ledger"):
        ledger_url(uri)


def test_an_unknown_batch_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(FailBatch, match="is not in this ledger"):
        ledger.batch("b0000000000000000")


def test_outcomes_are_counted() -> None:
    counts = count_outcomes([Outcome.DELIVERED, Outcome.DELIVERED, Outcome.DUPLICATE])
    assert counts == Counts(received=3, delivered=2, duplicate=1)
    assert counts.conserved
    counts.received = 4
    assert not counts.conserved
