"""Mutation testing: does a test fail when the code says something else?

    make mutation                          every package, a sample of each
    make mutation PACKAGES=recipe SAMPLE=0 all mutants of one package
    make mutation SAMPLE=200 SEED=7 MINUTES=30

mutmut makes the mutants. For each one the package's tests run in a fork of a process that has
collected them all, those that mirror the mutant's module first, until one fails. Everything
happens in ``build/mutation/<package>``, never in the repository. What is printed: every mutant
that survived, as a diff, and the score of each package. The sample is drawn with the seed; the
same seed and code give the same one. Mutants that only reword a message are left out: no test
should hold a message to the letter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from testing.emulators import RUNNING, run_emulators

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "mutation"
#: What tests read besides the package.
ALSO = ("tests", "testing", "demo", "deploy", "docs", "dags", "chaos", "benchmarks", "tools")
FILES = ("README.md", "Makefile", "Dockerfile", "docker-compose.yaml", "pyproject.toml")

KILLED = frozenset(("killed", "ran on"))


@dataclass(frozen=True)
class Package:
    """Modules, as patterns below ``sendit/``, and their tests."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    #: Whether tests use emulators of Google's services.
    emulators: bool = False


#: Tests that start processes, fill a disk, or read every real file: minutes per mutant.
SLOW = (
    "tests/deidentify/test_template_match.py",
    "tests/deidentify/test_rewrite.py::test_bundled_recipes_remove_pixels_in_sequences",
    "tests/deidentify/test_rewrite.py::test_intervals_between_dates_are_preserved",
    "tests/deidentify/test_rewrite.py::test_functional_groups_take_linear_time",
    "tests/gate/test_check.py::test_native_pixels_are_skipped_except_for_a_sample",
    "tests/gate/test_check.py::test_of_large_pixels_only_the_first_are_sampled",
    "tests/deidentify/test_uids.py::test_new_uid_is_a_keyed_uuid",
    "tests/gate/test_check.py::test_more_members_than_the_recursion_limit",
    "tests/deidentify/test_rewrite.py::test_keep_all_plan_leaves_real_files_unchanged",
    "tests/deidentify/test_study.py::test_a_study_larger_than_memory_is_processed",
    "tests/deidentify/test_study.py::test_memory_does_not_grow_with_the_number_of_files",
    "tests/deidentify/test_study.py::test_output_is_deterministic_across_processes",
    "tests/deidentify/test_valid.py",
    "tests/dicom/test_header_diff.py::test_differing_values_are_found",
    "tests/dicom/test_pixel_data.py::test_compressed_real_files_decode_unchanged",
    "tests/pipeline/test_intake.py::test_a_hundred_thousand_files",
)

#: A lane from end to end takes seconds against emulators: of its sixty tests, some of each kind.
_UPLOAD = "tests/tasks/test_upload.py"
_LANES = tuple(
    f"{_UPLOAD}::test_{name}"
    for name in (
        "a_lane_is_delivered_without_leftovers",
        "batches_of_two_studies_are_delivered_to_their_own_collections",
        "a_collection_of_another_ledger_is_refused_and_the_others_continue",
        "a_failed_archive_fails_the_lane_but_not_the_other_batches",
        "unconfirmed_batches_are_checked_again_after_the_others",
        "an_unavailable_store_is_retried_and_then_reported",
        "a_missing_bucket_stops_the_lane_before_any_upload",
        "a_missing_google_connection_is_named",
        "archives_cleared_without_successors_are_not_delivered",
        "rendered_fields_and_labels_contain_no_identifiers",
    )
)
_OF_DELIVERY = (
    "an_archive_of_another_study_is_not_uploaded",
    "an_error_of_one_batch_does_not_affect_the_others",
    "identical_bytes_of_another_generation_are_not_the_delivery",
    "inconsistent_deliveries_are_retracted",
    "duplicate_rows_are_removed",
    "a_revision_replaces_a_rewritten_object",
    "a_vanished_object_is_not_reported_as_delivered",
    "repair_updates_the_row_of_a_rewritten_object",
    "repair_reloads_missing_rows_exactly_once",
    "repair_ignores_objects_unknown_to_the_ledger",
    "repair_names_an_archive_without_images",
    "an_upload_with_a_lost_response_is_recorded",
    "a_late_task_of_a_run_that_lost_its_batch_changes_nothing",
)

PACKAGES = {
    "deidentify": Package(("deidentify/*",), ("tests/deidentify",)),
    "gate": Package(("gate/*",), ("tests/gate",)),
    "dicom": Package(("dicom/*",), ("tests/dicom", "tests/deidentify")),
    "delivery": Package(
        ("delivery/*",),
        ("tests/delivery", *_LANES, *(f"{_UPLOAD}::test_{name}" for name in _OF_DELIVERY)),
        emulators=True,
    ),
    "tasks": Package(
        ("tasks/*",),
        (
            *("tests/tasks/test_take_up.py", "tests/tasks/test_finish.py"),
            *("tests/tasks/test_error_boundary.py", "tests/tasks/test_process.py"),
            *("tests/tasks/test_preflight.py", "tests/tasks/test_task_context.py"),
            *("tests/tasks/test_google.py", *_LANES),
        ),
        emulators=True,
    ),
    "pipeline": Package(("pipeline/*",), ("tests/pipeline", "tests/ledger")),
    "recipe": Package(
        ("recipe/*",),
        (
            *("tests/recipe/test_parse.py", "tests/recipe/test_filters.py"),
            *("tests/recipe/test_lint.py", "tests/recipe/test_coverage.py"),
            *("tests/recipe/test_report.py", "tests/recipe/test_explain.py"),
            *("tests/recipe/test_fix.py", "tests/recipe/test_own.py"),
            *("tests/recipe/test_review.py", "tests/recipe/test_mistakes.py"),
            "tests/recipe/test_approved_recipes.py",
        ),
    ),
    "identifiers": Package(
        ("identifiers/*",),
        (
            *("tests/identifiers/test_identity.py", "tests/identifiers/test_models.py"),
            *("tests/identifiers/test_local.py", "tests/identifiers/test_tokens.py"),
            *("tests/identifiers/test_calls.py", "tests/identifiers/test_dasher.py"),
        ),
    ),
    "archive": Package(
        ("archive.py", "atomic_write.py", "workspace.py", "errors.py", "batch.py"),
        (
            *("tests/test_archive.py", "tests/test_workspace.py", "tests/test_errors.py"),
            *("tests/test_disks_and_rights.py", "tests/tasks/test_error_boundary.py"),
        ),
    ),
    "ledger": Package(
        ("ledger/*", "keys.py", "settings.py"),
        ("tests/ledger", "tests/test_keys.py", "tests/test_settings.py"),
    ),
}

CONFIGURATION = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {modules}
also_copy = {also}
use_git_change_detection = false
track_dependencies = false
"""

#: Options of pytest for every run: few examples, always the same ones.
OPTIONS = (
    *("-p", "no:cacheprovider", "-o", "addopts=", "-o", "timeout=300"),
    *("--hypothesis-profile=mutation", "--hypothesis-seed=0"),
    *("-m", "not e2e", "-k", "not postgresql"),
    "--snapshot-warn-unused",  # tests are collected before any runs
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", nargs="*", choices=PACKAGES, default=[*PACKAGES])
    parser.add_argument("--sample", type=int, default=100, help="mutants a package; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="for each package")
    parser.add_argument("--only", default="", help="modules whose path contains this")
    parser.add_argument("--least", type=float, default=0, help="fail under this percentage")
    parser.add_argument(
        "--near",
        action="store_true",
        help="run only the module's own tests and those against approved results: a lower bound",
    )
    options = parser.parse_args()
    scores = {name: _score(name, options) for name in options.packages or PACKAGES}
    print(f"\nseed {options.seed}")
    print("| package | mutants | tried | killed | survived | without a test | score |")
    print("|---|---|---|---|---|---|---|")
    for name, score in scores.items():
        print(f"| {name} | {score.line()} |")
    return int(any(score.percent < options.least for score in scores.values()))


@dataclass
class Score:
    """Outcomes of a package's mutants."""

    made: int
    outcomes: Counter[str]

    @property
    def tried(self) -> int:
        """Mutants with a conclusive result."""
        return self.outcomes.total()

    @property
    def percent(self) -> float:
        """Percentage of tried mutants that were killed."""
        return 100 * self.killed / self.tried

    @property
    def killed(self) -> int:
        """Mutants for which a test fails, or that time out."""
        return sum(self.outcomes[outcome] for outcome in KILLED)

    def line(self) -> str:
        """Return the numbers of a table row."""
        return (
            f"{self.made} | {self.tried} | {self.killed} | "
            f"{self.outcomes['survived']} | {self.outcomes['no test']} | {self.percent:.1f}%"
        )


def _score(name: str, options: argparse.Namespace) -> Score:
    folder, package = BUILD / name, PACKAGES[name]
    _prepare(folder, package)
    wish = {"seed": options.seed, "sample": options.sample, "only": options.only}
    drawn = _drawn(folder, wish)
    print(f"{name}: {len(drawn.diffs)} of {drawn.made} mutants", flush=True)
    # If the time budget ends the run, the mutants tried are still a sample.
    names = sorted(drawn.diffs)
    random.Random(options.seed).shuffle(names)
    order = {
        "names": names,
        "tests": [test for test in package.tests if (ROOT / test.split("::")[0]).exists()],
        "near": options.near,
        "options": [*OPTIONS, *(f"--deselect={test}" for test in SLOW)],
    }
    outcomes: Counter[str] = Counter()
    with _emulators(package) as environment:
        for mutant, outcome in _tried(folder / "mutants", order, environment, options.minutes):
            outcomes[outcome] += 1
            print(f"--- {outcome}: {mutant}", flush=True)
            if outcome not in KILLED:
                print(drawn.diffs[mutant], flush=True)
    if not outcomes:
        raise SystemExit(f"{name}: no mutant could be tried")
    return Score(drawn.made, outcomes)


def _prepare(folder: Path, package: Package) -> None:
    """Lay out a copy of the repository as mutmut expects it: the package below ``src``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "plugins", folder / "src", ignore=ignore)
    for name in ALSO:
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    mutants = folder / "mutants"
    mutants.mkdir()
    # Tests read sources at the repository's paths, and start programs of .venv-demo.
    (mutants / "plugins").symlink_to("src")
    for venv in (".venv", ".venv-demo"):
        for place in (folder, mutants):
            (place / venv).symlink_to(ROOT / venv)
    with (folder / "pyproject.toml").open("a") as file:
        file.write(
            CONFIGURATION.format(
                modules=json.dumps([f"src/sendit/{pattern}" for pattern in package.modules]),
                also=json.dumps([*ALSO, *FILES]),
            )
        )


@contextmanager
def _emulators(package: Package) -> Iterator[dict[str, str]]:
    """Start once what each mutant's tests would start for themselves."""
    if not package.emulators:
        yield {}
        return
    with TemporaryDirectory() as folder, run_emulators(Path(folder)) as started:
        yield {RUNNING: f"{started.storage} {started.bigquery}"}


@dataclass(frozen=True)
class Drawn:
    """The sample: the total number of mutants, and the diff of each sampled one."""

    made: int
    diffs: dict[str, str]


def _drawn(folder: Path, wish: dict[str, object]) -> Drawn:
    done = subprocess.run(
        [sys.executable, HERE / "draw.py", json.dumps(wish)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("DRAWN "):
            return Drawn(*json.loads(line.removeprefix("DRAWN ")))
    raise SystemExit(f"mutmut failed:\n{done.stdout[-4000:]}")


def _tried(
    folder: Path, order: dict[str, object], environment: Mapping[str, str], minutes: float
) -> Iterator[tuple[str, str]]:
    """Yield each mutant and its outcome, within a time budget in minutes."""
    paths = {"PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}  # not the installed package
    process = subprocess.Popen(
        [sys.executable, HERE / "trial.py", json.dumps(order)],
        cwd=folder,
        env=os.environ | paths | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    stop = Timer(minutes * 60, os.killpg, (process.pid, signal.SIGKILL))
    stop.start()
    try:
        for line in process.stdout:
            mutant, outcome = json.loads(line)
            yield mutant, outcome
        code = process.wait()
    finally:
        stop.cancel()
    if code == -signal.SIGKILL:
        print(f"stopped after {minutes:g} minutes", flush=True)
    elif code:
        raise SystemExit(f"the trial ended with {code}: see {folder / 'pytest.txt'}")


if __name__ == "__main__":
    sys.exit(main())
