"""Digests and checksums as sendit writes them down."""

from __future__ import annotations

import base64
import hashlib


def short_digest(text: str) -> str:
    """Return 16 hexadecimal digits that tell texts apart where a name may hold nothing else.

    Not keyed: for ids of runs and names of objects, never for anything of a patient.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def crc32c_text(checksum: bytes) -> str:
    """Return a CRC32C (4 bytes, big endian) in base64, as Cloud Storage writes it."""
    return base64.b64encode(checksum).decode()
