"""Lanes: stable, complete, at most ten."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.batch import new_batch_id
from sendit.delivery.lanes import assign, lane_of

ids = st.lists(st.from_regex(r"b[0-9a-f]{16}", fullmatch=True), max_size=60)


@given(ids, st.integers(1, 10))
def test_every_batch_is_dealt_once(batch_ids, lanes):
    dealt = assign(batch_ids, lanes)
    assert len(dealt) <= lanes
    assert sorted(b for lane in dealt for b in lane["batches"]) == sorted(set(batch_ids))
    assert all(lane["batches"] for lane in dealt)
    assert json.loads(json.dumps(dealt)) == dealt


@given(ids, ids, st.integers(1, 10))
def test_company_does_not_change_a_batch_s_lane(some, others, lanes):
    alone = {b: lane["lane"] for lane in assign(some, lanes) for b in lane["batches"]}
    together = {b: lane["lane"] for lane in assign(some + others, lanes) for b in lane["batches"]}
    assert all(together[batch_id] == lane for batch_id, lane in alone.items())
    assert all(lane == lane_of(batch_id, lanes) for batch_id, lane in together.items())


def test_a_lane_stays_what_it_is_from_release_to_release():
    assert [lane_of(f"b{n:016x}") for n in range(6)] == [9, 8, 8, 0, 9, 5]


def test_lanes_are_as_even_as_a_hash_makes_them():
    sizes = [len(lane["batches"]) for lane in assign(new_batch_id() for _ in range(5000))]
    assert len(sizes) == 10
    assert min(sizes) > 380 and max(sizes) < 620


@pytest.mark.parametrize("lanes", [0, 11])
def test_no_more_than_ten_lanes(lanes):
    with pytest.raises(ValueError, match="lanes"):
        assign(["b0"], lanes)
