"""Anonymize: files, sums and archive are one, or nothing is delivered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sendit import __version__
from sendit.batch import Outcome, Reason, Status
from sendit.errors import FailBatch
from sendit.identifiers.identity import IdentityRules
from sendit.identifiers.local import LocalService
from sendit.keys import Keys
from sendit.ledger import Batch, BatchParams, Ledger
from sendit.pipeline import anonymize as module
from sendit.pipeline.anonymize import anonymize_batch
from sendit.pipeline.identify import coded_study, identify_batch
from sendit.pipeline.intake import import_batch
from sendit.pipeline.load_recipe import load_recipe
from sendit.pipeline.study import StudyResult
from sendit.workspace import RESULT, Workspace
from testing.builder import write_study

KEYS = Keys(b"k" * 32)


class One:
    """A batch of three images and one file that is none, up to anonymize."""

    def __init__(self, ledger: Ledger, root: Path) -> None:
        self.ledger = ledger
        self.folder = root / "in" / "ACC1"
        self.files = write_study(self.folder, instances=3).files
        (self.folder / "z-notes").write_text("not DICOM" * 50)
        ledger.enqueue([("0" * 64, str(self.folder))], BatchParams("s", "c", "default"))
        (self.id,) = ledger.claim("run-1", 1)
        self.workspace = Workspace(root / "work", self.id)
        import_batch(ledger, self.workspace, self.folder, load_recipe("default"), KEYS)
        identify_batch(ledger, self.batch, LocalService("s", KEYS, ledger), IdentityRules())

    @property
    def batch(self) -> Batch:
        return self.ledger.batch(self.id)

    def anonymize(self, **options: Any) -> StudyResult:
        return anonymize_batch(
            self.ledger,
            self.workspace,
            self.folder,
            recipe=load_recipe("default"),
            keys=KEYS,
            bucket="data",
            **options,
        )


@pytest.fixture
def one(embedded_ledger: Ledger, tmp_path: Path) -> One:
    return One(embedded_ledger, tmp_path)


def test_a_recipe_that_was_changed_since_import_delivers_nothing(one: One) -> None:
    one.workspace.write_recipe("0" * 64)
    with pytest.raises(FailBatch, match=r"recipe was changed after import.*clear the import task"):
        one.anonymize()
    assert one.ledger.delivery(one.id) is None
    one.workspace.write_recipe(load_recipe("default").digest)
    assert one.anonymize().archive is not None


def altered(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the engine's result be another one."""
    real = module.deidentify_study

    def changed(*arguments: Any, **options: Any) -> StudyResult:
        return change(real(*arguments, **options))

    monkeypatch.setattr(module, "deidentify_study", changed)


def test_what_is_recorded_is_what_came_of_it(one: One) -> None:
    told: list[int] = []
    result = one.anonymize(progress=told.append)
    assert told == [1, 2, 3]
    batch, coded = one.batch, coded_study(one.ledger, one.batch)
    assert batch.status is Status.DONEPROCESSING
    counts = batch.counts
    assert (counts.received, counts.delivered, counts.quarantined) == (4, 3, 1)
    assert batch.tally["delivered"] == 0 and batch.tally["undelivered"] == 3
    assert batch.reasons == {f"quarantined: {Reason.NOT_DICOM}": 1}
    assert batch.actions == result.actions and sum(result.actions.values()) > 10
    # What import found wrong is import's; anonymize found nothing.
    assert [error["stage"] for error in batch.errors] == ["import"]
    delivery = one.ledger.delivery(one.id)
    assert delivery is not None and result.archive is not None
    assert delivery.object == (
        f"Collection/c/Entity/{coded.patient_code}/"
        f"{coded.patient_code}_{coded.item_date}_{coded.study_code}.tar.gz"
    )
    assert (delivery.bucket, delivery.members, delivery.engine) == ("data", 3, __version__)
    assert (delivery.size, delivery.crc32c) == (result.archive.size, result.archive.crc32c)
    assert delivery.recipe_digest == load_recipe("default").digest
    assert delivery.content_digest == result.content_digest
    assert one.workspace.archive.stat().st_size == delivery.size
    assert one.workspace.read(RESULT) == {
        "study": "s",
        "collection": "c",
        "header": result.header,
        "outcomes": {
            **{str(number): ["delivered", None] for number in (1, 2, 3)},
            "4": ["quarantined", Reason.NOT_DICOM],
        },
    }


def test_a_file_that_changed_is_quarantined_and_the_others_go(one: One) -> None:
    one.files[1].write_bytes(one.files[1].read_bytes() + b"\0\0")
    result = one.anonymize()
    assert result.outcomes[2] == (Outcome.QUARANTINED, Reason.CHANGED)
    counts = one.batch.counts
    assert (counts.received, counts.delivered, counts.quarantined) == (4, 2, 2)
    (error,) = (each for each in one.batch.errors if each["stage"] == "anonymize")
    assert (error["reason"], list(error["files"])) == (Reason.CHANGED, [2])


def test_no_file_left_is_no_archive(one: One) -> None:
    for file in one.files:
        file.write_bytes(file.read_bytes() + b"\0\0")
    with pytest.raises(FailBatch, match="none of 3 files could be de-identified"):
        one.anonymize()
    assert one.ledger.delivery(one.id) is None
    assert not one.workspace.archive.exists()
    # What became of each is on record all the same.
    assert one.batch.counts.quarantined == 4


@pytest.mark.parametrize("members", [2, 4])
def test_an_archive_of_another_number_of_files_is_not_delivered(
    one: One, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    def change(result: StudyResult) -> StudyResult:
        assert result.archive is not None
        return replace(result, archive=replace(result.archive, members=members))

    altered(monkeypatch, change)
    with pytest.raises(FailBatch, match=f"holds {members} files instead of 3"):
        one.anonymize()
    assert one.ledger.delivery(one.id) is None
    assert one.batch.status is Status.PROCESSING


def test_an_archive_of_no_file_is_not_delivered(one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(result: StudyResult) -> StudyResult:
        outcomes = dict.fromkeys(result.outcomes, (Outcome.QUARANTINED, "no"))
        return replace(result, outcomes=outcomes)

    altered(monkeypatch, change)
    with pytest.raises(FailBatch, match="none of 3 files"):
        one.anonymize()


@pytest.mark.parametrize("outcome", [None, Outcome.FILTERED])
def test_outcomes_that_do_not_add_up_deliver_nothing(
    one: One, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None
) -> None:
    def change(result: StudyResult) -> StudyResult:
        return replace(result, outcomes=result.outcomes | {2: (outcome, None)})

    altered(monkeypatch, change)
    text = (
        "4 files received, but the outcomes add up to 3"
        if outcome is None
        else "holds 3 files instead of 2"
    )
    with pytest.raises(FailBatch, match=text):
        one.anonymize()
    assert one.ledger.delivery(one.id) is None


def test_again_is_the_same(one: One) -> None:
    first = one.anonymize()
    held = one.ledger.delivery(one.id)
    second = one.anonymize()
    assert first.archive is not None and second.archive is not None
    assert (first.archive.crc32c, first.content_digest) == (
        second.archive.crc32c,
        second.content_digest,
    )
    assert one.ledger.delivery(one.id) == held
