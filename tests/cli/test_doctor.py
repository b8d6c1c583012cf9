"""`sendit doctor`: a correct site, and then one mistake at a time."""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sendit.cli.doctor import CheckResult, CheckStatus, days_left, examine
from sendit.delivery.table import ensure_table
from sendit.errors import Misconfigured, RetryLater
from sendit.keys import write_new_key
from sendit.ledger import Ledger
from sendit.settings import Settings
from testing.retention_storage import Bucket, RetentionStorage

COLLECTION = "doctor-irb"


@contextmanager
def ordinary_account() -> Iterator[None]:
    """Run as an account to which permissions apply (they do not apply to root)."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def certificate(folder: Path, days: int) -> Path:
    """Make a certificate that is valid for this many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sendit.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{days}.crt"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@dataclass
class Site:
    """A site's services; ``broken`` maps names to the errors that they raise."""

    folder: Path
    storage_client: Any
    bigquery_client: Any
    settings: dict[str, Any]
    options: dict[tuple[str, str], str]
    opened: Ledger
    dasher_says: tuple[bool, str] = (True, "DASHER answers and accepts the token")
    broken: dict[str, Exception] = field(default_factory=dict)
    days: int = 90

    def _or_break(self, name: str, value: Any) -> Any:
        if name in self.broken:
            raise self.broken[name]
        return value

    def ledger(self) -> Ledger:
        return self._or_break("ledger", self.opened)

    def storage(self) -> Any:
        return self._or_break("storage", self.storage_client)

    def bigquery(self) -> Any:
        return self._or_break("bigquery", self.bigquery_client)

    def dasher(self) -> tuple[bool, str]:
        return self.dasher_says

    def identifiers(self) -> str:
        return "local"

    def option(self, section: str, name: str) -> str | None:
        return self.options.get((section, name))

    def read(self) -> Settings:
        return Settings(**self.settings)

    def findings_of(self, about: str) -> CheckResult:
        return next(each for each in examine(self.read, self) if each.about == about)

    def findings(self) -> dict[str, CheckResult]:
        file = certificate(self.folder, self.days)
        return {each.about: each for each in examine(self.read, self, file)}


class ApiServer(BaseHTTPRequestHandler):
    """A minimal API server."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def api_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/execution/"
        server.shutdown()


@pytest.fixture
def site(
    tmp_path: Path, storage_client: Any, bigquery_client: Any, bucket: str, api_server: str
) -> Iterator[Site]:
    write_new_key(tmp_path / "key")
    (tmp_path / "incoming" / "1234").mkdir(parents=True)
    ensure_table(bigquery_client, COLLECTION, "US")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Site(
        tmp_path,
        storage_client,
        bigquery_client,
        settings={
            "home": tmp_path / "home",
            "input_folders": str(tmp_path / "incoming"),
            "key_file": tmp_path / "key",
            "bucket": bucket,
            "collection": COLLECTION,
            "study": "test",
            "disk_margin_mb": 1,
        },
        options={
            ("core", "execution_api_server_url"): api_server,
            ("core", "executor"): "CeleryExecutor",
            ("celery_broker_transport_options", "visibility_timeout"): "86400",
            ("workers", "secrets_backend"): "sendit.hooks.connection_file.ConnectionFile",
            ("api", "expose_config"): "False",
        },
        opened=ledger,
    )
    ledger.close()


def test_a_correct_site_has_no_errors_and_is_unchanged(site: Site) -> None:
    before = set(site.folder.rglob("*"))
    findings = site.findings()
    assert {
        name: each for name, each in findings.items() if each.verdict is not CheckStatus.GOOD
    } == {}
    assert set(findings) == {
        *("settings", "key", "recipe", "pixels", "input folder 1", "working folder", "ledger"),
        *("bucket", "dataset", "collection", "DASHER", "certificate", "Airflow"),
    }
    left = set(site.folder.rglob("*")) - before
    assert {path.name for path in left} <= {
        "home",
        "work",
        "90.crt",
        "ledger.db-wal",
        "ledger.db-shm",
    }
    assert not [*site.storage_client.list_blobs(site.settings["bucket"])]
    tables = site.bigquery_client.list_tables(COLLECTION.replace("-", "_"))
    assert [each.table_id for each in tables] == ["dicom"]


def test_bucket_retention_is_reported(
    site: Site, emulators: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RetentionStorage(emulators.storage)
    server.buckets[bucket] = Bucket(retention=datetime.timedelta(days=1))
    api = site.storage_client._connection
    monkeypatch.setattr(api, "API_BASE_URL", server.url)
    findings = site.findings()
    assert findings["bucket"].verdict is CheckStatus.UNKNOWN
    assert "under retention until" in findings["bucket"].says
    assert "neither replaced nor withdrawn" in findings["bucket"].says
    wrong = {name for name, each in findings.items() if each.verdict is not CheckStatus.GOOD}
    assert wrong == {"bucket"}
    server.close()


def set_setting(name: str, value: Any) -> Callable[[Site], None]:
    return lambda site: site.settings.update({name: value})


def set_option(section: str, name: str, value: str) -> Callable[[Site], None]:
    return lambda site: site.options.update({(section, name): value})


def break_service(name: str, error: Exception) -> Callable[[Site], None]:
    return lambda site: site.broken.update({name: error})


def open_folder_to_others(site: Site) -> None:
    (site.folder / "home" / "work").mkdir(parents=True)
    (site.folder / "home" / "work").chmod(0o755)


def remove_input_folders(site: Site) -> None:
    (site.folder / "incoming" / "1234").rmdir()


def fed_by_another(site: Site) -> None:
    from sendit.delivery.feeder import Feed, Feeder

    other = Feeder("0" * 16, "0" * 16, "local", "test")
    Feed(site.opened, site.storage_client, site.settings["bucket"], COLLECTION, other).count()


MISTAKES: dict[str, tuple[str, Callable[[Site], None], str]] = {
    "no bucket set": ("settings", set_setting("bucket", ""), "SENDIT_BUCKET is not set"),
    "no key": ("key", set_setting("key_file", Path("/absent")), "key"),
    "no recipe": ("recipe", set_setting("recipe", "/absent.deid"), "absent.deid"),
    "no input": ("input folder 1", set_setting("input_folders", "/absent"), "mount it"),
    "open work": ("working folder", open_folder_to_others, "chmod 700"),
    "full disk": ("working folder", set_setting("disk_margin_mb", 1 << 40), "free disk space"),
    "no ledger": ("ledger", break_service("ledger", RetryLater("cannot be read")), "cannot be"),
    "no bucket": ("bucket", set_setting("bucket", "absent-bucket"), "create it"),
    "no credentials": ("bucket", break_service("storage", Misconfigured("no key")), "no key"),
    "another's": ("collection", fed_by_another, "fed by another"),
    "a library": ("dataset", break_service("bigquery", KeyError("hunter2")), "KeyError"),
    "few days": ("certificate", lambda site: setattr(site, "days", 5), "expires in 5 days"),
    "ended": ("certificate", lambda site: setattr(site, "days", -3), "expired 3 days ago"),
    "no API server": (
        "Airflow",
        set_option("core", "execution_api_server_url", "http://127.0.0.1:1/"),
        "API server",
    ),
    "twice": (
        "Airflow",
        set_option("celery_broker_transport_options", "visibility_timeout", "3600"),
        "86400",
    ),
    "long maps": ("Airflow", set_option("core", "max_map_length", "10"), "max_map_length"),
    "shown": ("Airflow", set_option("api", "expose_config", "True"), "expose_config"),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_each_mistake_is_reported_by_its_check(site: Site, mistake: str) -> None:
    about, make, says = MISTAKES[mistake]
    make(site)
    findings = site.findings()
    assert findings[about].verdict is CheckStatus.WRONG
    assert says in findings[about].says
    assert "hunter2" not in findings[about].says
    # One mistake stops no other check, except for checks of what is missing.
    assert about == "settings" or len(findings) == 13


@pytest.mark.parametrize(
    ("library", "broken", "says"),
    [
        ("imagecodecs.jpegls_decode", RuntimeError("hunter2"), "JPEG-LS of 16 bits, JPEG-LS of 24"),
        ("imagecodecs.ljpeg_decode", ImportError("hunter2"), "lossless JPEG of 16 bits: reinstall"),
        ("sendit.pixels.reader._engine", OSError("hunter2"), "a word drawn in an image was not"),
    ],
)
def test_missing_image_codecs_are_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch, library: str, broken: Exception, says: str
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise broken

    monkeypatch.setattr(library, breaks)
    finding = site.findings_of("pixels")
    assert finding.verdict is CheckStatus.WRONG
    assert says in finding.says
    assert "hunter2" not in finding.says


def test_an_unloadable_library_is_reported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import sendit.pixels.self_test

    monkeypatch.delattr(sendit.pixels, "self_test")
    monkeypatch.delitem(sys.modules, "sendit.pixels.self_test")
    monkeypatch.setitem(sys.modules, "cv2", None)
    finding = site.findings_of("pixels")
    assert finding.verdict is CheckStatus.WRONG
    assert "the package cv2 cannot be loaded" in finding.says


def test_site_functions_and_table_are_checked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions, table = tmp_path / "functions.py", tmp_path / "variables.csv"
    functions.write_text("def shout(item, value, field, dicom):\n    return value.upper()\n")
    table.write_text("accession,arm\n1234,A\n")
    for name, file in (("functions", functions), ("table", table)):
        site.settings[f"recipe_{name}"] = str(file)
        monkeypatch.setenv(f"SENDIT_RECIPE_{name.upper()}", str(file))
    finding = site.findings_of("recipe")
    assert (finding.verdict, finding.says) == (
        CheckStatus.GOOD,
        "default is valid, with your own functions and table",
    )
    functions.write_text("def shout(value:\n")
    finding = site.findings_of("recipe")
    assert finding.verdict is CheckStatus.WRONG
    assert "functions.py" in finding.says


def test_dasher_is_checked_if_configured(site: Site) -> None:
    site.settings["identifiers"] = "dasher"
    assert site.findings()["DASHER"].verdict is CheckStatus.GOOD
    site.dasher_says = (False, "ask DASHER's team for a new token file")
    finding = site.findings()["DASHER"]
    assert (finding.verdict, finding.says) == (CheckStatus.WRONG, site.dasher_says[1])
    del site.options["workers", "secrets_backend"]
    assert "Op may change connections" in site.findings()["Airflow"].says


def test_placeholder_project_is_reported(site: Site) -> None:
    from google.cloud import bigquery

    site.bigquery_client = bigquery.Client(
        project="your-project", credentials=site.bigquery_client._credentials
    )
    assert "placeholder your-project" in site.findings()["dataset"].says


def test_unknown_results_are_not_errors(site: Site) -> None:
    remove_input_folders(site)
    site.settings["collection"] = f"none-{os.getpid()}"
    site.options["api", "base_url"] = "https://127.0.0.1:1"
    findings = {each.about: each for each in examine(site.read, site)}
    for about in ("input folder 1", "dataset", "certificate"):
        assert findings[about].verdict is CheckStatus.UNKNOWN, findings[about]
    assert "roles/bigquery.dataEditor" in findings["dataset"].says


def test_unwritable_folders_are_reported(site: Site) -> None:
    # Not below tmp_path, whose parents are closed to other accounts.
    with tempfile.TemporaryDirectory(prefix="sendit-doctor-") as folder:
        (Path(folder) / "1234").mkdir()
        Path(folder).chmod(0o555)
        site.settings["input_folders"] = folder
        with ordinary_account():
            finding = site.findings_of("input folder 1")
        Path(folder).chmod(0o755)
    assert finding.verdict is CheckStatus.WRONG
    assert "renamed to .err" in finding.says


def test_days_left(tmp_path: Path) -> None:
    assert days_left(certificate(tmp_path, 30).read_text()) == 30
    with pytest.raises(Misconfigured, match="PEM"):
        days_left("hunter2")


def test_findings_contain_no_secrets(site: Site) -> None:
    printed = json.dumps([each.says for each in site.findings().values()])
    assert (site.folder / "key").read_text().strip() not in printed
