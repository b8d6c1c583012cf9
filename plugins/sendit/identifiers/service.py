"""The interface of identifier services."""

from __future__ import annotations

from typing import Protocol

from sendit.identifiers.models import Answer, Request


class IdentifierService(Protocol):
    """Assigns coded ids and a jitter to a patient and a study.

    The same request always gets the same codes and the same jitter, however often and
    from wherever it is sent.
    """

    def identify(self, request: Request) -> Answer:
        """Return the answer to a request, validated against it.

        Raises
        ------
        FailBatch
            The service does not accept these ids, or its answer breaks the contract.
        RetryLater
            The service did not answer, after the configured number of retries.
        Misconfigured
            Address, credentials or permissions are wrong.
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
