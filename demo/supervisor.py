"""Starts processes for the demo and ends every one of them when the demo ends, however it ends.

Runs as a process of its own (``python supervisor.py``), driven by JSON lines on standard input,
with one line of reply each. It is the *subreaper* of all that it starts: a grandchild whose
parent dies becomes the supervisor's child, so no process can slip away. When standard input
closes (the demo stopped, crashed or was killed with SIGKILL) it stops everything, deletes the
folders that it was told to, and exits. If the supervisor itself is killed, the kernel kills its
children (PR_SET_PDEATHSIG).

Requests: ``start`` (name, argv, env, cwd, log, signal, user), ``poll`` (name),
``stop`` (name, seconds), ``remove_at_exit`` (folder), ``close`` (seconds).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0
TICK_SECONDS = 0.05

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Return the ids of all living processes below ``root``, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # "pid (name) state ppid ...": the name may hold anything, also brackets.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # exited in the meantime
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    pids: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        pids += below
        queue += below
    return pids


class Supervisor:
    """Started processes, by name."""

    def __init__(self) -> None:
        self.processes: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        self.folders: list[Path] = []
        self.closed = False

    def start(
        self,
        *,
        name: str,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        log: str,
        stop_signal: int = signal.SIGTERM,
        user: list[int] | None = None,
    ) -> dict[str, Any]:
        """Start a process in a session of its own, its output appended to ``log``."""
        with Path(log).open("ab") as output:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (there is one thread here)
                user=user[0] if user else None,
                group=user[1] if user else None,
                extra_groups=[] if user else None,
            )
        self.processes[name] = (process, stop_signal)
        return {"pid": process.pid}

    def poll(self, name: str) -> dict[str, Any]:
        """Return the exit code, or None while it runs."""
        return {"code": self.processes[name][0].poll()}

    def stop(self, name: str, seconds: float = GRACE_SECONDS) -> dict[str, Any]:
        """Stop one process with its own signal, then with SIGKILL together with its group."""
        process, stop_signal = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(stop_signal)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return {"code": process.wait()}

    def remove_at_exit(self, folder: str) -> dict[str, Any]:
        """Remove this folder when everything has ended."""
        self.folders.append(Path(folder))
        return {}

    def close(self, seconds: float = GRACE_SECONDS) -> dict[str, Any]:
        """Stop everything that was started; then kill all remaining descendants."""
        self.closed = True
        for process, stop_signal in self.processes.values():
            if process.poll() is None:
                process.send_signal(stop_signal)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(
            process.poll() is None for process, _ in self.processes.values()
        ):
            time.sleep(TICK_SECONDS)
        while left := self._reap():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(TICK_SECONDS)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        return {}

    def _reap(self) -> list[int]:
        """Reap ended processes, adopted orphans included; return what is still alive."""
        for process, _ in self.processes.values():
            process.poll()
        own = {process.pid for process, _ in self.processes.values()}
        left = descendants(os.getpid())
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in own:
                continue
            try:
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if stat[0] == "Z" and int(stat[1]) == os.getpid():
                    os.waitpid(int(entry.name), os.WNOHANG)
            except OSError:  # exited in the meantime
                continue
        return left


def main() -> None:
    """Handle requests until standard input closes."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # It ends with standard input. Not SIG_IGN, which children would inherit.
        signal.signal(number, lambda _number, _frame: None)
    supervisor = Supervisor()
    actions: dict[str, Callable[..., dict[str, Any]]] = {
        "start": supervisor.start,
        "poll": supervisor.poll,
        "stop": supervisor.stop,
        "remove_at_exit": supervisor.remove_at_exit,
        "close": supervisor.close,
    }
    try:
        while not supervisor.closed:
            # Wake up periodically to reap adopted orphans.
            if not select.select([sys.stdin], [], [], 5.0)[0]:
                supervisor._reap()
                continue
            line = sys.stdin.readline()
            if not line:
                break
            request = json.loads(line)
            try:
                answer = actions[request.pop("do")](**request)
            except (OSError, KeyError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        if not supervisor.closed:
            supervisor.close()


if __name__ == "__main__":
    main()
