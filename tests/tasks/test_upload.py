"""The upload task group against real emulators, with the provider's own operators.

Tasks run here one by one, as a worker would run them, in whatever order a person clears them;
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
from testing.keeping_storage import Bucket, KeepingStorage

pytestmark = pytest.mark.airflow

RUN = "manual__2026-11-22T12:00:00+00:00"
STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)
HEADER = {"Modality": "CT", "PatientSex": "F", "PatientAge": "042Y", "StudyDescription": "THORAX"}


@dataclass
class Site:
    """A ledger, a working folder and two emulators, and the tasks of one lane."""

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
        """Make a batch as anonymize leaves it, and return its id."""
        params = BatchParams("study", collection or self.collection, "default")
        self.ledger.enqueue([(f"{number:064d}", "/nowhere")], params)
        # A run that has claimed gets the same batches again: take this one by another run first.
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
        """Give a batch to a run."""
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
            get_task_states=lambda **asked: {
                asked["run_ids"][0]: {f"{name}_0": self.state for name in asked["task_ids"]}
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
        """Run the lane from its start to its end."""
        for step in ("archives", "stage", "load", "merge", "confirm"):
            self.run(step, lane)

    def delivered(self) -> dict[str, tuple[int, list[int]]]:
        """Return name to the object's generation, and the generations of its rows."""
        return self.delivered_to(self.collection)

    def delivered_to(self, collection: str) -> dict[str, tuple[int, list[int]]]:
        """Return the same for another collection's table."""
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

    def agrees(self, batch_id: str) -> bool:
        """Whether object, row and ledger say the same of a batch that is DONE."""
        batch, delivery = self.ledger.batch(batch_id), self.ledger.delivery(batch_id)
        assert delivery is not None
        held = self.delivered_to(batch.collection)[delivery.object]
        return (
            batch.status is Status.DONE
            and held == (delivery.generation, [delivery.generation])
            and delivery.rows == 1
        )


@pytest.fixture
def here(  # noqa: PLR0917
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


def test_a_lane_is_delivered_and_leaves_nothing_on_its_way(here):
    ids = [here.batch(number) for number in range(3)]
    here.run_all(lane_with(*ids))
    assert all(here.agrees(batch_id) for batch_id in ids)
    assert len(here.delivered()) == 3
    assert here.tables() == ["dicom"]
    assert not (here.settings.work / Stage.of(here.key(), 3, here.collection).file).exists()
    assert not here.ledger.batch(ids[0]).has_error


def test_batches_of_two_studies_in_one_lane_go_each_to_its_own(here):
    other = f"{here.collection}_other"
    mine, theirs = here.batch(1), here.batch(1001, collection=other)
    here.run_all(lane_with(mine, theirs))
    assert here.agrees(mine)
    assert here.agrees(theirs)
    rows = held_rows(here.bigquery, here.collection, here.settings.bucket)
    assert set(rows) == {here.ledger.delivery(mine).object}
    rows = held_rows(here.bigquery, other, here.settings.bucket)
    assert set(rows) == {here.ledger.delivery(theirs).object}
    for collection in (here.collection, other):
        assert [t.table_id for t in here.bigquery.list_tables(collection)] == ["dicom"]
        assert not (here.settings.work / Stage.of(here.key(), 3, collection).file).exists()
    assert len(list(here.storage.list_blobs(here.settings.bucket))) == 2

    write_manifest(here)
    for collection, batch_id in ((here.collection, mine), (other, theirs)):
        (name,) = objects.names(here.storage, here.settings.bucket, manifest_folder(collection))
        held = json.loads(here.storage.bucket(here.settings.bucket).blob(name).download_as_text())
        assert held["collection"] == collection
        assert [entry["batch"] for entry in held["batches"]] == [batch_id]


@pytest.mark.parametrize(
    "changed", [{"study": "beta"}, {"collection": "beta"}, {"study": "beta", "collection": "beta"}]
)
def test_an_archive_that_was_made_for_another_study_does_not_go_up(here, changed):
    good, bad = here.batch(1), here.batch(2)
    with here.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == bad).values(**changed))
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"{bad}: .*was made for study study and"):
        here.run("confirm", lane)
    assert here.agrees(good)
    assert here.ledger.delivery(bad).object not in here.delivered()
    assert here.ledger.batch(bad).status is Status.ERROR


def test_a_collection_of_another_ledger_takes_nothing_and_others_go_on(here, tmp_path):
    other = f"{here.collection}_other"
    stranger = Ledger(f"sqlite:///{tmp_path}/stranger.db")
    keys = here.settings.keys()
    Feed(
        stranger, here.storage, here.settings.bucket, other,
        feeder_of(stranger, keys, "local", "study", IdentityRules()),
    ).count()  # fmt: skip
    mine, theirs = here.batch(1), here.batch(1001, collection=other)
    lane = lane_with(mine, theirs)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{theirs}: .*fed by another: ledger"):
        here.run("confirm", lane)
    assert here.agrees(mine)
    assert here.ledger.delivery(theirs).generation is None
    assert not objects.names(here.storage, here.settings.bucket, f"Collection/{other}/Entity/")
    with pytest.raises(AirflowFailException, match="fed by another"):
        here.run("archives", lane_with(theirs))
    stranger.close()


def test_a_run_s_end_is_counted_too(here, delivered):
    held = remembered(here.storage, here.settings.bucket, here.collection)
    assert held.counter == here.ledger.feed(here.settings.bucket, here.collection) == 1
    assert verdict(here).feeder == held


def test_the_provider_s_operators_ran(here):
    here.run_all(lane_with(here.batch(1)))
    assert here.pushed["bigquery_table"]["table_id"]


@pytest.mark.parametrize("step", ["archives", "stage", "load", "merge", "confirm"])
def test_any_task_cleared_alone_after_the_end_changes_nothing(here, step):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    here.run_all(lane)
    Workspace(here.settings.work, batch_id).remove()  # as cleanup does
    before = here.delivered(), here.ledger.delivery(batch_id)
    here.run(step, lane)
    assert (here.delivered(), here.ledger.delivery(batch_id)) == before
    assert here.agrees(batch_id)
    assert here.tables() == ["dicom"]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_lane_that_stopped_anywhere_is_finished_by_clearing_its_start(here, stop):
    ids = [here.batch(number) for number in range(2)]
    lane = lane_with(*ids)
    for step in ("archives", "stage", "load", "merge")[:stop]:
        here.run(step, lane)
    here.run_all(lane)
    assert all(here.agrees(batch_id) for batch_id in ids)
    assert here.tables() == ["dicom"]


@pytest.mark.parametrize("step", ["archives", "stage", "load", "merge"])
def test_every_step_may_run_twice(here, step):
    batch_id = here.batch(1)
    for each in ("archives", "stage", "load", "merge", "confirm"):
        here.run(each, lane_with(batch_id))
        if each == step:
            here.run(each, lane_with(batch_id))
    assert here.agrees(batch_id)


def test_one_archive_that_cannot_go_stops_no_other_and_fails_the_lane(here):
    good, bad = here.batch(1), here.batch(2)
    here.storage.bucket(here.settings.bucket).blob(
        here.ledger.delivery(bad).object
    ).upload_from_string(b"something else")
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: .*another archive") as raised:
        here.run("confirm", lane)
    assert good not in str(raised.value)
    assert here.agrees(good)
    batch = here.ledger.batch(bad)
    assert batch.status is Status.ERROR
    assert batch.errors[0]["stage"] == "upload task"
    assert here.tables() == ["dicom"]

    # Mended, and the lane's archives cleared with what follows.
    here.storage.bucket(here.settings.bucket).delete_blob(here.ledger.delivery(bad).object)
    here.run_all(lane)
    assert here.agrees(bad)
    assert here.agrees(good)
    assert not here.ledger.batch(bad).has_error


def header_of(here, batch_id, header):
    """Put another header where anonymize left one."""
    workspace = Workspace(here.settings.work, batch_id)
    workspace.write(RESULT, workspace.read(RESULT) | {"header": header})


def test_a_number_that_json_has_not_fails_nobody(here):
    ids = [here.batch(number) for number in range(3)]
    header_of(here, ids[1], HEADER | {"SliceThickness": float("nan"), "B": [float("inf"), 1]})
    here.run_all(lane_with(*ids))
    assert all(here.agrees(batch_id) for batch_id in ids)


@pytest.mark.parametrize(
    "result", ['{"study": "study"', "[]", '{"header": "\udcff"}', '{"header": 3}', "[" * 100_000]
)
def test_a_batch_whose_row_cannot_be_made_stops_no_other(here, result):
    good, bad, last = (here.batch(number) for number in range(3))
    lane = lane_with(good, bad, last)
    here.run("archives", lane)
    text = result.encode("utf-8", "surrogateescape")
    (Workspace(here.settings.work, bad).folder / RESULT).write_bytes(text)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}"):
        here.run("confirm", lane)
    assert here.agrees(good) and here.agrees(last)
    # Taken back, and said so: nothing of it is delivered.
    assert here.ledger.delivery(bad).object not in here.delivered()
    batch = here.ledger.batch(bad)
    assert batch.status is Status.ERROR
    assert batch.tally == {
        "received": 1, "delivered": 0, "filtered": 0, "quarantined": 0, "duplicate": 0,
        "undelivered": 1,
    }  # fmt: skip


def test_a_row_that_bigquery_does_not_take_fails_its_batch_only(here, monkeypatch):
    good, bad = here.batch(1), here.batch(2)
    lane = lane_with(good, bad)
    here.run("archives", lane)
    (part,) = google.lane_work(lane).parts()
    lines = part.rows_file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    # Whatever it is that BigQuery finds wrong with a row, it leaves it out (max_bad_records).
    assert upload.load_arguments(part)["max_bad_records"] >= 1000
    part.rows_file.write_bytes(b"".join(line for line in lines if bad.encode() not in line))
    for step in ("stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: 0 rows"):
        here.run("confirm", lane)
    assert here.agrees(good)


@pytest.mark.parametrize("error", [ValueError("MRN7"), RecursionError(), KeyError("MRN7")])
def test_a_fault_that_one_batch_brings_out_stays_with_it(here, monkeypatch, error):
    good, bad, last = (here.batch(number) for number in range(3))
    real = {"deliver": objects.deliver, "find": objects.find}
    name = here.ledger.delivery(bad).object

    def deliver(client, delivery, archive, **options):
        if delivery.batch_id == bad:
            raise error
        return real["deliver"](client, delivery, archive, **options)

    monkeypatch.setattr(objects, "deliver", deliver)
    lane = lane_with(good, bad, last)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}") as raised:
        here.run("confirm", lane)
    assert "MRN7" not in str(raised.value)
    assert here.agrees(good) and here.agrees(last)

    monkeypatch.setattr(objects, "deliver", real["deliver"])

    def find(client, bucket, asked):
        if asked == name:
            raise error
        return real["find"](client, bucket, asked)

    again = here.batch(4)
    lane = lane_with(again, bad)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    monkeypatch.setattr(objects, "find", find)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}") as raised:
        here.run("confirm", lane)
    assert "MRN7" not in str(raised.value)
    assert here.agrees(again)


def test_what_cannot_be_confirmed_now_is_asked_again_after_all_others(here, monkeypatch):
    good, away, bad = (here.batch(number) for number in range(3))
    lane = lane_with(away, bad, good)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    here.storage.bucket(here.settings.bucket).delete_blob(here.ledger.delivery(bad).object)
    real, name = objects.find, here.ledger.delivery(away).object

    def find(client, bucket, asked):
        if asked == name:
            raise RetryLater("Cloud Storage answered 503 for bucket x")
        return real(client, bucket, asked)

    monkeypatch.setattr(objects, "find", find)
    with pytest.raises(RetryLater, match=r"1 batches cannot be confirmed now: .*503"):
        here.run("confirm", lane)
    assert here.agrees(good)
    assert here.ledger.batch(away).status is Status.DONEPROCESSING
    monkeypatch.setattr(objects, "find", real)
    with pytest.raises(AirflowFailException, match=f"1 of 3 .*{bad}: its object in the bucket"):
        here.run("confirm", lane)
    assert here.agrees(away)


@pytest.mark.parametrize("step", ["stage", "load", "merge"])
def test_a_collection_whose_rows_do_not_get_in_stops_no_other(here, monkeypatch, step):
    other = f"{here.collection}_other"
    mine, theirs = here.batch(1), here.batch(1001, collection=other)
    lane = lane_with(mine, theirs)
    real = google.GoogleOperator._run

    def run(self, part, context):
        if part.stage.collection == here.collection:
            raise RetryLater("BigQuery answered 503")
        real(self, part, context)

    here.run("archives", lane)
    for each in ("stage", "load", "merge"):
        if each == step:
            with monkeypatch.context() as patch, pytest.raises(RetryLater, match="503"):
                patch.setattr(google.GoogleOperator, "_run", run)
                here.run(each, lane)
        else:
            # What follows fails for the collection that was not brought in, and for it alone.
            with suppress(Exception):
                here.run(each, lane)
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{mine}"):
        here.run("confirm", lane)
    assert here.agrees(theirs)


def test_the_same_bytes_of_another_generation_are_not_the_delivery(here):
    """Somebody put them there anew: the row describes an object that is gone."""
    good, bad = here.batch(1), here.batch(2)
    lane = lane_with(good, bad)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    delivery = here.ledger.delivery(bad)
    blob = here.storage.bucket(here.settings.bucket).blob(delivery.object)
    content = blob.download_as_bytes()
    blob.upload_from_string(content, content_type="application/gzip")
    there = objects.find(here.storage, here.settings.bucket, delivery.object)
    assert there.holds(delivery) and there.generation != delivery.generation
    with pytest.raises(AirflowFailException, match=f"1 of 2 .*{bad}: its object in the bucket"):
        here.run("confirm", lane)
    assert here.agrees(good)
    assert here.ledger.batch(bad).status is Status.ERROR


def test_a_store_that_is_away_is_tried_again_and_then_named(here, monkeypatch):
    lost, good = here.batch(1), here.batch(2)
    real = objects.deliver

    def deliver(client, delivery, archive, **options):
        if delivery.batch_id == lost:
            raise RetryLater("Cloud Storage answered 503 for bucket x")
        return real(client, delivery, archive, **options)

    monkeypatch.setattr(objects, "deliver", deliver)
    lane = lane_with(lost, good)
    with pytest.raises(RetryLater, match=r"1 of 2 archives: .*503"):
        here.run("archives", lane)
    assert here.ledger.batch(lost).status is Status.DONEPROCESSING
    here.tries = (6, 5)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    with pytest.raises(AirflowFailException, match=f"{lost}: .*503"):
        here.run("confirm", lane)
    assert here.agrees(good)
    assert here.ledger.batch(lost).status is Status.ERROR


def test_a_missing_bucket_stops_the_lane_before_anything_goes_up(here):
    batch_id = here.batch(1)
    here.storage.bucket(here.settings.bucket).delete()
    with pytest.raises(AirflowFailException, match="SENDIT_BUCKET"):
        here.run("archives", lane_with(batch_id))
    assert here.ledger.batch(batch_id).status is Status.ERROR
    with pytest.raises(AirflowFailException, match="SENDIT_BUCKET"):
        here.run("confirm", lane_with(batch_id))


def test_no_connection_is_named(here, monkeypatch):
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
def test_a_key_file_that_is_not_one_is_named(  # noqa: PLR0917
    here, monkeypatch, tmp_path, content, kind, match
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


def test_batches_that_are_not_this_run_s_or_not_ready_are_left_alone(here):
    taken, processing, failed, gone = (here.batch(number) for number in range(4))
    here.claim(taken, "another run")
    here.ledger.record(processing, status=Status.PROCESSING)
    task_context.fail_batch(failed, "anonymize", "no image could be de-identified")
    here.ledger.record(gone, status=Status.EMPTY)
    lane = lane_with(taken, processing, failed, gone)
    before = [here.ledger.batch(batch_id) for batch_id in lane["batches"]]
    here.run_all(lane)
    assert [here.ledger.batch(batch_id) for batch_id in lane["batches"]] == before
    assert not list(here.storage.list_blobs(here.settings.bucket))


def test_what_the_report_marked_after_a_kill_is_delivered_when_cleared(here):
    batch_id = here.batch(1)
    task_context.fail_batch(batch_id, "run", "the run ended while it was DONEPROCESSING")
    here.run_all(lane_with(batch_id))
    assert here.agrees(batch_id)
    assert not here.ledger.batch(batch_id).has_error


def test_what_import_found_stays_on_a_batch_that_is_done(here):
    from sendit.batch import BatchError

    batch_id = here.batch(1)
    here.ledger.record(batch_id, errors=[BatchError("import", "truncated")], stage="import")
    here.run_all(lane_with(batch_id))
    assert here.agrees(batch_id)
    assert here.ledger.batch(batch_id).has_error


def test_an_object_that_went_away_is_not_called_delivered(here):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    here.storage.bucket(here.settings.bucket).delete_blob(here.ledger.delivery(batch_id).object)
    with pytest.raises(AirflowFailException, match="not the one delivered"):
        here.run("confirm", lane)
    assert here.ledger.batch(batch_id).status is Status.ERROR
    here.run_all(lane)
    assert here.agrees(batch_id)


def test_the_failures_that_delivery_takes_back_are_spelled_as_the_tasks_spell_them():
    assert {task_context.failure_stage("upload"), task_context.failure_stage("run")} == set(
        OWN_FAILURES
    )


def test_rendered_fields_and_labels_are_opaque(here):
    assert google.GoogleOperator.template_fields == ("lane",)


def test_a_lost_rows_file_says_what_to_clear(here):
    lane = lane_with(here.batch(1))
    here.run("archives", lane)
    here.settings.work.joinpath(Stage.of(here.key(), 3, here.collection).file).unlink()
    with pytest.raises(AirflowFailException, match="clear the archives task"):
        here.run("stage", lane)


def test_the_archive_is_read_from_the_working_folder_only(here):
    batch_id = here.batch(1)
    Path(Workspace(here.settings.work, batch_id).archive).unlink()
    here.run("archives", lane_with(batch_id))
    assert "clear the import task" in here.ledger.batch(batch_id).errors[0]["reason"]


def revise(here: Site, batch_id: str) -> None:
    with here.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == batch_id).values(revise=True))


@pytest.mark.parametrize("day", ["20100209", "20100210"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_revision_replaces_object_and_row(here, day, stop):
    first = here.batch(1)
    here.run_all(lane_with(first))
    before = here.ledger.delivery(first)
    second = here.batch(2, archived=False)
    revise(here, second)
    here.archive(second, 1, b"another image", day=day)
    for step in ("archives", "stage", "load", "merge")[:stop]:
        here.run(step, lane_with(second))
    here.run_all(lane_with(second))
    assert here.agrees(second)
    assert len(here.delivered()) == 1
    held = here.ledger.delivery(second)
    assert held.revision == 2
    assert held.generation != before.generation
    assert here.ledger.delivery(first).superseded_by == second
    assert [entry.event for entry in here.ledger.history(first)] == ["delivered", "superseded"]


@pytest.mark.parametrize("day", ["20100209", "20100210"])
def test_a_revision_also_replaces_an_object_that_was_rewritten(here, day):
    first, second = here.batch(1), here.batch(2, archived=False)
    here.run_all(lane_with(first))
    rewrite(here, first)
    revise(here, second)
    here.archive(second, 1, b"another image", day=day)
    here.run_all(lane_with(second))
    assert here.agrees(second)
    assert len(here.delivered()) == 1


def test_what_does_not_agree_is_taken_back(here):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    here.run("archives", lane)
    with pytest.raises(AirflowFailException, match="0 rows in BigQuery"):
        here.run("confirm", lane)
    assert here.delivered() == {}
    assert here.ledger.delivery(batch_id).generation is None
    assert here.ledger.batch(batch_id).status is Status.ERROR
    here.run_all(lane)
    assert here.agrees(batch_id)
    assert [entry.event for entry in here.ledger.history(batch_id)] == ["retracted", "delivered"]


def test_archives_that_nothing_would_follow_are_not_delivered(here):
    batch_id = here.batch(1)
    here.state = "failed"  # confirm's: archives was cleared alone
    with pytest.raises(AirflowFailException, match="cleared alone"):
        here.run("archives", lane_with(batch_id))
    assert not list(here.storage.list_blobs(here.settings.bucket))
    here.state = None
    here.run_all(lane_with(batch_id))
    here.state = "success"
    here.run("archives", lane_with(batch_id))
    assert here.agrees(batch_id)


def test_two_rows_are_never_left(here):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    here.bigquery.query(
        f"INSERT INTO `{here.collection}.dicom` SELECT * FROM `{here.collection}.dicom`"
    ).result()
    with pytest.raises(AirflowFailException, match="2 rows in BigQuery"):
        here.run("confirm", lane)
    assert here.delivered() == {}
    here.run_all(lane)
    assert here.agrees(batch_id)


def verdict(here: Site, run_id: str | None = None):
    from sendit.delivery.verify import verify_collection, verify_run

    where = (here.storage, here.bigquery, here.settings.bucket, here.collection)
    return verify_run(*where, run_id) if run_id else verify_collection(*where)


def withdraw(here: Site, batch_id: str) -> None:
    from sendit.delivery.withdraw import withdraw as take_away

    take_away(here.ledger, here.storage, here.bigquery, batch_id, "the committee asked for it")


def write_manifest(here: Site) -> None:
    upload.manifest.function()


@pytest.fixture
def delivered(here):
    """Two batches that are delivered, and the manifest written."""
    ids = [here.batch(number) for number in range(2)]
    here.run_all(lane_with(*ids))
    write_manifest(here)
    return ids


def test_what_was_delivered_is_verified(here, delivered):
    for found in (verdict(here), verdict(here, RUN)):
        assert found.differences == []
        assert (found.manifests, found.archives) == (1, 2)


def test_the_manifest_is_the_same_whenever_it_is_written(here, delivered):
    before = here.delivered()
    write_manifest(here)
    assert here.delivered() == before
    (name,) = (n for n in before if "Manifest" in n)
    text = here.storage.bucket(here.settings.bucket).blob(name).download_as_text()
    manifest = json.loads(text)
    assert manifest["totals"] == {
        "received": 2, "delivered": 2, "filtered": 0, "quarantined": 0, "duplicate": 0,
        "undelivered": 0,
    }  # fmt: skip
    assert {entry["batch"] for entry in manifest["batches"]} == set(delivered)
    assert all(entry["archive"]["state"] == "delivered" for entry in manifest["batches"])


@pytest.mark.parametrize(
    ("harm", "said"),
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
def test_every_difference_is_found(here, delivered, harm, said):
    name = here.ledger.delivery(delivered[0]).object
    bucket = here.storage.bucket(here.settings.bucket)
    table = f"`{here.collection}.dicom`"
    extra = f"Collection/{here.collection}/Entity/x/x_nodate_y.tar.gz"
    if harm == "object gone":
        bucket.delete_blob(name)
    elif harm == "object other":
        bucket.blob(name).upload_from_string(b"other")
    elif harm == "object too many":
        bucket.blob(extra).upload_from_string(b"other")
    else:
        here.bigquery.query(
            {
                "row gone": f"DELETE FROM {table} WHERE name = '{name}'",
                "row twice": f"INSERT INTO {table} SELECT * FROM {table} WHERE name = '{name}'",
                "row other": f"UPDATE {table} SET size = 1 WHERE name = '{name}'",
                "row too many": f"INSERT INTO {table} SELECT * REPLACE ('{extra}' AS name) "
                f"FROM {table} WHERE name = '{name}'",
            }[harm]
        ).result()
    where = extra if "too many" in harm else name
    (found,) = verdict(here).differences
    assert found.where == where
    assert found.what.startswith(said)
    assert verdict(here, RUN).agrees == ("too many" in harm)


def test_a_run_that_another_ledger_delivered_is_found(here, delivered):
    bucket = here.storage.bucket(here.settings.bucket)
    (name,) = objects.names(here.storage, here.settings.bucket, manifest_folder(here.collection))
    manifest = json.loads(bucket.blob(name).download_as_text())
    bucket.blob(name).upload_from_string(json.dumps(manifest | {"ledger": "0123456789abcdef"}))
    (found,) = verdict(here).differences
    assert found.where == RUN
    assert "with the ledger 0123456789abcdef, which the collection does not know" in found.what


def test_a_withdrawn_batch_is_gone_and_remembered(here, delivered):
    for _ in range(2):
        withdraw(here, delivered[0])
    name = here.ledger.delivery(delivered[0]).object
    assert name not in here.delivered()
    assert here.agrees(delivered[1])
    assert verdict(here).differences == []
    last = here.ledger.history(delivered[0])[-1]
    assert (last.event, last.note) == ("withdrawn", "the committee asked for it")
    assert here.ledger.delivery(delivered[0]).withdrawn_at is not None

    # Queued again, it is delivered as the next revision.
    here.ledger.requeue(delivered[0])
    here.claim(delivered[0], RUN)
    here.ledger.start(delivered[0])
    here.archive(delivered[0], 0, b"under another recipe")
    here.run_all(lane_with(delivered[0]))
    write_manifest(here)
    assert here.agrees(delivered[0])
    assert here.ledger.delivery(delivered[0]).revision == 2
    assert verdict(here).differences == []


def test_what_cannot_be_withdrawn_says_why(here, delivered):
    new = here.batch(7)
    with pytest.raises(FailBatch, match="delivered nothing"):
        withdraw(here, new)
    here.ledger.mark_duplicate_of(new, delivered[0])
    with pytest.raises(FailBatch, match=f"as batch {delivered[0]}, which delivered it"):
        withdraw(here, new)
    here.ledger.supersede(delivered[0], delivered[1])
    with pytest.raises(FailBatch, match=f"replaced by batch {delivered[1]}"):
        withdraw(here, delivered[0])


def test_a_run_without_a_manifest_says_so(here):
    write_manifest(here)
    with pytest.raises(FailBatch, match="no manifest"):
        verdict(here, RUN)
    assert verdict(here).agrees


def test_a_revision_in_a_later_run_also_corrects_the_earlier_manifest(here, delivered):
    from sendit.delivery.manifest import manifests_of
    from sendit.delivery.manifest import write_manifests as write

    second = here.batch(9, archived=False)
    revise(here, second)
    here.archive(second, 0, b"another image")
    here.run_all(lane_with(second))
    here.claim(second, "a later run")
    write(here.ledger, here.storage, here.settings.bucket, "a later run")
    assert verdict(here).differences == []
    assert verdict(here).manifests == 2
    states = {
        entry["batch"]: entry["archive"]["state"]
        for entry in manifests_of(here.ledger, RUN)[0]["batches"]
    }
    assert states == {delivered[0]: "superseded", delivered[1]: "delivered"}


def test_a_bucket_that_was_changed_in_mid_run_gets_no_record_of_the_other_s(here, monkeypatch):
    batch_id, old = here.batch(1), here.settings.bucket
    here.run_all(lane_with(batch_id))
    other = f"{old}-other"
    here.storage.create_bucket(other)
    changed = here.settings.model_copy(update={"bucket": other})
    for module in (google, upload, task_context):
        monkeypatch.setattr(module, "settings", lambda: changed)
    write_manifest(here)
    assert verdict(here).agrees
    assert verdict(here).archives == 1
    assert objects.names(here.storage, other, "Collection/") == []


def rewrite(here: Site, batch_id: str) -> None:
    """Write a batch's object again with the same bytes, as for another key or storage class."""
    blob = here.storage.bucket(here.settings.bucket).blob(here.ledger.delivery(batch_id).object)
    blob.upload_from_string(blob.download_as_bytes(), content_type="application/gzip")


@pytest.fixture
def kept(here, emulators, monkeypatch) -> Iterator[Bucket]:
    """What the site's bucket keeps: nothing yet, over HTTP, with Google's answers."""
    server = KeepingStorage(emulators.storage)
    server.buckets[here.settings.bucket] = Bucket()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    here.storage = google.storage_client()
    yield server.buckets[here.settings.bucket]
    server.close()


def test_an_archive_that_was_rewritten_is_withdrawn_all_the_same(here, delivered):
    rewrite(here, delivered[0])
    withdraw(here, delivered[0])
    name = here.ledger.delivery(delivered[0]).object
    assert name not in here.delivered()
    assert verdict(here).differences == []


def test_what_came_back_after_a_withdrawal_is_withdrawn_again(here, delivered):
    name = here.ledger.delivery(delivered[0]).object
    blob = here.storage.bucket(here.settings.bucket).blob(name)
    data = blob.download_as_bytes()
    withdraw(here, delivered[0])
    blob.upload_from_string(data)
    withdraw(here, delivered[0])
    assert name not in here.delivered()
    assert [e.event for e in here.ledger.history(delivered[0])] == ["delivered", "withdrawn"]


def test_other_bytes_under_its_name_are_not_deleted(here, delivered):
    name = here.ledger.delivery(delivered[0]).object
    here.storage.bucket(here.settings.bucket).blob(name).upload_from_string(b"other")
    before = here.delivered()
    with pytest.raises(FailBatch, match="different bytes"):
        withdraw(here, delivered[0])
    assert here.delivered() == before
    assert here.ledger.delivery(delivered[0]).withdrawn_at is None


@pytest.mark.parametrize("why", ["retention", "temporary", "event_based"])
@pytest.mark.parametrize("describes", [True, False])
def test_what_the_bucket_keeps_is_not_half_withdrawn(here, kept, delivered, describes, why):
    before = here.delivered()
    name = here.ledger.delivery(delivered[0]).object
    setattr(kept, why, timedelta(days=1) if why == "retention" else {name})
    kept.describes = describes
    with pytest.raises(FailBatch, match=r"under (retention until|a retention policy|an?.* hold)"):
        withdraw(here, delivered[0])
    assert here.delivered() == before
    assert here.ledger.delivery(delivered[0]).withdrawn_at is None
    assert here.ledger.batch(delivered[0]).status is Status.DONE
    assert verdict(here).agrees


@pytest.mark.parametrize("day", ["20100209", "20100210"])
def test_a_revision_does_not_begin_if_the_bucket_keeps_the_earlier_archive(here, kept, day):
    first, second = here.batch(1), here.batch(2, archived=False)
    here.run_all(lane_with(first))
    with here.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == second).values(revise=True))
    here.archive(second, 1, b"another image", day=day)
    before = here.delivered()
    kept.retention = timedelta(days=1)
    here.run("archives", lane_with(second))
    assert here.delivered() == before
    assert "under retention until" in here.ledger.batch(second).errors[0]["reason"]
    assert here.agrees(first)


def test_a_hold_that_comes_before_the_upload_fails_the_revision_alone(here, kept):
    first, second, third = here.batch(1), here.batch(2, archived=False), here.batch(3)
    here.run_all(lane_with(first))
    with here.ledger._begin() as db:
        db.execute(batches.update().where(batches.c.id == second).values(revise=True))
    here.archive(second, 1, b"another image")
    kept.temporary, kept.describes = {here.ledger.delivery(first).object}, False
    here.run("archives", lane_with(second, third))
    assert "lets nobody replace it" in here.ledger.batch(second).errors[0]["reason"]
    for step in ("stage", "load", "merge"):
        here.run(step, lane_with(second, third))
    with pytest.raises(AirflowFailException, match=f"1 of 2 batches.*{second}"):
        here.run("confirm", lane_with(second, third))
    assert here.agrees(first)
    assert here.agrees(third)


def test_a_bucket_with_a_retention_policy_is_delivered_to(here, kept, monkeypatch, caplog):
    kept.retention = timedelta(days=1)
    batch_id = here.batch(1)
    here.run_all(lane_with(batch_id))
    write_manifest(here)
    assert here.agrees(batch_id)
    # The rows' file stays, which neither this run nor a later one takes for a failure ...
    stage = Stage.of(here.key(), 3, here.collection).object
    clean_in_a_later_run(here, monkeypatch)
    assert stage in here.delivered()
    assert caplog.text.count(f"{stage} remains in bucket") == 2
    assert here.tables() == ["dicom"]
    # ... and goes when the bucket gives it up.
    kept.retention = None
    clean_in_a_later_run(here, monkeypatch)
    assert stage not in here.delivered()
    assert here.agrees(batch_id)


@pytest.mark.parametrize(
    ("switched_on", "said"),
    [("versioning", "kept by object versioning"), ("soft_delete", "kept by soft delete")],
)
def test_what_remains_of_a_withdrawn_archive_is_said(here, kept, delivered, switched_on, said):
    from sendit.delivery.withdraw import withdraw as take_away

    setattr(kept, switched_on, True)
    generation = here.ledger.delivery(delivered[0]).generation
    left = take_away(here.ledger, here.storage, here.bigquery, delivered[0], "asked for")
    assert len(left) == 1
    assert left[0].endswith(f"{said}: generation {generation}")


LATER = "a later run"


def clean_in_a_later_run(here: Site, monkeypatch: pytest.MonkeyPatch, *active: str) -> None:
    """Run cleanup as a task of another run; ``active`` runs go on beside it."""
    from sendit.tasks import finish

    context = here.context(LATER)
    context["ti"].get_dr_count = lambda **asked: int(asked["run_ids"][0] in {LATER, *active})
    for name in ("storage_client", "bigquery_client"):
        monkeypatch.setattr(finish, name, getattr(clients, name))
    monkeypatch.setattr(finish, "ledger", lambda: here.ledger)
    monkeypatch.setattr(finish, "settings", lambda: here.settings)
    monkeypatch.setattr(task_context, "get_current_context", lambda: context)
    finish.cleanup.function()
    monkeypatch.setattr(task_context, "get_current_context", here.context)


@pytest.mark.parametrize("stopped_after", ["archives", "stage", "load", "merge"])
@pytest.mark.parametrize("status", [Status.EMPTY, Status.ERROR])
def test_a_later_run_removes_what_an_ended_run_left_in_the_stores(
    here, monkeypatch, stopped_after, status
):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    steps = ["archives", "stage", "load", "merge"]
    for step in steps[: steps.index(stopped_after) + 1]:
        here.run(step, lane)
    here.ledger.record(batch_id, status=status)
    before = here.delivered(), here.tables()
    clean_in_a_later_run(here, monkeypatch, RUN)
    assert (here.delivered(), here.tables()) == before  # that run may go on
    clean_in_a_later_run(here, monkeypatch)
    assert here.delivered() == {}
    assert here.tables() == ["dicom"]
    assert not list(here.settings.work.glob("lanes/*"))


def test_an_upload_whose_answer_was_lost_is_known(here, monkeypatch):
    batch_id = here.batch(1)
    deliver = objects.deliver

    def lose(*args, **kwargs):
        deliver(*args, **kwargs)
        raise RetryLater("the answer was lost")

    monkeypatch.setattr(objects, "deliver", lose)
    with pytest.raises(RetryLater, match="lost"):
        here.run("archives", lane_with(batch_id))
    monkeypatch.setattr(objects, "deliver", deliver)
    # Made anew with other bytes, it takes the place of what was sent before ...
    here.ledger.start(batch_id)
    here.archive(batch_id, 1, b"other images", day="20100210")
    here.run_all(lane_with(batch_id))
    assert here.agrees(batch_id)
    # ... and nothing else lies there.
    assert list(here.delivered()) == [here.ledger.delivery(batch_id).object]


def test_a_task_of_a_run_that_lost_its_batch_changes_nothing(here, monkeypatch):
    batch_id = here.batch(1)
    lane = lane_with(batch_id)
    deliver = objects.deliver

    def late(*args, **kwargs):
        there = deliver(*args, **kwargs)
        here.claim(batch_id, LATER)  # another run takes the batch while it is sent
        return there

    monkeypatch.setattr(objects, "deliver", late)
    here.run("archives", lane)
    for step in ("stage", "load", "merge", "confirm"):
        here.run(step, lane)
    batch, delivery = here.ledger.batch(batch_id), here.ledger.delivery(batch_id)
    assert (batch.status, batch.errors) == (Status.DONEPROCESSING, [])
    assert delivery.generation is None
    assert len(here.delivered()) == 1  # the other run finds its bytes there


def test_a_batch_that_is_imported_again_while_it_is_confirmed_is_not_done(here, monkeypatch):
    one, other = here.batch(1), here.batch(2)
    lane = lane_with(one, other)
    for step in ("archives", "stage", "load", "merge"):
        here.run(step, lane)
    find = objects.find

    def cleared(client, bucket, name):
        if name == here.ledger.delivery(one).object:  # a person clears its import meanwhile
            here.ledger.start(one)
            here.ledger.record(one, status=Status.PROCESSING, counts=Counts(received=1))
        return find(client, bucket, name)

    monkeypatch.setattr(objects, "find", cleared)
    here.run("confirm", lane)
    assert here.ledger.batch(one).status is Status.PROCESSING
    assert here.ledger.batch(other).status is Status.DONE
    assert len(here.delivered()) == 2  # the next run finds its bytes there


@pytest.fixture
def with_images(here, monkeypatch):
    """Two batches whose archives hold images that came out of the engine, delivered."""
    from sendit.deidentify import study

    data = {number: to_bytes(make_dataset(number, 1, 1, 1)) for number in range(2)}
    ids = []
    for number in range(2):
        monkeypatch.setattr(sys.modules[__name__], "HEADER", study.searchable(data[number]))
        ids.append(here.batch(number, data[number]))
    here.run_all(lane_with(*ids))
    write_manifest(here)
    return ids


def repair(here: Site) -> dict[str, Exception]:
    from sendit.delivery.repair import repair as load_again

    compared = verdict(here).compared
    return load_again(here.ledger, here.storage, here.bigquery, compared, location="US")


def all_rows(here: Site) -> list[tuple[Any, ...]]:
    query = f"SELECT * FROM `{here.collection}.dicom` ORDER BY name"
    return [tuple(row.values()) for row in here.bigquery.query(query).result()]


@pytest.mark.parametrize("harm", ["table gone", "row gone", "row twice", "row other", "all gone"])
def test_rows_are_loaded_again_exactly_once(here, with_images, harm):
    before = all_rows(here)
    name = here.ledger.delivery(with_images[0]).object
    table = f"`{here.collection}.dicom`"
    if harm == "table gone":
        here.bigquery.delete_table(f"{PROJECT}.{here.collection}.dicom")
        assert "there is no such table" in str(verdict(here).differences[0])
    else:
        here.bigquery.query(
            {
                "row gone": f"DELETE FROM {table} WHERE name = '{name}'",
                "row twice": f"INSERT INTO {table} SELECT * FROM {table} WHERE name = '{name}'",
                "row other": f"UPDATE {table} SET size = 1 WHERE name = '{name}'",
                "all gone": f"DELETE FROM {table} WHERE true",
            }[harm]
        ).result()
    assert not verdict(here).agrees
    for _ in range(2):
        assert repair(here) == {}
        assert verdict(here).agrees
        assert all_rows(here) == before
    assert here.tables() == ["dicom"]


def test_an_object_that_was_rewritten_is_described_anew(here, with_images):
    rewrite(here, with_images[0])
    assert not verdict(here).agrees
    assert repair(here) == {}
    assert verdict(here).agrees
    assert verdict(here, RUN).agrees
    assert here.agrees(with_images[0])


def test_what_no_ledger_knows_is_not_described_anew(here, with_images):
    rewrite(here, with_images[0])
    here.ledger.put_withdrawn(with_images[0], "elsewhere")
    (failure,) = repair(here).values()
    assert "run this where its ledger is" in str(failure)


def test_an_archive_with_other_bytes_gets_no_row_and_has_a_way_out(here, with_images):
    name = here.ledger.delivery(with_images[0]).object
    blob = here.storage.bucket(here.settings.bucket).blob(name)
    blob.upload_from_string(b"other")
    assert repair(here) == {}
    assert not verdict(here).agrees
    with pytest.raises(FailBatch, match="delete it here, then run the command again"):
        withdraw(here, with_images[0])
    blob.delete()
    withdraw(here, with_images[0])
    here.ledger.requeue(with_images[0])
    here.claim(with_images[0], RUN)
    here.ledger.start(with_images[0])
    here.archive(with_images[0], 0, b"the study again")
    here.run_all(lane_with(with_images[0]))
    write_manifest(here)
    assert verdict(here).agrees
    assert here.ledger.delivery(with_images[0]).revision == 2


def test_an_archive_that_holds_no_image_is_named(here, delivered):
    with pytest.raises(FailBatch, match="is not an archive of images"):
        from sendit.delivery.repair import first_header

        blob = here.storage.bucket(here.settings.bucket).blob("x.tar.gz")
        blob.upload_from_string(b"no archive")
        first_header(here.storage, objects.find(here.storage, here.settings.bucket, "x.tar.gz"))
