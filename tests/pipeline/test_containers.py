"""A folder of accession folders is not a batch, and an accession folder contains none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sendit.batch import BatchError, Reason, Status
from sendit.errors import FailBatch, Misconfigured
from sendit.keys import Keys
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline import containers
from sendit.pipeline.cleanup import clean_batch
from sendit.pipeline.discover import chosen_folders, discover
from sendit.pipeline.intake import import_batch
from sendit.pipeline.load_recipe import load_recipe
from sendit.settings import Settings
from sendit.workspace import Workspace
from testing.builder import make_dataset, to_bytes

PARAMS = BatchParams("study", "c", "default")


def study(folder: Path, number: int, series: int = 0) -> Path:
    """Write a study into ``series`` subfolders, or into a single folder."""
    for index in range(1, max(series, 1) + 1):
        input_folder = folder / f"series{index}" if series else folder
        input_folder.mkdir(parents=True, exist_ok=True)
        dataset = make_dataset(number, 1, index, 1)
        dataset.AccessionNumber = f"A{number}"
        (input_folder / f"{index}.dcm").write_bytes(to_bytes(dataset))
    return folder


class InputFolder:
    """An input folder, and runs over it."""

    def __init__(self, ledger: Ledger, keys: Keys, root: Path) -> None:
        self.ledger, self.keys, self.inputs = ledger, keys, root / "in"
        self.inputs.mkdir()
        self.settings = Settings(home=root / "home", input_folders=(self.inputs,))
        self.runs = 0

    def run(self, subfolder: str | None = None) -> list[str]:
        """Return the names, relative to the input folder, of the folders that a run takes."""
        self.runs += 1
        taken = discover(
            self.ledger,
            self.settings,
            self.keys,
            f"run {self.runs}",
            BatchParams("study", "c", "default", subfolder=subfolder),
            number=None,
            preflight=lambda _: None,
        )
        folders = [Path(str(self.ledger.identifier(each, "folder"))) for each in taken]
        for each in taken:
            self.ledger.record(each, status=Status.DONE)
        return [str(folder.relative_to(self.inputs)) for folder in folders]


@pytest.fixture
def input_folder(embedded_ledger: Ledger, keys: Keys, tmp_path: Path) -> InputFolder:
    return InputFolder(embedded_ledger, keys, tmp_path)


@pytest.mark.parametrize("series", [0, 1, 6])
def test_a_container_folder_is_never_a_batch(
    input_folder: InputFolder, caplog: pytest.LogCaptureFixture, series: int
) -> None:
    study(input_folder.inputs / "1_6" / "A", 1, series)
    study(input_folder.inputs / "1_6" / "B", 2, series)
    study(input_folder.inputs / "C", 3, series)
    assert input_folder.run() == ["C"]
    assert "1 folders were skipped" in caplog.text
    assert "1_6" not in caplog.text
    assert input_folder.run("1_6") == ["1_6/A", "1_6/B"]
    study(input_folder.inputs / "1_6" / "D", 4, series)
    assert input_folder.run() == []
    assert input_folder.run("1_6") == ["1_6/D"]


def test_a_folder_with_a_single_batch_folder_is_a_container(input_folder: InputFolder) -> None:
    study(input_folder.inputs / "1_6" / "A", 1, 2)
    (input_folder.inputs / "1_6" / "A" / "x").mkdir()
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        input_folder.run("1_6/A")
    assert input_folder.run("1_6") == ["1_6/A"]
    assert input_folder.run() == []


def test_nested_containers_are_not_batches(input_folder: InputFolder) -> None:
    for number in (1, 2):
        study(input_folder.inputs / "2026" / "11" / f"A{number}", number, 2)
    assert input_folder.run() == []
    assert input_folder.run("2026") == []
    assert input_folder.run("2026/11") == ["2026/11/A1", "2026/11/A2"]


def test_series_folders_are_not_batches(input_folder: InputFolder) -> None:
    study(input_folder.inputs / "ACC", 1, 3)
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        input_folder.run("ACC")
    assert input_folder.run() == ["ACC"]
    with pytest.raises(Misconfigured, match="is itself a batch"):
        input_folder.run("ACC")


def test_images_next_to_series_folders_are_included(input_folder: InputFolder) -> None:
    study(input_folder.inputs / "ACC", 1)
    study(input_folder.inputs / "ACC" / "more", 1, 1)
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        input_folder.run("ACC")
    assert input_folder.run() == ["ACC"]


def test_a_study_with_many_series_is_a_batch_and_only_a_few_files_are_read(
    input_folder: InputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(input_folder.inputs / "ACC", 1, 40)
    read = []
    opened = containers.open_instance
    monkeypatch.setattr(
        containers, "open_instance", lambda path: (read.append(path), opened(path))[1]
    )
    assert input_folder.run() == ["ACC"]
    assert len(read) <= containers.MAX_FOLDERS


def test_folders_of_sendit_and_the_file_system_are_not_batches(input_folder: InputFolder) -> None:
    inside = input_folder.inputs / "sendit"
    input_folder.settings = Settings(home=inside / "home", input_folders=(input_folder.inputs,))
    for name in ("lost+found", "@eaDir", "sendit/home/work"):
        study(input_folder.inputs / name, 1)
    study(input_folder.inputs / "ACC", 2)
    assert input_folder.run() == ["ACC"]


@pytest.mark.parametrize("inner", ["", "1_6"])
def test_nested_input_folders_are_a_configuration_error(tmp_path: Path, inner: str) -> None:
    (tmp_path / "in" / "1_6").mkdir(parents=True)
    nested = Settings(input_folders=(tmp_path / "in", tmp_path / "in" / inner))
    for subfolder in (None, "1_6"):
        with pytest.raises(Misconfigured, match="inside, input folder"):
            chosen_folders(nested, subfolder)


def test_a_container_queued_as_a_batch_fails_unchanged(input_folder: InputFolder) -> None:
    """Discovery samples the first subfolders, which are of one study; import sees the others."""
    folder = input_folder.inputs / "1_6"
    for number in (1, 1, 2):
        study(folder / f"A{len(list(folder.glob('*')))}", number)
    input_folder.ledger.enqueue([("d" * 64, str(folder))], PARAMS)
    (batch_id,) = input_folder.ledger.claim("run", 1)
    work = Workspace(input_folder.settings.work, batch_id)
    with pytest.raises(FailBatch, match=f"it is left in place.*sendit requeue {batch_id}"):
        import_batch(input_folder.ledger, work, folder, load_recipe("default"), input_folder.keys)
    batch = input_folder.ledger.batch(batch_id)
    assert Reason.SEVERAL_FOLDERS in {error["reason"] for error in batch.errors}
    input_folder.ledger.record(
        batch_id, errors=[BatchError("import task", "failed")], stage="import task"
    )
    assert clean_batch(input_folder.ledger, input_folder.settings, input_folder.keys, batch_id)
    assert sorted(path.name for path in folder.iterdir()) == ["A0", "A1", "A2"]
    assert not work.folder.exists()


def test_a_folder_with_mixed_studies_is_set_aside(input_folder: InputFolder) -> None:
    study(input_folder.inputs / "ACC", 1)
    other = study(input_folder.inputs / "other", 2)
    shutil.move(other / "1.dcm", input_folder.inputs / "ACC" / "2.dcm")
    other.rmdir()
    input_folder.ledger.enqueue([("d" * 64, str(input_folder.inputs / "ACC"))], PARAMS)
    (batch_id,) = input_folder.ledger.claim("run", 1)
    work = Workspace(input_folder.settings.work, batch_id)
    with pytest.raises(FailBatch, match=r"renames the folder to \.err"):
        import_batch(
            input_folder.ledger,
            work,
            input_folder.inputs / "ACC",
            load_recipe("default"),
            input_folder.keys,
        )
