"""The text forms of digests and checksums."""

from __future__ import annotations

import base64
import hashlib


def short_digest(text: str) -> str:
    """Return 16 hexadecimal digits that identify a text, for use in names.

    Not keyed: for run ids and object names, never for anything about a patient.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def crc32c_text(checksum: bytes) -> str:
    """Return a CRC32C (4 bytes, big endian) in base64, the form that Cloud Storage uses."""
    return base64.b64encode(checksum).decode()
