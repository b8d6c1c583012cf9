"""What Google's libraries raise, as errors that say what happens next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage
from requests import exceptions as requests

from sendit.errors import Misconfigured, RetryLater

#: The Airflow connection that all of delivery uses: the provider's default.
CONNECTION = "google_cloud_default"

_CREDENTIALS = (
    f"Google accepts no credentials from the Airflow connection {CONNECTION}: "
    "give it a key file or a service account, then clear the task"
)


@contextmanager
def asking(service: str, thing: str, setting: str, role: str) -> Iterator[None]:
    """Run calls to a Google service; its errors leave with a text of ours.

    Parameters
    ----------
    service
        "Cloud Storage" or "BigQuery".
    thing
        What is asked for, as a text safe to show: ``bucket x``, ``dataset x``.
    setting
        What a person would change if it is the wrong one.
    role
        The role that gives the permission, if it is refused.

    Raises
    ------
    Misconfigured
        The thing does not exist (404), or credentials are missing or refused (401, 403).
    RetryLater
        Everything else: 429, 5xx, no connection, no answer in time, a spoiled transfer.

    Notes
    -----
    A caller for whom an answer (404, 412) is a normal one catches it inside.
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
        if any(word in str(error) for word in ("rateLimitExceeded", "quotaExceeded")):
            raise RetryLater(f"{service} says that the quota is used up; {thing}") from None
        raise Misconfigured(
            f"{service} refuses access to {thing}: grant {role} to the service account of the "
            f"Airflow connection {CONNECTION}, then clear the task"
        ) from None
    except api.NotFound:
        raise Misconfigured(
            f"{service} has no {thing}: create it, or correct {setting}, then clear the task"
        ) from None
    except api.GoogleAPICallError as error:
        raise RetryLater(f"{service} answered {_code(error)} for {thing}") from None
    except (storage.DataCorruption, storage.InvalidResponse):
        raise RetryLater(f"{service}: the transfer to {thing} was spoiled on the way") from None
    except (
        api.RetryError,
        auth.TransportError,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise RetryLater(f"{service} does not answer ({type(error).__name__}); {thing}") from None


def is_kept(error: api.Forbidden) -> bool:
    """Whether Cloud Storage refuses to delete or replace an object because of a retention period
    or a hold, which no role would change."""
    words = (
        "retentionPolicyNotMet",
        "objectUnderActiveHold",
        "retention policy",
        "hold and cannot",
    )
    return any(word in str(error) for word in words)


def _code(error: api.GoogleAPICallError) -> str:
    """Return an answer's code and its reason word; its text may quote a row."""
    code = str(int(error.code)) if error.code else "an error"
    reasons = {str(each.get("reason")) for each in error.errors if isinstance(each, dict)}
    words = sorted(reason for reason in reasons if reason.isalpha())
    return f"{code} ({', '.join(words)})" if words else code
