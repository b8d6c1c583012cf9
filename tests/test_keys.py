"""The secret key: refused when unsafe, never overwritten, one key per purpose."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sendit.errors import Misconfigured, RetryLater
from sendit.keys import Keys, read_keys, write_new_key


def test_a_new_key_is_private_random_and_readable(tmp_path: Path) -> None:
    write_new_key(tmp_path / "one")
    write_new_key(tmp_path / "two")
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()
    first = read_keys(tmp_path / "one")
    assert first.derive("uid") == read_keys(tmp_path / "one").derive("uid")
    assert first.derive("uid") != first.derive("folder")
    assert first.derive("uid") != read_keys(tmp_path / "two").derive("uid")
    with pytest.raises(Misconfigured, match="never overwritten"):
        write_new_key(tmp_path / "one")


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    write_new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_keys(tmp_path / "key")


def test_missing_key_error_explains_how_to_create_one() -> None:
    with pytest.raises(Misconfigured, match="sendit key FILE"):
        read_keys(None)


def test_a_missing_key_raises_retry_later_and_is_not_recreated(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="has delivered before must keep its key"):
        read_keys(tmp_path / "nowhere" / "key")
    with pytest.raises(Misconfigured, match=r"cannot be read \(Is a directory\)"):
        read_keys(tmp_path)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short\n")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Misconfigured, match="32 bytes"):
        read_keys(tmp_path / "key")


def test_repr_of_a_key_hides_it() -> None:
    keys = Keys(b"s3cret" * 8)
    assert "s3cret" not in repr(keys) + str(keys) + f"{keys}"
