"""De-identify one folder without Airflow, to try a recipe."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from sendit import __version__
from sendit.batch import InstanceRecord, Outcome
from sendit.coded_study import CodedStudy
from sendit.errors import FailBatch, Misconfigured
from sendit.identifiers.identity import IdentityRules, request_for
from sendit.identifiers.local import KeyedCodes, LocalService
from sendit.keys import Keys, read_keys, write_new_key
from sendit.ledger import count_outcomes
from sendit.pipeline.anonymize import deidentify_accepted
from sendit.pipeline.intake import Intake, count_reasons, import_folder
from sendit.pipeline.load_recipe import LoadedRecipe, load_recipe
from sendit.pipeline.study import StudyResult
from sendit.settings import Settings, read_settings

#: Folder of the trial key if SENDIT_HOME is not set.
TRIAL_HOME = Path("~/.local/share/sendit")


def run_trial(
    folder: Path,
    out: Path,
    *,
    recipe: str | None,
    archive: bool,
    key_file: Path | None,
    names: bool,
) -> bool:
    """De-identify a folder into ``out`` and write ``out/manifest.json``.

    Returns
    -------
    bool
        Whether any file was quarantined or is a duplicate.

    Raises
    ------
    FailBatch
        The folder holds more than one study or patient, or one without a usable number.
    Misconfigured
        The recipe, the key or the output folder cannot be used.
    """
    settings = read_settings()
    prepared = load_recipe(recipe or settings.recipe)
    keys = _keys(settings, key_file)
    _make(out, folder)
    screen = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=screen,
        transient=True,
    ) as progress:
        looking = progress.add_task("reading headers", total=None)
        intake = import_folder(
            folder, prepared.filters, lambda done: progress.update(looking, completed=done)
        )
        result: StudyResult | None = None
        if intake.accepted:
            writing = progress.add_task("de-identifying", total=len(intake.accepted))
            coded = _coded_study(intake, settings.identity_rules(), keys)
            result = deidentify_accepted(
                intake.accepted,
                folder,
                coded,
                recipe=prepared,
                keys=keys,
                archive=out / f"{coded.study_code}.tar.gz",
                people=frozenset(intake.people.words | intake.people.numbers),
                progress=lambda done: progress.update(writing, completed=done),
            )
    if result is not None and result.archive is not None and not archive:
        _unpack(result.archive.path, out)
    _write_manifest(out, intake, result, prepared, archive=archive, names=names)
    _print_outcome(intake, result)
    if intake.failure:
        raise FailBatch(
            f"{intake.failure}: nothing was de-identified; sort the files into one folder per study"
        )
    return any(
        record.outcome in (Outcome.QUARANTINED, Outcome.DUPLICATE) for record in intake.records
    )


def _keys(settings: Settings, key_file: Path | None) -> Keys:
    path = key_file or settings.key_file
    if path is None:
        path = (settings.home or TRIAL_HOME).expanduser() / "trial.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_new_key(path)
            print(f"sendit: generated a key for trials: {path}", file=sys.stderr)
    return read_keys(path.expanduser())


def _make(out: Path, folder: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise Misconfigured("--out is inside the input folder; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise Misconfigured("--out is not empty; choose a new folder")
    except OSError as error:
        raise Misconfigured(f"--out cannot be created or read ({error.strerror})") from None


def _coded_study(intake: Intake, rules: IdentityRules, keys: Keys) -> CodedStudy:
    request = request_for(intake.identity, rules)
    return LocalService("trial", keys, KeyedCodes(keys)).identify(request).coded_study()


def _unpack(archive: Path, out: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    archive.unlink()


def _write_manifest(
    out: Path,
    intake: Intake,
    result: StudyResult | None,
    recipe: LoadedRecipe,
    *,
    archive: bool,
    names: bool,
) -> None:
    written = result.archive if result else None
    counts = count_outcomes(record.outcome for record in intake.records if record.outcome)
    manifest: dict[str, Any] = {
        "sendit": __version__,
        "recipe_sha256": recipe.digest,
        "counts": {
            "received": counts.received,
            "delivered": counts.delivered,
            "filtered": counts.filtered,
            "quarantined": counts.quarantined,
            "duplicate": counts.duplicate,
        },
        "reasons": count_reasons(intake.records),
        "actions": result.actions if result else {},
        "archive": None
        if not (archive and written)
        else {
            "name": written.path.name,
            "size": written.size,
            "crc32c": written.crc32c,
            "members": written.members,
        },
        "files": [_file(record, result, names) for record in intake.records],
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="ascii")


def _file(record: InstanceRecord, result: StudyResult | None, names: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "number": record.number,
        "outcome": record.outcome,
        "reason": record.reason,
    }
    if record.outcome is Outcome.DELIVERED and result:
        entry["member"] = result.members[record.number]
    if names:
        entry["path"] = record.path
    return entry


def _print_outcome(intake: Intake, result: StudyResult | None) -> None:
    console = Console()
    counts = count_outcomes(record.outcome for record in intake.records if record.outcome)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for number, word in (
        (counts.received, "received"),
        (counts.delivered, "delivered"),
        (counts.filtered, "filtered"),
        (counts.quarantined, "quarantined"),
        (counts.duplicate, "duplicate"),
    ):
        table.add_row(str(number), word)
    for reason, number in sorted(count_reasons(intake.records).items()):
        table.add_row(str(number), f"  {reason}")
    for action, number in sorted((result.actions if result else {}).items()):
        if number:
            table.add_row(str(number), f"elements: {action}")
    console.print(table)
