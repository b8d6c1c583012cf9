"""Text in private elements is removed, for every element of every vendor."""

from __future__ import annotations

import struct

import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.private_form import candidates, is_of_form
from sendit.gate.vendor_values import numbers_and_text
from sendit.recipe.parse import read_recipe
from sendit.recipe.profile import safe_private
from sendit.vendors.ge_protocol import clean_protocol_block, clean_user_data
from sendit.vendors.siemens_csa import CsaTag, write_csa
from testing.builder import make_dataset, to_bytes
from testing.vendor_objects import (
    SERIES,
    csa_image,
    csa_series,
    ge_protocol,
    ge_user_data,
    private_elements,
)
from tests.deidentify.engine import deidentified_dataset, deidentify_files

TEXTS = ("Winterbottom", "WINTERBOTTOM", "MRN7734512AB", "195703141957", "Doe^Jane^M  ")
CODES = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}


@pytest.fixture(scope="module", params=["default", "default-retain-safe-private"])
def plan(request) -> Plan:
    return compile_plan(read_recipe(request.param))


def planted(element: DataElement, text: str, *, unknown: bool) -> str:
    """Put text into an element as its VR (or UN) can hold it; return the planted text."""
    vr = element.VR
    if unknown or vr in {"OB", "UN"}:
        element.VR, element.value = "UN", text.encode()
        return text
    if vr in CODES:
        size = struct.calcsize("<" + CODES[vr])
        count = max(1, min(element.VM, len(text) // size))
        raw = text.encode()[: size * count]
        values = list(struct.unpack(f"<{len(raw) // size}{CODES[vr]}", raw))
        element.value = values if len(values) > 1 else values[0]
        return raw.decode()
    element.validation_mode = config.IGNORE
    element._value = text[:16] if vr in {"CS", "DS", "IS"} else text
    return str(element._value)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("name", SERIES)
def test_planted_text_is_removed(name, plan, unknown, monkeypatch):
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    for text in TEXTS:
        images = SERIES[name]()
        texts = {
            planted(element, text, unknown=unknown)
            for image in images
            for element in private_elements(image)
        }
        _, members = deidentify_files([to_bytes(image) for image in images], plan)
        whole = b"".join(members.values())
        # Four bytes are ambiguous: 13.4 as FL is "ffVA".
        assert not [one for one in texts if len(one) > 4 and one.encode() in whole]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_planted_text_is_removed_from_every_listed_element(plan, syntax):
    """Each listed element, in a block with its creator."""
    for text in TEXTS:
        image: FileDataset = make_dataset(kind="MR", private=False, transfer_syntax=syntax)
        for safe in safe_private():
            block = image.private_block(safe.group, safe.creator, create=True)
            block.add_new(safe.element, "UN", text.encode())
        _, members = deidentify_files([to_bytes(image)], plan)
        assert members
        assert text.encode() not in b"".join(members.values())


def test_numbers_of_every_listed_element_are_kept(plan):
    """The same with numbers: all are kept, which shows that the test above is effective."""
    image = make_dataset(kind="MR", private=False)
    wanted = set()
    for safe in safe_private():
        if safe.vr in CODES and safe.vm in {"1", "1-n"} and safe.need != "other":
            block = image.private_block(safe.group, safe.creator, create=True)
            block.add_new(safe.element, safe.vr, 7)
            wanted.add(block.get_tag(safe.element))
    assert wanted <= set(deidentified_dataset(image, plan).keys())


def test_gate_reads_numbers_and_text_of_a_csa_header():
    numbers, text = numbers_and_text(0x00291010, "OB", csa_image(2, weighted=True))
    assert text.split("\n") == ["UsedPatientWeight", "ImaCoilString", "T:Winterbottom"]
    assert {"1000", "-1.0", "19.055", "75.0"} <= set(numbers)
    numbers, text = numbers_and_text(0x00291020, "OB", csa_series())
    assert "Winterbottom" in text
    assert "400000" in numbers
    clean = write_csa([CsaTag("B_value", 1, "IS", 6, ("7734512",))])
    assert numbers_and_text(0x00291010, "OB", clean) == (["7734512"], "")


def test_gate_reads_ge_blocks():
    tag = 0x0025101B
    numbers, text = numbers_and_text(tag, "OB", ge_protocol(NOSLC="48"))
    assert text.split("\n") == ["Winterbottom", "PSEQ", "EXAM", "Winterbottom", "Winterbottom"]
    assert {"48", "0.033"} <= set(numbers)
    clean = clean_protocol_block(ge_protocol(NOSLC="48"))
    assert numbers_and_text(tag, "OB", clean + b"\0" * (len(clean) % 2))[1] == ""
    assert numbers_and_text(tag, "OB", b"Winterbottom") is None
    assert numbers_and_text(tag, "OB", clean + b"Winterbottom") is None
    tag = 0x0043102A
    assert numbers_and_text(tag, "OB", clean_user_data(ge_user_data())) == ([], "")
    assert numbers_and_text(tag, "OB", ge_user_data()) is None
    assert numbers_and_text(tag, "OB", b"Winterbottom".ljust(1000, b"\0")) is None


def test_gate_accepts_only_well_formed_numbers():
    assert numbers_and_text(0x0019100C, "IS", b"1000") == (["1000"], "")
    assert numbers_and_text(0x0019100C, "UN", b"1000") == (["1000"], "")
    assert numbers_and_text(0x0019100C, "LO", b"Winterbottom") is None
    assert numbers_and_text(0x00291010, "OB", b"Winterbottom") is None
    assert numbers_and_text(0x00204000, "LT", b"b=1500(0.895,0.000,0.445)") == ([], "")
    assert numbers_and_text(0x00204000, "LT", b"b=1500(0.895,0.000,0.445) Doe") is None


def test_words_and_patterns_contain_no_long_numbers():
    for safe in safe_private():
        assert not is_of_form(safe, safe.vr, b"195703141957")
        assert not is_of_form(safe, safe.vr, b"Winterbottom")
        assert safe in candidates((safe.group << 16) | 0x1000 | safe.element)
