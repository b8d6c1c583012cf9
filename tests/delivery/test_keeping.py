"""Buckets that keep objects (retention, holds, versions, soft delete), over HTTP, as Google
answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sendit.delivery import objects
from sendit.delivery.objects import CONTENT_TYPE, KEPT
from sendit.errors import FailBatch, Misconfigured
from testing.emulators import PROJECT
from testing.keeping_storage import Bucket, KeepingStorage

NAME = "Collection/IRB1/Entity/p/p_nodate_s.tar.gz"
DAY = timedelta(days=1)


@pytest.fixture
def keeping(emulators) -> Iterator[KeepingStorage]:
    server = KeepingStorage(emulators.storage)
    yield server
    server.close()


@pytest.fixture
def client(keeping) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": keeping.url},
    )


KEEPING = {
    "under retention until": {"retention": DAY},
    "under a temporary hold": {"temporary": {NAME}},
    "under an event-based hold": {"event_based": {NAME}},
}


@pytest.mark.parametrize("describes", [True, False])
@pytest.mark.parametrize("why", KEEPING)
def test_what_is_kept_is_not_deleted_and_said_why(client, keeping, bucket, why, describes):
    objects.put(client, bucket, NAME, b"archive", CONTENT_TYPE)
    keeping.buckets[bucket] = Bucket(**KEEPING[why], describes=describes)
    there = objects.find(client, bucket, NAME)
    assert (there.kept or "").startswith(why if describes else "")
    assert (there.kept is None) is not describes
    with pytest.raises(FailBatch, match=why if describes else KEPT) as caught:
        objects.remove(client, bucket, NAME, there.generation, "b1")
    assert "batch b1" in str(caught.value)
    assert objects.read(client, bucket, NAME) == b"archive"
    keeping.buckets[bucket] = Bucket()
    assert objects.remove(client, bucket, NAME, there.generation, "b1")


def test_what_was_put_down_on_the_way_may_stay(client, keeping, bucket, caplog):
    objects.put(client, bucket, NAME, b"rows", CONTENT_TYPE)
    keeping.buckets[bucket] = Bucket(retention=DAY)
    assert not objects.clear_away(client, bucket, NAME)
    assert f"{NAME} remains in bucket {bucket} for now" in caplog.text
    keeping.buckets[bucket] = Bucket()
    assert objects.clear_away(client, bucket, NAME)
    assert objects.clear_away(client, bucket, NAME)  # gone already
    assert objects.find(client, bucket, NAME) is None


def test_another_object_of_the_bucket_is_not_kept_by_a_hold(client, keeping, bucket):
    keeping.buckets[bucket] = Bucket(temporary={NAME}, event_based={NAME})
    objects.put(client, bucket, "another", b"archive", CONTENT_TYPE)
    assert objects.find(client, bucket, "another").kept is None
    assert objects.remove(client, bucket, "another")


@pytest.mark.parametrize("why", KEEPING)
def test_what_is_kept_is_not_replaced(client, keeping, bucket, why, tmp_path: Path):
    objects.put(client, bucket, NAME, b"archive", CONTENT_TYPE)
    keeping.buckets[bucket] = Bucket(**KEEPING[why], describes=False)
    with pytest.raises(Misconfigured, match="retention policy or a hold: no role changes that"):
        objects.put(client, bucket, NAME, b"another", CONTENT_TYPE)
    assert objects.read(client, bucket, NAME) == b"archive"
    objects.put(client, bucket, NAME, b"archive", CONTENT_TYPE)  # the same: nothing to replace


@pytest.mark.parametrize(
    ("keeps", "said"),
    [
        ({"versioning": True}, "an earlier version, kept by object versioning"),
        ({"soft_delete": True}, "a restorable copy, kept by soft delete"),
    ],
)
def test_what_remains_of_a_deleted_object_is_said(client, keeping, bucket, keeps, said):
    keeping.buckets[bucket] = Bucket(**keeps)
    for name in (NAME, f"{NAME}.longer"):
        objects.put(client, bucket, name, b"archive", CONTENT_TYPE)
    assert objects.remains(client, bucket, NAME) == []
    generation = objects.find(client, bucket, NAME).generation
    for name in (NAME, f"{NAME}.longer"):
        objects.remove(client, bucket, name)
    assert objects.find(client, bucket, NAME) is None
    assert objects.remains(client, bucket, NAME) == [f"{said}: generation {generation}"]
