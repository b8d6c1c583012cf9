"""Google's errors: each names the actual condition and advice that resolves it."""

from __future__ import annotations

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage
from requests import exceptions as requests

from sendit.delivery.google_errors import google_errors, refused
from sendit.errors import Misconfigured, RetryLater

ROW = "Error while reading data, error message: JSON table encountered a problem: "


def message_for(error: Exception) -> str:
    with (
        pytest.raises((Misconfigured, RetryLater)) as caught,
        google_errors("Cloud Storage", "bucket x", "SENDIT_BUCKET", "roles/some"),
    ):
        raise error
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize(
    "text",
    [
        "Object 'x' is subject to bucket's retention policy and cannot be deleted until 2030",
        "403 retentionPolicyNotMet",
        "Object is under active Temporary hold and cannot be deleted",
    ],
)
def test_a_403_for_retention_does_not_suggest_granting_a_role(text: str) -> None:
    message = message_for(api.Forbidden(text))
    assert "Misconfigured" in message
    assert "retention policy or a hold" in message
    assert "grant" not in message


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Cloud Storage API has not been used ... SERVICE_DISABLED", "enable it"),
        ("accessNotConfigured", "enable it"),
        ("The billing account for the owning project is disabled", "billing for the project"),
        ("Request is prohibited: VPC_SERVICE_CONTROLS", "ingress rule"),
        ("x does not have storage.objects.create access", "grant roles/some"),
    ],
)
def test_a_403_names_what_is_missing(text: str, advice: str) -> None:
    message = message_for(api.Forbidden(text))
    assert advice in message
    assert ("grant" in message) == ("grant" in advice)


def test_a_400_is_not_retried_and_names_the_column() -> None:
    message = message_for(
        api.BadRequest(ROW + "Could not convert value DOE^JANE to integer. Field: size")
    )
    assert message.startswith("Misconfigured")
    assert "it names the column size;" in message
    assert "DOE" not in message


@pytest.mark.parametrize("reason", ["backendError", "tableUnavailable", "resourcesExceeded"])
def test_a_job_with_a_transient_error_is_retried(reason: str) -> None:
    text = f"BigQuery job x failed: {{'reason': '{reason}', 'message': 'DOE^JANE'}}"
    error = refused("BigQuery", "dataset c", text)
    assert isinstance(error, RetryLater)
    assert reason in str(error)
    assert "DOE" not in str(error)


def test_a_rejected_job_names_only_its_reason_and_columns() -> None:
    text = (
        "BigQuery job x failed: {'reason': 'invalidQuery', 'location': 'query', 'message': "
        "'Value has type STRING which cannot be inserted into column sendit_images, DOE^JANE'}"
    )
    error = refused("BigQuery", "dataset c", text)
    assert isinstance(error, Misconfigured)
    assert "(invalidQuery)" in str(error)
    assert "the column sendit_images" in str(error)
    assert "DOE" not in str(error)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (api.Unauthorized("DOE"), "Misconfigured", "google_cloud_default"),
        (auth.DefaultCredentialsError("DOE"), "Misconfigured", "google_cloud_default"),
        (auth.MalformedError("DOE"), "Misconfigured", "google_cloud_default"),
        (auth.RefreshError("DOE", retryable=False), "Misconfigured", "google_cloud_default"),
        (auth.RefreshError("DOE", retryable=True), "RetryLater", "could not be refreshed"),
        (
            api.NotFound("DOE"),
            "Misconfigured",
            "has no bucket x: create it, or correct SENDIT_BUCK",
        ),
        (api.Forbidden("rateLimitExceeded DOE"), "RetryLater", "the quota is exhausted; bucket x"),
        (api.Forbidden("quotaExceeded DOE"), "RetryLater", "the quota is exhausted; bucket x"),
        (api.TooManyRequests("DOE"), "RetryLater", "answered 429 for bucket x"),
        (api.ServiceUnavailable("DOE"), "RetryLater", "answered 503 for bucket x"),
        (
            api.ServiceUnavailable("DOE", errors=[{"reason": "backendError"}, {"reason": "b 1"}]),
            "RetryLater",
            "answered 503 (backendError) for bucket x",
        ),
        (api.GoogleAPICallError("DOE"), "RetryLater", "answered an error for bucket x"),
        (storage.DataCorruption(None, "DOE"), "RetryLater", "to bucket x was corrupted"),
        (storage.InvalidResponse(None, "DOE"), "RetryLater", "to bucket x was corrupted"),
        (api.RetryError("DOE", None), "RetryLater", "does not respond (RetryError); bucket x"),
        (auth.TransportError("DOE"), "RetryLater", "does not respond (TransportError); bucket x"),
        (requests.ReadTimeout("DOE"), "RetryLater", "does not respond (ReadTimeout); bucket x"),
        (ConnectionResetError("DOE"), "RetryLater", "(ConnectionResetError); bucket x"),
        (TimeoutError("DOE"), "RetryLater", "does not respond (TimeoutError); bucket x"),
    ],
)
def test_each_google_error_maps_to_retry_or_misconfigured(
    error: Exception, kind: str, text: str
) -> None:
    message = message_for(error)
    assert message.startswith(f"{kind}: ")
    assert text in message
    assert "DOE" not in message


def test_other_errors_propagate_unchanged() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        google_errors("Cloud Storage", "bucket x", "SENDIT_BUCKET", "roles/some"),
    ):
        raise ZeroDivisionError
