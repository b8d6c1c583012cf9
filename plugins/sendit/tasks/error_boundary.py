"""The error boundary between a task's code and Airflow's logs.

Airflow writes an exception's text and its whole chain to the task log and the UI, and
captures libraries' log messages and warnings. The texts of sendit's own errors are safe; of all
others only the type and location are shown, because a library's text may quote a path or a value.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from sendit.errors import (
    FailBatch,
    Misconfigured,
    RetryLater,
    SenditError,
    SkipInstance,
    TakenOver,
    kind_and_place,
)

#: Libraries that log values from the files and requests they handle.
NOISY_LOGGERS = ("pydicom", "deid", "som", "sqlalchemy", "urllib3")


class UnexpectedError(AirflowException):
    """An unexpected error in sendit or a library: its type and location, never its message."""


@contextmanager
def error_boundary() -> Iterator[None]:
    """Run a task's body; translate its errors into ones that Airflow handles and anyone may read.

    Raises
    ------
    AirflowFailException
        For ``FailBatch`` and ``Misconfigured``: a retry would not help.
    AirflowSkipException
        For ``TakenOver``: another run will do the remaining work.
    RetryLater
        Unchanged: Airflow retries the task.
    UnexpectedError
        For everything else that is not Airflow's own.
    """
    quiet = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AirflowException:
        raise
    except TakenOver as error:
        raise AirflowSkipException(str(error)) from None
    except (FailBatch, Misconfigured, SkipInstance) as error:
        raise AirflowFailException(str(error)) from None
    except RetryLater as error:
        raise RetryLater(str(error)) from None
    except SenditError as error:
        raise AirflowFailException(str(error)) from None
    except Exception as error:  # noqa: BLE001 - the text may hold a patient's values
        raise UnexpectedError(kind_and_place(error)) from None
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
