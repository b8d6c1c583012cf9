"""Parsing BigQuery's wire format of a row."""

from demo.stack import record


def test_record_reads_types_repetition_and_nesting():
    fields = [
        {"name": "name", "type": "STRING"},
        {"name": "size", "type": "INTEGER"},
        {"name": "ratio", "type": "FLOAT"},
        {"name": "good", "type": "BOOLEAN"},
        {"name": "none", "type": "STRING"},
        {"name": "words", "type": "STRING", "mode": "REPEATED"},
        {"name": "inner", "type": "RECORD", "fields": [{"name": "n", "type": "INT64"}]},
    ]
    row = {
        "f": [
            {"v": "a"},
            {"v": "12"},
            {"v": "0.5"},
            {"v": "true"},
            {"v": None},
            {"v": [{"v": "x"}, {"v": "y"}]},
            {"v": {"f": [{"v": "3"}]}},
        ]
    }
    assert record(fields, row) == {
        "name": "a",
        "size": 12,
        "ratio": 0.5,
        "good": True,
        "none": None,
        "words": ["x", "y"],
        "inner": {"n": 3},
    }
