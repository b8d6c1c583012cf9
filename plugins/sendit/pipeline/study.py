"""De-identify a study into an archive and have the gate check it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendit.archive import Archive, ArchiveInfo
from sendit.batch import Outcome, Reason
from sendit.coded_study import CodedStudy
from sendit.deidentify.people import People, numbers_of
from sendit.deidentify.plan import Plan
from sendit.deidentify.study import Source, StudyDeidentifier
from sendit.dicom.scan import open_instance
from sendit.errors import FailBatch, SkipInstance
from sendit.gate.check import GateReport, Stopped, check_blanked, gate
from sendit.gate.real_values import RealValues
from sendit.keys import Keys

if TYPE_CHECKING:
    from sendit.recipe.filters import FilterPlan


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of de-identifying a study.

    Attributes
    ----------
    outcomes
        By number of the source: delivered, quarantined or duplicate, and the reason.
    archive
        None if nothing was delivered; then there is no file.
    actions
        Number of elements by what happened to them, over all delivered files.
    header
        The first delivered instance's attributes as delivered, by keyword: text, numbers,
        lists of them, lists of items; no bytes, no long texts, no sequences of many items.
    members
        By number of the source: a delivered file's name in the archive, in archive order.
    content_digest
        Keyed digest of the delivered files' input: the same instances with the same
        bytes give the same digest, whatever their file names, recipe or engine.
    passed
        The gate's report; None if nothing was delivered.
    """

    outcomes: dict[int, tuple[Outcome, str | None]]
    archive: ArchiveInfo | None
    actions: dict[str, int]
    header: dict[str, Any]
    members: dict[int, str]
    content_digest: str
    passed: GateReport | None = None


def deidentify_study(
    sources: Sequence[Source],
    *,
    plan: Plan,
    identifiers: CodedStudy,
    keys: Keys,
    archive: Path,
    people: frozenset[str] | None = None,
    filters: FilterPlan | None = None,
    folder: str = "",
    progress: Callable[[int], None] | None = None,
) -> StudyResult:
    """De-identify the files of one study into one archive.

    Parameters
    ----------
    sources
        The files, in archive order.
    plan
        The compiled recipe.
    identifiers
        Codes, dates and jitter of this study.
    keys
        The site's keys, for the UIDs.
    archive
        Path of the ``.tar.gz``; it exists only once it has passed the gate.
    people
        Words of the names of people in the study, and the patient's numbers, from all files, as
        collected by import
        (:mod:`sendit.deidentify.people`). None: the files are read for them first.
    filters
        The recipe's filters, evaluated again on the header that is delivered, because the file or
        the recipe may have changed since import. None: the caller has no filters.
    folder
        The batch folder's own name, which usually is an accession number.
    progress
        Called with the number of files done, after each file.

    Raises
    ------
    RetryLater
        The working disk is full or fails; nothing is left behind.
    FailBatch
        The gate found real values in every file of the finished archive, or could not check
        it; the archive is deleted. A technical value or code with a finding is removed alone; if
        only some files have other findings, these are quarantined. Either way the archive is made
        again.
    """
    if people is None:
        people = _people_of(sources)
    people |= frozenset(numbers_of(folder))
    real = RealValues(plan)
    if folder:
        real.add_identifier(folder)
    from sendit.pixels.text_detector import TextDetector  # noqa: PLC0415 OpenCV and codecs: half a second to load

    detector = TextDetector(people, folder)
    stopped: dict[int, str] = {}
    flagged: frozenset[tuple[int, bytes]] = frozenset()
    thorough = False
    while True:
        study = StudyDeidentifier(
            plan,
            identifiers,
            keys,
            real,
            detector=detector,
            folder=archive.parent,
            people=people,
            flagged=flagged,
            filters=filters,
            folder_name=folder,
        )
        with Archive(archive) as writer:
            outcomes = study.deidentify(sources, stopped, writer, progress)
            info = passed = None
            with_text = detector.close()  # series whose images all show the same text
            if with_text:
                stopped |= with_text
                progress = None
                continue
            if study.members:
                try:
                    made = writer.finish()
                    passed = gate(made, real, plan, identifiers.jitter, thorough=thorough)
                    check_blanked(made.path, study.blanked)
                except FailBatch as failure:
                    if isinstance(failure, Stopped) and real.flagged - flagged:
                        # A flagged value is removed alone; its file is still delivered.
                        flagged |= real.flagged
                        progress = None
                        continue
                    if isinstance(failure, Stopped) and len(failure.members) < len(study.members):
                        # The archive is made again as if these files had not been received.
                        delivered = list(study.members)
                        stopped |= {
                            delivered[member - 1]: f"{Reason.STOPPED}: {why}"
                            for member, why in failure.members.items()
                        }
                        thorough = thorough or failure.thorough
                        progress = None
                        continue
                    archive.unlink(missing_ok=True)  # an earlier attempt's
                    raise
                info = writer.close()
        return StudyResult(
            outcomes,
            info,
            study.actions,
            study.header,
            study.members,
            study.content_digest(keys),
            passed,
        )


def _people_of(sources: Sequence[Source]) -> frozenset[str]:
    people = People()
    for source in sources:
        with suppress(SkipInstance, OSError):  # the next reader reports why
            people.see(open_instance(source.path))
    return frozenset(people.words | people.numbers)
