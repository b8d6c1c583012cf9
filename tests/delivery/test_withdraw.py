"""Withdrawal: what can be withdrawn, and in which order; against a bucket in
tests/tasks/test_upload.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sendit.batch import Status
from sendit.delivery import withdraw as withdrawing
from sendit.delivery.withdraw import withdraw
from sendit.errors import FailBatch

Calls = list[tuple[Any, ...]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A delivered batch, its stored object, and the calls made, in order."""
    calls: Calls = []
    delivery = SimpleNamespace(
        bucket="data", object="name", generation=5, superseded_by=None, withdrawn_at=None
    )
    batch = SimpleNamespace(same_as=None, status=Status.DONE, collection="c-1", run_id="a run")
    state = SimpleNamespace(
        calls=calls,
        delivery=delivery,
        batch=batch,
        there=SimpleNamespace(name="name", generation=5),
        is_of=True,
        left=[],
    )
    state.ledger = SimpleNamespace(
        batch=lambda _: state.batch,
        delivery=lambda _: state.delivery,
        put_withdrawn=lambda *given: calls.append(("written down", *given)),
    )
    fakes = {
        "find": lambda *given: (calls.append(("looked", *given)), state.there)[1],
        "is_of": lambda there, delivery: state.is_of,
        "retract": lambda *given: calls.append(("retracted", *given)),
        "write_manifests": lambda *given: calls.append(("manifests", *given)),
        "remains": lambda *given: (calls.append(("remains", *given)), state.left)[1],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(withdrawing, name, fake)
    return state


def run(site: SimpleNamespace) -> list[str]:
    return withdraw(site.ledger, "storage", "bigquery", "b0", "consent")  # type: ignore[arg-type]


def test_withdrawal_order(site: SimpleNamespace) -> None:
    site.left = ["one earlier version"]
    assert run(site) == ["one earlier version"]
    assert site.calls == [
        ("looked", "storage", "data", "name"),
        ("retracted", site.delivery, "c_1", "storage", "bigquery"),
        ("written down", "b0", "consent"),
        ("manifests", site.ledger, "storage", "data", "a run"),
        ("remains", "storage", "data", "name"),
    ]


def test_withdrawal_is_idempotent(site: SimpleNamespace) -> None:
    site.delivery.withdrawn_at, site.there = 1.0, None
    assert run(site) == []
    assert [each[0] for each in site.calls] == ["looked", "retracted", "manifests", "remains"]


def test_a_batch_without_a_run_has_no_manifest(site: SimpleNamespace) -> None:
    site.batch.run_id = None
    run(site)
    assert "manifests" not in {each[0] for each in site.calls}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": {"same_as": "b7"}}, "has the same content as batch b7"),
        ({"delivery": None}, "is DONE: it has delivered nothing"),
        ({"delivery": {"generation": None}}, "it has delivered nothing"),
        ({"delivery": {"superseded_by": "b9"}}, "replaced by batch b9: withdraw that one"),
        ({"batch": {"status": Status.PROCESSING}}, "is PROCESSING: wait until its run"),
        ({"batch": {"status": Status.QUEUE}}, "is QUEUE: wait"),
        ({"is_of": False}, r"name, has different bytes \(generation 5\)"),
    ],
)
def test_refused_withdrawals_change_nothing(
    site: SimpleNamespace, change: dict[str, Any], message: str
) -> None:
    for what, changed in change.items():
        if isinstance(changed, dict):
            vars(getattr(site, what)).update(changed)
        else:
            setattr(site, what, changed)
    with pytest.raises(FailBatch, match=message):
        run(site)
    assert {each[0] for each in site.calls} <= {"looked"}


def test_a_delivered_batch_in_error_can_be_withdrawn(site: SimpleNamespace) -> None:
    site.batch.status = Status.ERROR
    run(site)
    assert "retracted" in {each[0] for each in site.calls}
