"""The site's secret key and what is derived from it.

One secret, kept outside the ledger and outside Airflow, gives independent keys for
UIDs, for the digests that remember a folder, and for the local identifier service.
Losing it means that new studies of a known patient get new UIDs; publishing it
means that anyone who holds an original UID can find its image.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from sendit.errors import Misconfigured, unreadable

MIN_BYTES = 32


class Keys:
    """Keys for separate purposes, derived from one secret with HMAC-SHA256.

    Parameters
    ----------
    secret
        At least 32 bytes.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_BYTES:
            raise Misconfigured(
                f"the secret key is shorter than {MIN_BYTES} bytes; make one with: sendit key FILE"
            )
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for a purpose."""
        return hmac.digest(self._secret, purpose.encode(), hashlib.sha256)

    def digest(self, purpose: str, value: bytes | str) -> str:
        """Return a keyed digest (64 hex digits) of a value: the same value, the same digest."""
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        return hmac.new(self.derive(purpose), data, hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "Keys(...)"


def read_keys(path: Path | None) -> Keys:
    """Read the secret from its file; a missing, readable-by-others or short one is an error."""
    if path is None:
        raise Misconfigured(
            "no secret key: set SENDIT_KEY_FILE to a file made with: sendit key FILE"
        )
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().strip()
    except OSError as error:
        raise unreadable(
            error,
            f"SENDIT_KEY_FILE cannot be read ({error.strerror}): mount it, or correct the setting "
            "or the file's owner. A site that has delivered before needs its own key; only a new "
            "one makes one, with: sendit key FILE",
        ) from None
    if mode & 0o077:
        raise Misconfigured("SENDIT_KEY_FILE is readable by others; run: chmod 600 on it")
    return Keys(secret)


def write_new_key(path: Path) -> None:
    """Write a fresh secret (64 hex digits, mode 0600); never over an existing file."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured("the key file exists; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
