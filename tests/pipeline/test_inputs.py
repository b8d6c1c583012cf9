"""An input folder that is empty today: the same folder as before, or an unmounted mount point?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sendit.errors import Misconfigured
from sendit.keys import Keys
from sendit.ledger import InputMark, Ledger
from sendit.pipeline import inputs
from sendit.pipeline.inputs import MARKER, check_inputs

MOUNTED = InputMark("2049", "2", mounted=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def seen_as(monkeypatch: pytest.MonkeyPatch, mark: InputMark) -> None:
    monkeypatch.setattr(inputs, "_mark", lambda _: mark)


@pytest.mark.parametrize(
    ("before", "now", "right"),
    [
        (MOUNTED, MOUNTED, True),
        # Remounted: another device number, the same root inode.
        (MOUNTED, InputMark("2051", "2", mounted=True), True),
        # A folder within a file system, recreated by the process that empties it.
        (InputMark("2049", "77", mounted=False), InputMark("2049", "78", mounted=False), True),
        # Unmounted: the directory underneath is visible.
        (MOUNTED, InputMark("64768", "131", mounted=False), False),
        (MOUNTED, InputMark("2049", "131", mounted=False), False),
        # A folder within a mount that is gone, or a container with the wrong mount.
        (InputMark("2049", "77", mounted=False), InputMark("64768", "9", mounted=False), False),
        (MOUNTED, InputMark("64768", "131", mounted=True), False),
    ],
)
def test_an_empty_folder_is_accepted_only_if_it_is_the_same_folder(  # noqa: PLR0917
    embedded_ledger: Ledger,
    keys: Keys,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: InputMark,
    now: InputMark,
    right: bool,
) -> None:
    seen_as(monkeypatch, before)
    (folder / "ACC1").mkdir()
    check_inputs(embedded_ledger, keys, [folder])
    (folder / "ACC1").rmdir()
    seen_as(monkeypatch, now)
    if right:
        check_inputs(embedded_ledger, keys, [folder])
        return
    (folder / ".keep").touch()
    with pytest.raises(Misconfigured, match="input folder 1 is empty, and is not the same folder"):
        check_inputs(embedded_ledger, keys, [folder])
    # The remedy that the message names.
    (folder / MARKER).touch()
    check_inputs(embedded_ledger, keys, [folder])
    (folder / MARKER).unlink()
    check_inputs(embedded_ledger, keys, [folder])


def test_a_folder_never_seen_with_files_may_be_empty(
    embedded_ledger: Ledger, keys: Keys, folder: Path
) -> None:
    check_inputs(embedded_ledger, keys, [folder])


def test_a_folder_with_files_is_never_refused(
    embedded_ledger: Ledger, keys: Keys, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ACC1").mkdir()
    seen_as(monkeypatch, MOUNTED)
    check_inputs(embedded_ledger, keys, [folder])
    monkeypatch.undo()
    check_inputs(embedded_ledger, keys, [folder])


def test_folders_are_named_by_number_in_errors(
    embedded_ledger: Ledger, keys: Keys, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match="input folder 2 cannot be listed") as caught:
        check_inputs(embedded_ledger, keys, [folder, tmp_path / "SECRET"])
    assert "SECRET" not in str(caught.value)


def test_device_and_inode_of_the_folder_are_recorded(
    embedded_ledger: Ledger, keys: Keys, folder: Path
) -> None:
    (folder / "ACC1").mkdir()
    check_inputs(embedded_ledger, keys, [folder])
    held = embedded_ledger.input(keys.digest("input", os.fsencode(folder)))
    assert held == InputMark(str(folder.stat().st_dev), str(folder.stat().st_ino), mounted=False)
