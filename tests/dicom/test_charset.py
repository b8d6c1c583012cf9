"""Character set terms, and which bytes are valid in a character set."""

from __future__ import annotations

import pytest
from pydicom.charset import python_encoding

from sendit.dicom import charset


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"ISO IR 192", b"ISO_IR 192"),
        (b"ISO-IR 192", b"ISO_IR 192"),
        (b"iso_ir 192 ", b"ISO_IR 192"),
        (b"UTF-8", b"ISO_IR 192"),
        (b"utf8", b"ISO_IR 192"),
        (b"ISO_IR_100", b"ISO_IR 100"),
        (b"ISO_IR 8859-1", b"ISO_IR 100"),
        (b"ISO 8859-1", b"ISO_IR 100"),
        (b"ISO8859-2", b"ISO_IR 101"),
        (b"ISO 8859-5", b"ISO_IR 144"),
        (b"Latin1", b"ISO_IR 100"),
        (b"US-ASCII", b"ISO_IR 6"),
        (b"GB 18030", b"GB18030"),
        (b"ISO-2022-IR-87", b"ISO 2022 IR 87"),
        (b"\\ISO-2022-IR-87", b"\\ISO 2022 IR 87"),
        (b"ISO_IR 100\\ISO_IR 144", b"ISO 2022 IR 100\\ISO 2022 IR 144"),
        (b"ISO 2022 IR 6\\ISO2022IR149", b"ISO 2022 IR 6\\ISO 2022 IR 149"),
        (b"", b""),
        (b"KLINGON", None),
        (b"ISO_IR 100\\KLINGON", None),
    ],
)
def test_character_set_terms(written: bytes, meant: bytes | None) -> None:
    assert charset.defined_terms(written) == meant
    if meant is not None:
        assert charset.encodings(written) == charset.encodings(meant)


def test_defined_terms_are_unchanged() -> None:
    for term in python_encoding:
        assert charset.defined_terms(term.encode()) == term.encode()


@pytest.mark.parametrize(
    ("text", "character_set", "valid"),
    [
        ("Größe".encode(), b"ISO_IR 192", True),
        ("Größe".encode(), b"UTF-8", True),
        ("Größe".encode("latin-1"), b"ISO_IR 192", False),
        ("Größe".encode("latin-1"), b"ISO_IR 100", True),
        ("Größe".encode("latin-1"), b"ISO 8859-1", True),
        ("Größe".encode("latin-1"), b"", False),
        ("Größe".encode("latin-1"), b"ISO_IR 6", False),
        ("Größe".encode("latin-1"), b"KLINGON", False),
        ("胸部".encode("gb18030"), b"GB18030", True),
        (b"\x81", b"GB18030", False),
        (b"\x1b$B;3ED\x1b(B", b"\\ISO 2022 IR 87", True),
        (b"plain", b"KLINGON", True),
    ],
)
def test_is_valid_in_character_set(text: bytes, character_set: bytes, valid: bool) -> None:
    assert charset.is_valid(text, "LO", character_set) is valid
    assert charset.is_valid(text, "CS", character_set) is text.isascii()


def test_encoded_text_is_valid_in_the_character_set() -> None:
    assert charset.encode("Größe", b"ISO IR 192") == "Größe".encode()
    assert charset.encode("Größe", b"ISO 8859-1") == "Größe".encode("latin-1")
    for unknown in (b"KLINGON", b"", b"ISO_IR 6"):
        assert charset.encode("Größe", unknown) == b"Gr??e"
