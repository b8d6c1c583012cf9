"""Objects in Cloud Storage: archives are uploaded exactly once and verified.

Names and contents are already coded: no patient data passes through here.
"""

from __future__ import annotations

import contextlib
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
from google.api_core import exceptions as api
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from sendit.delivery.google_errors import google_errors, is_kept
from sendit.digests import crc32c_text
from sendit.errors import FailBatch, RetryLater
from sendit.ledger import Delivery, Stored

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/gzip"
#: Seconds to connect, and to wait for a response.
TIMEOUT = (10.0, 120.0)
#: Limits the library's own retries; after that Airflow retries the task.
RETRY = DEFAULT_RETRY.with_timeout(60.0)
#: Larger archives are uploaded in chunks of this size, held in memory one at a time.
CHUNK_BYTES = 32 << 20
KEPT = "under a retention policy or a hold"
ROLE = "roles/storage.objectUser"
SETTING = "SENDIT_BUCKET"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's metadata in Cloud Storage. Checksums are base64; ``updated`` is ISO 8601;
    ``kept`` says what prevents deleting or replacing it (a retention period, a hold)."""

    bucket: str
    name: str
    size: int
    crc32c: str
    md5: str | None
    generation: int
    updated: str
    self_link: str
    media_link: str
    kept: str | None = None

    def holds(self, delivery: Delivery) -> bool:
        """Whether the object's bytes are the archive's."""
        return (self.size, self.crc32c) == (delivery.size, delivery.crc32c) and (
            self.md5 == delivery.md5 or None in {self.md5, delivery.md5}
        )

    @property
    def stored(self) -> Stored:
        """The metadata that the ledger keeps."""
        return Stored(
            generation=self.generation,
            md5=self.md5,
            updated=self.updated,
            self_link=self.self_link,
            media_link=self.media_link,
        )


def deliver(
    client: storage.Client, delivery: Delivery, archive: Path, *, replaces: int | None = None
) -> StoredObject:
    """Upload an archive to its place in the bucket, and verify the stored object.

    If the object already holds these bytes, it is the delivery and nothing is sent. The
    upload carries a precondition, so that of two concurrent uploads only one writes, and no
    existing object is overwritten by accident.

    Parameters
    ----------
    client
        Cloud Storage.
    delivery
        The ledger's record of the archive: bucket, name, size, checksums.
    archive
        The local file.
    replaces
        Generation of the object that this archive revises, if any. Different bytes that the
        batch itself sent before without getting an answer are replaced as well.

    Raises
    ------
    FailBatch
        The local archive is gone, or the bucket has a different object under its name.
    Misconfigured
        No such bucket, no permission, no credentials.
    RetryLater
        Cloud Storage failed, or stored different bytes.
    """
    there = find(client, delivery.bucket, delivery.object)
    if there is not None and there.holds(delivery):
        return there
    _check_archive(delivery, archive)
    earlier = delivery.sent_crc32c if delivery.sent_object == delivery.object else None
    if there is None or there.generation == replaces or there.crc32c == earlier:
        if there is not None:
            check_removable(delivery.batch_id, there)
        _upload(client, delivery, archive, 0 if there is None else there.generation)
        there = find(client, delivery.bucket, delivery.object)
        if there is None:
            raise RetryLater(
                f"batch {delivery.batch_id}: Cloud Storage accepted its archive, but says that it "
                "does not exist; the task will be retried"
            )
    if not there.holds(delivery):
        raise FailBatch(
            f"batch {delivery.batch_id}: another archive is in the bucket under its name "
            f"(generation {there.generation}), and not "
            + ("the one that this ledger delivered" if replaces else "one of this ledger's")
            + "; it was not overwritten. Find out who wrote it; delete it, or copy it elsewhere "
            "and delete it here, then clear the task, with downstream tasks"
        )
    return there


def _check_archive(delivery: Delivery, archive: Path) -> None:
    """Check that the local file is the archive that the ledger describes."""
    checksum = google_crc32c.Checksum()
    try:
        with archive.open("rb") as file:
            for _ in checksum.consume(file, CHUNK_BYTES):
                pass
            size = file.tell()
    except FileNotFoundError:
        raise FailBatch(
            f"batch {delivery.batch_id}: its archive is gone from the working folder; "
            "clear the import task of this batch to make it again"
        ) from None
    except OSError as error:
        raise RetryLater(
            f"batch {delivery.batch_id}: its archive cannot be read ({error.strerror}): check "
            "SENDIT_WORK_FOLDER"
        ) from None
    if (size, crc32c_text(checksum.digest())) != (delivery.size, delivery.crc32c):
        raise FailBatch(
            f"batch {delivery.batch_id}: the archive in the working folder is not the one that "
            "anonymize recorded; clear the anonymize task of this batch to make it again"
        )


def _upload(client: storage.Client, delivery: Delivery, archive: Path, generation: int) -> None:
    """Upload the archive if the object's generation matches (0: no object).

    Losing a race (412) is not an error here: the caller checks what is stored.
    """
    blob = client.bucket(delivery.bucket).blob(delivery.object, chunk_size=CHUNK_BYTES)
    with bucket_errors(delivery.bucket), contextlib.suppress(api.PreconditionFailed):
        try:
            blob.upload_from_filename(
                str(archive),
                content_type=CONTENT_TYPE,
                if_generation_match=generation,
                checksum="crc32c",
                timeout=TIMEOUT,
                retry=RETRY,
            )
        except api.Forbidden as error:
            if is_kept(str(error)):
                raise FailBatch(
                    f"batch {delivery.batch_id}: the object {delivery.object} is {KEPT}: Cloud "
                    "Storage lets nobody replace it, and it is unchanged. When that has ended, or "
                    "the bucket's owner has lifted it, clear this task"
                ) from None
            raise


def find(client: storage.Client, bucket: str, name: str) -> StoredObject | None:
    """Return an object's metadata, or None if there is no such object."""
    with bucket_errors(bucket):
        blob = client.bucket(bucket).get_blob(name, timeout=TIMEOUT, retry=RETRY)
        if blob is None:
            # A missing bucket also answers 404 and must not be mistaken for a missing object.
            check_bucket(client, bucket)
            return None
        return _described(blob)


def put(client: storage.Client, bucket: str, name: str, content: bytes, content_type: str) -> None:
    """Write a small object unless it already has this content.

    Raises
    ------
    RetryLater
        Someone else wrote it at the same time.
    """
    there = find(client, bucket, name)
    checksum = google_crc32c.Checksum(content).digest()
    if there is not None and there.crc32c == crc32c_text(checksum):
        return
    with bucket_errors(bucket):
        client.bucket(bucket).blob(name).upload_from_string(
            content,
            content_type=content_type,
            if_generation_match=0 if there is None else there.generation,
            checksum="crc32c",
            timeout=TIMEOUT,
            retry=RETRY,
        )


def create(
    client: storage.Client, bucket: str, name: str, content: bytes, content_type: str
) -> bool:
    """Create a small object unless one of this name exists; return whether it was written.

    A repeated call whose first answer was lost finds its own object; if the content matches, that
    counts as written.
    """
    with bucket_errors(bucket):
        try:
            client.bucket(bucket).blob(name).upload_from_string(
                content,
                content_type=content_type,
                if_generation_match=0,
                checksum="crc32c",
                timeout=TIMEOUT,
                retry=RETRY,
            )
        except api.PreconditionFailed:
            return read(client, bucket, name) == content
        return True


def read(client: storage.Client, bucket: str, name: str) -> bytes | None:
    """Return a small object's content, or None if there is no such object."""
    with bucket_errors(bucket):
        try:
            content: bytes = (
                client.bucket(bucket).blob(name).download_as_bytes(timeout=TIMEOUT, retry=RETRY)
            )
        except api.NotFound:
            return None
        return content


def get(client: storage.Client, bucket: str, name: str) -> bytes:
    """Return a small object's content."""
    with bucket_errors(bucket):
        content: bytes = (
            client.bucket(bucket).blob(name).download_as_bytes(timeout=TIMEOUT, retry=RETRY)
        )
        return content


def find_all(client: storage.Client, bucket: str, prefix: str) -> dict[str, StoredObject]:
    """Return all objects with a prefix, by name."""
    with bucket_errors(bucket):
        blobs = client.list_blobs(bucket, prefix=prefix, timeout=TIMEOUT, retry=RETRY)
        return {blob.name: _described(blob) for blob in blobs}


def names(client: storage.Client, bucket: str, prefix: str) -> list[str]:
    """Return the sorted names of all objects with a prefix."""
    with bucket_errors(bucket):
        blobs = client.list_blobs(bucket, prefix=prefix, timeout=TIMEOUT, retry=RETRY)
        return sorted(blob.name for blob in blobs)


def check_bucket(client: storage.Client, bucket: str) -> None:
    """Check that the bucket exists and its objects may be listed.

    Raises
    ------
    Misconfigured
        The bucket does not exist, or access is refused.
    RetryLater
        Cloud Storage failed.
    """
    with bucket_errors(bucket):
        next(iter(client.list_blobs(bucket, max_results=1, timeout=TIMEOUT, retry=RETRY)), None)


def remove(
    client: storage.Client,
    bucket: str,
    name: str,
    generation: int | None = None,
    batch_id: str | None = None,
) -> bool:
    """Delete an object (of this generation only, if given); return whether it existed.

    An object whose generation has changed belongs to someone else and is kept.

    Raises
    ------
    FailBatch
        Retention or a hold forbids it.
    """
    there = find(client, bucket, name)
    if there is None or generation not in {None, there.generation}:
        return False
    with bucket_errors(bucket):
        try:
            client.bucket(bucket).blob(name).delete(
                if_generation_match=there.generation, timeout=TIMEOUT, retry=RETRY
            )
        except (api.NotFound, api.PreconditionFailed):
            return False
        except api.Forbidden as error:
            if is_kept(str(error)):
                raise kept_error(there, there.kept or KEPT, batch_id) from None
            raise
        return True


def clear_away(client: storage.Client, bucket: str, name: str) -> bool:
    """Delete a staging object; return whether it is gone.

    If the bucket keeps it (retention, a hold), the delivery is not affected.
    """
    try:
        remove(client, bucket, name)
    except FailBatch as kept:
        logger.warning("%s remains in bucket %s for now: %s", name, bucket, kept)
        return False
    return True


def check_removable(batch_id: str, there: StoredObject) -> None:
    """Check that an object may be deleted or replaced now.

    Raises
    ------
    FailBatch
        A retention period or a hold forbids it.
    """
    if there.kept is not None:
        raise kept_error(there, there.kept, batch_id)


def kept_error(there: StoredObject, why: str, batch_id: str | None) -> FailBatch:
    """Return the error for an object that may not be deleted or replaced."""
    whose = f"batch {batch_id}: " if batch_id else ""
    return FailBatch(
        f"{whose}the object {there.name} (generation {there.generation}) is {why}: Cloud Storage "
        "lets nobody delete or replace it, and it is unchanged. When that has "
        "ended, or the bucket's owner has lifted it, run the command again"
    )


def is_of(there: StoredObject, delivery: Delivery) -> bool:
    """Whether an object is the delivery's archive, even if it has been rewritten since."""
    return there.generation == delivery.generation or there.holds(delivery)


def take_out(client: storage.Client, delivery: Delivery) -> bool:
    """Delete a delivery's object, and verify that it is gone.

    Its generation may differ from the one delivered: an object that was rewritten (for
    a different key or storage class, or copied back) is the same archive.

    Returns
    -------
    bool
        Whether it existed. An object with different bytes belongs to someone else and is kept.

    Raises
    ------
    FailBatch
        Retention or a hold forbids it: nothing was deleted.
    RetryLater
        The object still exists, or exists again.
    """
    bucket, name = delivery.bucket, delivery.object
    there = find(client, bucket, name)
    if there is None or not is_of(there, delivery):
        return False
    check_removable(delivery.batch_id, there)
    remove(client, bucket, name, there.generation, delivery.batch_id)
    there = find(client, bucket, name)
    if there is not None and is_of(there, delivery):
        raise RetryLater(
            f"batch {delivery.batch_id}: its object {name} was deleted, but has been written again "
            "meanwhile; repeat this"
        )
    return True


def remains(client: storage.Client, bucket: str, name: str) -> list[str]:
    """Describe what Cloud Storage still keeps of a deleted object: noncurrent versions (object
    versioning), and copies that can be restored (soft delete)."""
    left = []
    for kept, options in (
        ("an earlier version, kept by object versioning", {"versions": True}),
        ("a restorable copy, kept by soft delete", {"soft_deleted": True}),
    ):
        with bucket_errors(bucket):
            blobs = client.list_blobs(bucket, prefix=name, timeout=TIMEOUT, retry=RETRY, **options)
            left += [
                f"{kept}: generation {blob.generation}"
                for blob in blobs
                if blob.name == name and (blob.time_deleted or blob.soft_delete_time)
            ]
    return left


def bucket_errors(bucket: str) -> AbstractContextManager[None]:
    """Translate the errors of calls to a bucket."""
    return google_errors("Cloud Storage", f"bucket {bucket}", SETTING, ROLE)


def _described(blob: storage.Blob) -> StoredObject:
    return StoredObject(
        bucket=blob.bucket.name,
        name=blob.name,
        size=int(blob.size),
        crc32c=str(blob.crc32c),
        md5=blob.md5_hash,
        generation=int(blob.generation),
        updated=blob.updated.isoformat(),
        self_link=str(blob.self_link),
        media_link=str(blob.media_link),
        kept=_kept(blob),
    )


def _kept(blob: storage.Blob) -> str | None:
    now = datetime.now(UTC)
    ends = [blob.retention_expiration_time, blob.retention.retain_until_time]
    until = max((end for end in ends if end is not None and end > now), default=None)
    if until is not None:
        return f"under retention until {until:%Y-%m-%d %H:%M} UTC"
    if blob.temporary_hold:
        return "under a temporary hold"
    if blob.event_based_hold:
        return "under an event-based hold"
    return None
