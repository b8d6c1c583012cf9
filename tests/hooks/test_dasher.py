from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sendit.errors import Misconfigured, RetryLater
from sendit.identifiers.models import request_of
from testing.dasher_standin import DasherStandin, Fault

pytestmark = pytest.mark.airflow


@pytest.fixture
def hook() -> Any:
    from sendit.hooks.dasher import DasherHook

    return DasherHook()


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SENDIT_DASHER", raising=False)
    monkeypatch.delenv("STANFORD_CLIENT_SECRETS", raising=False)


@pytest.fixture
def token_file(dasher: DasherStandin, tmp_path: Path) -> Path:
    return dasher.write_tokens(tmp_path / "tokens.json")


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    content = json.dumps({"conn_type": "dasher", **fields})
    monkeypatch.setenv("AIRFLOW_CONN_SENDIT_DASHER", content)


def test_service_from_the_connection(
    monkeypatch: pytest.MonkeyPatch, dasher: DasherStandin, token_file: Path, hook: Any
) -> None:
    extra = {"token_file": str(token_file), "timeout": 5}
    connect(monkeypatch, host=dasher.base, extra=extra)
    hook.get_service("trial").identify(request_of("1111111", None, "2222222", None))
    assert dasher.calls()[0].path.endswith("/v1/uid/trial")
    assert hook.test_connection() == (True, "DASHER answers and accepts the token")
    assert hook.get_conn().check() is None


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        ({"host": "https://ids.example.org/api/"}, "https://ids.example.org/api/"),
        ({"host": "ids.example.org"}, "https://ids.example.org"),
        (
            {"host": "127.0.0.1/identifiers/api", "port": 8080, "schema": "http"},
            "http://127.0.0.1:8080/identifiers/api",
        ),
        ({}, "https://api.rit.stanford.edu/identifiers/api"),
    ],
)
def test_base_url(
    monkeypatch: pytest.MonkeyPatch, hook: Any, fields: dict[str, Any], base: str
) -> None:
    connect(monkeypatch, **fields)
    assert hook.get_settings().base == base


def test_connection_uri(monkeypatch: pytest.MonkeyPatch, hook: Any) -> None:
    uri = "dasher://127.0.0.1:8080/http?timeout=7.5&attempts=2&token_file=%2Frun%2Ftokens%2Ft.json"
    monkeypatch.setenv("AIRFLOW_CONN_SENDIT_DASHER", uri)
    settings = hook.get_settings()
    assert settings.base == "http://127.0.0.1:8080"
    assert (settings.timeout, settings.attempts) == (7.5, 2)
    assert settings.token_file == Path("/run/tokens/t.json")


def test_empty_fields_use_the_defaults(monkeypatch: pytest.MonkeyPatch, hook: Any) -> None:
    extra = {"token_file": "", "timeout": None, "deadline": None, "attempts": None}
    connect(monkeypatch, host="", extra=extra)
    settings = hook.get_settings()
    assert settings.token_file is None
    assert (settings.timeout, settings.deadline, settings.attempts) == (30, 300, 6)


def test_an_empty_connection_uses_the_default_base_url(
    monkeypatch: pytest.MonkeyPatch, token_file: Path, hook: Any
) -> None:
    connect(monkeypatch)
    with pytest.raises(Misconfigured, match="set STANFORD_CLIENT_SECRETS to the token file"):
        hook.get_service("test")
    monkeypatch.setenv("STANFORD_CLIENT_SECRETS", str(token_file))
    hook.get_service("test")
    assert hook.get_settings().base == "https://api.rit.stanford.edu/identifiers/api"


def test_an_unreadable_connection_does_not_fall_back_to_the_default(hook: Any) -> None:
    with pytest.raises(RetryLater, match="connection sendit_dasher cannot be read"):
        hook.get_service("test")


@pytest.mark.parametrize("extra", [{"tokenfile": "/x"}, {"timeout": "long"}, {"attempts": 0}])
def test_invalid_fields_are_named(
    monkeypatch: pytest.MonkeyPatch, hook: Any, extra: dict[str, Any]
) -> None:
    connect(monkeypatch, extra=extra)
    with pytest.raises(Misconfigured, match=f"the connection to DASHER: {next(iter(extra))}: "):
        hook.get_settings()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("status", status=503), "it answered 503"),
        (Fault("html"), "VPN"),
        (Fault("status", status=404), "check the address"),
    ],
)
def test_test_connection_reports_errors(
    monkeypatch: pytest.MonkeyPatch,
    dasher: DasherStandin,
    token_file: Path,
    hook: Any,
    *,
    fault: Fault,
    text: str,
) -> None:
    connect(monkeypatch, host=dasher.base, extra={"token_file": str(token_file)})
    dasher.script(fault)
    works, said = hook.test_connection()
    assert not works
    assert text in said


def test_test_connection_without_tokens(monkeypatch: pytest.MonkeyPatch, hook: Any) -> None:
    connect(monkeypatch)
    works, said = hook.test_connection()
    assert not works
    assert "STANFORD_CLIENT_SECRETS" in said


def test_connection_form_in_airflow() -> None:
    """Tested in a subprocess: there is one providers manager per process."""
    program = """
import json, warnings
warnings.simplefilter("error", category=DeprecationWarning)
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
assert "sendit" in manager.providers, sorted(manager.providers)
hook = manager.hooks["dasher"]
widgets = {k: v for k, v in manager.connection_form_widgets.items() if "__dasher__" in k}
print(json.dumps({
    "class": hook.hook_class_name, "name": hook.hook_name, "id": hook.connection_id_attribute_name,
    "testable": hook.connection_testable, "form": manager.field_behaviours["dasher"],
    "fields": {widget.field_name: widget.field for widget in widgets.values()},
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    known = json.loads(done.stdout.splitlines()[-1])
    assert known["class"] == "sendit.hooks.dasher.DasherHook"
    assert known["name"] == "DASHER"
    assert known["id"] == "dasher_conn_id"
    assert known["testable"]
    assert known["form"]["relabeling"] == {"host": "Address"}
    assert "extra" in known["form"]["hidden_fields"]

    from sendit.identifiers.dasher import DasherSettings

    # Every setting has a field, every field has a description, and the defaults agree.
    settings = DasherSettings.model_fields
    assert set(known["fields"]) == set(settings) - {"base"}
    for name, field in known["fields"].items():
        assert field["description"]
        assert field["value"] == settings[name].default


def test_provider_info_is_valid() -> None:
    import airflow
    import jsonschema

    from sendit.provider import get_provider_info

    folder = Path(airflow.__file__).parent
    info = get_provider_info()
    jsonschema.validate(info, json.loads((folder / "provider_info.schema.json").read_text()))
    full = json.loads((folder / "provider.yaml.schema.json").read_text())
    jsonschema.validate(
        info["connection-types"],
        {**full["properties"]["connection-types"], "definitions": full.get("definitions", {})},
    )
