"""Malformed files through the engine: none may hang it, exhaust memory, crash it, or leak.

    .venv/bin/python -m tests.fuzz.run --number 100000 [--seed 7]
    .venv/bin/python -m tests.fuzz.run --seed 7 --first 4711 --number 1    reproduces one file

Each file must be delivered or quarantined within :data:`MAX_CPU_SECONDS` of CPU time and
:data:`MAX_MEMORY`, each measured for this file alone. Delivered files must be readable by pydicom,
and contain canaries only where the recipe keeps the value. After the file that it was made from,
whose template it may match, it must give the same result as alone. One in :data:`WHOLE` goes
through the whole pipeline: file, archive and gate. Failing files are written to ``--keep``.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import random
import re
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Self
from unittest import mock

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag

from sendit.archive import ArchiveInfo
from sendit.batch import Outcome
from sendit.coded_study import CodedStudy
from sendit.deidentify import study as reading
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.dicom.header_diff import HeaderTemplate, template_of
from sendit.dicom.scan import read_header, vr_of
from sendit.errors import FailBatch
from sendit.keys import Keys
from sendit.pipeline import study as engine
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import read_recipe
from tests.fuzz.mutate import (
    broken,
    canary_files,
    of_another_instance,
    plain_files,
    readable,
)

MAX_CPU_SECONDS = 20
#: In addition to the process's own: the file, its inflated size (256 MiB at most), and the same
#: again.
MAX_MEMORY = 1200 << 20
MAX_ADDRESS_SPACE = 8 << 30
WHOLE = 20
LIKE = "(of these, taken as like the file that they were made from)"

KEYS = Keys(b"a key for the broken files' tests")
IDENTIFIERS = CodedStudy("IR1-0001", "IR1A0001", -17, "19480720", "20160304")
_CANARY = re.compile(rb"(?i:kan.{1,2}rie)\d{6}Q")
_LEAST = 1000


class Failure(AssertionError):
    """A malformed file violated a requirement."""


class _Kept:
    """Stands in for the archive: keeps the last member in memory."""

    member = b""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, _name: str, *parts: bytes | memoryview) -> None:
        _Kept.member = b"".join(parts)

    def finish(self) -> ArchiveInfo:
        return ArchiveInfo(self._path, 0, "", 1)

    close = finish

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def try_one(data: bytes, plan: Plan, *, whole: bool, folder: Path) -> str:
    """Process one malformed file and return its outcome.

    Raises
    ------
    Failure
        Says what went wrong.
    """
    try:
        result = _whole(data, plan, folder) if whole else _in_memory([data], plan)
    except FailBatch:
        return "stopped by the gate"
    except _TooLong:
        raise
    except BaseException as error:
        raise Failure(f"{type(error).__name__} came out of the engine") from error
    outcome, reason = result.outcomes[1]
    if outcome is Outcome.DELIVERED and _Kept.member:
        _check(_Kept.member, plan, data)
    return f"{outcome}: {reason}" if reason else str(outcome)


def try_after(before: bytes, data: bytes, plan: Plan) -> None:
    """Process a malformed file after the file whose template it may match.

    Raises
    ------
    Failure
        The outcome differs from that of the file alone.
    """
    alone, member = _in_memory([data], plan).outcomes[1], _Kept.member
    after_another = _in_memory([before, data], plan).outcomes[2]
    if alone != after_another or (alone[0] is Outcome.DELIVERED and member != _Kept.member):
        raise Failure("the outcome differs after a similar file")


@cache
def _before(origin: bytes) -> tuple[bytes, HeaderTemplate | None]:
    """Return a file as another instance, and its template; None if it has none."""
    data = of_another_instance(origin)
    return (b"", None) if data is None else (data, template_of(read_header(data)))


def _whole(data: bytes, plan: Plan, folder: Path) -> engine.StudyResult:
    _Kept.member = b""
    path = folder / "file.dcm"
    path.write_bytes(data)
    state = path.stat()
    return _deidentify([Source(1, path, state.st_size, state.st_mtime_ns)], plan, folder)


def _in_memory(files: Sequence[bytes], plan: Plan) -> engine.StudyResult:
    _Kept.member = b""
    path = Path("file.dcm")
    sources = [Source(number, path, len(data), 0) for number, data in enumerate(files, 1)]
    with (
        mock.patch.object(reading, "_read", lambda source: files[source.number - 1]),
        mock.patch.object(engine, "Archive", _Kept),
        mock.patch.object(engine, "gate", lambda *_, **__: None),
    ):
        return _deidentify(sources, plan, path.parent)


def _deidentify(sources: Sequence[Source], plan: Plan, folder: Path) -> engine.StudyResult:
    return deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=folder / "out.tar.gz"
    )


def _check(member: bytes, plan: Plan, received: bytes) -> None:
    """Check a delivered file: it is readable, and has canaries only where allowed."""
    try:
        dataset = readable(member)
        places = _places(dataset)
    except Exception as error:
        if not _is_readable(received):
            return
        raise Failure(f"pydicom cannot read the result: {type(error).__name__}") from error
    if any(member[:128]) or _CANARY.search(member[: 144 + member[140]]):
        raise Failure("something is left in preamble or file meta")
    for tag, vr in places:
        program = plan.top.program(int(tag), vr)
        removed = program.removed is not None or bool(program.steps)
        if tag.is_private or vr_of(int(tag)) == "UN" or (removed and vr != "SQ"):
            raise Failure(f"a canary is left in {tag}")


def _is_readable(data: bytes) -> bool:
    try:
        _places(readable(data))
    except Exception:  # noqa: BLE001 whatever stops pydicom
        return False
    return True


def _places(dataset: Dataset) -> list[tuple[BaseTag, str]]:
    """Return tag and VR of the elements that contain a canary."""
    places = []
    for tag in dataset.keys():  # noqa: SIM118 a value that cannot be decoded is looked at, too
        try:
            element = dataset[tag]
        except (ValueError, TypeError, BytesLengthException):
            # Another element may be undecodable: this one is decoded already.
            element = dataset.get_item(tag)
        value = element.value
        if element.VR == "SQ" and not isinstance(value, bytes):
            for item in value:
                places += _places(item)
            continue
        text = value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
        if _CANARY.search(text):
            places.append((tag, element.VR or vr_of(int(tag))))
    return places


class _TooLong(Exception):
    pass


def _alarm(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


class _Limits:
    """Limits CPU time and memory per input.

    CPU seconds and memory are those of this process (getrusage(2), proc(5)), so that a busy
    machine does not matter. The peak resident memory is reset before each input: an engine that
    survives a MemoryError may still exceed the limit.
    """

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, _alarm)
        Path("/proc/self/clear_refs").write_text("5")
        self._memory = _status("VmRSS")
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def check(self) -> None:
        """Raise if the input took more memory than allowed."""
        used = _status("VmHWM") - self._memory
        if used > MAX_MEMORY:
            raise Failure(f"took more than {MAX_MEMORY >> 20} MB of memory")


def _status(name: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


@cache
def _plan() -> Plan:
    return compile_plan(read_recipe("default"))


def made(seed: int, index: int) -> tuple[bytes, bytes]:
    """Return the input with this number: original and malformed."""
    return broken(random.Random(f"{seed} {index}"))


def fuzz(numbers: range, seed: int, keep: Path | None = None) -> Counter[str]:
    """Try the malformed files with these numbers; return the number of each outcome."""
    plan = _plan()
    count: Counter[str] = Counter()
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in numbers:
            origin, data = made(seed, index)
            try:
                with _Limits() as limits:
                    count[try_one(data, plan, whole=index % WHOLE == 0, folder=Path(name))] += 1
                    limits.check()
                    before, layout = _before(origin)
                    if layout is not None and layout.match(data) is not None:
                        try_after(before, data, plan)
                        count[LIKE] += 1
            except (Failure, _TooLong) as failure:
                if keep is None:
                    raise
                count[f"FAILED: {failure or f'took more than {MAX_CPU_SECONDS} CPU seconds'}"] += 1
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}-{index}.dcm").write_bytes(data)
    return count


def _in_a_process(numbers: range, seed: int, keep: Path) -> Counter[str]:
    """Try files in a subprocess with a memory limit; a file that kills it is a failure like any
    other.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
        for index in numbers:
            sender.send((index, fuzz(range(index, index + 1), seed, keep)))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    sender.close()
    total: Counter[str] = Counter()
    done = numbers.start
    with contextlib.suppress(EOFError):
        while done < numbers.stop:
            index, count = receiver.recv()
            total += count
            done = index + 1
    process.join()
    if done < numbers.stop:
        total[f"FAILED: ended the process ({process.exitcode})"] += 1
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{seed}-{done}.dcm").write_bytes(made(seed, done)[1])
        total += _in_a_process(range(done + 1, numbers.stop), seed, keep)
    return total


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"))
    options = parser.parse_args()
    _plan(), canary_files(), plain_files()  # made once, for all processes
    out = sys.stdout.write
    out(f"seed {options.seed}\n")
    failed = done = 0
    total: Counter[str] = Counter()
    while done < options.number:
        step = min(_LEAST, options.number - done)
        start = options.first + done
        total += _in_a_process(range(start, start + step), options.seed, options.keep)
        done += step
        failed = sum(number for kind, number in total.items() if kind.startswith("FAILED"))
        out(f"\r{done} of {options.number}, {failed} failed")
        sys.stdout.flush()
    out("\n" + "".join(f"{number:8} {kind}\n" for kind, number in total.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
