"""The upload task group against emulators, with the provider's own operators.

Tasks run one at a time, as a worker would run them, in any order in which a person may clear them;
the end-to-end tests run the mapped group through Airflow.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from sendit.archive import Archive
from sendit.batch import Counts, Status
from sendit.delivery import objects
from sendit.delivery.feeder import Feed, feeder_of, remembered
from sendit.delivery.lanes import Lane
from sendit.delivery.manifest import manifest_folder
from sendit.delivery.names import Stage, object_name, study_key
from sendit.delivery.revisions import register_archive
from sendit.delivery.table import held_rows
from sendit.delivery.upload import OWN_FAILURES
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.hooks import google as clients
from sendit.identifiers.identity import IdentityRules
from sendit.keys import write_new_key
from sendit.ledger import BatchParams, Delivery, Ledger, Run
from sendit.ledger.schema import batches
from sendit.settings import Settings
from sendit.tasks import google, task_context, upload
from sendit.workspace import RESULT, Workspace
from testing.builder import make_dataset, to_bytes
from testing.emulators import PROJECT
from testing.retention_storage import Bucket, RetentionStorage

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-22T12:00:00+00:00"
STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)
HEADER = {"Modality": "CT", "PatientSex": "F", "PatientAge": "042Y", "StudyDescription": "THORAX"}


@dataclass
class Site:
    """A ledger, a working folder, two emulators, and the tasks of one lane."""

    ledger: Ledger
    settings: Settings
    storage: Any
    bigquery: Any
    collection: str
    tries: tuple[int, int] = (1, 5)
    state: str | None = None
    pushed: dict[str, Any] | None = None

    def batch(
        self,
        number: int,
        content: bytes = b"image",
        *,
        archived: bool = True,
        collection: str | None = None,
    ) -> str:
        """Create a batch as anonymize leaves it and return its id."""
        params = BatchParams("study", collection or self.collection, "default")
        self.ledger.enqueue([(f"{number:064d}", "/nowhere")], params)
        # A run that has claimed gets the same batches again: claim this one through another run
        # first.
        (batch_id,) = self.ledger.claim(f"{RUN}-{number}", 1)
        self.claim(batch_id, RUN)
        if archived:
            self.archive(batch_id, number, content)
        return batch_id

    def key(self, run_id: str = RUN) -> str:
        """Return a run's key in the ledger."""
        at = STARTED.isoformat()
        return self.ledger.run_key(Run("sendit", run_id, created=at, started=at))

    def claim(self, batch_id: str, run_id: str) -> None:
        """Assign a batch to a run."""
        values = {"run_id": run_id, "holder": self.key(run_id)}
        with self.ledger._begin() as db:
            db.execute(batches.update().where(batches.c.id == batch_id).values(values))

    def archive(
        self,
        batch_id: str,
        number: int,
        content: bytes,
        *,
        day: str | None = "20100209",
    ) -> None:
        """Write a batch's archive and header."""
        workspace = Workspace(self.settings.work, batch_id)
        workspace.make()
        with Archive(workspace.archive) as archive:
            archive.add("s_1_1.dcm", content)
            info = archive.close()
        batch = self.ledger.batch(batch_id)
        place = {"study": batch.study, "collection": batch.collection}
        workspace.write(RESULT, place | {"header": HEADER, "outcomes": {}})
        name = object_name(batch.collection, "p", day, f"s{number}")
        self.ledger.record(batch_id, counts=Counts(received=1, delivered=1))
        register_archive(
            self.ledger,
            Delivery(
                batch_id=batch_id,
                bucket=self.settings.bucket,
                object=name,
                study_key=study_key(name),
                content_digest=f"{hash(content)}",
                size=info.size,
                crc32c=info.crc32c,
                members=info.members,
                recipe_digest="0" * 64,
                engine="1",
            ),
        )

    def context(self, run_id: str = RUN) -> dict[str, Any]:
        ti = SimpleNamespace(
            try_number=self.tries[0],
            max_tries=self.tries[1],
            xcom_push=lambda key, value: self.pushed.update({key: value}),
            dag_id="sendit",
            map_index=0,
            get_task_states=lambda **wanted: {
                wanted["run_ids"][0]: {f"{name}_0": self.state for name in wanted["task_ids"]}
            },
        )
        run = SimpleNamespace(run_after=STARTED, start_date=STARTED, clear_number=0)
        return {"run_id": run_id, "ti": ti, "dag_run": run, "task_instance": ti}

    def run(self, step: str, lane: Lane, run_id: str = RUN) -> None:
        """Run one task of a lane."""
        if step in ("archives", "confirm"):
            getattr(upload, step).function(lane)
            return
        operator, arguments = {
            "stage": (upload.STAGE, upload.stage_arguments),
            "load": (upload.LOAD, upload.load_arguments),
            "merge": (upload.MERGE, upload.merge_arguments),
        }[step]
        google.GoogleOperator(
            task_id=step, operator=operator, lane=lane, arguments=arguments
        ).execute(self.context(run_id))

    def run_all(self, lane: Lane) -> None:
        """Run the lane from start to end."""
        for step in ("archives", "stage", "load", "merge", "confirm"):
            self.run(step, lane)

    def delivered(self) -> dict[str, tuple[int, list[int]]]:
        """Map each object's name to its generation and the generations of its rows."""
        return self.delivered_to(self.collection)

    def delivered_to(self, collection: str) -> dict[str, tuple[int, list[int]]]:
        """The same for another collection's table."""
        objects = {
            blob.name: blob.generation
            for blob in self.storage.list_blobs(self.settings.bucket)
            if "/Feeder/" not in blob.name
        }
        rows = held_rows(self.bigquery, collection, self.settings.bucket)
        return {
            name: (objects.get(name), [row.generation for row in rows.get(name, [])])
            for name in objects.keys() | rows.keys()
        }

    def tables(self) -> list[str]:
        return [table.table_id for table in self.bigquery.list_tables(self.collection)]

    def is_consistent(self, batch_id: str) -> bool:
        """Whether object, row and ledger agree on a batch that is DONE."""
        batch, delivery = self.ledger.batch(batch_id), self.ledger.delivery(batch_id)
        assert delivery is not None
        held = self.delivered_to(batch.collection)[delivery.object]
        return (
            batch.status is Status.DONE
            and held == (delivery.generation, [delivery.generation])
            and delivery.rows == 1
        )


@pytest.fixture
def site(  # noqa: PLR0917
    embedded_ledger, tmp_path, emulators, storage_client, bigquery_client, bucket, monkeypatch
) -> Site:
    write_new_key(tmp_path / "key")
    settings = Settings(
        home=tmp_path / "home",
        bucket=bucket,
        work_folder=tmp_path / "work",
        key_file=tmp_path / "key",
    )
    made = Site(
        embedded_ledger,
        settings,
        storage_client,
        bigquery_client,
        f"c{bucket.replace('-', '')}",
        pushed={},
    )
    for module in (google, clients, upload, task_context):
        monkeypatch.setattr(module, "settings", lambda: settings)
    for module in (google, upload, task_context):
        monkeypatch.setattr(module, "ledger", lambda: embedded_ledger)
    monkeypatch.setattr(upload, "get_current_context", made.context)
    monkeypatch.setattr(task_context, "get_current_context", made.context)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", emulators.bigquery)
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT",
        json.dumps(
            {
                "conn_type": "google_cloud_platform",
                "extra": {"is_anonymous": True, "project": PROJECT},
            }
        ),
    )
    return made


def lane_with(*batch_ids: str) -> Lane:
    return Lane(lane=3, batches=list(batch_ids))


def test_a_lane_is_delivered_without_leftovers(site):
    ids = [site.batch(number) for number in range(3)]
    site.run_all(lane_with(*ids))
    assert all(site.is_consistent(batch_id) for batch_id in ids)
    assert len(site.delivered()) == 3
    assert site.tables() == ["dicom"]
    assert not (site.settings.work / Stage.of(site.key(), 3, site.collection).file).exists()
    assert not site.ledger.batch(ids[0]).has_error


def test_batches_of_two_studies_are_delivered_to_their_own_collections(site):
    other = f"{site.collection}_other"
    mine, theirs = site.batch(1), site.batch(1001, collection=other)
    site.run_all(lane_with(mine, theirs))
    assert site.is_consistent(mine)
    assert site.is_consistent(theirs)
    rows = held_rows(site.bigquery, site.collection, site.settings.bucket)
    assert set(rows) == {site.ledger.delivery(mine).object}
    rows = held_rows(site.bigquery, other, site.settings.bucket)
    assert set(rows) == {site.ledger.delivery(theirs).object}
    for collection in (site.collection, other):
        assert [t.table_id for t in site.bigquery.list_tables(collection)] == ["dicom"]
        assert not (site.settings.work / Stage.of(site.key(), 3, collection).file).exists()
    assert len(list(site.storage.list_blobs(site.settings.bucket))) == 2

    write_manifest(site)
    for collection, batch_id in ((site.collection, mine), (other, theirs)):
        (name,) = objects.names(site.storage, site.settings.bucket, manifest_folder(collection))
        held = json.loads(site.storage.bucket(site.settings.bucket).blob(name).download_as_text())
        assert held["collection"] == collection
        assert [entry["batch"] for entry in held["batches"]] == [batch_id]


@pytest.mark.parametrize(
    "changed", [{"study": "beta"}, {"collection": "beta"}, {"study": "beta", "collection": "beta"}]
)
def test_an_archive_of_another_study_is_not_uploaded(site, changed):
    good, bad = site.batch(1), site.batch(2)
    with site.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == bad).values(**changed))
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"{bad}: .*was made for study study and"):
        site.run("confirm", lane)
    assert site.is_consistent(good)
    assert site.ledger.delivery(bad).object not in site.delivered()
    assert site.ledger.batch(bad).status is Status.ERROR


def test_a_collection_of_another_ledger_is_refused_and_the_others_continue(site, tmp_path):
    other = f"{site.collection}_other"
    other_ledger = Ledger(f"sqlite:///{tmp_path}/stranger.db")
    keys = site.settings.keys()
    Feed(
        other_ledger, site.storage, site.settings.bucket, other,
        feeder_of(other_ledger, keys, "local", "study", IdentityRules()),
    ).count()  # fmt: skip
    mine, theirs = site.batch(1), site.batch(1001, collection=other)
    lane = lane_with(mine, theirs)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{theirs}: .*fed by another: ledger"):
        site.run("confirm", lane)
    assert site.is_consistent(mine)
    assert site.ledger.delivery(theirs).generation is None
    assert not objects.names(site.storage, site.settings.bucket, f"Collection/{other}/Entity/")
    with pytest.raises(AirflowFailException, match="fed by another"):
        site.run("archives", lane_with(theirs))
    other_ledger.close()


def test_the_end_of_a_run_advances_the_counter(site, delivered):
    held = remembered(site.storage, site.settings.bucket, site.collection)
    assert held.counter == site.ledger.feed(site.settings.bucket, site.collection) == 1
    assert verify(site).feeder == held


def test_provider_operators_are_used(site):
    site.run_all(lane_with(site.batch(1)))
    assert site.pushed["bigquery_table"]["table_id"]


@pytest.mark.parametrize("step", ["archives", "stage", "load", "merge", "confirm"])
def test_clearing_any_single_task_afterwards_changes_nothing(site, step):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    site.run_all(lane)
    Workspace(site.settings.work, batch_id).remove()  # as cleanup does
    before = site.delivered(), site.ledger.delivery(batch_id)
    site.run(step, lane)
    assert (site.delivered(), site.ledger.delivery(batch_id)) == before
    assert site.is_consistent(batch_id)
    assert site.tables() == ["dicom"]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_an_interrupted_lane_is_completed_by_clearing_its_first_task(site, stop):
    ids = [site.batch(number) for number in range(2)]
    lane = lane_with(*ids)
    for step in ("archives", "stage", "load", "merge")[:stop]:
        site.run(step, lane)
    site.run_all(lane)
    assert all(site.is_consistent(batch_id) for batch_id in ids)
    assert site.tables() == ["dicom"]


@pytest.mark.parametrize("step", ["archives", "stage", "load", "merge"])
def test_every_step_is_idempotent(site, step):
    batch_id = site.batch(1)
    for each in ("archives", "stage", "load", "merge", "confirm"):
        site.run(each, lane_with(batch_id))
        if each == step:
            site.run(each, lane_with(batch_id))
    assert site.is_consistent(batch_id)


def test_a_failed_archive_fails_the_lane_but_not_the_other_batches(site):
    good, bad = site.batch(1), site.batch(2)
    site.storage.bucket(site.settings.bucket).blob(
        site.ledger.delivery(bad).object
    ).upload_from_string(b"something else")
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: .*another archive") as raised:
        site.run("confirm", lane)
    assert good not in str(raised.value)
    assert site.is_consistent(good)
    batch = site.ledger.batch(bad)
    assert batch.status is Status.ERROR
    assert batch.errors[0]["stage"] == "upload task"
    assert site.tables() == ["dicom"]

    # Repaired, and the lane's archives task cleared with its successors.
    site.storage.bucket(site.settings.bucket).delete_blob(site.ledger.delivery(bad).object)
    site.run_all(lane)
    assert site.is_consistent(bad)
    assert site.is_consistent(good)
    assert not site.ledger.batch(bad).has_error


def header_of(site, batch_id, header):
    """Replace the header that anonymize wrote."""
    workspace = Workspace(site.settings.work, batch_id)
    workspace.write(RESULT, workspace.read(RESULT) | {"header": header})


def test_nan_in_a_header_does_not_fail_the_batch(site):
    ids = [site.batch(number) for number in range(3)]
    header_of(site, ids[1], HEADER | {"SliceThickness": float("nan"), "B": [float("inf"), 1]})
    site.run_all(lane_with(*ids))
    assert all(site.is_consistent(batch_id) for batch_id in ids)


@pytest.mark.parametrize(
    "result", ['{"study": "study"', "[]", '{"header": "\udcff"}', '{"header": 3}', "[" * 100_000]
)
def test_a_batch_without_a_valid_row_does_not_stop_the_others(site, result):
    good, bad, last = (site.batch(number) for number in range(3))
    lane = lane_with(good, bad, last)
    site.run("archives", lane)
    text = result.encode("utf-8", "surrogateescape")
    (Workspace(site.settings.work, bad).folder / RESULT).write_bytes(text)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}"):
        site.run("confirm", lane)
    assert site.is_consistent(good) and site.is_consistent(last)
    # Removed from the bucket and reported: nothing of it is delivered.
    assert site.ledger.delivery(bad).object not in site.delivered()
    batch = site.ledger.batch(bad)
    assert batch.status is Status.ERROR
    assert batch.tally == {
        "received": 1, "delivered": 0, "filtered": 0, "quarantined": 0, "duplicate": 0,
        "undelivered": 1,
    }  # fmt: skip


def test_a_row_rejected_by_bigquery_fails_its_batch_only(site, monkeypatch):
    good, bad = site.batch(1), site.batch(2)
    lane = lane_with(good, bad)
    site.run("archives", lane)
    (part,) = google.lane_work(lane).parts()
    lines = part.rows_file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    # BigQuery leaves out a row that it rejects, for any reason (max_bad_records).
    assert upload.load_arguments(part)["max_bad_records"] >= 1000
    part.rows_file.write_bytes(b"".join(line for line in lines if bad.encode() not in line))
    for step in ("stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: 0 rows"):
        site.run("confirm", lane)
    assert site.is_consistent(good)


@pytest.mark.parametrize("error", [ValueError("MRN7"), RecursionError(), KeyError("MRN7")])
def test_an_error_of_one_batch_does_not_affect_the_others(site, monkeypatch, error):
    good, bad, last = (site.batch(number) for number in range(3))
    real = {"deliver": objects.deliver, "find": objects.find}
    name = site.ledger.delivery(bad).object

    def deliver(client, delivery, archive, **options):
        if delivery.batch_id == bad:
            raise error
        return real["deliver"](client, delivery, archive, **options)

    monkeypatch.setattr(objects, "deliver", deliver)
    lane = lane_with(good, bad, last)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}") as raised:
        site.run("confirm", lane)
    assert "MRN7" not in str(raised.value)
    assert site.is_consistent(good) and site.is_consistent(last)

    monkeypatch.setattr(objects, "deliver", real["deliver"])

    def find(client, bucket, wanted):
        if wanted == name:
            raise error
        return real["find"](client, bucket, wanted)

    again = site.batch(4)
    lane = lane_with(again, bad)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    monkeypatch.setattr(objects, "find", find)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}") as raised:
        site.run("confirm", lane)
    assert "MRN7" not in str(raised.value)
    assert site.is_consistent(again)


def test_unconfirmed_batches_are_checked_again_after_the_others(site, monkeypatch):
    good, away, bad = (site.batch(number) for number in range(3))
    lane = lane_with(away, bad, good)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    site.storage.bucket(site.settings.bucket).delete_blob(site.ledger.delivery(bad).object)
    real, name = objects.find, site.ledger.delivery(away).object

    def find(client, bucket, wanted):
        if wanted == name:
            raise RetryLater("Cloud Storage answered 503 for bucket x")
        return real(client, bucket, wanted)

    monkeypatch.setattr(objects, "find", find)
    with pytest.raises(RetryLater, match=r"1 batches cannot be confirmed now: .*503"):
        site.run("confirm", lane)
    assert site.is_consistent(good)
    assert site.ledger.batch(away).status is Status.DONEPROCESSING
    monkeypatch.setattr(objects, "find", real)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}: its object in the bucket"):
        site.run("confirm", lane)
    assert site.is_consistent(away)


@pytest.mark.parametrize("step", ["stage", "load", "merge"])
def test_a_collection_with_failed_rows_does_not_stop_the_others(site, monkeypatch, step):
    other = f"{site.collection}_other"
    mine, theirs = site.batch(1), site.batch(1001, collection=other)
    lane = lane_with(mine, theirs)
    real = google.GoogleOperator._run

    def run(self, part, context):
        if part.stage.collection == site.collection:
            raise RetryLater("BigQuery answered 503")
        real(self, part, context)

    site.run("archives", lane)
    for each in ("stage", "load", "merge"):
        if each == step:
            with monkeypatch.context() as patch, pytest.raises(RetryLater, match="503"):
                patch.setattr(google.GoogleOperator, "_run", run)
                site.run(each, lane)
        else:
            # The successors fail only for the collection that was not loaded.
            with suppress(Exception):
                site.run(each, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{mine}"):
        site.run("confirm", lane)
    assert site.is_consistent(theirs)


def test_identical_bytes_of_another_generation_are_not_the_delivery(site):
    """Somebody uploaded them again: the row describes an object that is gone."""
    good, bad = site.batch(1), site.batch(2)
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    delivery = site.ledger.delivery(bad)
    blob = site.storage.bucket(site.settings.bucket).blob(delivery.object)
    content = blob.download_as_bytes()
    blob.upload_from_string(content, content_type="application/gzip")
    there = objects.find(site.storage, site.settings.bucket, delivery.object)
    assert there.holds(delivery) and there.generation != delivery.generation
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: its object in the bucket"):
        site.run("confirm", lane)
    assert site.is_consistent(good)
    assert site.ledger.batch(bad).status is Status.ERROR


def test_an_unavailable_store_is_retried_and_then_reported(site, monkeypatch):
    lost, good = site.batch(1), site.batch(2)
    real = objects.deliver

    def deliver(client, delivery, archive, **options):
        if delivery.batch_id == lost:
            raise RetryLater("Cloud Storage answered 503 for bucket x")
        return real(client, delivery, archive, **options)

    monkeypatch.setattr(objects, "deliver", deliver)
    lane = lane_with(lost, good)
    with pytest.raises(RetryLater, match=r"1 of 2 archives: .*503"):
        site.run("archives", lane)
    assert site.ledger.batch(lost).status is Status.DONEPROCESSING
    site.tries = (6, 5)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"{lost}: .*503"):
        site.run("confirm", lane)
    assert site.is_consistent(good)
    assert site.ledger.batch(lost).status is Status.ERROR


def test_a_missing_bucket_stops_the_lane_before_any_upload(site):
    batch_id = site.batch(1)
    site.storage.bucket(site.settings.bucket).delete()
    with pytest.raises(AirflowFailException, match="SENDIT_BUCKET"):
        site.run("archives", lane_with(batch_id))
    assert site.ledger.batch(batch_id).status is Status.ERROR
    with pytest.raises(AirflowFailException, match="SENDIT_BUCKET"):
        site.run("confirm", lane_with(batch_id))


def test_a_missing_google_connection_is_named(site, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    with pytest.raises(RetryLater, match="connection google_cloud_default cannot be read"):
        clients.storage_client()


@pytest.mark.parametrize(
    ("content", "kind", "match"),
    [
        (None, RetryLater, r"key_path\) cannot be read \(No such file"),
        ("no JSON", Misconfigured, "not a service account's"),
        ("{}", Misconfigured, "rejects the credentials|not a service account's"),
    ],
)
def test_an_invalid_key_file_is_named(  # noqa: PLR0917
    site, monkeypatch, tmp_path, content, kind, match
):
    key = tmp_path / "SECRET-PLACE.json"
    if content is not None:
        key.write_text(content)
    connection = {"conn_type": "google_cloud_platform"}
    connection["extra"] = {"key_path": str(key), "project": PROJECT}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    for client in (clients.storage_client, clients.bigquery_client):
        with pytest.raises(kind, match=match) as caught:
            client()
        assert "SECRET" not in str(caught.value)


def test_batches_of_other_runs_or_not_ready_are_ignored(site):
    taken, processing, failed, gone = (site.batch(number) for number in range(4))
    site.claim(taken, "another run")
    site.ledger.record(processing, status=Status.PROCESSING)
    task_context.fail_batch(failed, "anonymize", "no image could be de-identified")
    site.ledger.record(gone, status=Status.EMPTY)
    lane = lane_with(taken, processing, failed, gone)
    before = [site.ledger.batch(batch_id) for batch_id in lane["batches"]]
    site.run_all(lane)
    assert [site.ledger.batch(batch_id) for batch_id in lane["batches"]] == before
    assert not list(site.storage.list_blobs(site.settings.bucket))


def test_a_batch_failed_by_the_report_is_delivered_when_cleared(site):
    batch_id = site.batch(1)
    task_context.fail_batch(batch_id, "run", "the run ended while it was DONEPROCESSING")
    site.run_all(lane_with(batch_id))
    assert site.is_consistent(batch_id)
    assert not site.ledger.batch(batch_id).has_error


def test_import_errors_stay_on_a_delivered_batch(site):
    from sendit.batch import BatchError

    batch_id = site.batch(1)
    site.ledger.record(batch_id, errors=[BatchError("import", "truncated")], stage="import")
    site.run_all(lane_with(batch_id))
    assert site.is_consistent(batch_id)
    assert site.ledger.batch(batch_id).has_error


def test_a_vanished_object_is_not_reported_as_delivered(site):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    site.storage.bucket(site.settings.bucket).delete_blob(site.ledger.delivery(batch_id).object)
    with pytest.raises(AirflowFailException, match="not the one delivered"):
        site.run("confirm", lane)
    assert site.ledger.batch(batch_id).status is Status.ERROR
    site.run_all(lane)
    assert site.is_consistent(batch_id)


def test_delivery_clears_errors_under_the_names_that_tasks_record():
    assert {task_context.failure_stage("upload"), task_context.failure_stage("run")} == set(
        OWN_FAILURES
    )


def test_rendered_fields_and_labels_contain_no_identifiers(site):
    assert google.GoogleOperator.template_fields == ("lane",)


def test_a_missing_rows_file_names_the_task_to_clear(site):
    lane = lane_with(site.batch(1))
    site.run("archives", lane)
    site.settings.work.joinpath(Stage.of(site.key(), 3, site.collection).file).unlink()
    with pytest.raises(AirflowFailException, match="clear the archives task"):
        site.run("stage", lane)


def test_archives_are_read_from_the_working_folder_only(site):
    batch_id = site.batch(1)
    Path(Workspace(site.settings.work, batch_id).archive).unlink()
    site.run("archives", lane_with(batch_id))
    assert "clear the import task" in site.ledger.batch(batch_id).errors[0]["reason"]


def revise(site: Site, batch_id: str) -> None:
    with site.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == batch_id).values(revise=True))


@pytest.mark.parametrize("day", ["20100209", "20100210"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_revision_replaces_object_and_row(site, day, stop):
    first = site.batch(1)
    site.run_all(lane_with(first))
    before = site.ledger.delivery(first)
    second = site.batch(2, archived=False)
    revise(site, second)
    site.archive(second, 1, b"another image", day=day)
    for step in ("archives", "stage", "load", "merge")[:stop]:
        site.run(step, lane_with(second))
    site.run_all(lane_with(second))
    assert site.is_consistent(second)
    assert len(site.delivered()) == 1
    held = site.ledger.delivery(second)
    assert held.revision == 2
    assert held.generation != before.generation
    assert site.ledger.delivery(first).superseded_by == second
    assert [entry.event for entry in site.ledger.history(first)] == ["delivered", "superseded"]


@pytest.mark.parametrize("day", ["20100209", "20100210"])
def test_a_revision_replaces_a_rewritten_object(site, day):
    first, second = site.batch(1), site.batch(2, archived=False)
    site.run_all(lane_with(first))
    rewrite(site, first)
    revise(site, second)
    site.archive(second, 1, b"another image", day=day)
    site.run_all(lane_with(second))
    assert site.is_consistent(second)
    assert len(site.delivered()) == 1


def test_inconsistent_deliveries_are_retracted(site):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    site.run("archives", lane)
    with pytest.raises(AirflowFailException, match="0 rows in BigQuery"):
        site.run("confirm", lane)
    assert site.delivered() == {}
    assert site.ledger.delivery(batch_id).generation is None
    assert site.ledger.batch(batch_id).status is Status.ERROR
    site.run_all(lane)
    assert site.is_consistent(batch_id)
    assert [entry.event for entry in site.ledger.history(batch_id)] == ["retracted", "delivered"]


def test_archives_cleared_without_successors_are_not_delivered(site):
    batch_id = site.batch(1)
    site.state = "failed"  # confirm's state: archives was cleared alone
    with pytest.raises(AirflowFailException, match="cleared alone"):
        site.run("archives", lane_with(batch_id))
    assert not list(site.storage.list_blobs(site.settings.bucket))
    site.state = None
    site.run_all(lane_with(batch_id))
    site.state = "success"
    site.run("archives", lane_with(batch_id))
    assert site.is_consistent(batch_id)


def test_duplicate_rows_are_removed(site):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    site.bigquery.query(
        f"INSERT INTO `{site.collection}.dicom` SELECT * FROM `{site.collection}.dicom`"
    ).result()
    with pytest.raises(AirflowFailException, match="2 rows in BigQuery"):
        site.run("confirm", lane)
    assert site.delivered() == {}
    site.run_all(lane)
    assert site.is_consistent(batch_id)


def verify(site: Site, run_id: str | None = None):
    from sendit.delivery.verify import verify_collection, verify_run

    where = (site.storage, site.bigquery, site.settings.bucket, site.collection)
    return verify_run(*where, run_id) if run_id else verify_collection(*where)


def withdraw(site: Site, batch_id: str) -> None:
    from sendit.delivery.withdraw import withdraw as take_away

    take_away(site.ledger, site.storage, site.bigquery, batch_id, "the committee asked for it")


def write_manifest(site: Site) -> None:
    upload.manifest.function()


@pytest.fixture
def delivered(site):
    """Two delivered batches with a manifest."""
    ids = [site.batch(number) for number in range(2)]
    site.run_all(lane_with(*ids))
    write_manifest(site)
    return ids


def test_a_delivered_run_verifies(site, delivered):
    for result in (verify(site), verify(site, RUN)):
        assert result.differences == []
        assert (result.manifests, result.archives) == (1, 2)


def test_the_manifest_is_deterministic(site, delivered):
    before = site.delivered()
    write_manifest(site)
    assert site.delivered() == before
    (name,) = (n for n in before if "Manifest" in n)
    text = site.storage.bucket(site.settings.bucket).blob(name).download_as_text()
    manifest = json.loads(text)
    assert manifest["totals"] == {
        "received": 2, "delivered": 2, "filtered": 0, "quarantined": 0, "duplicate": 0,
        "undelivered": 0,
    }  # fmt: skip
    assert {entry["batch"] for entry in manifest["batches"]} == set(delivered)
    assert all(entry["archive"]["state"] == "delivered" for entry in manifest["batches"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("object gone", "no object"),
        ("object other", "another object"),
        ("row gone", "0 rows, not 1"),
        ("row twice", "2 rows, not 1"),
        ("row other", "its row describes another object"),
        ("object too many", "an object that no manifest lists"),
        ("row too many", "1 rows that no manifest lists"),
    ],
)
def test_every_difference_is_reported(site, delivered, damage, message):
    name = site.ledger.delivery(delivered[0]).object
    bucket = site.storage.bucket(site.settings.bucket)
    table = f"`{site.collection}.dicom`"
    extra = f"Collection/{site.collection}/Entity/x/x_nodate_y.tar.gz"
    if damage == "object gone":
        bucket.delete_blob(name)
    elif damage == "object other":
        bucket.blob(name).upload_from_string(b"other")
    elif damage == "object too many":
        bucket.blob(extra).upload_from_string(b"other")
    else:
        site.bigquery.query(
            {
                "row gone": f"DELETE FROM {table} WHERE name = '{name}'",
                "row twice": f"INSERT INTO {table} SELECT * FROM {table} WHERE name = '{name}'",
                "row other": f"UPDATE {table} SET size = 1 WHERE name = '{name}'",
                "row too many": f"INSERT INTO {table} SELECT * REPLACE ('{extra}' AS name) "
                f"FROM {table} WHERE name = '{name}'",
            }[damage]
        ).result()
    where = extra if "too many" in damage else name
    (result,) = verify(site).differences
    assert result.where == where
    assert result.what.startswith(message)
    assert verify(site, RUN).agrees == ("too many" in damage)


def test_a_run_delivered_by_another_ledger_is_reported(site, delivered):
    bucket = site.storage.bucket(site.settings.bucket)
    (name,) = objects.names(site.storage, site.settings.bucket, manifest_folder(site.collection))
    manifest = json.loads(bucket.blob(name).download_as_text())
    bucket.blob(name).upload_from_string(json.dumps(manifest | {"ledger": "0123456789abcdef"}))
    (result,) = verify(site).differences
    assert result.where == RUN
    assert "with the ledger 0123456789abcdef, which the collection does not know" in result.what


def test_a_withdrawn_batch_is_deleted_and_recorded(site, delivered):
    for _ in range(2):
        withdraw(site, delivered[0])
    name = site.ledger.delivery(delivered[0]).object
    assert name not in site.delivered()
    assert site.is_consistent(delivered[1])
    assert verify(site).differences == []
    last = site.ledger.history(delivered[0])[-1]
    assert (last.event, last.note) == ("withdrawn", "the committee asked for it")
    assert site.ledger.delivery(delivered[0]).withdrawn_at is not None

    # Queued again, it is delivered as the next revision.
    site.ledger.requeue(delivered[0])
    site.claim(delivered[0], RUN)
    site.ledger.start(delivered[0])
    site.archive(delivered[0], 0, b"under another recipe")
    site.run_all(lane_with(delivered[0]))
    write_manifest(site)
    assert site.is_consistent(delivered[0])
    assert site.ledger.delivery(delivered[0]).revision == 2
    assert verify(site).differences == []


def test_refused_withdrawals_give_a_reason(site, delivered):
    new = site.batch(7)
    with pytest.raises(FailBatch, match="delivered nothing"):
        withdraw(site, new)
    site.ledger.mark_duplicate_of(new, delivered[0])
    with pytest.raises(FailBatch, match=f"as batch {delivered[0]}, which delivered it"):
        withdraw(site, new)
    site.ledger.supersede(delivered[0], delivered[1])
    with pytest.raises(FailBatch, match=f"replaced by batch {delivered[1]}"):
        withdraw(site, delivered[0])


def test_verifying_a_run_without_a_manifest_fails(site):
    write_manifest(site)
    with pytest.raises(FailBatch, match="no manifest"):
        verify(site, RUN)
    assert verify(site).agrees


def test_a_revision_updates_the_manifest_of_the_earlier_run(site, delivered):
    from sendit.delivery.manifest import manifests_of
    from sendit.delivery.manifest import write_manifests as write

    second = site.batch(9, archived=False)
    revise(site, second)
    site.archive(second, 0, b"another image")
    site.run_all(lane_with(second))
    site.claim(second, "a later run")
    write(site.ledger, site.storage, site.settings.bucket, "a later run")
    assert verify(site).differences == []
    assert verify(site).manifests == 2
    states = {
        entry["batch"]: entry["archive"]["state"]
        for entry in manifests_of(site.ledger, RUN)[0]["batches"]
    }
    assert states == {delivered[0]: "superseded", delivered[1]: "delivered"}


def test_a_bucket_changed_during_a_run_gets_no_record_of_the_old_one(site, monkeypatch):
    batch_id, old = site.batch(1), site.settings.bucket
    site.run_all(lane_with(batch_id))
    other = f"{old}-other"
    site.storage.create_bucket(other)
    changed = site.settings.model_copy(update={"bucket": other})
    for module in (google, upload, task_context):
        monkeypatch.setattr(module, "settings", lambda: changed)
    write_manifest(site)
    assert verify(site).agrees
    assert verify(site).archives == 1
    assert objects.names(site.storage, other, "Collection/") == []


def rewrite(site: Site, batch_id: str) -> None:
    """Rewrite a batch's object with the same bytes, as a change of key or storage class does."""
    blob = site.storage.bucket(site.settings.bucket).blob(site.ledger.delivery(batch_id).object)
    blob.upload_from_string(blob.download_as_bytes(), content_type="application/gzip")


@pytest.fixture
def retention(site, emulators, monkeypatch) -> Iterator[Bucket]:
    """The retention settings of the site's bucket, served over HTTP with Google's responses."""
    server = RetentionStorage(emulators.storage)
    server.buckets[site.settings.bucket] = Bucket()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    site.storage = google.storage_client()
    yield server.buckets[site.settings.bucket]
    server.close()


def test_a_rewritten_archive_is_withdrawn(site, delivered):
    rewrite(site, delivered[0])
    withdraw(site, delivered[0])
    name = site.ledger.delivery(delivered[0]).object
    assert name not in site.delivered()
    assert verify(site).differences == []


def test_an_object_restored_after_withdrawal_is_withdrawn_again(site, delivered):
    name = site.ledger.delivery(delivered[0]).object
    blob = site.storage.bucket(site.settings.bucket).blob(name)
    data = blob.download_as_bytes()
    withdraw(site, delivered[0])
    blob.upload_from_string(data)
    withdraw(site, delivered[0])
    assert name not in site.delivered()
    assert [e.event for e in site.ledger.history(delivered[0])] == ["delivered", "withdrawn"]


def test_a_different_object_with_the_same_name_is_not_deleted(site, delivered):
    name = site.ledger.delivery(delivered[0]).object
    site.storage.bucket(site.settings.bucket).blob(name).upload_from_string(b"other")
    before = site.delivered()
    with pytest.raises(FailBatch, match="different bytes"):
        withdraw(site, delivered[0])
    assert site.delivered() == before
    assert site.ledger.delivery(delivered[0]).withdrawn_at is None


@pytest.mark.parametrize("why", ["retention", "temporary", "event_based"])
@pytest.mark.parametrize("describes", [True, False])
def test_an_archive_under_retention_is_not_partly_withdrawn(
    site, retention, delivered, describes, why
):
    before = site.delivered()
    name = site.ledger.delivery(delivered[0]).object
    setattr(retention, why, timedelta(days=1) if why == "retention" else {name})
    retention.describes = describes
    with pytest.raises(FailBatch, match=r"under (retention until|a retention policy|an?.* hold)"):
        withdraw(site, delivered[0])
    assert site.delivered() == before
    assert site.ledger.delivery(delivered[0]).withdrawn_at is None
    assert site.ledger.batch(delivered[0]).status is Status.DONE
    assert verify(site).agrees


@pytest.mark.parametrize("day", ["20100209", "20100210"])
def test_a_revision_is_refused_if_the_earlier_archive_is_under_retention(site, retention, day):
    first, second = site.batch(1), site.batch(2, archived=False)
    site.run_all(lane_with(first))
    with site.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == second).values(revise=True))
    site.archive(second, 1, b"another image", day=day)
    before = site.delivered()
    retention.retention = timedelta(days=1)
    site.run("archives", lane_with(second))
    assert site.delivered() == before
    assert "under retention until" in site.ledger.batch(second).errors[0]["reason"]
    assert site.is_consistent(first)


def test_a_hold_placed_before_the_upload_fails_only_the_revision(site, retention):
    first, second, third = site.batch(1), site.batch(2, archived=False), site.batch(3)
    site.run_all(lane_with(first))
    with site.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == second).values(revise=True))
    site.archive(second, 1, b"another image")
    retention.temporary, retention.describes = {site.ledger.delivery(first).object}, False
    site.run("archives", lane_with(second, third))
    assert "lets nobody replace it" in site.ledger.batch(second).errors[0]["reason"]
    for step in ("stage", "load", "merge"):
        site.run(step, lane_with(second, third))
    with pytest.raises(AirflowFailException, match=f"1 of 2 batches.*{second}"):
        site.run("confirm", lane_with(second, third))
    assert site.is_consistent(first)
    assert site.is_consistent(third)


def test_delivery_into_a_bucket_with_a_retention_policy(site, retention, monkeypatch, caplog):
    retention.retention = timedelta(days=1)
    batch_id = site.batch(1)
    site.run_all(lane_with(batch_id))
    write_manifest(site)
    assert site.is_consistent(batch_id)
    # The rows file is retained, which neither this run nor a later one treats as a failure ...
    stage = Stage.of(site.key(), 3, site.collection).object
    clean_in_a_later_run(site, monkeypatch)
    assert stage in site.delivered()
    assert caplog.text.count(f"{stage} remains in bucket") == 2
    assert site.tables() == ["dicom"]
    # ... and deleted when the bucket allows it.
    retention.retention = None
    clean_in_a_later_run(site, monkeypatch)
    assert stage not in site.delivered()
    assert site.is_consistent(batch_id)


@pytest.mark.parametrize(
    ("switched_on", "message"),
    [("versioning", "kept by object versioning"), ("soft_delete", "kept by soft delete")],
)
def test_remaining_versions_of_a_withdrawn_archive_are_listed(
    site, retention, delivered, switched_on, message
):
    from sendit.delivery.withdraw import withdraw as take_away

    setattr(retention, switched_on, True)
    generation = site.ledger.delivery(delivered[0]).generation
    left = take_away(site.ledger, site.storage, site.bigquery, delivered[0], "asked for")
    assert len(left) == 1
    assert left[0].endswith(f"{message}: generation {generation}")


LATER = "a later run"


def clean_in_a_later_run(site: Site, monkeypatch: pytest.MonkeyPatch, *active: str) -> None:
    """Run cleanup as a task of another run; ``active`` runs are still running."""
    from sendit.tasks import finish

    context = site.context(LATER)
    context["ti"].get_dr_count = lambda **wanted: int(wanted["run_ids"][0] in {LATER, *active})
    for name in ("storage_client", "bigquery_client"):
        monkeypatch.setattr(finish, name, getattr(clients, name))
    monkeypatch.setattr(finish, "ledger", lambda: site.ledger)
    monkeypatch.setattr(finish, "settings", lambda: site.settings)
    monkeypatch.setattr(task_context, "get_current_context", lambda: context)
    finish.cleanup.function()
    monkeypatch.setattr(task_context, "get_current_context", site.context)


@pytest.mark.parametrize("stopped_after", ["archives", "stage", "load", "merge"])
@pytest.mark.parametrize("status", [Status.EMPTY, Status.ERROR])
def test_a_later_run_removes_leftovers_of_an_ended_run(site, monkeypatch, stopped_after, status):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    steps = ["archives", "stage", "load", "merge"]
    for step in steps[: steps.index(stopped_after) + 1]:
        site.run(step, lane)
    site.ledger.record(batch_id, status=status)
    before = site.delivered(), site.tables()
    clean_in_a_later_run(site, monkeypatch, RUN)
    assert (site.delivered(), site.tables()) == before  # that run may continue
    clean_in_a_later_run(site, monkeypatch)
    assert site.delivered() == {}
    assert site.tables() == ["dicom"]
    assert not list(site.settings.work.glob("lanes/*"))


def test_an_upload_with_a_lost_response_is_recorded(site, monkeypatch):
    batch_id = site.batch(1)
    deliver = objects.deliver

    def lose(*args, **kwargs):
        deliver(*args, **kwargs)
        raise RetryLater("the answer was lost")

    monkeypatch.setattr(objects, "deliver", lose)
    with pytest.raises(RetryLater, match="lost"):
        site.run("archives", lane_with(batch_id))
    monkeypatch.setattr(objects, "deliver", deliver)
    # Created again with other bytes, it replaces what was uploaded before ...
    site.ledger.start(batch_id)
    site.archive(batch_id, 1, b"other images", day="20100210")
    site.run_all(lane_with(batch_id))
    assert site.is_consistent(batch_id)
    # ... and nothing else is left in the bucket.
    assert list(site.delivered()) == [site.ledger.delivery(batch_id).object]


def test_a_late_task_of_a_run_that_lost_its_batch_changes_nothing(site, monkeypatch):
    batch_id = site.batch(1)
    lane = lane_with(batch_id)
    deliver = objects.deliver

    def late(*args, **kwargs):
        there = deliver(*args, **kwargs)
        site.claim(batch_id, LATER)  # another run takes over the batch during the upload
        return there

    monkeypatch.setattr(objects, "deliver", late)
    site.run("archives", lane)
    for step in ("stage", "load", "merge", "confirm"):
        site.run(step, lane)
    batch, delivery = site.ledger.batch(batch_id), site.ledger.delivery(batch_id)
    assert (batch.status, batch.errors) == (Status.DONEPROCESSING, [])
    assert delivery.generation is None
    assert len(site.delivered()) == 1  # the other run finds its bytes there


def test_a_batch_reimported_during_confirm_is_not_done(site, monkeypatch):
    one, other = site.batch(1), site.batch(2)
    lane = lane_with(one, other)
    for step in ("archives", "stage", "load", "merge"):
        site.run(step, lane)
    find = objects.find

    def cleared(client, bucket, name):
        if name == site.ledger.delivery(one).object:  # meanwhile a person clears its import
            site.ledger.start(one)
            site.ledger.record(one, status=Status.PROCESSING, counts=Counts(received=1))
        return find(client, bucket, name)

    monkeypatch.setattr(objects, "find", cleared)
    site.run("confirm", lane)
    assert site.ledger.batch(one).status is Status.PROCESSING
    assert site.ledger.batch(other).status is Status.DONE
    assert len(site.delivered()) == 2  # the next run finds its bytes there


@pytest.fixture
def with_images(site, monkeypatch):
    """Two delivered batches whose archives contain images made by the engine."""
    from sendit.deidentify import study

    data = {number: to_bytes(make_dataset(number, 1, 1, 1)) for number in range(2)}
    ids = []
    for number in range(2):
        monkeypatch.setattr(sys.modules[__name__], "HEADER", study.searchable(data[number]))
        ids.append(site.batch(number, data[number]))
    site.run_all(lane_with(*ids))
    write_manifest(site)
    return ids


def repair(site: Site) -> dict[str, Exception]:
    from sendit.delivery.repair import repair as load_again

    compared = verify(site).compared
    return load_again(site.ledger, site.storage, site.bigquery, compared, location="US")


def all_rows(site: Site) -> list[tuple[Any, ...]]:
    query = f"SELECT * FROM `{site.collection}.dicom` ORDER BY name"
    return [tuple(row.values()) for row in site.bigquery.query(query).result()]


@pytest.mark.parametrize("damage", ["table gone", "row gone", "row twice", "row other", "all gone"])
def test_repair_reloads_missing_rows_exactly_once(site, with_images, damage):
    before = all_rows(site)
    name = site.ledger.delivery(with_images[0]).object
    table = f"`{site.collection}.dicom`"
    if damage == "table gone":
        site.bigquery.delete_table(f"{PROJECT}.{site.collection}.dicom")
        assert "there is no such table" in str(verify(site).differences[0])
    else:
        site.bigquery.query(
            {
                "row gone": f"DELETE FROM {table} WHERE name = '{name}'",
                "row twice": f"INSERT INTO {table} SELECT * FROM {table} WHERE name = '{name}'",
                "row other": f"UPDATE {table} SET size = 1 WHERE name = '{name}'",
                "all gone": f"DELETE FROM {table} WHERE true",
            }[damage]
        ).result()
    assert not verify(site).agrees
    for _ in range(2):
        assert repair(site) == {}
        assert verify(site).agrees
        assert all_rows(site) == before
    assert site.tables() == ["dicom"]


def test_repair_updates_the_row_of_a_rewritten_object(site, with_images):
    rewrite(site, with_images[0])
    assert not verify(site).agrees
    assert repair(site) == {}
    assert verify(site).agrees
    assert verify(site, RUN).agrees
    assert site.is_consistent(with_images[0])


def test_repair_ignores_objects_unknown_to_the_ledger(site, with_images):
    rewrite(site, with_images[0])
    site.ledger.put_withdrawn(with_images[0], "elsewhere")
    (failure,) = repair(site).values()
    assert "run this where its ledger is" in str(failure)


def test_repair_refuses_an_archive_with_different_bytes(site, with_images):
    name = site.ledger.delivery(with_images[0]).object
    blob = site.storage.bucket(site.settings.bucket).blob(name)
    blob.upload_from_string(b"other")
    assert repair(site) == {}
    assert not verify(site).agrees
    with pytest.raises(FailBatch, match="delete it here, then run the command again"):
        withdraw(site, with_images[0])
    blob.delete()
    withdraw(site, with_images[0])
    site.ledger.requeue(with_images[0])
    site.claim(with_images[0], RUN)
    site.ledger.start(with_images[0])
    site.archive(with_images[0], 0, b"the study again")
    site.run_all(lane_with(with_images[0]))
    write_manifest(site)
    assert verify(site).agrees
    assert site.ledger.delivery(with_images[0]).revision == 2


def test_repair_names_an_archive_without_images(site, delivered):
    with pytest.raises(FailBatch, match="is not an archive of images"):
        from sendit.delivery.repair import first_header

        blob = site.storage.bucket(site.settings.bucket).blob("x.tar.gz")
        blob.upload_from_string(b"no archive")
        first_header(site.storage, objects.find(site.storage, site.settings.bucket, "x.tar.gz"))
