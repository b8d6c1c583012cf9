"""Spellings of dates, words and numbers, and the form in which they are compared."""

import pytest

from sendit.deidentify import spellings

MARCH = "19570314"


@pytest.mark.parametrize(
    "written",
    [
        *("19570314", "195703141012", "19570314101112", "1957-03-14", "1957/3/14", "1957.03.14"),
        *("1957:03:14", "1957 03 14", "14.03.1957", "14/3/1957", "03-14-1957", "14. 3. 1957"),
        *("14031957", "03141957", "14.03.57", "3/14/57", "57-03-14", "14MAR1957", "14mar57"),
        *("14-Mar-1957", "14. März 1957", "14 mars 1957", "14 de marzo de 1957", "14 марта 1957"),
        *("March 14, 1957", "Mar 14th 1957", "1957-Mar-14", "1957年3月14日", "1957년 3월 14일"),
        *("born 14.03.1957.", "DOB:19570314", "1957-03-14T10:12", "x_19570314_y"),
    ],
)
def test_date_spellings(written):
    assert MARCH in set(spellings.days(spellings.fold(written)))


@pytest.mark.parametrize(
    "written",
    [
        *("-12.19570314", "0.19570314", "119570314", "1.2.840.19570314101112.3", "19571403"),
        *("14.13.1957", "1957", "3.14", "10:12:13", "14 MAX 1957", "1957 10:12"),
    ],
)
def test_other_dates_do_not_match(written):
    assert MARCH not in set(spellings.days(spellings.fold(written)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("Müller", "MUELLER"), ("Müller", "Muller"), ("Mueller", "müller"), ("Åberg", "Aaberg")),
        *(("Weiß", "WEISS"), ("Jørgensen", "Joergensen"), ("Jérôme", "JEROME"), ("Łuk", "luk")),
        *(("Иванов", "Ivanov"), ("ИВАНОВ", "иванов"), ("김민수", "김민수")),
        ("Mu\u0308ller", "M\u00fcller"),
    ],
)
def test_word_spellings(one, other):
    assert spellings.words(one) == spellings.words(other)
    assert len(spellings.words(one)) == 1


def test_words_and_numbers_are_split():
    assert spellings.words("Quackenbush01's O'Brien_x") == ["quackenbush", "s", "o", "brien", "x"]


@pytest.mark.parametrize(
    "written",
    [
        *("MRN7734512", "mrn 7734512", "MRN-773-4512", "MRN_773/4512", "MRN7734512.0"),
        *("pat. MRN 773 4512", "(MRN/7734512)", "MRN\u20137734512", "0MRN7734512"),
    ],
)
def test_identifier_punctuation(written):
    assert "mrn7734512" in keys(written, "mrn7734512")


@pytest.mark.parametrize("written", ["7734512", "0007734512", "7734512.0", "773-4512", "A7734512"])
def test_number_punctuation(written):
    assert "7734512" in keys(written, "7734512")


@pytest.mark.parametrize(
    "written", ["12.7734512", "77345123", "773.4512", "773, 4512", "7734 512x"]
)
def test_other_numbers_do_not_match(written):
    matches = keys(written, "7734512")
    assert ("7734512" in matches) is (written == "7734 512x")


def keys(text: str, key: str) -> list[str]:
    folded = spellings.fold(text)
    beginnings = {key[:end] for end in range(len(key) + 1)}
    return list(spellings.keys_in(folded, spellings.tokens(folded), beginnings))


def test_a_punctuated_time_is_not_a_six_digit_number():
    assert "143022" not in keys("14-30-22", "143022")
    assert "143022" in keys("143022", "143022")


def test_long_texts_are_matched_by_their_first_tokens():
    address = "1 Harbour Road, Springfield, Illinois 62704, United States of America"
    assert spellings.key(address) == "1harbourroadspringfieldillinois62704unitedstates"
