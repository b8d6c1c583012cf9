"""The faults chosen for a seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from chaos.faults import (
    CRASHES,
    ELSEWHERE,
    KILLED,
    LATEST,
    PEOPLE,
    REVISED,
    STOPPED,
    Fault,
    choose,
    kill_server,
    person,
)
from chaos.proxy import BREAKS
from sendit.crashpoint import POINTS


def chosen(seed: int, rounds: int) -> list[str]:
    return [f"{(fault := _choose(seed, number))}, {fault.when}" for number in range(1, rounds + 1)]


def _choose(seed: int, number: int) -> Fault:
    return choose(random.Random(f"{seed}-{number}"), action=person(seed, number))


def test_faults_are_deterministic_for_a_seed():
    assert chosen(7, 50) == chosen(7, 50)
    assert chosen(7, 50) != chosen(8, 50)


def test_every_kind_of_fault_occurs():
    text = "\n".join(chosen(7, 2000))
    for name in (*CRASHES, *BREAKS, *KILLED, *STOPPED, *PEOPLE, "with what follows", "alone"):
        assert name in text


@pytest.mark.parametrize("seed", [7, 16])
def test_every_user_action_occurs_before_any_repeats(seed: int):
    first = 2 * len(PEOPLE)
    dealt = [person(seed, number) for number in range(first, 2 * first)]
    assert sorted(filter(None, dealt)) == sorted(PEOPLE)
    assert dealt.count(None) == len(PEOPLE)


def test_call_faults_happen_while_calls_are_made():
    for number in range(1, 500):
        fault = _choose(7, number)
        if fault.kind == "break":
            assert 0.0 < fault.moment <= LATEST[fault.target]


def test_processes_killed_during_a_batch_action_always_exist():
    targets = {kill_server(random.Random(number)).target for number in range(500)}
    assert targets == {*KILLED} - {"task", "all tasks"}


def test_revisions_crash_at_revision_only_points():
    for extra, points in REVISED.items():
        chosen = {choose(random.Random(number), extra).target for number in range(200)}
        assert chosen >= set(points)


def test_excluded_crash_points_exist():
    assert set(POINTS) >= ELSEWHERE


def test_the_harness_registers_one_dag():
    folder = Path(__file__).parents[2] / "chaos" / "dags"
    bag = DagBag(str(folder))
    assert bag.import_errors == {}
    assert list(bag.dags) == ["sendit"]
    assert bag.dags["sendit"].max_active_runs == 2
    assert bag.dagbag_stats[0].dag_num == 1
