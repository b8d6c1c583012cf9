"""DASHER's token file, shared by all workers.

It is the file that ``STANFORD_CLIENT_SECRETS`` names: a JSON object with ``accessToken``,
``refreshToken``, ``client_id`` and ``token_uri``. A refresh returns a new pair and invalidates
the old one, so two workers must never refresh at the same time, and a new pair must never
be lost: the refresh happens under a file lock, the second worker to get the lock uses the first
one's tokens, and the file is known to be writable before the service is called.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sendit.errors import Misconfigured, unreadable
from sendit.identifiers.calls import Unanswered, checked_url, post

VARIABLE = "STANFORD_CLIENT_SECRETS"

_POLL_SECONDS = 0.05
_NEW_FILE = "ask DASHER's team for a new token file"

# Valid in an HTTP header; anything else would be quoted in requests' error.
_Token = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")]


class _Pair(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    access: Annotated[_Token, Field(alias="accessToken")]
    refresh: Annotated[_Token, Field(alias="refreshToken")]

    def __repr__(self) -> str:
        return "tokens"


class _Secrets(_Pair):
    # Unknown fields are written back unchanged.
    model_config = ConfigDict(extra="allow")

    token_uri: str


class TokenFile:
    """Reads and renews the tokens.

    Parameters
    ----------
    path
        The file; mode 0600, in a folder that its owner can write to.
    timeout
        Maximum duration of a refresh, in seconds.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def access_token(self) -> str:
        """Return the file's current access token.

        Raises
        ------
        Misconfigured
            The file is readable by others, or invalid.
        RetryLater
            The file is unavailable.
        """
        return self._read().access

    def renew(self, refused: str, *, until: float) -> tuple[str, bool]:
        """Return a new access token to replace one that was refused.

        Parameters
        ----------
        refused
            The access token to which DASHER answered 401.
        until
            ``time.monotonic()`` at which to give up.

        Returns
        -------
        tuple
            The token, and whether this call requested it; if not, another worker did while
            this one waited.

        Raises
        ------
        Unanswered
            The token service did not answer, or another worker is taking too long.
        Misconfigured
            The refresh token is no longer accepted, or the file cannot be written.
        """
        with self._locked(until):
            secrets = self._read()
            if secrets.access != refused:
                return secrets.access, False
            # Write before asking: once the service has answered, the old pair is invalid, and a
            # full disk or a read-only folder would lose the new one.
            self._write(secrets)
            pair = self._ask(secrets, until)
            self._write(secrets.model_copy(update={"access": pair.access, "refresh": pair.refresh}))
            return pair.access, True

    def _ask(self, secrets: _Secrets, until: float) -> _Pair:
        reply = post(
            checked_url(secrets.token_uri, f"token_uri in the {VARIABLE} file"),
            json.dumps({"refreshToken": secrets.refresh}),
            {"Content-Type": "application/json"},
            what="DASHER's token service",
            timeout=self._timeout,
            until=until,
        )
        if reply.status in (408, 425, 429) or reply.status >= 500:
            raise Unanswered(f"DASHER's token service answered {reply.status}", reply.wait)
        if reply.status in (400, 401, 403):
            raise Misconfigured(
                f"DASHER's token service refused the refresh token ({reply.status}); {_NEW_FILE}"
            )
        if reply.status != 200:
            raise Misconfigured(
                f"DASHER's token service answered {reply.status}; check token_uri in the "
                f"{VARIABLE} file"
            )
        try:
            answer = json.loads(reply.content)
        except ValueError:
            raise Unanswered("DASHER's token service did not answer with JSON") from None
        try:
            return _Pair.model_validate(answer)
        except ValidationError:
            raise Misconfigured(
                "DASHER's token service answered without accessToken and refreshToken; "
                f"if this happens again, {_NEW_FILE}"
            ) from None

    def _read(self) -> _Secrets:
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read()
        except OSError as error:
            raise unreadable(
                error,
                f"the {VARIABLE} file cannot be read ({error.strerror}): mount it, or correct its "
                "path there or in token_file of the connection sendit_dasher",
            ) from None
        if mode & 0o077:
            raise Misconfigured(
                f"the {VARIABLE} file is readable by other users; run: chmod 600 on it"
            )
        try:
            return _Secrets.model_validate_json(content)
        except ValidationError:
            raise Misconfigured(
                f"the {VARIABLE} file is not a JSON object with accessToken, refreshToken, "
                f"client_id and token_uri; {_NEW_FILE}"
            ) from None

    def _write(self, secrets: _Secrets) -> None:
        # Through a link to the file itself: replacing the link would leave the old one behind.
        path = self._path.resolve()
        new = path.with_name(f".{path.name}.new")
        try:
            owner = path.stat()
            new.unlink(missing_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w") as file:
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    # Run by root for another user: the file keeps its owner.
                    with suppress(PermissionError):
                        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(secrets.model_dump_json(by_alias=True, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Misconfigured(_not_writable(error)) from None

    @contextmanager
    def _locked(self, until: float) -> Iterator[None]:
        """Hold a lock file, which excludes other threads, processes and (over NFS) machines."""
        path = self._path.resolve()
        try:
            handle = os.open(
                path.with_name(f".{path.name}.lock"),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError as error:
            raise Misconfigured(_not_writable(error)) from None
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Unanswered("another worker is renewing DASHER's token") from None
                    time.sleep(_POLL_SECONDS)
            yield
        finally:
            # Closing releases the lock; so does the end of the process, however it ends.
            os.close(handle)


def _not_writable(error: OSError) -> str:
    return (
        f"the {VARIABLE} file's folder cannot be written ({error.strerror}), so DASHER's token "
        "cannot be renewed; mount the whole folder on the workers, writable, not just the file"
    )
