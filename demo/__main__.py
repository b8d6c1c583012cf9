"""``make demo``: start everything, run the pipeline, show the results, stop everything."""

from __future__ import annotations

import argparse
import http.client
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from demo import results, samples, watch
from demo.display import Display, print_outcome, say
from demo.processes import DemoError
from demo.stack import USER, Stack

RUN_FAILED = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130
STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the demo; return its exit status."""
    options = read_options()
    for number in STOPPED_BY:
        signal.signal(number, interrupt)
    started = time.monotonic()
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = 110
    try:
        return run(options, console, started)
    except KeyboardInterrupt:
        console.print("\nstopped; everything that was started has ended")
        return INTERRUPTED
    except DemoError as error:
        console.print(f"[red]demo:[/red] {escape(str(error))}", highlight=False)
        return COULD_NOT_RUN


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Run sendit's pipeline with embedded servers on 127.0.0.1.",
    )
    parser.add_argument("--once", action="store_true", help="exit when the run has ended")
    parser.add_argument(
        "--input", type=Path, help="a folder of accession folders; default: samples are made"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="leave objects/, bigquery.ndjson, metrics.tsv, logs/, airflow.sql and pictures/ there",
    )
    options = parser.parse_args()
    if options.input and not options.input.is_dir():
        parser.error("INPUT is not a folder")
    return options


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Exit as Ctrl-C does."""
    raise KeyboardInterrupt


def run(options: argparse.Namespace, console: Console, started: float) -> int:
    """Start, run, show, keep the UI up if requested, stop."""
    if options.out:
        results.prepare(options.out)
    stack = Stack(
        [options.input] if options.input else [],
        say=lambda text: say(console, started, text),
    )
    try:
        if not options.input:
            stack.use_inputs([make_samples(stack, console)])
        say(console, started, "starting PostgreSQL, emulators and Airflow on 127.0.0.1")
        stack.start()
        stack.wait_for_dag()
        stack.trigger({"number": None})
        say(console, started, f"run triggered; Airflow: {stack.url}")
        with Display(console, started) as display:
            progress = watch.follow(stack, display)
        print_outcome(console, progress)
        status = judge(console, progress, own_samples=not options.input)
        say(console, started, "the run has ended")
        if not options.once:
            wait_for_interrupt(stack, console)
        return status
    except (OSError, http.client.HTTPException) as error:
        stack.check()
        raise DemoError(f"a server stopped answering ({error})") from None
    finally:
        # A second Ctrl-C must not interrupt the shutdown.
        for number in STOPPED_BY:
            signal.signal(number, signal.SIG_IGN)
        if options.out:
            seen = None if options.input else stack.folder / "input" / samples.SEEN
            for problem in results.collect(stack, options.out, seen):
                console.print(f"[yellow]not left in OUT:[/yellow] {escape(problem)}")
        stack.close()


def make_samples(stack: Stack, console: Console) -> Path:
    """Write the sample folders and describe them."""
    folder = stack.folder / "input"
    samples.make_samples(folder)
    console.print("Sample accession folders from the files of pydicom, pydicom-data, deid-data:")
    for sample in samples.SAMPLES:
        console.print(f"  - {sample.shows}", highlight=False)
    console.print(
        "  Every file was given its folder's accession number, and in folders of mixed\n"
        "  origin one study and patient; the radiograph is made smaller, the mammogram is made\n"
        "  up; the rest of it is as it was shipped.\n",
        highlight=False,
    )
    return folder


def judge(console: Console, progress: watch.Progress, *, own_samples: bool) -> int:
    """Print the result, and return the exit status.

    One sample folder is meant to fail, so a run of the samples succeeds if every folder ended as
    intended.
    """
    if own_samples:
        outcomes = sorted(
            (b["status"], b["delivered"], b["filtered"], b["quarantined"], b["duplicate"])
            for b in progress.batches
        )
        wanted = sorted(
            (s.status, s.delivered, s.filtered, s.quarantined, s.duplicate) for s in samples.SAMPLES
        )
        if outcomes != wanted:
            console.print("[red]The samples did not end as they should have.[/red]")
            return RUN_FAILED
        console.print(
            "Every sample ended as it should: one fails on purpose, so Airflow shows the run "
            "as failed\nafter delivering all others."
        )
        return 0
    if not progress.batches:
        console.print("No batch was ready: nothing to do.")
    if progress.failed:
        console.print("[red]The run failed: not every batch could be delivered.[/red]")
        return RUN_FAILED
    return 0


def wait_for_interrupt(stack: Stack, console: Console) -> None:
    """Keep the UI running until Ctrl-C, which is then the normal end and not a failure."""
    console.print()
    console.print(f"Airflow's UI:  [bold]{stack.url}/dags/sendit[/bold]")
    console.print(f"log in as      [bold]{USER}[/bold]  password [bold]{stack.password}[/bold]")
    console.print("Ctrl-C stops everything and removes the demo's files.")
    try:
        while True:
            stack.check()
            time.sleep(2.0)
    except KeyboardInterrupt:
        console.print("\nstopping; everything that was started ends")


if __name__ == "__main__":
    sys.exit(main())
