"""Loads docker-compose.yaml as Docker Compose does: variables substituted, anchors merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yaml"
REQUIRED = {
    "RUN_AS_UID": "12345",
    "UI_URL": "https://sendit.example.org",
    "INPUT_ON_HOST": "/data/incoming",
    "SENDIT_BUCKET": "archives",
}
VARIABLE = re.compile(
    r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<mark>:?[-?])?(?P<word>[^}]*)\})"
)


class Unset(Exception):
    """A variable that docker-compose.yaml requires is not set."""


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """Substitute ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``; ``$$`` is a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = environment.get(match["name"], "")
        mark = match["mark"] or ""
        if not value and mark.endswith("?"):
            raise Unset(match["name"])
        return value or (match["word"] if mark.endswith("-") else "")

    return VARIABLE.sub(replace, text)


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill_in(value, environment)
    if isinstance(value, list):
        return [_filled(item, environment) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, environment) for key, item in value.items()}
    return value


def load(environment: Mapping[str, str] = REQUIRED) -> dict[str, Any]:
    """Return the compose file with variables substituted and ``x-`` sections removed."""
    raw = yaml.safe_load(COMPOSE.read_text())
    return {
        key: _filled(value, environment) for key, value in raw.items() if not key.startswith("x-")
    }
