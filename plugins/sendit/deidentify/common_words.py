"""Words of names that identify nobody: radiology terms, makers and models, placeholders.

A patient may be called Chest, Norm or Philips. Such a word is not searched for where it has
another meaning.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

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
"""Placeholders that identify nobody, in lower case."""

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

No public table lists models, so this list is kept by hand. It need not be complete: a missing
model matters only if a patient has the same name, and then the study waits for a person. A
superfluous word is harmless in cleaned texts, where the patient's own name is always removed.
"""

MAKERS: Final = frozenset(_MAKERS).union(*_MODELS.values())
"""Words in the names of makers, models and their software, in lower case."""

TERMS: Final = frozenset(
    (
        *("norm", "mosaic", "magnitude", "imaginary", "real", "helical", "reformatted"),
        *("derived", "primary", "secondary", "original", "average", "mean", "resampled"),
        *("segmented", "propeller", "grey", "wedge", "bowtie", "sharp", "smooth", "flat"),
    )
)
"""Terms that are also people's names: Defined Terms of Image Type (PS3.3 C.8.16.1, C.8.2.1.1.1,
and makers' own), Scan Options, Filter Type and Convolution Kernel."""


@lru_cache(maxsize=1 << 12)
def is_common_word(word: str) -> bool:
    """Whether a word (lower case) is a radiology term, a maker or model, or a placeholder."""
    from sendit.clean_descriptors import is_allowed  # noqa: PLC0415 - only where there are names

    return word in PLACEHOLDERS or word in MAKERS or word in TERMS or is_allowed(word)


@lru_cache(maxsize=1 << 12)
def is_common(text: str) -> bool:
    """Whether a text (lower case) consists of common words only.

    A single word with a digit does not count: it may be somebody's ID.
    """
    parts = text.replace("^", " ").split()
    if len(parts) == 1 and any(character.isdigit() for character in text):
        return False
    return all(map(is_common_word, parts))
