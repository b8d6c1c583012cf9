"""Preflight: everything that a batch needs is checked before one is claimed, so that a mistake
does not cost a batch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sendit.errors import RetryLater
from sendit.hooks.site import ledger, settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from sendit.identifiers.service import IdentifierService
    from sendit.ledger import BatchParams


class Preflight:
    """Checks key, working folder, recipe, identifier service, bucket and dataset.

    Nothing heavy is imported and no service is called before the first check, so a run that finds
    nothing to do stays cheap.
    """

    def __init__(self) -> None:
        self._clients: tuple[storage.Client, bigquery.Client] | None = None

    def __call__(self, params: BatchParams) -> None:
        """Check everything that a batch with these params needs, cheapest first.

        This also writes the collection's count (`sendit.delivery.feeder`), which shows that the
        site may write to the bucket.

        Raises
        ------
        Misconfigured, RetryLater
            A problem that would fail every such batch.
        """
        from sendit.pipeline.load_recipe import load_recipe

        settings().need("home", "key_file", "bucket")
        settings().keys()
        _check_work()
        load_recipe(params.recipe)
        service_of(params.study).check()
        self._check_target(params)

    def _check_target(self, params: BatchParams) -> None:
        from sendit.delivery.table import ensure_table
        from sendit.hooks.google import bigquery_client, storage_client
        from sendit.tasks.google import feed

        if self._clients is None:
            self._clients = storage_client(), bigquery_client()
        storage, bigquery = self._clients
        feed(storage, settings().bucket, params.collection, params.study).count()
        ensure_table(bigquery, params.collection, settings().location)


def service_of(study: str) -> IdentifierService:
    """Return the site's identifier service for a study."""
    if settings().identifiers == "dasher":
        from sendit.hooks.dasher import DasherHook

        return DasherHook().get_service(study)
    from sendit.identifiers.local import LocalService

    return LocalService(study, settings().keys(), ledger())


def _check_work() -> None:
    work = settings().work
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        writable = os.access(work, os.W_OK | os.X_OK)
    except OSError as error:
        raise RetryLater(
            f"the working folder cannot be created ({error.strerror}): mount it, or correct "
            "SENDIT_WORK_FOLDER or SENDIT_HOME"
        ) from None
    if not writable:
        raise RetryLater(
            "the working folder cannot be written: give sendit's account write permission, or "
            "correct SENDIT_WORK_FOLDER or SENDIT_HOME"
        )
