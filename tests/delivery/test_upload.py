"""Which batches of a lane are ready, and what a lane's steps do with each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendit.batch import BatchError, Counts, Status
from sendit.delivery.lanes import Lane
from sendit.delivery.upload import LaneWork, check_place
from sendit.errors import FailBatch
from sendit.ledger import BatchParams, Delivery, Ledger
from sendit.workspace import RESULT, Workspace

RUN = "run-1"
NAME = "Collection/c/Entity/p/p_20100209_s.tar.gz"
COUNTS = Counts(received=6, delivered=2, filtered=1, quarantined=2, duplicate=1)


class One:
    """A batch with an archive, as anonymize leaves it."""

    def __init__(self, ledger: Ledger, root: Path) -> None:
        self.ledger = ledger
        ledger.enqueue([("0" * 64, "/nowhere")], BatchParams("s", "c", "default"))
        (self.id,) = ledger.claim(RUN, 1)
        ledger.start(self.id)
        ledger.record(self.id, counts=COUNTS, status=Status.DONEPROCESSING)
        ledger.put_archive(
            Delivery(
                batch_id=self.id,
                bucket="data",
                object=NAME,
                study_key="c/p/s",
                size=1,
                crc32c="AAAAAA==",
                members=2,
                recipe_digest="0" * 64,
                engine="1",
            )
        )
        self.workspace = Workspace(root, self.id)
        self.workspace.make()

    def ready(self, run_id: str = RUN) -> bool:
        work = LaneWork(
            self.ledger, self.workspace.folder.parent, run_id, Lane(lane=0, batches=[self.id])
        )
        return [each.batch.id for each in work.waiting()] == [self.id]


@pytest.fixture
def one(embedded_ledger: Ledger, tmp_path: Path) -> One:
    return One(embedded_ledger, tmp_path)


def test_what_anonymize_left_is_ready_for_its_own_run(one: One) -> None:
    assert one.ready()
    assert not one.ready("another run")


@pytest.mark.parametrize(
    "counts",
    [
        Counts(received=5, delivered=1, filtered=1, quarantined=2, duplicate=1),
        Counts(received=7, delivered=3, filtered=1, quarantined=2, duplicate=1),
        # The archive's images, but not every file has its outcome: the batch is imported anew.
        Counts(received=7, delivered=2, filtered=1, quarantined=2, duplicate=1),
        Counts(received=5, delivered=2, filtered=1, quarantined=2, duplicate=1),
        Counts(received=6),
    ],
)
def test_an_archive_whose_sums_are_not_the_batch_s_is_that_of_before(
    one: One, counts: Counts
) -> None:
    one.ledger.record(one.id, counts=counts)
    assert not one.ready()


@pytest.mark.parametrize(
    ("status", "ready"),
    [(status, status is Status.DONEPROCESSING) for status in Status if status is not Status.ERROR],
)
def test_only_a_batch_that_is_processed_is_ready(one: One, status: Status, ready: bool) -> None:
    one.ledger.record(one.id, status=status)
    assert one.ready() == ready


@pytest.mark.parametrize(
    ("stages", "ready"),
    [
        (["upload task"], True),
        (["run task"], True),
        (["upload task", "run task"], True),
        # What is wrong with files stays on a batch that is delivered.
        (["upload task", "import", "anonymize"], True),
        (["anonymize task"], False),
        (["upload task", "dasher task"], False),
        ([], True),
    ],
)
def test_of_batches_in_error_those_that_delivery_failed_are_ready(
    one: One, stages: list[str], ready: bool
) -> None:
    for stage in stages:
        one.ledger.record(one.id, errors=[BatchError(stage, "no")], stage=stage)
    one.ledger.record(one.id, status=Status.ERROR)
    assert one.ready() == ready


def test_a_batch_without_an_archive_is_not_ready(one: One) -> None:
    one.ledger.drop_archive(one.id)
    assert not one.ready()


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ({"study": "other", "collection": "c"}, NAME),
        ({"study": "s", "collection": "other"}, NAME),
        ({"study": "s", "collection": "c"}, NAME.replace("/c/", "/other/")),
    ],
)
def test_an_archive_made_for_elsewhere_stays(one: One, result: dict[str, str], name: str) -> None:
    batch, delivery = one.ledger.batch(one.id), one.ledger.delivery(one.id)
    assert delivery is not None
    one.workspace.write(RESULT, {"study": "s", "collection": "c"})
    check_place(batch, delivery, one.workspace)
    one.workspace.write(RESULT, result)
    delivery.object = name
    with pytest.raises(FailBatch, match="nothing was uploaded"):
        check_place(batch, delivery, one.workspace)
