"""Translation of errors from Google's libraries into sendit's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage
from requests import exceptions as requests

from sendit.errors import Misconfigured, RetryLater, SenditError

#: The Airflow connection that all of delivery uses: the provider's default.
CONNECTION = "google_cloud_default"

_CREDENTIALS = (
    f"Google rejects the credentials of the Airflow connection {CONNECTION}: "
    "give it a key file or a service account, then clear the task"
)


#: Other causes of a 403 than a missing role, by a word in its text.
_NO_ROLE = {
    "SERVICE_DISABLED": "its API is not enabled in the connection's project: enable it",
    "accessNotConfigured": "its API is not enabled in the connection's project: enable it",
    "billing": "billing for the project is missing or closed: ask its owner",
    "VPC_SERVICE_CONTROLS": "VPC Service Controls block this machine: ask for an ingress rule",
}

#: Transient reasons that BigQuery gives with a 400, or in a job's result.
_TRANSIENT = (
    "backendError", "internalError", "jobBackendError", "jobInternalError", "rateLimitExceeded",
    "jobRateLimitExceeded", "resourcesExceeded", "stopped", "tableUnavailable", "timeout",
)  # fmt: skip


@contextmanager
def google_errors(service: str, thing: str, setting: str, role: str) -> Iterator[None]:
    """Translate the errors of calls to a Google service.

    Parameters
    ----------
    service
        "Cloud Storage" or "BigQuery".
    thing
        The resource, as a text that is safe to show: ``bucket x``, ``dataset x``.
    setting
        The setting to change if it is the wrong resource.
    role
        The role that grants the permission.

    Raises
    ------
    Misconfigured
        The thing does not exist (404), credentials are missing or refused (401, 403), or the
        request is wrong (400).
    RetryLater
        Everything else: 429, 5xx, no connection, a timeout, a corrupted transfer.

    Notes
    -----
    A caller for whom an error (404, 412) is expected catches it inside the block.
    """
    try:
        yield
    except (api.Unauthorized, auth.DefaultCredentialsError, auth.MalformedError):
        raise Misconfigured(_CREDENTIALS) from None
    except auth.RefreshError as error:
        if error.retryable:
            raise RetryLater(f"{service}: the credentials could not be refreshed") from None
        raise Misconfigured(_CREDENTIALS) from None
    except api.Forbidden as error:
        raise _forbidden(service, thing, role, str(error)) from None
    except api.NotFound:
        raise Misconfigured(
            f"{service} has no {thing}: create it, or correct {setting}, then clear the task"
        ) from None
    except api.BadRequest as error:
        raise refused(service, thing, str(error)) from None
    except api.GoogleAPICallError as error:
        raise RetryLater(f"{service} answered {_code(error)} for {thing}") from None
    except (storage.DataCorruption, storage.InvalidResponse):
        raise RetryLater(f"{service}: the transfer to {thing} was corrupted") from None
    except (
        api.RetryError,
        auth.TransportError,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise RetryLater(f"{service} does not respond ({type(error).__name__}); {thing}") from None


def _forbidden(service: str, thing: str, role: str, text: str) -> SenditError:
    """Return the error for a 403, which a role does not always resolve."""
    if any(word in text for word in ("rateLimitExceeded", "quotaExceeded")):
        return RetryLater(f"{service} says that the quota is exhausted; {thing}")
    if is_kept(text):
        return Misconfigured(
            f"{service} keeps what is in {thing} under a retention policy or a hold: no role "
            "changes that. When that has ended, or the bucket's owner has lifted "
            "it, clear the task"
        )
    for word, meaning in _NO_ROLE.items():
        if word in text:
            return Misconfigured(f"{service}: {meaning}; {thing}. Then clear the task")
    return Misconfigured(
        f"{service} refuses access to {thing}: grant {role} to the service account of the "
        f"Airflow connection {CONNECTION}, then clear the task"
    )


def refused(service: str, thing: str, text: str) -> SenditError:
    """Return the error for a request or job that was rejected as invalid.

    Parameters
    ----------
    text
        The service's message. It may quote a row, so only its reason and the names of sendit's
        columns in it are shown.
    """
    # A circular import: rows imports objects, which imports this module.
    from sendit.delivery.rows import COLUMNS  # noqa: PLC0415

    reason = re.search(r"reason['\"]?[:=]\s*['\"]?([A-Za-z]+)", text)
    said = f" ({reason[1]})" if reason else ""
    if reason and reason[1] in _TRANSIENT:
        return RetryLater(f"{service} failed to carry out the request{said}; {thing}")
    named = [c.name for c in COLUMNS if re.search(rf"\b{c.name}\b", text)]
    about = f"; it names the column {', '.join(named)}" if named else ""
    return Misconfigured(
        f"{service} rejects the request as invalid{said}, so a retry would not help{about}; "
        f"{thing}. If somebody changed the table dicom, restore sendit's columns or rename the "
        "table; if not, report it. Then clear the task"
    )


def is_kept(text: str) -> bool:
    """Whether Cloud Storage refuses to delete or replace an object because of a retention period
    or a hold, which no role would change."""
    words = (
        "retentionPolicyNotMet",
        "objectUnderActiveHold",
        "retention policy",
        "hold and cannot",
    )
    return any(word in text for word in words)


def _code(error: api.GoogleAPICallError) -> str:
    """Return a response's code and reason; its message may quote a row."""
    code = str(int(error.code)) if error.code else "an error"
    reasons = {str(each.get("reason")) for each in error.errors if isinstance(each, dict)}
    words = sorted(reason for reason in reasons if reason.isalpha())
    return f"{code} ({', '.join(words)})" if words else code
