"""Started processes end, however their starter ends."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.processes import DemoError, Port, Processes

ROOT = Path(__file__).parents[2]
# Starts a child in its own session and leaves it behind.
ORPHAN = (
    "import subprocess, sys; "
    "p = subprocess.Popen(['sleep', '300'], start_new_session=True); "
    "print(p.pid, flush=True)"
)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def wait_for_text(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


@pytest.fixture
def processes(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    made = Processes(logs)
    yield made
    made.close()


def start(processes, name, *argv):
    return processes.start(name, argv, env=dict(os.environ), cwd=processes.logs)


def test_close_ends_children_and_orphans_in_other_sessions(processes):
    child = start(processes, "sleeper", "sleep", "300")
    start(processes, "orphan", sys.executable, "-c", ORPHAN)
    orphan = int(wait_for_text(processes.log("orphan")))
    assert alive(child)
    assert alive(orphan)
    processes.close()
    assert wait_until_gone([child, orphan], 0)


def test_close_kills_processes_that_ignore_sigterm(processes):
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(300)"
    child = start(processes, "deaf", sys.executable, "-uc", program)
    wait_for_text(processes.log("deaf"))
    processes.close(seconds=0.3)
    assert wait_until_gone([child], 0)


STARTER = """
import os, sys, time
from pathlib import Path
from demo.processes import Processes
logs = Path(sys.argv[1])
processes = Processes(logs)
processes.remove_at_exit(logs.parent / "private")
child = processes.start("sleeper", ["sleep", "300"], env=dict(os.environ), cwd=logs)
processes.start("orphan", [sys.executable, "-c", sys.argv[2]], env=dict(os.environ), cwd=logs)
while not processes.log("orphan").read_text().endswith("\\n"):
    time.sleep(0.02)
print(processes._supervisor.pid, child, processes.log("orphan").read_text().strip(), flush=True)
time.sleep(300)
"""


def start_starter(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "file").write_text("x")
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path / "logs", ORPHAN],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return starter, [int(word) for word in starter.stdout.readline().split()]


def test_sigkill_of_the_starter_leaves_no_processes(tmp_path):
    starter, pids = start_starter(tmp_path)
    with starter:
        starter.kill()
    assert wait_until_gone(pids)
    deadline = time.monotonic() + 5
    while (tmp_path / "private").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigkill_of_the_supervisor_ends_its_children_and_close_the_rest(processes):
    child = start(processes, "sleeper", "sleep", "300")
    # A grandchild in the same session survives its parent.
    start(processes, "shell", "sh", "-c", "sleep 300 & echo $!; wait")
    grandchild = int(wait_for_text(processes.log("shell")))
    os.kill(processes._supervisor.pid, signal.SIGKILL)
    assert wait_until_gone([child])
    with pytest.raises(DemoError, match="supervisor"):
        processes.poll("sleeper")
    processes.close()
    assert wait_until_gone([grandchild])


def test_failed_command_shows_the_end_of_its_log(processes):
    with pytest.raises(DemoError, match=r"(?s)tool failed \(exit code 3\).*out of cheese"):
        processes.run(
            "tool",
            ["sh", "-c", "echo out of cheese; exit 3"],
            env=dict(os.environ),
            cwd=processes.logs,
        )


def test_a_missing_program_is_an_error(processes):
    with pytest.raises(DemoError, match="tool"):
        start(processes, "tool", "/nonexistent/tool")


def test_waiting_detects_an_early_exit(processes):
    start(processes, "server", "sh", "-c", "echo cannot bind; exit 1")
    with pytest.raises(DemoError, match=r"(?s)server ended.*cannot bind"):
        processes.wait_for("server", lambda: False)


def test_reserved_ports_are_distinct_and_bindable_after_release():
    ports = [Port() for _ in range(20)]
    assert len({port.number for port in ports}) == len(ports)
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port.release()))
