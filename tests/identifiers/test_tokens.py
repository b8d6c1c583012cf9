from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import stat
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sendit.errors import Misconfigured, RetryLater
from sendit.identifiers.calls import Unanswered
from sendit.identifiers.tokens import TokenFile
from testing.dasher_standin import TOKEN_PATH, DasherStandin, Fault


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def renew_in_a_process(path: Path, refused: str) -> tuple[str, bool]:
    return TokenFile(path).renew(refused, until=soon())


def test_token_is_read_from_the_file(dasher: DasherStandin, token_file: Path) -> None:
    assert TokenFile(token_file).access_token() == dasher.access


def test_a_missing_token_file(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="STANFORD_CLIENT_SECRETS file cannot be read"):
        TokenFile(tmp_path / "none").access_token()
    with pytest.raises(Misconfigured, match="STANFORD_CLIENT_SECRETS file cannot be read"):
        TokenFile(tmp_path).access_token()


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o660])
def test_a_token_file_readable_by_others_is_refused(token_file: Path, bits: int) -> None:
    token_file.chmod(bits)
    with pytest.raises(Misconfigured, match="chmod 600"):
        TokenFile(token_file).access_token()
    with pytest.raises(Misconfigured, match="chmod 600"):
        TokenFile(token_file).renew("any", until=soon())


@pytest.mark.parametrize(
    "change",
    [
        {"accessToken": None},
        {"accessToken": ""},
        {"accessToken": "CANARY with spaces"},
        {"accessToken": "CANARY\r\nX-Header: 1"},
        {"accessToken": "CANARYü"},
        {"refreshToken": 5},
        {"token_uri": None},
    ],
)
def test_a_file_without_valid_tokens_is_refused(token_file: Path, change: dict[str, Any]) -> None:
    content = json.loads(token_file.read_text())
    token_file.write_text(json.dumps(content | change))
    with pytest.raises(Misconfigured, match="is not a JSON object with accessToken") as caught:
        TokenFile(token_file).access_token()
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "accessToken: x", "\x00"])
def test_an_invalid_token_file_is_refused(token_file: Path, content: str) -> None:
    token_file.write_text(content)
    with pytest.raises(Misconfigured, match="is not a JSON object with accessToken"):
        TokenFile(token_file).access_token()


def test_refresh_replaces_only_the_tokens(dasher: DasherStandin, token_file: Path) -> None:
    before = json.loads(token_file.read_text()) | {"note": "ours", "scopes": ["a"]}
    token_file.write_text(json.dumps(before))
    token, ours = TokenFile(token_file).renew(dasher.access, until=soon())
    assert (token, ours) == (dasher.access, True)
    assert json.loads(token_file.read_text()) == before | {
        "accessToken": dasher.access,
        "refreshToken": dasher.refresh,
    }
    assert mode(token_file) == 0o600
    assert {path.name for path in token_file.parent.iterdir()} == {
        token_file.name,
        f".{token_file.name}.lock",
    }
    assert mode(token_file.with_name(f".{token_file.name}.lock")) == 0o600


def test_a_token_already_refreshed_is_reused(dasher: DasherStandin, token_file: Path) -> None:
    assert TokenFile(token_file).renew("an older one", until=soon()) == (dasher.access, False)
    assert dasher.refreshes == 0


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_concurrent_refreshes_call_the_service_once(
    dasher: DasherStandin, token_file: Path, pool: Any
) -> None:
    refused = dasher.access
    # The first one is slow, so that the others meet its lock.
    dasher.script(Fault("slow", seconds=0.5), where="token")
    more = {"mp_context": multiprocessing.get_context("spawn")}
    with pool(4, **(more if pool is ProcessPoolExecutor else {})) as workers:
        given = list(workers.map(renew_in_a_process, [token_file] * 8, [refused] * 8))
    assert {token for token, _ in given} == {dasher.access}
    assert sum(ours for _, ours in given) == 1
    assert dasher.refreshes == 1


def test_two_processes_stay_logged_in(dasher: DasherStandin, token_file: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        for number in range(1, 11):
            refused = dasher.access
            given = list(workers.map(renew_in_a_process, [token_file] * 2, [refused] * 2))
            assert {token for token, _ in given} == {dasher.access}
            assert dasher.refreshes == number


def test_waiting_for_the_lock_times_out(dasher: DasherStandin, token_file: Path) -> None:
    with token_file.with_name(f".{token_file.name}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unanswered, match="another worker"):
            TokenFile(token_file).renew(dasher.access, until=soon(0.2))
    assert TokenFile(token_file).renew(dasher.access, until=soon())[1]


def test_a_symlinked_token_file_is_refreshed_in_place(
    dasher: DasherStandin, token_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to(token_file)
    TokenFile(link).renew(dasher.access, until=soon())
    assert link.is_symlink()
    assert TokenFile(token_file).access_token() == dasher.access


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EBUSY, errno.EACCES])
def test_no_refresh_if_the_new_tokens_cannot_be_saved(
    dasher: DasherStandin, token_file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(
        Path if code == errno.EBUSY else os, "replace" if code == errno.EBUSY else "fsync", fail
    )
    with pytest.raises(Misconfigured, match="cannot be renewed"):
        TokenFile(token_file).renew(dasher.access, until=soon())
    assert not dasher.calls(TOKEN_PATH)
    monkeypatch.undo()
    assert TokenFile(token_file).access_token() == dasher.access


def test_refresh_as_root_keeps_the_file_owner(
    dasher: DasherStandin, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    real = os.fchown

    def fchown(handle: int, user: int, group: int) -> None:
        given.append((user, group))
        if os.geteuid() == 0:
            real(handle, user, group)

    owner = (12345, 54321)
    if os.geteuid() == 0:
        os.chown(token_file, *owner)
    else:  # only root can change the owner, so it is simulated
        owner = (os.getuid(), os.getgid())
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "fchown", fchown)
    TokenFile(token_file).renew(dasher.access, until=soon())
    assert given[-1] == owner
    assert (token_file.stat().st_uid, token_file.stat().st_gid) == owner
    assert mode(token_file) == 0o600


def test_a_killed_worker_leaves_no_lock(dasher: DasherStandin, token_file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    dasher.script(Fault("stall", seconds=60), where="token")
    worker = context.Process(target=renew_in_a_process, args=(token_file, dasher.access))
    worker.start()
    give_up = soon()
    while not dasher.calls(TOKEN_PATH) and time.monotonic() < give_up:
        time.sleep(0.02)
    worker.kill()
    worker.join()
    assert TokenFile(token_file).renew(dasher.access, until=soon(10)) == (dasher.access, True)


def test_a_missing_token_folder(dasher: DasherStandin, token_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be written"):
        TokenFile(tmp_path / "gone" / "tokens.json").renew(dasher.access, until=soon())


def test_temporary_files_of_a_killed_worker_do_no_harm(
    dasher: DasherStandin, token_file: Path
) -> None:
    rest = token_file.with_name(f".{token_file.name}.new")
    rest.write_text("half a tok")
    rest.chmod(0o644)
    TokenFile(token_file).renew(dasher.access, until=soon())
    assert not rest.exists()
    assert mode(token_file) == 0o600


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_token_service_raises_retry_later(
    dasher: DasherStandin, token_file: Path, status: int
) -> None:
    dasher.script(Fault("status", status=status, headers={"Retry-After": "7"}), where="token")
    with pytest.raises(Unanswered, match=f"token service answered {status}") as caught:
        TokenFile(token_file).renew(dasher.access, until=soon())
    assert caught.value.wait == 7
    # The tokens are unchanged: the next attempt works.
    assert TokenFile(token_file).renew(dasher.access, until=soon())[1]


@pytest.mark.parametrize("fault", ["drop", "short", "html", "empty"])
def test_a_broken_token_response_raises_retry_later(
    dasher: DasherStandin, token_file: Path, fault: str
) -> None:
    dasher.script(Fault(fault), where="token")
    with pytest.raises(Unanswered):
        TokenFile(token_file).renew(dasher.access, until=soon())


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_rejected_refresh_token_is_a_configuration_error(
    dasher: DasherStandin, token_file: Path, status: int
) -> None:
    dasher.script(Fault("status", status=status, body="CANARY"), where="token")
    with pytest.raises(Misconfigured, match="ask DASHER's team for a new token file") as caught:
        TokenFile(token_file).renew(dasher.access, until=soon())
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("status", [201, 302, 404])
def test_a_wrong_token_url_is_a_configuration_error(
    dasher: DasherStandin, token_file: Path, status: int
) -> None:
    fault = Fault("status", status=status, headers={"Location": dasher.root + "/else"})
    dasher.script(fault, where="token")
    with pytest.raises(Misconfigured, match="check token_uri"):
        TokenFile(token_file).renew(dasher.access, until=soon())
    assert not dasher.calls("/else")


@pytest.mark.parametrize("body", ["{}", "[]", '"x"', '{"accessToken": "CANARY"}', "null"])
def test_a_token_response_without_tokens_is_a_configuration_error(
    dasher: DasherStandin, token_file: Path, body: str
) -> None:
    dasher.script(Fault("text", body=body), where="token")
    with pytest.raises(Misconfigured, match="without accessToken and refreshToken") as caught:
        TokenFile(token_file).renew(dasher.access, until=soon())
    assert "CANARY" not in str(caught.value)


def test_refresh_token_is_never_sent_without_tls(dasher: DasherStandin, token_file: Path) -> None:
    content = json.loads(token_file.read_text()) | {"token_uri": "http://tokens.example.org/"}
    token_file.write_text(json.dumps(content))
    with pytest.raises(Misconfigured, match="token_uri in the STANFORD_CLIENT_SECRETS file"):
        TokenFile(token_file).renew(dasher.access, until=soon())
