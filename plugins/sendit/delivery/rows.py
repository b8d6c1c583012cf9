"""Rows: one per delivered archive, in the table ``dicom`` of the collection's dataset.

The schema below is the contract with the table's users. Every row is validated against it
before it is sent, because a load job that detects types or ignores unknown values hides mistakes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    create_model,
)

from sendit.atomic_write import atomic_write
from sendit.delivery.names import TABLE, parse_object_name
from sendit.delivery.objects import CONTENT_TYPE
from sendit.errors import FailBatch, RetryLater
from sendit.ledger import Delivery

#: BigQuery rejects JSON rows over 100 MB, and some of its tools those over 10 MB.
MAX_ROW_BYTES = 10_000_000

#: Maximum length of DicomHeader in characters; longer ones lose their longest values. In a row each
#: character may take twelve bytes (two JSON escapes), and the other columns are short.
MAX_HEADER_CHARACTERS = 800_000

TABLE_DESCRIPTION = (
    "One row per archive of de-identified DICOM images that sendit delivered: its location, "
    "its checksums, and the header of its first image as delivered. All codes are pseudonyms."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its BigQuery type and mode, and its meaning."""

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
        "bulk values; numbers that JSON lacks (NaN, infinity) are null. Query it with "
        "JSON_VALUE(DicomHeader, '$.Manufacturer').",
    ),
    _required("bucket", "STRING", "Bucket of the archive."),
    _required("name", "STRING", "Name of the archive in its bucket; with it, the row's key."),
    _required("size", "INTEGER", "Size of the archive in bytes."),
    _required("crc32c", "STRING", "CRC32C of the archive's bytes, base64, big-endian."),
    _optional("md5Hash", "STRING", "MD5 of the archive's bytes, base64, by Cloud Storage."),
    _required("updated", "TIMESTAMP", "When Cloud Storage stored the archive."),
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
        "What conversion tools will get wrong, because the recipe did not keep the private "
        "attributes that they need; null if nothing.",
    ),
)

_FROM_HEADER = ("PatientSex", "PatientAge", "Modality", "StudyDescription")


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return text


def _with_offset(text: str) -> str:
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise ValueError("is not a time with an offset")


_TYPES: Final[Mapping[str, Any]] = {
    "STRING": Annotated[StrictStr, AfterValidator(_unicode)],
    "INTEGER": Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)],
    "TIMESTAMP": Annotated[StrictStr, AfterValidator(_with_offset)],
}
_FIELDS: Final[Mapping[str, Any]] = {
    column.name: (
        _TYPES[column.type] if column.mode == "REQUIRED" else _TYPES[column.type] | None,
        ...,
    )
    for column in COLUMNS
}
_Row: Final[type[BaseModel]] = create_model(
    "_Row", __config__=ConfigDict(extra="forbid"), **_FIELDS
)


def schema_fields() -> list[dict[str, str]]:
    """Return the schema in the form of BigQuery's API and the provider's operators."""
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
        The ledger's record, with the generation that was read back.
    header
        The first image's attributes as delivered (de-identified), by keyword; JSON-serializable.
    warnings
        What tools will get wrong (`sendit.deidentify.losses.warnings_of`).

    Raises
    ------
    FailBatch
        The archive is not in the bucket yet, or the row does not match the schema.
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
    """Return a header as JSON text, without its longest values if it is too long: the image has
    them, and the row must not fail."""
    texts = {
        keyword: json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        for keyword, value in header.items()
    }
    length = sum(len(keyword) + len(text) for keyword, text in texts.items())
    for keyword in sorted(texts, key=lambda each: len(texts[each]), reverse=True):
        if length <= MAX_HEADER_CHARACTERS:
            break
        length -= len(keyword) + len(texts.pop(keyword))
    pairs = (f"{json.dumps(keyword)}: {texts[keyword]}" for keyword in sorted(texts))
    return f"{{{', '.join(pairs)}}}"


def _plain(value: Any) -> Any:
    """Return a value in a form that JSON and BigQuery can hold.

    NaN and infinity, which RFC 8259 lacks, become None. Text loses NUL, which terminates strings
    elsewhere, and unpaired surrogates, which UTF-8 cannot encode.
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
    """Return a header value as text; several values are joined by backslashes, as in DICOM."""
    if value is None or value == "":
        return None
    if isinstance(value, list | tuple):
        return "\\".join(str(part) for part in value) or None
    return str(value)


def check_row(row: Mapping[str, Any]) -> None:
    """Validate a row against the schema.

    Raises
    ------
    ValueError
        It does not match. The text names the columns, never a value.
    """
    try:
        _Row.model_validate(row)
    except ValidationError as error:
        raise ValueError("; ".join(sorted({_problem(each) for each in error.errors()}))) from None


def _problem(error: Mapping[str, Any]) -> str:
    """Return a validation error's text, which quotes neither values nor unknown names."""
    column = error["loc"][0]
    match error["type"]:
        case "extra_forbidden":
            return "it has columns that the table does not have"
        case "missing":
            return f"{column} is missing"
        case "value_error":
            return f"{column} {error['ctx']['error']}"
        case _:
            return f"{column}: {error['msg']}"


class Rows:
    """The rows of a lane, each validated when it is added."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], bytes] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises
        ------
        FailBatch
            Another row has the same key, or the row is too large: MERGE or the load would fail for
            the whole lane.
        """
        check_row(row)
        key = (row["name"], row["bucket"])
        line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
        if key in self._lines or len(line) > MAX_ROW_BYTES:
            raise FailBatch(
                f"batch {row['sendit_batch']}: its row is "
                + ("duplicated" if key in self._lines else f"larger than {MAX_ROW_BYTES} bytes")
            )
        self._lines[key] = line

    def lines(self) -> list[bytes]:
        """Return the rows as newline-delimited JSON, sorted by their archives' names."""
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
            "SENDIT_WORK_FOLDER; the task will be retried"
        ) from None


def merge_statement(dataset: str, stage: str) -> str:
    """Return the MERGE statement from a staging table into the table.

    The key is the archive's location (bucket and name), so running it twice changes nothing. A
    row is never replaced by one with an older generation, such as one from a task that was
    believed dead.
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
