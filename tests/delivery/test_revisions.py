"""A study that is delivered again: duplicate, refused or revised."""

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
    """Batches of one study in one ledger."""

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


def test_first_delivery_of_a_study(study):
    batch_id = study.batch()
    assert study.register(batch_id) is Status.DONEPROCESSING
    delivery = study.ledger.delivery(batch_id)
    assert (delivery.revision, delivery.replaces, delivery.replaced_object) == (1, None, None)
    assert study.ledger.batch(batch_id).status is Status.DONEPROCESSING


def test_same_content_is_a_duplicate_even_with_another_engine_or_date(study):
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
def test_different_content_is_refused_unless_the_run_revises(study, changes, what, name):
    first, other, revising = study.batch(), study.batch(), study.batch(revise=True)
    study.deliver(first)
    with pytest.raises(FailBatch, match=f"{what}, as batch {first}"):
        study.register(other, object=name, **changes)
    assert study.ledger.delivery(other) is None
    assert study.register(revising, object=name, **changes) is Status.DONEPROCESSING
    delivery = study.ledger.delivery(revising)
    assert (delivery.revision, delivery.replaces) == (2, first)
    assert (delivery.replaced_object, delivery.replaced_generation) == (NAME, 7)
    assert study.ledger.delivery(first).generation == 7


def test_a_revision_can_be_matched_and_revised_again(study):
    first, second, third = (study.batch(revise=True) for _ in range(3))
    study.deliver(first)
    study.deliver(second, 8, content_digest="two")
    study.ledger.supersede(first, second)
    assert study.register(study.batch(), content_digest="two") is Status.DONE
    study.deliver(third, 9, content_digest="one")
    delivery = study.ledger.delivery(third)
    assert (delivery.revision, delivery.replaces, delivery.replaced_generation) == (3, second, 8)


def test_two_folders_with_the_same_study_are_not_both_delivered(study):
    first, second = study.batch(), study.batch()
    study.register(first)
    with pytest.raises(FailBatch, match=f"batch {first} is delivering .*two folders"):
        study.register(second)
    study.store(first, 7)
    study.ledger.record(first, status=Status.ERROR)  # uploaded, not yet confirmed
    with pytest.raises(FailBatch, match="two folders"):
        study.register(second)


def test_a_failed_batch_does_not_block_the_study(study):
    first, second = study.batch(), study.batch()
    study.register(first)
    study.ledger.record(first, status=Status.ERROR)
    study.deliver(second, content_digest="two")
    assert study.ledger.delivery(first) is None
    with pytest.raises(FailBatch, match="a different content"):
        study.register(first)


def test_a_withdrawn_study_is_delivered_again_as_the_next_revision(study):
    first, other = study.batch(), study.batch()
    study.deliver(first)
    study.ledger.put_withdrawn(first, "asked for")
    study.ledger.requeue(first)
    study.ledger.claim("run-x", 1)
    study.ledger.start(first)
    study.deliver(first, 8, recipe_digest="q" * 64)
    delivery = study.ledger.delivery(first)
    assert (delivery.revision, delivery.withdrawn_at, delivery.replaced_object) == (2, None, None)
    with pytest.raises(FailBatch, match="a different recipe"):
        study.register(other)


def test_repeating_anonymize_keeps_the_delivery(study):
    batch_id = study.batch()
    for _ in range(2):
        study.register(batch_id)
        study.store(batch_id, 7)
    assert study.ledger.delivery(batch_id).generation == 7
    assert study.ledger.delivery(batch_id).revision == 1


def test_an_unconfirmed_upload_may_be_replaced(study):
    batch_id = study.batch()
    study.register(batch_id)
    study.store(batch_id, 7)
    study.register(batch_id, crc32c="BBBBBB==", content_digest="two", object=LATER)
    delivery = study.ledger.delivery(batch_id)
    assert (delivery.revision, delivery.generation, delivery.replaces) == (1, None, None)
    assert (delivery.replaced_object, delivery.replaced_generation) == (NAME, 7)


@pytest.mark.parametrize("revise", [False, True])
def test_a_folder_changed_after_delivery_revises_its_own_archive(study, revise):
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
    delivery = study.ledger.delivery(batch_id)
    assert (delivery.revision, delivery.replaces, delivery.replaced_generation) == (2, None, 7)
