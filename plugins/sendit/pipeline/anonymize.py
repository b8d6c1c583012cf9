"""Anonymize: de-identify a batch's accepted files into one archive, and check the counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sendit import __version__
from sendit.batch import InstanceRecord
from sendit.coded_study import CodedStudy
from sendit.crashpoint import reach
from sendit.deidentify.study import Source
from sendit.delivery.names import object_name, study_key
from sendit.delivery.revisions import register_archive
from sendit.dicom.scan import open_instance
from sendit.errors import FailBatch, SkipInstance
from sendit.keys import Keys
from sendit.ledger import Delivery, Ledger, count_outcomes
from sendit.pipeline.identify import coded_study
from sendit.pipeline.intake import count_reasons, count_wanted, file_errors, note_wanted
from sendit.pipeline.load_recipe import LoadedRecipe
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.pixels.wanted import wants_rule
from sendit.workspace import RESULT, Workspace


def anonymize_batch(
    ledger: Ledger,
    workspace: Workspace,
    folder: Path,
    *,
    recipe: LoadedRecipe,
    keys: Keys,
    bucket: str,
    progress: Callable[[int], None] | None = None,
) -> StudyResult:
    """De-identify a batch's files into its archive and record every file's outcome.

    Raises
    ------
    FailBatch
        No file could be delivered, the outcomes do not add up to the files received, the recipe
        has changed since import, or the study was delivered before with different content and the
        run does not revise.
    """
    batch = ledger.batch(workspace.batch_id)
    records = workspace.read_instances()
    workspace.check_recipe(recipe.digest)
    coded = coded_study(ledger, batch)
    accepted = [record for record in records if record.outcome is None]
    result = deidentify_accepted(
        accepted,
        folder,
        coded,
        recipe=recipe,
        keys=keys,
        archive=workspace.archive,
        people=workspace.read_people(),
        progress=progress,
    )
    reach("anonymize: archive made")
    counts = count_outcomes(record.outcome for record in records if record.outcome)
    if counts.received != len(records) or not counts.conserved:
        raise FailBatch(
            f"batch {batch.id}: {len(records)} files received, but the outcomes add up to "
            f"{counts.received}; nothing is delivered. This is a bug in sendit: report it"
        )
    ledger.record(
        batch.id,
        counts=counts,
        reasons=count_reasons(records),
        wanted=count_wanted(records),
        actions=result.actions,
        errors=file_errors("anonymize", accepted),
        stage="anonymize",
    )
    reach("anonymize: counts recorded")
    if result.archive is None or counts.delivered == 0:
        raise FailBatch(
            f"batch {batch.id}: none of {len(accepted)} files could be de-identified; "
            f"see the reasons with: sendit batches --errors"
        )
    if result.archive.members != counts.delivered:
        raise FailBatch(
            f"batch {batch.id}: the archive holds {result.archive.members} files instead of "
            f"{counts.delivered}; nothing is delivered. This is a bug in sendit: report it"
        )
    workspace.write(
        RESULT,
        {
            "study": batch.study,
            "collection": batch.collection,
            "header": result.header,
            "outcomes": {str(record.number): [record.outcome, record.reason] for record in records},
        },
    )
    reach("anonymize: result written")
    name = object_name(batch.collection, coded.patient_code, coded.item_date, coded.study_code)
    register_archive(
        ledger,
        Delivery(
            batch_id=batch.id,
            bucket=bucket,
            object=name,
            study_key=study_key(name),
            content_digest=result.content_digest,
            size=result.archive.size,
            crc32c=result.archive.crc32c,
            members=result.archive.members,
            recipe_digest=recipe.digest,
            engine=__version__,
        ),
    )
    reach("anonymize: accepted")
    return result


def deidentify_accepted(
    accepted: Sequence[InstanceRecord],
    folder: Path,
    coded: CodedStudy,
    *,
    recipe: LoadedRecipe,
    keys: Keys,
    archive: Path,
    people: frozenset[str] | None,
    progress: Callable[[int], None] | None = None,
) -> StudyResult:
    """De-identify the accepted files and set each record's outcome."""
    result = deidentify_study(
        [
            Source(
                record.number,
                folder / record.path,
                record.size,
                record.mtime_ns,
                record.instance,
                record.checksum,
            )
            for record in accepted
        ],
        plan=recipe.plan,
        filters=recipe.filters,
        identifiers=coded,
        keys=keys,
        archive=archive,
        people=people,
        folder=folder.name,
        progress=progress,
    )
    for record in accepted:
        record.outcome, record.reason = result.outcomes[record.number]
        if wants_rule(record.outcome, record.reason):
            with suppress(SkipInstance, OSError):  # it was readable a moment ago; not essential
                note_wanted(record, open_instance(folder / record.path))
    return result
