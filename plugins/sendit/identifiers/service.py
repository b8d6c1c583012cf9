"""The one interface that every identifier service has."""

from __future__ import annotations

from typing import Protocol

from sendit.identifiers.models import Answer, Request


class IdentifierService(Protocol):
    """Gives coded ids and a jitter for a patient and a study.

    The same request gets the same codes and the same jitter every time, however often and
    from wherever it is asked.
    """

    def identify(self, request: Request) -> Answer:
        """Return the answer to a request, checked against it.

        Raises
        ------
        FailBatch
            The service cannot take these ids, or its answer breaks the contract.
        RetryLater
            The service did not answer, after the retries that it is configured for.
        Misconfigured
            Address, credentials or rights are wrong.
        """
        ...

    def check(self) -> None:
        """Check that the service would answer, without sending identifiers.

        Raises
        ------
        Misconfigured, RetryLater
            As ``identify``.
        """
        ...
