"""Archive uploads to an emulator of Cloud Storage."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
from dataclasses import replace

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from sendit.archive import Archive
from sendit.delivery import objects
from sendit.delivery.objects import check_bucket, deliver, find, remove
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import Delivery

BATCH = "b0123456789abcdef"


@pytest.fixture
def make_archive(tmp_path, bucket):
    """Create an archive and its ledger entry."""

    def make(content: bytes = b"image", batch_id: str = BATCH):
        path = tmp_path / f"{len(content)}-{content[:8].hex()}.tar.gz"
        with Archive(path) as archive:
            archive.add("s_1_1.dcm", content)
            info = archive.close()
        return path, Delivery(
            batch_id=batch_id,
            bucket=bucket,
            object="Collection/c/Entity/p/p_20100209_s.tar.gz",
            size=info.size,
            crc32c=info.crc32c,
            members=info.members,
            recipe_digest="0" * 64,
            engine="1",
        )

    return make


@pytest.mark.parametrize("size", [5, 9 << 20])
def test_a_delivered_archive_reads_back_unchanged(storage_client, make_archive, size):
    import random

    path, delivery = make_archive(random.Random(7).randbytes(size))
    stored = deliver(storage_client, delivery, path)
    assert stored.holds(delivery)
    assert (stored.bucket, stored.name) == (delivery.bucket, delivery.object)
    assert stored.md5 == base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
    assert stored.holds(replace(delivery, md5=stored.md5))
    assert not stored.holds(replace(delivery, md5="of other bytes"))
    assert stored.generation > 0
    assert "/o/" in stored.self_link and "/download/" in stored.media_link
    blob = storage_client.bucket(delivery.bucket).blob(delivery.object)
    assert blob.download_as_bytes() == path.read_bytes()


def test_delivery_is_idempotent_and_needs_no_local_file_afterwards(storage_client, make_archive):
    path, delivery = make_archive()
    first = deliver(storage_client, delivery, path)
    path.unlink()
    assert deliver(storage_client, delivery, path) == first


def test_a_different_archive_with_the_same_name_is_not_overwritten(storage_client, make_archive):
    path, delivery = make_archive(b"one")
    first = deliver(storage_client, delivery, path)
    other_path, other = make_archive(b"other", "bfedcba9876543210")
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, other, other_path)
    assert find(storage_client, delivery.bucket, delivery.object) == first


def test_losing_an_upload_race_with_identical_bytes_succeeds(
    storage_client, make_archive, monkeypatch
):
    path, delivery = make_archive()
    first = deliver(storage_client, delivery, path)
    answers = [None]
    monkeypatch.setattr(objects, "find", lambda *a: answers.pop() if answers else find(*a))
    assert deliver(storage_client, delivery, path) == first


def test_losing_an_upload_race_with_different_bytes_fails_the_batch(
    storage_client, make_archive, monkeypatch
):
    path, delivery = make_archive(b"one")
    first = deliver(storage_client, delivery, path)
    other_path, other = make_archive(b"other")
    answers = [None]
    monkeypatch.setattr(objects, "find", lambda *a: answers.pop() if answers else find(*a))
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, other, other_path)
    assert find(storage_client, delivery.bucket, delivery.object) == first


def test_a_revision_replaces_only_the_given_generation(storage_client, make_archive):
    path, delivery = make_archive(b"one")
    first = deliver(storage_client, delivery, path)
    new_path, new = make_archive(b"second")
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, new, new_path, replaces=first.generation + 1)
    second = deliver(storage_client, new, new_path, replaces=first.generation)
    assert second.generation != first.generation
    assert second.holds(new)
    assert deliver(storage_client, new, new_path, replaces=first.generation) == second


def test_a_missing_archive_file_fails_the_batch_and_names_the_task_to_clear(
    storage_client, make_archive
):
    path, delivery = make_archive()
    path.unlink()
    with pytest.raises(FailBatch, match="clear the import task"):
        deliver(storage_client, delivery, path)


def test_a_missing_bucket_error_names_the_setting(storage_client, make_archive):
    path, delivery = make_archive()
    with pytest.raises(Misconfigured, match=r"no bucket nowhere: .* SENDIT_BUCKET"):
        deliver(storage_client, replace(delivery, bucket="nowhere"), path)
    with pytest.raises(Misconfigured, match="no bucket nowhere"):
        check_bucket(storage_client, "nowhere")


def test_a_file_that_differs_from_the_ledger_is_not_uploaded(storage_client, make_archive):
    path, delivery = make_archive(b"one")
    path.write_bytes(b"something else")
    with pytest.raises(FailBatch, match="clear the anonymize task"):
        deliver(storage_client, delivery, path)
    assert find(storage_client, delivery.bucket, delivery.object) is None


def test_remove_deletes_only_the_given_generation(storage_client, make_archive):
    path, delivery = make_archive()
    stored = deliver(storage_client, delivery, path)
    assert not remove(storage_client, stored.bucket, stored.name, stored.generation + 1)
    assert find(storage_client, stored.bucket, stored.name)
    assert remove(storage_client, stored.bucket, stored.name, stored.generation)
    assert find(storage_client, stored.bucket, stored.name) is None
    assert not remove(storage_client, stored.bucket, stored.name, stored.generation)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (api.Forbidden("x"), Misconfigured, "grant roles/storage.objectUser"),
        (api.Forbidden("... rateLimitExceeded"), RetryLater, "quota"),
        (api.Unauthorized("x"), Misconfigured, "google_cloud_default"),
        (auth.DefaultCredentialsError("x"), Misconfigured, "google_cloud_default"),
        (auth.RefreshError("x"), Misconfigured, "google_cloud_default"),
        (auth.RefreshError("x", retryable=True), RetryLater, "refreshed"),
        (auth.TransportError("x"), RetryLater, "does not respond"),
        (api.NotFound("x"), Misconfigured, "create it"),
        (api.TooManyRequests("x"), RetryLater, "429"),
        (api.ServiceUnavailable("x"), RetryLater, "503"),
        (api.RetryError("x", None), RetryLater, "does not respond"),
        (ConnectionResetError("x"), RetryLater, "does not respond"),
    ],
)
def test_bucket_errors_map_to_an_action_and_quote_nothing(error, kind, text):
    error.args = ("secret", *error.args[1:]) if "Limit" not in str(error) else error.args
    with pytest.raises(kind, match=text) as raised, objects.bucket_errors("data"):
        raise error
    assert "bucket data" in str(raised.value) or text in {"google_cloud_default", "refreshed"}
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("status", [429, 500, 503])
def test_persistent_server_errors_raise_retry_later(make_archive, status, monkeypatch):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            pass

    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_timeout(0.5))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = storage.Client(
            project="p",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://127.0.0.1:{server.server_port}"},
        )
        path, delivery = make_archive()
        with pytest.raises(RetryLater):
            deliver(client, delivery, path)
    finally:
        server.shutdown()
        server.server_close()
