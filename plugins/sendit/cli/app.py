"""Commands and their options. Exit codes: 0 done, 1 failed (why is on standard error),
2 wrong usage, 3 done but with files that could not be delivered."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sendit import __version__
from sendit.errors import Misconfigured, SenditError
from sendit.settings import Settings, read_settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from sendit.delivery.verify import Verification
    from sendit.ledger import Ledger
    from sendit.recipe.own import Own

FAILED = 1
WITH_QUARANTINE = 3

app = typer.Typer(
    name="sendit",
    help="De-identify folders of DICOM, and inspect batches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recipe_app = typer.Typer(help="Work on deid recipes.", no_args_is_help=True)
app.add_typer(recipe_app, name="recipe")
rules_app = typer.Typer(
    help="Find images that need a rule saying what to blank.", no_args_is_help=True
)
app.add_typer(rules_app, name="rules")


def main() -> None:
    """Run the command; sendit's own errors are printed as one line, without a traceback."""
    try:
        app()
    except SenditError as error:
        print(f"sendit: {error}", file=sys.stderr)
        sys.exit(FAILED)


def _version(show: bool) -> None:
    if show:
        print(f"sendit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """De-identify folders of DICOM, and inspect batches."""


@app.command()
def deid(
    folder: Annotated[
        Path, typer.Argument(help="Folder with one study.", exists=True, file_okay=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; created if it does not exist.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A deid recipe file or the name of a bundled recipe; separate several with "
            "commas. Default: as configured."
        ),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Write one .tar.gz, as a run delivers it.")
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Secret key. Default: SENDIT_KEY_FILE, otherwise a key kept for trials."),
    ] = None,
    as_deid: Annotated[
        bool, typer.Option("--as-deid", help="KEEP may win over a rule that takes an identifier.")
    ] = False,
    names: Annotated[
        bool,
        typer.Option(
            "--names", help="Include input file names in the manifest. They may identify a patient."
        ),
    ] = False,
) -> None:
    """De-identify one folder without Airflow, to try a recipe.

    Writes manifest.json, which records what happened to every file. Files are numbered in the
    order of their paths.
    """
    from sendit.cli.trial import run_trial
    from sendit.recipe.parse import AS_DEID

    recipes = _recipe_names(recipe or read_settings().recipe)
    if as_deid:
        recipes.append(AS_DEID)
    quarantined = run_trial(
        folder,
        out,
        recipe=",".join(recipes),
        archive=archive,
        key_file=key_file,
        names=names,
    )
    if quarantined:
        raise typer.Exit(WITH_QUARANTINE)


@recipe_app.command("check")
def recipe_check(
    files: Annotated[
        list[str], typer.Argument(help="Recipe files, or bundled names; combined in order.")
    ],
    form: Annotated[
        Literal["text", "json"],
        typer.Option("--format", help="json: one JSON object, for editors and other tools."),
    ] = "text",
    as_deid: Annotated[
        bool, typer.Option("--as-deid", help="KEEP may win over a rule that takes an identifier.")
    ] = False,
) -> None:
    """Explain every mistake in a recipe, with file, line and a suggestion, and its coverage of
    the standard's table (PS3.15 Table E.1-1)."""
    from sendit.recipe.parse import AS_DEID
    from sendit.recipe.report import check

    names = [name for given in files for name in _recipe_names(given)]
    if as_deid:
        names.append(AS_DEID)
    raise typer.Exit(check(names, own=_own(), as_json=form == "json"))


@recipe_app.command("fix")
def recipe_fix(
    file: Annotated[Path, typer.Argument(help="A recipe file.", exists=True, dir_okay=False)],
    output: Annotated[
        Path | None, typer.Option("--output", help="New file. Default: standard output.")
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what would change, and write nothing.")
    ] = False,
) -> None:
    """Correct a deid recipe so that it works here: fixes spelling, values and the names of
    variables and functions, each with its reason in a comment. What a person must decide is
    marked; where possible, a rule that protects as much stands in until then. Exits with 1 if the
    result still has errors."""
    from sendit.recipe.fix import fix

    try:
        before = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise Misconfigured(f"{file} is not UTF-8 text: save it as UTF-8") from None
    fixed = fix(str(file), before, _own())
    if diff:
        from difflib import unified_diff

        lines = unified_diff(
            before.splitlines(keepends=True),
            fixed.text.splitlines(keepends=True),
            str(file),
            str(output or file),
        )
        sys.stdout.writelines(line if line.endswith("\n") else line + "\n" for line in lines)
    elif output is None:
        sys.stdout.write(fixed.text)
    else:
        try:
            with output.open("x", encoding="utf-8") as target:
                target.write(fixed.text)
        except OSError as error:
            raise Misconfigured(f"{output} cannot be written ({error.strerror})") from None
    print(f"sendit: {fixed.changed} lines changed", file=sys.stderr)
    for problem in (*fixed.undecided, *fixed.left):
        print(f"sendit: decide: {problem}", file=sys.stderr)
    if fixed.left:
        raise typer.Exit(FAILED)


@recipe_app.command("explain")
def recipe_explain(
    file: Annotated[str, typer.Argument(help="A recipe file, or bundled names with commas.")],
    attribute: Annotated[str, typer.Argument(help="A keyword or a tag: PatientID, (0010,0020).")],
) -> None:
    """Show what a recipe does to one attribute, and by which of its lines."""
    from sendit.recipe.explain import explain
    from sendit.recipe.parse import read_recipe
    from sendit.recipe.spelling import near

    explanation = explain(read_recipe(*_recipe_names(file), own=_own()), attribute)
    if explanation is None:
        hint = near(attribute)
        raise Misconfigured(
            f"{attribute} is not a DICOM keyword or tag{f' ({hint})' if hint else ''}"
        )
    print(explanation.heading)
    for line in explanation.lines:
        print(f"  {line}")


@rules_app.command("wanted")
def rules_wanted(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, for scripts.")
    ] = False,
) -> None:
    """List the kinds of images that were withheld because no rule says what to blank in them, most
    frequent first."""
    from sendit.cli.tables import print_wanted
    from sendit.pipeline.rules import wanted_rules

    rules = wanted_rules(_ledger(read_settings()))
    if as_json:
        for rule in rules:
            print(
                json.dumps(
                    {"key": rule.key.id, "files": rule.files, "batches": list(rule.batches)}
                    | asdict(rule.key)
                )
            )
    else:
        print_wanted(rules)


@rules_app.command("draft")
def rules_draft(
    key: Annotated[str, typer.Argument(help="A key, as `sendit rules wanted` shows it.")],
    out: Annotated[
        Path, typer.Option("--out", help="New folder (mode 0700) for the draft and its pictures.")
    ],
) -> None:
    """Draft a rule for one kind of image: reads the text in at least three images and blanks it
    with a margin.

    Writes draft.deid and, for each image, a picture of it before and after. The pictures identify
    patients. Look at them, correct the rule, add it to your recipe, and requeue the batches.
    """
    from sendit.pipeline.rules import draft_rule, wanted_rule

    settings = read_settings()
    ledger = _ledger(settings)
    wanted = wanted_rule(ledger, key)
    if out.exists():
        raise Misconfigured("--out already exists: choose a new folder for the draft")
    made = draft_rule(ledger, settings, settings.keys(), wanted)
    from sendit.pixels.render import save_side_by_side

    try:
        out.mkdir(mode=0o700)
        (out / "draft.deid").write_text(made.text, "utf-8")
        for number, (before, after) in enumerate(made.pictures, 1):
            save_side_by_side(out / f"{wanted.key.id}-{number}.png", before, after)
    except OSError as error:
        raise Misconfigured(f"--out cannot be created or written ({error.strerror})") from None
    print(
        f"draft.deid and {len(made.pictures)} pictures written to {out}. The pictures identify "
        "patients: look at each, then delete them. Check the rule with: sendit recipe check "
        f"default,{out / 'draft.deid'}; then requeue: sendit requeue {' '.join(wanted.batches)}"
    )


def _own() -> Own:
    """Return the functions and variables that the site has configured."""
    from sendit.recipe.own import read_own

    settings = read_settings()
    return read_own(settings.recipe_functions, settings.recipe_table)


def _recipe_names(given: str) -> list[str]:
    """Split a comma-separated list of recipes.

    Paths become absolute. The name of a bundled recipe stays as it is, whatever the current folder
    contains; so does any other bare name, unless there is a file of that name.
    """
    from sendit.recipe.parse import bundled_names

    def absolute(name: str) -> str:
        path = Path(name)
        is_path = name not in bundled_names() and (path.is_file() or path.suffix or os.sep in name)
        return str(path.resolve()) if is_path else name

    return [absolute(name.strip()) for name in given.split(",")]


@app.command()
def batches(
    errors: Annotated[
        bool,
        typer.Option("--errors", help="Only failed batches, with the reason, and unfinished ones."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, for scripts.")
    ] = False,
) -> None:
    """Show the batches in the ledger."""
    from sendit.cli.tables import print_batches

    listed = _ledger(read_settings()).all_batches(errors_only=errors)
    if as_json:
        for batch in listed:
            entry = asdict(batch)
            del entry["folder_digest"]
            del entry["counts"]
            print(json.dumps(entry | batch.tally))
    else:
        print_batches(listed, errors)


@app.command()
def lookup(batch: Annotated[str, typer.Argument(help="Batch id, as Airflow shows it.")]) -> None:
    """Print the folder of a batch. The output identifies a patient: keep it confidential."""
    from sendit.pipeline.discover import locate

    settings = read_settings()
    print(locate(_ledger(settings), settings, settings.keys(), batch))


@app.command()
def requeue(
    batch: Annotated[
        list[str] | None, typer.Argument(help="Batch ids, as Airflow shows them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All batches in ERROR.")] = False,
    run: Annotated[
        str | None, typer.Option(help="Batches in ERROR of one run (id, as Airflow shows it).")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Batches in ERROR whose error contains this text.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Batches in ERROR that failed at this stage, such as dasher.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Deliver under a different study.")] = None,
    recipe: Annotated[str | None, typer.Option(help="De-identify with a different recipe.")] = None,
    revise: Annotated[
        bool | None,
        typer.Option("--revise/--no-revise", help="Replace an earlier delivery, or not."),
    ] = None,
) -> None:
    """Requeue batches that are in ERROR or were withdrawn, for the next run.

    A batch keeps the study, recipe and revise that it was queued with, unless you give others.
    This also works for a batch that is still in the queue.
    """
    from sendit.pipeline.requeue import Changes, Selection, requeue_batches

    chosen = Selection(tuple(batch or ()), every, run, reason, stage)
    if not chosen.names_something:
        raise typer.BadParameter("give batch ids, or --run, --reason, --stage or --all")
    settings = read_settings()
    changes = Changes(study, ",".join(_recipe_names(recipe)) if recipe else None, revise)
    done, refused = requeue_batches(_ledger(settings), settings, chosen, changes)
    for batch_id in done:
        print(f"batch {batch_id} is back in the queue")
    for problem in refused:
        print(f"sendit: {problem}", file=sys.stderr)
    if not done and not refused:
        print("sendit: no batch in ERROR matches", file=sys.stderr)
    if refused or not done:
        raise typer.Exit(FAILED)


@app.command()
def history(batch: Annotated[str, typer.Argument(help="Batch id, as Airflow shows it.")]) -> None:
    """Show what happened to a batch's deliveries: delivered, replaced, withdrawn."""
    from sendit.cli.tables import print_history

    print_history(_ledger(read_settings()).history(batch))


@app.command()
def withdraw(
    batch: Annotated[str, typer.Argument(help="Batch id, as Airflow shows it.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why. It is recorded: nothing about a patient, please.")
    ],
) -> None:
    """Withdraw a delivered batch: delete its object and rows; the ledger keeps the history."""
    from sendit.delivery.withdraw import withdraw as recall

    storage, bigquery = _google()
    left = recall(_ledger(read_settings()), storage, bigquery, batch, reason)
    for text in left:
        print(f"still in the bucket: {text}")
    print(f"batch {batch} is withdrawn; to deliver it again: sendit requeue {batch}")


@app.command()
def verify(
    run: Annotated[
        str | None, typer.Argument(help="Run id, as Airflow shows it. Default: all runs.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Collection to verify. Default: the configured one.")
    ] = None,
    with_ledger: Annotated[
        bool,
        typer.Option(
            "--ledger", help="Also compare the ledger with the bucket, as after a restore."
        ),
    ] = False,
    with_repair: Annotated[
        bool,
        typer.Option("--repair", help="Reload rows that are missing, duplicated or wrong."),
    ] = False,
) -> None:
    """Compare bucket and table with the runs' manifests and report every difference.

    The ledger is not consulted unless you say so. Exits with 1 if anything differs. With --repair,
    the final report lists what still differs.
    """
    from sendit.cli.tables import print_feeder
    from sendit.delivery.verify import verify_collection, verify_ledger, verify_run

    settings = read_settings()
    settings.need("bucket")
    place = collection or settings.collection_of(settings.study)
    storage, bigquery = _google()

    def look() -> Verification:
        if run:
            return verify_run(storage, bigquery, settings.bucket, place, run)
        return verify_collection(storage, bigquery, settings.bucket, place)

    verdict = look()
    if with_repair and verdict.compared is not None and verdict.compared.without_row():
        from sendit.delivery.repair import repair

        wanted = len(verdict.compared.without_row())
        failures = repair(
            _ledger(settings), storage, bigquery, verdict.compared, location=settings.location
        )
        for name, error in failures.items():
            print(f"{name}: {error}")
        print(f"{wanted - len(failures)} of {wanted} rows were reloaded")
        verdict = look()
    if with_ledger:
        verdict.differences += verify_ledger(_ledger(settings), storage, settings.bucket, place)
    if verdict.feeder is not None:
        print_feeder(place, verdict.feeder)
    for difference in verdict.differences:
        print(difference)
    print(
        f"{verdict.manifests} manifests, {verdict.archives} archives, "
        f"{len(verdict.differences)} differences"
    )
    if not verdict.agrees:
        raise typer.Exit(FAILED)


@app.command()
def adopt(
    collection: Annotated[str, typer.Argument(help="Collection, as in the objects' names.")],
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            help="Why this site is the right one. It is recorded: nothing about a patient, please.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Study delivered to it. Default: as configured, or the collection's name."
        ),
    ] = None,
) -> None:
    """Make this site (ledger, key, identifier service and study) the feeder of a collection.

    Without a reason, explains what differs and what that would mean, and changes nothing.
    """
    from sendit.cli.tables import ADOPT
    from sendit.delivery.feeder import Feed, feeder_of

    settings = read_settings()
    settings.need("bucket")
    if study is None:
        configured = settings.collection_of(settings.study) == collection
        study = settings.study if configured else collection
    ledger = _ledger(settings)
    storage, _ = _google()
    feeder = feeder_of(
        ledger,
        settings.keys(),
        _identifiers(),
        study,
        settings.identity_rules(),
        project=storage.project,
    )
    feed = Feed(ledger, storage, settings.bucket, collection, feeder)
    problems = feed.problems()
    if not problems:
        print(f"this site already feeds the collection {collection}: nothing to adopt")
        return
    for problem in problems:
        print(problem)
    if reason is None:
        print(ADOPT.format(collection=collection))
        raise typer.Exit(FAILED)
    feed.adopt(reason)
    print(f"this site feeds the collection {collection} from now on")


@app.command()
def metrics(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File. Default: sendit-process-time-YYYY-MM-DD.tsv here."),
    ] = None,
) -> None:
    """Export status, size and processing time of every batch as a table (TSV)."""
    from sendit.pipeline.metrics import default_name, write_metrics

    path = out or Path(default_name())
    lines = write_metrics(_ledger(read_settings()).all_batches(), path)
    print(f"{lines} batches written to {path}")


@app.command()
def doctor(
    certificate: Annotated[
        Path | None,
        typer.Option(help="The UI's certificate (PEM). Default: the one that the UI presents."),
    ] = None,
) -> None:
    """Check everything that is commonly wrong on a new site, and say what to do.

    Run it where tasks run, in their environment. It writes and deletes in folders, bucket and
    dataset as a run would, and leaves nothing behind. Exits with 1 if anything is wrong.
    """
    from sendit.cli.doctor import CheckStatus, examine
    from sendit.cli.tables import print_finding

    with redirect_stdout(sys.stderr):
        from sendit.hooks.services import SiteServices

        services = SiteServices()
    wrong = False
    findings = examine(read_settings, services, certificate)
    while True:
        with redirect_stdout(sys.stderr):
            finding = next(findings, None)
        if finding is None:
            break
        print_finding(finding)
        wrong |= finding.verdict is CheckStatus.WRONG
    if wrong:
        raise typer.Exit(FAILED)


@app.command()
def key(file: Annotated[Path, typer.Argument(help="New file; never overwritten.")]) -> None:
    """Generate the site's secret key (mode 0600). Keep a copy in a safe place."""
    from sendit.keys import write_new_key

    write_new_key(file)
    print(f"key written to {file}; set SENDIT_KEY_FILE to it")


def _ledger(settings: Settings) -> Ledger:
    from sendit.ledger import Ledger

    if settings.ledger == "embedded":
        return Ledger(settings.embedded_ledger_url)
    uri = os.environ.get("SENDIT_LEDGER_URL") or os.environ.get("AIRFLOW_CONN_SENDIT_LEDGER")
    if uri:
        return Ledger(uri)
    # The connection is one that only Airflow can look up, which takes seconds. Airflow logs to
    # standard output, which is reserved for the command's own output.
    with redirect_stdout(sys.stderr):
        from sendit.hooks.site import ledger

        return ledger()


def _identifiers() -> str:
    """Return the identifier service's name, which for DASHER includes its connection's host."""
    with redirect_stdout(sys.stderr):
        from sendit.hooks.site import service_name

        return service_name()


def _google() -> tuple[storage.Client, bigquery.Client]:
    """Return the Google clients of the Airflow connection google_cloud_default."""
    with redirect_stdout(sys.stderr):
        from sendit.hooks.google import bigquery_client, storage_client

        return storage_client(), bigquery_client()
