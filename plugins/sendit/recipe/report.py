"""Print a report on a recipe: its problems, or its coverage of PS3.15."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sendit.recipe.attributes import keyword_of
from sendit.recipe.coverage import Coverage, Treatment, beyond_the_table, cover
from sendit.recipe.model import Recipe
from sendit.recipe.own import Own
from sendit.recipe.parse import RecipeError, read_recipe
from sendit.recipe.problems import Problem
from sendit.recipe.profile import EDITION
from sendit.recipe.review import Holds, Reviewed

MAX_SHOWN = 8
"""Maximum number of attributes of a class that are listed by name."""

_MEANING = {
    Treatment.GONE: "removed, emptied or replaced",
    Treatment.CLEANED: "cleaned",
    Treatment.MOVED: "dates shifted by the patient's jitter",
    Treatment.KEPT: "kept",
}


def check(
    paths: Sequence[str],
    console: Console | None = None,
    *,
    own: Own | None = None,
    as_json: bool = False,
) -> int:
    """Check recipes, combined in order, and print their problems or their coverage.

    Parameters
    ----------
    paths
        Names of bundled recipes or absolute paths.
    console
        Where to print; standard output by default.
    own
        The site's functions and variables.
    as_json
        Whether to print a JSON object for tools instead.

    Returns
    -------
    int
        0 if the recipe can be used, 1 if not.
    """
    console = console or Console(highlight=False)
    try:
        recipe = read_recipe(*paths, own=own)
    except RecipeError as error:
        if as_json:
            _print_json(error.problems + error.warnings, console, usable=False)
        else:
            _print_problems(error, console)
        return 1
    if as_json:
        _print_json(recipe.warnings, console, usable=True)
        return 0
    _print_warnings(recipe.warnings, console)
    _print_recipe(recipe, console)
    _print_coverage(cover(recipe), console)
    _print_beyond(beyond_the_table(recipe), console)
    return 0


def _print_problems(error: RecipeError, console: Console) -> None:
    for problem in error.problems:
        _print_problem(problem, console)
    _print_warnings(error.warnings, console)
    count = len(error.problems)
    console.print(f"\n[red]{count} {'problem' if count == 1 else 'problems'}[/]: not usable")
    if any(problem.edit for problem in error.problems):
        console.print("sendit recipe fix corrects what needs no decision")


def _print_warnings(warnings: Sequence[Problem], console: Console) -> None:
    for problem in warnings:
        _print_problem(problem, console)


def _print_problem(problem: Problem, console: Console) -> None:
    colour, word = ("yellow", "warning: ") if problem.warning else ("red", "")
    console.print(
        f"[bold]{escape(str(problem.position))}[/]: [{colour}]{word}{escape(problem.message)}[/]",
        soft_wrap=True,
    )
    if problem.suggestion:
        console.print(f"    {escape(problem.suggestion)}", soft_wrap=True)


def _print_json(problems: Sequence[Problem], console: Console, *, usable: bool) -> None:
    described = [
        {
            "file": problem.position.file,
            "line": problem.position.line,
            "column": problem.position.column,
            "severity": "warning" if problem.warning else "error",
            "rule": str(problem.rule),
            "message": problem.message,
            "suggestion": problem.suggestion,
            "docs": problem.rule.link,
            "can_be_fixed": problem.edit is not None,
        }
        for problem in problems
    ]
    text = json.dumps({"usable": usable, "problems": described}, indent=2)
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _print_recipe(recipe: Recipe, console: Console) -> None:
    filters = ", ".join(f"{len(group.rules)} in {group.name}" for group in recipe.filters)
    console.print(
        f"[green]usable[/]: {len(recipe.header)} header rules; filters: {escape(filters) or 'none'}"
    )
    console.print(f"digest {recipe.digest}")


def _print_coverage(coverage: Coverage, console: Console) -> None:
    table = Table(title=f"DICOM PS3.15 {EDITION}, Table E.1-1: {len(coverage.rows)} attributes")
    table.add_column("what happens")
    table.add_column("attributes", justify="right")
    table.add_column("exposed", justify="right")
    for treatment, count in coverage.treatments.items():
        exposed = sum(row.treatment is treatment for row in coverage.exposed)
        table.add_row(_MEANING[treatment], str(count), str(exposed) if exposed else "")
    console.print(table)
    for option in coverage.options:
        console.print(f"  uses {option.label}")
    if coverage.remaps_dated_uids:
        console.print("  UIDs are kept, but those that contain a date are remapped")
    if coverage.dated_uids:
        console.print(
            f"[yellow]{len(coverage.dated_uids)} UIDs are kept unchanged[/], "
            f"{keyword_of(coverage.dated_uids[0].row.number or 0)} among them, while dates are "
            f"{coverage.dates.lower()}: many makers' UIDs contain the date, which reveals the "
            "shift. Write REPLACE with func:undated_uid in place of KEEP",
            soft_wrap=True,
        )
    if not coverage.exposed:
        codes = ", ".join(code for code, _ in coverage.codes)
        console.print(f"[green]Nothing is exposed[/]; (0012,0064) will hold {codes}")
        return
    console.print(
        "\n[yellow]Exposed[/]: the Basic Profile requires their removal, and no option allows "
        "keeping them.\nSuch an image may not claim the profile: (0012,0064) stays empty."
    )
    listing = Table()
    for heading in ("attribute", "name", "asked", "decided by"):
        listing.add_column(heading)
    for item in coverage.exposed:
        number = item.row.number
        listing.add_row(
            keyword_of(number) if number is not None else item.row.tag,
            escape(item.row.name),
            item.row.basic,
            escape(f"{item.rule.action} on {item.rule.position}") if item.rule else "no rule",
        )
    console.print(listing)


def _print_beyond(kept: Sequence[Reviewed], console: Console) -> None:
    """Print the potentially identifying attributes outside the table that stay unchanged."""
    if not kept:
        console.print("Beyond the table: no potentially identifying attribute is kept unchanged")
        return
    console.print(
        f"\n[yellow]Beyond the table[/]: {len(kept)} potentially identifying attributes "
        "are kept unchanged"
    )
    for holds in Holds:
        names = [one.name for one in kept if one.holds is holds]
        if names:
            more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
            console.print(f"  {holds}: {', '.join(names[:MAX_SHOWN])}{more}", soft_wrap=True)
    console.print("What each may hold, and why: docs/deidentification.md")
