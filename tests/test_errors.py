"""One of several: what is raised stays with the one, and nothing of a patient is told."""

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
def test_our_own_error_is_kept_as_it_is(error: SenditError) -> None:
    failures: dict[str, SenditError] = {}
    with keep_failure(failures, "b1"):
        raise error
    with keep_failure(failures, "b2"):
        pass
    assert failures == {"b1": error}
    assert failures["b1"] is error


@pytest.mark.parametrize("error", [ValueError("MRN7"), RecursionError("MRN7"), OSError(5, "MRN7")])
def test_any_other_is_kept_without_its_text(error: Exception) -> None:
    failures: dict[str, SenditError] = {}
    with keep_failure(failures, "b1"):
        raise error
    assert type(failures["b1"]) is FailBatch
    assert type(error).__name__ in str(failures["b1"])
    if not isinstance(error, OSError):
        assert "MRN7" not in str(failures["b1"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_process_passes(error: type[BaseException]) -> None:
    failures: dict[str, SenditError] = {}
    with pytest.raises(error), keep_failure(failures, "b1"):
        raise error
    assert failures == {}


def test_kind_and_place_say_where() -> None:
    def inner() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/in/MRN7")

    try:
        inner()
    except OSError as error:
        text = kind_and_place(error)
    assert text.startswith("builtins.OSError [errno 28: No space left on device] at ")
    first, second = text.split(" at ")[1].split(";")[0].split(" <- ")
    # The innermost place first.
    assert first.endswith(" in inner") and "tests/test_errors.py:" in first
    assert second.endswith(" in test_kind_and_place_say_where")
    assert "MRN7" not in text
    assert text.endswith("; its text is withheld because it may quote a patient's data")


def test_a_librarys_error_is_named_with_its_module() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        assert kind_and_place(error).startswith("json.decoder.JSONDecodeError at ")


def test_no_more_than_four_places_are_named() -> None:
    def deep(count: int) -> None:
        if not count:
            raise ValueError
        deep(count - 1)

    try:
        deep(9)
    except ValueError as error:
        assert kind_and_place(error).count(" in deep") == 4


def test_several_errors_are_one_that_may_be_tried_again() -> None:
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
def test_a_file_that_is_away_may_come_back(code: int, kind: type[SenditError]) -> None:
    error = unreadable(OSError(code, "x"), "the key file")
    assert (type(error), str(error)) == (kind, "the key file")


def test_a_skipped_instance_says_why() -> None:
    assert SkipInstance("truncated").reason == str(SkipInstance("truncated")) == "truncated"
