"""Errors, named for what happens next.

The text of every error here is shown in task logs and in Airflow's UI, so sendit writes it
itself, and it contains only opaque ids, counts, codes and names of settings: never a path below
an input folder, never a header value.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


class SenditError(Exception):
    """Base of all errors that sendit raises on purpose; its text is safe to show."""


class Misconfigured(SenditError):
    """A setting, recipe, key or connection is wrong: a person must fix it, a retry will not."""


class RetryLater(SenditError):
    """An external service failed in a way that may pass: retry the same call later."""


#: Errors of the operating system that do not go away by waiting.
_PERMANENT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}
)


def unreadable(error: OSError, text: str) -> SenditError:
    """Return the error for one of the site's files that cannot be read.

    ``Misconfigured`` for wrong permissions and names, which a person must correct; ``RetryLater``
    for everything else, since a missing file may come back with its mount.
    """
    return Misconfigured(text) if error.errno in _PERMANENT else RetryLater(text)


class FailBatch(SenditError):
    """This batch cannot be delivered as it is; all others continue."""


class TakenOver(SenditError):
    """Another run holds this batch now, or a person requeued it: this task must not write its
    result."""


class SkipInstance(SenditError):
    """This file is not delivered; the rest of its batch continues.

    Parameters
    ----------
    reason
        Why, as a code for logs and counts.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def kind_and_place(error: BaseException) -> str:
    """Return an exception's type and location without its message, which may quote a path or a
    value."""
    code = f" [errno {error.errno}: {error.strerror}]" if isinstance(error, OSError) else ""
    frames = traceback.extract_tb(error.__traceback__)
    places = [
        f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} in {frame.name}"
        for frame in frames[-4:]
    ]
    return (
        f"{type(error).__module__}.{type(error).__qualname__}{code} at "
        + " <- ".join(reversed(places))
        + "; its text is withheld because it may quote a patient's data"
    )


@contextmanager
def keep_failure(failures: MutableMapping[str, SenditError], key: str) -> Iterator[None]:
    """Collect whatever is raised as this batch's failure, so that the other batches continue.

    Parameters
    ----------
    failures
        Receives the error: sendit's own unchanged, any other as ``FailBatch`` with its type and
        location. `TakenOver` is logged and is not a failure: another run owns the batch.
    key
        The batch's opaque id, or the name of the item that failed.
    """
    try:
        yield
    except TakenOver as error:
        logger.warning("%s", error)
    except SenditError as error:
        failures[key] = error
    except Exception as error:  # noqa: BLE001 - an unexpected error fails this batch only
        failures[key] = FailBatch(kind_and_place(error))


def joined(failures: Mapping[str, SenditError]) -> SenditError:
    """Return one error for several: `RetryLater` if any of them is one, so that the task is
    retried; the others have been recorded."""
    several = [*failures.values()]
    text = "; ".join(dict.fromkeys(str(error) for error in several))
    if any(isinstance(error, RetryLater) for error in several):
        return RetryLater(text)
    return several[0] if len(several) == 1 else FailBatch(text)
