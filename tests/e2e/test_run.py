"""One run on valid, invalid and mixed folders: what is delivered, and that the counts add up."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import google_crc32c
import pydicom
import pytest

from demo import results, samples
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e

COUNTED = ("delivered", "filtered", "quarantined", "duplicate")
SUBFOLDER = "samples"
NAME = re.compile(r"Collection/test/Entity/(?P<p>p\w+)/(?P=p)_\d{8}_s\w+\.tar\.gz")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Finished:
    """The run, and the state before it."""

    def __init__(self, site: Site, out: Path) -> None:
        self.site = site
        folder = site.inputs / SUBFOLDER
        samples.make_samples(folder)
        self.folder = folder
        self.before = {each.name: contents(each) for each in folder.iterdir()}
        self.earlier = {each["name"] for each in site.stack.objects()}
        self.run_id = site.run(SUBFOLDER)
        self.batches = site.batches(self.run_id)
        self.deliveries = site.deliveries(self.run_id)
        self.objects = {each["name"]: each for each in site.stack.objects()}
        self.rows = {row["name"]: row for row in site.stack.tables()["test.dicom"]}
        self.out = out
        results.prepare(out)
        self.missing = results.collect(site.stack, out)


@pytest.fixture(scope="module")
def finished(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(site, tmp_path_factory.mktemp("out"))


def of_status(finished: Finished, status: str) -> list[dict[str, Any]]:
    return [batch for batch in finished.batches if batch["status"] == status]


def test_status_of_each_folder(finished: Finished) -> None:
    outcomes = sorted(
        (batch["status"], *(batch[name] for name in COUNTED)) for batch in finished.batches
    )
    assert outcomes == sorted(
        (each.status, each.delivered, each.filtered, each.quarantined, each.duplicate)
        for each in samples.SAMPLES
    )


def test_outcomes_add_up_to_received(finished: Finished) -> None:
    for batch in finished.batches:
        assert batch["received"] == sum(batch[name] for name in COUNTED)
    assert sum(b["received"] for b in finished.batches) == sum(map(len, finished.before.values()))


def test_the_run_fails_after_all_others_are_delivered(finished: Finished) -> None:
    assert finished.site.state(finished.run_id) == "failed"
    states = finished.site.task_states(finished.run_id)
    failed = {name for (name, _), state in states.items() if state == "failed"}
    assert failed == {"process.import", "report"}
    log = finished.site.log(finished.run_id, "report")
    (bad,) = of_status(finished, "ERROR")
    assert f"1 of {len(samples.SAMPLES)} batches failed: {bad['id']}" in log


def test_an_empty_batch_is_skipped_not_failed(finished: Finished) -> None:
    states = finished.site.task_states(finished.run_id)
    assert [state for (name, _), state in states.items() if name == "process.import"].count(
        "skipped"
    ) == len(of_status(finished, "EMPTY"))


def test_each_delivered_batch_has_one_object_and_one_row_that_agree(finished: Finished) -> None:
    delivered = sum(each.status == "DONE" for each in samples.SAMPLES)
    assert len(finished.deliveries) == len(of_status(finished, "DONE")) == delivered
    for delivery in finished.deliveries:
        stored = finished.objects[delivery["object"]]
        assert NAME.fullmatch(stored["name"])
        assert (stored["crc32c"], stored["size"]) == (delivery["crc32c"], str(delivery["size"]))
        assert int(stored["generation"]) == delivery["generation"]
        row = finished.rows[delivery["object"]]
        for column, key in (("crc32c", "crc32c"), ("md5Hash", "md5Hash"), ("name", "name")):
            assert row[column] == stored[key]
        assert row["size"] == delivery["size"]
        assert row["generation"] == delivery["generation"]
        assert row["storage_metadataLink"] == stored["selfLink"]
        assert row["storage_download"] == stored["mediaLink"]


def test_bucket_contains_only_archives_manifest_and_counter(finished: Finished) -> None:
    archives = {each["object"] for each in finished.deliveries}
    others = set(finished.objects) - finished.earlier - archives
    folders = {name.rpartition("/")[0] for name in others}
    assert folders == {"Collection/test/Manifest", "Collection/test/Feeder"}
    assert set(finished.rows) - finished.earlier == archives


def test_the_bucket_verifies_without_the_ledger(finished: Finished) -> None:
    environment = finished.site.stack.environment
    answer = subprocess.run(
        [finished.site.stack.airflow_bin / "sendit", "verify", finished.run_id],
        env={k: v for k, v in environment.items() if k != "AIRFLOW_CONN_SENDIT_LEDGER"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_archives_contain_exactly_the_images(finished: Finished) -> None:
    members = {each["object"]: each["members"] for each in finished.deliveries}
    delivered = {batch["id"]: batch["delivered"] for batch in finished.batches}
    for delivery in finished.deliveries:
        data = (finished.out / "objects" / delivery["object"]).read_bytes()
        checksum = google_crc32c.value(data).to_bytes(4, "big")
        assert base64.b64encode(checksum).decode() == delivery["crc32c"]
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = archive.getnames()
            assert len(names) == members[delivery["object"]] == delivered[delivery["batch_id"]]
            code = delivery["object"].rpartition("_")[2].removesuffix(".tar.gz")
            for name in names:
                assert re.fullmatch(rf"{code}_[\w-]+_[\w-]+\.dcm", name)
                image = pydicom.dcmread(archive.extractfile(name))  # type: ignore[arg-type]
                assert image.PatientIdentityRemoved == "YES"
                assert image.AccessionNumber == code
                assert image.PatientID in delivery["object"]
                assert image.Modality in {"CT", "MR", "CR", "US", "MG"}


def test_studies_of_one_patient_share_a_code(finished: Finished) -> None:
    patients = [each["object"].split("/")[3] for each in finished.deliveries]
    assert len(set(patients)) == len(patients) - 1


def test_date_shift_is_constant_per_patient(finished: Finished) -> None:
    # The samples' CT is dated 2001-01-01, and the MR of the same patient 2003-05-05.
    by_patient: dict[str, list[str]] = {}
    for each in finished.deliveries:
        _, patient, name = each["object"].rsplit("/", 2)
        by_patient.setdefault(patient, []).append(name.split("_")[1])
    (dates,) = [sorted(dates) for dates in by_patient.values() if len(dates) == 2]
    first, second = (int(_day(date)) for date in dates)
    assert second - first == _day("20030505") - _day("20010101")


def _day(date: str) -> int:
    import datetime

    return datetime.datetime.strptime(date, "%Y%m%d").toordinal()


def test_originals_are_kept_and_folders_with_bad_files_set_aside(finished: Finished) -> None:
    bad = {each.accession for each in samples.SAMPLES if each.quarantined or each.duplicate}
    now = {each.name: contents(each) for each in finished.folder.iterdir()}
    assert now == {
        f"{name}.err" if name in bad else name: files for name, files in finished.before.items()
    }


def test_working_files_and_identifiers_are_deleted(finished: Finished) -> None:
    work = finished.site.stack.home / "work"
    assert not [batch["id"] for batch in finished.batches if (work / batch["id"]).exists()]
    ids = ",".join(f"'{batch['id']}'" for batch in finished.batches)
    assert not finished.site.stack.ledger(f"SELECT kind FROM identifiers WHERE batch_id IN ({ids})")


def test_results_are_complete(finished: Finished) -> None:
    assert finished.missing == []
    lines = (finished.out / "metrics.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in lines[1:]} >= {b["id"] for b in finished.batches}
    rows = map(json.loads, (finished.out / "bigquery.ndjson").read_text().splitlines())
    tables = {row["name"]: row["_table"] for row in rows}
    assert {tables[each["object"]] for each in finished.deliveries} == {"test.dicom"}
    dump = (finished.out / "airflow.sql").read_text()
    assert finished.run_id in dump
    logs = {path.name for path in (finished.out / "logs").iterdir()}
    assert {"scheduler.log", "api-server.log", "tasks", "postgresql.log"} <= logs


def test_the_ui_shows_batches_by_opaque_ids_only(finished: Finished) -> None:
    for each in finished.site.stack.task_instances(finished.run_id):
        # An instance that was skipped before it started is named by its index.
        if each["map_index"] >= 0 and each["rendered_map_index"] != str(each["map_index"]):
            assert re.fullmatch(r"b[0-9a-f]{16}|lane \d", each["rendered_map_index"])


def test_archives_are_readable_by_gnu_tar_and_gzip(finished: Finished) -> None:
    for delivery in finished.deliveries:
        data = (finished.out / "objects" / delivery["object"]).read_bytes()
        assert len(gzip.decompress(data)) % 512 == 0
