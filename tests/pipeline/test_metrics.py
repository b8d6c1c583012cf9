"""The table of processing times, in the columns of the 2017 service."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sendit.batch import Status
from sendit.errors import RetryLater
from sendit.ledger import BatchParams, Ledger
from sendit.pipeline.metrics import COLUMNS, default_name, write_metrics


def test_metrics_have_one_line_per_batch(embedded_ledger: Ledger, tmp_path: Path) -> None:
    folders = [("a" * 64, "/in/ACC1"), ("b" * 64, "/in/ACC2")]
    embedded_ledger.enqueue(folders, BatchParams("s", "c", "d"))
    first, second = embedded_ledger.claim("r", 2)
    embedded_ledger.start(first)
    embedded_ledger.record(first, status=Status.DONE, bytes_in=3 * 1024 * 1024)
    path = tmp_path / "out" / "metrics.tsv"
    assert write_metrics(embedded_ledger.all_batches(), path) == 2
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["batch_id"], rows[0]["status"], rows[0]["size_mb"]) == (first, "DONE", "3.0")
    seconds = float(rows[0]["finish_time"]) - float(rows[0]["start_time"])
    assert float(rows[0]["total_time_sec"]) == pytest.approx(seconds)
    assert float(rows[0]["total_time_min"]) == pytest.approx(seconds / 60)
    assert (rows[1]["batch_id"], rows[1]["start_time"], rows[1]["total_time_sec"]) == (
        second,
        "",
        "",
    )
    assert "ACC" not in path.read_text()


def test_an_unwritable_metrics_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryLater, match="metrics cannot be written"):
        write_metrics([], tmp_path / "file" / "metrics.tsv")


def test_metrics_file_name_contains_the_date() -> None:
    assert default_name(1503748800.0) == "sendit-process-time-2017-08-26.tsv"
