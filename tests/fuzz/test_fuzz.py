"""A short run of the fuzzer, with a fresh seed unless in CI; ``make fuzz`` does 100,000."""

import os

import pytest

from sendit.batch import Reason
from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import CHARACTER_SET
from sendit.recipe.parse import read_recipe
from testing.builder import make_dataset, to_bytes
from testing.seeds import seed
from tests.fuzz import run
from tests.fuzz.mutate import canary_files

NUMBER = int(os.environ.get("SENDIT_FUZZ_NUMBER", "250"))
SEED = seed("SENDIT_FUZZ_SEED")


@pytest.mark.timeout(600)
def test_malformed_files_neither_hang_nor_leak():
    print(f"SENDIT_FUZZ_SEED={SEED}")  # noqa: T201 the seed to run again
    count = run.fuzz(range(NUMBER), SEED)
    assert count.pop(run.LIKE) > NUMBER / 100  # usually 7%
    assert count.total() == NUMBER
    assert count["delivered"] > NUMBER / 20


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (b"\x08\0\x16\0", b"UI"),  # a name in place of the SOP class, copied into file meta
        (b"\x08\0\x05\0", b"PN"),  # a character set that prevents pydicom from reading the file
    ],
)
def test_fuzzer_regressions(tag, vr, tmp_path):
    data = to_bytes(make_dataset())
    at = data.index(tag, 200)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    value = b"Doe^Jane".ljust(length, b" ")[:length] if vr == b"UI" else data[at + 8 :][:length]
    data = data[: at + 4] + vr + data[at + 6 : at + 8] + value + data[at + 8 + length :]
    plan = compile_plan(read_recipe("default"))
    ended = run.try_one(data, plan, whole=False, folder=tmp_path)
    assert ended == f"quarantined: {Reason.MALFORMED}"


def test_fuzzer_detects_a_leak(monkeypatch):
    """Checks the fuzzer itself: it would be useless if it looked in the wrong place."""
    plan = compile_plan(read_recipe("default"))
    data = canary_files()[0]
    monkeypatch.setattr(run._Kept, "member", data)
    with pytest.raises(run.Failure, match="preamble"):
        run._check(data, plan, data)
    # Clean preamble and file meta: the dataset still contains canaries.
    end = 144 + int.from_bytes(data[140:144], "little")
    start = data.index(CHARACTER_SET.to_bytes(4, "little")[2:], end)
    meta = bytes(128) + b"DICM" + _meta()
    with pytest.raises(run.Failure, match="left in"):
        run._check(meta + data[start:], plan, data)


def _meta() -> bytes:
    syntax = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    return b"\2\0\0\0UL\4\0" + len(syntax).to_bytes(4, "little") + syntax
