"""Anonymize: files, counts and archive must agree, or nothing is delivered."""

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


class Case:
    """A batch of three images and one invalid file, ready for anonymize."""

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
def case(embedded_ledger: Ledger, tmp_path: Path) -> Case:
    return Case(embedded_ledger, tmp_path)


def test_a_recipe_changed_since_import_fails_the_batch(case: Case) -> None:
    case.workspace.write_recipe("0" * 64)
    with pytest.raises(FailBatch, match=r"recipe was changed after import.*clear the import task"):
        case.anonymize()
    assert case.ledger.delivery(case.id) is None
    case.workspace.write_recipe(load_recipe("default").digest)
    assert case.anonymize().archive is not None


def alter_result(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Change the engine's result before the pipeline sees it."""
    real = module.deidentify_study

    def changed(*arguments: Any, **options: Any) -> StudyResult:
        return change(real(*arguments, **options))

    monkeypatch.setattr(module, "deidentify_study", changed)


def test_results_are_recorded(case: Case) -> None:
    progress: list[int] = []
    result = case.anonymize(progress=progress.append)
    assert progress == [1, 2, 3]
    batch, coded = case.batch, coded_study(case.ledger, case.batch)
    assert batch.status is Status.DONEPROCESSING
    counts = batch.counts
    assert (counts.received, counts.delivered, counts.quarantined) == (4, 3, 1)
    assert batch.tally["delivered"] == 0 and batch.tally["undelivered"] == 3
    assert batch.reasons == {f"quarantined: {Reason.NOT_DICOM}": 1}
    assert batch.actions == result.actions and sum(result.actions.values()) > 10
    # Errors found by import belong to import; anonymize found none.
    assert [error["stage"] for error in batch.errors] == ["import"]
    delivery = case.ledger.delivery(case.id)
    assert delivery is not None and result.archive is not None
    assert delivery.object == (
        f"Collection/c/Entity/{coded.patient_code}/"
        f"{coded.patient_code}_{coded.item_date}_{coded.study_code}.tar.gz"
    )
    assert (delivery.bucket, delivery.members, delivery.engine) == ("data", 3, __version__)
    assert (delivery.size, delivery.crc32c) == (result.archive.size, result.archive.crc32c)
    assert delivery.recipe_digest == load_recipe("default").digest
    assert delivery.content_digest == result.content_digest
    assert case.workspace.archive.stat().st_size == delivery.size
    assert case.workspace.read(RESULT) == {
        "study": "s",
        "collection": "c",
        "header": result.header,
        "outcomes": {
            **{str(number): ["delivered", None] for number in (1, 2, 3)},
            "4": ["quarantined", Reason.NOT_DICOM],
        },
    }


def test_a_changed_file_is_quarantined_and_the_others_are_delivered(case: Case) -> None:
    case.files[1].write_bytes(case.files[1].read_bytes() + b"\0\0")
    result = case.anonymize()
    assert result.outcomes[2] == (Outcome.QUARANTINED, Reason.CHANGED)
    counts = case.batch.counts
    assert (counts.received, counts.delivered, counts.quarantined) == (4, 2, 2)
    (error,) = (each for each in case.batch.errors if each["stage"] == "anonymize")
    assert (error["reason"], list(error["files"])) == (Reason.CHANGED, [2])


def test_no_archive_without_files(case: Case) -> None:
    for file in case.files:
        file.write_bytes(file.read_bytes() + b"\0\0")
    with pytest.raises(FailBatch, match="none of 3 files could be de-identified"):
        case.anonymize()
    assert case.ledger.delivery(case.id) is None
    assert not case.workspace.archive.exists()
    # The outcome of each file is recorded nevertheless.
    assert case.batch.counts.quarantined == 4


@pytest.mark.parametrize("members", [2, 4])
def test_an_archive_with_a_wrong_number_of_files_is_not_delivered(
    case: Case, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    def change(result: StudyResult) -> StudyResult:
        assert result.archive is not None
        return replace(result, archive=replace(result.archive, members=members))

    alter_result(monkeypatch, change)
    with pytest.raises(FailBatch, match=f"holds {members} files instead of 3"):
        case.anonymize()
    assert case.ledger.delivery(case.id) is None
    assert case.batch.status is Status.PROCESSING


def test_an_empty_archive_is_not_delivered(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(result: StudyResult) -> StudyResult:
        outcomes = dict.fromkeys(result.outcomes, (Outcome.QUARANTINED, "no"))
        return replace(result, outcomes=outcomes)

    alter_result(monkeypatch, change)
    with pytest.raises(FailBatch, match="none of 3 files"):
        case.anonymize()


@pytest.mark.parametrize("outcome", [None, Outcome.FILTERED])
def test_outcomes_that_do_not_add_up_fail_the_batch(
    case: Case, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None
) -> None:
    def change(result: StudyResult) -> StudyResult:
        return replace(result, outcomes=result.outcomes | {2: (outcome, None)})

    alter_result(monkeypatch, change)
    text = (
        "4 files received, but the outcomes add up to 3"
        if outcome is None
        else "holds 3 files instead of 2"
    )
    with pytest.raises(FailBatch, match=text):
        case.anonymize()
    assert case.ledger.delivery(case.id) is None


def test_anonymize_is_idempotent(case: Case) -> None:
    first = case.anonymize()
    held = case.ledger.delivery(case.id)
    second = case.anonymize()
    assert first.archive is not None and second.archive is not None
    assert (first.archive.crc32c, first.content_digest) == (
        second.archive.crc32c,
        second.content_digest,
    )
    assert case.ledger.delivery(case.id) == held
