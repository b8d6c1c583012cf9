"""Rows: their schema, their checks, and how they are written."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.delivery import rows as writing
from sendit.delivery.rows import (
    COLUMNS,
    MAX_HEADER_BYTES,
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
    found = Rows()
    for row in each:
        found.add(row)
    return found


def test_the_columns_are_those_of_the_design():
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


def test_a_row_says_where_the_archive_is_and_what_it_holds():
    row = row_of(delivery(), HEADER)
    assert row["CodedPatientID"] == "12fa"
    assert row["CodedAccessionNumberID"] == "12fb"
    assert row["ContentType"] == "application/gzip"
    assert row["storage_download"] == "http://x/download/a"
    assert row["storage_metadataLink"] == "http://x/o/a"
    assert (row["PatientSex"], row["PatientAge"], row["Modality"]) == ("F", "042Y", "CT")
    assert json.loads(row["DicomHeader"]) == HEADER
    assert row["sendit_images"] == 2


def test_what_the_header_lacks_is_null():
    row = row_of(delivery(), {"PatientSex": "", "Modality": ["CT", "MR"]})
    assert row["PatientSex"] is None
    assert row["StudyDescription"] is None
    assert row["Modality"] == "CT\\MR"


def test_an_archive_that_is_not_in_the_bucket_has_no_row():
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
def test_a_row_that_does_not_fit_is_refused_by_column_and_never_quoted(column, value, text):
    row = row_of(delivery(), HEADER) | {column: value}
    with pytest.raises(ValueError, match=text) as raised:
        check_row(row)
    assert "yesterday" not in str(raised.value)


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
def test_a_row_has_all_columns(column):
    row = row_of(delivery(), HEADER)
    del row[column]
    with pytest.raises(ValueError, match=f"{column} is missing"):
        check_row(row)


@given(st.text())
def test_any_description_survives_the_file(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("rows") / "0.ndjson"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        return
    row = row_of(delivery(), {"StudyDescription": text})
    write_rows(path, rows(row))
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line) == row


def test_rows_are_written_in_one_order_privately_and_whole(tmp_path):
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


def test_one_archive_has_one_row():
    row = row_of(delivery(), HEADER)
    found = rows(row)
    with pytest.raises(FailBatch, match="duplicated"):
        found.add(row)
    assert len(found) == 1


def test_a_row_beyond_all_measure_is_refused():
    found = Rows()
    with pytest.raises(FailBatch, match="larger than"):
        found.add(row_of(delivery(), {"StudyDescription": "x" * MAX_ROW_BYTES}))
    assert found.lines() == []


NAN, INFINITY = float("nan"), float("inf")


def test_a_number_that_json_has_not_is_null():
    header = {"A": NAN, "B": [1.5, INFINITY, -INFINITY], "C": [{"D": NAN, "E": 1e308}], "F": 2**64}
    row = row_of(delivery(), header)
    assert json.loads(row["DicomHeader"], parse_constant=pytest.fail) == {
        "A": None,
        "B": [1.5, None, None],
        "C": [{"D": None, "E": 1e308}],
        "F": 2**64,
    }


def test_text_that_utf8_cannot_say_is_said_as_far_as_it_goes():
    row = row_of(delivery(), {"StudyDescription": "TH\0OR\udcffAX", "Modality": "\0"})
    assert (row["StudyDescription"], row["Modality"]) == ("THOR?AX", None)
    assert json.loads(row["DicomHeader"])["StudyDescription"] == "THOR?AX"


def test_a_header_of_any_length_makes_a_row():
    many = {f"K{number}": "\U0001f600" * 65_536 for number in range(100)} | HEADER
    row = row_of(delivery(), many)
    held = json.loads(row["DicomHeader"])
    assert held.keys() > HEADER.keys()
    assert 600_000 < len(row["DicomHeader"]) <= MAX_HEADER_BYTES + 10_000
    (line,) = rows(row).lines()
    assert len(line) <= MAX_ROW_BYTES


def test_a_header_that_fits_is_whole():
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
def test_any_header_makes_a_row(header):
    (line,) = rows(row_of(delivery(), header)).lines()
    held = json.loads(line, parse_constant=pytest.fail)
    json.loads(held["DicomHeader"], parse_constant=pytest.fail)
    assert "\\u0000" not in held["DicomHeader"].replace("\\\\", "")


def test_a_folder_that_cannot_be_written_is_for_later(tmp_path):
    (tmp_path / "lanes").write_text("")
    with pytest.raises(RetryLater, match="SENDIT_WORK_FOLDER"):
        write_rows(tmp_path / "lanes" / "0.ndjson", Rows())


def test_the_merge_names_every_column_and_keeps_the_newest_generation():
    sql = merge_statement("c", "stage_0_0")
    assert "`c.dicom`" in sql
    assert "`c.stage_0_0`" in sql
    assert "new.generation >= held.generation" in sql
    for column in COLUMNS:
        assert f"{column.name} = new.{column.name}" in sql
        assert f"new.{column.name}" in sql.partition("VALUES")[2]


def test_the_longest_values_are_left_out_first(monkeypatch):
    monkeypatch.setattr(writing, "MAX_HEADER_BYTES", 40)
    header = {"A": "x", "B": "y" * 50, "C": "z" * 20, "D": "w" * 60}
    assert writing.header_text(header) == json.dumps({"A": "x", "C": "z" * 20})
    assert writing.header_text({"A": "x" * 37}) == json.dumps({"A": "x" * 37})
    assert writing.header_text({"A": "x" * 38}) == "{}"
