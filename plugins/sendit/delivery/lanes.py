"""Lanes: at most ten parallel uploads, each batch always in the same one.

In the 2017 service trouble began at about ten connections. A batch's lane depends only on a hash
of its id, so that clearing and retrying in Airflow's UI never moves a batch to another lane while
its old lane may still be working.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypedDict

MAX_LANES = 10


class Lane(TypedDict):
    """The input of one mapped upload task group: opaque ids only."""

    lane: int
    batches: list[str]


def lane_of(batch_id: str, lanes: int = MAX_LANES) -> int:
    """Return a batch's lane, from 0 to ``lanes`` - 1."""
    return int.from_bytes(hashlib.sha256(batch_id.encode()).digest()[:8], "big") % lanes


def assign(batch_ids: Iterable[str], lanes: int = MAX_LANES) -> list[Lane]:
    """Assign batches to lanes; empty lanes are left out.

    Parameters
    ----------
    batch_ids
        Opaque ids; duplicates count once.
    lanes
        Number of lanes, 1 to 10.

    Raises
    ------
    ValueError
        ``lanes`` is out of range.
    """
    if not 1 <= lanes <= MAX_LANES:
        raise ValueError(f"1 to {MAX_LANES} lanes")
    assigned: dict[int, list[str]] = {}
    for batch_id in sorted(set(batch_ids)):
        assigned.setdefault(lane_of(batch_id, lanes), []).append(batch_id)
    return [Lane(lane=lane, batches=assigned[lane]) for lane in sorted(assigned)]
