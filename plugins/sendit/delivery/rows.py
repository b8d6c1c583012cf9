"""Rows: one for each delivered archive, in the table ``dicom`` of the collection's dataset.

The schema below is the contract with those who query it; every row is checked against it
before it is sent, because a load job that guesses, or ignores what it does not know, hides
mistakes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sendit.atomic_write import atomic_write
from sendit.delivery.names import TABLE, parse_object_name
from sendit.delivery.objects import CONTENT_TYPE
from sendit.errors import FailBatch, RetryLater
from sendit.ledger import Delivery

#: BigQuery refuses a JSON row over 100 MB, and some of its tools one over 10 MB.
MAX_ROW_BYTES = 10_000_000

#: Characters of DicomHeader above which its longest values are left out. In a row each may become
#: twelve bytes (two JSON escapes), and the other columns are short.
MAX_HEADER_BYTES = 800_000

TABLE_DESCRIPTION = (
    "One row for each archive of de-identified DICOM images that sendit delivered: where it is, "
    "its checksums, and the header of its first image as delivered. All codes are pseudonyms."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: BigQuery's type and mode, and what it means."""

    name: str
    type: str
    mode: str
    description: str


def _required(name: str, kind: str, description: str) -> Column:
    return Column(name, kind, "REQUIRED", description)


def _optional(name: str, kind: str, description: str) -> Column:
    return Column(name, kind, "NULLABLE", description)


COLUMNS = (
    _required("storage_download", "STRING", "Link that downloads the archive (mediaLink)."),
    _required("storage_metadataLink", "STRING", "Link to the object's metadata (selfLink)."),
    _required("CodedAccessionNumberID", "STRING", "Coded id of the study (accession number)."),
    _required("CodedPatientID", "STRING", "Coded id of the patient."),
    _required("ContentType", "STRING", "Media type of the object: application/gzip, a tar inside."),
    _optional("PatientSex", "STRING", "PatientSex (0010,0040) as delivered."),
    _optional("PatientAge", "STRING", "PatientAge (0010,1010) as delivered, such as 042Y."),
    _optional("Modality", "STRING", "Modality (0008,0060) as delivered, of the first image."),
    _optional("StudyDescription", "STRING", "StudyDescription (0008,1030) as delivered."),
    _required(
        "DicomHeader",
        "STRING",
        "JSON object: header of the archive's first image as delivered, by keyword, without "
        "bulk values; a number that JSON has not (NaN, infinity) is null. Query it with "
        "JSON_VALUE(DicomHeader, '$.Manufacturer').",
    ),
    _required("bucket", "STRING", "Bucket of the archive."),
    _required("name", "STRING", "Name of the archive in its bucket; with it, the row's key."),
    _required("size", "INTEGER", "Size of the archive in bytes."),
    _required("crc32c", "STRING", "CRC32C of the archive's bytes, base64, big-endian."),
    _optional("md5Hash", "STRING", "MD5 of the archive's bytes, base64, by Cloud Storage."),
    _required("updated", "TIMESTAMP", "When Cloud Storage took the archive."),
    _required("generation", "INTEGER", "Generation of the object that this row describes."),
    _required("sendit_batch", "STRING", "Opaque id of the batch in sendit's ledger."),
    _required(
        "sendit_revision",
        "INTEGER",
        "1 for a study's first archive, then 2, 3, ... for those that replaced it.",
    ),
    _required("sendit_images", "INTEGER", "Number of images in the archive."),
    _required("sendit_recipe", "STRING", "SHA-256 of the recipe that de-identified it."),
    _required("sendit_engine", "STRING", "Version of sendit that de-identified it."),
    _optional(
        "sendit_warnings",
        "STRING",
        "What tools that convert the images will get wrong, because the recipe kept no private "
        "attribute that they need; null if nothing.",
    ),
)

_PYTHON: dict[str, type] = {"STRING": str, "INTEGER": int, "TIMESTAMP": str}
_FROM_HEADER = ("PatientSex", "PatientAge", "Modality", "StudyDescription")


def schema_fields() -> list[dict[str, str]]:
    """Return the schema as BigQuery's API and the provider's operators take it."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "mode": column.mode,
            "description": column.description,
        }
        for column in COLUMNS
    ]


def row_of(
    delivery: Delivery, header: Mapping[str, Any], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the row of an archive that is in the bucket.

    Parameters
    ----------
    delivery
        What the ledger says of it, with the generation that was read back.
    header
        Keyword to value of the first image as delivered (de-identified), JSON-able.
    warnings
        What tools will get wrong (`sendit.deidentify.losses.warnings_of`).

    Raises
    ------
    FailBatch
        The archive is not in the bucket yet, or the row does not fit the schema.
    """
    name = parse_object_name(delivery.object)
    header = _plain(header)
    row: dict[str, Any] = {
        "storage_download": delivery.media_link,
        "storage_metadataLink": delivery.self_link,
        "CodedAccessionNumberID": name.study_code,
        "CodedPatientID": name.patient_code,
        "ContentType": CONTENT_TYPE,
        **{keyword: _text(header.get(keyword)) for keyword in _FROM_HEADER},
        "DicomHeader": header_text(header),
        "bucket": delivery.bucket,
        "name": delivery.object,
        "size": delivery.size,
        "crc32c": delivery.crc32c,
        "md5Hash": delivery.md5,
        "updated": delivery.updated,
        "generation": delivery.generation,
        "sendit_batch": delivery.batch_id,
        "sendit_revision": delivery.revision,
        "sendit_images": delivery.members,
        "sendit_recipe": delivery.recipe_digest,
        "sendit_engine": delivery.engine,
        "sendit_warnings": "; ".join(warnings) or None,
    }
    try:
        check_row(row)
    except ValueError as error:
        raise FailBatch(f"batch {delivery.batch_id}: its row is not valid: {error}") from None
    return row


def header_text(header: Mapping[str, Any]) -> str:
    """Return a plain header as JSON text, without its longest values if it is far too long: the
    image has them, and its row must not fail."""
    texts = {
        keyword: json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        for keyword, value in header.items()
    }
    length = sum(len(keyword) + len(text) for keyword, text in texts.items())
    for keyword in sorted(texts, key=lambda each: len(texts[each]), reverse=True):
        if length <= MAX_HEADER_BYTES:
            break
        length -= len(keyword) + len(texts.pop(keyword))
    pairs = (f"{json.dumps(keyword)}: {texts[keyword]}" for keyword in sorted(texts))
    return f"{{{', '.join(pairs)}}}"


def _plain(value: Any) -> Any:
    """Return a value as JSON and BigQuery can hold it.

    NaN and infinity become None: RFC 8259 has neither. Text loses NUL, which ends a text
    elsewhere, and halves of characters, which UTF-8 cannot say.
    """
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.replace("\0", "").encode("utf-8", "replace").decode()
        case Mapping():
            return {_plain(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return value


def _text(value: Any) -> str | None:
    """Return a header value as text; several values are joined as DICOM joins them."""
    if value is None or value == "":
        return None
    if isinstance(value, list | tuple):
        return "\\".join(str(part) for part in value) or None
    return str(value)


def check_row(row: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the column but never the value, unless the row fits the schema."""
    unknown = set(row) - {column.name for column in COLUMNS}
    if unknown:
        raise ValueError("it has columns that the table has not")
    for column in COLUMNS:
        if column.name not in row:
            raise ValueError(f"{column.name} is missing")
        value = row[column.name]
        if value is None:
            if column.mode == "REQUIRED":
                raise ValueError(f"{column.name} is empty")
            continue
        if not _has_type(value, column):
            raise ValueError(f"{column.name} is no {column.type}")
        if column.type == "INTEGER" and not -(2**63) <= value < 2**63:
            raise ValueError(f"{column.name} does not fit 64 bits")
        if column.type == "STRING" and not _is_unicode(value):
            raise ValueError(f"{column.name} is not valid Unicode")
        if column.type == "TIMESTAMP" and not _is_timestamp(value):
            raise ValueError(f"{column.name} is no time with an offset")


def _has_type(value: Any, column: Column) -> bool:
    return type(value) is _PYTHON[column.type]  # a bool is no INTEGER


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


class Rows:
    """The rows of a lane, each checked when it is added."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], bytes] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises
        ------
        FailBatch
            Another row has its key, or it is too large: MERGE or the load would fail for the
            whole lane.
        """
        check_row(row)
        key = (row["name"], row["bucket"])
        line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
        if key in self._lines or len(line) > MAX_ROW_BYTES:
            raise FailBatch(
                f"batch {row['sendit_batch']}: its row is "
                + ("there twice" if key in self._lines else f"larger than {MAX_ROW_BYTES} bytes")
            )
        self._lines[key] = line

    def lines(self) -> list[bytes]:
        """Return the rows as newline-delimited JSON, by their archives' names."""
        return [self._lines[key] for key in sorted(self._lines)]


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows as newline-delimited JSON, atomically.

    Raises
    ------
    RetryLater
        The working folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_write(path) as file:
            file.writelines(line.decode() for line in rows.lines())
    except OSError as error:
        raise RetryLater(
            f"the lane's rows cannot be written ({error.strerror}): free disk space or correct "
            "SENDIT_WORK_FOLDER; the task tries again"
        ) from None


def merge_statement(dataset: str, stage: str) -> str:
    """Return the MERGE statement from a staging table into the table.

    The key is the archive's place (bucket and name): run twice, the rows stay the same. A
    row is never replaced by one of an older generation, such as a task would bring that
    was thought dead.
    """
    names = [column.name for column in COLUMNS]
    updates = ", ".join(f"{name} = new.{name}" for name in names)
    return (
        f"MERGE `{dataset}.{TABLE}` AS held USING `{dataset}.{stage}` AS new\n"
        "ON held.bucket = new.bucket AND held.name = new.name\n"
        f"WHEN MATCHED AND new.generation >= held.generation THEN UPDATE SET {updates}\n"
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)})\n"
        f"VALUES ({', '.join(f'new.{name}' for name in names)})"
    )
