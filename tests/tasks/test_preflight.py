"""Before a batch is claimed: each thing it will need, broken in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sendit.delivery.feeder import Feed, feeder_of, remembered
from sendit.errors import Misconfigured, RetryLater
from sendit.identifiers.identity import IdentityRules
from sendit.ledger import BatchParams, Ledger
from sendit.tasks import google, preflight, task_context, upload
from sendit.tasks.preflight import Preflight
from tests.tasks.test_upload import Site, here

__all__ = ["here"]

pytestmark = pytest.mark.airflow


@pytest.fixture
def params(here: Site, monkeypatch: pytest.MonkeyPatch) -> BatchParams:
    monkeypatch.setattr(preflight, "ledger", lambda: here.ledger)
    change(here, monkeypatch)
    return BatchParams("study", here.collection, "default")


def change(here: Site, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    here.settings = here.settings.model_copy(update=settings)
    for module in (google, task_context, upload, preflight):
        monkeypatch.setattr(module, "settings", lambda: here.settings)


def test_a_site_that_is_right_is_counted_and_has_its_table(here: Site, params: BatchParams) -> None:
    check = Preflight()
    for _ in range(2):
        check(params)
    assert remembered(here.storage, here.settings.bucket, here.collection).counter == 2
    assert here.tables() == ["dicom"]


def test_two_studies_are_tried_each_for_itself(here: Site, params: BatchParams) -> None:
    check = Preflight()
    other = replace(params, study="other", collection=f"{here.collection}_other")
    for each in (params, other):
        check(each)
        assert remembered(here.storage, here.settings.bucket, each.collection).counter == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bucket": "nowhere-at-all"}, "no bucket nowhere-at-all"),
        ({"bucket": ""}, "SENDIT_BUCKET is not set"),
        ({"key_file": None}, "SENDIT_KEY_FILE is not set"),
        ({"home": None}, "SENDIT_HOME is not set"),
    ],
)
def test_a_setting_that_is_wrong(
    here: Site,
    params: BatchParams,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, object],
    said: str,
) -> None:
    change(here, monkeypatch, **changed)
    with pytest.raises(Misconfigured, match=said):
        Preflight()(params)


def test_a_key_that_is_away(
    here: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(here, monkeypatch, key_file=Path("/nowhere/key"))
    with pytest.raises(RetryLater, match="SENDIT_KEY_FILE cannot be read"):
        Preflight()(params)


def test_a_working_folder_that_cannot_be(
    here: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    change(here, monkeypatch, work_folder=tmp_path / "file" / "work")
    with pytest.raises(RetryLater, match="working folder cannot be created"):
        Preflight()(params)
    change(here, monkeypatch, work_folder=tmp_path / "work")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RetryLater, match="working folder cannot be written"):
        Preflight()(params)


def test_a_recipe_that_is_none(here: Site, params: BatchParams) -> None:
    with pytest.raises(Misconfigured, match="no bundled recipe has this name"):
        Preflight()(replace(params, recipe="defualt"))


def test_an_identifier_service_that_is_away(
    here: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SENDIT_DASHER", raising=False)
    change(here, monkeypatch, identifiers="dasher")
    with pytest.raises(RetryLater, match="connection sendit_dasher cannot be read"):
        Preflight()(params)


def test_a_connection_that_is_away(
    here: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    with pytest.raises(RetryLater, match="connection google_cloud_default cannot be read"):
        Preflight()(params)


def test_a_collection_that_another_feeds(here: Site, params: BatchParams, tmp_path: Path) -> None:
    stranger = Ledger(f"sqlite:///{tmp_path}/stranger.db")
    feeder = feeder_of(stranger, here.settings.keys(), "local", "study", IdentityRules())
    Feed(stranger, here.storage, here.settings.bucket, here.collection, feeder).count()
    with pytest.raises(Misconfigured, match="is fed by another"):
        Preflight()(params)
    stranger.close()


def test_a_dataset_that_is_another_collection_s(here: Site, params: BatchParams) -> None:
    clash = f"{here.collection}-x"
    Preflight()(replace(params, collection=clash))
    with pytest.raises(Misconfigured, match="belongs to the collection"):
        Preflight()(replace(params, collection=clash.replace("-", "_")))


def test_the_table_is_made_where_the_site_keeps_its_data(
    here: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sendit.delivery import table

    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(table, "ensure_table", lambda *given: asked.append(given))
    change(here, monkeypatch, location="EU")
    Preflight()(params)
    ((client, *rest),) = asked
    assert client is not None and rest == [here.collection, "EU"]
