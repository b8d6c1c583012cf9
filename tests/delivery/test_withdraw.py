"""What may be withdrawn, and that all of it goes; with a real bucket in tests/tasks/test_upload."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sendit.batch import Status
from sendit.delivery import withdraw as withdrawing
from sendit.delivery.withdraw import withdraw
from sendit.errors import FailBatch

Told = list[tuple[Any, ...]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A delivered batch, the object that is there, and what was done, in order."""
    told: Told = []
    delivery = SimpleNamespace(
        bucket="data", object="name", generation=5, superseded_by=None, withdrawn_at=None
    )
    batch = SimpleNamespace(same_as=None, status=Status.DONE, collection="c-1", run_id="a run")
    here = SimpleNamespace(
        told=told,
        delivery=delivery,
        batch=batch,
        there=SimpleNamespace(name="name", generation=5),
        is_of=True,
        left=[],
    )
    here.ledger = SimpleNamespace(
        batch=lambda _: here.batch,
        delivery=lambda _: here.delivery,
        put_withdrawn=lambda *given: told.append(("written down", *given)),
    )
    fakes = {
        "find": lambda *given: (told.append(("looked", *given)), here.there)[1],
        "is_of": lambda there, delivery: here.is_of,
        "retract": lambda *given: told.append(("retracted", *given)),
        "write_manifests": lambda *given: told.append(("manifests", *given)),
        "remains": lambda *given: (told.append(("remains", *given)), here.left)[1],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(withdrawing, name, fake)
    return here


def run(site: SimpleNamespace) -> list[str]:
    return withdraw(site.ledger, "storage", "bigquery", "b0", "consent")  # type: ignore[arg-type]


def test_object_row_and_record_go_in_this_order(site: SimpleNamespace) -> None:
    site.left = ["one earlier version"]
    assert run(site) == ["one earlier version"]
    assert site.told == [
        ("looked", "storage", "data", "name"),
        ("retracted", site.delivery, "c_1", "storage", "bigquery"),
        ("written down", "b0", "consent"),
        ("manifests", site.ledger, "storage", "data", "a run"),
        ("remains", "storage", "data", "name"),
    ]


def test_doing_it_twice_is_doing_it_once(site: SimpleNamespace) -> None:
    site.delivery.withdrawn_at, site.there = 1.0, None
    assert run(site) == []
    assert [each[0] for each in site.told] == ["looked", "retracted", "manifests", "remains"]


def test_a_batch_of_no_run_has_no_manifest(site: SimpleNamespace) -> None:
    site.batch.run_id = None
    run(site)
    assert "manifests" not in {each[0] for each in site.told}


@pytest.mark.parametrize(
    ("change", "said"),
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
def test_what_may_not_be_withdrawn_stays_as_it_is(
    site: SimpleNamespace, change: dict[str, Any], said: str
) -> None:
    for what, changed in change.items():
        if isinstance(changed, dict):
            vars(getattr(site, what)).update(changed)
        else:
            setattr(site, what, changed)
    with pytest.raises(FailBatch, match=said):
        run(site)
    assert {each[0] for each in site.told} <= {"looked"}


def test_a_batch_in_error_that_has_delivered_may_be(site: SimpleNamespace) -> None:
    site.batch.status = Status.ERROR
    run(site)
    assert "retracted" in {each[0] for each in site.told}
