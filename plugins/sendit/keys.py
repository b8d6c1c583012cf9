"""The site's secret key and what is derived from it.

Independent keys for UIDs, for the digests of folders, and for the local identifier service are
derived from one secret, which is kept outside the ledger and outside Airflow. If it is lost,
new studies of a known patient get different UIDs; if it leaks, anyone who has an original UID can
find its image.
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

    Raises
    ------
    Misconfigured
        The secret is shorter.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_BYTES:
            raise Misconfigured(
                f"the secret key is shorter than {MIN_BYTES} bytes; generate one with: sendit key "
                "FILE"
            )
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for a purpose."""
        return hmac.digest(self._secret, purpose.encode(), hashlib.sha256)

    def digest(self, purpose: str, value: bytes | str) -> str:
        """Return a keyed digest (64 hex digits) of a value; equal values have equal digests."""
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        return hmac.new(self.derive(purpose), data, hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "Keys(...)"


def read_keys(path: Path | None) -> Keys:
    """Read the secret from its file.

    Raises
    ------
    Misconfigured
        No file is set, it is readable by others, or the secret is too short.
    RetryLater
        The file is unavailable.
    """
    if path is None:
        raise Misconfigured(
            "no secret key: set SENDIT_KEY_FILE to a file generated with: sendit key FILE"
        )
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().strip()
    except OSError as error:
        raise unreadable(
            error,
            f"SENDIT_KEY_FILE cannot be read ({error.strerror}): mount it, or correct the setting "
            "or the file's owner. A site that has delivered before must keep its key; only a new "
            "site generates one, with: sendit key FILE",
        ) from None
    if mode & 0o077:
        raise Misconfigured("SENDIT_KEY_FILE is readable by other users; run: chmod 600 on it")
    return Keys(secret)


def write_new_key(path: Path) -> None:
    """Write a new secret (64 hex digits, mode 0600).

    Raises
    ------
    Misconfigured
        The file exists; a key is never overwritten.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured("the key file already exists; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
