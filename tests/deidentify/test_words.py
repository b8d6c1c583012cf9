"""Only words of the allow-list stay in a descriptor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.deidentify.words import allowed, clean, is_allowed

COMMON_NAMES = """
    smith johnson williams jones garcia miller davis rodriguez martinez hernandez lopez
    gonzalez wilson anderson thomas taylor moore jackson martin lee perez thompson harris
    sanchez clark ramirez lewis robinson walker allen wright scott torres nguyen flores adams
    nelson baker rivera campbell mitchell carter roberts gomez phillips evans turner diaz
    parker cruz edwards collins reyes stewart morris morales murphy cook rogers gutierrez
    ortiz morgan cooper peterson bailey reed kelly howard ramos kim cox ward richardson watson
    brooks chavez james bennett gray mendoza ruiz hughes price alvarez castillo sanders patel
    myers ross foster jimenez mary patricia jennifer linda elizabeth barbara susan jessica
    sarah karen john robert michael william david richard joseph charles christopher daniel
    doe jane müller schmidt schneider fischer weber meyer wagner becker schulz hoffmann
"""


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("CT CHEST W CONTRAST", "CT CHEST W CONTRAST"),
        ("CT CHEST DOE^JANE", "CT CHEST"),
        ("Thorax Dr. Smith 12.05.2020", "Thorax"),
        ("AX T1 POST-CONTRAST 3mm", "AX T1 POST CONTRAST 3mm"),
        ("HEAD/NECK W/O 1.25mm", "HEAD NECK W/O 1.25mm"),
        ("L5-S1 spine", "L5 S1 spine"),
        ("MRN 12345678", ""),
        ("call 650-555-1234 chest", "chest"),
        ("05/12/1950 abdomen", "abdomen"),
        ("Knie links Müller", ""),
        ("T2 FLAIR\\Jane Doe", "T2 FLAIR"),
        ("b1000 4D PHASE 50%", "b1000 4D PHASE 50%"),
        ("", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_common_names_are_not_allowed() -> None:
    assert [name for name in COMMON_NAMES.split() if is_allowed(name)] == []


@given(st.text(max_size=80))
def test_what_stays_is_allowed_ascii(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isascii()
    assert all(is_allowed(word) for word in cleaned.replace("\\", " ").split())


@given(st.from_regex(r"[0-9]{5,12}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}", fullmatch=True))
def test_numbers_that_may_name_someone_go(number: str) -> None:
    assert clean(f"chest {number} ct") == "chest ct"


def test_the_list_is_lower_case_words() -> None:
    assert len(allowed()) > 500
    assert all(word == word.lower() and word.isascii() for word in allowed())
