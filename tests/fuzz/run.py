"""Broken files through the engine: none may hang it, exhaust memory, stop it, or leak.

    .venv/bin/python -m tests.fuzz.run --number 100000 [--seed 7]

Each file ends as delivered or quarantined, in :data:`SLOWEST` seconds, within
:data:`MOST_MEMORY`. What is delivered is read by pydicom, and a canary in it stands where the
recipe keeps what is there. Behind the file that it was made from, which it is like, it ends as
it does alone. One in :data:`WHOLE` goes through the whole of it: file, archive and gate. A file
that fails is written to ``--keep``.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from unittest import mock

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag

from sendit.archive import ArchiveInfo
from sendit.batch import Outcome
from sendit.deidentify import study as engine
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source, StudyIdentifiers, deidentify_study
from sendit.dicom.likeness import Layout, layout_of
from sendit.dicom.scan import read_header, vr_of
from sendit.errors import FailBatch
from sendit.keys import Keys
from sendit.recipe.parse import read_recipe
from tests.fuzz.mutate import broken, of_another_instance, readable

SLOWEST = 20
MOST_MEMORY = 4 << 30
WHOLE = 20
LIKE = "(of these, taken as like the file that they were made from)"

KEYS = Keys(b"a key for the broken files' tests")
IDENTIFIERS = StudyIdentifiers("IR1-0001", "IR1A0001", -17, "19480720", "20160304")
_CANARY = re.compile(rb"(?i:kan.{1,2}rie)\d{6}Q")
_LEAST = 1000


class Failure(AssertionError):
    """A broken file did what it must not."""


class _Kept:
    """Stands in for the archive: keeps the last member in memory."""

    member = b""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, _name: str, *parts: bytes | memoryview) -> None:
        _Kept.member = b"".join(parts)

    def close(self) -> ArchiveInfo:
        return ArchiveInfo(self._path, 0, "", 1)

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def try_one(data: bytes, plan: Plan, *, whole: bool, folder: Path) -> str:
    """Send one broken file through; return what became of it.

    Raises
    ------
    Failure
        With what went wrong.
    """
    start = time.monotonic()
    try:
        result = _whole(data, plan, folder) if whole else _in_memory([data], plan)
    except FailBatch:
        return "stopped by the gate"
    except _TooLong:
        raise
    except BaseException as error:
        raise Failure(f"{type(error).__name__} came out of the engine") from error
    outcome, reason = result.outcomes[1]
    if time.monotonic() - start > SLOWEST:
        raise Failure(f"took more than {SLOWEST} seconds")
    if outcome is Outcome.DELIVERED and _Kept.member:
        _check(_Kept.member, plan, data)
    return f"{outcome}: {reason}" if reason else str(outcome)


def try_behind(before: bytes, data: bytes, plan: Plan) -> None:
    """Send a broken file through behind another one, which it is like.

    Raises
    ------
    Failure
        It ends otherwise than it does alone.
    """
    alone, member = _in_memory([data], plan).outcomes[1], _Kept.member
    behind = _in_memory([before, data], plan).outcomes[2]
    if alone != behind or (alone[0] is Outcome.DELIVERED and member != _Kept.member):
        raise Failure("it ends otherwise behind a file that it is like")


@cache
def _before(origin: bytes) -> tuple[bytes, Layout | None]:
    """Return a file as another instance, and its layout; none where it has none."""
    data = of_another_instance(origin)
    return (b"", None) if data is None else (data, layout_of(read_header(data)))


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
        mock.patch.object(engine, "_read", lambda source: files[source.number - 1]),
        mock.patch.object(engine, "Archive", _Kept),
        mock.patch.object(engine, "gate", lambda *_: None),
    ):
        return _deidentify(sources, plan, path.parent)


def _deidentify(sources: Sequence[Source], plan: Plan, folder: Path) -> engine.StudyResult:
    return deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=folder / "out.tar.gz"
    )


def _check(member: bytes, plan: Plan, received: bytes) -> None:
    """Check what was delivered: it can be read, and canaries stand where they may."""
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
    """Return tag and VR of the elements with a canary in them."""
    found = []
    for tag in dataset.keys():  # noqa: SIM118 a value that cannot be decoded is looked at, too
        try:
            element = dataset[tag]
        except (ValueError, TypeError, BytesLengthException):
            # Another element may be what cannot be decoded: this one is a value already then.
            element = dataset.get_item(tag)
        value = element.value
        if element.VR == "SQ" and not isinstance(value, bytes):
            for item in value:
                found += _places(item)
            continue
        text = value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
        if _CANARY.search(text):
            found.append((tag, element.VR or vr_of(int(tag))))
    return found


class _TooLong(Exception):
    pass


def _alarm(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


def fuzz(number: int, seed: int, keep: Path | None = None) -> Counter[str]:
    """Try so many broken files; return how many ended in which way."""
    dice = random.Random(seed)
    plan = compile_plan(read_recipe("default"))
    count: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _alarm)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(number):
            origin, data = broken(dice)
            signal.alarm(SLOWEST)
            try:
                count[try_one(data, plan, whole=index % WHOLE == 0, folder=Path(name))] += 1
                before, layout = _before(origin)
                if layout is not None and layout.match(data) is not None:
                    try_behind(before, data, plan)
                    count[LIKE] += 1
            except (Failure, _TooLong) as failure:
                if keep is None:
                    raise
                count[f"FAILED: {failure or 'hangs'}"] += 1
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}-{index}.dcm").write_bytes(data)
            finally:
                signal.alarm(0)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if used > MOST_MEMORY:
        raise Failure(f"{used >> 20} MB of memory were used")
    return count


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"))
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (2 * MOST_MEMORY, 2 * MOST_MEMORY))
    out = sys.stdout.write
    out(f"seed {options.seed}\n")
    failed = done = 0
    total: Counter[str] = Counter()
    while done < options.number:
        step = min(_LEAST, options.number - done)
        total += fuzz(step, options.seed + done, options.keep)
        done += step
        failed = sum(number for kind, number in total.items() if kind.startswith("FAILED"))
        out(f"\r{done} of {options.number}, {failed} failed")
        sys.stdout.flush()
    out("\n" + "".join(f"{number:8} {kind}\n" for kind, number in total.most_common()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
