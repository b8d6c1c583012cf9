"""Coincidences are not leaks; values that only resemble one are."""

import re

import pydicom
import pytest

from sendit.deidentify import common_words
from sendit.gate import coincidence
from testing.real_files import real_files

STATION, PATIENT_ID, ACCESSION, CODE_VALUE = 0x00081010, 0x00100020, 0x00080050, 0x00080100
MODEL, COMMENTS, SERIES_NUMBER = 0x00081090, 0x00204000, 0x00200011


@pytest.mark.parametrize(
    ("sources", "key", "tag", "vr", "own"),
    [
        ({STATION}, "galan3t", MODEL, "LO", True),
        ({STATION}, "galan3t", COMMENTS, "LT", False),
        ({STATION, ACCESSION}, "galan3t", MODEL, "LO", False),
        ({PATIENT_ID}, "7734512", MODEL, "LO", False),
        ({PATIENT_ID}, "143022", SERIES_NUMBER, "IS", True),
        ({PATIENT_ID}, "7734512", SERIES_NUMBER, "IS", False),
        ({STATION}, "7734512", SERIES_NUMBER, "IS", True),
        ({0}, "axial5mm", MODEL, "LO", False),
        ({PATIENT_ID}, "39607008", CODE_VALUE, "SH", True),
        ({PATIENT_ID}, "121071", CODE_VALUE, "SH", True),
        ({PATIENT_ID}, "7734512", CODE_VALUE, "SH", False),
        ({PATIENT_ID}, "39607008", COMMENTS, "LT", False),
    ],
)
def test_identifiers(sources, key, tag, vr, own):
    assert coincidence.identifier_is_coincidence(frozenset(sources), key, tag, vr) is own


@pytest.mark.parametrize("text", ["chest contrast", "ct^chest", "qa^phantom", "axial 5mm", "test"])
def test_texts_that_identify_nobody(text):
    assert common_words.is_common(text)


@pytest.mark.parametrize(
    "text", ["quackenbush", "ct quackenbush", "b1234", "mrn77", "chest 7734512"]
)
def test_texts_that_may_identify_somebody(text):
    assert not common_words.is_common(text)


@pytest.mark.parametrize(
    ("vr", "value", "plain"),
    [
        *(("TM", "143022", True), ("TM", "143022.123", True), ("TM", "1430", True)),
        *(("TM", "243022", False), ("TM", "7734512", False), ("AS", "062Y", True)),
        *(("AS", "62 years", False), ("DS", "-12.20190623", True), ("DS", "7.2E1", True)),
        *(("IS", "12a", False), ("LO", "12", False)),
    ],
)
def test_plain_numbers(vr, value, plain):
    assert coincidence.is_plain_number(vr, value) is plain


#: In the tag that pydicom's makers of test files invented, or shortened, themselves.
INVENTED = {"acme", "devices", "dooper", "rhapsode", "super"}


@pytest.mark.filterwarnings("ignore")
def test_manufacturers_and_models_of_public_files_identify_nobody() -> None:
    words: set[str] = set()
    for path in real_files():
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except Exception:  # noqa: BLE001, S112 - many of them are broken on purpose
            continue
        if ds.get("Modality") in {"CT", "MR"}:
            texts = f"{ds.get('Manufacturer')} {ds.get('ManufacturerModelName')}"
            words.update(re.findall(r"[a-z]{4,}", texts.lower()))
    assert len(words) > 15
    assert {word for word in words if not common_words.is_common_word(word)} <= INVENTED
