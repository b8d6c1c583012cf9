"""deploy/init.py: roles and databases on a real PostgreSQL, and what it says of a mistake."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
from pathlib import Path
from types import ModuleType

import psycopg2
import pytest
from sqlalchemy.engine import URL, make_url

from demo.postgres import Postgres
from sendit.keys import write_new_key
from sendit.ledger import SCHEMA_VERSION
from sendit.ledger.schema import VERSION_TABLE
from tests.production.compose_file import ROOT


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a folder of secrets of its own."""
    monkeypatch.setenv("SECRETS_FOLDER", str(tmp_path))
    spec = importlib.util.spec_from_file_location("init", ROOT / "deploy" / "init.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def role(postgres: Postgres) -> URL:
    """A role and database that are not there yet, with a password that wants quoting."""
    name = f"role_{os.urandom(4).hex()}"
    server = make_url(postgres.uri("postgres"))
    return server.set(username=name, password='it\'s \\ a "pass"', database=f"{name}_db")


def can_enter(role: URL, **changed: str) -> bool:
    url = role.set(**changed)  # type: ignore[arg-type]
    try:
        psycopg2.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            dbname=url.database,
        ).close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture
def superuser(init: ModuleType, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The superuser's password; its name is another one here."""
    server = make_url(postgres.uri("postgres"))
    monkeypatch.setattr(init, "SUPERUSER", server.username)
    return str(server.password)


class TestRoles:
    def test_a_role_can_access_only_its_own_database(
        self, init: ModuleType, role: URL, superuser: str
    ) -> None:
        other = role.set(username=f"{role.username}_b", database=f"{role.database}_b")
        for each in (role, other):
            init.make_role_and_database(each, superuser)
        assert can_enter(role)
        assert can_enter(other)
        assert not can_enter(role, database=str(other.database))
        for of_the_server in ("postgres", "template1"):
            assert not can_enter(role, database=of_the_server)

    def test_role_creation_is_idempotent_and_updates_the_password(
        self, init: ModuleType, role: URL, superuser: str
    ) -> None:
        init.make_role_and_database(role, superuser)
        init.make_role_and_database(role, superuser)
        changed = role.set(password="another")
        init.make_role_and_database(changed, superuser)
        assert can_enter(changed)

    def test_an_unreachable_server_is_reported(
        self, init: ModuleType, role: URL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(init, "PAUSE_SECONDS", 0)
        with pytest.raises(SystemExit, match="PostgreSQL does not answer"):
            init.make_role_and_database(role.set(host="127.0.0.1", port=1), "x")


class TestSettings:
    def test_a_missing_key_stops_init(
        self, init: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SENDIT_KEY_FILE", raising=False)
        with pytest.raises(SystemExit, match="SENDIT_KEY_FILE"):
            init.check_settings()

    def test_a_valid_site_passes(
        self, init: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write_new_key(tmp_path / "key")
        monkeypatch.setenv("SENDIT_KEY_FILE", str(tmp_path / "key"))
        init.check_settings()

    @pytest.mark.parametrize(
        ("text", "says"), [(None, "cannot be read"), ("\n", "is empty")], ids=["absent", "empty"]
    )
    def test_a_missing_secret_stops_init(
        self, init: ModuleType, tmp_path: Path, text: str | None, says: str
    ) -> None:
        if text is not None:
            (tmp_path / "metadata_url").write_text(text)
        with pytest.raises(SystemExit, match=f"secrets/metadata_url {says}"):
            init.secret("metadata_url")


class TestLedger:
    def test_a_new_ledger_is_created(
        self, init: ModuleType, postgres: Postgres, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = f"ledger_{os.urandom(4).hex()}"
        postgres.query("postgres", f"CREATE DATABASE {name}")
        init.migrate_ledger(postgres.uri(name))
        init.migrate_ledger(postgres.uri(name))
        assert not capsys.readouterr().out

    def test_an_older_ledger_is_migrated(
        self, init: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        dump = ROOT / "tests" / "ledger" / "schema_6.sqlite.sql"
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            database.executescript(dump.read_text())
        for _ in range(2):
            init.migrate_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        said = f"migrated the ledger from schema 0006 to {SCHEMA_VERSION}\n"
        assert capsys.readouterr().out == said

    def test_a_newer_ledger_is_refused(self, init: ModuleType, tmp_path: Path) -> None:
        uri = f"sqlite:///{tmp_path / 'ledger.db'}"
        init.migrate_ledger(uri)
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
        with pytest.raises(SystemExit, match="the ledger has schema 0099"):
            init.migrate_ledger(uri)


@pytest.mark.airflow
class TestConnections:
    TEMPLATE = (ROOT / "deploy" / "connections.yaml.example").read_text()

    def test_airflow_reads_the_template(self, init: ModuleType, tmp_path: Path) -> None:
        (tmp_path / "connections.yaml").write_text(self.TEMPLATE.replace("LEDGER_PASSWORD", "p"))
        (tmp_path / "google_key.json").write_text(json.dumps({"client_email": "a@b"}))
        connections = init.connections()
        ledger = make_url(connections["sendit_ledger"])
        assert (ledger.username, ledger.password, ledger.host) == ("sendit", "p", "postgres")
        assert ledger.database == "ledger"

    def test_the_placeholder_google_key_is_reported(self, init: ModuleType, tmp_path: Path) -> None:
        (tmp_path / "connections.yaml").write_text(self.TEMPLATE)
        (tmp_path / "google_key.json").write_text("{}\n")
        with pytest.raises(SystemExit, match=r"google_key\.json is not a service account's key"):
            init.connections()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("sendit_ledger: postgresql://u:hunter2@h/d\n", "no connection google_cloud_default"),
            ("sendit_ledger: {nonsense: hunter2}\n", "connection 1 must be a URI"),
            ("[hunter2", r"secrets/connections\.yaml is not YAML"),
        ],
    )
    def test_errors_do_not_quote_the_file(
        self, init: ModuleType, tmp_path: Path, text: str, says: str
    ) -> None:
        (tmp_path / "connections.yaml").write_text(text)
        with pytest.raises(SystemExit, match=says) as stopped:
            init.connections()
        assert "hunter2" not in str(stopped.value)
