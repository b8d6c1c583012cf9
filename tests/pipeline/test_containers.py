"""A folder of accession folders is no batch, and an accession folder holds none."""

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
    """Write a study, with ``series`` folders or all in one."""
    for index in range(1, max(series, 1) + 1):
        place = folder / f"series{index}" if series else folder
        place.mkdir(parents=True, exist_ok=True)
        dataset = make_dataset(number, 1, index, 1)
        dataset.AccessionNumber = f"A{number}"
        (place / f"{index}.dcm").write_bytes(to_bytes(dataset))
    return folder


class Place:
    """An input folder, and runs over it."""

    def __init__(self, ledger: Ledger, keys: Keys, root: Path) -> None:
        self.ledger, self.keys, self.inputs = ledger, keys, root / "in"
        self.inputs.mkdir()
        self.settings = Settings(home=root / "home", input_folders=(self.inputs,))
        self.runs = 0

    def run(self, subfolder: str | None = None) -> list[str]:
        """Return the names of the folders that a run takes, below the input folder."""
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
def place(embedded_ledger: Ledger, keys: Keys, tmp_path: Path) -> Place:
    return Place(embedded_ledger, keys, tmp_path)


@pytest.mark.parametrize("series", [0, 1, 6])
def test_a_container_is_never_taken_as_a_batch(
    place: Place, caplog: pytest.LogCaptureFixture, series: int
) -> None:
    study(place.inputs / "1_6" / "A", 1, series)
    study(place.inputs / "1_6" / "B", 2, series)
    study(place.inputs / "C", 3, series)
    assert place.run() == ["C"]
    assert "1 folders were skipped" in caplog.text
    assert "1_6" not in caplog.text
    assert place.run("1_6") == ["1_6/A", "1_6/B"]
    study(place.inputs / "1_6" / "D", 4, series)
    assert place.run() == []
    assert place.run("1_6") == ["1_6/D"]


def test_what_holds_a_batch_is_none_even_if_it_holds_no_other(place: Place) -> None:
    study(place.inputs / "1_6" / "A", 1, 2)
    (place.inputs / "1_6" / "A" / "x").mkdir()
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        place.run("1_6/A")
    assert place.run("1_6") == ["1_6/A"]
    assert place.run() == []


def test_containers_in_containers_are_none(place: Place) -> None:
    for number in (1, 2):
        study(place.inputs / "2026" / "11" / f"A{number}", number, 2)
    assert place.run() == []
    assert place.run("2026") == []
    assert place.run("2026/11") == ["2026/11/A1", "2026/11/A2"]


def test_series_folders_are_no_batches(place: Place) -> None:
    study(place.inputs / "ACC", 1, 3)
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        place.run("ACC")
    assert place.run() == ["ACC"]
    with pytest.raises(Misconfigured, match="is itself a batch"):
        place.run("ACC")


def test_images_beside_a_series_folder_are_not_left_out(place: Place) -> None:
    study(place.inputs / "ACC", 1)
    study(place.inputs / "ACC" / "more", 1, 1)
    with pytest.raises(Misconfigured, match="looks like an accession folder"):
        place.run("ACC")
    assert place.run() == ["ACC"]


def test_a_study_of_many_series_is_a_batch_and_few_of_its_files_are_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(place.inputs / "ACC", 1, 40)
    read = []
    opened = containers.open_instance
    monkeypatch.setattr(
        containers, "open_instance", lambda path: (read.append(path), opened(path))[1]
    )
    assert place.run() == ["ACC"]
    assert len(read) <= containers.MAX_FOLDERS


def test_what_sendit_and_file_systems_keep_is_no_batch(place: Place) -> None:
    inside = place.inputs / "sendit"
    place.settings = Settings(home=inside / "home", input_folders=(place.inputs,))
    for name in ("lost+found", "@eaDir", "sendit/home/work"):
        study(place.inputs / name, 1)
    study(place.inputs / "ACC", 2)
    assert place.run() == ["ACC"]


@pytest.mark.parametrize("inner", ["", "1_6"])
def test_nested_input_folders_are_a_configuration_error(tmp_path: Path, inner: str) -> None:
    (tmp_path / "in" / "1_6").mkdir(parents=True)
    nested = Settings(input_folders=(tmp_path / "in", tmp_path / "in" / inner))
    for subfolder in (None, "1_6"):
        with pytest.raises(Misconfigured, match="inside, input folder"):
            chosen_folders(nested, subfolder)


def test_a_container_that_was_taken_is_left_as_it_is(place: Place) -> None:
    """Its first folders are of one study; import sees the others."""
    folder = place.inputs / "1_6"
    for number in (1, 1, 2):
        study(folder / f"A{len(list(folder.glob('*')))}", number)
    place.ledger.enqueue([("d" * 64, str(folder))], PARAMS)
    (batch_id,) = place.ledger.claim("run", 1)
    work = Workspace(place.settings.work, batch_id)
    with pytest.raises(FailBatch, match=f"it is left in place.*sendit requeue {batch_id}"):
        import_batch(place.ledger, work, folder, load_recipe("default"), place.keys)
    batch = place.ledger.batch(batch_id)
    assert Reason.SEVERAL_FOLDERS in {error["reason"] for error in batch.errors}
    place.ledger.record(batch_id, errors=[BatchError("import task", "failed")], stage="import task")
    assert clean_batch(place.ledger, place.settings, place.keys, batch_id)
    assert sorted(path.name for path in folder.iterdir()) == ["A0", "A1", "A2"]
    assert not work.folder.exists()


def test_a_folder_that_mixes_studies_is_set_aside_as_before(place: Place) -> None:
    study(place.inputs / "ACC", 1)
    other = study(place.inputs / "other", 2)
    shutil.move(other / "1.dcm", place.inputs / "ACC" / "2.dcm")
    other.rmdir()
    place.ledger.enqueue([("d" * 64, str(place.inputs / "ACC"))], PARAMS)
    (batch_id,) = place.ledger.claim("run", 1)
    work = Workspace(place.settings.work, batch_id)
    with pytest.raises(FailBatch, match=r"renames the folder to \.err"):
        import_batch(place.ledger, work, place.inputs / "ACC", load_recipe("default"), place.keys)
