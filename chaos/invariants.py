"""The guarantees, checked in bucket, table, ledger and working folder, independently of sendit."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from chaos.site import ChaosSite
from demo.stack import AIRFLOW_DATABASE, BUCKET, LEDGER_DATABASE

#: A canary of `testing.builder`, whatever the VR or character set makes of it.
CANARY = re.compile(
    rb"kan(?:a|\xe4|\xc3\xa4|\\u00e4|\\xe4|%C3%A4)rie\d{6}q|zwilling\d{6}q|\.987\.1\d{6}\b"
    rb"|Kanarien(?:folder|datei)",
    re.IGNORECASE,
)
RESULT = ("delivered", "filtered", "quarantined", "duplicate")


class Invariants:
    """Checks a site after each round.

    Parameters
    ----------
    site
        The site to check.

    ``expected`` counts the folders that were sent for each study.
    """

    def __init__(self, site: ChaosSite) -> None:
        self._site = site
        self._read: dict[Path, int] = {}
        self._looked_into: set[str] = set()
        self.expected: Counter[str] = Counter()

    def broken(self, *, whole_database: bool = False) -> list[str]:
        """Return every violation."""
        batches = self._site.ledger("SELECT * FROM batches")
        deliveries = {
            each["batch_id"]: each for each in self._site.ledger("SELECT * FROM deliveries")
        }
        live = {
            name: each
            for name, each in deliveries.items()
            if each["superseded_by"] is None and each["withdrawn_at"] is None
        }
        objects = {each["name"]: each for each in self._site.objects()}
        tables = self._site.tables()
        return [
            *self._batches(batches, deliveries),
            *self._objects(batches, live, len(deliveries) - len(live), objects),
            *self._rows(live, tables),
            *self._left_behind(),
            *self._phi(tables, whole_database=whole_database),
        ]

    def _batches(
        self, batches: list[dict[str, Any]], deliveries: dict[str, dict[str, Any]]
    ) -> Iterator[str]:
        if (folders := Counter(batch["study"] for batch in batches)) != self.expected:
            yield f"there are batches of {dict(folders)}, folders of {dict(self.expected)}"
        for batch in batches:
            name = batch["id"]
            delivery = deliveries.get(name)
            place = f"Collection/{batch['collection']}/"
            if batch["collection"] != batch["study"] or (
                delivery is not None and not delivery["object"].startswith(place)
            ):
                yield f"{name} of {batch['study']} lies in another study's place"
            if batch["status"] != "DONE":
                yield f"{name} is {batch['status']}: {batch['errors']}"
                continue
            if batch["received"] != sum(batch[each] for each in RESULT):
                yield f"{name}: received is not the sum of its outcomes"
            delivery = deliveries.get(batch["same_as"] or name)
            if delivery is None:
                yield f"{name} is DONE without an archive"
            elif (delivery["rows"], delivery["members"]) != (1, batch["delivered"]):
                yield f"{name}: the ledger's rows or images are not those delivered"

    def _objects(
        self,
        batches: list[dict[str, Any]],
        deliveries: dict[str, dict[str, Any]],
        replaced: int,
        objects: dict[str, dict[str, Any]],
    ) -> Iterator[str]:
        expected = {each["object"]: each for each in deliveries.values()}
        for name in objects.keys() - expected.keys():
            if "/Manifest/" not in name and "/Feeder/" not in name:
                yield f"an object that is not in the ledger: {name}"
        for name, delivery in expected.items():
            there = objects.get(name)
            if there is None:
                yield f"no object {name}"
                continue
            wanted = tuple(str(delivery[each]) for each in ("size", "crc32c", "generation"))
            if wanted != (there["size"], there["crc32c"], there["generation"]):
                yield f"{name} is not what the ledger says"
            seen = f"{name} {delivery['generation']}"
            if seen in self._looked_into:
                continue
            self._looked_into.add(seen)
            yield from self._archive(name, delivery)
        own = sum(1 for batch in batches if batch["same_as"] is None)
        if len(expected) != own - replaced:
            yield "there are not as many archives as batches"

    def _archive(self, name: str, delivery: dict[str, Any]) -> Iterator[str]:
        data = (self._site.bucket_root / BUCKET / name).read_bytes()
        checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        if (len(data), checksum) != (delivery["size"], delivery["crc32c"]):
            yield f"{name}: the bytes are not those that the store describes"
        try:
            plain = gzip.decompress(data)
            with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
                members = archive.getnames()
        except (OSError, EOFError, tarfile.TarError):
            yield f"{name} is a part of an archive"
            return
        if len(members) != delivery["members"] or len(set(members)) != len(members):
            yield f"{name}: {len(members)} members"
        if CANARY.search(plain) or CANARY.search(name.encode()):
            yield f"{name}: something of a patient"

    def _rows(
        self, deliveries: dict[str, dict[str, Any]], tables: dict[str, list[dict[str, Any]]]
    ) -> Iterator[str]:
        for table in tables:
            if not table.endswith(".dicom"):
                yield f"a table was left: {table}"
        rows = [row for table, held in tables.items() if table.endswith(".dicom") for row in held]
        expected = {each["object"]: each for each in deliveries.values()}
        for name, count in Counter(row["name"] for row in rows).items():
            if count != 1:
                yield f"{count} rows for {name}"
        for row in rows:
            delivery = expected.get(row["name"])
            if delivery is None:
                yield f"a row without its object: {row['name']}"
            elif (row["generation"], row["crc32c"]) != (delivery["generation"], delivery["crc32c"]):
                yield f"the row of {row['name']} describes another object"
        for name in expected.keys() - {row["name"] for row in rows}:
            yield f"no row for {name}"

    def _left_behind(self) -> Iterator[str]:
        work = self._site.home / "work"
        for path in work.rglob("*"):
            if path.is_file():
                yield f"a working file was left: {path.relative_to(work)}"
        held = self._site.ledger("SELECT count(*) AS held FROM identifiers")[0]["held"]
        if held:
            yield f"{held} identifiers were left in the ledger"
        for path in self._site.armed.iterdir():
            yield f"the point was not reached: {path.name}"

    def _phi(
        self, tables: dict[str, list[dict[str, Any]]], *, whole_database: bool
    ) -> Iterator[str]:
        if CANARY.search(json.dumps(tables, ensure_ascii=False).encode()):
            yield "something of a patient is in a table"
        for path in self._site.logs.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(max(0, self._read.get(path, 0) - 100))
                    data = file.read()
                    self._read[path] = file.tell()
                if CANARY.search(data):
                    where = path.relative_to(self._site.logs)
                    yield f"something of a patient is in the log {where}"
        dump = self._site.folder / "dump.sql"
        for database in (LEDGER_DATABASE, *([AIRFLOW_DATABASE] if whole_database else [])):
            self._site.postgres.dump(database, dump)
            if CANARY.search(dump.read_bytes()):
                yield f"something of a patient is in the database {database}"
        dump.unlink(missing_ok=True)
