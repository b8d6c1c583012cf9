from __future__ import annotations

import copy
import json
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sendit.coded_study import CodedStudy
from sendit.dicom.placeholder_dates import EARLIEST, LATEST, is_placeholder
from sendit.errors import FailBatch
from sendit.identifiers.models import (
    Request,
    first_date_time,
    read_answer,
    read_request,
    request_of,
)

# The request and the response in DASHER's documentation, verbatim.
REQUEST = {
    "identifiers": [
        {
            "id": "1111111",
            "id_source": "Stanford MRN",
            "id_timestamp": "1961-07-27T00:00:00Z",
            "items": [
                {
                    "id": "2222222",
                    "id_source": "DCM Accession #",
                    "id_timestamp": "2010-02-04T11:50:00Z",
                }
            ],
        }
    ]
}
ANSWER: dict[str, Any] = {
    "results": [
        {
            "id": "1111111",
            "id_source": "Stanford MRN",
            "suid": "12fa",
            "jitter": 5,
            "jittered_timestamp": "1961-08-01T00:00:00-0700",
            "items": [
                {
                    "id": "2222222",
                    "id_source": "DCM Accession #",
                    "suid": "12fb",
                    "jitter": 5,
                    "jittered_timestamp": "2010-02-09T11:50:00-0800",
                }
            ],
        }
    ]
}
ENTITY = ("results", 0)
ITEM = ("results", 0, "items", 0)

ids = st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(str.strip)
days = st.dates(date(EARLIEST, 1, 1), date(LATEST, 12, 31)).filter(
    lambda day: not is_placeholder(day)
)
moments = st.builds(datetime.combine, days, st.times())
codes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)


def documented() -> Request:
    return request_of("1111111", "19610727", "2222222", "20100204115000")


def changed(where: tuple[str | int, ...], value: Any) -> str:
    answer: Any = copy.deepcopy(ANSWER)
    place = answer
    for key in where[:-1]:
        place = place[key]
    if value is KeyError:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    return json.dumps(answer)


def test_documented_request() -> None:
    assert json.loads(documented().wire()) == REQUEST


def test_documented_response() -> None:
    answer = read_answer(json.dumps(ANSWER), documented())
    assert answer.coded_study() == CodedStudy("12fa", "12fb", 5, "19610801", "20100209")
    assert json.loads(answer.wire()) == ANSWER


@pytest.mark.parametrize("missing", [None, "", "   "])
def test_a_missing_id_fails_the_batch(missing: str | None) -> None:
    with pytest.raises(FailBatch, match=r"^PatientID is missing"):
        request_of(missing, None, "2222222", None)
    with pytest.raises(FailBatch, match=r"^AccessionNumber is missing"):
        request_of("1111111", None, missing, None)


@pytest.mark.parametrize("bad", ["11\n11", "1111\x00", "1\x1b[0m", "1\x851", "1\udcff1"])
def test_a_control_character_fails_the_batch_and_is_not_shown(bad: str) -> None:
    with pytest.raises(FailBatch, match=r"^PatientID has control characters") as caught:
        request_of(bad, None, "2222222", None)
    assert "11" not in str(caught.value)
    with pytest.raises(FailBatch, match=r"^AccessionNumber has control characters"):
        request_of("1111111", None, bad, None)


@given(patient=ids, accession=ids)
def test_ids_are_sent_unchanged(patient: str, accession: str) -> None:
    sent = json.loads(request_of(patient, None, accession, None).wire())
    assert sent["identifiers"][0]["id"] == patient
    assert sent["identifiers"][0]["items"][0]["id"] == accession


@pytest.mark.parametrize(
    ("value", "stamp"),
    [
        ("20100204", "2010-02-04T00:00:00Z"),
        ("2010.02.04", "2010-02-04T00:00:00Z"),
        (" 20100204 ", "2010-02-04T00:00:00Z"),
        ("2010020411", "2010-02-04T11:00:00Z"),
        ("201002041150", "2010-02-04T11:50:00Z"),
        ("20100204115009.123456", "2010-02-04T11:50:09Z"),
        ("2010020411:50:09", "2010-02-04T11:50:09Z"),
        ("20100204235960", "2010-02-04T23:59:59Z"),
        ("20240229", "2024-02-29T00:00:00Z"),
        ("20230229", None),
        ("19000000", None),
        ("00010101", None),
        ("18991231", None),
        ("19000101", None),
        ("1970010112", None),
        ("20000101", None),
        ("21000101", None),
        ("99991231", None),
        ("2010-02-04", "2010-02-04T00:00:00Z"),
        ("2010-02-04T11:50:09", "2010-02-04T11:50:09Z"),
        ("20100204\n", "2010-02-04T00:00:00Z"),
        ("05/06/2010", None),
        ("2010.0204", None),
        ("201002", None),
        ("20100204abc", None),
        ("2010020425", None),
        ("２０１００２０４", None),
        ("", None),
        (None, None),
    ],
)
def test_timestamps(value: str | None, stamp: str | None) -> None:
    entity = json.loads(request_of("1", value, "2", value).wire())["identifiers"][0]
    assert entity.get("id_timestamp") == stamp
    assert entity["items"][0].get("id_timestamp") == stamp


@given(moments)
def test_timestamps_round_trip(moment: datetime) -> None:
    request = request_of("1", f"{moment:%Y%m%d}", "2", f"{moment:%Y%m%d%H%M%S.%f}")
    assert request.entity.id_timestamp == f"{moment:%Y-%m-%d}T00:00:00Z"
    assert request.item.id_timestamp == f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    assert request.item.day == moment.date()


@given(st.text(max_size=24))
def test_any_text_gives_a_valid_timestamp_or_none(value: str) -> None:
    stamp = request_of("1", value, "2", None).entity.id_timestamp
    assert stamp is None or len(stamp) == len("2010-02-04T11:50:00Z")


@pytest.mark.parametrize("padding", ["\0", " ", " \0", "\n"])
def test_date_padding_is_stripped(padding: str) -> None:
    header = {0x00080020: f"20100204{padding}", 0x00080030: f"{padding}1150{padding}"}
    assert first_date_time(header.get) == "201002041150"


def test_study_date_falls_back_to_the_first_dated_attribute() -> None:
    header = {
        0x00080020: "not a date",
        0x00080030: "101010",
        0x00080021: "",
        0x00080023: "20100204",
        0x00080033: "1150",
        0x00080022: "20110101",
    }
    assert first_date_time(header.get) == "201002041150"
    header[0x00080033] = "11:50:09.1234567"
    assert first_date_time(header.get) == "20100204115009.123456"
    header[0x00080023] = "2010-02-04"
    header[0x00080033] = "noon"
    assert first_date_time(header.get) == "20100204"
    assert first_date_time({}.get) is None


@given(
    patient=ids,
    accession=ids,
    birth=days | st.none(),
    made=moments | st.none(),
    jitter=st.integers(-400, 400),
    patient_code=codes,
    study_code=codes,
    extra=st.dictionaries(st.sampled_from(["note", "custom_fields"]), st.text(max_size=3)),
)
def test_responses_round_trip(
    *,
    patient: str,
    accession: str,
    birth: date | None,
    made: datetime | None,
    jitter: int,
    patient_code: str,
    study_code: str,
    extra: dict[str, str],
) -> None:
    assume(patient_code != patient and study_code != accession)
    request = request_of(
        patient,
        birth.strftime("%Y%m%d") if birth else None,
        accession,
        made.strftime("%Y%m%d%H%M%S") if made else None,
    )
    assert read_request(request.wire()) == request
    shift = timedelta(days=jitter)
    home = ZoneInfo("America/Los_Angeles")

    def coded(sent: Any, code: str) -> dict[str, Any]:
        # A service dates a missing date by its own clock.
        stamp = sent.id_timestamp or "2026-03-08T02:30:00Z"
        moment = datetime.fromisoformat(stamp[:-1]) + shift
        return {
            **extra,
            "id": sent.id,
            "id_source": sent.id_source,
            "suid": code,
            "jitter": jitter,
            "jittered_timestamp": moment.isoformat() + moment.replace(tzinfo=home).strftime("%z"),
        }

    entity = coded(request.entity, patient_code)
    entity["items"] = [coded(request.item, study_code)]
    answer = read_answer(json.dumps({"results": [entity]}), request)
    assert answer.coded_study() == CodedStudy(
        patient_code,
        study_code,
        jitter,
        (birth + shift).strftime("%Y%m%d") if birth else None,
        (made + shift).strftime("%Y%m%d") if made else None,
    )
    assert read_answer(answer.wire(), request) == answer


BROKEN = [
    ((*where, name), value, rf"{name}|answers for a different id")
    for where in (ENTITY, ITEM)
    for name, values in {
        "id": ["1111112", "1111111 ", "", None, 1111111, KeyError],
        "id_source": ["stanford", "", None, KeyError],
        "suid": ["", None, 12, "12/fa", "../x", ".x", "-x", "12fa\n", "a" * 65, "ü", KeyError],
        "jitter": [5.0, "5", True, None, 10**9, -(10**9), KeyError],
        "jittered_timestamp": [
            "1961-08-02T00:00:00-0700",
            "1961-13-01T00:00:00-0700",
            "1961-08-01",
            "2010-02-09T11:50:00-0800Z",
            "",
            None,
            19610801,
            KeyError,
        ],
    }.items()
    for value in values
]
BROKEN += [
    (("results",), value, "results")
    for value in ([], {}, None, ANSWER["results"] * 2, "x", KeyError)
]
BROKEN += [
    ((*ENTITY, "items"), value, "items")
    for value in ([], {}, None, ANSWER["results"][0]["items"] * 2, KeyError)
]
BROKEN += [
    ((*ENTITY, "suid"), "1111111", "the coded id is the real one"),
    ((*ITEM, "suid"), "2222222", "the coded id is the real one"),
    ((*ITEM, "jitter"), 6, "different jitters"),
]


@pytest.mark.parametrize(("where", "value", "text"), BROKEN)
def test_a_response_that_violates_the_contract_fails_the_batch(
    where: tuple[str | int, ...], value: Any, text: str
) -> None:
    with pytest.raises(FailBatch, match="breaks its contract") as caught:
        read_answer(changed(where, value), documented())
    assert caught.match(text)
    shown = str(caught.value)
    assert not any(word in shown for word in ("1111111", "2222222", "1961", "2010", "12f"))


@pytest.mark.parametrize("content", ["", "[]", "null", "3", "{", "<html>", '{"results": [1]}'])
def test_an_unparsable_response_fails_the_batch(content: str) -> None:
    with pytest.raises(FailBatch, match="breaks its contract"):
        read_answer(content, documented())


@given(st.binary(max_size=200))
def test_any_bytes_fail_the_batch(content: bytes) -> None:
    with pytest.raises(FailBatch):
        read_answer(content, documented())


def test_jitter_across_midnight_utc_is_used_as_is() -> None:
    request = request_of("1111111", None, "2222222", "20100204235959")
    content = changed((*ITEM, "jittered_timestamp"), "2010-02-09T23:59:59-0800")
    assert read_answer(content, request).coded_study().item_date == "20100209"


@pytest.mark.parametrize(
    "content", ["{}", '{"identifiers": []}', REQUEST | {"more": 1}, {"identifiers": "1111111"}]
)
def test_a_corrupted_stored_request_is_reported(content: Any) -> None:
    with pytest.raises(FailBatch, match="stored request") as caught:
        read_request(content if isinstance(content, str) else json.dumps(content))
    assert "1111111" not in str(caught.value)


@pytest.mark.parametrize("stamp", ["2010-02-31T00:00:00Z", "9999-12-31T00:00:00Z", "20100204"])
def test_a_stored_request_with_an_invalid_date_is_corrupted(stamp: str) -> None:
    content = json.dumps(REQUEST).replace("2010-02-04T11:50:00Z", stamp)
    with pytest.raises(FailBatch, match="stored request"):
        read_request(content)


@pytest.mark.parametrize("bad", ["", "  ", "11\n11", "\x7f"])
def test_a_stored_request_with_an_invalid_id_is_corrupted(bad: str) -> None:
    content = json.dumps(REQUEST).replace('"2222222"', json.dumps(bad))
    with pytest.raises(FailBatch, match="stored request"):
        read_request(content)


def test_repr_of_models_hides_values() -> None:
    request = documented()
    answer = read_answer(json.dumps(ANSWER), request)
    for model in (request, request.entity, request.item, answer, answer.entity, answer.item):
        assert "1111111" not in f"{model} {model!r}"
        assert "2222222" not in f"{model} {model!r}"
