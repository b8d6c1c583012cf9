"""The supported transfer syntaxes (PS3.5 chapter 10 and Annex A).

A file is delivered only if every byte of its pixel data is known to belong to an image. This is
impossible for the syntaxes that are missing here: video and JPEG XL (their streams can carry
text), referenced pixel data (JPIP), private and nonexistent syntaxes.
"""

from __future__ import annotations

from typing import Final

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

NATIVE: Final = frozenset(
    (
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    )
)
JPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 67), 70))
"""Baseline, extended, lossless, and the retired processes of ISO/IEC 10918-1."""

JPEG_LS: Final = frozenset(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"))
JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
"""JPEG 2000 and high-throughput JPEG 2000 (HTJ2K), but not part 2 (multi-component), whose
codestreams contain more than a frame."""

ENCAPSULATED: Final = JPEG | JPEG_LS | JPEG_2000 | {RLE_LOSSLESS, ENCAPSULATED_UNCOMPRESSED}
SUPPORTED: Final = NATIVE | ENCAPSULATED
