"""Which ledger may deliver to a collection, tested against an emulator of Cloud Storage."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sendit.delivery import objects
from sendit.delivery.feeder import Feed, Feeder, feeder_folder, feeder_of, remembered
from sendit.errors import Misconfigured
from sendit.identifiers.identity import IdentityRules
from sendit.keys import Keys
from sendit.ledger import BatchParams, Delivery, Ledger

COLLECTION = "IRB1"
OTHER_KEYS = Keys(b"another secret, of 32 bytes or more")


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[Callable[[str], Ledger]]:
    """Open ledgers by name; a copy of the file serves as a backup."""
    made = []

    def make(name: str) -> Ledger:
        made.append(Ledger(f"sqlite:///{tmp_path}/{name}/ledger.db"))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


@pytest.fixture
def feed(storage_client, bucket, keys) -> Callable[..., Feed]:
    def make(
        ledger: Ledger,
        by: Keys = keys,
        identifiers: str = "local",
        study: str = "test",
        project: str | None = None,
        **sources: dict[str, str],
    ) -> Feed:
        rules = IdentityRules(**sources)
        feeder = feeder_of(ledger, by, identifiers, study, rules, project=project)
        return Feed(ledger, storage_client, bucket, COLLECTION, feeder)

    return make


def put_archive(feed: Feed, name: str = "p/p_nodate_s.tar.gz") -> str:
    full = f"Collection/{COLLECTION}/Entity/{name}"
    feed.client.bucket(feed.bucket).blob(full).upload_from_string(b"archive")
    return full


def test_first_ledger_to_deliver_becomes_the_feeder(open_ledger, feed):
    own = feed(open_ledger("mine"))
    assert own.check() is None
    for count in (1, 2, 3):
        own.count()
        record = own.check()
        assert (record.feeder, record.counter) == (own.feeder, count)
    # Only the latest counter object is kept.
    assert len(objects.names(own.client, own.bucket, feeder_folder(COLLECTION))) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ledger": "empty"}, "ledger "),
        ({"by": OTHER_KEYS}, "key "),
        ({"identifiers": "dasher"}, "identifier service local, here dasher"),
        ({"study": "other"}, "study test, here other"),
        ({"project": "another"}, "project of the rows p, here another"),
    ],
)
def test_delivery_with_another_ledger_key_service_or_study_is_refused(
    open_ledger, feed, changed, message
):
    own = open_ledger("mine")
    feed(own, project="p").count()
    other = {"ledger": own, "project": "p"} | changed
    if isinstance(other["ledger"], str):
        other["ledger"] = open_ledger(other["ledger"])
    other_feed = feed(**other)
    for refused in (other_feed.check, other_feed.count):
        with pytest.raises(Misconfigured, match=f"fed by another: {message}") as caught:
            refused()
        assert f"sendit adopt {COLLECTION}" in str(caught.value)
    assert other_feed.problems()
    feed(own, project="p").check()


def test_another_dasher_address_is_refused(open_ledger, feed):
    own = open_ledger("mine")
    feed(own, identifiers="dasher").count()  # recorded before the address was part of the record
    feed(own, identifiers="dasher at one").count()
    with pytest.raises(Misconfigured, match="service dasher at one, here dasher at two"):
        feed(own, identifiers="dasher at two").check()


def test_project_is_added_to_a_record_without_one(open_ledger, feed):
    own = open_ledger("mine")
    feed(own).count()
    feed(own, project="p").count()
    with pytest.raises(Misconfigured, match="project of the rows p, here q"):
        feed(own, project="q").check()


DASHER = "dasher at dasher.example"
PATIENTS, ACCESSIONS = "SENDIT_PATIENT_ID_SOURCES", "SENDIT_ACCESSION_SOURCES"
OURS = {"OUR HOSPITAL": "Stanford MRN"}
NORTH = {"NORTHGATE": "Northgate MRN"}
ALL = {"*": "Stanford MRN"}


@pytest.mark.parametrize(
    "case",
    [
        # Built-in service: an issuer without a configured source gets its own codes.
        ("local", {}, OURS, 1),
        ("local", OURS, {}, 1),
        ("local", OURS, OURS | NORTH, 1),
        ("local", {}, ALL, 1),
        ("local", OURS, {"OUR HOSPITAL": "Northgate MRN"}, 1),
        ("local", OURS | NORTH, {"OUR HOSPITAL": "x", "NORTHGATE": "y"}, 2),
        ("local", {}, {"": "Northgate MRN"}, 1),
        ("local", {}, {"": "Stanford MRN"}, 0),
        ("local", OURS, {" our  Hospital": "Stanford MRN"}, 0),
        ("local", ALL, ALL | OURS, 0),
        ("local", ALL, ALL | NORTH, 1),
        # DASHER: a study of an issuer without a source was never delivered.
        (DASHER, OURS, OURS | NORTH, 0),
        (DASHER, OURS | NORTH, OURS, 0),
        (DASHER, {}, ALL, 0),
        (DASHER, ALL, ALL | NORTH, 1),
        (DASHER, OURS, {"OUR HOSPITAL": "Northgate MRN"}, 1),
        (DASHER, {}, {"": "Northgate MRN"}, 1),
    ],
)
@pytest.mark.parametrize("setting", [PATIENTS, ACCESSIONS])
def test_changed_issuer_sources_are_refused_if_codes_would_change(open_ledger, feed, setting, case):
    service, before, now, recoded = case
    word = {PATIENTS: "patient_sources", ACCESSIONS: "accession_sources"}[setting]
    default = {PATIENTS: "Stanford MRN", ACCESSIONS: "DCM Accession #"}[setting]

    def site(sources: dict[str, str]) -> Feed:
        named = {name: source.replace("Stanford MRN", default) for name, source in sources.items()}
        return feed(own, identifiers=service, **{word: named})

    own = open_ledger("mine")
    site(before).count()
    other = site(now)
    if not recoded:
        other.count()
        site(now).check()
        return
    message = f"fed by another: {setting} gives {recoded} issuer"
    for refused in (other.check, other.count):
        with pytest.raises(Misconfigured, match=message):
            refused()
    site(before).check()
    other.adopt("they are the same people")
    other.count()
    with pytest.raises(Misconfigured, match="fed by another"):
        site(before).check()


def test_a_removed_source_can_only_be_restored_unchanged(open_ledger, feed):
    own = open_ledger("mine")
    for sources in (NORTH, {}, NORTH):
        feed(own, identifiers="dasher", patient_sources=sources).count()
    feed(own, identifiers="dasher").count()
    changed = feed(own, identifiers="dasher", patient_sources={"northgate": "another"})
    with pytest.raises(Misconfigured, match=f"{PATIENTS} gives 1 issuer a different source"):
        changed.count()


def test_sources_are_added_to_a_record_without_any(open_ledger, feed):
    own = open_ledger("mine")
    site = feed(own, patient_sources=OURS)
    old = replace(site, feeder=replace(site.feeder, sources=None))
    old.count()
    site.count()
    with pytest.raises(Misconfigured, match=PATIENTS):
        feed(own).check()


def test_feeder_record_contains_no_issuer_names(open_ledger, feed):
    site = feed(open_ledger("mine"), patient_sources=OURS | NORTH)
    site.count()
    text = str(remembered(site.client, site.bucket, COLLECTION)).casefold()
    assert not any(word in text for word in ("hospital", "northgate", "mrn"))


def test_study_names_differing_only_in_case_are_equal(open_ledger, feed):
    own = open_ledger("mine")
    feed(own, study="Chest").count()
    feed(own, study="chest").check()


def test_an_outdated_restored_ledger_is_refused(open_ledger, feed, tmp_path):
    own = open_ledger("mine")
    feed(own).count()
    own.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "backup")
    feed(own).count()
    restored = open_ledger("backup")
    # Deliveries to another collection do not make the ledger newer.
    for _ in range(5):
        restored.advance_feed("another", COLLECTION)
    with pytest.raises(
        Misconfigured, match=r"older than its last delivery \(count 1, in the bucket 2\)"
    ):
        feed(restored).check()
    feed(own).check()


def test_a_ledger_and_its_copy_cannot_both_deliver(open_ledger, feed, tmp_path):
    own = open_ledger("mine")
    feed(own).count()
    own.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    feed(open_ledger("copy")).count()
    with pytest.raises(Misconfigured, match="or is a copy"):
        feed(own).count()


def test_a_ledger_that_knows_the_archives_becomes_the_feeder(open_ledger, feed):
    own = open_ledger("mine")
    name = put_archive(feed(own))
    with pytest.raises(Misconfigured, match="it has 1 archives that this ledger does not know"):
        feed(own).check()
    own.enqueue([("a" * 64, "/in/1")], BatchParams("test", COLLECTION, "default"))
    (batch_id,) = own.claim("run", 1)
    own.put_archive(
        Delivery(
            batch_id=batch_id, bucket=feed(own).bucket, object=name, size=7, crc32c="x",
            members=1, recipe_digest="0", engine="1",
        )
    )  # fmt: skip
    feed(own).count()
    put_archive(feed(own), "q/q_nodate_s.tar.gz")
    feed(own).check()  # this ledger is the feeder; unknown objects are reported by verify


def test_adoption_is_recorded_with_its_reason(open_ledger, feed):
    first, second = open_ledger("first"), open_ledger("second")
    for _ in range(3):
        feed(first).count()
    feed(second).adopt("the first was lost")
    feed(second).count()
    record = feed(second).check()
    assert record.counter > 4
    assert record.ledgers == {feed(first).feeder.ledger, feed(second).feeder.ledger}
    (entry,) = record.adopted
    assert entry["reason"] == "the first was lost"
    assert entry["before"]["ledger"] == feed(first).feeder.ledger
    with pytest.raises(Misconfigured, match="fed by another: ledger"):
        feed(first).check()


def test_a_restored_ledger_can_adopt_the_collection(open_ledger, feed, tmp_path):
    own = open_ledger("mine")
    feed(own).count()
    own.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "backup")
    feed(own).count()
    restored = feed(open_ledger("backup"))
    restored.adopt("the disk is gone")
    restored.count()
    restored.check()


def test_concurrent_counts_of_one_site_do_not_conflict(open_ledger, feed):
    own = open_ledger("mine")
    errors: list[Exception] = []
    start = threading.Barrier(4)

    def count() -> None:
        start.wait()
        try:
            for _ in range(3):
                feed(own).count()
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert feed(own).check().counter == own.feed(feed(own).bucket, COLLECTION) == 12


def test_a_count_interrupted_before_the_bucket_write_does_not_block(open_ledger, feed, monkeypatch):
    own = open_ledger("mine")
    feed(own).count()
    monkeypatch.setattr(objects, "create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        feed(own).count()
    monkeypatch.undo()
    feed(own).count()
    assert feed(own).check().counter == 3


def test_an_unreadable_feeder_record_is_refused(open_ledger, feed):
    own = feed(open_ledger("mine"))
    blob = own.client.bucket(own.bucket).blob(f"{feeder_folder(COLLECTION)}000000000009.json")
    for content in (b"{}", b"no JSON", b"[]", json.dumps({"version": 2}).encode()):
        blob.upload_from_string(content)
        with pytest.raises(Misconfigured, match="not a feeder record of this version"):
            own.check()


def test_feeder_record_reveals_neither_key_nor_ledger_id(open_ledger, feed, keys):
    ledger = open_ledger("mine")
    feed(ledger).count()
    record = remembered(feed(ledger).client, feed(ledger).bucket, COLLECTION)
    assert ledger.id() not in str(record)
    assert keys.derive("feeder").hex() not in str(record)
    assert isinstance(record.feeder, Feeder)
