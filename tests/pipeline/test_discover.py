"""Which folders become batches, and which batches a run takes."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from sendit.batch import Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.keys import Keys
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.discover import (
    chosen_folders,
    discover,
    folder_digest,
    is_ours,
    list_files,
    list_folders,
    listing_digest,
    locate,
    settled,
)
from sendit.settings import Settings

PARAMS = BatchParams("test", "IRB1", "default")


def passing_preflight(_: BatchParams) -> None:
    """A preflight that always passes."""


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    for name in ("ACC1", "ACC2", "ACC3"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "image.dcm").write_bytes(b"x")
    return Settings(
        home=tmp_path / "home",
        input_folders=(tmp_path / "in",),
        settle_seconds=0,
        batches_per_run=2,
    )


def names(ledger: Ledger, batches: list[str]) -> list[str]:
    return [Path(str(ledger.identifier(batch, "folder"))).name for batch in batches]


def finish(ledger: Ledger, keys: Keys, batch: str) -> None:
    folder = Path(str(ledger.identifier(batch, "folder")))
    ledger.record(batch, status=Status.DONE, listing=listing_digest(keys, list_files(folder)))
    ledger.delete_identifiers(batch)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ACC1", True),
        ("1.2.3", True),
        ("ACC.template", True),
        ("ACC.tmp", False),
        ("ACC.tmp1234", False),
        ("ACC.part", False),
        ("ACC.err", False),
        ("ACC.2.err", False),
        ("ACC.err\n", True),
        (".hidden", False),
        ("a\nb", True),
    ],
)
def test_names(name: str, ours: bool) -> None:
    assert is_ours(name) is ours


def test_folders_are_listed_in_order(site: Settings, tmp_path: Path) -> None:
    (tmp_path / "in" / "file").write_text("")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "ACC1")
    (tmp_path / "in" / "ACC0.part").mkdir()
    folders = list_folders(chosen_folders(site, None))
    assert [folder.name for folder in folders] == ["ACC1", "ACC2", "ACC3"]


def test_a_folder_that_is_still_changing_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "image.dcm"
    file.write_bytes(b"x")
    hour_ago = time.time() - 3600
    for path in (file, tmp_path / "deep", tmp_path):
        os.utime(path, (hour_ago, hour_ago))
    # A copy whose modification time was set back still has a recent change time.
    assert not settled(tmp_path, 60)
    assert settled(tmp_path, 0)
    time.sleep(0.06)
    assert settled(tmp_path, 0.05)


def test_missing_input_folder_is_named_by_number(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"input folder 1 cannot be listed") as caught:
        list_folders([tmp_path / "SECRET"])
    assert "SECRET" not in str(caught.value)


def test_no_input_folders_is_an_error() -> None:
    with pytest.raises(Misconfigured, match="SENDIT_INPUT_FOLDERS"):
        chosen_folders(Settings(), None)


def test_subfolder_must_be_an_input_folder_or_inside_one(tmp_path: Path) -> None:
    (tmp_path / "data" / "1_6").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    site = Settings(input_folders=(tmp_path / "data",))
    assert chosen_folders(site, "1_6") == [tmp_path / "data" / "1_6"]
    assert chosen_folders(site, str(tmp_path / "data" / "1_6")) == [tmp_path / "data" / "1_6"]
    assert chosen_folders(site, "data") == [tmp_path / "data"]
    (tmp_path / "data" / "out").symlink_to(tmp_path / "other")
    for outside in ("../other", str(tmp_path / "other"), "..", "out", "1_7"):
        with pytest.raises(Misconfigured, match="subfolder"):
            chosen_folders(site, outside)


def test_takes_at_most_number_folders(embedded_ledger: Ledger, site: Settings, keys: Keys) -> None:
    taken = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC1"]
    assert embedded_ledger.count_queued() == 0
    again = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    assert again == taken
    assert embedded_ledger.count_queued() == 0


def test_takes_all_folders_in_runs_of_limited_size(
    embedded_ledger: Ledger, site: Settings, keys: Keys
) -> None:
    taken = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=None, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC1", "ACC2"]
    assert embedded_ledger.count_queued() == 1
    taken = discover(
        embedded_ledger, site, keys, "run-2", PARAMS, number=None, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC3"]


def test_queued_batches_are_taken_first(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    late = tmp_path / "in" / "ACC3"
    embedded_ledger.enqueue([(folder_digest(keys, late), str(late))], PARAMS)
    taken = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC3"]
    assert embedded_ledger.count_queued() == 0


def test_known_folders_are_not_queued_again(
    embedded_ledger: Ledger, site: Settings, keys: Keys
) -> None:
    for batch in discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=2, preflight=passing_preflight
    ):
        finish(embedded_ledger, keys, batch)
    taken = discover(
        embedded_ledger, site, keys, "run-2", PARAMS, number=None, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC3"]


def test_a_folder_is_identified_by_its_digest(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    (batch,) = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    folder = tmp_path / "in" / "ACC1"
    assert locate(embedded_ledger, site, keys, batch) == folder
    aside = folder.rename(folder.with_name("ACC1.err"))
    assert locate(embedded_ledger, site, keys, batch) == aside
    embedded_ledger.delete_identifiers(batch, set_aside=True)
    assert locate(embedded_ledger, site, keys, batch) == aside
    assert folder_digest(keys, aside) == folder_digest(keys, folder)
    aside.rename(tmp_path / "gone")
    with pytest.raises(FailBatch, match="no longer in the input folders") as caught:
        locate(embedded_ledger, site, keys, batch)
    assert "ACC1" not in str(caught.value)


def test_a_repaired_folder_is_queued_again(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    (batch,) = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    folder = tmp_path / "in" / "ACC1"
    folder.rename(tmp_path / "in" / "ACC1.err")
    embedded_ledger.record(batch, status=Status.ERROR)
    embedded_ledger.delete_identifiers(batch, set_aside=True)
    taken = discover(
        embedded_ledger, site, keys, "run-2", PARAMS, number=1, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC2"]
    (tmp_path / "in" / "ACC1.err").rename(folder)
    assert discover(
        embedded_ledger, site, keys, "run-3", PARAMS, number=1, preflight=passing_preflight
    ) == [batch]


def test_a_delivered_folder_with_new_files_is_queued_again(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    (first,) = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    finish(embedded_ledger, keys, first)
    (tmp_path / "in" / "ACC1" / "late.dcm").write_bytes(b"x")
    (second,) = discover(
        embedded_ledger, site, keys, "run-2", PARAMS, number=1, preflight=passing_preflight
    )
    assert names(embedded_ledger, [second]) == ["ACC1"]
    assert second != first


def test_a_folder_refilled_after_deletion_is_queued_again(
    embedded_ledger: Ledger, site: Settings, keys: Keys
) -> None:
    deleting = site.model_copy(update={"originals": "delete"})
    (first,) = discover(
        embedded_ledger, deleting, keys, "run-1", PARAMS, number=1, preflight=passing_preflight
    )
    finish(embedded_ledger, keys, first)
    again = discover(
        embedded_ledger, deleting, keys, "run-2", PARAMS, number=1, preflight=passing_preflight
    )
    assert names(embedded_ledger, again) == ["ACC1"]


class Preflight:
    """A preflight that fails for some recipes and counts its calls."""

    def __init__(self, *bad: str) -> None:
        self.bad = bad
        self.tried: list[str] = []

    def __call__(self, params: BatchParams) -> None:
        self.tried.append(params.recipe)
        if params.recipe in self.bad:
            raise Misconfigured(f"no recipe {params.recipe}")


def test_a_failing_preflight_leaves_the_queue_unchanged(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    late = tmp_path / "in" / "ACC3"
    embedded_ledger.enqueue([(folder_digest(keys, late), str(late))], PARAMS)
    before = embedded_ledger.all_batches()
    typo = BatchParams("test", "IRB1", "defualt")
    with pytest.raises(Misconfigured, match="no recipe defualt"):
        discover(
            embedded_ledger, site, keys, "run-1", typo, number=None, preflight=Preflight("defualt")
        )
    assert embedded_ledger.all_batches() == before


def test_preflight_is_skipped_without_batches(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "in" / "ACC1")
    shutil.rmtree(tmp_path / "in" / "ACC2")
    (tmp_path / "in" / "ACC3").rename(tmp_path / "in" / "ACC3.part")
    preflight = Preflight("default")
    folders = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=None, preflight=preflight
    )
    assert (folders, preflight.tried) == ([], [])


@pytest.mark.parametrize("number", [1, None])
def test_batches_whose_params_fail_the_preflight_stay_queued(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path, number: int | None
) -> None:
    gone = BatchParams("alpha", "alpha", "/gone.deid")
    for name in ("ACC2", "ACC3"):
        folder = tmp_path / "in" / name
        embedded_ledger.enqueue([(folder_digest(keys, folder), str(folder))], gone)
    preflight = Preflight("/gone.deid")
    taken = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=number, preflight=preflight
    )
    assert names(embedded_ledger, taken) == ["ACC1"]
    assert preflight.tried == ["default", "/gone.deid"]
    waiting = [b for b in embedded_ledger.all_batches() if b.status is Status.QUEUE]
    assert [b.errors[0]["reason"] for b in waiting] == ["no recipe /gone.deid"] * 2
    shown = embedded_ledger.all_batches(errors_only=True)
    assert [batch for batch in waiting if batch in shown] == waiting
    # No other batch is left: the run says why and changes nothing.
    embedded_ledger.record(taken[0], status=Status.DONE)
    with pytest.raises(Misconfigured, match=r"no recipe /gone\.deid"):
        discover(embedded_ledger, site, keys, "run-2", PARAMS, number=number, preflight=preflight)
    assert embedded_ledger.count_queued() == 2
    # Once corrected, they continue with the params they were queued with.
    taken = discover(
        embedded_ledger, site, keys, "run-3", PARAMS, number=None, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC2", "ACC3"]
    assert not any(batch.errors for batch in embedded_ledger.all_batches())
    assert embedded_ledger.batch(taken[0]).params == gone


def test_an_unmounted_input_folder_is_not_treated_as_empty(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    discover(embedded_ledger, site, keys, "run-1", PARAMS, number=1, preflight=passing_preflight)
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="input folder 1 cannot be listed"):
        discover(
            embedded_ledger, site, keys, "run-2", PARAMS, number=1, preflight=passing_preflight
        )


def test_a_batch_in_a_nested_subfolder_can_be_requeued_after_cleanup(
    embedded_ledger: Ledger, site: Settings, keys: Keys, tmp_path: Path
) -> None:
    folder = tmp_path / "in" / "wards" / "1_6" / "today" / "ACC9"
    folder.mkdir(parents=True)
    (folder / "image.dcm").write_bytes(b"x")
    deep = BatchParams("test", "IRB1", "default", subfolder="wards/1_6/today")
    (batch,) = discover(
        embedded_ledger, site, keys, "run-1", deep, number=1, preflight=passing_preflight
    )
    embedded_ledger.delete_identifiers(batch)
    assert locate(embedded_ledger, site, keys, batch) == folder


def test_only_batches_that_fit_the_disk_are_claimed(
    embedded_ledger: Ledger,
    site: Settings,
    keys: Keys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "in" / "ACC1" / "image.dcm").write_bytes(bytes(400_000))
    (tmp_path / "in" / "ACC2" / "image.dcm").write_bytes(bytes(400_000))
    usage = shutil.disk_usage("/")
    site = site.model_copy(update={"home": tmp_path / "home", "disk_margin_mb": 1})
    free = 1024 * 1024 + 600_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    taken = discover(
        embedded_ledger, site, keys, "run-1", PARAMS, number=None, preflight=passing_preflight
    )
    # The second does not fit next to the first; smaller ones are taken, and it waits for the next
    # run.
    assert names(embedded_ledger, taken) == ["ACC1", "ACC3"]
    assert embedded_ledger.count_queued() == 1
    free = 1024 * 1024 + 1000
    with pytest.raises(RetryLater, match="does not fit on the working disk") as caught:
        discover(
            embedded_ledger, site, keys, "run-2", PARAMS, number=None, preflight=passing_preflight
        )
    assert "ACC" not in str(caught.value)
    assert embedded_ledger.count_queued() == 1
    free = 1024 * 1024 + 600_000
    taken = discover(
        embedded_ledger, site, keys, "run-3", PARAMS, number=None, preflight=passing_preflight
    )
    assert names(embedded_ledger, taken) == ["ACC2"]
