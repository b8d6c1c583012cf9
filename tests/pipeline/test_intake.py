"""Import: every file gets an outcome, and only accepted files continue."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydicom import Dataset, Sequence
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sendit.batch import Counts, Outcome, Reason, Status
from sendit.dicom.scan import Header
from sendit.errors import FailBatch
from sendit.identifiers.identity import (
    ISSUER_OF_ACCESSION_NUMBER,
    ISSUER_OF_PATIENT_ID,
    PATIENT_ID,
)
from sendit.keys import Keys
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline import intake as intake_module
from sendit.pipeline.intake import Intake, import_batch, import_folder
from sendit.pipeline.load_recipe import load_recipe
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.parse import read_recipe
from sendit.workspace import Workspace
from testing.builder import make_dataset, to_bytes, write_study


@pytest.fixture(scope="module")
def filters() -> FilterPlan:
    return compile_filters(read_recipe("default"))


def outcomes(intake: Intake) -> dict[str, tuple[Outcome | None, str | None]]:
    return {record.path: (record.outcome, record.reason) for record in intake.records}


def test_a_clean_study_is_accepted(tmp_path: Path, filters: FilterPlan) -> None:
    write_study(tmp_path / "ACC1", instances=3)
    write_study(tmp_path / "ACC1" / "nested", series=2, instances=2)
    intake = import_folder(tmp_path / "ACC1", filters)
    assert [record.number for record in intake.records] == [1, 2, 3, 4, 5]
    assert all(record.outcome is None for record in intake.records)
    assert intake.failure is None and not intake.errors
    assert intake.identity[PATIENT_ID]
    assert intake.bytes_in == sum(
        path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()
    )


def test_each_kind_of_bad_file_is_quarantined_with_a_reason(
    tmp_path: Path, filters: FilterPlan
) -> None:
    folder = tmp_path / "ACC1"
    study = write_study(folder, instances=1)
    good = study.files[0].read_bytes()
    (folder / "a-empty").write_bytes(b"")
    (folder / "b-text").write_text("Dear Dr. Smith, " * 50)
    (folder / "c-truncated").write_bytes(good[:-100])
    (folder / "d-link").symlink_to(study.files[0])
    os.mkfifo(folder / "e-pipe")
    (folder / "f-dicomdir").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    (folder / "z-copy").write_bytes(good)
    no_uid = make_dataset(instance=9)
    del no_uid.SOPInstanceUID
    (folder / "g-no-uid").write_bytes(to_bytes(no_uid))
    result = outcomes(import_folder(folder, filters))
    assert result.pop(study.files[0].name) == (None, None)
    assert result == {
        "a-empty": (Outcome.QUARANTINED, Reason.EMPTY_FILE),
        "b-text": (Outcome.QUARANTINED, Reason.NOT_DICOM),
        "c-truncated": (Outcome.QUARANTINED, Reason.TRUNCATED),
        "d-link": (Outcome.QUARANTINED, Reason.LINK),
        "e-pipe": (Outcome.QUARANTINED, Reason.NOT_A_FILE),
        "f-dicomdir": (Outcome.QUARANTINED, Reason.DICOMDIR),
        "g-no-uid": (Outcome.QUARANTINED, Reason.MISSING_UID),
        "z-copy": (None, None),  # which of two copies is delivered depends on their pixels
    }


def test_copies_of_an_instance_are_distinguished(tmp_path: Path, filters: FilterPlan) -> None:
    folder = tmp_path / "ACC1"
    study = write_study(folder, instances=2)
    good = study.files[0].read_bytes()
    (folder / "a-cut").write_bytes(good[:-100])
    (folder / "z-copy").write_bytes(good)
    result = {record.path: record for record in import_folder(folder, filters).records}
    names = [file.name for file in study.files]
    assert result["a-cut"].instance is None
    assert result[names[0]].instance == result["z-copy"].instance == result[names[0]].number
    assert result[names[1]].instance == result[names[1]].number
    assert result[names[0]].checksum == result["z-copy"].checksum != result[names[1]].checksum


def test_a_hundred_thousand_files(tmp_path: Path, filters: FilterPlan) -> None:
    """All are distinguished and counted; the error names a few of them."""
    folder = tmp_path / "ACC1"
    write_study(folder, instances=2)
    for number in range(100_000):
        (folder / f"z{number}").touch()
    progress: list[int] = []
    intake = import_folder(folder, filters, progress.append)
    assert (intake.counts.received, intake.counts.quarantined) == (100_002, 100_000)
    assert [record.number for record in intake.accepted] == [1, 2]
    (error,) = intake.errors
    assert (error.count, len(error.files)) == (100_000, 20)
    assert progress[-1] == 100_002


def test_filtered_files_are_not_errors(tmp_path: Path, filters: FilterPlan) -> None:
    folder = tmp_path / "ACC1"
    write_study(folder, instances=1)
    write_study(folder, series=2, instances=1, kind="SC")
    write_study(folder, series=3, instances=1, BurnedInAnnotation="YES")
    intake = import_folder(folder, filters)
    assert [record.outcome for record in intake.records] == [
        None,
        Outcome.FILTERED,
        Outcome.FILTERED,
    ]
    assert all(record.reason for record in intake.records[1:])
    assert not intake.errors
    assert sum(intake.reasons.values()) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"study": 2}, Reason.SEVERAL_STUDIES),
        ({"PatientID": "OTHER-MRN"}, Reason.SEVERAL_PATIENTS),
        ({"AccessionNumber": "OTHER-ACC"}, Reason.SEVERAL_STUDIES),
    ],
)
def test_two_studies_or_patients_fail_the_batch(
    tmp_path: Path, filters: FilterPlan, options: dict[str, object], reason: Reason
) -> None:
    write_study(tmp_path, instances=2)
    write_study(tmp_path, series=2, instances=1, **options)  # type: ignore[arg-type]
    intake = import_folder(tmp_path, filters)
    assert intake.failure == reason
    assert {record.outcome for record in intake.records} == {Outcome.QUARANTINED}
    assert intake.counts.conserved


def test_a_filtered_file_of_another_patient_fails_the_batch(
    tmp_path: Path, filters: FilterPlan
) -> None:
    write_study(tmp_path, instances=1)
    write_study(tmp_path, series=2, instances=1, kind="SC", PatientID="OTHER")
    intake = import_folder(tmp_path, filters)
    assert intake.failure == Reason.SEVERAL_PATIENTS
    assert intake.counts.filtered == 1
    assert intake.counts.quarantined == 1


@pytest.mark.parametrize("kind", ["KO", "PR"])
def test_a_filtered_non_image_object_of_another_patient_does_not_fail_the_batch(
    tmp_path: Path, filters: FilterPlan, kind: str
) -> None:
    (tmp_path / "1.dcm").write_bytes(to_bytes(make_dataset()))
    other = make_dataset(2, 2, Modality=kind)
    for keyword in ("Rows", "Columns", "PixelData"):
        del other[keyword]
    (tmp_path / "2.dcm").write_bytes(to_bytes(other))
    intake = import_folder(tmp_path, filters)
    assert intake.failure is None
    assert [record.outcome for record in intake.records] == [None, Outcome.FILTERED]


def test_unusual_file_names(tmp_path: Path, filters: FilterPlan) -> None:
    folder = tmp_path / "ACC1"
    folder.mkdir()
    for number, name in enumerate(
        [b"new\nline", b"quote'\"", b"not-utf8-\xe9", b"-rf", b"..x", b"a" * 255], start=1
    ):
        path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118 - bytes
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(to_bytes(make_dataset(instance=number)))
    intake = import_folder(folder, filters)
    assert len(intake.accepted) == 6
    workspace = Workspace(tmp_path / "work", "b0123456789abcdef")
    workspace.make()
    workspace.write_instances(intake.records)
    assert workspace.read_instances() == intake.records


def test_a_missing_folder_fails_its_batch_only(tmp_path: Path, filters: FilterPlan) -> None:
    with pytest.raises(FailBatch, match="cannot be read") as caught:
        import_folder(tmp_path / "SECRET", filters)
    assert "SECRET" not in str(caught.value)


class TestBatch:
    """What import records."""

    @pytest.fixture
    def batch(self, embedded_ledger: Ledger, tmp_path: Path) -> Workspace:
        embedded_ledger.enqueue(
            [("a" * 64, str(tmp_path / "ACC1"))], BatchParams("s", "c", "default")
        )
        (batch_id,) = embedded_ledger.claim("r", 1)
        return Workspace(tmp_path / "work", batch_id)

    def test_counts_errors_and_identity_are_recorded(
        self,
        embedded_ledger: Ledger,
        batch: Workspace,
        tmp_path: Path,
        keys: Keys,
    ) -> None:
        write_study(tmp_path / "ACC1", instances=2)
        (tmp_path / "ACC1" / "bad").write_bytes(b"")
        for _ in range(2):
            status = import_batch(
                embedded_ledger, batch, tmp_path / "ACC1", load_recipe("default"), keys
            )
            result = embedded_ledger.batch(batch.batch_id)
            assert status is result.status is Status.PROCESSING
            assert (result.counts.received, result.counts.quarantined) == (3, 1)
            assert [error["reason"] for error in result.errors] == ["empty file"]
            assert embedded_ledger.identifier(batch.batch_id, "header")["00100020"]

    def test_a_batch_without_accepted_files_is_empty(
        self,
        embedded_ledger: Ledger,
        batch: Workspace,
        tmp_path: Path,
        keys: Keys,
    ) -> None:
        write_study(tmp_path / "ACC1", instances=2, kind="SC")
        assert (
            import_batch(embedded_ledger, batch, tmp_path / "ACC1", load_recipe("default"), keys)
            is Status.EMPTY
        )
        result = embedded_ledger.batch(batch.batch_id)
        assert result.counts.conserved
        assert not result.has_error

    def test_two_patients_fail_the_batch(
        self,
        embedded_ledger: Ledger,
        batch: Workspace,
        tmp_path: Path,
        keys: Keys,
    ) -> None:
        write_study(tmp_path / "ACC1", instances=1)
        write_study(tmp_path / "ACC1", series=2, instances=1, PatientID="OTHER")
        with pytest.raises(FailBatch, match=r"more than one patient.*one folder per study"):
            import_batch(embedded_ledger, batch, tmp_path / "ACC1", load_recipe("default"), keys)
        result = embedded_ledger.batch(batch.batch_id)
        assert (result.status, result.has_error) == (Status.ERROR, True)
        assert result.counts.conserved

    def test_an_unreadable_folder_is_an_import_error(
        self,
        embedded_ledger: Ledger,
        batch: Workspace,
        tmp_path: Path,
        keys: Keys,
    ) -> None:
        with pytest.raises(FailBatch, match="cannot be read"):
            import_batch(embedded_ledger, batch, tmp_path / "gone", load_recipe("default"), keys)
        result = embedded_ledger.batch(batch.batch_id)
        assert result.status is Status.ERROR
        assert [error["stage"] for error in result.errors] == ["import"]

    @pytest.fixture
    def processed(
        self, embedded_ledger: Ledger, batch: Workspace, tmp_path: Path, keys: Keys
    ) -> Path:
        """The folder of a batch of two images that anonymize has processed."""
        folder = tmp_path / "ACC1"
        write_study(folder, instances=2)
        import_batch(embedded_ledger, batch, folder, load_recipe("default"), keys)
        whole = Counts(received=2, delivered=2)
        embedded_ledger.record(batch.batch_id, status=Status.DONEPROCESSING, counts=whole)
        return folder

    def test_repeated_import_keeps_later_results_if_nothing_changed(
        self, embedded_ledger: Ledger, batch: Workspace, processed: Path, keys: Keys
    ) -> None:
        before = embedded_ledger.batch(batch.batch_id)
        (batch.folder / "import.json").unlink()
        recipe = load_recipe("default")
        assert import_batch(embedded_ledger, batch, processed, recipe, keys) is Status.PROCESSING
        assert embedded_ledger.batch(batch.batch_id) == before
        assert len(batch.read_instances()) == 2

    @pytest.mark.parametrize("changed", ["files", "recipe", "interrupted", "failed"])
    def test_repeated_import_restarts_the_batch_if_anything_changed(
        self, embedded_ledger: Ledger, batch: Workspace, processed: Path, keys: Keys, changed: str
    ) -> None:
        match changed:
            case "files":
                (processed / "one more").write_bytes(b"")
            case "recipe":
                batch.write_recipe("0" * 64)
            case "interrupted":
                embedded_ledger.start(batch.batch_id)
            case "failed":
                embedded_ledger.record(batch.batch_id, status=Status.ERROR)
        recipe = load_recipe("default")
        assert import_batch(embedded_ledger, batch, processed, recipe, keys) is Status.PROCESSING
        result = embedded_ledger.batch(batch.batch_id)
        assert result.status is Status.PROCESSING
        assert result.counts == Counts(
            received=2 + (changed == "files"), quarantined=changed == "files"
        )


def qualifiers(universal: str | None, facility: str | None = None) -> Sequence:
    item = Dataset()
    if universal:
        item.UniversalEntityID = universal
        item.UniversalEntityIDType = "ISO"
    if facility:
        inner = Dataset()
        inner.LocalNamespaceEntityID = facility
        item.AssigningFacilitySequence = Sequence([inner])
    return Sequence([item])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_issuer_is_read_from_the_header(tmp_path: Path, filters: FilterPlan, syntax: str) -> None:
    accession = Dataset()
    accession.LocalNamespaceEntityID = "North RIS"
    write_study(
        tmp_path,
        instances=1,
        transfer_syntax=syntax,
        IssuerOfPatientID="NORTHGATE",
        IssuerOfPatientIDQualifiersSequence=qualifiers("1.2.840.99", "Ward 7"),
        IssuerOfAccessionNumberSequence=Sequence([accession]),
    )
    intake = import_folder(tmp_path, filters)
    assert json.loads(intake.identity[ISSUER_OF_PATIENT_ID]) == [
        {
            "00100021": "northgate",
            "00100024.00400032": "1.2.840.99",
            "00100024.00400033": "iso",
            "00100024.00400036.00400031": "ward 7",
        }
    ]
    assert json.loads(intake.identity[ISSUER_OF_ACCESSION_NUMBER]) == [
        {"00080051.00400031": "north ris"}
    ]


def test_only_issuers_of_accepted_files_with_an_id_count(
    tmp_path: Path, filters: FilterPlan
) -> None:
    write_study(tmp_path, instances=1, IssuerOfPatientID=None)
    write_study(tmp_path, series=2, instances=1, IssuerOfPatientID="SOUTHMOOR")
    write_study(tmp_path, series=3, instances=1, kind="SC", IssuerOfPatientID="FILTERED")
    write_study(tmp_path, series=4, instances=1, PatientID="", IssuerOfPatientID="NO NUMBER")
    intake = import_folder(tmp_path, filters)
    assert intake.failure is None
    assert json.loads(intake.identity[ISSUER_OF_PATIENT_ID]) == [{"00100021": "southmoor"}]


def test_a_study_without_issuer_records_none(tmp_path: Path, filters: FilterPlan) -> None:
    write_study(
        tmp_path,
        instances=1,
        IssuerOfPatientID="",
        IssuerOfPatientIDQualifiersSequence=Sequence([]),
    )
    assert ISSUER_OF_PATIENT_ID not in import_folder(tmp_path, filters).identity


@pytest.mark.parametrize("error", [ValueError("MRN7"), RecursionError(), MemoryError()])
def test_an_unexpected_error_in_one_file_does_not_stop_the_others(
    tmp_path: Path, filters: FilterPlan, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_study(tmp_path, instances=3)
    real = intake_module.open_instance

    def opened(path: Path) -> Header:
        if path.name == "IM01002.dcm":
            raise error
        return real(path)

    monkeypatch.setattr(intake_module, "open_instance", opened)
    intake = import_folder(tmp_path, filters)
    assert [record.outcome for record in intake.records] == [None, Outcome.QUARANTINED, None]
    assert intake.records[1].reason == Reason.NOT_CLEANABLE
