"""Which batches of a lane are ready, and what the lane's steps do with each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendit.batch import BatchError, Counts, Status
from sendit.delivery.lanes import Lane
from sendit.delivery.upload import LaneWork, _warn, check_place
from sendit.errors import FailBatch
from sendit.ledger import BatchParams, Delivery, Ledger
from sendit.workspace import RESULT, Workspace

RUN = "run-1"
NAME = "Collection/c/Entity/p/p_20100209_s.tar.gz"
COUNTS = Counts(received=6, delivered=2, filtered=1, quarantined=2, duplicate=1)


class Case:
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

    def is_ready(self, run_id: str = RUN) -> bool:
        work = LaneWork(
            self.ledger, self.workspace.folder.parent, run_id, Lane(lane=0, batches=[self.id])
        )
        return [each.batch.id for each in work.waiting()] == [self.id]


@pytest.fixture
def case(embedded_ledger: Ledger, tmp_path: Path) -> Case:
    return Case(embedded_ledger, tmp_path)


def test_an_anonymized_batch_is_ready_for_its_own_run_only(case: Case) -> None:
    assert case.is_ready()
    assert not case.is_ready("another run")


@pytest.mark.parametrize(
    "counts",
    [
        Counts(received=5, delivered=1, filtered=1, quarantined=2, duplicate=1),
        Counts(received=7, delivered=3, filtered=1, quarantined=2, duplicate=1),
        # The archive's images match, but some files have no outcome: the batch was imported again.
        Counts(received=7, delivered=2, filtered=1, quarantined=2, duplicate=1),
        Counts(received=5, delivered=2, filtered=1, quarantined=2, duplicate=1),
        Counts(received=6),
    ],
)
def test_an_archive_that_does_not_match_the_counts_is_not_ready(case: Case, counts: Counts) -> None:
    case.ledger.record(case.id, counts=counts)
    assert not case.is_ready()


@pytest.mark.parametrize(
    ("status", "ready"),
    [(status, status is Status.DONEPROCESSING) for status in Status if status is not Status.ERROR],
)
def test_only_a_processed_batch_is_ready(case: Case, status: Status, ready: bool) -> None:
    case.ledger.record(case.id, status=status)
    assert case.is_ready() == ready


@pytest.mark.parametrize(
    ("stages", "ready"),
    [
        (["upload task"], True),
        (["run task"], True),
        (["upload task", "run task"], True),
        # Errors of single files stay on a delivered batch.
        (["upload task", "import", "anonymize"], True),
        (["anonymize task"], False),
        (["upload task", "dasher task"], False),
        ([], True),
    ],
)
def test_failed_batches_are_ready_only_if_delivery_failed(
    case: Case, stages: list[str], ready: bool
) -> None:
    for stage in stages:
        case.ledger.record(case.id, errors=[BatchError(stage, "no")], stage=stage)
    case.ledger.record(case.id, status=Status.ERROR)
    assert case.is_ready() == ready


def test_a_batch_without_an_archive_is_not_ready(case: Case) -> None:
    case.ledger.drop_archive(case.id)
    assert not case.is_ready()


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ({"study": "other", "collection": "c"}, NAME),
        ({"study": "s", "collection": "other"}, NAME),
        ({"study": "s", "collection": "c"}, NAME.replace("/c/", "/other/")),
    ],
)
def test_an_archive_made_for_another_collection_is_not_uploaded(
    case: Case, result: dict[str, str], name: str
) -> None:
    batch, delivery = case.ledger.batch(case.id), case.ledger.delivery(case.id)
    assert delivery is not None
    case.workspace.write(RESULT, {"study": "s", "collection": "c"})
    check_place(batch, delivery, case.workspace)
    case.workspace.write(RESULT, result)
    delivery.object = name
    with pytest.raises(FailBatch, match="nothing was uploaded"):
        check_place(batch, delivery, case.workspace)


def test_a_failed_batch_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    _warn({"b0123456789abcdef": FailBatch("its archive is gone")})
    assert caplog.messages == ["batch b0123456789abcdef: its archive is gone"]
