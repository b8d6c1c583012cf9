"""The provider's Google operators, imported only when their task runs.

Importing them takes two CPU seconds, which every task of the DAG and every parse of its file
would pay if they were imported at module level
(docs/decisions/google-operators-when-their-task-runs.md). The operator that runs, and that
Airflow's UI names, is the provider's own, unmodified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
)

from sendit.crashpoint import reach
from sendit.errors import FailBatch, Misconfigured
from sendit.hooks.connections import GOOGLE, reading
from sendit.hooks.google import provider_errors, storage_client
from sendit.hooks.site import ledger, settings
from sendit.tasks.error_boundary import error_boundary
from sendit.tasks.task_context import own_run

if TYPE_CHECKING:
    from google.cloud import storage

    from sendit.delivery.feeder import Feed
    from sendit.delivery.lanes import Lane
    from sendit.delivery.upload import CollectionPart, LaneWork

logger = logging.getLogger(__name__)


class GoogleOperator(BaseOperator):
    """Runs one of the provider's operators for each collection that a lane has archives of.

    Parameters
    ----------
    operator
        Import path of the provider's operator.
    lane
        The lane: its number and its batches' opaque ids.
    arguments
        Builds the operator's arguments for a collection, when the task runs.
    """

    template_fields = ("lane",)

    def __init__(
        self,
        *,
        operator: str,
        lane: Any,
        arguments: Callable[[CollectionPart], dict[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operator = operator
        self.lane = lane
        self.arguments = arguments
        self.custom_operator_name = operator.rpartition(".")[2]
        self._running: BaseOperator | None = None

    def execute(self, context: Any) -> None:
        """Build the provider's operator and run it; does nothing for a finished lane."""
        with error_boundary():
            parts = lane_work(self.lane).parts()
            if not parts:
                logger.info("lane %d: nothing to do", self.lane["lane"])
            errors: list[Exception] = []
            for part in parts:
                # One collection's table may be broken; the others' rows continue.
                try:
                    self._run(part, context)
                except Exception as error:  # noqa: BLE001 - raised below
                    errors.append(error)
            if errors:
                final = (FailBatch, Misconfigured)
                raise next((each for each in errors if not isinstance(each, final)), errors[0])

    def _run(self, part: CollectionPart, context: Any) -> None:
        arguments = self.arguments(part)
        storage_client()  # raises a clear error if the credentials are wrong
        with reading(GOOGLE), provider_errors(), _jobs(part):
            self._running = _load(self.operator)(task_id=self.task_id, **arguments)
            self._running.execute(context)
        reach(f"{self.task_id.rpartition('.')[2]}: ran")

    def on_kill(self) -> None:
        """Forward to the provider's operator, which cancels its job."""
        if self._running is not None:
            self._running.on_kill()


def _load(path: str) -> Any:
    from importlib import import_module

    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def lane_work(lane: Lane) -> LaneWork:
    """Return the work of one of this run's lanes."""
    from sendit.delivery.upload import LaneWork

    key = own_run().key
    return LaneWork(ledger().of_run(key), settings().work, key, lane)


def feed(client: storage.Client, bucket: str, collection: str, study: str) -> Feed:
    """Return this site's feed of a collection."""
    from sendit.delivery.feeder import Feed, feeder_of
    from sendit.hooks.site import service_name

    feeder = feeder_of(
        ledger(),
        settings().keys(),
        service_name(),
        study,
        settings().identity_rules(),
        project=client.project,
    )
    return Feed(ledger(), client, bucket, collection, feeder)


@contextmanager
def _jobs(part: CollectionPart) -> Iterator[None]:
    """Translate an operator's errors, because a job's own message may quote a row."""
    from sendit.delivery.google_errors import refused

    try:
        yield
    except (AirflowNotFoundException, AirflowSkipException, AirflowFailException):
        raise
    except AirflowException as error:
        raise refused("BigQuery", f"dataset {part.dataset}", str(error)) from None
