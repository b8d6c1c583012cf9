"""Errors, named by what happens next.

The text of every error here ends up in task logs and in Airflow's UI, so it is
written by us and carries opaque ids, counts, codes and names of settings only:
never a path below an input folder, never a value out of a header.
"""

from __future__ import annotations

import errno


class SenditError(Exception):
    """Base of all errors that sendit raises on purpose; its text is safe to show."""


class Misconfigured(SenditError):
    """A setting, recipe, key or connection is wrong: a person must mend it, a retry will not."""


class RetryLater(SenditError):
    """Something outside did not answer as it should: the same call may work later."""


#: What the system says of a file that is there, or of a wrong name: waiting changes nothing.
_STAYS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}
)


def unreadable(error: OSError, text: str) -> SenditError:
    """Return the error for a file of the site that cannot be read: one that is away may be back
    with its mount, so the task tries again; rights and names have to be corrected."""
    return Misconfigured(text) if error.errno in _STAYS else RetryLater(text)


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
