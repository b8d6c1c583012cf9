"""Collect the words of the names of a study's people and the patient's numbers.

No text may keep any of them. A surname may be a radiology term (Stone, Long, Black, Rao, Per,
Head), which an allow-list alone would let pass. What counts as a word of a name
(docs/decisions/names-that-are-words.md):

- all person names (VR PN) of all files, at all levels: the patient's, parents', physicians',
  operators' and so on;
- words of at least three letters; of the patient's names also words of two, if they are a
  complete component (Li, Or). Initials, titles, prefixes and suffixes do not count;
- names of phantoms and tests (CT^Chest, QA^PHANTOM) do not count: all words are on the allow-list,
  and one of them shows that nobody is meant. Nor do, except for the patient, organisations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pydicom._dicom_dict import DicomDictionary

from sendit.clean_descriptors import fold, vocabulary
from sendit.deidentify.common_words import is_common
from sendit.deidentify.spellings import without_decimals
from sendit.dicom import charset

if TYPE_CHECKING:
    from sendit.dicom.scan import Header

PATIENT_NAMES: Final = frozenset((0x00100010, 0x00100012, 0x00101001, 0x00101005, 0x00101060))
"""Patient's Name, Name to Use, Other Patient Names, Patient's Birth Name, Patient's Mother's Birth
Name."""

PERSON_NAMES: Final = PATIENT_NAMES | {
    tag for tag, entry in DicomDictionary.items() if entry[0] == "PN"
}

PATIENT_NUMBERS: Final = frozenset(
    (
        *(0x00080050, 0x00100020, 0x00101000, 0x00101090, 0x00380010, 0x00380060),
        *(0x00402016, 0x00402017),
    )
)
"""Accession Number, Patient ID, Other Patient IDs, Medical Record Locator, Admission ID, Service
Episode ID, Placer and Filler Order Number."""

MIN_LETTERS: Final = 3
MIN_NUMBER: Final = 4
"""Minimum length of a number with letters; a shorter one may mean anything."""

MIN_DIGITS: Final = 2
"""Minimum length of a number without letters."""

MIN_DIGITS_AMONG_LETTERS: Final = 6
"""Minimum length of a number's digits that count without the letters around them."""

MAX_BYTES: Final = 4096
"""Bytes of an element that are read; a component group of a name has at most 64 characters."""

_LOOKED_AT: Final = PERSON_NAMES | PATIENT_NUMBERS
_WORD: Final = re.compile(r"[^\W\d_]+")
_ALNUM: Final = re.compile(r"[^\W_]+")
_DIGITS: Final = re.compile(r"\d+")
_NAMED_PARTS: Final = 3  # family, given and middle name; then prefix and suffix (PS3.5 6.2.1)
_TITLES: Final = frozenset(
    (
        *(
            "mr",
            "mrs",
            "ms",
            "miss",
            "dr",
            "doc",
            "prof",
            "professor",
            "sir",
            "rev",
            "herr",
            "frau",
        ),
        *(
            "mme",
            "mlle",
            "monsieur",
            "madame",
            "sr",
            "sra",
            "senor",
            "senora",
            "dott",
            "sig",
            "dhr",
        ),
    )
)
_NOBODY: Final = frozenset(
    (
        *("phantom", "phantoms", "phantome", "test", "tests", "testing", "qa", "qc", "acr", "demo"),
        *("calibration", "quality", "service", "ct", "mri", "pet", "spect", "anonymous", "anon"),
        *("anonymized", "anonymised", "unknown", "none", "unnamed", "dummy", "deidentified"),
    )
)
_ORGANISATIONS: Final = frozenset(
    (
        *("clinic", "clinics", "hospital", "center", "centre", "group", "associates", "department"),
        *("dept", "imaging", "radiology", "institute", "university", "medical", "practice", "llc"),
        *("inc", "klinik", "klinikum", "krankenhaus", "praxis", "zentrum", "hopital", "clinique"),
        *("ospedale", "clinica", "ziekenhuis", "sjukhus", "service", "services", "unit", "team"),
    )
)


class People:
    """Collects the words of all person names in a study's files, and the patient's numbers.

    These are real values: they are written only into the batch's working folder.

    Attributes
    ----------
    words
        Words of names, folded (:func:`sendit.clean_descriptors.fold`): letters only.
    numbers
        The patient's numbers, folded: letters and digits, at least one digit each.
    """

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.numbers: set[str] = set()
        self._seen: set[tuple[bool, bytes, bytes]] = set()

    def see(self, header: Header) -> None:
        """Collect the names in one file."""
        data, character_set = header.data, header.character_set
        levels = [header.elements]
        while levels:
            for tag, _, _, start, end, items in [
                element
                for element in levels.pop()
                if element[5] is not None or element[1] == "PN" or element[0] in _LOOKED_AT
            ]:
                if items is not None:
                    levels.extend(elements for _, elements in items)
                elif start != end:
                    self._note(tag, bytes(data[start : min(end, start + MAX_BYTES)]), character_set)

    def _note(self, tag: int, raw: bytes, character_set: bytes) -> None:
        patient = tag in PATIENT_NAMES
        key = (patient, raw, character_set)
        if tag in PATIENT_NUMBERS:
            self.numbers.update(numbers_of(charset.decode(raw, character_set)))
        elif key not in self._seen:
            self._seen.add(key)
            for name in charset.decode(raw, character_set).split("\\"):
                self.words.update(words_of(name, patient=patient))


def words_in(header: Header) -> set[str]:
    """Return the words of the names in one file, folded."""
    people = People()
    people.see(header)
    return people.words


def numbers_of(text: str) -> Iterator[str]:
    """Yield the forms of a patient's numbers that must not stay.

    These are the letters and digits of each value, folded; if its digits are surrounded by
    letters, also the digits alone.
    """
    for whole in text.split("\\"):
        value = without_decimals(whole)
        number = "".join(_ALNUM.findall(fold(value)))
        runs = _DIGITS.findall(number)
        if not runs or is_common(fold(value).strip()):
            continue
        digits = runs[0].lstrip("0") if len(runs) == 1 else ""
        if not number.isdigit() and len(digits) < MIN_DIGITS_AMONG_LETTERS:
            digits = ""
        for one in {number, digits}:
            if len(one) >= (MIN_DIGITS if one.isdigit() else MIN_NUMBER):
                yield one


def words_of(name: str, *, patient: bool) -> Iterator[str]:
    """Yield the words of one person name that must not stay in a text, folded.

    Parameters
    ----------
    name
        The value of an element with VR PN.
    patient
        Whether it is the patient's name, of which short words count, too.
    """
    for group in name.split("="):
        parts = [
            _without_titles([fold(word) for word in _WORD.findall(part)])
            for part in group.split("^")[:_NAMED_PARTS]
        ]
        if _is_nobody({word for part in parts for word in part}, patient=patient):
            continue
        for part in parts:
            for word in part:
                minimum = 2 if patient and len(part) == 1 else MIN_LETTERS
                if len(word) >= minimum and word not in _NOBODY:
                    yield word


def _without_titles(words: list[str]) -> list[str]:
    while len(words) > 1 and words[0] in _TITLES:
        words = words[1:]
    return words


def _is_nobody(words: set[str], *, patient: bool) -> bool:
    if not patient and words & _ORGANISATIONS:
        return True
    known = vocabulary()
    return bool(words & _NOBODY) and all(
        word in known or word in _NOBODY or len(word) == 1 for word in words
    )
