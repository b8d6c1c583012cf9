"""BigQuery rows: schema, validation, and the rows file."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.delivery import rows as writing
from sendit.delivery.rows import (
    COLUMNS,
    MAX_HEADER_CHARACTERS,
    MAX_ROW_BYTES,
    Rows,
    check_row,
    header_text,
    merge_statement,
    row_of,
    schema_fields,
    write_rows,
)
from sendit.errors import FailBatch, RetryLater
from sendit.ledger import Delivery

HEADER = {
    "PatientSex": "F",
    "PatientAge": "042Y",
    "Modality": "CT",
    "StudyDescription": "THORAX",
    "ImageType": ["ORIGINAL", "PRIMARY"],
}


def delivery(**changes) -> Delivery:
    return Delivery(
        **{
            "batch_id": "b0123456789abcdef",
            "bucket": "data",
            "object": "Collection/c/Entity/12fa/12fa_20100209_12fb.tar.gz",
            "size": 1234,
            "crc32c": "AAAAAA==",
            "md5": "AAAAAAAAAAAAAAAAAAAAAA==",
            "members": 2,
            "recipe_digest": "0" * 64,
            "engine": "1.0",
            "generation": 1795352250431642,
            "updated": "2026-11-22T12:00:00.123456+00:00",
            "self_link": "http://x/o/a",
            "media_link": "http://x/download/a",
            **changes,
        }
    )


def rows(*each) -> Rows:
    collected = Rows()
    for row in each:
        collected.add(row)
    return collected


def test_columns():
    names = [column.name for column in COLUMNS]
    of_the_design = {
        *("storage_download", "storage_metadataLink", "CodedAccessionNumberID", "CodedPatientID"),
        *("ContentType", "PatientSex", "PatientAge", "Modality", "StudyDescription"),
        *("DicomHeader", "bucket", "name", "size", "crc32c", "md5Hash", "updated", "generation"),
    }
    assert of_the_design <= set(names)
    assert len(set(names)) == len(names)
    assert all(column.description.endswith(".") for column in COLUMNS)
    assert [field["name"] for field in schema_fields()] == names


def test_row_describes_the_archive_and_its_header():
    row = row_of(delivery(), HEADER)
    assert row["CodedPatientID"] == "12fa"
    assert row["CodedAccessionNumberID"] == "12fb"
    assert row["ContentType"] == "application/gzip"
    assert row["storage_download"] == "http://x/download/a"
    assert row["storage_metadataLink"] == "http://x/o/a"
    assert (row["PatientSex"], row["PatientAge"], row["Modality"]) == ("F", "042Y", "CT")
    assert json.loads(row["DicomHeader"]) == HEADER
    assert row["sendit_images"] == 2


def test_missing_header_values_are_null():
    row = row_of(delivery(), {"PatientSex": "", "Modality": ["CT", "MR"]})
    assert row["PatientSex"] is None
    assert row["StudyDescription"] is None
    assert row["Modality"] == "CT\\MR"


def test_an_archive_that_was_not_uploaded_has_no_row():
    with pytest.raises(FailBatch, match="generation: Input should be a valid integer"):
        row_of(delivery(generation=None, updated=None), HEADER)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("size", "12", "size: Input should be a valid integer"),
        ("size", True, "size: Input should be a valid integer"),
        ("size", 2**63, "size: Input should be less than"),
        ("generation", None, "generation: Input should be a valid integer"),
        ("updated", "yesterday", "updated is not a time with an offset"),
        ("updated", "2026-11-22T12:00:00", "updated is not a time with an offset"),
        ("PatientAge", 42, "PatientAge: Input should be a valid string"),
        ("StudyDescription", "\ud800", "StudyDescription is not valid Unicode"),
        ("surprise", 1, "columns that the table does not have"),
    ],
)
def test_an_invalid_row_error_names_the_column_and_not_the_value(column, value, text):
    row = row_of(delivery(), HEADER) | {column: value}
    with pytest.raises(ValueError, match=text) as raised:
        check_row(row)
    assert "yesterday" not in str(raised.value)


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_a_missing_column_is_rejected(column):
    row = row_of(delivery(), HEADER)
    del row[column]
    with pytest.raises(ValueError, match=f"{column} is missing"):
        check_row(row)


@given(st.text())
def test_any_description_survives_the_rows_file(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("rows") / "0.ndjson"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        return
    row = row_of(delivery(), {"StudyDescription": text})
    write_rows(path, rows(row))
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line) == row


def test_rows_file_is_sorted_private_and_atomic(tmp_path):
    several = [
        row_of(delivery(object=f"Collection/c/Entity/p/p_nodate_{n}.tar.gz"), HEADER)
        for n in range(5)
    ]
    path = tmp_path / "lanes" / "run" / "0.ndjson"
    write_rows(path, rows(*several))
    first = path.read_bytes()
    assert len(first.splitlines()) == 5
    write_rows(path, rows(*reversed(several)))
    assert path.read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["0.ndjson"]


def test_a_second_row_for_an_archive_is_rejected():
    row = row_of(delivery(), HEADER)
    collected = rows(row)
    with pytest.raises(FailBatch, match="duplicated"):
        collected.add(row)
    assert len(collected) == 1


def test_an_oversized_row_is_rejected():
    collected = Rows()
    with pytest.raises(FailBatch, match="larger than"):
        collected.add(row_of(delivery(), {"StudyDescription": "x" * MAX_ROW_BYTES}))
    assert collected.lines() == []


NAN, INFINITY = float("nan"), float("inf")


def test_nan_and_infinity_become_null():
    header = {"A": NAN, "B": [1.5, INFINITY, -INFINITY], "C": [{"D": NAN, "E": 1e308}], "F": 2**64}
    row = row_of(delivery(), header)
    assert json.loads(row["DicomHeader"], parse_constant=pytest.fail) == {
        "A": None,
        "B": [1.5, None, None],
        "C": [{"D": None, "E": 1e308}],
        "F": 2**64,
    }


def test_invalid_unicode_is_replaced():
    row = row_of(delivery(), {"StudyDescription": "TH\0OR\udcffAX", "Modality": "\0"})
    assert (row["StudyDescription"], row["Modality"]) == ("THOR?AX", None)
    assert json.loads(row["DicomHeader"])["StudyDescription"] == "THOR?AX"


def test_a_long_header_is_trimmed_to_the_row_limit():
    many = {f"K{number}": "\U0001f600" * 65_536 for number in range(100)} | HEADER
    row = row_of(delivery(), many)
    row_json = json.loads(row["DicomHeader"])
    assert row_json.keys() > HEADER.keys()
    assert 600_000 < len(row["DicomHeader"]) <= MAX_HEADER_CHARACTERS + 10_000
    (line,) = rows(row).lines()
    assert len(line) <= MAX_ROW_BYTES


def test_a_header_within_the_limit_is_complete():
    assert header_text(HEADER) == json.dumps(HEADER, sort_keys=True)
    assert header_text({}) == "{}"


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.text() | st.floats() | st.integers(-(2**63), 2**64 - 1),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_every_header_makes_a_valid_row(header):
    (line,) = rows(row_of(delivery(), header)).lines()
    row_json = json.loads(line, parse_constant=pytest.fail)
    json.loads(row_json["DicomHeader"], parse_constant=pytest.fail)
    assert "\\u0000" not in row_json["DicomHeader"].replace("\\\\", "")


def test_an_unwritable_rows_folder_raises_retry_later(tmp_path):
    (tmp_path / "lanes").write_text("")
    with pytest.raises(RetryLater, match="SENDIT_WORK_FOLDER"):
        write_rows(tmp_path / "lanes" / "0.ndjson", Rows())


def test_merge_statement_names_every_column_and_keeps_the_newest_generation():
    sql = merge_statement("c", "stage_0_0")
    assert "`c.dicom`" in sql
    assert "`c.stage_0_0`" in sql
    assert "new.generation >= held.generation" in sql
    for column in COLUMNS:
        assert f"{column.name} = new.{column.name}" in sql
        assert f"new.{column.name}" in sql.partition("VALUES")[2]


def test_the_longest_header_values_are_dropped_first(monkeypatch):
    monkeypatch.setattr(writing, "MAX_HEADER_CHARACTERS", 40)
    header = {"A": "x", "B": "y" * 50, "C": "z" * 20, "D": "w" * 60}
    assert writing.header_text(header) == json.dumps({"A": "x", "C": "z" * 20})
    assert writing.header_text({"A": "x" * 37}) == json.dumps({"A": "x" * 37})
    assert writing.header_text({"A": "x" * 38}) == "{}"
