"""A collection in a real emulator of Cloud Storage, and the ledgers that want to feed it."""

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
    """Opens ledgers by name; a copy of the file is a backup."""
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


def test_the_first_to_deliver_feeds_it_and_goes_on(open_ledger, feed):
    mine = feed(open_ledger("mine"))
    assert mine.check() is None
    for count in (1, 2, 3):
        mine.count()
        held = mine.check()
        assert (held.feeder, held.counter) == (mine.feeder, count)
    # One count is kept, whatever came before.
    assert len(objects.names(mine.client, mine.bucket, feeder_folder(COLLECTION))) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ledger": "empty"}, "ledger "),
        ({"by": OTHER_KEYS}, "key "),
        ({"identifiers": "dasher"}, "identifier service local, here dasher"),
        ({"study": "other"}, "study test, here other"),
        ({"project": "another"}, "project of the rows p, here another"),
    ],
)
def test_who_comes_with_something_else_delivers_nothing(open_ledger, feed, changed, said):
    mine = open_ledger("mine")
    feed(mine, project="p").count()
    other = {"ledger": mine, "project": "p"} | changed
    if isinstance(other["ledger"], str):
        other["ledger"] = open_ledger(other["ledger"])
    stranger = feed(**other)
    for refused in (stranger.check, stranger.count):
        with pytest.raises(Misconfigured, match=f"fed by another: {said}") as caught:
            refused()
        assert f"sendit adopt {COLLECTION}" in str(caught.value)
    assert stranger.problems()
    feed(mine, project="p").check()


def test_another_dasher_gives_other_codes(open_ledger, feed):
    mine = open_ledger("mine")
    feed(mine, identifiers="dasher").count()  # from before its place was kept
    feed(mine, identifiers="dasher at one").count()
    with pytest.raises(Misconfigured, match="service dasher at one, here dasher at two"):
        feed(mine, identifiers="dasher at two").check()


def test_a_record_from_before_the_project_was_kept_learns_it(open_ledger, feed):
    mine = open_ledger("mine")
    feed(mine).count()
    feed(mine, project="p").count()
    with pytest.raises(Misconfigured, match="project of the rows p, here q"):
        feed(mine, project="q").check()


DASHER = "dasher at dasher.example"
PATIENTS, ACCESSIONS = "SENDIT_PATIENT_ID_SOURCES", "SENDIT_ACCESSION_SOURCES"
OURS = {"OUR HOSPITAL": "Stanford MRN"}
NORTH = {"NORTHGATE": "Northgate MRN"}
ALL = {"*": "Stanford MRN"}


@pytest.mark.parametrize(
    "case",
    [
        # The built-in service: an issuer without a source has codes of its own.
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
def test_another_source_for_an_issuer_delivers_nothing(open_ledger, feed, setting, case):
    service, before, now, recoded = case
    word = {PATIENTS: "patient_sources", ACCESSIONS: "accession_sources"}[setting]
    default = {PATIENTS: "Stanford MRN", ACCESSIONS: "DCM Accession #"}[setting]

    def site(sources: dict[str, str]) -> Feed:
        named = {name: source.replace("Stanford MRN", default) for name, source in sources.items()}
        return feed(mine, identifiers=service, **{word: named})

    mine = open_ledger("mine")
    site(before).count()
    other = site(now)
    if not recoded:
        other.count()
        site(now).check()
        return
    said = f"fed by another: {setting} gives {recoded} issuer"
    for refused in (other.check, other.count):
        with pytest.raises(Misconfigured, match=said):
            refused()
    site(before).check()
    other.adopt("they are the same people")
    other.count()
    with pytest.raises(Misconfigured, match="fed by another"):
        site(before).check()


def test_a_source_that_was_taken_away_comes_back_as_it_was(open_ledger, feed):
    mine = open_ledger("mine")
    for sources in (NORTH, {}, NORTH):
        feed(mine, identifiers="dasher", patient_sources=sources).count()
    feed(mine, identifiers="dasher").count()
    changed = feed(mine, identifiers="dasher", patient_sources={"northgate": "another"})
    with pytest.raises(Misconfigured, match=f"{PATIENTS} gives 1 issuer a different source"):
        changed.count()


def test_a_record_from_before_sources_were_kept_learns_them(open_ledger, feed):
    mine = open_ledger("mine")
    site = feed(mine, patient_sources=OURS)
    old = replace(site, feeder=replace(site.feeder, sources=None))
    old.count()
    site.count()
    with pytest.raises(Misconfigured, match=PATIENTS):
        feed(mine).check()


def test_no_issuer_s_name_is_in_the_bucket(open_ledger, feed):
    site = feed(open_ledger("mine"), patient_sources=OURS | NORTH)
    site.count()
    text = str(remembered(site.client, site.bucket, COLLECTION)).casefold()
    assert not any(word in text for word in ("hospital", "northgate", "mrn"))


def test_the_case_of_a_study_is_the_service_s(open_ledger, feed):
    mine = open_ledger("mine")
    feed(mine, study="Chest").count()
    feed(mine, study="chest").check()


def test_a_ledger_from_a_backup_delivers_nothing(open_ledger, feed, tmp_path):
    mine = open_ledger("mine")
    feed(mine).count()
    mine.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "backup")
    feed(mine).count()
    restored = open_ledger("backup")
    # Deliveries to another collection do not make it any newer.
    for _ in range(5):
        restored.advance_feed("another", COLLECTION)
    with pytest.raises(
        Misconfigured, match=r"older than its last delivery \(count 1, in the bucket 2\)"
    ):
        feed(restored).check()
    feed(mine).check()


def test_a_copy_of_a_ledger_and_its_original_do_not_feed_side_by_side(open_ledger, feed, tmp_path):
    mine = open_ledger("mine")
    feed(mine).count()
    mine.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    feed(open_ledger("copy")).count()
    with pytest.raises(Misconfigured, match="or is a copy"):
        feed(mine).count()


def test_a_ledger_that_delivered_before_collections_remembered_goes_on(open_ledger, feed):
    mine = open_ledger("mine")
    name = put_archive(feed(mine))
    with pytest.raises(Misconfigured, match="it has 1 archives that this ledger does not know"):
        feed(mine).check()
    mine.enqueue([("a" * 64, "/in/1")], BatchParams("test", COLLECTION, "default"))
    (batch_id,) = mine.claim("run", 1)
    mine.put_archive(
        Delivery(
            batch_id=batch_id, bucket=feed(mine).bucket, object=name, size=7, crc32c="x",
            members=1, recipe_digest="0", engine="1",
        )
    )  # fmt: skip
    feed(mine).count()
    put_archive(feed(mine), "q/q_nodate_s.tar.gz")
    feed(mine).check()  # it is the one that feeds; what else lies there is for verify to say


def test_adopting_says_so_and_is_remembered(open_ledger, feed):
    first, second = open_ledger("first"), open_ledger("second")
    for _ in range(3):
        feed(first).count()
    feed(second).adopt("the first was lost")
    feed(second).count()
    held = feed(second).check()
    assert held.counter > 4
    assert held.ledgers == {feed(first).feeder.ledger, feed(second).feeder.ledger}
    (entry,) = held.adopted
    assert entry["reason"] == "the first was lost"
    assert entry["before"]["ledger"] == feed(first).feeder.ledger
    with pytest.raises(Misconfigured, match="fed by another: ledger"):
        feed(first).check()


def test_a_restored_ledger_is_adopted(open_ledger, feed, tmp_path):
    mine = open_ledger("mine")
    feed(mine).count()
    mine.close()
    shutil.copytree(tmp_path / "mine", tmp_path / "backup")
    feed(mine).count()
    restored = feed(open_ledger("backup"))
    restored.adopt("the disk is gone")
    restored.count()
    restored.check()


def test_tasks_of_one_site_that_count_at_once_do_not_take_each_other_for_others(open_ledger, feed):
    mine = open_ledger("mine")
    failed: list[Exception] = []
    start = threading.Barrier(4)

    def count() -> None:
        start.wait()
        try:
            for _ in range(3):
                feed(mine).count()
        except Exception as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert feed(mine).check().counter == mine.feed(feed(mine).bucket, COLLECTION) == 12


def test_a_count_that_stopped_between_ledger_and_bucket_is_no_other_feeder(
    open_ledger, feed, monkeypatch
):
    mine = open_ledger("mine")
    feed(mine).count()
    monkeypatch.setattr(objects, "create", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        feed(mine).count()
    monkeypatch.undo()
    feed(mine).count()
    assert feed(mine).check().counter == 3


def test_what_is_not_ours_stops_everything(open_ledger, feed):
    mine = feed(open_ledger("mine"))
    blob = mine.client.bucket(mine.bucket).blob(f"{feeder_folder(COLLECTION)}000000000009.json")
    for content in (b"{}", b"no JSON", b"[]", json.dumps({"version": 2}).encode()):
        blob.upload_from_string(content)
        with pytest.raises(Misconfigured, match="not a feeder record of this version"):
            mine.check()


def test_neither_key_nor_ledger_can_be_read_from_it(open_ledger, feed, keys):
    ledger = open_ledger("mine")
    feed(ledger).count()
    held = remembered(feed(ledger).client, feed(ledger).bucket, COLLECTION)
    assert ledger.id() not in str(held)
    assert keys.derive("feeder").hex() not in str(held)
    assert isinstance(held.feeder, Feeder)
