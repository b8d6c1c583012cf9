"""Two people never share a code, and an id's issuer decides whose it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.coded_study import CodedStudy
from sendit.errors import FailBatch
from sendit.identifiers.identity import (
    ACCESSION_NUMBER,
    ISSUER_OF_ACCESSION_NUMBER,
    ISSUER_OF_PATIENT_ID,
    PATIENT_ID,
    STUDY_INSTANCE_UID,
    IdentityRules,
    is_placeholder,
    issuers_text,
    request_for,
)
from sendit.identifiers.local import KeyedCodes, LocalService, MemoryCodes
from sendit.identifiers.models import Request, request_of
from sendit.keys import Keys
from sendit.ledger import Ledger

KEYS = Keys(b"k" * 32)
UNIVERSAL = "00100024.00400032"
NAME = "00100021"
ACCESSION_NAME = "00080051.00400031"
NORTH, SOUTH = {NAME: "NORTHGATE"}, {NAME: "SOUTHMOOR"}
STRICT = IdentityRules(unknown_ids="refuse")
AT_DASHER = IdentityRules(unknown_ids="refuse", known_issuers_only=True)


def header(
    patient: str | None = "1001234",
    accession: str | None = "A0001",
    *issuers: dict[str, str],
    of_accession: tuple[dict[str, str], ...] = (),
    study: str = "1.2.3",
) -> dict[int, str]:
    values = {
        PATIENT_ID: patient,
        ACCESSION_NUMBER: accession,
        STUDY_INSTANCE_UID: study,
        ISSUER_OF_PATIENT_ID: issuers_text(issuers) if issuers else None,
        ISSUER_OF_ACCESSION_NUMBER: issuers_text(of_accession) if of_accession else None,
    }
    return {tag: value for tag, value in values.items() if value is not None}


def sources(request: Request) -> tuple[str, str]:
    return request.entity.id_source, request.item.id_source


@pytest.fixture(params=["memory", "keyed", "ledger"])
def service(request: pytest.FixtureRequest, tmp_path: Any) -> LocalService:
    stores: dict[str, Any] = {
        "memory": MemoryCodes,
        "keyed": lambda: KeyedCodes(KEYS),
        "ledger": lambda: Ledger(f"sqlite:///{tmp_path}/ledger.db"),
    }
    return LocalService("test", KEYS, stores[request.param]())


def coded(service: LocalService, values: dict[int, str], **rules: Any) -> CodedStudy:
    return service.identify(request_for(values, IdentityRules(**rules))).coded_study()


def test_ids_without_an_issuer_keep_their_code(service: LocalService) -> None:
    before = service.identify(request_of("1001234", None, "A0001", None))
    assert service.identify(request_for(header(), IdentityRules())) == before
    assert request_for(header(), AT_DASHER) == request_of("1001234", None, "A0001", None)


@pytest.mark.parametrize(
    "other",
    [
        SOUTH,
        NORTH | {UNIVERSAL: "1.2.840.99"},
        NORTH | {"00100024.00400035": "AN"},
        NORTH | {"00100024.00400036.00400032": "1.2.840.98"},
        {UNIVERSAL: "1.2.840.99"},
    ],
)
def test_different_issuer_is_a_different_patient(
    service: LocalService, other: dict[str, str]
) -> None:
    one = coded(service, header("1001234", "A0001", NORTH))
    two = coded(service, header("1001234", "A0001", other))
    assert one.patient_code != two.patient_code
    assert one.study_code != two.study_code
    # In another spelling it is the same issuer.
    again = coded(service, header("1001234", "A0002", {NAME: " northgate  "}))
    assert again.patient_code == one.patient_code


def test_different_accession_issuer_is_a_different_study(service: LocalService) -> None:
    one = coded(service, header(of_accession=({ACCESSION_NAME: "NORTH RIS"},)))
    two = coded(service, header(of_accession=({ACCESSION_NAME: "SOUTH RIS"},)))
    bare = coded(service, header())
    assert one.patient_code == two.patient_code == bare.patient_code
    assert len({one.study_code, two.study_code, bare.study_code}) == 3
    joined = {"accession_sources": {"*": "DCM Accession #"}}
    assert coded(service, header(of_accession=({ACCESSION_NAME: "SOUTH RIS"},)), **joined) == bare


@pytest.mark.parametrize("name", ["*", "southmoor", " SouthMoor "])
def test_issuers_can_share_a_source(service: LocalService, name: str) -> None:
    bare = coded(service, header())
    joined = coded(
        service, header("1001234", "A0001", SOUTH), patient_sources={name: "Stanford MRN"}
    )
    assert joined == bare


@pytest.mark.parametrize(
    ("mapping", "issuer", "source"),
    [
        ({"NORTHGATE": "N", "*": "rest"}, NORTH, "N"),
        ({"NORTHGATE": "N", "*": "rest"}, SOUTH, "rest"),
        ({"NORTHGATE": "N", "1.2.840.99": "U"}, NORTH | {UNIVERSAL: "1.2.840.99"}, "U"),
        ({"": "ours"}, None, "ours"),
        ({"*": "rest"}, None, "Stanford MRN"),
    ],
)
def test_issuer_sources(
    mapping: dict[str, str], issuer: dict[str, str] | None, source: str
) -> None:
    values = header("1", "2", issuer) if issuer else header("1", "2")
    for known_only in (True, False):
        rules = IdentityRules(patient_sources=mapping, known_issuers_only=known_only)
        assert sources(request_for(values, rules)) == (source, "DCM Accession #")


def test_unknown_issuers_are_not_sent_to_dasher() -> None:
    with pytest.raises(FailBatch, match="SENDIT_PATIENT_ID_SOURCES") as refused:
        request_for(header("1001234", "A0001", NORTH), AT_DASHER)
    assert "NORTHGATE" not in str(refused.value)
    with pytest.raises(FailBatch, match="SENDIT_ACCESSION_SOURCES"):
        request_for(header(of_accession=({ACCESSION_NAME: "RIS"},)), AT_DASHER)


def test_partial_issuers_are_merged() -> None:
    whole = NORTH | {UNIVERSAL: "1.2.840.99"}
    request = request_for(header("1", "2", NORTH, {UNIVERSAL: "1.2.840.99"}), IdentityRules())
    assert request == request_for(header("1", "2", whole), IdentityRules())


def test_issuer_merging_does_not_depend_on_file_order() -> None:
    parts = NORTH | {"00100024.00400035": "MR"}, {UNIVERSAL: "1.2.840.99"}
    whole = request_for(header("1", "2", parts[0] | parts[1]), IdentityRules())
    for order in (parts, parts[::-1]):
        assert request_for(header("1", "2", *order), IdentityRules()) == whole


def test_two_issuers_fail_unless_they_share_a_source() -> None:
    values = header("1001234", "A0001", NORTH, SOUTH)
    with pytest.raises(FailBatch, match="more than one issuer of PatientID"):
        request_for(values, IdentityRules(patient_sources={"northgate": "N"}))
    both = IdentityRules(patient_sources={"northgate": "N", "southmoor": "N"})
    assert sources(request_for(values, both))[0] == "N"


@pytest.mark.parametrize(
    "text",
    [
        *("UNKNOWN", "Unknown^Unknown", "ANONYMOUS", "anon", "NONE", "N/A", "NO ID", "test"),
        *("Test Patient", "TESTPATIENT", "DOE^JOHN", "Unbekannt", "INCONNU", "Okänd", "不明"),
        *("0", "000000", "000-00-0000", "XXXXXXXX", "xxx-xx-xxxx", "99999999", "?", "-", "...", ""),
        *("123456", "1234567890", "012345", "11111111", "PatientID", "Not Available", "null"),
    ],
)
def test_placeholder_ids_do_not_identify_a_patient(service: LocalService, text: str) -> None:
    assert is_placeholder(text)
    one = coded(service, header(text, "A1", study="1.2.3"))
    two = coded(service, header(text, "A1", study="1.2.4"))
    assert one.patient_code != two.patient_code and one.study_code != two.study_code
    # The same study again is the same patient.
    assert coded(service, header(text, "A1", study="1.2.3")) == one
    missing = header(None, "A1", study="1.2.3")
    assert coded(service, missing).patient_code == one.patient_code
    with pytest.raises(FailBatch, match="PatientID is missing or a placeholder"):
        request_for(header(text, "A1"), STRICT)


@pytest.mark.parametrize(
    "text",
    [
        *("1111111", "1001234", "ANON0017", "1", "99", "UNKNOWN-17", "LIDC-IDRI-0001", "TEST1"),
        *("A", "12", "1234", "00000001", "NAN", "X1", "MRN^1 ü", "ABCDEF", "N", "00X", "13579"),
    ],
)
def test_real_numbers_are_not_placeholders(text: str) -> None:
    assert not is_placeholder(text)
    request = request_for(header(text, "A1"), STRICT)
    assert request.entity.id == text


@given(st.integers(10**5, 10**9))
def test_random_numbers_are_not_placeholders(number: int) -> None:
    text = str(number)
    typed = text in "01234567890123456789" or len(set(text)) == 1
    assert is_placeholder(text) <= typed


@pytest.mark.parametrize("text", ["0", "NONE", None, "UNKNOWN"])
def test_placeholder_accession_numbers_do_not_merge_studies(
    service: LocalService, text: str | None
) -> None:
    one = coded(service, header("1001234", text, study="1.2.3"))
    two = coded(service, header("1001234", text, study="1.2.4"))
    assert one.patient_code == two.patient_code
    assert one.study_code != two.study_code
    with pytest.raises(FailBatch, match="AccessionNumber is missing or a placeholder"):
        request_for(header("1001234", text), STRICT)


def test_accession_number_as_patient_id_does_not_identify_a_patient(service: LocalService) -> None:
    one = coded(service, header("a0001", "A0001", study="1.2.3"))
    two = coded(service, header("A0001", "A0001", study="1.2.4"))
    assert one.patient_code != two.patient_code
    assert one.study_code != two.study_code
    with pytest.raises(FailBatch, match="the same as the study's other number"):
        request_for(header("A0001", "A0001"), STRICT)


def test_no_generated_ids_are_sent_to_dasher() -> None:
    with pytest.raises(FailBatch, match="DASHER codes real numbers only") as refused:
        request_for(header("UNKNOWN", "A1"), AT_DASHER)
    assert "SENDIT_UNKNOWN_IDS" not in str(refused.value)


def test_issuers_are_recorded_once() -> None:
    text = issuers_text([NORTH, {NAME: "northgate "}, SOUTH])
    assert json.loads(text) == [{NAME: "northgate"}, {NAME: "southmoor"}]
