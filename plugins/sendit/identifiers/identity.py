"""A study's identity: from header values to the patient and the study in a request.

A PatientID is issued by the authority that IssuerOfPatientID names (PS3.3 C.7.1.1): the same
number from two issuers means two people. A word such as UNKNOWN means that there is no number, so
it identifies nobody. The same holds for AccessionNumber and IssuerOfAccessionNumberSequence.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sendit.errors import FailBatch
from sendit.identifiers.models import (
    ENTITY_SOURCE,
    ITEM_SOURCE,
    Request,
    first_date_time,
    request_of,
)

STUDY_INSTANCE_UID = 0x0020000D
PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
ISSUER_OF_PATIENT_ID_QUALIFIERS = 0x00100024
PATIENT_BIRTH_DATE = 0x00100030
ACCESSION_NUMBER = 0x00080050
ISSUER_OF_ACCESSION_NUMBER = 0x00080051

#: The number of a patient or study, and the attributes that name its issuer.
ISSUERS = {
    PATIENT_ID: (ISSUER_OF_PATIENT_ID, ISSUER_OF_PATIENT_ID_QUALIFIERS),
    ACCESSION_NUMBER: (ISSUER_OF_ACCESSION_NUMBER,),
}

#: Attributes that identify an issuer in its sequence (PS3.3 tables 10-17 and 10-18):
#: UniversalEntityID and its type, LocalNamespaceEntityID, IdentifierTypeCode, and the codes of
#: facility and jurisdiction.
ISSUER_PARTS = frozenset(
    (0x00400031, 0x00400032, 0x00400033, 0x00400035, 0x00080100, 0x00080102, 0x00080119)
)

#: Keys in a mapping of issuers: any other issuer, and numbers without an issuer.
ANY_ISSUER = "*"
NO_ISSUER = ""

#: An issuer: the parts that a header gives, by their paths of tags.
Issuer = Mapping[str, str]

_NAMESPACES = (f"{ISSUER_OF_PATIENT_ID:08x}", f"{ISSUER_OF_ACCESSION_NUMBER:08x}.00400031")

# Words that replace unknown or removed numbers. A word followed by a number ("ANON0017")
# distinguishes people again.
_PLACEHOLDERS = """
    anon anonym anonyme anonymized anonymised anonymisiert anonymous anonimo anonymised anonymus
    available assigned blank deidentified default doe dummy emergency empty entered geen given
    hidden id identifier ignore info information inconnu inconnue invalid jane john kein keine
    known leer masked missing mrn na nd nada name new nil nn no nobody none not null number numero
    nv ohne okand onbekend patient patientid phantom pid private provided redacted removed sample
    sconosciuto desconhecido desconocido secret specified sin sans temp temporary test testpatient
    tbd trauma ukendt ukjent unassigned unbekannt undefined undisclosed unidentified unk unkn
    unknown unnamed unspecified applicable nummer noid nopatientid nomrn numerot
    不明 未知 匿名 无 無 無名 미상 무명 익명 неизвестно
"""
_ASCENDING = "0123456789012345678901234567890"
# 5 or 99 may be a subject's number; five or more nines, or 12345..., are typed to fill a field.
_MIN_FILLER = 5
_MIN_REPEATED = 8


def _words(text: str) -> list[str]:
    """Return the words of letters and digits, without case and accents."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(sign for sign in folded if not unicodedata.combining(sign))
    return re.findall(r"[^\W_]+", bare)


_PLACEHOLDER_WORDS = frozenset(_words(_PLACEHOLDERS))


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """A site's rules for patients' and accession numbers.

    Attributes
    ----------
    unknown_ids
        How to treat a study whose PatientID or AccessionNumber is missing or a placeholder:
        ``study`` codes it by its StudyInstanceUID, as its own patient or study;
        ``refuse`` fails it.
    patient_sources, accession_sources
        The id source of each issuer, by any of its names; ``*`` stands for every other issuer and
        the empty name for numbers without one. Issuers with the same source share numbers.
    known_issuers_only
        Whether an issuer without a source fails the study, because the service only knows the
        sources registered with it.
    """

    unknown_ids: Literal["study", "refuse"] = "study"
    patient_sources: Mapping[str, str] = field(default_factory=dict)
    accession_sources: Mapping[str, str] = field(default_factory=dict)
    known_issuers_only: bool = False


def request_for(values: Mapping[int, str], rules: IdentityRules) -> Request:
    """Build the request for one study.

    Parameters
    ----------
    values
        Header values by tag, as collected by import; under the tag of an issuer the result of
        ``issuers_text``.
    rules
        The site's rules.

    Raises
    ------
    FailBatch
        An identifier cannot be used under these rules; the text does not quote it.
    """
    study_uid = values.get(STUDY_INSTANCE_UID)
    patient_id = _known(values, PATIENT_ID)
    accession = _known(values, ACCESSION_NUMBER)
    if rules.unknown_ids == "refuse":
        if patient_id is None:
            raise _unknown("PatientID", rules)
        if accession is None:
            raise _unknown("AccessionNumber", rules)
    return request_of(
        patient_id or study_uid,
        values.get(PATIENT_BIRTH_DATE),
        accession or study_uid,
        first_date_time(values.get),
        entity_source=(
            _source(values, ISSUER_OF_PATIENT_ID, rules.patient_sources, ENTITY_SOURCE, rules)
            if patient_id
            else ENTITY_SOURCE
        ),
        item_source=(
            _source(values, ISSUER_OF_ACCESSION_NUMBER, rules.accession_sources, ITEM_SOURCE, rules)
            if accession
            else ITEM_SOURCE
        ),
    )


def is_placeholder(value: str) -> bool:
    """Whether a text is a placeholder for a missing number.

    Placeholders are words (UNKNOWN, N/A, No ID), a repeated character (XXXXXXXX, 000-00-0000,
    99999) and consecutive digits (123456).
    """
    words = _words(value)
    text = "".join(words)
    if len(set(text)) <= 1:
        least = {"": 0, "0": 1, "x": 1, "9": _MIN_FILLER}.get(text[:1], _MIN_REPEATED)
        return len(text) >= least
    if len(text) >= _MIN_FILLER and text in _ASCENDING:
        return True
    return text in _PLACEHOLDER_WORDS or _PLACEHOLDER_WORDS.issuperset(words)


def issuer_sources(sources: Mapping[str, str]) -> dict[str, str]:
    """Return a mapping of issuers to sources with the names in normalized form."""
    return {_one_name(name): source for name, source in sources.items()}


def issuers_text(issuers: Iterable[Issuer]) -> str:
    """Return the distinct issuers that a study's files name, as JSON to store."""
    distinct = {json.dumps(_folded(issuer), sort_keys=True) for issuer in issuers}
    return json.dumps([json.loads(issuer) for issuer in sorted(distinct)])


def _folded(issuer: Issuer) -> dict[str, str]:
    """Normalize an issuer: case and extra blanks do not distinguish issuers."""
    return {path: " ".join(value.casefold().split()) for path, value in issuer.items()}


def _known(values: Mapping[int, str], tag: int) -> str | None:
    """Return a number, or None if it is missing or identifies nobody."""
    value = values.get(tag)
    if value is None or is_placeholder(value):
        return None
    # An accession number in place of the patient's, or vice versa: it is unknown which of them it
    # is, and another hospital's accession number may be the same.
    other = values.get(ACCESSION_NUMBER if tag == PATIENT_ID else PATIENT_ID)
    if other is not None and other.strip().casefold() == value.strip().casefold():
        return None
    return value


def _unknown(name: str, rules: IdentityRules) -> FailBatch:
    advice = (
        "DASHER codes real numbers only"
        if rules.known_issuers_only
        else "to give such a study a code of its own, set SENDIT_UNKNOWN_IDS=study"
    )
    return FailBatch(
        f"{name} is missing or a placeholder in this study's headers (such as UNKNOWN or 0, or "
        f"the same as the study's other number), so it identifies nobody; {advice}, or correct it "
        "at the source and send the study again"
    )


def _source(
    values: Mapping[int, str],
    tag: int,
    sources: Mapping[str, str],
    default: str,
    rules: IdentityRules,
) -> str:
    """Return the id source of a number, which represents its issuer."""
    named = issuer_sources(sources)
    issuers: list[dict[str, str]] = json.loads(values.get(tag) or "[]")
    if not issuers:
        return named.get(NO_ISSUER, default)
    merged = _merged(issuers)
    mapped = (
        {_mapped(merged, named)}
        if merged is not None
        else {_mapped(issuer, named) for issuer in issuers}
    )
    setting, name = (
        ("SENDIT_PATIENT_ID_SOURCES", "PatientID")
        if tag == ISSUER_OF_PATIENT_ID
        else ("SENDIT_ACCESSION_SOURCES", "AccessionNumber")
    )
    if len(mapped) == 1 and (source := mapped.pop()) is not None:
        return source
    if merged is None:
        raise FailBatch(
            f"the files of this study name more than one issuer of {name}, so it may belong to "
            "more than one patient or study; sort it, or name one source for these issuers in "
            f"{setting}"
        )
    if rules.known_issuers_only:
        raise FailBatch(
            f"the issuer of this study's {name} has no source at DASHER, where the number may "
            f"belong to someone else; name its source in {setting}"
        )
    return f"{default}, issuer {json.dumps(merged, sort_keys=True)}"


def _merged(issuers: list[dict[str, str]]) -> dict[str, str] | None:
    """Merge the parts of one issuer that several files give; None if they contradict each other."""
    merged: dict[str, str] = {}
    for issuer in issuers:
        for path, value in issuer.items():
            if merged.setdefault(path, value) != value:
                return None
    return merged


def _mapped(issuer: Mapping[str, str], sources: Mapping[str, str]) -> str | None:
    # A universal id is more specific than a local name, which several authorities may share.
    universal = [value for path, value in issuer.items() if path.endswith("00400032")]
    local = [issuer[path] for path in _NAMESPACES if path in issuer]
    for name in (*universal, *local, ANY_ISSUER):
        if name in sources:
            return sources[name]
    return None


def _one_name(name: str) -> str:
    return re.sub(r"\s+", " ", name.strip()).casefold()
