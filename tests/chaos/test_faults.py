"""The faults that a seed chooses."""

from __future__ import annotations

import random
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

from chaos.faults import CRASHES, ELSEWHERE, KILLED, PEOPLE, REVISED, STOPPED, choose
from chaos.proxy import BREAKS
from sendit.crashpoint import POINTS


def chosen(seed: int, rounds: int) -> list[str]:
    return [
        f"{(fault := choose(random.Random(f'{seed}-{number}')))}, {fault.when}"
        for number in range(1, rounds + 1)
    ]


def test_a_seed_always_chooses_the_same():
    assert chosen(7, 50) == chosen(7, 50)
    assert chosen(7, 50) != chosen(8, 50)


def test_rounds_reach_every_kind_of_fault():
    text = "\n".join(chosen(7, 2000))
    for name in (*CRASHES, *BREAKS, *KILLED, *STOPPED, *PEOPLE, "with what follows", "alone"):
        assert name in text


def test_a_revision_is_broken_where_only_it_passes():
    for extra, points in REVISED.items():
        found = {choose(random.Random(number), extra).target for number in range(200)}
        assert found >= set(points)


def test_points_that_are_left_out_exist():
    assert set(POINTS) >= ELSEWHERE


def test_the_harness_registers_one_dag():
    folder = Path(__file__).parents[2] / "chaos" / "dags"
    found = DagBag(str(folder))
    assert found.import_errors == {}
    assert list(found.dags) == ["sendit"]
    assert found.dags["sendit"].max_active_runs == 2
    assert found.dagbag_stats[0].dag_num == 1
