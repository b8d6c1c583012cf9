"""``sendit adopt``: what it explains, and what it changes when given a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sendit.cli import app as command
from sendit.delivery.feeder import Feed, feeder_of, remembered
from sendit.errors import Misconfigured
from sendit.identifiers.identity import IdentityRules
from sendit.keys import read_keys, write_new_key
from sendit.ledger import Ledger

COLLECTION = "IRB7"


@pytest.fixture
def feed(storage_client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """The site's feed of a collection that another ledger has fed."""
    write_new_key(tmp_path / "key")
    for name, value in {
        "SENDIT_HOME": tmp_path / "home",
        "SENDIT_LEDGER": "embedded",
        "SENDIT_KEY_FILE": tmp_path / "key",
        "SENDIT_BUCKET": bucket,
        "SENDIT_STUDY": "Chest",
        "SENDIT_COLLECTION": COLLECTION,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(command, "_google", lambda: (storage_client, None))
    keys = read_keys(tmp_path / "key")
    made = []
    for name in ("other", "home"):
        ledger = Ledger(f"sqlite:///{tmp_path}/{name}/ledger.db")
        project = storage_client.project
        feeder = feeder_of(ledger, keys, "local", "chest", IdentityRules(), project=project)
        made.append(Feed(ledger, storage_client, bucket, COLLECTION, feeder))
    made[0].count()
    return made[1]


def run(*arguments: str):
    return CliRunner().invoke(command.app, ["adopt", COLLECTION, *arguments])


def test_without_a_reason_nothing_changes(feed: Feed) -> None:
    before = remembered(feed.client, feed.bucket, COLLECTION)
    result = run()
    assert result.exit_code == 1
    assert f"ledger {before.feeder.ledger}, here {feed.feeder.ledger}" in result.output
    assert "Nothing was changed" in result.output
    assert f"sendit adopt {COLLECTION} --reason TEXT" in result.output
    assert remembered(feed.client, feed.bucket, COLLECTION) == before
    with pytest.raises(Misconfigured):
        feed.check()


def test_with_a_reason_the_site_becomes_the_feeder(feed: Feed) -> None:
    assert run("--reason", "the other was lost").exit_code == 0
    assert feed.check().adopted[0]["reason"] == "the other was lost"
    result = run("--reason", "again")
    assert (result.exit_code, "nothing to adopt" in result.output) == (0, True)
    assert len(feed.check().adopted) == 1


def test_study_option(feed: Feed) -> None:
    run("--reason", "it is of another study", "--study", "Knee")
    assert remembered(feed.client, feed.bucket, COLLECTION).feeder.study == "knee"
