"""A separate site: a checkout next to Docker, deployed as docs/production.md describes.

Docker may be local or remote: ``SENDIT_CONTAINERS_SHELL`` is a command that runs its last argument
as a shell line where Docker is (such as ``ssh imaging``); by default, locally.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.production.compose_file import ROOT

ADDRESS = "https://sendit.example.org:8443"
#: For curl where Docker runs: the host name is not in DNS there.
RESOLVED = "--resolve sendit.example.org:8443:127.0.0.1"
UID = 1001
PROJECT = "sendit-tests"
STARTED = time.monotonic()


class Failed(Exception):
    """A command failed that was expected to succeed; the message ends with its last lines."""


def say(text: str) -> None:
    """Print the current step and the time."""
    sys.stderr.write(f"  [{time.monotonic() - STARTED:6.0f} s] {text}\n")
    sys.stderr.flush()


class Site:
    """The deployment under test."""

    def __init__(self) -> None:
        self._shell = shlex.split(os.environ.get("SENDIT_CONTAINERS_SHELL", "bash -c"))
        # Left over by a killed run; there is one site at a time per Docker.
        self.remove()
        self.home = self.run("mktemp -d /var/tmp/sendit-tests.XXXXXX").strip()
        self.folder = f"{self.home}/checkout"
        self.input = f"{self.home}/incoming"
        self.backups = f"{self.home}/backups"
        self.run(f"chmod 755 {self.home} && mkdir {self.folder} {self.input} {self.backups}")
        self.root = self.run("id -u").strip() == "0"
        self.uid = str(UID) if self.root else self.run("id -u").strip()
        self._token = ""

    # --- the Docker host -----------------------------------------------------------------

    def run(
        self,
        line: str,
        *,
        given: bytes | str = b"",
        check: bool = True,
        patience: float = 600,
        errors: bool = False,
    ) -> str:
        """Run a line of bash on the Docker host and return its output."""
        result = subprocess.run(
            [*self._shell, f"set -o pipefail; {line}"],
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            check=False,
            timeout=patience,
        )
        output, complaints = (
            each.decode("utf-8", "replace") for each in (result.stdout, result.stderr)
        )
        if check and result.returncode:
            last = "\n".join([*output.splitlines()[-25:], *complaints.splitlines()[-25:]])
            raise Failed(f"{line}\nended with {result.returncode}:\n{last}")
        return output + complaints if errors else output

    def here(self, line: str, **options: Any) -> str:
        """Run a line in the site's checkout."""
        return self.run(f"cd {self.folder} && {line}", **options)

    def compose(self, line: str, **options: Any) -> str:
        """Run a command of docker compose in the site's checkout."""
        return self.here(f"docker compose --ansi never --progress plain {line}", **options)

    def inside(self, service: str, line: str, **options: Any) -> str:
        """Run a shell line in a service's container."""
        return self.compose(f"exec -T {service} sh -c {shlex.quote(line)}", **options)

    def send(self, folder: Path, target: str) -> None:
        """Copy a folder's content to the Docker host."""
        packed = subprocess.run(
            ["tar", "-C", folder, "-cf", "-", "."], capture_output=True, check=True
        ).stdout
        self.run(f"mkdir -p {target} && tar -C {target} --no-same-owner -xf -", given=packed)

    def send_checkout(self) -> None:
        """Copy tracked and untracked files, but not ignored ones."""
        git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
        names = subprocess.run(
            [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
            capture_output=True,
            check=True,
        ).stdout.split(b"\0")
        there = b"\0".join(name for name in names if name and (ROOT / name.decode()).exists())
        packed = subprocess.run(
            ["tar", "-C", ROOT, "--null", "--no-recursion", "-T", "-", "-cf", "-"],
            input=there,
            capture_output=True,
            check=True,
        ).stdout
        self.run(f"tar -C {self.folder} --no-same-owner -xf -", given=packed)
        if self.root:
            self.run(f"chown -R {UID}:{UID} {self.home}")

    def as_owner(self, line: str) -> str:
        """Run a line in the checkout as the deploying account, which is not root."""
        if not self.root:
            return self.here(line)
        ordinary = f"setpriv --reuid={UID} --regid={UID} --clear-groups env HOME={self.home}"
        return self.here(f"{ordinary} sh -c {shlex.quote(line)}")

    # --- the deployment ------------------------------------------------------------------

    def prepare(self, compose_file: str = "", **more: str) -> None:
        """Prepare the site for its first start, with stand-ins for Google Cloud.

        Parameters
        ----------
        compose_file
            An additional Compose file.
        **more
            Additional settings.
        """
        self.as_owner(f"deploy/prepare.sh {ADDRESS} {self.input} archives")
        self.here(
            "sed -i 's/your-project/sendit-demo/; s/key_path: .*/is_anonymous: true/'"
            " secrets/connections.yaml"
        )
        settings = {
            "COMPOSE_FILE": "docker-compose.yaml:tests/containers/stand-ins.yaml",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "HTTPS_PORT": "8443",
            "HTTP_PORT": "8080",
            "SENDIT_SETTLE_SECONDS": "1",
            "WORKER_CONCURRENCY": "3",
        }
        settings["COMPOSE_FILE"] += f":{compose_file}" if compose_file else ""
        text = "".join(f"{name}={value}\n" for name, value in (settings | more).items())
        self.here("cat >>.env", given=text)

    def crash(self, *services: str) -> None:
        """End services' processes from outside, all at once, as a power cut does.

        Docker restarts each as soon as it can, without waiting for the others.
        """
        running = self.compose(f"ps --quiet {' '.join(services)}").split()
        shown = self.run(f"docker inspect --format '{{{{.State.Pid}}}}' {' '.join(running)}")
        pids = " ".join(pid for pid in shown.split() if pid != "0")
        self.run(
            "docker run --rm --privileged --pid=host --network none --user 0 --entrypoint sh"
            f" sendit:2.0.0 -c 'kill -KILL {pids}'"
        )

    def states(self) -> dict[str, str]:
        """Return each service's state, such as `running (healthy)` or `exited (0)`."""
        lines = self.compose("ps --all --format json").splitlines()
        services = [json.loads(line) for line in lines]
        return {
            each["Service"]: f"{each['State']} ({each['Health'] or each['ExitCode']})"
            for each in services
        }

    def batches(self) -> list[dict[str, Any]]:
        """Return the ledger's batches.

        Queried from PostgreSQL: `sendit batches` takes seconds of CPU to start, and this is
        polled.
        """
        columns = "id, status, delivered, filtered, quarantined, duplicate"
        rows = f"SELECT row_to_json(each) FROM (SELECT {columns} FROM batches ORDER BY id) each"
        return [json.loads(line) for line in self.ledger(rows)]

    def unfinished(self) -> list[str]:
        """Return the ids of unfinished runs."""
        return self.sql(
            "airflow", "SELECT run_id FROM dag_run WHERE state NOT IN ('success', 'failed')"
        )

    def trigger(self) -> None:
        """Start a run that takes everything, through nginx, as a person does."""
        body = {"logical_date": None, "conf": {"number": None}}

        def started() -> bool:
            status, text = self.ask("/api/v2/dags/sendit/dagRuns", token=self.admin(), body=body)
            if status != 200:
                self._token = ""  # it may have expired, or been signed with an earlier key
                raise Failed(f"no run was started: {status} {text[:300]}")
            return True

        self.wait("a run to start", started)

    def ledger(self, statement: str) -> list[str]:
        """Query the ledger's database."""
        return self.sql("ledger", statement)

    def sql(self, database: str, statement: str) -> list[str]:
        """Query a database as the server's superuser."""
        return self.inside(
            "postgres",
            'PGPASSWORD="$(cat /run/secrets/postgres_password)" psql -U postgres --no-psqlrc'
            f" --tuples-only --no-align --dbname={database} --command={shlex.quote(statement)}",
        ).splitlines()

    def ask(
        self, path: str, *, token: str = "", body: Any = None, method: str = ""
    ) -> tuple[int, str]:
        """Send a request to nginx as a browser would; return status and body."""
        words = ["curl", "-sk", "--max-time", "60", *RESOLVED.split(), "-w", "\n%{http_code}"]
        words += ["-X", method] if method else []
        words += ["-H", f"Authorization: Bearer {token}"] if token else []
        if body is not None:
            words += ["-H", "Content-Type: application/json", "--data", json.dumps(body)]
        printed = self.run(shlex.join([*words, ADDRESS + path]))
        text, _, status = printed.rpartition("\n")
        return int(status), text

    def admin(self) -> str:
        """Sign in as the first user, once."""
        if not self._token:
            self._token = self.token("admin", self.here("cat secrets/admin_password").strip())
        return self._token

    def token(self, user: str, password: str) -> str:
        """Sign in to the API."""
        status, text = self.ask("/auth/token", body={"username": user, "password": password})
        if status != 201:
            raise Failed(f"{user} cannot sign in: {status} {text[:300]}")
        return str(json.loads(text)["access_token"])

    def wait(self, what: str, poll: Callable[[], Any], patience: float = 420) -> Any:
        """Poll until the result is truthy; on timeout report the last state."""
        end = time.monotonic() + patience
        say(f"waiting for {what}")
        problem = ""
        while time.monotonic() < end:
            try:
                if value := poll():
                    return value
            except (Failed, ValueError) as error:
                problem = str(error)
            time.sleep(2)
        raise Failed(
            f"timed out after {patience:.0f} s waiting for {what}. {problem}\n{self.story()}"
        )

    def story(self) -> str:
        """Return what a person would look at first when something goes wrong."""
        parts = []
        for title, line in (
            ("services", "ps --all"),
            ("batches", "exec -T worker sendit batches --errors"),
            ("log", "logs --no-color --tail 12 init worker scheduler nginx"),
        ):
            output = self.compose(f"{line} 2>&1 | cut -c1-220", check=False)
            parts.append(f"--- {title} ---\n{output}")
        return "\n".join(parts)

    def end(self) -> None:
        """Remove everything but the images."""
        self.remove()
        self.run(f"rm -rf {self.home}", check=False)

    def remove(self) -> None:
        """Remove the containers, networks and volumes of test sites."""
        mine = f"--filter label=com.docker.compose.project={PROJECT}"
        for ids, remove in (
            ("docker ps --all --quiet --filter name=sendit-tests-dasher", "docker rm --force"),
            (f"docker ps --all --quiet {mine}", "docker rm --force --volumes"),
            (f"docker network ls --quiet {mine}", "docker network rm"),
            (f"docker volume ls --quiet {mine}", "docker volume rm"),
        ):
            self.run(f"{ids} | xargs --no-run-if-empty {remove}")


def folder() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder for files to send."""
    return tempfile.TemporaryDirectory(prefix="sendit-tests-")
