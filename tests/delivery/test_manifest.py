"""Run manifests: what they record for each batch, and to which buckets they are written."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sendit import __version__
from sendit.batch import Status
from sendit.deidentify.losses import counted
from sendit.delivery import manifest, objects
from sendit.digests import short_digest
from sendit.errors import FailBatch, SenditError
from sendit.ledger import Delivery

RUN = "manual__1"
DELIVERED = Delivery(
    batch_id="b0",
    bucket="data",
    object="Collection/c/Entity/p/p_20100209_s.tar.gz",
    size=7,
    crc32c="AAAAAA==",
    md5="BBBB",
    members=3,
    recipe_digest="0" * 64,
    engine="2",
    revision=4,
    generation=5,
    rows_at=1.0,
)
TALLY = {"received": 5, "delivered": 3, "filtered": 2}


def batch(number: int, **changed: Any) -> Any:
    known = {
        "id": f"b{number}",
        "run_id": RUN,
        "collection": "c",
        "status": Status.DONE,
        "tally": TALLY,
        "reasons": {"filtered": {"a dose page": 2}},
        "actions": {"kept": 7} | counted({"diffusion": 3}),
        "same_as": None,
    }
    return SimpleNamespace(**known | changed)


class LedgerStandin:
    """Batches by run, and their deliveries."""

    def __init__(self, batches: list[Any], deliveries: list[Delivery]) -> None:
        self._batches = batches
        self._deliveries = {each.batch_id: each for each in deliveries}
        self.id = "a ledger"

    def batches_of_run(self, run_id: str) -> list[Any]:
        return [each for each in self._batches if each.run_id == run_id]

    def batch(self, batch_id: str) -> Any:
        return next(each for each in self._batches if each.id == batch_id)

    def delivery(self, batch_id: str) -> Delivery | None:
        return self._deliveries.get(batch_id)


@pytest.fixture(autouse=True)
def _ledger_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ledger_digest", lambda ledger: f"digest of {ledger.id}")


def test_manifest_contents() -> None:
    ledger: Any = LedgerStandin(
        [batch(0), batch(1, status=Status.ERROR, same_as="b7"), batch(2, collection="other")],
        [DELIVERED],
    )
    first, other = manifest.manifests_of(ledger, RUN)
    warnings = [
        "private diffusion attributes were not kept: tools that compute with them may get wrong: "
        "b-values and gradient directions"
    ]
    shared = {"reasons": {"filtered": {"a dose page": 2}}, "warnings": warnings, **TALLY}
    assert first == {
        "manifest": 1,
        "run": RUN,
        "collection": "c",
        "ledger": "digest of a ledger",
        "sendit": __version__,
        "totals": {"received": 10, "delivered": 6, "filtered": 4},
        "batches": [
            {
                "batch": "b0",
                "status": "DONE",
                "same_as": None,
                "archive": {
                    "state": "delivered",
                    "superseded_by": None,
                    "bucket": "data",
                    "name": "Collection/c/Entity/p/p_20100209_s.tar.gz",
                    "generation": 5,
                    "size": 7,
                    "crc32c": "AAAAAA==",
                    "md5": "BBBB",
                    "images": 3,
                    "revision": 4,
                    "recipe": "0" * 64,
                    "engine": "2",
                },
                **shared,
            },
            {"batch": "b1", "status": "ERROR", "same_as": "b7", "archive": None, **shared},
        ],
    }
    assert (other["collection"], other["totals"]) == ("other", TALLY)
    assert manifest.manifests_of(ledger, "another run") == []


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "delivered"),
        ({"superseded_by": "b9"}, "superseded"),
        ({"withdrawn_at": 2.0}, "withdrawn"),
        ({"withdrawn_at": 2.0, "superseded_by": "b9"}, "withdrawn"),
        ({"rows_at": None}, None),
    ],
)
def test_archive_state_in_the_manifest(changed: dict[str, Any], state: str | None) -> None:
    ledger: Any = LedgerStandin([batch(0)], [replace(DELIVERED, **changed)])
    archive = manifest.manifests_of(ledger, RUN)[0]["batches"][0]["archive"]
    assert (archive and archive["state"]) == state
    assert archive is None or archive["superseded_by"] == changed.get("superseded_by")


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The objects written: bucket, name, bytes, content type."""
    written: list[tuple[Any, ...]] = []

    def write(client: Any, bucket: str, name: str, *rest: Any) -> None:
        assert client == "storage"
        if "refused" in name:
            raise FailBatch("a hold")
        written.append((bucket, name, *rest))

    monkeypatch.setattr(objects, "put", write)
    return written


def name_of(collection: str, run_id: str) -> str:
    return f"Collection/{collection}/Manifest/{short_digest(run_id)}.json"


def test_manifest_is_written_to_every_bucket_with_an_archive_of_the_run(
    put: list[tuple[Any, ...]],
) -> None:
    elsewhere = replace(DELIVERED, batch_id="b1", bucket="before")
    ledger: Any = LedgerStandin([batch(0), batch(1), batch(2)], [DELIVERED, elsewhere])
    storage: Any = "storage"
    assert manifest.write_manifests(ledger, storage, "set now", RUN) == [name_of("c", RUN)]
    assert [each[:2] for each in put] == [
        ("before", name_of("c", RUN)),
        ("data", name_of("c", RUN)),
    ]
    text, content_type = put[0][2:]
    assert content_type == "application/json"
    assert json.loads(text) == manifest.manifests_of(ledger, RUN)[0]
    # Deterministic and human-readable.
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True).encode() + b"\n"


def test_manifest_without_archives_is_written_to_the_configured_bucket(
    put: list[tuple[Any, ...]],
) -> None:
    ledger: Any = LedgerStandin([batch(0)], [])
    storage: Any = "storage"
    manifest.write_manifests(ledger, storage, "set now", RUN)
    assert [each[:2] for each in put] == [("set now", name_of("c", RUN))]


def test_manifests_of_runs_with_superseded_archives_are_rewritten(
    put: list[tuple[Any, ...]],
) -> None:
    batches = [
        batch(0),
        batch(1, run_id="earlier"),
        batch(2),
        batch(3),
        batch(4, run_id=None),
        batch(5, run_id="unchanged"),
        batch(6),
    ]
    replaces = {"b0": "b1", "b2": "b3", "b3": "b4", "b6": None}
    deliveries = [
        replace(DELIVERED, batch_id=new, replaces=old) for new, old in replaces.items()
    ] + [replace(DELIVERED, batch_id="b1")]
    ledger: Any = LedgerStandin(batches, deliveries)
    storage: Any = "storage"
    assert manifest.write_manifests(ledger, storage, "set now", RUN) == [name_of("c", RUN)]
    assert [each[1] for each in put] == [name_of("c", RUN), name_of("c", "earlier")]


def test_a_failed_manifest_does_not_stop_the_other_collections(
    put: list[tuple[Any, ...]],
) -> None:
    ledger: Any = LedgerStandin(
        [batch(0, collection="a"), batch(1, collection="refused"), batch(2, collection="z")], []
    )
    storage: Any = "storage"
    with pytest.raises(SenditError, match="a hold"):
        manifest.write_manifests(ledger, storage, "set now", RUN)
    assert [each[1] for each in put] == [name_of("a", RUN), name_of("z", RUN)]
