"""A ledger that was restored, held against the bucket."""

from __future__ import annotations

import base64
from pathlib import Path

import google_crc32c

from sendit.delivery.verify import verify_ledger
from sendit.ledger import BatchParams, Delivery, Ledger, Stored

COLLECTION = "IRB1"


def delivered(ledger: Ledger, bucket: str, study: str) -> str:
    """Write down a delivery that is done, and return its object's name."""
    ledger.enqueue([(study * 64, f"/data/{study}")], BatchParams("s", COLLECTION, "d"))
    (batch,) = ledger.claim(f"run {study}", 1)
    name = f"Collection/{COLLECTION}/Entity/p/p_nodate_{study}.tar.gz"
    checksum = base64.b64encode(google_crc32c.Checksum(b"archive").digest()).decode()
    ledger.put_archive(
        Delivery(
            batch_id=batch, bucket=bucket, object=name, study_key=name, revision=0,
            content_digest="c" * 64, size=7, crc32c=checksum, members=1, recipe_digest="r",
            engine="e",
        )
    )  # fmt: skip
    delivery = ledger.delivery(batch)
    assert delivery
    ledger.put_stored(delivery, Stored(1, None, "now", "link", "link"))
    ledger.put_done(batch, rows=1)
    return name


def test_what_the_ledger_says_is_delivered_must_be_there(
    tmp_path: Path, storage_client, bucket: str
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    there, gone, other = (delivered(ledger, bucket, each) for each in "abc")
    for name, content in ((there, b"archive"), (other, b"another")):
        storage_client.bucket(bucket).blob(name).upload_from_string(content)
    found = {
        each.where: each.what for each in verify_ledger(ledger, storage_client, bucket, COLLECTION)
    }
    assert set(found) == {gone, other}
    assert "no object" in found[gone]
    assert "checksum" in found[other]
    ledger.close()
