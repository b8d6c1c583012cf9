"""What people do in Airflow, or beside it, while a run goes on and after it."""

from __future__ import annotations

import json
import random
import subprocess
import time
import urllib.error
from collections.abc import Mapping, Sequence
from contextlib import suppress

from demo.processes import DemoError
from demo.stack import DAG_ID

from chaos.faults import Fault, Run
from chaos.site import FINAL_RUN, ChaosSite

#: Of an action's seed: how often something is killed in the same round.
WITH_A_KILL = 0.35
#: Longest that a run may take to its end.
RUN_SECONDS = 240.0
UNDER_WAY = "('NEW', 'PROCESSING', 'DONEPROCESSING')"


def before(site: ChaosSite, fault: Fault, conf: Mapping[str, object]) -> None:
    """Do what is done before the run is triggered."""
    if fault.target == "tasks test":
        params = {key: value for key, value in conf.items() if key != "revise"}
        command = [str(site.airflow_bin / "airflow"), "tasks", "test", DAG_ID, "discover"]
        subprocess.run(
            [*command, "--task-params", json.dumps(params)],
            env=site.environment,
            check=False,
            capture_output=True,
            timeout=180,
        )


def act(site: ChaosSite, fault: Fault, run: Run, rng: random.Random) -> set[str]:
    """Do what is done while the run goes on, or after its end.

    Returns
    -------
    set of str
        Runs whose colour a person has set, or that are gone.
    """
    if fault.moment:
        time.sleep(max(0.0, run.started + fault.moment - time.monotonic()))
    elif fault.target in {"requeue", "withdraw"}:
        site.wait_for_run(run.run_id, RUN_SECONDS)
    marked = set()
    if fault.target == "delete dag":
        marked = {each["dag_run_id"] for each in site.runs()}
        site.patient_api("DELETE", f"/dags/{DAG_ID}")
        site.wait_until_parsed()
    elif "run" in fault.target or " task" in fault.target:
        marked = {run.run_id}
        _in_the_grid(site, fault.target, run, rng)
    elif fault.target in {"pause", "connection away"}:
        _for_a_while(site, fault)
    else:
        _by_command(site, fault.target, run, rng)
    return marked


def _in_the_grid(site: ChaosSite, action: str, run: Run, rng: random.Random) -> None:
    """Mark or delete the run, or one of its tasks."""
    if action.startswith("mark run"):
        state = action.rpartition(" ")[2]
        site.patient_api("PATCH", site.run_path(run.run_id), {"state": state})
    elif action.startswith("delete run"):
        _delete_run(site, run.run_id)
        if action.endswith("again"):
            site.trigger_as(run.run_id, run.conf)
    else:
        _task(site, action, run.run_id, rng)


def _for_a_while(site: ChaosSite, fault: Fault) -> None:
    """Pause the DAG, or have the connections away, for some seconds."""
    if fault.target == "pause":
        site.pause(paused=True)
        time.sleep(fault.seconds)
        site.pause(paused=False)
    else:
        site.hide_connections()
        time.sleep(fault.seconds)
        site.show_connections()


def _by_command(site: ChaosSite, action: str, run: Run, rng: random.Random) -> None:
    """Queue a batch again that is under way or failed, or withdraw one that was delivered."""
    if action == "requeue":
        batch = _one_of(
            site,
            f"SELECT id FROM batches WHERE status IN {UNDER_WAY} OR status = 'ERROR' ORDER BY id",
            rng,
        )
    else:
        batch = _one_of(
            site,
            "SELECT b.id FROM batches b JOIN deliveries d ON d.batch_id = b.id WHERE"
            f" b.run_id = '{run.run_id}' AND b.status = 'DONE' AND d.superseded_by IS NULL"
            " AND d.replaces IS NULL ORDER BY b.id",
            rng,
        )
        if action == "withdraw" and batch is not None:
            site.sendit("withdraw", batch, "--reason", "chaos")
    if action in {"requeue", "withdraw"} and batch is not None:
        site.sendit("requeue", batch)


def _one_of(site: ChaosSite, sql: str, rng: random.Random) -> str | None:
    found = [str(row["id"]) for row in site.ledger(sql)]
    return rng.choice(found) if found else None


def _delete_run(site: ChaosSite, run_id: str) -> None:
    """Delete a run; one that is running has to be marked first."""
    with suppress(urllib.error.HTTPError):
        if site.run_state(run_id) not in FINAL_RUN:
            site.patient_api("PATCH", site.run_path(run_id), {"state": "failed"})
    site.patient_api("DELETE", site.run_path(run_id))


def _task(site: ChaosSite, action: str, run_id: str, rng: random.Random) -> None:
    """Mark or delete one of the task instances that there are."""
    instances = sorted((each["task_id"], each["map_index"]) for each in site.task_instances(run_id))
    if not instances:
        return
    name, index = rng.choice(instances)
    path = f"{site.run_path(run_id)}/taskInstances/{name}"
    with suppress(urllib.error.HTTPError):  # it changed its state meanwhile
        if action == "delete task":
            site.patient_api("DELETE", f"{path}?map_index={index}")
        else:
            body = {"new_state": action.rpartition(" ")[2]}
            site.patient_api("PATCH", f"{path}/{index}" if index >= 0 else path, body)


def settle(site: ChaosSite, confs: Sequence[Mapping[str, object]], tries: int) -> int:
    """Do what a person does in the end: wait for all runs, queue again what failed, and start
    one more run of each folder, until one ends well.

    Returns
    -------
    int
        How often it took more than one.
    """
    site.show_connections()
    site.pause(paused=False)
    for count in range(tries):
        for each in site.runs():
            if each["state"] not in FINAL_RUN:
                site.wait_for_run(each["dag_run_id"], RUN_SECONDS)
        for batch in site.ledger("SELECT id FROM batches WHERE status = 'ERROR' ORDER BY id"):
            site.sendit("requeue", batch["id"])
        states = []
        for conf in confs:
            states.append(site.wait_for_run(site.trigger(conf), RUN_SECONDS))
        if set(states) == {"success"}:
            return count
    raise DemoError(f"no quiet run ended well in {tries} tries")


def falsely_green(site: ChaosSite, marked: set[str]) -> list[str]:
    """Return the runs that ended green although a task of theirs failed."""
    found = []
    for run in site.runs():
        name = run["dag_run_id"]
        if run["state"] != "success" or name in marked:
            continue
        failed = [
            each["task_id"]
            for each in site.task_instances(name)
            if each["state"] in {"failed", "upstream_failed"}
        ]
        if failed:
            found.append(f"the run {name} is green, but {', '.join(failed)} failed")
    return found
