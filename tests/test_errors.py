"""Errors of one item among several: they affect only that item, and reveal nothing of a patient."""

from __future__ import annotations

import errno
import json

import pytest

from sendit.errors import (
    FailBatch,
    Misconfigured,
    RetryLater,
    SenditError,
    SkipInstance,
    joined,
    keep_failure,
    kind_and_place,
    unreadable,
)


@pytest.mark.parametrize(
    "error", [FailBatch("a"), RetryLater("b"), Misconfigured("c"), SkipInstance("d")]
)
def test_sendit_errors_are_unchanged(error: SenditError) -> None:
    failures: dict[str, SenditError] = {}
    with keep_failure(failures, "b1"):
        raise error
    with keep_failure(failures, "b2"):
        pass
    assert failures == {"b1": error}
    assert failures["b1"] is error


@pytest.mark.parametrize("error", [ValueError("MRN7"), RecursionError("MRN7"), OSError(5, "MRN7")])
def test_other_errors_lose_their_text(error: Exception) -> None:
    failures: dict[str, SenditError] = {}
    with keep_failure(failures, "b1"):
        raise error
    assert type(failures["b1"]) is FailBatch
    assert type(error).__name__ in str(failures["b1"])
    if not isinstance(error, OSError):
        assert "MRN7" not in str(failures["b1"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_process_exits_propagate(error: type[BaseException]) -> None:
    failures: dict[str, SenditError] = {}
    with pytest.raises(error), keep_failure(failures, "b1"):
        raise error
    assert failures == {}


def test_error_type_and_location() -> None:
    def inner() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/in/MRN7")

    try:
        inner()
    except OSError as error:
        text = kind_and_place(error)
    assert text.startswith("builtins.OSError [errno 28: No space left on device] at ")
    first, second = text.split(" at ")[1].split(";")[0].split(" <- ")
    # The innermost location first.
    assert first.endswith(" in inner") and "tests/test_errors.py:" in first
    assert second.endswith(" in test_error_type_and_location")
    assert "MRN7" not in text
    assert text.endswith("; its text is withheld because it may quote a patient's data")


def test_library_errors_are_qualified_with_the_module() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        assert kind_and_place(error).startswith("json.decoder.JSONDecodeError at ")


def test_at_most_four_locations_are_shown() -> None:
    def deep(count: int) -> None:
        if not count:
            raise ValueError
        deep(count - 1)

    try:
        deep(9)
    except ValueError as error:
        assert kind_and_place(error).count(" in deep") == 4


def test_combined_errors_are_retryable_if_one_is() -> None:
    one, other, later = FailBatch("a"), FailBatch("b"), RetryLater("c")
    assert joined({"1": one}) is one
    both = joined({"1": one, "2": other, "3": FailBatch("a")})
    assert (type(both), str(both)) == (FailBatch, "a; b")
    again = joined({"1": one, "2": later})
    assert (type(again), str(again)) == (RetryLater, "a; c")
    alone = joined({"1": Misconfigured("m")})
    assert type(alone) is Misconfigured


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, Misconfigured),
        (errno.EPERM, Misconfigured),
        (errno.EISDIR, Misconfigured),
        (errno.ELOOP, Misconfigured),
        (errno.ENAMETOOLONG, Misconfigured),
        (errno.ENOTDIR, Misconfigured),
        (errno.ENOENT, RetryLater),
        (errno.EIO, RetryLater),
        (errno.ESTALE, RetryLater),
    ],
)
def test_missing_files_map_to_an_error_class(code: int, kind: type[SenditError]) -> None:
    error = unreadable(OSError(code, "x"), "the key file")
    assert (type(error), str(error)) == (kind, "the key file")


def test_skipped_instances_have_a_reason() -> None:
    assert SkipInstance("truncated").reason == str(SkipInstance("truncated")) == "truncated"
