"""The demo's output: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.watch import Progress

STATUS_STYLE = {"DONE": "green", "EMPTY": "yellow", "ERROR": "red", "QUEUE": "dim"}
COUNTS = ("received", "delivered", "filtered", "quarantined", "duplicate")


class Display:
    """Progress of a run, as a context manager; call it with each update."""

    def __init__(self, console: Console, started: float) -> None:
        self.console = console
        self.started = started
        self._said = ""
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show one update of the run."""
        if self._live:
            self._live.update(self._table(progress))
            return
        line = f"run {len(progress.runs)}: {progress.summary()}"
        if line != self._said:
            self._said = line
            say(self.console, self.started, line)

    def _table(self, progress: Progress) -> RenderableType:
        seconds = time.monotonic() - self.started
        title = f"run {len(progress.runs)}, {seconds:.0f} s"
        return Group(
            Spinner("dots", Text(f" {title}   {progress.summary()}")),
            batch_table(progress.batches, progress.stages),
        )


def say(console: Console, started: float, text: str) -> None:
    """Print a line with the seconds since the start."""
    console.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim]  {text}", highlight=False)


def batch_table(batches: list[dict[str, Any]], stages: dict[str, str]) -> Table:
    """Return a table of the batches, with the current stage of each."""
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("batch", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    if stages:
        table.add_column("")
    for batch in batches:
        style = STATUS_STYLE.get(batch["status"], "cyan")
        table.add_row(
            batch["id"],
            Text(batch["status"], style=style),
            *(str(batch[name]) for name in COUNTS),
            *([Text(stages.get(batch["id"], ""), style="dim")] if stages else []),
        )
    return table


def print_outcome(console: Console, progress: Progress) -> None:
    """Print the outcomes of each batch's files, and the reasons."""
    total = Counter({name: sum(b[name] for b in progress.batches) for name in COUNTS})
    table = batch_table(progress.batches, {})
    if len(progress.batches) > 1:
        table.add_section()
        table.add_row("all", "", *(str(total[name]) for name in COUNTS))
    console.print()
    console.print(table)
    console.print()
    for batch in progress.batches:
        why = [f"{count} × {reason}" for reason, count in sorted(batch["reasons"].items())]
        why += [
            f"{error['stage']}: {error['reason']}"
            for error in batch["errors"]
            # File errors are already counted among the reasons.
            if not any(reason.endswith(f": {error['reason']}") for reason in batch["reasons"])
        ]
        for line in why:
            console.print(f"  {batch['id']}  {line}", highlight=False, soft_wrap=True)
