"""Least privilege: the Google permissions used by a lane, a withdrawal and a verification.

The emulators check no permissions, so the calls are recorded and mapped to the permission that
Google's reference names for each; docs/permissions.md lists exactly these.
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
    lane_with,
    site,
    verify,
    withdraw,
    write_manifest,
)

__all__ = ["delivered", "site"]

pytestmark = pytest.mark.airflow

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
OBJECTS = r"/storage/v1/b/[^/]+/o"
DATASETS = r"/bigquery/v2/projects/[^/]+/datasets"
#: Method and path pattern, and the permission that the call needs.
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
    # Made by the library for tracing; if refused, it continues.
    r"GET /storage/v1/b/[^/]+": None,
    # For one's own jobs: included in bigquery.jobs.create.
    r"GET /bigquery/v2/projects/[^/]+/(jobs|queries)/[^/]+": "bigquery.jobs.create",
}
#: Needed by queries and load jobs besides bigquery.jobs.create; not visible in the path.
WITHIN_JOBS = {"bigquery.tables.getData", "bigquery.tables.updateData"}


def needed(calls: list[tuple[str, str]]) -> set[str | None]:
    permissions: set[str | None] = set()
    for method, target in calls:
        call = f"{method} {urlsplit(target).path.rstrip('/')}"
        matching = [need for pattern, need in NEEDS.items() if re.fullmatch(pattern, call)]
        assert len(matching) == 1, call
        permissions.add(matching[0])
    return permissions - {None}


@pytest.fixture
def recorded(emulators, monkeypatch) -> list[Proxy]:
    """Recording proxies in front of the emulators, used by the tasks' clients."""
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


def test_docs_list_exactly_the_permissions_used(site: Site, recorded: list[Proxy]) -> None:
    from sendit.hooks import google

    site.storage, site.bigquery = google.storage_client(), google.bigquery_client()
    ids = [site.batch(number) for number in range(2)]
    for batch_id in ids:  # the second run finds the table
        site.run_all(lane_with(batch_id))
    write_manifest(site)
    withdraw(site, ids[0])
    assert verify(site).agrees
    listed = set(re.findall(r"`((?:storage|bigquery)\.[a-zA-Z]+\.[a-zA-Z]+)`", PAGE.read_text()))
    used = needed([call for proxy in recorded for call in proxy.calls]) | WITHIN_JOBS
    # Used only if an older version of sendit created the table.
    assert used | {"bigquery.tables.update"} == listed
