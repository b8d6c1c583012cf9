"""Preflight, before a batch is claimed: each requirement broken in turn."""

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
from tests.tasks.test_upload import Site, site

__all__ = ["site"]

pytestmark = pytest.mark.airflow


@pytest.fixture
def params(site: Site, monkeypatch: pytest.MonkeyPatch) -> BatchParams:
    monkeypatch.setattr(preflight, "ledger", lambda: site.ledger)
    change(site, monkeypatch)
    return BatchParams("study", site.collection, "default")


def change(site: Site, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    site.settings = site.settings.model_copy(update=settings)
    for module in (google, task_context, upload, preflight):
        monkeypatch.setattr(module, "settings", lambda: site.settings)


def test_a_working_site_passes_preflight_and_gets_its_table(
    site: Site, params: BatchParams
) -> None:
    check = Preflight()
    for _ in range(2):
        check(params)
    assert remembered(site.storage, site.settings.bucket, site.collection).counter == 2
    assert site.tables() == ["dicom"]


def test_each_study_is_checked_separately(site: Site, params: BatchParams) -> None:
    check = Preflight()
    other = replace(params, study="other", collection=f"{site.collection}_other")
    for each in (params, other):
        check(each)
        assert remembered(site.storage, site.settings.bucket, each.collection).counter == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bucket": "nowhere-at-all"}, "no bucket nowhere-at-all"),
        ({"bucket": ""}, "SENDIT_BUCKET is not set"),
        ({"key_file": None}, "SENDIT_KEY_FILE is not set"),
        ({"home": None}, "SENDIT_HOME is not set"),
    ],
)
def test_a_wrong_setting_is_reported(
    site: Site,
    params: BatchParams,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, object],
    message: str,
) -> None:
    change(site, monkeypatch, **changed)
    with pytest.raises(Misconfigured, match=message):
        Preflight()(params)


def test_a_missing_key_is_reported(
    site: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(site, monkeypatch, key_file=Path("/nowhere/key"))
    with pytest.raises(RetryLater, match="SENDIT_KEY_FILE cannot be read"):
        Preflight()(params)


def test_an_impossible_working_folder_is_reported(
    site: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    change(site, monkeypatch, work_folder=tmp_path / "file" / "work")
    with pytest.raises(RetryLater, match="working folder cannot be created"):
        Preflight()(params)
    change(site, monkeypatch, work_folder=tmp_path / "work")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RetryLater, match="working folder cannot be written"):
        Preflight()(params)


def test_an_unknown_recipe_is_reported(site: Site, params: BatchParams) -> None:
    with pytest.raises(Misconfigured, match="no bundled recipe has this name"):
        Preflight()(replace(params, recipe="defualt"))


def test_an_unreachable_identifier_service_is_reported(
    site: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SENDIT_DASHER", raising=False)
    change(site, monkeypatch, identifiers="dasher")
    with pytest.raises(RetryLater, match="connection sendit_dasher cannot be read"):
        Preflight()(params)


def test_a_missing_connection_is_reported(
    site: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    with pytest.raises(RetryLater, match="connection google_cloud_default cannot be read"):
        Preflight()(params)


def test_a_collection_fed_by_another_ledger_is_reported(
    site: Site, params: BatchParams, tmp_path: Path
) -> None:
    stranger = Ledger(f"sqlite:///{tmp_path}/stranger.db")
    feeder = feeder_of(stranger, site.settings.keys(), "local", "study", IdentityRules())
    Feed(stranger, site.storage, site.settings.bucket, site.collection, feeder).count()
    with pytest.raises(Misconfigured, match="is fed by another"):
        Preflight()(params)
    stranger.close()


def test_a_dataset_of_another_collection_is_reported(site: Site, params: BatchParams) -> None:
    clash = f"{site.collection}-x"
    Preflight()(replace(params, collection=clash))
    with pytest.raises(Misconfigured, match="belongs to the collection"):
        Preflight()(replace(params, collection=clash.replace("-", "_")))


def test_the_table_is_created_in_the_configured_location(
    site: Site, params: BatchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sendit.delivery import table

    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(table, "ensure_table", lambda *given: calls.append(given))
    change(site, monkeypatch, location="EU")
    Preflight()(params)
    ((client, *rest),) = calls
    assert client is not None and rest == [site.collection, "EU"]
