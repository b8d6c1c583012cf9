"""Verification of a restored ledger against the bucket."""

from __future__ import annotations

import base64
from pathlib import Path

import google_crc32c

from sendit.delivery.verify import verify_ledger
from sendit.ledger import BatchParams, Delivery, Ledger, Stored

COLLECTION = "IRB1"


def delivered(ledger: Ledger, bucket: str, study: str) -> str:
    """Record a completed delivery and return its object name."""
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


def test_deliveries_missing_from_the_bucket_are_reported(
    tmp_path: Path, storage_client, bucket: str
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    present, missing, different = (delivered(ledger, bucket, each) for each in "abc")
    for name, content in ((present, b"archive"), (different, b"another")):
        storage_client.bucket(bucket).blob(name).upload_from_string(content)
    differences = {
        each.where: each.what for each in verify_ledger(ledger, storage_client, bucket, COLLECTION)
    }
    assert set(differences) == {missing, different}
    assert "no object" in differences[missing]
    assert "checksum" in differences[different]
    ledger.close()
