"""Only sendit's own messages leave a task."""

from __future__ import annotations

import logging
import traceback
import warnings

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sendit.errors import FailBatch, Misconfigured, RetryLater, SenditError, SkipInstance
from sendit.tasks.error_boundary import NOISY_LOGGERS, UnexpectedError, error_boundary

pytestmark = pytest.mark.airflow


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("kind", [FailBatch, Misconfigured])
def test_permanent_errors_fail_immediately(kind: type[Exception]) -> None:
    with pytest.raises(AirflowFailException, match="fix this") as caught, error_boundary():
        raise kind("fix this")
    assert caught.value.__suppress_context__


def test_transient_errors_are_retried() -> None:
    with pytest.raises(RetryLater, match="down"), error_boundary():
        raise RetryLater("down")


def test_airflow_exceptions_pass_through() -> None:
    with pytest.raises(AirflowSkipException), error_boundary():
        raise AirflowSkipException("nothing")


def test_library_errors_show_type_and_location_but_no_text() -> None:
    def library() -> None:
        raise ValueError("invalid value CANARY^JANE")

    with pytest.raises(UnexpectedError) as caught, error_boundary():
        try:
            raise KeyError("CANARY-MRN")
        except KeyError as error:
            raise RuntimeError("CANARY again") from error
    assert "CANARY" not in str(caught.value)
    assert "RuntimeError" in str(caught.value)
    assert "test_error_boundary.py" in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(UnexpectedError, match=r"ValueError.*in library"), error_boundary():
        library()


def test_os_errors_show_the_errno_and_no_path() -> None:
    with pytest.raises(UnexpectedError, match="Permission denied") as caught, error_boundary():
        raise PermissionError(13, "Permission denied", "/data/CANARY/image.dcm")
    assert "CANARY" not in str(caught.value)


def test_library_logs_and_warnings_are_suppressed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("pydicom")
    # Independent of other tests' logging configuration.
    monkeypatch.setattr(library, "disabled", False)
    monkeypatch.setattr(library, "handlers", [caplog.handler])
    caplog.set_level(logging.WARNING, logger="pydicom")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with error_boundary():
            library.warning("CANARY")
            warnings.warn("CANARY", stacklevel=1)
    assert not warned
    assert "CANARY" not in caplog.text
    library.warning("after")
    assert "after" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        *(FailBatch("ours"), Misconfigured("ours"), SkipInstance("ours"), RetryLater("ours")),
        *(SenditError("ours"), ValueError("CANARY"), OSError(5, "CANARY")),
    ],
)
def test_library_errors_are_not_chained(error: Exception) -> None:
    with pytest.raises(Exception) as caught, error_boundary():
        try:
            raise KeyError("CANARY-MRN")
        except KeyError as library:
            raise error from library
    raised = caught.value
    assert raised is not error
    assert raised.__cause__ is None
    assert raised.__suppress_context__
    assert "CANARY-MRN" not in shown(raised)


def test_log_levels_are_restored_afterwards() -> None:
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    before = [logger.level for logger in loggers]
    with error_boundary():
        assert not any(logger.isEnabledFor(logging.CRITICAL) for logger in loggers)
    assert [logger.level for logger in loggers] == before
    with pytest.raises(RetryLater), error_boundary():
        raise RetryLater("x")
    assert [logger.level for logger in loggers] == before
