"""The stand-in as a process, as end-to-end runs use it."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from sendit.coded_study import CodedStudy
from sendit.errors import FailBatch
from sendit.identifiers.dasher import DasherService, DasherSettings
from sendit.identifiers.models import request_of

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def standin(tokens: Path, port: int = 0) -> Iterator[str]:
    """Run the stand-in and yield its address; kill it afterwards."""
    command = ["-m", "testing.dasher_standin", "--port", str(port), "--secrets", str(tokens)]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(root: str, tokens: Path) -> CodedStudy:
    settings = DasherSettings(base=f"{root}/identifiers/api", token_file=tokens)
    request = request_of("1111111", "19610727", "2222222", "20100204")
    return DasherService("test", settings).identify(request).coded_study()


def control(root: str, what: str, content: Any) -> None:
    requests.post(f"{root}/control/{what}", json=content, timeout=10).raise_for_status()


def test_codes_and_tokens_survive_a_restart(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    with standin(tokens) as root:
        assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
        first = ask(root, tokens)
        control(root, "expire", {})
        assert ask(root, tokens) == first
    # On another port: the address in the token file is updated.
    with standin(tokens) as root:
        assert ask(root, tokens) == first
        control(root, "expire", {})
        assert ask(root, tokens) == first


def test_faults_can_be_scripted_over_http(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    with standin(tokens) as root:
        faults = [{"kind": "set", "where": ["results", 0, "id"], "value": "1"}]
        control(root, "faults", {"where": "uid", "faults": faults})
        with pytest.raises(FailBatch, match="breaks its contract"):
            ask(root, tokens)
        ask(root, tokens)
        seen = requests.get(f"{root}/control/seen", timeout=10).json()
        assert [call["path"] for call in seen] == ["/identifiers/api/v1/uid/test"] * 2
        assert "1111111" in seen[0]["body"]
