"""Import: read the header of every file in a batch's folder, in place, and decide which are
accepted.

Only headers are read. Every file gets a record: still to be delivered, filtered by the
recipe, or quarantined with a reason. Copies of an instance are only recognised here; which one is
delivered is decided where their pixels are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sendit.batch import BatchError, Counts, InstanceRecord, Outcome, Reason, Status
from sendit.crashpoint import reach
from sendit.deidentify.people import People, words_in
from sendit.dicom.scan import Element, Header, header_checksum, open_instance, value_text
from sendit.errors import FailBatch, SenditError, SkipInstance
from sendit.identifiers.identity import (
    ACCESSION_NUMBER,
    ISSUER_PARTS,
    ISSUERS,
    PATIENT_BIRTH_DATE,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    issuers_text,
)
from sendit.identifiers.models import STUDY_DATE_TAGS
from sendit.keys import Keys
from sendit.ledger import Batch, Ledger, count_outcomes
from sendit.pipeline.discover import list_files, listing_digest
from sendit.pipeline.load_recipe import LoadedRecipe
from sendit.pixels.boxes import filter_reason
from sendit.pixels.wanted import key_of, wants_rule
from sendit.recipe.filters import FilterPlan
from sendit.workspace import Workspace

ROWS = 0x00280010

#: Attributes sent to the identifier service; each is taken from the first file that has a value.
REQUEST_TAGS = (
    PATIENT_ID,
    PATIENT_BIRTH_DATE,
    ACCESSION_NUMBER,
    STUDY_INSTANCE_UID,
    *(tag for pair in STUDY_DATE_TAGS for tag in pair),
)

#: More than one value of these in a folder fails the batch. Of filtered files only images count:
#: key objects, presentation states and reports may refer to several studies and patients.
UNIQUE_TAGS = {
    STUDY_INSTANCE_UID: Reason.SEVERAL_STUDIES,
    ACCESSION_NUMBER: Reason.SEVERAL_STUDIES,
    PATIENT_ID: Reason.SEVERAL_PATIENTS,
}


@dataclass(slots=True)
class Intake:
    """The result of importing a folder.

    ``failure`` says why the whole batch must stop, or is None. ``identity`` holds real
    values, which are stored in the ledger's identifier rows only. ``issuers`` has the issuers of
    numbers that the files name, ``people`` the words of all names in them and the patient's
    numbers, ``studies`` the StudyInstanceUIDs by top-level subfolder.
    """

    records: list[InstanceRecord] = field(default_factory=list)
    identity: dict[int, str] = field(default_factory=dict)
    issuers: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    people: People = field(default_factory=People)
    failure: Reason | None = None
    studies: dict[str, set[str]] = field(default_factory=dict)

    @property
    def is_container(self) -> bool:
        """Whether the subfolders are separate studies and the folder itself has no image: then it
        is not an accession folder, and sorting its files would be wrong."""
        folders = [studies for place, studies in self.studies.items() if place]
        return (
            "" not in self.studies
            and len(folders) > 1
            and len(set.union(*folders)) > 1
            and all(len(studies) == 1 for studies in folders)
        )

    @property
    def accepted(self) -> list[InstanceRecord]:
        """The accepted files."""
        return [record for record in self.records if record.outcome is None]

    @property
    def counts(self) -> Counts:
        """Counts so far; accepted files count as received only."""
        counts = count_outcomes(
            record.outcome for record in self.records if record.outcome is not None
        )
        counts.received = len(self.records)
        return counts

    @property
    def bytes_in(self) -> int:
        """Total size of all files received, in bytes."""
        return sum(record.size for record in self.records)

    @property
    def reasons(self) -> dict[str, int]:
        """The number of files by outcome and reason."""
        return count_reasons(self.records)

    @property
    def errors(self) -> list[BatchError]:
        """Errors about the batch's files (filtered files are not errors)."""
        return file_errors("import", self.records)


def count_reasons(records: list[InstanceRecord]) -> dict[str, int]:
    """Count records by outcome and reason, as ``"filtered: label" → 3``."""
    return dict(
        Counter(
            f"{record.outcome}: {record.reason}"
            for record in records
            if record.outcome is not None and record.reason
        )
    )


def note_wanted(record: InstanceRecord, header: Header) -> None:
    """Record which rule a file needs, if it would be delivered with one."""
    if wants_rule(record.outcome, record.reason):
        record.wanted = key_of(header, words_in(header)).text


def count_wanted(records: list[InstanceRecord]) -> dict[str, int]:
    """Count records by the key of the rule that they wait for."""
    return dict(Counter(record.wanted for record in records if record.wanted))


def file_errors(stage: str, records: list[InstanceRecord]) -> list[BatchError]:
    """Group quarantined and duplicate files by reason; at most 20 file numbers each."""
    numbers: dict[str, list[int]] = {}
    for record in records:
        if record.outcome in (Outcome.QUARANTINED, Outcome.DUPLICATE):
            numbers.setdefault(str(record.reason), []).append(record.number)
    return [
        BatchError(stage=stage, reason=reason, count=len(files), files=tuple(files[:20]))
        for reason, files in numbers.items()
    ]


def import_folder(
    folder: Path, filters: FilterPlan, progress: Callable[[int], None] | None = None
) -> Intake:
    """Import every file of a folder, subfolders included.

    Parameters
    ----------
    folder
        The batch's folder. Read only.
    filters
        The recipe's filters, compiled.
    progress
        Called with the number of files read so far.

    Raises
    ------
    FailBatch
        The folder, or one within it, cannot be listed.
    """
    intake = Intake()
    seen: dict[str, int] = {}
    values: dict[int, set[str]] = {tag: set() for tag in UNIQUE_TAGS}
    for number, (path, size, mtime_ns) in enumerate(_files(folder), start=1):
        record = InstanceRecord(number=number, path=path, size=size, mtime_ns=mtime_ns)
        intake.records.append(record)
        try:
            _look_at(
                open_instance(folder / path),
                record,
                intake=intake,
                filters=filters,
                seen=seen,
                values=values,
            )
        except SkipInstance as error:
            record.outcome, record.reason = Outcome.QUARANTINED, str(error.reason)
        except SenditError:
            raise
        except Exception:  # noqa: BLE001 an unexpected error quarantines this file only
            record.outcome, record.reason = Outcome.QUARANTINED, Reason.NOT_CLEANABLE
        if progress:
            progress(number)
    for tag, issuers in intake.issuers.items():
        if issuers:
            intake.identity[tag] = issuers_text(issuers)
    for tag, reason in UNIQUE_TAGS.items():
        if len(values[tag]) > 1:
            nested = reason is Reason.SEVERAL_STUDIES and intake.is_container
            intake.failure = Reason.SEVERAL_FOLDERS if nested else reason
            for record in intake.accepted:
                record.outcome, record.reason = Outcome.QUARANTINED, intake.failure
            break
    return intake


def import_batch(
    ledger: Ledger,
    workspace: Workspace,
    folder: Path,
    recipe: LoadedRecipe,
    keys: Keys,
    *,
    progress: Callable[[int], None] | None = None,
) -> Status:
    """Import a batch's folder and record the result; idempotent.

    Of a batch that was imported before, from the same files by the same recipe, what later tasks
    have recorded stays: a person may clear import alone while the archive is being uploaded.

    Returns
    -------
    Status
        PROCESSING if files were accepted, EMPTY if no image is left.

    Raises
    ------
    FailBatch
        The folder cannot be read, or holds more than one study or patient: none of it is
        delivered.
    """
    batch_id = workspace.batch_id
    before = ledger.batch(batch_id)
    again = _is_imported(before) and workspace.recipe_digest == recipe.digest
    if not again:
        ledger.start(batch_id)
        reach("import: started")
    workspace.make()
    try:
        intake = import_folder(folder, recipe.filters, progress)
    except FailBatch:
        unreadable = BatchError("import", "the folder, or one within it, cannot be read")
        ledger.record(batch_id, status=Status.ERROR, errors=[unreadable], stage="import")
        raise
    listing = listing_digest(
        keys, ((record.path, record.size, record.mtime_ns) for record in intake.records)
    )
    if again and (intake.failure or listing != before.listing):
        ledger.start(batch_id)
        again = False
    workspace.write_people(intake.people.words | intake.people.numbers)
    workspace.write_instances(intake.records)
    workspace.write_recipe(recipe.digest)
    reach("import: instances written")
    ledger.put_identifier(
        batch_id, "header", {f"{tag:08x}": value for tag, value in intake.identity.items()}
    )
    reach("import: header stored")
    if again:
        return Status.PROCESSING
    status = Status.PROCESSING if intake.accepted else Status.EMPTY
    if intake.failure:
        status = Status.ERROR
    ledger.record(
        batch_id,
        status=status,
        counts=intake.counts,
        reasons=intake.reasons,
        wanted=count_wanted(intake.records),
        bytes_in=intake.bytes_in,
        listing=listing,
        errors=intake.errors,
        stage="import",
    )
    reach("import: recorded")
    if intake.failure:
        if intake.failure is Reason.SEVERAL_FOLDERS:
            raise FailBatch(
                f"batch {batch_id}: {intake.failure}, so it is not a batch; it is left in place. "
                "If they are accession folders, run with it as subfolder, or list it in "
                "SENDIT_INPUT_FOLDERS instead of its parent folder; if not, sort its files "
                f"into one folder per study, then: sendit requeue {batch_id}"
            )
        raise FailBatch(
            f"batch {batch_id}: {intake.failure}; sort its files into one folder per study. "
            f"cleanup renames the folder to .err: once it is fixed, remove .err from its name"
        )
    return status


def _is_imported(batch: Batch) -> bool:
    """Whether import has recorded its result, and no later task has ended the batch."""
    under_way = batch.status in (Status.PROCESSING, Status.DONEPROCESSING)
    return under_way and batch.counts.received > 0


def _look_at(
    header: Header,
    record: InstanceRecord,
    *,
    intake: Intake,
    filters: FilterPlan,
    seen: dict[str, int],
    values: dict[int, set[str]],
) -> None:
    instance_uid = header.sop_instance
    intake.people.see(header)
    decision = filters.ask(header)
    filtered = filter_reason(header, decision)
    if filtered is None or header.text(ROWS):
        for tag, seen_values in values.items():
            value = header.text(tag)
            if value:
                seen_values.add(value)
    if not (instance_uid and header.study_uid and header.series_uid):
        raise SkipInstance(Reason.MISSING_UID)
    if filtered is None or header.text(ROWS):
        place = record.path.rpartition("/")[0].partition("/")[0]
        intake.studies.setdefault(place, set()).add(header.study_uid)
    if filtered is not None:
        record.outcome, record.reason = Outcome.FILTERED, filtered
        note_wanted(record, header)
        return
    record.instance = seen.setdefault(instance_uid, record.number)
    record.checksum = header_checksum(header)
    for tag in REQUEST_TAGS:
        if tag not in intake.identity:
            value = header.text(tag)
            if value:
                intake.identity[tag] = value
    for number, places in ISSUERS.items():
        issuer = _issuer(header, places)
        known = intake.issuers.setdefault(places[0], [])
        # An issuer without a number has no meaning.
        if issuer and issuer not in known and header.text(number):
            known.append(issuer)


def _issuer(header: Header, places: tuple[int, ...]) -> dict[str, str]:
    """Return a number's issuer as the header names it: each part by the path of its tags."""
    parts: dict[str, str] = {}
    for tag in places:
        element = header.element(tag)
        if element is not None and element[5] is None:
            parts[f"{tag:08x}"] = header.text(tag) or ""
        elif element is not None:
            _gather_parts(header, element, f"{tag:08x}", parts)
    return {path: value for path, value in parts.items() if value}


def _gather_parts(header: Header, sequence: Element, path: str, parts: dict[str, str]) -> None:
    for encoding, elements in sequence[5] or ():
        for element in elements:
            tag, vr, _, start, end, items = element
            place = f"{path}.{tag:08x}"
            if items is not None:
                _gather_parts(header, element, place, parts)
            elif tag in ISSUER_PARTS:
                raw = bytes(header.data[start:end])
                text = value_text(tag, vr, raw, encoding, header.character_set).strip()
                parts[place] = parts.get(place, "") + text


def _files(folder: Path) -> list[tuple[str, int, int]]:
    try:
        return list_files(folder)
    except OSError as error:
        raise FailBatch(
            f"the batch's folder, or one within it, cannot be read ({error.strerror}); "
            "fix its permissions or put it back, then clear this task"
        ) from None
