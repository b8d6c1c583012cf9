"""The standard's code meanings (PS3.16), as shipped with pydicom.

A CodeMeaning is the standard's text for a published code, or free text that a site entered for a
code of its own. Old images have SNOMED-RT style codes ("T-28000", schemes SRT, SNM3 and 99SDM);
they are looked up by the SNOMED CT code that replaced them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, cast

_Codes = Mapping[str, tuple[str, list[int]]]
_FORMER_SNOMED: Final = frozenset(("SRT", "SNM3", "99SDM"))


SCHEMES: Final = frozenset(
    (
        *("ACR", "ASTM-sigpurpose", "BARI", "BI", "C4", "C5", "CD2", "CTCAE", "DC", "DCM"),
        *("DCMUID", "FMA", "GeneID", "HPC", "I10", "I10P", "I9", "I9C", "IBSI", "ICDO3"),
        *("IETF4646", "ISO3166_1", "ISO5218_1", "ISO639_1", "ISO639_2", "ITIS_TSN", "JC8"),
        *("JJ1017T", "LN", "MA", "MAYOASRG", "MDC", "MDNS", "MSH", "NCDR", "NCIt", "NDC"),
        *("NEU", "NYUMCCG", "POS", "PUBCHEM_CID", "RADELEMENT", "RADLEX", "RFC3066", "RFC5646"),
        *("RO", "RXNORM", "SCPECG", "SCT", "SNM3", "SRT", "UBERON", "UCUM", "UMLS", "UPC", "X12.3"),
    )
)
"""Coding Scheme Designators of PS3.16 Table 8-1."""

LANGUAGES: Final = frozenset(("IETF4646", "ISO639_1", "ISO639_2", "RFC3066", "RFC5646"))
LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,4}){0,2}", re.ASCII)
"""A language tag with optional script and country."""


_REMARK: Final = re.compile(r"\{([^{}]*)\}")
"""An annotation in braces, as UCUM units may have."""

_MORE_REMARKS: Final = frozenset(
    (
        *("b", "beats", "events", "frames", "h.b.", "no units", "pixels", "pulses", "samples"),
        *("sources", "voxels", "x-ray sources"),
    )
)
"""Annotations in units of older editions of PS3.16, and of counted things."""


def remarks_of(unit: str) -> list[str]:
    """Return the annotations in a UCUM unit that no unit of the standard has."""
    known = _remarks()
    remarks = filter(None, _REMARK.findall(unit))
    return [remark for remark in remarks if remark.casefold() not in known]


@cache
def _remarks() -> frozenset[str]:
    units = _meanings("UCUM")
    return _MORE_REMARKS.union(
        remark.casefold() for unit in units for remark in _REMARK.findall(unit)
    )


@cache
def _meanings(scheme: str) -> Mapping[str, tuple[str, ...]]:
    """Return the meanings of each code of a scheme, those used in context groups first."""
    from pydicom.sr._concepts_dict import concepts  # noqa: PLC0415 - 15 MB, for few studies

    schemes = cast("Mapping[str, Mapping[str, _Codes]]", concepts)
    meanings: dict[str, list[str]] = {}
    for codes in schemes.get(scheme, {}).values():
        for code, (meaning, groups) in codes.items():
            texts = meanings.setdefault(code, [])
            if meaning.isascii():  # valid in any character set
                texts.insert(0 if groups else len(texts), meaning)
    return {code: tuple(texts) for code, texts in meanings.items()}


@cache
def is_published(code: str) -> bool:
    """Whether a code (CodeValue, without padding) is published in any scheme of the standard."""
    return any(code in _meanings(scheme) for scheme in SCHEMES)


def standard_meanings(value: str, scheme: str) -> tuple[str, ...]:
    """Return the standard's meanings of a code, the preferred one first; empty if unknown.

    Parameters
    ----------
    value
        CodeValue, without padding.
    scheme
        CodingSchemeDesignator.
    """
    if scheme in _FORMER_SNOMED:
        from pydicom.sr._snomed_dict import mapping  # noqa: PLC0415 - as above

        value, scheme = mapping["SRT"].get(value, ""), "SCT"
    return _meanings(scheme).get(value, ())
