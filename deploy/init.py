"""The init step of docker-compose.yaml: runs before anything else, at every start.

Idempotent. It creates the two database roles and their databases, migrates both, creates the first
user of the UI, and checks the site's settings, so that a mistake stops the start with a clear
message instead of failing the first night's run.

Characters other than letters and digits in a password are percent-encoded in database URLs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, encrypt_password
from sqlalchemy.engine import URL, make_url

from sendit.errors import SenditError
from sendit.ledger import SCHEMA_VERSION, Ledger
from sendit.settings import read_settings

SECRETS = Path(os.environ.get("SECRETS_FOLDER", "/run/secrets"))
SUPERUSER = "postgres"
ADMIN = "admin"
LEDGER = "sendit_ledger"
GOOGLE = "google_cloud_default"
ATTEMPTS = 10
PAUSE_SECONDS = 3
#: The connections that a site needs, by identifier service.
NEEDED = {"local": (LEDGER, GOOGLE), "dasher": (LEDGER, GOOGLE, "sendit_dasher")}


def stop(problem: str) -> NoReturn:
    """Stop the init step, and so the start, with a message."""
    sys.exit(f"sendit cannot start: {problem}")


def secret(name: str) -> str:
    """Return the text of a secret file."""
    try:
        text = (SECRETS / name).read_text().strip()
    except OSError as error:
        stop(f"secrets/{name} cannot be read ({error.strerror}); RUN_AS_UID must own it")
    if not text:
        stop(f"secrets/{name} is empty")
    return text


def make_role_and_database(role: URL, superuser_password: str) -> None:
    """Create a role with its password, and a database that it owns and no other role can access.

    The password is hashed here: the server's log never sees it. An existing role gets the password
    of the secret file, so that changing the file changes the password.
    """
    if not (role.username and role.password and role.database):
        stop("a database URL in secrets/ lacks its user, password or database")
    connection = connect(role, superuser_password)
    connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    name, database = sql.Identifier(role.username), sql.Identifier(role.database)
    hashed = encrypt_password(str(role.password), role.username, connection, "scram-sha-256")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.username,))
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN NOSUPERUSER PASSWORD {}").format(
                    verb, name, sql.Literal(hashed)
                )
            )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (role.database,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, name))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            # The databases that every server has are open to every role by default.
            for each in ("postgres", "template1"):
                cursor.execute(
                    sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(each))
                )
    finally:
        connection.close()


def connect(role: URL, superuser_password: str) -> Any:
    """Return a superuser's connection to a role's server, waiting until it is up."""
    for attempt in range(ATTEMPTS):
        try:
            return psycopg2.connect(
                host=role.host,
                port=role.port or 5432,
                user=SUPERUSER,
                password=superuser_password,
                dbname="postgres",
                connect_timeout=10,
            )
        except psycopg2.OperationalError:
            if attempt < ATTEMPTS - 1:
                time.sleep(PAUSE_SECONDS)
    stop(
        "PostgreSQL does not answer, or does not take secrets/postgres_password: it keeps the "
        "password that the file had at its very first start"
    )


def connections() -> dict[str, str]:
    """Return the connections of secrets/connections.yaml as URIs, read as a task reads them."""
    from sendit.hooks.connection_file import (  # noqa: PLC0415 - Airflow takes seconds
        ConnectionFile,
        read_connections,
    )

    file = ConnectionFile(str(SECRETS / "connections.yaml"))
    try:
        names = read_connections(file.path)
    except SenditError as problem:
        stop(f"secrets/{problem}")
    for name in NEEDED[read_settings().identifiers]:
        if name not in names:
            stop(f"secrets/connections.yaml has no connection {name}")
    connections = {name: file.get_connection(name) for name in names}
    key = connections[GOOGLE].extra_dejson.get("key_path")
    if key:
        try:
            json.loads(secret(Path(key).name))["client_email"]
        except (ValueError, KeyError, TypeError):
            stop(
                "secrets/google_key.json is not a service account's key; put one there, or take "
                "key_path out of connections.yaml if the machine has an identity of its own"
            )
    return {name: connection.get_uri() for name, connection in connections.items()}


def make_first_user(password: str) -> None:
    """Create the user ``admin`` if there is no user yet."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import (  # noqa: PLC0415 - seconds
        get_application_builder,
    )

    with get_application_builder() as builder:
        manager = builder.sm
        if manager.count_users():
            return
        role = manager.find_role("Admin")
        if not manager.add_user(ADMIN, "First", "User", "admin@localhost", role, password):
            stop("the first user could not be made")
        print(f"made the user {ADMIN}; its password is in secrets/admin_password")  # noqa: T201


def check_settings() -> None:
    """Read sendit's settings and key as a task would."""
    try:
        read_settings().keys()
    except SenditError as problem:
        stop(str(problem))


def migrate_ledger(uri: str) -> None:
    """Create the ledger's tables, or migrate those of an earlier version of sendit."""
    ledger = Ledger(uri)
    try:
        before = ledger.migrate()
    except SenditError as problem:
        stop(str(problem))
    finally:
        ledger.close()
    if before is not None:
        print(f"migrated the ledger from schema {before} to {SCHEMA_VERSION}")  # noqa: T201


def main() -> None:
    """Run every step, cheapest first."""
    check_settings()
    ledger = connections()[LEDGER]
    superuser_password = secret("postgres_password")
    for uri in (secret("metadata_url"), ledger):
        make_role_and_database(make_url(uri), superuser_password)
    migrate_ledger(ledger)
    airflow = Path(sys.executable).with_name("airflow")
    if subprocess.run([airflow, "db", "migrate"], check=False).returncode:
        stop("Airflow's database could not be migrated; why is above")
    make_first_user(secret("admin_password"))


if __name__ == "__main__":
    main()
