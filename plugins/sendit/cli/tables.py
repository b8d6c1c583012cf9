"""Tables for people."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sendit.ledger import Batch, HistoryEntry


def print_batches(batches: Sequence[Batch], errors: bool) -> None:
    """Print one line per batch, and with ``errors`` every error below it."""
    console = _console()
    if not batches:
        console.print("no batch has an error" if errors else "the ledger has no batches")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("batch", "status"):
        table.add_column(column, no_wrap=True)
    for column in ("received", "delivered", "filtered", "quarantined", "duplicate"):
        table.add_column(column, justify="right", overflow="fold")
    for batch in batches:
        table.add_row(
            batch.id,
            batch.status + (" !" if batch.has_error else ""),
            str(batch.counts.received),
            str(batch.counts.delivered),
            str(batch.counts.filtered),
            str(batch.counts.quarantined),
            str(batch.counts.duplicate),
        )
    console.print(table)
    if errors:
        for batch in batches:
            console.print(f"\n{batch.id}", highlight=False)
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
        console.print("nothing of this batch was delivered")
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


def _console() -> Console:
    console = Console()
    # A pipe or a file has no edge to keep within.
    return console if console.is_terminal else Console(width=200)
