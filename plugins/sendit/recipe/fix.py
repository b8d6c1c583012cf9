"""Fix unambiguous problems in a recipe, and mark those that a person must decide.

The reason is written as a comment above each changed line, not behind it: deid 0.4.13 ignores a
REMOVE that is followed by a comment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sendit.recipe.own import Own
from sendit.recipe.parse import read_text
from sendit.recipe.problems import Edit, Problem, RecipeError

MARK = "# sendit: "
DECIDE = f"{MARK}decide: "
MAX_ROUNDS = 8
"""A line can have several problems, and one can hide another."""


@dataclass(slots=True)
class _Line:
    """A line in its current form, and the comments to insert above it."""

    text: str
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed recipe.

    Attributes
    ----------
    text
        The new text.
    changed
        Number of changed lines.
    left
        The errors that remain.
    """

    text: str
    changed: int
    left: tuple[Problem, ...]


def fix(name: str, text: str, own: Own | None = None) -> Fixed:
    """Fix a recipe.

    Parameters
    ----------
    name
        Name of the recipe in messages.
    text
        Its text.
    own
        The site's functions and variables.
    """
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    lines = [_Line(line, []) for line in text.split("\n")]
    top: list[str] = []
    changed: set[int] = set()
    problems: tuple[Problem, ...] = ()
    for _ in range(MAX_ROUNDS):
        problems = _problems(name, _joined(lines, top, notes=False), own)
        edits = _edits(problems, len(top))
        if not edits:
            break
        for number, on_line in edits.items():
            if number < 0:
                top.append(on_line[0].edit.new if on_line[0].edit else "")
                continue
            for problem in on_line:
                if problem.edit is not None and _apply(lines[number], problem.edit):
                    lines[number].notes.append(f"{MARK}{problem.message}")
                    changed.add(number)
    offset = len(top)
    left = tuple(problem for problem in problems if not problem.warning)
    for problem in left:
        number = problem.position.line - 1 - offset
        if 0 <= number < len(lines):
            hint = f" ({problem.suggestion})" if problem.suggestion else ""
            lines[number].notes.append(f"{DECIDE}{problem.message}{hint}")
    return Fixed(_joined(lines, top, notes=True), len(changed) + offset, left)


def _problems(name: str, text: str, own: Own | None) -> tuple[Problem, ...]:
    try:
        return read_text((name, text), own=own).warnings
    except RecipeError as error:
        return (*error.problems, *error.warnings)


def _edits(problems: tuple[Problem, ...], offset: int) -> dict[int, list[Problem]]:
    """Return the problems with an edit, by the index of the line to change (-1 to insert one)."""
    edits: dict[int, list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.edit is None:
            continue
        line = problem.position.line if problem.edit.line is None else problem.edit.line
        edits[line - 1 - offset if line else -1].append(problem)
    return edits


def _apply(line: _Line, edit: Edit) -> bool:
    """Change a line; return False if it no longer contains the text to replace."""
    bare = line.text.strip()
    if bare.startswith("#"):
        return False
    indent = line.text[: len(line.text) - len(line.text.lstrip())]
    if edit.old:
        if edit.old not in " ".join(line.text.split()):
            return False
        place = line.text.rfind(edit.old)
        text = line.text if place >= 0 else indent + " ".join(line.text.split())
        place = text.rfind(edit.old)
        line.text = (text[:place] + edit.new + text[place + len(edit.old) :]).rstrip()
    elif edit.new:
        line.text = indent + edit.new
    else:
        line.text = f"{indent}# {bare}"
    return True


def _joined(lines: list[_Line], top: list[str], *, notes: bool) -> str:
    parts = list(top)
    for line in lines:
        if notes:
            indent = line.text[: len(line.text) - len(line.text.lstrip())]
            parts += [indent + " ".join(note.split()) for note in dict.fromkeys(line.notes)]
        parts.append(line.text)
    return "\n".join(parts)
