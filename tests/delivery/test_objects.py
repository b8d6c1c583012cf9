"""Archives into a real emulator of Cloud Storage."""

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
def made(tmp_path, bucket):
    """An archive and what the ledger says of it."""

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
def test_an_archive_is_delivered_and_read_back(storage_client, made, size):
    import random

    path, delivery = made(random.Random(7).randbytes(size))
    there = deliver(storage_client, delivery, path)
    assert there.holds(delivery)
    assert (there.bucket, there.name) == (delivery.bucket, delivery.object)
    assert there.md5 == base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
    assert there.holds(replace(delivery, md5=there.md5))
    assert not there.holds(replace(delivery, md5="of other bytes"))
    assert there.generation > 0
    assert "/o/" in there.self_link and "/download/" in there.media_link
    blob = storage_client.bucket(delivery.bucket).blob(delivery.object)
    assert blob.download_as_bytes() == path.read_bytes()


def test_delivering_again_changes_nothing_and_needs_no_file(storage_client, made):
    path, delivery = made()
    first = deliver(storage_client, delivery, path)
    path.unlink()
    assert deliver(storage_client, delivery, path) == first


def test_another_archive_of_the_same_name_is_not_overwritten(storage_client, made):
    path, delivery = made(b"one")
    first = deliver(storage_client, delivery, path)
    other_path, other = made(b"other", "bfedcba9876543210")
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, other, other_path)
    assert find(storage_client, delivery.bucket, delivery.object) == first


def test_losing_a_race_to_oneself_is_success(storage_client, made, monkeypatch):
    path, delivery = made()
    first = deliver(storage_client, delivery, path)
    answers = [None]
    monkeypatch.setattr(objects, "find", lambda *a: answers.pop() if answers else find(*a))
    assert deliver(storage_client, delivery, path) == first


def test_losing_a_race_to_another_fails_the_batch(storage_client, made, monkeypatch):
    path, delivery = made(b"one")
    first = deliver(storage_client, delivery, path)
    other_path, other = made(b"other")
    answers = [None]
    monkeypatch.setattr(objects, "find", lambda *a: answers.pop() if answers else find(*a))
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, other, other_path)
    assert find(storage_client, delivery.bucket, delivery.object) == first


def test_a_revision_replaces_the_generation_it_names_and_no_other(storage_client, made):
    path, delivery = made(b"one")
    first = deliver(storage_client, delivery, path)
    new_path, new = made(b"second")
    with pytest.raises(FailBatch, match="another archive"):
        deliver(storage_client, new, new_path, replaces=first.generation + 1)
    second = deliver(storage_client, new, new_path, replaces=first.generation)
    assert second.generation != first.generation
    assert second.holds(new)
    assert deliver(storage_client, new, new_path, replaces=first.generation) == second


def test_a_lost_archive_fails_its_batch_and_says_what_to_clear(storage_client, made):
    path, delivery = made()
    path.unlink()
    with pytest.raises(FailBatch, match="clear the import task"):
        deliver(storage_client, delivery, path)


def test_a_missing_bucket_is_named_with_its_setting(storage_client, made):
    path, delivery = made()
    with pytest.raises(Misconfigured, match=r"no bucket nowhere: .* SENDIT_BUCKET"):
        deliver(storage_client, replace(delivery, bucket="nowhere"), path)
    with pytest.raises(Misconfigured, match="no bucket nowhere"):
        check_bucket(storage_client, "nowhere")


def test_a_file_that_is_not_the_ledger_s_archive_is_not_taken_for_it(storage_client, made):
    path, delivery = made(b"one")
    path.write_bytes(b"something else")
    with pytest.raises(FailBatch, match="clear the anonymize task"):
        deliver(storage_client, delivery, path)
    assert find(storage_client, delivery.bucket, delivery.object) is None


def test_only_the_generation_that_is_named_is_removed(storage_client, made):
    path, delivery = made()
    there = deliver(storage_client, delivery, path)
    assert not remove(storage_client, there.bucket, there.name, there.generation + 1)
    assert find(storage_client, there.bucket, there.name)
    assert remove(storage_client, there.bucket, there.name, there.generation)
    assert find(storage_client, there.bucket, there.name) is None
    assert not remove(storage_client, there.bucket, there.name, there.generation)


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
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
def test_every_fault_says_what_happens_next_and_quotes_nothing(fault, kind, text):
    fault.args = ("secret", *fault.args[1:]) if "Limit" not in str(fault) else fault.args
    with pytest.raises(kind, match=text) as raised, objects.bucket_errors("data"):
        raise fault
    assert "bucket data" in str(raised.value) or text in {"google_cloud_default", "refreshed"}
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_store_that_always_fails_is_for_later(made, status, monkeypatch):
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
        path, delivery = made()
        with pytest.raises(RetryLater):
            deliver(client, delivery, path)
    finally:
        server.shutdown()
        server.server_close()
