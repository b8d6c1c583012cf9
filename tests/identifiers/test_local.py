from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.coded_study import CodedStudy
from sendit.identifiers.local import MAX_DAYS, KeyedCodes, LocalService, MemoryCodes
from sendit.identifiers.models import Request, request_of
from sendit.keys import Keys
from sendit.ledger import Ledger

KEYS = Keys(b"k" * 32)


def asked(patient: str = "MRN^1 ü", accession: str = "A/1") -> Request:
    return request_of(patient, "19610727", accession, "20100204115000")


class WatchedCodes(MemoryCodes):
    """A store that records its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        self.given += [digest, code, str(jitter)]
        return super().patient_code(digest, code, jitter)

    def study_code(self, digest: str, code: str) -> str:
        self.given += [digest, code]
        return super().study_code(digest, code)


def services() -> list[LocalService]:
    return [LocalService("test", KEYS, store) for store in (MemoryCodes(), KeyedCodes(KEYS))]


@pytest.mark.parametrize("service", services())
def test_a_patient_keeps_code_and_jitter_across_studies(service: LocalService) -> None:
    first = service.identify(asked()).coded_study()
    second = service.identify(asked(accession="A/2")).coded_study()
    assert (second.patient_code, second.jitter) == (first.patient_code, first.jitter)
    assert second.study_code != first.study_code
    assert service.identify(asked()).coded_study() == first


@pytest.mark.parametrize("service", services())
def test_two_patients_share_nothing(service: LocalService) -> None:
    first = service.identify(asked()).coded_study()
    # The same accession number for two patients of two hospitals.
    second = service.identify(asked(patient="MRN^2")).coded_study()
    assert second.patient_code != first.patient_code
    assert second.study_code != first.study_code


@pytest.mark.parametrize("service", services())
def test_ids_differing_in_one_character_get_different_codes(service: LocalService) -> None:
    spellings = ["12-3", "123", " 123", "0123", "123 ", "12_3", "１23"]
    given = {service.identify(asked(patient=text)).coded_study().patient_code for text in spellings}
    assert len(given) == len(spellings)


def test_dates_are_shifted_by_the_jitter() -> None:
    coded = services()[0].identify(asked()).coded_study()
    shift = timedelta(days=coded.jitter)
    assert coded.entity_date == (date(1961, 7, 27) + shift).strftime("%Y%m%d")
    assert coded.item_date == (date(2010, 2, 4) + shift).strftime("%Y%m%d")


def test_missing_date_stays_missing() -> None:
    coded = services()[0].identify(request_of("1", None, "2", None)).coded_study()
    assert coded.entity_date is None
    assert coded.item_date is None


def test_the_store_receives_only_digests() -> None:
    store = WatchedCodes()
    LocalService("test", KEYS, store).identify(asked("CANARY-MRN", "CANARY-ACC"))
    assert len(store.given) == 5
    assert not any("CANARY" in text for text in store.given)
    other = WatchedCodes()
    LocalService("test", Keys(b"o" * 32), other).identify(asked("CANARY-MRN", "CANARY-ACC"))
    assert not set(store.given[::3]) & set(other.given[::3])


def test_codes_differ_between_research_studies() -> None:
    store = MemoryCodes()
    one = LocalService("one", KEYS, store).identify(asked()).coded_study()
    two = LocalService("two", KEYS, store).identify(asked()).coded_study()
    assert one.patient_code != two.patient_code
    assert one.study_code != two.study_code
    # As with DASHER, the case of the study's name does not matter.
    assert LocalService("ONE", KEYS, store).identify(asked()).coded_study() == one


def test_codes_depend_only_on_the_key() -> None:
    one = LocalService("test", KEYS, KeyedCodes(KEYS)).identify(asked())
    two = LocalService("test", Keys(b"k" * 32), KeyedCodes(Keys(b"k" * 32))).identify(asked())
    other = Keys(b"o" * 32)
    assert one == two
    assert LocalService("test", other, KeyedCodes(other)).identify(asked()) != one


def test_concurrent_requests_get_the_same_codes() -> None:
    service = LocalService("test", KEYS, MemoryCodes())
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: service.identify(asked()).wire(), range(200)))
    assert len(set(answers)) == 1


def identify_in_a_process(uri: str, accessions: list[str]) -> list[CodedStudy]:
    store = Ledger(uri)
    service = LocalService("test", KEYS, store)
    given = [service.identify(asked(accession=text)).coded_study() for text in accessions]
    store.close()
    return given


def test_processes_sharing_a_ledger_agree_on_codes(ledger: Ledger) -> None:
    accessions = [f"A/{number}" for number in range(20)]
    orders = [accessions, accessions[::-1]]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        given = list(workers.map(identify_in_a_process, [ledger.uri] * 2, orders))  # type: ignore[attr-defined]
    coded = {study for studies in given for study in studies}
    assert len({(study.patient_code, study.jitter) for study in coded}) == 1
    # Every worker got the same code for the same study: as many codes as studies.
    assert len(coded) == len({study.study_code for study in coded}) == len(accessions)


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(str.strip))
def test_codes_are_valid_name_parts_without_original_dates(patient: str) -> None:
    for service in services():
        coded = service.identify(asked(patient=patient)).coded_study()
        for code in (coded.patient_code, coded.study_code):
            # As an AccessionNumber, the code must fit SH.
            assert len(code) == 16
            assert code.isalnum() and code.isascii() and code[0] in "ps"
        assert 1 <= abs(coded.jitter) <= MAX_DAYS


def test_every_jitter_value_occurs() -> None:
    service = LocalService("test", KEYS, KeyedCodes(KEYS))
    drawn = {service.identify(asked(patient=str(n))).coded_study().jitter for n in range(1500)}
    assert drawn == {*range(-MAX_DAYS, 0), *range(1, MAX_DAYS + 1)}


def test_calendar_limits() -> None:
    service = LocalService("test", KEYS, MemoryCodes())
    for number in range(50):
        coded = service.identify(request_of(str(number), "19000102", "1", "20991230")).coded_study()
        assert coded.entity_date and coded.entity_date[:3] in ("189", "190")
        assert coded.item_date and coded.item_date[:3] in ("209", "210")
