"""What de-identification costs: sendit, its floor, and its peers, in one run on one core.

    .venv/bin/python -m benchmarks.deidentify [--scale 0.1] [--only ct mr] [--dre PYTHON]

The floor reads the files and writes them with igzip level 1: what no tool that delivers a
``.tar.gz`` can go below. All times are CPU time of one process on one core, the best of
``--rounds``; a slow peer does the first files of a study only. ``make benchmark`` installs the
peers and runs this.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from isal import isal_zlib

from benchmarks import peers, recipes
from benchmarks.studies import Input, make_all
from sendit import archive
from sendit.batch import Outcome
from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.keys import Keys
from sendit.pipeline import study as engine
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import read_recipe

ROOT = Path(__file__).resolve().parent.parent
KEYS = Keys(b"benchmark" * 4)
# Seconds for a peer's first files: deid's time grows faster than the number of frames.
LONGEST = 120
IDENTIFIERS = CodedStudy("P1", "A1", -5, "19480802", "20160316")


@dataclass(frozen=True)
class Result:
    """A tool's cost: CPU seconds for a number of files and bytes."""

    tool: str
    files: int
    size: int
    cpu: float
    archive: int = 0

    @property
    def milliseconds(self) -> float:
        return 1000 * self.cpu / self.files

    @property
    def speed(self) -> float:
        return self.size / 1e6 / self.cpu if self.cpu else float("inf")


class _Plain:
    """Stands in for the compressor: the archive's cost without compression."""

    def compress(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def flush(self, _mode: int = 0) -> bytes:
        return b""


class _Nothing(archive.Archive):
    """Discards members: only the header work is left."""

    def __init__(self, path: Path) -> None:
        self._names = set()
        self._target = path

    def add(self, name: str, *_parts: archive.Bytes) -> None:
        self._names.add(name)

    def finish(self) -> archive.ArchiveInfo:
        return archive.ArchiveInfo(self._target, 0, "", len(self._names))

    def close(self) -> archive.ArchiveInfo:
        self._target.touch()
        return self.finish()

    def abort(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _without_gate() -> Iterator[None]:
    with mock.patch.object(engine, "gate", lambda *_args, **_kwargs: None):
        yield


@contextlib.contextmanager
def _plain_tar() -> Iterator[None]:
    with _without_gate(), mock.patch.object(isal_zlib, "compressobj", lambda *_: _Plain()):
        yield


@contextlib.contextmanager
def _header_alone() -> Iterator[None]:
    with _without_gate(), mock.patch.object(engine, "Archive", _Nothing):
        yield


def floor(files: Sequence[Path], target: Path) -> None:
    """Read, compress, write: nothing else."""
    deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
    with target.open("wb", buffering=0) as out:
        for path in files:
            data = memoryview(path.read_bytes())
            for start in range(0, len(data), archive.SLICE):
                out.write(deflate.compress(data[start : start + archive.SLICE]))
        out.write(deflate.flush())


def ours(files: Sequence[Path], target: Path, plan: Plan) -> None:
    """De-identify the files as the pipeline does."""
    sources = []
    for number, path in enumerate(files, 1):
        state = path.stat()
        sources.append(Source(number, path, state.st_size, state.st_mtime_ns))
    result = deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=target
    )
    delivered = sum(outcome is Outcome.DELIVERED for outcome, _ in result.outcomes.values())
    if delivered != len(files):
        reasons = {reason for _, reason in result.outcomes.values()}
        raise SystemExit(f"{len(files) - delivered} files were not delivered: {reasons}")


def measure(tool: str, study: Input, rounds: int, work: Callable[[Path], None]) -> Result:
    """Return the best of several rounds."""
    best = float("inf")
    with tempfile.TemporaryDirectory(prefix="sendit-benchmark-") as folder:
        target = Path(folder) / "out.tar.gz"
        for _ in range(rounds):
            start = time.process_time()
            work(target)
            best = min(best, time.process_time() - start)
        size = target.stat().st_size
    return Result(tool, len(study.files), study.size, best, size)


@dataclass(frozen=True)
class Peer:
    """Another tool: its name in ``peers.py``, its label and its environment."""

    tool: str
    label: str
    recipe: Path
    python: Path


def run_peer(peer: Peer, study: Input, folder: Path) -> Result | None:
    """Run a peer in its own environment; None if it failed."""
    command = [
        str(peer.python),
        peers.__file__,
        peer.tool,
        str(study.folder),
        str(study.slow),
        str(folder / "peer"),
        str(peer.recipe),
    ]
    # A separate folder: deid reads a recipe from ./dicom.
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        print(f"  {peer.label}: not done after {LONGEST} seconds", file=sys.stderr)
        return None
    if done.returncode:
        print(f"  {peer.label}: failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    answer = json.loads(done.stdout.splitlines()[-1])
    return Result(peer.label, answer["files"], answer["input"], answer["cpu"])


def print_table(study: Input, results: Sequence[Result]) -> None:
    """Print one study's results, compared with the floor and with deid as documented."""
    by_name = {result.tool: result for result in results}
    base = by_name["floor: read, igzip 1, write"]
    slowest = by_name.get("deid as documented, big recipe, tar.gz")
    print(f"\n{study.name}: {study.meaning} ({study.size / 1e6:.0f} MB)")
    print(f"  {'':42} {'ms/file':>9} {'MB/s':>8} {'of floor':>9} {'x deid':>8} {'ratio':>6}")
    for result in results:
        share = f"{100 * result.speed / base.speed:.0f}%"
        times = f"{result.speed / slowest.speed:.1f}" if slowest else ""
        ratio = f"{result.size / result.archive:.2f}" if result.archive > 1000 else ""
        print(
            f"  {result.tool:42} {result.milliseconds:9.2f} {result.speed:8.1f} "
            f"{share:>9} {times:>8} {ratio:>6}"
        )


def benchmark(study: Input, folder: Path, options: argparse.Namespace) -> list[Result]:
    """Measure every tool on one study."""
    files = study.files
    small, big = folder / "small.deid", folder / "big.deid"
    default = compile_plan(read_recipe("default"))
    same = compile_plan(read_recipe(str(big)))
    default_name = "sendit: default recipe, gate, tar.gz"
    runs: list[tuple[str, contextlib.AbstractContextManager[None], Callable[[Path], None]]] = [
        ("floor: read, igzip 1, write", _as_it_is(), lambda out: floor(files, out)),
        (default_name, _as_it_is(), lambda out: ours(files, out, default)),
        (
            "sendit: default recipe, tar.gz, no gate",
            _without_gate(),
            lambda out: ours(files, out, default),
        ),
        ("sendit: default recipe, plain tar", _plain_tar(), lambda out: ours(files, out, default)),
        (
            "sendit: default recipe, header alone",
            _header_alone(),
            lambda out: ours(files, out, default),
        ),
        ("sendit: big recipe, gate, tar.gz", _as_it_is(), lambda out: ours(files, out, same)),
    ]
    results = []
    for name, context, work in runs:
        with context:
            results.append(measure(name, study, options.rounds, work))
    for peer in _peers(options, small, big):
        result = run_peer(peer, study, folder)
        if result is not None:
            results.append(result)
    return results


def _peers(options: argparse.Namespace, small: Path, big: Path) -> Iterator[Peer]:
    python = options.peers
    if python.exists():
        yield Peer("deid", "deid as documented, small recipe, tar.gz", small, python)
        yield Peer("deid", "deid as documented, big recipe, tar.gz", big, python)
        yield Peer("deid-one-recipe", "deid, one recipe object, big, tar.gz", big, python)
        yield Peer("dicom-anonymizer", "dicom-anonymizer, tar.gz", big, python)
        yield Peer("dicognito", "dicognito, tar.gz", big, python)
    if options.dre:
        yield Peer("dicom-dre", "dicom-dre, tar.gz", big, options.dre)


def two_processes(study: Input, folder: Path) -> float:
    """Return the speed-up of two processes on two cores over one."""
    command = [sys.executable, "-m", "benchmarks.deidentify", "--worker", str(study.folder)]

    def start(core: int) -> subprocess.Popen[bytes]:
        out = str(folder / f"worker-{core}.tar.gz")
        return subprocess.Popen([*command, out, str(core)], cwd=ROOT, stdout=subprocess.PIPE)

    def seconds(cores: Sequence[int]) -> float:
        workers = [start(core) for core in cores]
        return max(float(worker.communicate()[0]) for worker in workers)

    cores = sorted(os.sched_getaffinity(0))[:2]
    alone = min(seconds(cores[:1]) for _ in range(2))
    return 2 * alone / min(seconds(cores) for _ in range(2))


def _worker(folder: str, out: str, core: str) -> None:
    os.sched_setaffinity(0, {int(core)})
    plan = compile_plan(read_recipe("default"))
    files = sorted(Path(folder).iterdir())
    ours(files[:2], Path(out), plan)
    start = time.perf_counter()
    for _ in range(3):
        ours(files, Path(out), plan)
    print(time.perf_counter() - start)


def memory(study: Input, files: int, folder: Path) -> list[tuple[int, float]]:
    """Return the peak memory (MB) after each number of files, study after study in one process."""
    plan = compile_plan(read_recipe("default"))
    peaks = []
    done = 0
    while done < files:
        ours(study.files, folder / "memory.tar.gz", plan)
        done += len(study.files)
        peaks.append((done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    return peaks


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the files to make")
    parser.add_argument("--only", nargs="*", help="studies: ct mr enhanced 2017 small large")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the best one counts")
    parser.add_argument("--no-peers", action="store_true", help="leave the other tools out")
    parser.add_argument(
        "--peers",
        type=Path,
        default=ROOT / ".venv-benchmark" / "bin" / "python",
        help="Python of the environment with benchmarks/requirements.txt",
    )
    parser.add_argument("--dre", type=Path, help="Python 3.12 of an environment with dicom-dre")
    parser.add_argument("--two", action="store_true", help="also two processes on two cores")
    parser.add_argument("--memory", type=int, metavar="FILES", help="also memory over so many")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _worker(*options.worker)
        return
    if options.no_peers:
        options.peers, options.dre = Path("/nonexistent"), None
    with tempfile.TemporaryDirectory(prefix="sendit-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "small.deid").write_text(recipes.SMALL)
        (folder / "big.deid").write_text(recipes.big())
        studies = make_all(folder / "studies", options.scale, options.only)
        if options.two:
            print(f"two processes on two cores: {two_processes(studies[0], folder):.2f} times one")
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for study in studies:
            print_table(study, benchmark(study, folder, options))
        if options.memory:
            for files, peak in memory(studies[0], options.memory, folder)[:: options.rounds]:
                print(f"peak memory after {files} files: {peak:.0f} MB")


if __name__ == "__main__":
    main()
