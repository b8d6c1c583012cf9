"""What Google's answers mean: the condition is the one that was told, and the advice leads out."""

from __future__ import annotations

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as storage
from requests import exceptions as requests

from sendit.delivery.google_errors import google_errors, refused
from sendit.errors import Misconfigured, RetryLater

ROW = "Error while reading data, error message: JSON table encountered a problem: "


def said(error: Exception) -> str:
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
def test_what_is_kept_by_retention_is_not_for_a_role_to_change(text: str) -> None:
    found = said(api.Forbidden(text))
    assert "Misconfigured" in found
    assert "retention policy or a hold" in found
    assert "grant" not in found


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
def test_a_403_says_what_lacks(text: str, advice: str) -> None:
    found = said(api.Forbidden(text))
    assert advice in found
    assert ("grant" in found) == ("grant" in advice)


def test_a_400_is_not_asked_again_and_names_the_column() -> None:
    found = said(api.BadRequest(ROW + "Could not convert value DOE^JANE to integer. Field: size"))
    assert found.startswith("Misconfigured")
    assert "it names the column size;" in found
    assert "DOE" not in found


@pytest.mark.parametrize("reason", ["backendError", "tableUnavailable", "resourcesExceeded"])
def test_a_job_that_may_pass_next_time_is_tried_again(reason: str) -> None:
    text = f"BigQuery job x failed: {{'reason': '{reason}', 'message': 'DOE^JANE'}}"
    error = refused("BigQuery", "dataset c", text)
    assert isinstance(error, RetryLater)
    assert reason in str(error)
    assert "DOE" not in str(error)


def test_a_job_that_is_wrong_names_reason_and_columns_only() -> None:
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
def test_every_error_says_whether_it_is_tried_again(error: Exception, kind: str, text: str) -> None:
    found = said(error)
    assert found.startswith(f"{kind}: ")
    assert text in found
    assert "DOE" not in found


def test_what_is_no_error_of_google_s_stays_what_it_is() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        google_errors("Cloud Storage", "bucket x", "SENDIT_BUCKET", "roles/some"),
    ):
        raise ZeroDivisionError
