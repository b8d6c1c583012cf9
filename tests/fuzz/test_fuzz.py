"""A small run of the fuzzer, with a fresh seed; ``make fuzz`` does 100,000."""

import os
import random

import pytest

from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import CHARACTER_SET
from sendit.recipe.parse import read_recipe
from tests.fuzz import run
from tests.fuzz.mutate import canary_files

NUMBER = int(os.environ.get("SENDIT_FUZZ_NUMBER", "250"))
SEED = int(os.environ.get("SENDIT_FUZZ_SEED", "0")) or random.SystemRandom().getrandbits(32)


@pytest.mark.timeout(600)
def test_no_broken_file_hangs_stops_or_leaks():
    print(f"SENDIT_FUZZ_SEED={SEED}")  # noqa: T201 the seed to run again
    count = run.fuzz(NUMBER, SEED)
    assert count.total() == NUMBER
    assert count["delivered"] > NUMBER / 20


def test_the_fuzzer_sees_a_leak(monkeypatch):
    """It would not be worth much if it looked in the wrong place."""
    plan = compile_plan(read_recipe("default"))
    data = canary_files()[0]
    monkeypatch.setattr(run._Kept, "member", data)
    with pytest.raises(run.Failure, match="preamble"):
        run._check(data, plan, data)
    # A clean preamble and file meta: the data set has canaries all the same.
    end = 144 + int.from_bytes(data[140:144], "little")
    start = data.index(CHARACTER_SET.to_bytes(4, "little")[2:], end)
    meta = bytes(128) + b"DICM" + _meta()
    with pytest.raises(run.Failure, match="left in"):
        run._check(meta + data[start:], plan, data)


def _meta() -> bytes:
    syntax = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    return b"\2\0\0\0UL\4\0" + len(syntax).to_bytes(4, "little") + syntax
