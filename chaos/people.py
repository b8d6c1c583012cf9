"""User actions in Airflowor outside it, during and after a run."""

from __future__ import annotations

import http
import json
import random
import subprocess
import time
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from chaos.faults import Fault, Run
from chaos.site import FINAL_RUN, ChaosSite
from demo.processes import DemoError
from demo.stack import DAG_ID

#: How often, by the action's seed, a process is killed in the same round.
WITH_A_KILL = 0.35
#: Maximum duration of a run.
RUN_SECONDS = 600.0
#: Maximum wait for what an action needs, in seconds.
PATIENCE = 120.0
#: Attempts of an action that came too late.
ATTEMPTS = 3
T = TypeVar("T")
UNDER_WAY = "('NEW', 'PROCESSING', 'DONEPROCESSING')"


class TooLate(DemoError):
    """The run ended before what the action needs existed: nothing was done."""


def before(site: ChaosSite, fault: Fault, conf: Mapping[str, object]) -> None:
    """Do what precedes triggering the run."""
    if fault.target == "dags test":
        _dags_test(site, conf)
    if fault.target == "tasks test":
        _tasks_test(site, {key: value for key, value in conf.items() if key != "revise"})


def _tasks_test(site: ChaosSite, params: Mapping[str, object]) -> None:
    """Run discover alone, which takes batches for a run that Airflow deletes afterwards.

    Airflow's exit code is not reliable: while deleting the run, it may conflict with the
    scheduler, which processes it at the same time ("deadlock detected").
    """
    command = [str(site.airflow_bin / "airflow"), "tasks", "test", DAG_ID, "discover"]
    done = subprocess.run(
        [*command, "--task-params", json.dumps(params)],
        env=site.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    (site.logs / "tasks-test.log").write_text(done.stdout + done.stderr)
    taken = site.ledger(
        f"SELECT id FROM batches WHERE subfolder = '{params['subfolder']}'"
        " AND run_id LIKE '%temporary_run%'"
    )
    if not taken:
        raise DemoError("airflow tasks test took no batch, see tasks-test.log")


def _dags_test(site: ChaosSite, conf: Mapping[str, object]) -> None:
    """Run the whole DAG in one process, as authors do, alongside the scheduler.

    The run's result is not checked: it may conflict with the scheduler, which sees it in the
    database, too.
    """
    command = [str(site.airflow_bin / "airflow"), "dags", "test", DAG_ID, "-c", json.dumps(conf)]
    done = subprocess.run(
        command, env=site.environment, check=False, capture_output=True, text=True,
        timeout=RUN_SECONDS,
    )  # fmt: skip
    (site.logs / "dags-test.log").write_text(done.stdout + done.stderr)
    if not site.ledger(f"SELECT id FROM batches WHERE subfolder = '{conf['subfolder']}'"):
        raise DemoError("airflow dags test took no batch, see dags-test.log")


def act(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> set[str]:
    """Perform an action during the run or after its end.

    Returns
    -------
    set of str
        Runs whose state was set by a person, or that are gone.

    Raises
    ------
    TooLate
        The run ended before it could be done.
    DemoError
        It was not done: Airflow or sendit refused it.
    """
    if fault.moment:
        run.wait_until(fault.moment)
    marked = {run.run_id}
    match fault.target:
        case "mark run failed" | "mark run success":
            _mark_run(site, run.run_id, fault.target.rpartition(" ")[2])
        case "delete run":
            _delete_run(site, run.run_id)
        case "delete run, same id again":
            _delete_run(site, run.run_id)
            site.trigger_as(run.run_id, run.conf)
        case "mark task failed" | "mark task success" | "mark task skipped" | "delete task":
            _task(site, fault.target, run, rng)
        case "mark group failed" | "mark group success" | "mark group skipped":
            _mark_group(site, run, fault.target.rpartition(" ")[2], rng)
        case "edit xcom" | "delete xcom":
            _change_xcom(site, run, rng, delete=fault.target == "delete xcom")
        case "delete dag":
            marked = {each["dag_run_id"] for each in site.recent_runs()}
            _delete_dag(site)
        case "requeue what a run left":
            _requeue_left(site, run, rng)
        case _:
            marked = set()
            _other(site, fault, run, rng)
    return marked


def _other(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> None:
    """Perform an action that does not set a run's state."""
    match fault.target:
        case "pause":
            site.pause(paused=True)
            time.sleep(fault.seconds)
            site.pause(paused=False)
        case "connection away":
            site.hide_connections()
            time.sleep(fault.seconds)
            site.show_connections()
        case "requeue":
            _requeue_under_way(site, run, rng)
        case "withdraw":
            _withdraw(site, run, rng)
        case "clear run":
            body = {"dry_run": False, "only_failed": False}
            site.patient_api("POST", f"{site.run_path(run.run_id)}/clear", body)
        case "clear task, with what came before":
            started = _while_under_way(
                site, run, lambda: site.started(run.run_id), "a task to start"
            )
            name, index = rng.choice(started)
            site.clear(run.run_id, name, index, downstream=True, upstream=True)
        case "backfill":
            _backfill(site)
        case "tasks test" | "dags test" | "two studies":
            pass  # done before and during the run
        case unknown:
            raise AssertionError(unknown)


def _until(find: Callable[[], T], what: str) -> T:
    """Poll until something is found, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (result := find()):
        if time.monotonic() > deadline:
            raise DemoError(f"timed out after {PATIENCE:g} s waiting for {what}")
        time.sleep(0.2)
    return result


def _while_under_way(site: ChaosSite, run: Run, find: Callable[[], T], what: str) -> T:
    """Poll until something is found, and return it, while the run is active."""
    deadline = time.monotonic() + PATIENCE
    while True:
        # Checked first: the run may end in the meantime.
        is_over = site.run_state(run.run_id) in FINAL_RUN
        if result := find():
            return result
        if is_over:
            raise TooLate(f"the run ended while waiting for {what}")
        if time.monotonic() > deadline:
            raise DemoError(f"timed out after {PATIENCE:g} s waiting for {what}")
        time.sleep(0.2)


def _mark_run(site: ChaosSite, run_id: str, state: str) -> None:
    run = site.patient_api("PATCH", site.run_path(run_id), {"state": state})
    if run["state"] != state:
        raise DemoError(f"the run is {run['state']}, and was marked {state}")


def _delete_run(site: ChaosSite, run_id: str) -> None:
    """Delete a run; a running one has to be marked first."""
    if site.run_state(run_id) not in FINAL_RUN:
        _mark_run(site, run_id, "failed")
    site.patient_api("DELETE", site.run_path(run_id))


def _delete_dag(site: ChaosSite) -> None:
    """Delete the DAG; Airflow requires that its tasks have ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for each in site.recent_runs():
            if each["state"] not in FINAL_RUN:
                _mark_run(site, each["dag_run_id"], "failed")
        try:
            site.patient_api("DELETE", f"/dags/{DAG_ID}")
            break
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.CONFLICT or time.monotonic() > deadline:
                raise
            time.sleep(1.0)
    # The parser would find it again only in the file's turn: a restart does so immediately.
    site.kill_server("dag-processor", with_children=True)
    site.restart("dag-processor")
    site.wait_until_parsed()


def _task(site: ChaosSite, action: str, run: Run, rng: random.Random) -> None:
    """Mark or delete one of the existing task instances."""
    run_id = run.run_id
    is_over = site.run_state(run_id) in FINAL_RUN
    instances = [
        (each["task_id"], each["map_index"], each["state"]) for each in site.task_instances(run_id)
    ]
    instances.sort(key=str)
    rng.shuffle(instances)
    wanted = action.rpartition(" ")[2]
    for name, index, state in instances:
        if state in {wanted, "removed"}:
            continue
        path = f"{site.run_path(run_id)}/taskInstances/{name}"
        try:
            if action == "delete task":
                site.patient_api("DELETE", f"{path}?map_index={index}")
            else:
                path = f"{path}/{index}" if index >= 0 else path
                site.patient_api("PATCH", path, {"new_state": wanted})
        except urllib.error.HTTPError as error:
            if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            continue  # its state has changed, or it was expanded, in the meantime
        return
    kind = TooLate if is_over else DemoError
    raise kind(f"{action}: none of {len(instances)} task instances let it be done")


def _mark_group(site: ChaosSite, run: Run, state: str, rng: random.Random) -> None:
    """Mark a whole task group as soon as one of its task instances is in another state."""
    run_id = run.run_id
    groups = ["process", "upload"]
    rng.shuffle(groups)

    def marked() -> bool:
        for group in groups:
            instances = [
                each
                for each in site.task_instances(run_id)
                if each["task_id"].startswith(f"{group}.") and each["state"] not in {state, None}
            ]
            if not instances:
                continue
            path = f"{site.run_path(run_id)}/taskGroupInstances/{group}"
            try:
                site.patient_api("PATCH", path, {"new_state": state})
            except urllib.error.HTTPError as error:
                if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                continue  # its state has changed, or it was expanded, in the meantime
            return True
        return False

    _while_under_way(site, run, marked, f"a task group that can be marked {state}")


#: Tasks whose results are used by others.
WITH_RESULTS = ("discover", "process.import", "process.dasher", "process.anonymize", "collect")


def _change_xcom(site: ChaosSite, run: Run, rng: random.Random, *, delete: bool) -> None:
    """Change or delete the return value of a task."""
    run_id = run.run_id

    def entries() -> list[tuple[str, int]]:
        page = site.patient_api("GET", f"{site.run_path(run_id)}/taskInstances/~/xcomEntries")
        return sorted(
            (each["task_id"], each["map_index"])
            for each in page["xcom_entries"]
            if each["key"] == "return_value" and each["task_id"] in WITH_RESULTS
        )

    task, index = rng.choice(_while_under_way(site, run, entries, "a task to return a value"))
    path = f"{site.run_path(run_id)}/taskInstances/{task}/xcomEntries/return_value"
    if delete:
        site.patient_api("DELETE", f"{path}?map_index={index}")
        return
    value = site.patient_api("GET", f"{path}?map_index={index}&deserialize=true")["value"]
    others = [str(row["id"]) for row in site.ledger("SELECT id FROM batches ORDER BY id")]
    body = {"value": _other_value(value, others, rng), "map_index": index}
    site.patient_api("PATCH", path, body)


def _other_value(value: object, others: Sequence[str], rng: random.Random) -> object:
    """Return a result in the form of another: one batch less, or that of another run."""
    if isinstance(value, str):
        return rng.choice(others)
    if not isinstance(value, list):
        raise DemoError(f"a result of another form: {type(value).__name__}")
    if value and isinstance(value[0], dict):
        return [each | {"batches": each["batches"][1:]} for each in value]
    return [*value[1:], rng.choice(others)]


def _backfill(site: ChaosSite) -> None:
    """Backfill a past day: the run that Airflow creates takes batches like any other."""
    day = f"2026-01-{10 + len(site.recent_runs()) % 15}T00:00:00Z"
    body = {
        "dag_id": DAG_ID,
        "from_date": day,
        "to_date": day,
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    site.patient_api("POST", "/backfills", body)


def _ids(site: ChaosSite, where: str) -> list[str]:
    return [str(row["id"]) for row in site.ledger(f"SELECT b.id FROM batches b {where}")]


def _requeue_under_way(site: ChaosSite, run: Run, rng: random.Random) -> None:
    """Requeue a batch that the run is processing."""
    where = f"WHERE run_id = '{run.run_id}' AND status IN {UNDER_WAY} ORDER BY id"
    for _ in range(ATTEMPTS):
        under_way = _while_under_way(site, run, lambda: _ids(site, where), "a batch in progress")
        if not site.sendit("requeue", rng.choice(under_way)):
            return
    raise DemoError("sendit requeue refused a batch that was under way, see sendit.log")


def _requeue_left(site: ChaosSite, run: Run, rng: random.Random) -> None:
    """Mark the run failed, wait until its tasks have ended, and requeue what it left."""
    where = f"WHERE run_id = '{run.run_id}' AND status IN {UNDER_WAY} ORDER BY id"
    _while_under_way(site, run, lambda: _ids(site, where), "a batch in progress")
    _mark_run(site, run.run_id, "failed")
    working = {"running", "restarting"}
    _until(
        lambda: all(each["state"] not in working for each in site.task_instances(run.run_id)),
        "the run's tasks to end",
    )
    left = _ids(site, where)
    if not left:
        raise TooLate("the run had left nothing to queue again")
    if site.sendit("requeue", rng.choice(left)):
        raise DemoError("sendit requeue refused a batch that a run left, see sendit.log")


def _withdraw(site: ChaosSite, run: Run, rng: random.Random) -> None:
    """Withdraw a batch delivered in this round, and requeue it."""
    where = (
        "JOIN deliveries d ON d.batch_id = b.id WHERE b.status = 'DONE'"
        f" AND b.subfolder = '{run.conf['subfolder']}' AND d.superseded_by IS NULL"
        " AND d.replaces IS NULL AND d.withdrawn_at IS NULL ORDER BY b.id"
    )
    run_id = run.run_id
    for _ in range(ATTEMPTS):
        site.wait_for_run(run_id, RUN_SECONDS)
        delivered = _ids(site, where)
        if delivered:
            batch = rng.choice(delivered)
            if site.sendit("withdraw", batch, "--reason", "chaos") or site.sendit("requeue", batch):
                raise DemoError("withdraw or requeue refused it, see sendit.log")
            return
        run_id = site.trigger(run.conf)  # the killed process has failed all of the first ones
    raise DemoError("there was nothing to withdraw")


def settle(site: ChaosSite, confs: Sequence[Mapping[str, object]], tries: int) -> int:
    """Do what a person does in the end: wait for all runs, requeue what failed, and start one more
    run of each folder, until one succeeds.

    Returns
    -------
    int
        The number of additional attempts.
    """
    site.show_connections()
    site.pause(paused=False)
    for count in range(tries):
        while under_way := [
            each["dag_run_id"] for each in site.recent_runs() if each["state"] not in FINAL_RUN
        ]:
            site.wait_for_run(under_way[-1], RUN_SECONDS)
        for batch in site.ledger("SELECT id FROM batches WHERE status = 'ERROR' ORDER BY id"):
            if site.sendit("requeue", batch["id"]):
                raise DemoError(f"{batch['id']} is in ERROR and cannot be queued again")
        states = []
        for conf in confs:
            states.append(site.wait_for_run(site.trigger(conf), RUN_SECONDS))
        if set(states) == {"success"}:
            return count
    raise DemoError(f"no quiet run ended well in {tries} tries")


def falsely_green(site: ChaosSite, marked: set[str]) -> list[str]:
    """Return the last runs that succeeded although one of their tasks failed."""
    violations = []
    for run in site.recent_runs():
        name = run["dag_run_id"]
        if run["state"] != "success" or name in marked:
            continue
        failed = [
            each["task_id"]
            for each in site.task_instances(name)
            if each["state"] in {"failed", "upstream_failed"}
        ]
        if failed:
            violations.append(f"the run {name} is green, but {', '.join(failed)} failed")
    return violations
