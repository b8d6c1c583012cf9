"""``make chaos ROUNDS=200 SEED=7``: rounds of the real DAG, one seeded fault each."""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chaos import faults, people
from chaos.faults import OTHER_DATE, REVISED, Fault, Run
from chaos.invariants import Invariants
from chaos.site import SETTINGS, STUDY, ChaosSite
from demo.processes import DemoError
from demo.stack import PROJECT_ROOT
from testing.builder import make_dataset, plant_canaries, to_bytes

BATCHES = 2
IMAGES = 2
#: A run for another study than the configured one.
OTHER_STUDY = "Beta"
#: Longest duration of a run, including task retries.
RUN_SECONDS = 600.0
#: Assumed duration of a run of two batches until one has been measured, and its plausible bounds.
FIRST_LENGTH, SHORTEST, LONGEST = 14.0, 8.0, 90.0
#: How often failed tasks are cleared, as a person would do, before the round is lost.
CLEARS = 4
#: Rounds between two searches of the whole Airflow database.
WHOLE_DATABASE = 10
#: A canary in one of these causes an image to be filtered.
FILTERED_BY = (
    "SecondaryCaptureDeviceManufacturer",
    "SecondaryCaptureDeviceManufacturerModelName",
    "SecondaryCaptureDeviceSoftwareVersions",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
)
#: Upload lanes: each additional lane means five more tasks.
LANES, LANE_WEIGHTS = (1, 2), (3, 1)
#: What a round may add to new studies: one that was delivered before, unchanged or changed.
EXTRAS = ("", "again", *REVISED)
EXTRA_WEIGHTS = (10, 2, 2, 2)
#: The studies that are sent again: unchanged, and changed.
SAME, CHANGING = 1, 2


@dataclass
class Round:
    """One round and its result."""

    number: int
    fault: Fault
    extra: str = ""
    also: Fault | None = None
    hits: int | None = None
    too_late: bool = False
    clears: int = 0
    seconds: float = 0.0
    broken: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind of action, for counting."""
        missed = "" if self.hits is None or self.hits else " (no call came)"
        if self.too_late:
            missed = " (the run was over)"
        return f"{self.fault.kind}: {self.fault.target}{missed}"

    def line(self, seed: int) -> str:
        """Return the round as one line."""
        result = "ok" if not self.broken else "BROKEN: " + "; ".join(self.broken[:5])
        return (
            f"{datetime.now(UTC):%H:%M:%S}  round {self.number:3}  seed {seed}-{self.number}  "
            f"{self.fault}, {self.fault.when}"
            f"{f'; and {self.also}, {self.also.when}' if self.also else ''}"
            f"{f'; {self.hits} calls went wrong' if self.hits is not None else ''}"
            f"{'; the run was over before' if self.too_late else ''}"
            f"{f'; a study comes {self.extra}' if self.extra else ''}  "
            f"{self.clears} clears  {self.seconds:.0f} s  {result}"
        )


class Harness:
    """Runs rounds on one site.

    Parameters
    ----------
    site
        A running site.
    seed
        Determines all choices.

    The first round delivers the studies that later ones send again.
    """

    def __init__(self, site: ChaosSite, seed: int) -> None:
        self._first = True
        self._month = 1  # of the study that changes
        self._marked: set[str] = set()  # runs whose state was set by a person
        self._length = FIRST_LENGTH  # duration of a run, in seconds
        self.site = site
        self.seed = seed
        self.invariants = Invariants(site)

    def round(self, number: int, fault: Fault | None = None, extra: str | None = None) -> Round:
        """Do one round: a run with a fault, recovery, and a check of the guarantees."""
        rng = random.Random(f"{self.seed}-{number}")
        if extra is None:
            extra = rng.choices(EXTRAS, weights=EXTRA_WEIGHTS)[0]
        if self._first:
            extra = ""
        fault = fault or faults.choose(rng, extra, faults.person(self.seed, number))
        done = Round(number, fault, extra)
        started = time.monotonic()
        lanes = rng.choices(LANES, weights=LANE_WEIGHTS)[0]
        self.site.configure(**SETTINGS, SENDIT_LANES=str(lanes))
        folder = self._inputs(done)
        before = digest(folder)
        faults.prepare(self.site, fault)
        conf: dict[str, object] = {
            "number": None, "subfolder": folder.name, "revise": extra in REVISED,
        }  # fmt: skip
        try:
            if fault.kind == "person":
                done.clears = self._person(done, conf, rng)
                return self._end(done, folder, before, started)
            run = self._trigger(conf)
            second = faults.do(self.site, fault, run, rng)
            done.clears += self._recover(run.run_id)
            if fault.kind == "break":
                done.hits = self.site.proxies[fault.target].broken
            if fault.kind == "crash" and not done.clears:
                self._length = min(max(SHORTEST, time.monotonic() - run.started), LONGEST)
            if second is not None:
                done.clears += self._recover(second)
            if faults.after(self.site, fault, run, rng):
                done.clears += self._recover(run.run_id)
            return self._end(done, folder, before, started)
        except (DemoError, OSError) as error:  # OSError: an error response of Airflow, such as 404
            with (self.site.logs / "harness.log").open("a") as log:
                traceback.print_exc(file=log)
            done.broken = (f"{type(error).__name__}: {error}",)
            done.seconds = time.monotonic() - started
            return done
        finally:
            for proxy in self.site.proxies.values():
                proxy.repair()

    def _end(self, done: Round, folder: Path, before: str, started: float) -> Round:
        """Check the guarantees."""
        broken = self.invariants.broken(whole_database=done.number % WHOLE_DATABASE == 0)
        broken += people.falsely_green(self.site, self._marked)
        if digest(folder) != before:
            broken.append("the input was touched")
        done.broken = tuple(broken)
        done.seconds = time.monotonic() - started
        return done

    def _person(self, done: Round, conf: dict[str, object], rng: random.Random) -> int:
        """Perform a user action, sometimes with a killed process; then settle, and start one more
        run.
        """
        confs = [conf]
        people.before(self.site, done.fault, conf)
        run = self._trigger(conf)
        if done.fault.target == "two studies":
            confs.append(self._second_study(done))
            self.site.trigger(confs[1])
        first = done.fault.target in faults.BEFORE_A_KILL
        if rng.random() < people.WITH_A_KILL:
            done.also = faults.kill_server(rng) if first else faults.kill(rng)
        if done.also and not first:
            faults.do(self.site, done.also, run, rng)
        try:
            self._marked |= people.act(self.site, done.fault, run, rng)
        except people.TooLate:
            done.too_late = True  # counted separately
        if done.also and first:
            faults.do(self.site, done.also, run, rng)
        return people.settle(self.site, confs, CLEARS)

    def _trigger(self, conf: dict[str, object]) -> Run:
        return Run(self.site.trigger(conf), conf, time.monotonic(), self._length)

    def _second_study(self, done: Round) -> dict[str, object]:
        """Write a folder of another study; return the conf of a run for it."""
        folder = self.site.inputs[0] / f"other{done.number:04}"
        write_study(folder / "Kanarienfolder0", done.number * 10 + 5)
        self.invariants.expected[OTHER_STUDY] += 1
        return {"number": None, "subfolder": folder.name, "study": OTHER_STUDY}

    def _recover(self, run_id: str) -> int:
        """Wait for the run's end; clear failed tasks until none is left."""
        for clears in range(CLEARS + 1):
            if self.site.wait_for_run(run_id, RUN_SECONDS) == "success":
                return clears
            if clears < CLEARS:
                self.site.clear_failed(run_id)
        raise DemoError(f"the run {run_id} still fails after {CLEARS} clears")

    def _inputs(self, done: Round) -> Path:
        folder = self.site.inputs[0] / f"round{done.number:04}"
        for index in range(BATCHES):
            write_study(folder / f"Kanarienfolder{index}", done.number * 10 + index)
        self.invariants.expected[STUDY] += BATCHES + bool(done.extra)
        if self._first:
            for patient in (SAME, CHANGING):
                write_study(folder / f"Kanarienfolder9{patient}", patient)
            self._first = False
            self.invariants.expected[STUDY] += 2
        elif done.extra == "again":
            write_study(folder / "Kanarienfolder9", SAME, first_name=7)
        elif done.extra:
            if done.extra == OTHER_DATE:
                self._month = self._month % 12 + 1
            write_study(
                folder / "Kanarienfolder9", CHANGING, version=done.number, month=self._month
            )
        return folder


def write_study(
    folder: Path, patient: int, *, first_name: int = 1, version: int = 0, month: int = 1
) -> None:
    """Write a small CT study full of canaries; ``version`` changes its content."""
    folder.mkdir(parents=True)
    for instance in range(1, IMAGES + 1):
        dataset = make_dataset(patient % 50, 1, 1, instance)  # the builder derives the age from it
        plant_canaries(dataset, start=1 + 1000 * (patient % 900) + 400 * (instance % 2))
        for keyword in FILTERED_BY:
            if keyword in dataset:
                del dataset[keyword]
        # One accession number and one patient per folder, different from each other.
        dataset.AccessionNumber = f"Kanarie{500000 + patient:06}Q"
        dataset.PatientID = f"Kanarie{patient:06}Q"
        dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.987.1{patient:06}"
        dataset.SOPInstanceUID = f"{dataset.StudyInstanceUID}.{instance}"
        dataset.KVP = str(100 + version)
        dataset.StudyDate = f"2016{month:02}10"
        name = f"Kanariendatei{first_name + instance}.dcm"
        (folder / name).write_bytes(to_bytes(dataset))


def digest(folder: Path) -> str:
    """Return a digest of a folder's file names and bytes."""
    checksum = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        checksum.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            checksum.update(path.read_bytes())
    return checksum.hexdigest()


@contextmanager
def running_site(folder: Path) -> Iterator[ChaosSite]:
    """Start a site, and stop it afterwards."""
    site = ChaosSite(folder)
    try:
        site.start()
        site.wait_for_dag()
        yield site
    finally:
        site.close()


def run(rounds: int, seed: int, *, first: int, say: Callable[[str], None], keep: Path) -> int:
    """Run rounds until one violates a guarantee, and print how many of each kind passed; return
    their number.
    """
    passed: Counter[str] = Counter()
    root = PROJECT_ROOT / ".demo"
    root.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=root))
    try:
        with running_site(folder) as site:
            harness = Harness(site, seed)
            for number in range(first, first + rounds):
                done = harness.round(number)
                say(done.line(seed))
                if done.broken:
                    shutil.rmtree(keep, ignore_errors=True)
                    shutil.copytree(site.logs, keep, symlinks=True)
                    say(f"logs are in {keep}")
                    break
                passed[done.name] += 1
                if done.also:
                    passed[f"and with it {done.also.kind}: {done.also.target}"] += 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, count in sorted(passed.items()):
        say(f"{count:4} passed  {name}")
    return sum(count for name, count in passed.items() if not name.startswith("and with it"))


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--keep", type=Path, default=PROJECT_ROOT / ".demo" / "chaos-logs")
    options = parser.parse_args()
    print(f"chaos: {options.rounds} rounds, seed {options.seed}", flush=True)
    started = time.monotonic()
    passed = run(
        options.rounds,
        options.seed,
        first=options.first,
        say=lambda text: print(text, flush=True),
        keep=options.keep,
    )
    minutes = (time.monotonic() - started) / 60
    print(f"{passed} of {options.rounds} rounds passed, {minutes:.0f} minutes", flush=True)
    return 0 if passed == options.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
