"""Checks of everything that is commonly wrong on a new site; each result says what to do.

Every check does what a run would do: it writes and deletes in the bucket, the dataset and the
folders, under its own names, and leaves nothing behind. It reads and shows nothing about patients.
"""

from __future__ import annotations

import datetime
import secrets
import shutil
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sendit.errors import FailBatch, Misconfigured, RetryLater, SenditError
from sendit.settings import Settings

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

    from sendit.ledger import Ledger

#: Days until expiry below which a certificate is reported.
MIN_DAYS = 30
#: Seconds after which Redis may redeliver a task to a second worker; anything less is reported.
MIN_VISIBILITY_TIMEOUT = 86400
TIMEOUT = 10.0
MEBIBYTE = 1024 * 1024


class CheckStatus(StrEnum):
    """The status of a check."""

    GOOD = "ok"
    WRONG = "WRONG"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check's result: what was checked, its status, and a sentence that explains it."""

    about: str
    verdict: CheckStatus
    says: str


class Unsure(Exception):
    """A check was inconclusive; the text says why, and how to find out."""


class Services(Protocol):
    """The services that a site reaches through its connections."""

    def ledger(self) -> Ledger:
        """Return the ledger."""

    def storage(self) -> storage.Client:
        """Return a client of Cloud Storage."""

    def bigquery(self) -> bigquery.Client:
        """Return a client of BigQuery."""

    def dasher(self) -> tuple[bool, str]:
        """Return whether DASHER answers and accepts the token, and a sentence that says so."""

    def identifiers(self) -> str:
        """Return the identifier service's name, ``local`` or ``dasher at HOST``."""

    def option(self, section: str, name: str) -> str | None:
        """Return an option of Airflow's configuration."""


def examine(
    read: Callable[[], Settings], services: Services, certificate: Path | None = None
) -> Iterator[CheckResult]:
    """Run every check, cheapest first.

    Parameters
    ----------
    read
        Reads the settings.
    services
        The site's connections and Airflow's configuration.
    certificate
        The UI's certificate as a PEM file. Default: fetched from the UI's address.
    """
    try:
        settings = read()
        settings.need("bucket", "input_folders")
    except SenditError as problem:
        yield CheckResult("settings", CheckStatus.WRONG, str(problem))
        return
    yield CheckResult("settings", CheckStatus.GOOD, "all values are valid")
    checks: list[tuple[str, Callable[[], str]]] = [
        ("key", lambda: _key(settings)),
        ("recipe", lambda: _recipe(settings)),
        ("pixels", _pixels),
        *(
            (f"input folder {number}", partial(_input, number, folder))
            for number, folder in enumerate(settings.input_folders, start=1)
        ),
        ("working folder", lambda: _work(settings)),
        ("ledger", lambda: _ledger(services)),
        ("bucket", lambda: _bucket(settings, services)),
        ("dataset", lambda: _dataset(settings, services)),
        ("collection", lambda: _collection(settings, services)),
        ("DASHER", lambda: _dasher(settings, services)),
        ("certificate", lambda: _certificate(services, certificate)),
        ("Airflow", lambda: _airflow(settings, services)),
    ]
    for about, check in checks:
        yield _result_of(about, check)


def _result_of(about: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(about, CheckStatus.GOOD, check())
    except Unsure as doubt:
        return CheckResult(about, CheckStatus.UNKNOWN, str(doubt))
    except SenditError as problem:
        return CheckResult(about, CheckStatus.WRONG, str(problem))
    except Exception as error:  # noqa: BLE001 - one check never stops the others; texts may quote
        return CheckResult(
            about, CheckStatus.WRONG, f"{type(error).__name__} in sendit or a library: report it"
        )


def _key(settings: Settings) -> str:
    settings.keys()
    return "readable, by sendit only; is there a copy where the hospital keeps its keys?"


def _recipe(settings: Settings) -> str:
    from sendit.pipeline.load_recipe import load_recipe

    load_recipe(settings.recipe)
    own = [
        name
        for name, file in (
            ("functions", settings.recipe_functions),
            ("table", settings.recipe_table),
        )
        if file is not None
    ]
    with_own = f", with your own {' and '.join(own)}" if own else ""
    return f"{settings.recipe} is valid{with_own}"


def _pixels() -> str:
    again = "reinstall sendit's locked requirements (make install, or rebuild the image)"
    try:
        from sendit.pixels import self_test
    except ImportError as error:
        raise Misconfigured(f"the package {error.name} cannot be loaded: {again}") from None
    if failing := sorted(self_test.failing_codecs()):
        raise Misconfigured(
            f"images cannot be decoded and encoded as {', '.join(failing)}: {again}"
        )
    if not self_test.reads():
        raise Misconfigured(f"a word drawn in an image was not recognised: {again}")
    return "all compressions can be decoded and encoded, and text in an image is recognised"


def _input(number: int, folder: Path) -> str:
    from sendit.pipeline.discover import is_ours, list_folders

    ready = [each for each in list_folders([folder]) if is_ours(each.name)]
    _write(
        folder,
        f"input folder {number} cannot be written to ({{reason}}): a folder with a bad file could "
        "not be renamed to .err, nor originals deleted. Give it to the uid that runs sendit",
    )
    if not ready:
        raise Unsure(
            "has no accession folders: it must hold one folder per accession number, with the "
            "files in it. Nothing to do if none has arrived yet"
        )
    return f"readable and writable; {len(ready)} folders"


def _work(settings: Settings) -> str:
    try:
        settings.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = settings.work.stat().st_mode & 0o077
        free = shutil.disk_usage(settings.work).free // MEBIBYTE
    except OSError as error:
        raise Misconfigured(
            f"the working folder cannot be created ({error.strerror}): check SENDIT_HOME or "
            "SENDIT_WORK_FOLDER, and the volume it is on"
        ) from None
    _write(settings.work, "the working folder cannot be written to ({reason})")
    if mode:
        raise Misconfigured(
            "the working folder is open to other users: chmod 700, it holds identifiers"
        )
    if free < 2 * settings.disk_margin_mb:
        raise Misconfigured(
            f"only {free} MiB are free on the working folder's disk, of which "
            f"{settings.disk_margin_mb} must stay free (SENDIT_DISK_MARGIN_MB): free disk space"
        )
    return f"writable, by sendit only; {free} MiB are free"


def _write(folder: Path, problem: str) -> None:
    """Create a file and a folder, rename them, and delete them."""
    try:
        with tempfile.TemporaryDirectory(prefix=".sendit-doctor-", dir=folder) as made:
            (Path(made) / "a").write_bytes(b"x")
            (Path(made) / "a").rename(Path(made) / "b")
    except OSError as error:
        raise Misconfigured(problem.format(reason=error.strerror)) from None


def _ledger(services: Services) -> str:
    from sendit.ledger import SCHEMA_VERSION

    ledger = services.ledger()
    return f"readable; {ledger.count_queued()} batches in the queue (schema {SCHEMA_VERSION})"


def _bucket(settings: Settings, services: Services) -> str:
    from sendit.delivery import objects

    client, bucket = services.storage(), settings.bucket
    objects.check_bucket(client, bucket)
    name, content = f"Stage/doctor-{secrets.token_hex(8)}", b"sendit doctor"
    objects.create(client, bucket, name, content, "text/plain")
    try:
        if objects.get(client, bucket, name) != content:
            raise RetryLater("the bucket returned a different object from the one written")
    finally:
        try:
            objects.remove(client, bucket, name)
        except FailBatch as kept:
            raise Unsure(
                f"{bucket} keeps what is written ({kept}). Deliveries work, but archives can be "
                "neither replaced nor withdrawn before that ends, and files of rows stay under "
                "Stage/ until then: is that intended?"
            ) from None
    return f"{bucket}: an object was written, read, listed and deleted"


def _dataset(settings: Settings, services: Services) -> str:
    from google.api_core import exceptions as api
    from google.cloud import bigquery

    from sendit.delivery import table
    from sendit.delivery.names import dataset_name

    client = services.bigquery()
    if client.project == "your-project":
        raise Misconfigured(
            "the connection google_cloud_default has the placeholder your-project as its project: "
            "write Google's project there (secrets/connections.yaml with Docker Compose)"
        )
    name = dataset_name(settings.collection_of(settings.study))
    reference = bigquery.DatasetReference(client.project, name)
    with table.dataset_errors(name):
        try:
            client.get_dataset(reference, retry=table.RETRY, timeout=table.TIMEOUT)
        except api.NotFound:
            raise Unsure(
                f"there is no dataset {name} in the project {client.project}: create it, or let "
                "the first run do so, which needs roles/bigquery.dataEditor on the project"
            ) from None
        stage = f"doctor_{secrets.token_hex(8)}"
        field = bigquery.SchemaField("word", "STRING")
        try:
            client.create_table(
                bigquery.Table(reference.table(stage), schema=[field]),
                retry=table.RETRY,
                timeout=table.TIMEOUT,
            )
            statements = (
                f"INSERT INTO `{name}.{stage}` (word) VALUES ('sendit')",
                f"DELETE FROM `{name}.{stage}` WHERE word = 'sendit'",
            )
            for statement in statements:
                table.run_query(client, statement)
        finally:
            table.drop_table(client, name, stage)
    return f"{name}: a table was created, written, emptied and dropped"


def _collection(settings: Settings, services: Services) -> str:
    from sendit.delivery.feeder import Feed, feeder_of

    collection, client = settings.collection_of(settings.study), services.storage()
    feeder = feeder_of(
        services.ledger(),
        settings.keys(),
        services.identifiers(),
        settings.study,
        settings.identity_rules(),
        project=client.project,
    )
    feed = Feed(services.ledger(), client, settings.bucket, collection, feeder)
    if feed.check() is None:
        return f"{collection}: nobody has delivered to it yet"
    return f"{collection}: fed by this ledger and key"


def _dasher(settings: Settings, services: Services) -> str:
    if settings.identifiers != "dasher":
        return "not used: SENDIT_IDENTIFIERS is local"
    good, sentence = services.dasher()
    if not good:
        raise Misconfigured(sentence)
    return sentence


def _certificate(services: Services, file: Path | None) -> str:
    if file is not None:
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise Misconfigured("the certificate's file cannot be read as PEM") from None
    else:
        text = _presented(services.option("api", "base_url") or "")
    days = days_left(text)
    if days < 0:
        raise Misconfigured(
            f"it expired {-days} days ago, so browsers refuse the UI. Install a new one as "
            "secrets/tls.crt and tls.key, then restart nginx"
        )
    if days < MIN_DAYS:
        raise Misconfigured(
            f"it expires in {days} days: install a new one as secrets/tls.crt and tls.key, then "
            "restart nginx"
        )
    return f"expires in {days} days"


def _presented(address: str) -> str:
    """Return the certificate presented at the UI's address, without verifying it."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise Unsure("the UI's address is not an https address, so there is no certificate")
    try:
        return ssl.get_server_certificate((parts.hostname, parts.port or 443), timeout=TIMEOUT)
    except (OSError, ValueError):
        raise Unsure(
            "the UI cannot be reached from here; on the machine that has the file: "
            "openssl x509 -enddate -noout -in secrets/tls.crt"
        ) from None


def days_left(pem: str) -> int:
    """Return the number of whole days until a certificate expires; negative if it has expired.

    Raises
    ------
    Misconfigured
        The text is not a certificate in PEM format.
    """
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    except ValueError:
        raise Misconfigured("the certificate is not in PEM format") from None
    return (ends - datetime.datetime.now(datetime.UTC)).days


def _airflow(settings: Settings, services: Services) -> str:
    problems = [*_options(settings, services.option)]
    server = services.option("core", "execution_api_server_url")
    if server and not _answers(server):
        problems.append(
            f"tasks cannot reach Airflow's API server at {server}: check that it runs, and [core] "
            "execution_api_server_url"
        )
    if problems:
        raise Misconfigured("; ".join(problems))
    return "its configuration fits"


def _options(settings: Settings, option: Callable[[str, str], str | None]) -> Iterator[str]:
    def number(section: str, name: str, absent: int) -> int:
        try:
            return int(option(section, name) or absent)
        except ValueError:
            return absent

    largest = number("core", "max_map_length", 1024)
    if largest < settings.batches_per_run:
        yield (
            f"[core] max_map_length is {largest}, less than SENDIT_BATCHES_PER_RUN "
            f"({settings.batches_per_run}): raise it to at least that"
        )
    if "celery" in (option("core", "executor") or "").lower():
        seconds = number("celery_broker_transport_options", "visibility_timeout", 0)
        if seconds < MIN_VISIBILITY_TIMEOUT:
            yield (
                "[celery_broker_transport_options] visibility_timeout is less than a day: tasks "
                f"that take longer would run twice. Set it to {MIN_VISIBILITY_TIMEOUT}"
            )
    if (option("api", "expose_config") or "false").lower() not in {"false", "non-sensitive-only"}:
        yield "[api] expose_config shows the configuration to every user: set it to False"
    if settings.identifiers == "dasher" and "ConnectionFile" not in (
        option("workers", "secrets_backend") or ""
    ):
        yield (
            "Airflow's role Op may change connections, and so DASHER's address: set [workers] "
            "secrets_backend to sendit.hooks.connection_file.ConnectionFile (docs/production.md)"
        )


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
