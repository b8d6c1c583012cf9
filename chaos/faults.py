"""What goes wrong in a round: chosen by the seed, done at a moment, and mended."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from chaos.proxy import BREAKS
from chaos.site import PROXIED, ChaosSite
from sendit.crashpoint import POINTS, arm

OTHER_DATE = "revised, under another date"
#: Points that only a revision passes, by what else comes with it.
REVISED = {
    "revised": ("archives: superseded",),
    OTHER_DATE: (
        "confirm: superseded",
        "take back: row deleted",
        "take back: object deleted",
    ),
}
#: Points that no round passes: tests of their own do.
ELSEWHERE = {
    "confirm: retracted",
    "withdraw: written down",
    "cleanup: set aside",
    "cleanup: originals deleted",
    "discover: taken up",
}
CRASHES = tuple(point for point in POINTS if point not in ELSEWHERE.union(*REVISED.values()))
KILLED = (
    *("scheduler", "scheduler with its workers", "api-server", "dag-processor", "triggerer"),
    *("postgresql", "storage", "bigquery", "dasher", "task", "all tasks"),
)
STOPPED = ("scheduler", "api-server", "postgresql", "storage", "bigquery", "dasher")
#: What people do; with a number, the seconds that it lasts at most.
PEOPLE = {
    "mark run failed": 0,
    "mark run success": 0,
    "mark task failed": 0,
    "mark task success": 0,
    "delete run": 0,
    "delete run, same id again": 0,
    "delete task": 0,
    "delete dag": 0,
    "tasks test": 0,
    "pause": 10,
    "connection away": 15,
    "two studies": 0,
    "requeue": 0,
    "withdraw": 0,
}
KINDS = {"crash": 5, "kill": 5, "stop": 2, "break": 5, "clear": 4, "second run": 2, "person": 23}
#: A run of two batches takes about this long.
RUN_SECONDS = 14.0


@dataclass(frozen=True)
class Fault:
    """One fault: what, to whom, when (seconds after the run was triggered), for how long."""

    kind: str
    target: str
    moment: float = 0.0
    seconds: float = 0.0
    how: str = ""
    calls: int = 0

    def __str__(self) -> str:
        text = f"{self.kind} {self.target}"
        if self.how:
            text += f" ({self.how}, {self.calls} calls)"
        if self.kind in {"kill", "stop"} or (self.kind == "person" and self.seconds):
            text += f" for {self.seconds:.1f} s"
        return text

    @property
    def when(self) -> str:
        """The moment, as text."""
        if self.kind == "crash":
            return "when reached"
        return f"after {self.moment:.1f} s" if self.moment else "after the run"


@dataclass(frozen=True)
class Run:
    """A run of the DAG: its id, its parameters, when it was triggered (monotonic, seconds)."""

    run_id: str
    conf: Mapping[str, object]
    started: float


def choose(rng: random.Random, extra: str = "") -> Fault:
    """Choose a round's fault; ``extra`` is what else the round brings."""
    if extra in REVISED and rng.random() < 0.5:
        return Fault("crash", rng.choice(REVISED[extra]))
    kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    moment = rng.uniform(0.5, RUN_SECONDS)
    match kind:
        case "crash":
            fault = Fault(kind, rng.choice(CRASHES))
        case "kill":
            fault = Fault(kind, rng.choice(KILLED), moment, rng.uniform(0.2, 6.0))
        case "stop":
            fault = Fault(kind, rng.choice(STOPPED), moment, rng.uniform(1.0, 25.0))
        case "break":
            target, how = rng.choice(PROXIED), rng.choice(list(BREAKS))
            fault = Fault(kind, target, moment, how=how, calls=rng.choice((1, 1, 2, 5, 20)))
        case "clear":
            target = "one task, with what follows" if rng.random() < 0.6 else "one task alone"
            fault = Fault(kind, target, moment if rng.random() < 0.5 else 0.0)
        case "person":
            target = rng.choice(list(PEOPLE))
            seconds = rng.uniform(1.0, PEOPLE[target]) if PEOPLE[target] else 0.0
            after = target == "withdraw" or (target == "requeue" and rng.random() < 0.5)
            fault = Fault(kind, target, 0.0 if after else moment, seconds)
        case _:
            fault = Fault(kind, "over the same folders", moment)
    return fault


def kill(rng: random.Random) -> Fault:
    """Choose something to kill beside what a person does."""
    target = rng.choice(KILLED)
    return Fault("kill", target, rng.uniform(0.5, RUN_SECONDS), rng.uniform(0.2, 6.0))


def do(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> str | None:
    """Do what is to be done while the run goes on, and mend it.

    Returns the id of another run, if that is what was done.
    """
    if fault.when in {"when reached", "after the run"}:
        return None
    time.sleep(max(0.0, run.started + fault.moment - time.monotonic()))
    if fault.kind == "second run":
        return site.trigger(run.conf)
    if fault.kind == "clear":
        _clear(site, fault, run.run_id, rng)
    elif fault.kind == "break":
        site.proxies[fault.target].break_next(fault.how, fault.calls)
    elif fault.kind == "stop":
        site.signal_server(fault.target, signal.SIGSTOP)
        try:
            time.sleep(fault.seconds)
        finally:
            site.signal_server(fault.target, signal.SIGCONT)
    elif fault.target in {"task", "all tasks"}:
        pids = site.task_pids()
        rng.shuffle(pids)
        for pid in pids[: None if fault.target == "all tasks" else 1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        name = fault.target.removesuffix(" with its workers")
        alone = fault.target == "scheduler"
        site.kill_server(name, with_children=not alone)
        time.sleep(fault.seconds)
        site.restart(name)
    return None


def prepare(site: ChaosSite, fault: Fault) -> None:
    """Do what is to be done before the run starts."""
    if fault.kind == "crash":
        arm(site.armed, fault.target)
    if fault.target == "dasher":
        site.expire_token()


def after(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> bool:
    """Do what is to be done after the run's end; return whether there was something."""
    if fault.kind != "clear" or fault.moment:
        return False
    _clear(site, fault, run.run_id, rng)
    return True


def _clear(site: ChaosSite, fault: Fault, run_id: str, rng: random.Random) -> None:
    """Clear one of the tasks that have started."""
    instances = sorted(
        (each["task_id"], each["map_index"])
        for each in site.task_instances(run_id)
        if each["state"] not in {"removed", "scheduled", "queued", None}
    )
    if instances:
        name, index = rng.choice(instances)
        site.clear(run_id, name, index, downstream=fault.target.endswith("follows"))
