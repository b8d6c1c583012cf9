"""Processes run by the supervisor, ports on 127.0.0.1, and waiting for servers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TAIL_LINES = 25
# Below Linux's range for outgoing connections (32768 and up), so that no client takes them.
PORTS = range(20000, 32000)


class DemoError(Exception):
    """The demo cannot continue; the message says what failed, with the end of its log."""


class Port:
    """A free port on 127.0.0.1, reserved (bound, not listening) until its server starts.

    Two demos started at the same time cannot pick the same reserved port.
    """

    def __init__(self) -> None:
        for number in random.sample(PORTS, 200):
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                held.bind(("127.0.0.1", number))
            except OSError:
                held.close()
                continue
            self.number = number
            self._held: socket.socket | None = held
            return
        raise DemoError("no free port on 127.0.0.1 between 20000 and 32000")

    def release(self) -> int:
        """Release the port for the server that is started next."""
        if self._held is not None:
            self._held.close()
            self._held = None
        return self.number


class Processes:
    """Starts and stops processes through a supervisor that briefly outlives this process.

    Parameters
    ----------
    logs
        Folder for one ``<name>.log`` per process.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.pids: dict[str, int] = {}
        self._sessions: set[int] = set()
        #: Set when a start has failed: those waiting for another part give up.
        self.abandoned = threading.Event()
        self._lock = threading.Lock()
        self._supervisor = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("supervisor.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is handled here
        )

    def _ask(self, do: str, **request: Any) -> dict[str, Any]:
        supervisor = self._supervisor
        assert supervisor.stdin is not None and supervisor.stdout is not None
        with self._lock:
            try:
                supervisor.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
                supervisor.stdin.flush()
                answer = supervisor.stdout.readline()
            except (BrokenPipeError, ValueError):
                answer = b""
        if not answer:
            raise DemoError("the demo's supervisor has ended; all its servers ended with it")
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise DemoError(f"{request.get('name', do)}: {reply['error']}")
        return reply

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.logs / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last lines of a process's log."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stop_signal: int = signal.SIGTERM,
        user: tuple[int, int] | None = None,
    ) -> int:
        """Start a process and return its id."""
        answer = self._ask(
            "start",
            name=name,
            argv=[str(part) for part in argv],
            env=dict(env),
            cwd=str(cwd),
            log=str(self.log(name)),
            stop_signal=int(stop_signal),
            user=user,
        )
        self.pids[name] = int(answer["pid"])
        self._sessions.add(self.pids[name])
        return self.pids[name]

    def run(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        seconds: float = 120.0,
        user: tuple[int, int] | None = None,
    ) -> None:
        """Run a command to completion; a failure is an error with the end of its log."""
        self.start(name, argv, env=env, cwd=cwd, user=user)
        deadline = time.monotonic() + seconds
        while (code := self.poll(name)) is None:
            self._go_on()
            if time.monotonic() > deadline:
                raise DemoError(f"{name} took longer than {seconds:g} s\n{self.tail(name)}")
            time.sleep(0.05)
        if code:
            raise DemoError(f"{name} failed (exit code {code})\n{self.tail(name)}")

    def poll(self, name: str) -> int | None:
        """Return a process's exit code, or None while it runs."""
        code: int | None = self._ask("poll", name=name)["code"]
        return code

    def stop(self, name: str, seconds: float = 5.0) -> None:
        """Stop one process."""
        self._ask("stop", name=name, seconds=seconds)
        self.pids.pop(name, None)

    def kill(self, name: str) -> None:
        """Kill one process and its group with SIGKILL (for tests that break things)."""
        self._ask("stop", name=name, seconds=0)
        self.pids.pop(name, None)

    def wait_for(
        self, name: str, ready: Callable[[], bool], *, seconds: float = 60.0, what: str = ""
    ) -> None:
        """Wait until a started process is ready; an early exit or a timeout is an error."""
        deadline = time.monotonic() + seconds
        while not ready():
            self._go_on()
            code = self.poll(name)
            if code is not None:
                raise DemoError(f"{name} ended (exit code {code})\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{name} was not ready after {seconds:g} s{what}\n{self.tail(name)}"
                )
            time.sleep(0.1)

    def _go_on(self) -> None:
        if self.abandoned.is_set():
            raise DemoError("another part of the start failed")

    def check(self, names: Sequence[str]) -> None:
        """Raise if one of these processes has exited."""
        for name in names:
            code = self.poll(name)
            if code is not None:
                raise DemoError(f"{name} ended (exit code {code})\n{self.tail(name)}")

    def remove_at_exit(self, folder: Path) -> None:
        """Have a folder removed when all processes have ended, even after a crash of this one."""
        self._ask("remove_at_exit", folder=str(folder))

    def close(self, seconds: float = 5.0) -> None:
        """Stop everything; no started process survives."""
        supervisor = self._supervisor
        if supervisor.poll() is None:
            with contextlib.suppress(DemoError):
                self._ask("close", seconds=seconds)
        for pipe in (supervisor.stdin, supervisor.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if supervisor.wait():
            # It was killed: the kernel killed its children, whose own children are ended here.
            kill_sessions(self._sessions)


def kill_sessions(sessions: set[int]) -> None:
    """Kill every process of these sessions."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) in sessions:
                os.kill(int(entry.name), signal.SIGKILL)


def get_json(url: str, *, token: str | None = None, seconds: float = 10.0) -> Any:
    """GET a JSON document."""
    return send_json("GET", url, token=token, seconds=seconds)


def send_json(
    method: str,
    url: str,
    body: object = None,
    *,
    token: str | None = None,
    seconds: float = 10.0,
) -> Any:
    """Send a JSON document and return the response's (None if it has no body)."""
    request = urllib.request.Request(url, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # No proxy: every address is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as answer:
        data = answer.read()
    return json.loads(data) if data else None


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a server at this address responds with a success status within the given seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as answer:
            return bool(answer.status < 400)
    except (OSError, urllib.error.HTTPError):
        return False


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
