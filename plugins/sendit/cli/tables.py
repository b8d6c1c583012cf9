"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sendit.ledger import Batch


def print_batches(batches: Sequence[Batch], errors: bool) -> None:
    """Print one line per batch, and with ``errors`` every error below it."""
    console = Console()
    if not console.is_terminal:  # a pipe or a file has no edge to keep within
        console = Console(width=200)
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
