"""DASHER, Stanford's identifier service, through ``som``'s client.

som provides DASHER's address, headers and call. Its sending is replaced, because it
has no timeout, follows redirects with the token, exits the process on a web page, returns
responses instead of raising errors, and prints to standard output.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tenacity
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from som.api.identifiers import Client
from som.api.identifiers.client import api_base
from som.logger import bot

from sendit.batch import STUDY_NAME
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.identifiers.calls import Reply, Unanswered, checked_url, post
from sendit.identifiers.models import Answer, Request, read_answer
from sendit.identifiers.tokens import VARIABLE, TokenFile

log = logging.getLogger(__name__)

#: Ids that DASHER accepts; 64 characters is the maximum length of PatientID (LO).
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_WAIT = 60.0


def _say_nothing(*_: Any, **__: Any) -> None:
    """Replace som's printer, which writes each call to standard output and keeps it in memory."""


bot.emit = _say_nothing


class DasherSettings(BaseModel):
    """DASHER's address, token file, and limits on calls."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base: str = Field(default=api_base, description="Address, the part before /v1.")
    token_file: Path | None = Field(
        default=None, description=f"The token file. Default: the file that {VARIABLE} names."
    )
    timeout: float = Field(default=30.0, gt=0, le=600, description="Seconds per call.")
    deadline: float = Field(
        default=300.0, gt=0, le=3600, description="Seconds for all calls for one batch."
    )
    attempts: int = Field(
        default=6, ge=1, le=20, description="Maximum number of calls for one batch."
    )


def dasher_settings(**values: Any) -> DasherSettings:
    """Validate settings.

    Raises
    ------
    Misconfigured
        A value is invalid; the text names it.
    """
    try:
        return DasherSettings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise Misconfigured(f"the connection to DASHER: {problems}") from None


class _Client(Client):  # type: ignore[misc] # som has no types
    """som's client with its sending replaced."""

    def __init__(self, study: str, base: str, send: Callable[[str, str, dict[str, str]], Reply]):
        self.send = send
        # A token that is never sent: without one, som looks for its own file and exits.
        super().__init__(token="none", study=study)
        self.base = base

    def call(
        self,
        url: str,
        func: object,  # noqa: ARG002 - requests.post, which follows redirects
        data: str,
        return_json: bool = True,  # noqa: ARG002 - som's signature
    ) -> Reply:
        return self.send(url, data, self.get_headers())

    def use(self, token: str) -> None:
        """Send this token from now on."""
        self.token = token
        self.update_headers()


class DasherService:
    """Coded ids from DASHER.

    Parameters
    ----------
    study
        The research study for which the ids are coded; it becomes part of the address.
    settings
        Address, token file, and limits on calls.

    Raises
    ------
    Misconfigured
        The study's name, the address or the token file is invalid.
    """

    def __init__(self, study: str, settings: DasherSettings) -> None:
        if not STUDY_NAME.fullmatch(study):
            raise Misconfigured(
                "the study's name for DASHER may contain only letters, digits, - and _"
            )
        path = settings.token_file or os.environ.get(VARIABLE)
        if not path:
            raise Misconfigured(
                f"no tokens for DASHER: set {VARIABLE} to the token file, or token_file in the "
                "connection sendit_dasher"
            )
        self._settings = settings
        self._study = study
        self._base = checked_url(settings.base, "the address of DASHER")
        self._tokens = TokenFile(Path(path).expanduser(), timeout=settings.timeout)

    def identify(self, request: Request) -> Answer:
        """Ask DASHER for the codes of one patient and study; see ``IdentifierService``."""
        for name, value in (
            ("PatientID", request.entity.id),
            ("AccessionNumber", request.item.id),
        ):
            if not _ID.fullmatch(value):
                raise FailBatch(
                    f"{name} is not one that DASHER accepts (letters, digits, - and _, at most "
                    "64), and sendit never changes it to fit; correct it at the source and send "
                    "the study again"
                )
        return read_answer(self._patiently(request.wire()), request)

    def check(self) -> None:
        """Check that DASHER answers and accepts the token, without sending identifiers.

        Raises
        ------
        Misconfigured, RetryLater
            As ``identify``.
        """
        try:
            self._patiently(json.dumps({"identifiers": []}))
        except FailBatch:
            # An empty request may be refused, but it was read and the token accepted.
            return

    def _patiently(self, body: str) -> bytes:
        settings = self._settings
        until = time.monotonic() + settings.deadline
        patience = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unanswered),
            stop=tenacity.stop_after_attempt(settings.attempts)
            | tenacity.stop_before_delay(settings.deadline),
            wait=_wait,
            before_sleep=_say_so,
            reraise=True,
        )
        try:
            return patience(self._ask, body, until)
        except Unanswered as error:
            raise RetryLater(
                f"DASHER could not be asked: {error}; tried for up to {settings.deadline:g} s and "
                f"{settings.attempts} times. Is this machine in Stanford's network (VPN)? The task "
                "will be retried; once it has given up, clear it"
            ) from None

    def _ask(self, body: str, until: float) -> bytes:
        """Ask once, or once more for each new token."""

        def send(url: str, data: str, headers: dict[str, str]) -> Reply:
            return post(
                url, data, headers, what="DASHER", timeout=self._settings.timeout, until=until
            )

        client = _Client(self._study, self._base, send)
        token, ours = self._tokens.access_token(), False
        while True:
            client.use(token)
            reply: Reply = client.deidentify(body)
            if reply.status != 401:
                return _content(reply)
            if ours:
                raise Misconfigured(
                    "DASHER refuses the token that it has just issued (401); ask DASHER's team "
                    "whether this account may still use the service"
                )
            token, ours = self._tokens.renew(token, until=until)


def _content(reply: Reply) -> bytes:
    """Return the JSON object in a reply, or raise the error that its status means."""
    status = reply.status
    if status == 200:
        if not _is_json_object(reply.content):
            raise Unanswered("the answer is not a JSON object")
        return reply.content
    if status in (408, 425, 429) or status >= 500 or status < 300:
        raise Unanswered(f"it answered {status}", reply.wait)
    if status < 400:
        raise Misconfigured(
            f"DASHER's address redirects elsewhere ({status}), and sendit does not send tokens "
            "there; set the target address in the connection sendit_dasher"
        )
    if status in (400, 413, 422):
        raise FailBatch(
            f"DASHER refused this batch's ids ({status}); look the batch up in the ledger and "
            "check PatientID, AccessionNumber and their dates with DASHER's team"
        )
    if status == 403:
        raise Misconfigured(
            "this account may not use this study at DASHER (403); check SENDIT_STUDY, or ask "
            "DASHER's team for permission"
        )
    raise Misconfigured(
        f"DASHER answered {status}; check the address in the connection sendit_dasher "
        "and the study's name"
    )


def _is_json_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


_backoff = tenacity.wait_random_exponential(multiplier=1, max=_MAX_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the delay in seconds: Retry-After, or exponential backoff with jitter, whichever is
    longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, Unanswered) else None
    return max(_backoff(state), asked or 0.0)


def _say_so(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "DASHER: %s; retrying in %.1f s (attempt %d)",
        error,
        state.upcoming_sleep,
        state.attempt_number + 1,
    )
