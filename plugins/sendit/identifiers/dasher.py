"""DASHER, Stanford's identifier service, through ``som``'s client.

som knows DASHER's address, headers and call; its own way of sending is replaced, because it
has no timeout, follows redirects with the token, ends the process on a web page, hands out
responses in place of errors and prints to standard output.
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

#: What DASHER takes as an id; 64 characters is what PatientID (LO) holds.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_WAIT = 60.0


def _say_nothing(*_: Any, **__: Any) -> None:
    """Stand in for som's printer, which writes each call to standard output and keeps it all."""


bot.emit = _say_nothing


class DasherSettings(BaseModel):
    """Where DASHER is and how patient to be with it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base: str = Field(default=api_base, description="Address, up to /v1.")
    token_file: Path | None = Field(
        default=None, description=f"File with the tokens. Default: what {VARIABLE} names."
    )
    timeout: float = Field(default=30.0, gt=0, le=600, description="Seconds for one call.")
    deadline: float = Field(
        default=300.0, gt=0, le=3600, description="Seconds for all calls for one batch."
    )
    attempts: int = Field(default=6, ge=1, le=20, description="Calls for one batch at most.")


def dasher_settings(**values: Any) -> DasherSettings:
    """Validate settings; the error names an invalid one."""
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
        The research study that the ids are coded for; it becomes part of the address.
    settings
        Address, token file, patience.

    Raises
    ------
    Misconfigured
        The study's name, the address or the token file cannot be right.
    """

    def __init__(self, study: str, settings: DasherSettings) -> None:
        if not STUDY_NAME.fullmatch(study):
            raise Misconfigured("the study's name for DASHER has other than letters, digits, - _")
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
                    f"{name} is not one that DASHER takes (letters, digits, - and _, at most 64), "
                    "and it is never changed to fit; correct it at the source and send the study "
                    "again"
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
            # A request about nobody may well be refused: it was read and the token taken.
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
                "tries again later; if it has given up, clear it"
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
                    "DASHER refuses the token that it has just given (401); ask DASHER's team "
                    "whether this account may still use the service"
                )
            token, ours = self._tokens.renew(token, until=until)


def _content(reply: Reply) -> bytes:
    """Return the JSON object in a reply, or say what its status means."""
    status = reply.status
    if status == 200:
        if not _is_json_object(reply.content):
            raise Unanswered("the answer is not a JSON object")
        return reply.content
    if status in (408, 425, 429) or status >= 500 or status < 300:
        raise Unanswered(f"it answered {status}", reply.wait)
    if status < 400:
        raise Misconfigured(
            f"DASHER's address redirects elsewhere ({status}), and tokens are not sent along; "
            "set the address that it redirects to in the connection sendit_dasher"
        )
    if status in (400, 413, 422):
        raise FailBatch(
            f"DASHER refused this batch's ids ({status}); look the batch up in the ledger and "
            "check PatientID, AccessionNumber and their dates with DASHER's team"
        )
    if status == 403:
        raise Misconfigured(
            "this account may not use this study at DASHER (403); check SENDIT_STUDY, or ask "
            "DASHER's team for the right"
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
    """Wait as long as DASHER asked for, or a random time that doubles with each attempt."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, Unanswered) else None
    return max(_backoff(state), asked or 0.0)


def _say_so(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "DASHER: %s; asking again in %.1f s (attempt %d)",
        error,
        state.upcoming_sleep,
        state.attempt_number + 1,
    )
