"""Lane assignment: stable, complete, at most ten lanes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.batch import new_batch_id
from sendit.delivery.lanes import assign, lane_of

ids = st.lists(st.from_regex(r"b[0-9a-f]{16}", fullmatch=True), max_size=60)


@given(ids, st.integers(1, 10))
def test_every_batch_is_assigned_to_exactly_one_lane(batch_ids, lanes):
    assigned = assign(batch_ids, lanes)
    assert len(assigned) <= lanes
    assert sorted(b for lane in assigned for b in lane["batches"]) == sorted(set(batch_ids))
    assert all(lane["batches"] for lane in assigned)
    assert json.loads(json.dumps(assigned)) == assigned


@given(ids, ids, st.integers(1, 10))
def test_the_lane_of_a_batch_does_not_depend_on_other_batches(some, others, lanes):
    alone = {b: lane["lane"] for lane in assign(some, lanes) for b in lane["batches"]}
    together = {b: lane["lane"] for lane in assign(some + others, lanes) for b in lane["batches"]}
    assert all(together[batch_id] == lane for batch_id, lane in alone.items())
    assert all(lane == lane_of(batch_id, lanes) for batch_id, lane in together.items())


def test_lane_assignment_is_stable_across_releases():
    assert [lane_of(f"b{n:016x}") for n in range(6)] == [9, 8, 8, 0, 9, 5]


def test_batches_are_spread_evenly_over_lanes():
    sizes = [len(lane["batches"]) for lane in assign(new_batch_id() for _ in range(5000))]
    assert len(sizes) == 10
    assert min(sizes) > 380 and max(sizes) < 620


@pytest.mark.parametrize("lanes", [0, 11])
def test_lane_count_is_limited_to_ten(lanes):
    with pytest.raises(ValueError, match="lanes"):
        assign(["b0"], lanes)
