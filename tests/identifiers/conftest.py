from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity

from sendit.identifiers import dasher as dasher_module
from sendit.identifiers.dasher import DasherService, DasherSettings
from sendit.identifiers.models import Request, request_of
from testing.dasher_standin import DasherStandin


@pytest.fixture
def request_body() -> Request:
    """The request in DASHER's documentation."""
    return request_of("1111111", "19610727", "2222222", "20100204115000")


@pytest.fixture
def token_file(dasher: DasherStandin, tmp_path: Path) -> Path:
    return dasher.write_tokens(tmp_path / "tokens.json")


@pytest.fixture
def service(dasher: DasherStandin, token_file: Path) -> Callable[..., DasherService]:
    """Create a service that calls the stand-in: ``service(timeout=1)``."""

    def make(study: str = "test", **settings: Any) -> DasherService:
        given = {"base": dasher.base, "token_file": token_file, **settings}
        return DasherService(study, DasherSettings(**given))

    return make


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dasher_module, "_backoff", tenacity.wait_none())
