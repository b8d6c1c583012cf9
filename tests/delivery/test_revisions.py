"""A study that comes again: recognised, refused, or replaced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sendit.batch import Status
from sendit.delivery.names import study_key
from sendit.delivery.revisions import register_archive
from sendit.errors import FailBatch
from sendit.ledger import BatchParams, Delivery, Event, Ledger, Stored

NAME = "Collection/c/Entity/p/p_20100209_s.tar.gz"
LATER = "Collection/c/Entity/p/p_20100210_s.tar.gz"
ARCHIVE = Delivery(
    batch_id="",
    bucket="data",
    object=NAME,
    study_key=study_key(NAME),
    content_digest="one",
    size=10,
    crc32c="AAAAAA==",
    members=3,
    recipe_digest="r" * 64,
    engine="1",
)


class Study:
    """Batches of one study, in one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.made = 0

    def batch(self, *, revise: bool = False) -> str:
        self.made += 1
        self.ledger.enqueue(
            [(f"{self.made:064d}", "/nowhere")], BatchParams("study", "c", "default", revise)
        )
        (batch_id,) = self.ledger.claim(f"run-{self.made}", 1)
        self.ledger.start(batch_id)
        return batch_id

    def register(self, batch_id: str, **changes) -> Status:
        return register_archive(self.ledger, replace(ARCHIVE, batch_id=batch_id, **changes))

    def store(self, batch_id: str, generation: int) -> None:
        delivery = self.ledger.delivery(batch_id)
        assert delivery is not None
        self.ledger.put_stored(delivery, Stored(generation, "md5", "t", "self", "media"))

    def deliver(self, batch_id: str, generation: int = 7, **changes) -> None:
        assert self.register(batch_id, **changes) is Status.DONEPROCESSING
        self.store(batch_id, generation)
        self.ledger.put_done(batch_id, 1)


@pytest.fixture
def study(embedded_ledger: Ledger) -> Study:
    return Study(embedded_ledger)


def test_the_first_is_delivered(study):
    batch_id = study.batch()
    assert study.register(batch_id) is Status.DONEPROCESSING
    held = study.ledger.delivery(batch_id)
    assert (held.revision, held.replaces, held.replaced_object) == (1, None, None)
    assert study.ledger.batch(batch_id).status is Status.DONEPROCESSING


def test_the_same_content_is_recognised_also_by_another_engine_and_date(study):
    first, again = study.batch(), study.batch()
    study.deliver(first)
    assert study.register(again, engine="2", crc32c="CCCCCC==", object=LATER) is Status.DONE
    batch = study.ledger.batch(again)
    assert (batch.status, batch.same_as) == (Status.DONE, first)
    assert study.ledger.delivery(again) is None
    assert [entry.event for entry in study.ledger.history(again)] == [Event.RECOGNISED]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"content_digest": "two"}, "a different content"),
        ({"recipe_digest": "q" * 64}, "a different recipe"),
    ],
)
@pytest.mark.parametrize("name", [NAME, LATER])
def test_anything_else_is_refused_unless_the_run_revises(study, changes, what, name):
    first, other, revising = study.batch(), study.batch(), study.batch(revise=True)
    study.deliver(first)
    with pytest.raises(FailBatch, match=f"{what}, as batch {first}"):
        study.register(other, object=name, **changes)
    assert study.ledger.delivery(other) is None
    assert study.register(revising, object=name, **changes) is Status.DONEPROCESSING
    held = study.ledger.delivery(revising)
    assert (held.revision, held.replaces) == (2, first)
    assert (held.replaced_object, held.replaced_generation) == (NAME, 7)
    assert study.ledger.delivery(first).generation == 7


def test_a_revision_is_itself_recognised_and_revised(study):
    first, second, third = (study.batch(revise=True) for _ in range(3))
    study.deliver(first)
    study.deliver(second, 8, content_digest="two")
    study.ledger.supersede(first, second)
    assert study.register(study.batch(), content_digest="two") is Status.DONE
    study.deliver(third, 9, content_digest="one")
    held = study.ledger.delivery(third)
    assert (held.revision, held.replaces, held.replaced_generation) == (3, second, 8)


def test_two_folders_with_one_study_at_once_are_not_both_delivered(study):
    first, second = study.batch(), study.batch()
    study.register(first)
    with pytest.raises(FailBatch, match=f"batch {first} is delivering .*two folders"):
        study.register(second)
    study.store(first, 7)
    study.ledger.record(first, status=Status.ERROR)  # in the bucket, not yet proven
    with pytest.raises(FailBatch, match="two folders"):
        study.register(second)


def test_a_failed_batch_does_not_stand_in_the_way(study):
    first, second = study.batch(), study.batch()
    study.register(first)
    study.ledger.record(first, status=Status.ERROR)
    study.deliver(second, content_digest="two")
    assert study.ledger.delivery(first) is None
    with pytest.raises(FailBatch, match="a different content"):
        study.register(first)


def test_what_was_withdrawn_may_be_delivered_again_as_the_next_revision(study):
    first, other = study.batch(), study.batch()
    study.deliver(first)
    study.ledger.put_withdrawn(first, "asked for")
    study.ledger.requeue(first)
    study.ledger.claim("run-x", 1)
    study.ledger.start(first)
    study.deliver(first, 8, recipe_digest="q" * 64)
    held = study.ledger.delivery(first)
    assert (held.revision, held.withdrawn_at, held.replaced_object) == (2, None, None)
    with pytest.raises(FailBatch, match="a different recipe"):
        study.register(other)


def test_doing_anonymize_again_before_the_end_keeps_the_delivery(study):
    batch_id = study.batch()
    for _ in range(2):
        study.register(batch_id)
        study.store(batch_id, 7)
    assert study.ledger.delivery(batch_id).generation == 7
    assert study.ledger.delivery(batch_id).revision == 1


def test_other_bytes_of_an_earlier_try_may_be_replaced(study):
    batch_id = study.batch()
    study.register(batch_id)
    study.store(batch_id, 7)
    study.register(batch_id, crc32c="BBBBBB==", content_digest="two", object=LATER)
    held = study.ledger.delivery(batch_id)
    assert (held.revision, held.generation, held.replaces) == (1, None, None)
    assert (held.replaced_object, held.replaced_generation) == (NAME, 7)


@pytest.mark.parametrize("revise", [False, True])
def test_a_folder_that_was_mended_after_delivery_is_a_revision_of_itself(study, revise):
    batch_id = study.batch(revise=revise)
    study.deliver(batch_id)
    study.ledger.start(batch_id)
    assert study.register(batch_id) is Status.DONE
    assert study.ledger.delivery(batch_id).generation == 7
    study.ledger.start(batch_id)
    if not revise:
        with pytest.raises(FailBatch, match="a different content"):
            study.register(batch_id, content_digest="two", crc32c="BBBBBB==")
        return
    study.register(batch_id, content_digest="two", crc32c="BBBBBB==")
    held = study.ledger.delivery(batch_id)
    assert (held.revision, held.replaces, held.replaced_generation) == (2, None, 7)
