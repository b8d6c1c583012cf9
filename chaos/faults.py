"""The faults of a round: chosen by the seed, injected at a given moment, and repaired."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from chaos.proxy import BREAKS
from chaos.site import FINAL_RUN, POLL_SECONDS, PROXIED, ChaosSite
from demo.processes import DemoError
from sendit.crashpoint import POINTS, arm

OTHER_DATE = "revised, under another date"
#: Crash points that only a revision passes, by what else is required.
REVISED = {
    "revised": ("archives: superseded",),
    OTHER_DATE: (
        "confirm: superseded",
        "take back: row deleted",
        "take back: object deleted",
    ),
}
#: Crash points that no round passes: they have tests of their own.
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
#: User actions; a number is the maximum duration in seconds.
PEOPLE = {
    "mark run failed": 0,
    "mark run success": 0,
    "mark task failed": 0,
    "mark task success": 0,
    "mark task skipped": 0,
    "delete run": 0,
    "delete run, same id again": 0,
    "delete task": 0,
    "delete dag": 0,
    "tasks test": 0,
    "pause": 10,
    "connection away": 15,
    "two studies": 0,
    "requeue": 0,
    "requeue what a run left": 0,
    "withdraw": 0,
    "clear run": 0,
    "clear task, with what came before": 0,
    "mark group failed": 0,
    "mark group success": 0,
    "mark group skipped": 0,
    "edit xcom": 0,
    "delete xcom": 0,
    "dags test": 0,
    "backfill": 0,
}
AFTERWARDS = ("withdraw",)
#: Actions that need a running batch, of which there may be none after something was killed and :
#: restarted.
BEFORE_A_KILL = ("requeue", "requeue what a run left")
KINDS = {"crash": 5, "kill": 5, "stop": 2, "break": 5, "clear": 4, "second run": 2}
#: The latest part of a run at which a fault is injected, if nothing is left for it later.
LATEST = {"dasher": 0.35, "storage": 0.75, "bigquery": 0.75, "task": 0.9, "all tasks": 0.9}
LATEST |= {"requeue": 0.5, "requeue what a run left": 0.6, "mark task": 0.9, "delete task": 0.9}
LATEST |= {"mark group": 0.8, "edit xcom": 0.8, "delete xcom": 0.8}
#: Maximum wait for a target, in seconds.
PATIENCE = 60.0


@dataclass(frozen=True)
class Fault:
    """One fault: kind, target, moment (part of the run that has passed; 0: none, or all), and
    duration (seconds).
    """

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
        return f"at {self.moment:.0%} of the run" if self.moment else "after the run"


@dataclass(frozen=True)
class Run:
    """A run of the DAG: its id, its params, when it was triggered (monotonic, seconds), and its
    expected duration, from earlier runs (seconds).
    """

    run_id: str
    conf: Mapping[str, object]
    started: float
    length: float

    def wait_until(self, moment: float) -> None:
        """Wait until this part of the run has passed."""
        time.sleep(max(0.0, self.started + moment * self.length - time.monotonic()))


def person(seed: int, number: int) -> str | None:
    """Return the user action of a round, one in every second round, in a shuffled order in which
    all occur before any repeats.
    """
    if number % 2:
        return None
    deal, place = divmod(number // 2, len(PEOPLE))
    cards = list(PEOPLE)
    random.Random(f"{seed} people {deal}").shuffle(cards)
    return cards[place]


def choose(rng: random.Random, extra: str = "", action: str | None = None) -> Fault:
    """Choose a round's fault; ``extra`` is what else the round contains, ``action`` the user
    action.
    """
    if action is not None:
        return _of_a_person(rng, action)
    if extra in REVISED and rng.random() < 0.5:
        return Fault("crash", rng.choice(REVISED[extra]))
    kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    moment = rng.uniform(0.03, 1.0)
    match kind:
        case "crash":
            fault = Fault(kind, rng.choice(CRASHES))
        case "kill":
            fault = kill(rng)
        case "stop":
            fault = Fault(kind, rng.choice(STOPPED), moment, rng.uniform(1.0, 20.0))
        case "break":
            target, how = rng.choice(PROXIED), rng.choice(list(BREAKS))
            moment *= LATEST[target]
            fault = Fault(kind, target, moment, how=how, calls=rng.choice((1, 1, 2, 5)))
        case "clear":
            target = "one task, with what follows" if rng.random() < 0.6 else "one task alone"
            fault = Fault(kind, target, moment if rng.random() < 0.5 else 0.0)
        case _:
            fault = Fault(kind, "over the same folders", moment)
    return fault


def _of_a_person(rng: random.Random, action: str) -> Fault:
    """Choose the moment and duration of a user action."""
    task = action.removesuffix(" failed").removesuffix(" success").removesuffix(" skipped")
    moment = rng.uniform(0.03, 1.0) * LATEST.get(task, 1.0)
    seconds = rng.uniform(1.0, PEOPLE[action]) if PEOPLE[action] else 0.0
    return Fault("person", action, 0.0 if action in AFTERWARDS else moment, seconds)


def kill(rng: random.Random) -> Fault:
    """Choose a process to kill during a user action."""
    return _kill(rng, KILLED)


def kill_server(rng: random.Random) -> Fault:
    """Choose a process to kill that exists even if no task is running."""
    return _kill(rng, tuple(name for name in KILLED if name not in {"task", "all tasks"}))


def _kill(rng: random.Random, targets: tuple[str, ...]) -> Fault:
    target = rng.choice(targets)
    moment = rng.uniform(0.03, 1.0) * LATEST.get(target, 1.0)
    return Fault("kill", target, moment, rng.uniform(0.2, 6.0))


def do(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> str | None:
    """Inject the fault while the run is active, and repair it.

    Returns the id of another run, if the action started one.
    """
    if fault.when in {"when reached", "after the run"}:
        return None
    run.wait_until(fault.moment)
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
        return _kill_tasks(site, run, rng, every=fault.target == "all tasks")
    else:
        name = fault.target.removesuffix(" with its workers")
        alone = fault.target == "scheduler"
        site.kill_server(name, with_children=not alone)
        time.sleep(fault.seconds)
        site.restart(name)
    return None


def _kill_tasks(site: ChaosSite, run: Run, rng: random.Random, *, every: bool) -> str | None:
    """Kill one of the running tasks, or all; wait until there are some.

    Returns the id of another run if one was needed: the run had ended sooner than earlier ones.
    """
    killed, another = 0, None
    deadline = time.monotonic() + PATIENCE
    while not killed and time.monotonic() < deadline:
        pids = site.task_pids()
        rng.shuffle(pids)
        for pid in pids if every else pids[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if not pids and another is None and site.run_state(run.run_id) in FINAL_RUN:
            another = site.trigger(run.conf)
        time.sleep(0.05 if pids else POLL_SECONDS / 4)
    if not killed:
        raise DemoError("no task was at work that could be killed")
    return another


def prepare(site: ChaosSite, fault: Fault) -> None:
    """Do what precedes the run."""
    if fault.kind == "crash":
        arm(site.armed, fault.target)
    if fault.target == "dasher":
        site.expire_token()


def after(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> bool:
    """Do what follows the run's end; return whether there was anything to do."""
    if fault.kind != "clear" or fault.moment:
        return False
    _clear(site, fault, run.run_id, rng)
    return True


def _clear(site: ChaosSite, fault: Fault, run_id: str, rng: random.Random) -> None:
    """Clear one of the started tasks; wait until there are some."""
    deadline = time.monotonic() + PATIENCE
    while not (instances := site.started(run_id)):
        if time.monotonic() > deadline:
            raise DemoError("no task had started that could be cleared")
        time.sleep(0.5)
    name, index = rng.choice(instances)
    site.clear(run_id, name, index, downstream=fault.target.endswith("follows"))
