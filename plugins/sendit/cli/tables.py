"""Tables for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sendit.ledger import UNDER_WAY, Batch, HistoryEntry

if TYPE_CHECKING:
    from sendit.cli.doctor import CheckResult
    from sendit.delivery.feeder import Remembered
    from sendit.pipeline.rules import WantedRule


#: What `sendit adopt` prints if no reason is given.
ADOPT = """
Nothing was changed. Adopting the collection {collection} means that this site is the one that
delivers to it from now on. Then:
  with a different or older ledger, studies that it does not know are delivered again and, with
  the built-in identifier service, under different codes and date shifts;
  with a different key, the same study gets different UIDs, and known folders are processed again;
  with a different identifier service or study, or another source for an issuer, the same patient
  gets a different code, and one number may become two patients, or two numbers one;
  with a different project, the rows of earlier deliveries stay in the earlier project's table.
So first correct the setting or connection that is wrong, or restore the latest ledger and key.
If they are lost, deliver to a new collection (SENDIT_COLLECTION), or withdraw what was delivered.
If this site is the right one nevertheless: sendit adopt {collection} --reason TEXT"""


def print_finding(finding: CheckResult) -> None:
    """Print the result of one check of `sendit doctor`."""
    print(f"{finding.verdict:<6} {finding.about}: {finding.says}", flush=True)


def print_feeder(collection: str, held: Remembered) -> None:
    """Print which site feeds a collection, and which adoptions were made."""
    feeder = held.feeder
    print(
        f"{collection} is fed by the ledger {feeder.ledger} with the key {feeder.key}, identifier "
        f"service {feeder.identifiers}, study {feeder.study}; count {held.counter}"
    )
    for entry in held.adopted:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"]))
        before = entry["before"]["ledger"] or "nobody"
        print(f"{collection} was adopted at {when} (before: ledger {before}): {entry['reason']}")


COUNTED = ("received", "delivered", "filtered", "quarantined", "duplicate", "undelivered")


def print_batches(batches: Sequence[Batch], errors: bool) -> None:
    """Print one line per batch; with ``errors`` also its errors, and the run that an unfinished
    batch belongs to."""
    console = _console()
    if not batches:
        console.print(
            "no batch has an error or is in progress" if errors else "the ledger has no batches"
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("batch", "status"):
        table.add_column(column, no_wrap=True)
    for column in COUNTED:
        table.add_column(column, justify="right", overflow="fold")
    for batch in batches:
        table.add_row(
            batch.id,
            batch.status + (" !" if batch.has_error else ""),
            *(str(batch.tally[column]) for column in COUNTED),
        )
    console.print(table)
    if errors:
        for batch in batches:
            console.print(f"\n{batch.id}", highlight=False)
            if batch.status in UNDER_WAY:
                console.print(
                    f"  {batch.status} in the run {batch.run_id}. If Airflow shows that run as "
                    f"ended, or not at all, the next run takes the batch up; by hand: sendit "
                    f"requeue {batch.id}",
                    highlight=False,
                    markup=False,
                )
            for error in batch.errors:
                files = f" (files {', '.join(map(str, error['files']))})" if error["files"] else ""
                times = f"{error['count']} x " if error["count"] > 1 else ""
                console.print(
                    f"  {error['stage']}: {times}{error['reason']}{files}",
                    highlight=False,
                    markup=False,
                )


def print_history(entries: Sequence[HistoryEntry]) -> None:
    """Print one line per event, oldest first."""
    console = _console()
    if not entries:
        console.print("this batch has delivered nothing")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("when", "event", "revision", "generation", "object", "note"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            entry.event,
            str(entry.revision or ""),
            str(entry.generation or ""),
            entry.object or "",
            entry.note or "",
        )
    console.print(table)


def print_wanted(rules: Sequence[WantedRule]) -> None:
    """Print one line per kind of image that needs a rule."""
    console = _console()
    if not rules:
        console.print("no image needs a rule")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("key", no_wrap=True)
    for column in ("files", "batches"):
        table.add_column(column, justify="right")
    for column in ("modality", "device", "columns x rows", "image type", "pixels", "class"):
        table.add_column(column, overflow="fold")
    for rule in rules:
        key = rule.key
        table.add_row(
            key.id,
            str(rule.files),
            str(len(rule.batches)),
            key.modality,
            " ".join(filter(None, (key.manufacturer, key.model, key.software))),
            key.size,
            key.image_type,
            f"{key.photometric}, regions: {key.regions}, burned in: {key.burned_in or '-'}",
            key.sop_class,
        )
    console.print(table)


def _console() -> Console:
    console = Console()
    # Output that is not a terminal need not be wrapped.
    return console if console.is_terminal else Console(width=200)
