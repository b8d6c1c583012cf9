"""Coincidences: values that an attribute has in its own right, although they equal a real value of
the batch.

A scanner's station name is often its model's name, a procedure's id its description, an
accession number of six digits a time of day, and patients are called Chest, Norm or Philips.
Such a value tells nothing where the attribute means something else by it, and a study that
holds it is correct. The last gate asks here before it counts what it has found.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PLACES_AND_STEPS: Final = frozenset(
    (
        *(0x00080080, 0x00081010, 0x00081040, 0x00100021, 0x00101080, 0x00181000),
        *(0x00181003, 0x00181004, 0x00181008, 0x00200010, 0x00321033, 0x00380300),
        *(0x00400009, 0x00400253, 0x00401001),
    )
)
"""Identifying attributes of the place, the device and the procedure, not of the patient.

Sites fill them in with what other attributes say: the model's name, the description.
"""

PLACES: Final = frozenset((0x00080080, 0x00081010, 0x00081040, 0x00100021))
"""Of these, the place: InstitutionName, StationName, InstitutionalDepartmentName, and
IssuerOfPatientID, which is mostly the institution."""

NAMED_ALIKE: Final = frozenset(
    (
        # the device: maker, model, software, coils
        *(0x00080070, 0x00081090, 0x00181020, 0x00181250, 0x00181251),
        # the procedure: descriptions (cleaned by rules of their own), codes, sequences
        *(0x00081030, 0x0008103E, 0x00181030, 0x00321060, 0x00400007, 0x00400254),
        *(0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00180015, 0x00180024),
    )
)
"""Attributes that say what the device or the procedure is, and may be called alike."""

MAX_COINCIDENCE: Final = 6
"""Digits up to which a number is found by chance among the numbers of a study."""

MIN_CODE_STRING_WORD: Final = 6
"""Letters of a name below which a Defined Term (VR CS) or AE title may be just so."""

PLACEHOLDERS: Final = frozenset(
    (
        *("anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified"),
        *("removed", "unknown", "none", "null", "patient", "name", "test", "na", "n/a", "no"),
        *("yes", "other", "undefined", "empty", "blank", "dummy", "default", "sendit"),
        *("phantom", "quality", "service", "daily", "calibration", "acceptance", "volunteer"),
        *("demo", "subject", "water", "training", "research", "animal", "specimen"),
        *("prof", "professor", "doctor", "herr", "frau", "miss", "mister", "senior", "junior"),
    )
)
"""Values and words that tell nothing about anyone, lower case."""

_MAKERS: Final = (
    # Private creators in pydicom's dictionary, which takes them from conformance statements
    *("acuson", "adac", "agfa", "aloka", "brainlab", "canon", "elscint", "fuji", "gevaert"),
    *("hologic", "imatron", "kodak", "lodox", "lorad", "marconi", "mevis", "philips", "picker"),
    *("sectra", "siemens", "toshiba", "varian"),
    # Manufacturer (0008,0070) in other public files and in makers' conformance statements
    *("accuray", "analogic", "bruker", "carestream", "cerner", "elekta", "esaote", "fonar"),
    *("fujifilm", "hitachi", "hyperfine", "konica", "medtronic", "mindray", "minolta"),
    *("neurologica", "neusoft", "planmeca", "samsung", "shimadzu", "ziehm"),
    # What follows their names there
    *("company", "corporation", "electric", "general", "healthcare", "healthineers", "imaging"),
    *("medical", "systems", "united"),
)

_MODELS: Final = {
    "Canon, Toshiba": (
        *("alexion", "aquilion", "asteion", "elan", "fortian", "galan", "lightning", "orian"),
        *("prime", "prism", "titan", "vantage"),
    ),
    "Fujifilm, Hitachi": (*("altaire", "aperto", "echelon", "oasis", "scenaria", "supria"),),
    "GE": (
        *("architect", "artist", "brightspeed", "creator", "discovery", "edge", "evolution"),
        *("explorer", "frontier", "genesis", "hispeed", "lightspeed", "maxima", "optima"),
        *("performance", "pioneer", "premier", "revolution", "signa", "victory", "voyager"),
    ),
    "Marconi, Picker": ("eclipse", "edge", "infinion"),
    "Philips": (
        *("achieva", "ambition", "brilliance", "elition", "gemini", "gyroscan", "incisive"),
        *("ingenia", "ingenuity", "intera", "multiva", "panorama", "prodiva", "spectral"),
        *("vereos",),
    ),
    "Siemens": (
        *("aera", "altea", "amira", "avanto", "biograph", "cima", "confidence", "definition"),
        *("drive", "duo", "emotion", "espree", "essenza", "flash", "force", "free", "harmony"),
        *("impact", "lumina", "magnetom", "mobilett", "naeotom", "perspective", "presto"),
        *("prisma", "scope", "select", "sensation", "sierra", "skyra", "sola", "somatom"),
        *("sonata", "spectra", "symphony", "syngo", "terra", "trio", "verio", "viato", "vida"),
        *("vision", "vista", "volume"),
    ),
}
"""Words of Manufacturer's Model Name (0008,1090) and Software Versions (0018,1020) by maker, from
their product pages and conformance statements.

No public table lists models, so this one is by hand. It need not be complete: a name that is
missing here matters where a patient is called like a scanner that is not listed, and then the
study waits for a person. A word too many lets nothing pass in a cleaned text, where the words of
the patient's own name are looked for all the same.
"""

MAKERS: Final = frozenset(_MAKERS).union(*_MODELS.values())
"""Words in the names of makers, models and their software, lower case."""

TERMS: Final = frozenset(
    (
        *("norm", "mosaic", "magnitude", "imaginary", "real", "helical", "reformatted"),
        *("derived", "primary", "secondary", "original", "average", "mean", "resampled"),
        *("segmented", "propeller", "grey", "wedge", "bowtie", "sharp", "smooth", "flat"),
    )
)
"""Terms that are names of people as well: Defined Terms of Image Type (PS3.3 C.8.16.1, C.8.2.1.1.1,
and makers' own), Scan Options, Filter Type and Convolution Kernel."""

NUMBERS: Final = frozenset(("AS", "DS", "IS", "TM"))
"""VRs of written numbers, times and ages."""

_TIME: Final = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-6]\d(?:\.\d{1,6})?)?)?")
_AGE: Final = re.compile(r"\d{3}[DWMY]")
_NUMBER: Final = re.compile(r"[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?")


def is_common_word(word: str) -> bool:
    """Whether a word (lower case) is one of radiology, of makers, or of no one."""
    from sendit.clean_descriptors import is_allowed  # noqa: PLC0415 - only where there are names

    return word in PLACEHOLDERS or word in MAKERS or word in TERMS or is_allowed(word)


@lru_cache(maxsize=1 << 12)
def is_common(text: str) -> bool:
    """Whether a text (lower case) consists of words of radiology only.

    One word that holds a digit says more: it may be a number of someone.
    """
    parts = text.replace("^", " ").split()
    if len(parts) == 1 and any(character.isdigit() for character in text):
        return False
    return all(map(is_common_word, parts))


def is_plain_number(vr: str, value: str) -> bool:
    """Whether a value is an ordinary time, age or measured number, as its VR says."""
    match vr:
        case "TM":
            return _TIME.fullmatch(value) is not None
        case "AS":
            return _AGE.fullmatch(value) is not None
        case "DS" | "IS":
            return _NUMBER.fullmatch(value) is not None
        case _:
            return False


def identifier_is_coincidence(sources: frozenset[int], key: str, tag: int, vr: str) -> bool:
    """Whether an identifier that was found belongs to the attribute that holds it.

    Parameters
    ----------
    sources
        The attributes whose identifier it is; 0 is the folder's name.
    key
        The identifier as it was found (:func:`~sendit.gate.spellings.key`).
    tag, vr
        Where it was found.
    """
    of_the_place = sources <= PLACES_AND_STEPS
    if vr in {"DS", "IS"}:
        return of_the_place or len(key) <= MAX_COINCIDENCE
    return of_the_place and tag in NAMED_ALIKE


def name_is_coincidence(letters: int, vr: str) -> bool:
    """Whether a single word of a name is a term that belongs to the attribute."""
    return vr in {"AE", "CS"} and letters < MIN_CODE_STRING_WORD
