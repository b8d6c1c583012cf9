"""Migrations, applied to ledgers as sendit 2.0.0 created them before there were any.

``schema_6.*.sql`` are dumps of such ledgers with every table in use: archives delivered, replaced,
withdrawn and left over, a batch in error and a queued one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from demo.postgres import Postgres
from sendit import __version__
from sendit.batch import Status
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.ledger import SCHEMA_VERSION, Delivery, Ledger, ledger_url
from sendit.ledger.schema import VERSION_TABLE, metadata

HERE = Path(__file__).parent
RENAMED = {"archive_of": "study_key", "content": "content_digest"}
#: Intended changes of the migrations up to the newest version.
OWN = {VERSION_TABLE, "schema_info"}

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    name = f"ledger_{os.urandom(6).hex()}"
    server.query("postgres", f"CREATE DATABASE {name}")
    return server.uri(name)


@pytest.fixture
def legacy(empty: str) -> str:
    """A ledger of sendit 2.0.0."""
    url = ledger_url(empty)
    if url.drivername == "sqlite":
        with sqlite3.connect(str(url.database)) as db:
            db.executescript((HERE / "schema_6.sqlite.sql").read_text())
        db.close()
    else:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                (HERE / "schema_6.postgresql.sql").read_text().replace("%", "%%")
            )
        engine.dispose()
    return empty


@pytest.fixture
def ledger(legacy: str) -> Iterator[Ledger]:
    opened = Ledger(legacy)
    yield opened
    opened.close()


def execute(uri: str, *statements: str) -> None:
    engine = sa.create_engine(ledger_url(uri))
    with engine.begin() as db:
        for statement in statements:
            db.execute(sa.text(statement))
    engine.dispose()


def rows_of(uri: str) -> Rows:
    """Every row of every table, by column name."""
    engine = sa.create_engine(ledger_url(uri))
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as db:
        rows = {
            table.name: [dict(row._mapping) for row in db.execute(sa.select(table))]
            for table in tables.sorted_tables
        }
    engine.dispose()
    return {name: sorted(each, key=str) for name, each in rows.items()}


def differences_from_models(uri: str) -> list[Any]:
    engine = sa.create_engine(ledger_url(uri))
    with engine.connect() as db:
        context = MigrationContext.configure(
            db, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        differences = compare_metadata(context, metadata)
    engine.dispose()
    return differences


def test_migration_keeps_every_row(legacy: str) -> None:
    before = rows_of(legacy)
    assert all(before.values())
    opened = Ledger(legacy)
    assert opened.migrate() == "0006"
    assert opened.migrate() is None
    opened.close()
    after = rows_of(legacy)
    expected = {
        table: [{RENAMED.get(name, name): row[name] for name in row} for row in rows]
        for table, rows in before.items()
    }
    for row in expected["batches"]:
        row["wanted"] = {}
    assert {name: after[name] for name in after.keys() - OWN} == {
        name: sorted(expected[name], key=str) for name in expected.keys() - OWN
    }
    assert after[VERSION_TABLE] == [{"version_num": SCHEMA_VERSION}]


def test_sendit_2_0_0_refuses_a_migrated_ledger(ledger: Ledger, legacy: str) -> None:
    """It reads this number, and creates missing tables unless the number differs."""
    ledger.migrate()
    assert rows_of(legacy)["schema_info"] == [{"version": 8}]


def test_a_migrated_ledger_matches_the_models(ledger: Ledger, legacy: str) -> None:
    assert differences_from_models(legacy)
    ledger.migrate()
    assert differences_from_models(legacy) == []


def test_a_new_ledger_matches_the_models(empty: str) -> None:
    opened = Ledger(empty)
    opened.migrate()
    opened.close()
    assert differences_from_models(empty) == []


def test_migrations_are_linear_and_end_at_the_models_version() -> None:
    config = Config()
    config.set_main_option("script_location", "sendit.ledger:migrations")
    steps = list(ScriptDirectory.from_config(config).walk_revisions())
    revisions = [step.revision for step in reversed(steps)]
    assert revisions == [f"{number:04}" for number in range(6, 6 + len(steps))]
    assert revisions[-1] == SCHEMA_VERSION


def test_a_new_ledger_has_its_own_id(empty: str, tmp_path: Path) -> None:
    opened, other = Ledger(empty), Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    assert opened.migrate() is None
    assert len(opened.id()) == 32
    assert opened.id() == opened.id() != other.id()
    opened.close()
    other.close()


def test_work_continues_after_migration(ledger: Ledger) -> None:
    """Deliveries are found by study, the history grows, and queued batches are claimed."""
    latest, first = ledger.deliveries_of("bucket", "IRB-1/p1/s1")
    assert (latest.revision, first.revision) == (2, 1)
    assert latest.content_digest == f"{2:064x}"
    assert latest.replaces == first.batch_id
    assert first.superseded_by == latest.batch_id
    events = ledger.history(first.batch_id)
    assert [(entry.event, entry.study_key) for entry in events] == [
        ("delivered", "IRB-1/p1/s1"),
        ("superseded", "IRB-1/p1/s1"),
    ]
    assert ledger.patient_code("e" * 64, "other", 0) == ("p1", -17)
    (batch_id,) = ledger.claim("manual__next", 5)
    with pytest.raises(FailBatch, match="an archive of the same study"):
        ledger.put_archive(replace(latest, batch_id=batch_id))
    archive = Delivery(
        batch_id, "bucket", "Collection/IRB-1/p9.tar.gz", 5, "AAAAAA==", 1, "r" * 64, "2.0.0",
        study_key="IRB-1/p9/s9", content_digest="9" * 64,
    )  # fmt: skip
    ledger.put_archive(archive)
    ledger.put_done(batch_id, 1)
    assert ledger.batch(batch_id).status is Status.DONE
    assert [entry.study_key for entry in ledger.history(batch_id)] == ["IRB-1/p9/s9"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE {table} SET version_num = '0099'", "schema 0099, which sendit .* does not know"),
        ("UPDATE {table} SET version_num = 'ab12'", "schema ab12, which sendit .* does not know"),
        ("INSERT INTO {table} VALUES ('0006')", "schema 0006, 0008, which sendit .* does not"),
        ("UPDATE {table} SET version_num = '0005'", "before 2.0.0"),
    ],
)
def test_a_ledger_that_cannot_be_migrated_is_refused_unchanged(
    legacy: str, change: str, says: str
) -> None:
    opened = Ledger(legacy)
    opened.migrate()
    opened.close()
    execute(legacy, change.format(table=VERSION_TABLE))
    before = rows_of(legacy)
    refused = Ledger(legacy)
    for _ in range(2):
        with pytest.raises(Misconfigured, match=says):
            refused.count_queued()
    refused.close()
    assert rows_of(legacy) == before


@pytest.mark.parametrize(("number", "says"), [(5, "before 2.0.0"), (9, "does not know")])
def test_the_version_number_before_migrations_is_read(legacy: str, number: int, says: str) -> None:
    execute(legacy, f"UPDATE schema_info SET version = {number}")
    before = rows_of(legacy)
    refused = Ledger(legacy)
    with pytest.raises(Misconfigured, match=f"schema 000{number}, .*{says}"):
        refused.count_queued()
    refused.close()
    assert rows_of(legacy) == before


def test_a_failed_migration_is_rolled_back(legacy: str) -> None:
    # The last change of a step fails: its name is already taken.
    execute(legacy, "CREATE INDEX ix_deliveries_study_key ON deliveries (object)")
    before, models = rows_of(legacy), differences_from_models(legacy)
    opened = Ledger(legacy)
    for _ in range(2):
        with pytest.raises(
            RetryLater, match="could not be migrated to schema 0008 and is unchanged"
        ):
            opened.count_queued()
    assert rows_of(legacy) == before
    assert str(differences_from_models(legacy)) == str(models)
    execute(legacy, "DROP INDEX ix_deliveries_study_key")
    assert opened.count_queued() == 1
    opened.close()
    assert differences_from_models(legacy) == []


MIGRATE = """
import sys
from sendit.ledger import Ledger, migrations
ledger = Ledger(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(ledger.migrate(), ledger.count_queued())
"""


def test_concurrent_processes_migrate_once(legacy: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, legacy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate()[0] for process in started]
    assert sorted(answers) == ["0006 1\n", "None 1\n", "None 1\n"]


def test_concurrent_threads_create_separate_ledgers(tmp_path: Path) -> None:
    """Alembic uses names that are global to a process."""
    start = Barrier(4)
    versions: list[Any] = []

    def make(number: int) -> None:
        uri = f"sqlite:///{tmp_path / f'{number % 2}.db'}"
        opened = Ledger(uri)
        start.wait()
        opened.migrate()
        opened.close()
        versions.append(rows_of(uri)[VERSION_TABLE])

    threads = [Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == [[{"version_num": SCHEMA_VERSION}]] * 4


def test_a_ledger_in_the_airflow_database_has_its_own_version_table(empty: str) -> None:
    execute(
        empty,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('fd0277c20889')",
    )
    opened = Ledger(empty)
    assert opened.migrate() is None
    opened.close()
    assert rows_of(empty)["alembic_version"] == [{"version_num": "fd0277c20889"}]


def test_opening_a_migrated_ledger_takes_one_query(ledger: Ledger, legacy: str) -> None:
    ledger.migrate()
    again = Ledger(legacy)
    statements: list[str] = []
    sa.event.listen(
        again._engine,
        "before_cursor_execute",
        lambda _db, _cursor, statement, *_: statements.append(statement),
    )
    for _ in range(2):
        again.count_queued()
    again.close()
    selects = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert len(selects) == 1 + 2
    assert VERSION_TABLE in selects[0]


USE = """
import sys
from sendit.ledger import Ledger
Ledger(sys.argv[1]).count_queued()
sys.exit("alembic" in sys.modules)
"""


def test_alembic_is_imported_only_for_migrations(ledger: Ledger, legacy: str) -> None:
    use = [sys.executable, "-c", USE, legacy]
    assert subprocess.run(use, check=False).returncode == 1
    assert subprocess.run(use, check=False).returncode == 0


def test_docs_state_the_ledger_version_of_each_release() -> None:
    page = (HERE.parents[1] / "docs" / "production.md").read_text()
    assert f"| {__version__} | {SCHEMA_VERSION} |" in page
