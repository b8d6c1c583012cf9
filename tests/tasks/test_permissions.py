"""Least privilege: what a lane, a withdrawal and a verification ask of Google, call by call.

The emulators check no permissions, so the calls are recorded and each is held against the
permission that Google's reference names for it; docs/permissions.md lists just these.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chaos.proxy import Proxy
from tests.tasks.test_upload import (
    Site,
    delivered,
    here,
    lane_with,
    verdict,
    withdraw,
    write_manifest,
)

__all__ = ["delivered", "here"]

pytestmark = pytest.mark.airflow

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
OBJECTS = r"/storage/v1/b/[^/]+/o"
DATASETS = r"/bigquery/v2/projects/[^/]+/datasets"
#: Method and path to the permission that the call needs.
NEEDS = {
    rf"GET {OBJECTS}": "storage.objects.list",
    rf"GET (/download)?{OBJECTS}/.+": "storage.objects.get",
    rf"(POST|PUT) /upload{OBJECTS}": "storage.objects.create",
    rf"DELETE {OBJECTS}/.+": "storage.objects.delete",
    rf"POST {DATASETS}": "bigquery.datasets.create",
    rf"GET {DATASETS}/[^/]+": "bigquery.datasets.get",
    rf"POST {DATASETS}/[^/]+/tables": "bigquery.tables.create",
    rf"GET {DATASETS}/[^/]+/tables/[^/]+": "bigquery.tables.get",
    rf"PATCH {DATASETS}/[^/]+/tables/[^/]+": "bigquery.tables.update",
    rf"DELETE {DATASETS}/[^/]+/tables/[^/]+": "bigquery.tables.delete",
    r"POST (/upload)?/bigquery/v2/projects/[^/]+/(jobs|queries)": "bigquery.jobs.create",
    # The library's own, for its traces; refused, it goes on.
    r"GET /storage/v1/b/[^/]+": None,
    # Of one's own jobs: comes with bigquery.jobs.create.
    r"GET /bigquery/v2/projects/[^/]+/(jobs|queries)/[^/]+": "bigquery.jobs.create",
}
#: What queries and load jobs need beside bigquery.jobs.create, which no path shows.
WITHIN_JOBS = {"bigquery.tables.getData", "bigquery.tables.updateData"}


def needed(calls: list[tuple[str, str]]) -> set[str | None]:
    found: set[str | None] = set()
    for method, target in calls:
        call = f"{method} {urlsplit(target).path.rstrip('/')}"
        matching = [need for pattern, need in NEEDS.items() if re.fullmatch(pattern, call)]
        assert len(matching) == 1, call
        found.add(matching[0])
    return found - {None}


@pytest.fixture
def recorded(emulators, monkeypatch) -> list[Proxy]:
    """Proxies before the emulators, which the tasks' clients go through."""
    proxies = []
    for variable, target in (
        ("STORAGE_EMULATOR_HOST", emulators.storage),
        ("BIGQUERY_EMULATOR_HOST", emulators.bigquery),
    ):
        proxy = Proxy()
        proxy.target = target
        monkeypatch.setenv(variable, proxy.url)
        proxies.append(proxy)
    return proxies


def test_the_page_lists_just_what_is_asked_for(here: Site, recorded: list[Proxy]) -> None:
    from sendit.hooks import google

    here.storage, here.bigquery = google.storage_client(), google.bigquery_client()
    ids = [here.batch(number) for number in range(2)]
    for batch_id in ids:  # the second finds the table there
        here.run_all(lane_with(batch_id))
    write_manifest(here)
    withdraw(here, ids[0])
    assert verdict(here).agrees
    listed = set(re.findall(r"`((?:storage|bigquery)\.[a-zA-Z]+\.[a-zA-Z]+)`", PAGE.read_text()))
    used = needed([call for proxy in recorded for call in proxy.calls]) | WITHIN_JOBS
    # Used only when an older sendit made the table.
    assert used | {"bigquery.tables.update"} == listed
