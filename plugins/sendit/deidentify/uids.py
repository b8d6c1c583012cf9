"""Replace UIDs by a keyed hash.

A new UID is ``2.25.`` followed by a UUID as a decimal number (PS3.5 B.2). The UUID is version 8
(RFC 9562): 122 bits of the HMAC-SHA256 of the original UID under the site's key. The same
original yields the same new UID in every batch of a site, and without the key nobody can trace
a new UID back to its original.
"""

from __future__ import annotations

import hmac
import re
import uuid
from typing import Final

from pydicom._uid_dict import UID_dictionary

from sendit.keys import Keys

PURPOSE: Final = "uid"
MAX_UID_LENGTH: Final = 64
"""Maximum length of a UID in characters (PS3.5 9.1)."""

_PADDING: Final = b" \0"
_FIXED_BITS: Final = 0xF << 76 | 0x3 << 62  # version and variant
_VERSION_8: Final = 0x8 << 76 | 0x2 << 62
_STANDARD: Final = frozenset(uid.encode() for uid in UID_dictionary)


_YEAR: Final = r"(?:19[7-9]|20\d)\d"
_MONTH: Final = r"(?:0[1-9]|1[0-2])"
_DAY: Final = r"(?:0[1-9]|[12]\d|3[01])"
_DATED: Final = re.compile(
    rb"(?:%s)"
    % b"|".join(
        pattern.encode()
        for pattern in (
            rf"{_YEAR}{_MONTH}{_DAY}",  # yyyymmdd, alone or in a longer component
            rf"(?<!\d){_YEAR}\.(?:0?[1-9]|1[0-2])\.(?:0?[1-9]|[12]\d|3[01])(?!\d)",  # as components
            # Siemens: 3000000 and yymmddhhmm
            rf"(?<=\.)300000\d?\d\d{_MONTH}{_DAY}(?:[01]\d|2[0-3])[0-5]\d",
            # United Imaging: yymmddhhmmss
            rf"(?<=\.)\d\d{_MONTH}{_DAY}(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)",
            # seconds or milliseconds since 1970, from 1990 to 2036 (GE and others)
            r"(?<=\.)(?:6[3-9]|[7-9]\d|1\d\d|20\d)\d{7}(?:\d{3})?(?!\d)",
            # the same since the year 1, possibly in ticks of 100 ns or longer (Philips CT, .NET)
            r"(?<=\.)6(?:2[7-9]|3\d|40)\d{8}(?:\d{3}|\d{7}|\d{12})?(?!\d)",
            # Hologic: seconds since 1900
            r"(?<=1\.2\.840\.113681\.)\d+\.\d+\.(?:2[89]|3\d|4[0-2])\d{8}(?!\d)",
        )
    )
)


def holds_date(uid: bytes) -> bool:
    """Whether a UID contains its date of creation in a form that vendors use.

    Eight digits that are a date by chance count, too: about three in a hundred random UIDs of 39
    digits contain them.
    """
    return _DATED.search(uid) is not None


class UidMap:
    """Maps UIDs to new ones; the same key yields the same mapping.

    Parameters
    ----------
    keys
        The site's keys.
    """

    __slots__ = ("_key",)

    def __init__(self, keys: Keys) -> None:
        self._key = keys.derive(PURPOSE)

    def uuid(self, original: bytes) -> uuid.UUID:
        """Return the UUID that replaces a value."""
        return uuid.UUID(int=self._number(original))

    def _number(self, original: bytes) -> int:
        number = int.from_bytes(hmac.digest(self._key, original, "sha256")[:16], "big")
        return number & ~_FIXED_BITS | _VERSION_8

    def one(self, original: bytes, root: str = "2.25.") -> bytes:
        """Return the new UID for one UID.

        UIDs registered by the standard (SOP classes, transfer syntaxes, well-known frames of
        reference) mean the same everywhere and are not changed.

        Parameters
        ----------
        original
            The UID without padding.
        root
            Prefix of the new UID. Other than 2.25, the number is truncated so that the UID fits
            into 64 characters.
        """
        if original in _STANDARD:
            return original
        prefix = root if root.endswith(".") else f"{root}."
        number = str(self._number(original))
        return (prefix + number[: MAX_UID_LENGTH - len(prefix)]).encode()

    def undated(self, value: bytes) -> bytes:
        """Replace the UIDs of a UI value that contain a date."""
        parts = [part.strip(_PADDING) for part in value.split(b"\\")]
        return b"\\".join(self.one(part) if holds_date(part) else part for part in parts)

    def many(self, value: bytes, root: str = "2.25.") -> bytes:
        """Replace each UID of a UI value; empty values stay empty. See :meth:`one`."""
        parts = [part.strip(_PADDING) for part in value.split(b"\\")]
        return b"\\".join(self.one(part, root) if part else b"" for part in parts)
