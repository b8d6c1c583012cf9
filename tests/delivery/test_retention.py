"""Buckets that keep objects (retention, holds, versions, soft delete), over HTTP with Google's
responses.
"""

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
from testing.retention_storage import Bucket, RetentionStorage

NAME = "Collection/IRB1/Entity/p/p_nodate_s.tar.gz"
DAY = timedelta(days=1)


@pytest.fixture
def retention_server(emulators) -> Iterator[RetentionStorage]:
    server = RetentionStorage(emulators.storage)
    yield server
    server.close()


@pytest.fixture
def client(retention_server) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": retention_server.url},
    )


RETENTIONS = {
    "under retention until": {"retention": DAY},
    "under a temporary hold": {"temporary": {NAME}},
    "under an event-based hold": {"event_based": {NAME}},
}


@pytest.mark.parametrize("describes", [True, False])
@pytest.mark.parametrize("why", RETENTIONS)
def test_objects_under_retention_are_not_deleted(client, retention_server, bucket, why, describes):
    objects.put(client, bucket, NAME, b"archive", CONTENT_TYPE)
    retention_server.buckets[bucket] = Bucket(**RETENTIONS[why], describes=describes)
    stored = objects.find(client, bucket, NAME)
    assert (stored.kept or "").startswith(why if describes else "")
    assert (stored.kept is None) is not describes
    with pytest.raises(FailBatch, match=why if describes else KEPT) as caught:
        objects.remove(client, bucket, NAME, stored.generation, "b1")
    assert "batch b1" in str(caught.value)
    assert objects.read(client, bucket, NAME) == b"archive"
    retention_server.buckets[bucket] = Bucket()
    assert objects.remove(client, bucket, NAME, stored.generation, "b1")


def test_staging_objects_under_retention_are_left_with_a_log_message(
    client, retention_server, bucket, caplog
):
    objects.put(client, bucket, NAME, b"rows", CONTENT_TYPE)
    retention_server.buckets[bucket] = Bucket(retention=DAY)
    assert not objects.clear_away(client, bucket, NAME)
    assert f"{NAME} remains in bucket {bucket} for now" in caplog.text
    retention_server.buckets[bucket] = Bucket()
    assert objects.clear_away(client, bucket, NAME)
    assert objects.clear_away(client, bucket, NAME)  # already gone
    assert objects.find(client, bucket, NAME) is None


def test_a_hold_applies_only_to_its_own_object(client, retention_server, bucket):
    retention_server.buckets[bucket] = Bucket(temporary={NAME}, event_based={NAME})
    objects.put(client, bucket, "another", b"archive", CONTENT_TYPE)
    assert objects.find(client, bucket, "another").kept is None
    assert objects.remove(client, bucket, "another")


@pytest.mark.parametrize("why", RETENTIONS)
def test_objects_under_retention_are_not_replaced(
    client, retention_server, bucket, why, tmp_path: Path
):
    objects.put(client, bucket, NAME, b"archive", CONTENT_TYPE)
    retention_server.buckets[bucket] = Bucket(**RETENTIONS[why], describes=False)
    with pytest.raises(Misconfigured, match="retention policy or a hold: no role changes that"):
        objects.put(client, bucket, NAME, b"another", CONTENT_TYPE)
    assert objects.read(client, bucket, NAME) == b"archive"
    objects.put(
        client, bucket, NAME, b"archive", CONTENT_TYPE
    )  # identical content: nothing to replace


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"versioning": True}, "an earlier version, kept by object versioning"),
        ({"soft_delete": True}, "a restorable copy, kept by soft delete"),
    ],
)
def test_remaining_versions_of_a_deleted_object_are_listed(
    client, retention_server, bucket, settings, message
):
    retention_server.buckets[bucket] = Bucket(**settings)
    for name in (NAME, f"{NAME}.longer"):
        objects.put(client, bucket, name, b"archive", CONTENT_TYPE)
    assert objects.remains(client, bucket, NAME) == []
    generation = objects.find(client, bucket, NAME).generation
    for name in (NAME, f"{NAME}.longer"):
        objects.remove(client, bucket, name)
    assert objects.find(client, bucket, NAME) is None
    assert objects.remains(client, bucket, NAME) == [f"{message}: generation {generation}"]
