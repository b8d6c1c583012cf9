"""Errors, named by what happens next.

The text of every error here ends up in task logs and in Airflow's UI, so it is
written by us and carries opaque ids, counts, codes and names of settings only:
never a path below an input folder, never a value out of a header.
"""

from __future__ import annotations


class SenditError(Exception):
    """Base of all errors that sendit raises on purpose; its text is safe to show."""


class Misconfigured(SenditError):
    """A setting, recipe, key or connection is wrong: a person must mend it, a retry will not."""


class RetryLater(SenditError):
    """Something outside did not answer as it should: the same call may work later."""


class FailBatch(SenditError):
    """This batch cannot be delivered as it is; every other batch goes on."""


class SkipInstance(SenditError):
    """This one file is not delivered; the rest of its batch goes on.

    Parameters
    ----------
    reason
        Why, as a code that is shown and counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
