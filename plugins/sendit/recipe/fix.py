"""Fix unambiguous problems in a recipe, and mark those that a person must decide.

A rule that cannot be fixed without a decision is replaced by one that protects as much
(:mod:`sendit.recipe.stand_in`), so that the recipe can be used; the original stays above it as a
comment, and reading the recipe gives a warning until the mark is deleted. Other rules with an error
stay as they are.

The reason is written as a comment above each changed line, not behind it: deid 0.4.13 ignores a
REMOVE that is followed by a comment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sendit.recipe.own import Own
from sendit.recipe.parse import read_text
from sendit.recipe.problems import DECIDE, MARK, Edit, Problem, RecipeError
from sendit.recipe.stand_in import stand_in

MAX_ROUNDS = 8
"""A line can have several problems, and one can hide another."""


@dataclass(slots=True)
class _Line:
    """A line in its current form, and the comments to insert above it."""

    text: str
    notes: list[str]


@dataclass(slots=True)
class _Replaced:
    """A rule that another one stands in for: its text, and its errors."""

    text: str
    problems: list[Problem] = field(default_factory=list)

    def notes(self, instead: str) -> list[str]:
        """Return the comments above the rule that stands in."""
        reasons = [_to_decide(problem) for problem in self.problems]
        if instead.lstrip().startswith("#"):
            return [*reasons[:-1], f"{reasons[-1]}; left out until then"]
        return [
            *reasons[:-1],
            f"{reasons[-1]}; until then: {instead.strip()}",
            f"# {self.text.strip()}",
        ]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed recipe.

    Attributes
    ----------
    text
        The new text.
    changed
        Number of changed lines.
    undecided
        The errors for which a rule stands in until a person decides.
    left
        The errors that remain.
    """

    text: str
    changed: int
    undecided: tuple[Problem, ...]
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
    return _Fixer(name, text, own).fixed()


class _Fixer:
    """Fixes one recipe.

    Parameters
    ----------
    name, text, own
        See :func:`fix`.
    """

    def __init__(self, name: str, text: str, own: Own | None) -> None:
        self._name, self._own = name, own
        text = text.replace("\r\n", "\n").removeprefix("\ufeff")
        self._lines = [_Line(line, []) for line in text.split("\n")]
        self._top: list[str] = []
        self._changed: set[int] = set()

    def fixed(self) -> Fixed:
        """Return the fixed recipe."""
        self._apply_edits()
        undecided = self._protect()
        problems = self._apply_edits()
        left = tuple(problem for problem in problems if not problem.warning)
        for problem in left:
            if (number := self._number(problem)) >= 0:
                self._lines[number].notes.append(_to_decide(problem))
        changed = len(self._changed) + len(self._top)
        text = _joined(self._lines, self._top, notes=True)
        return Fixed(text, changed, tuple(undecided), left)

    def _apply_edits(self) -> tuple[Problem, ...]:
        """Apply the edits that problems suggest; return the problems without one."""
        problems: tuple[Problem, ...] = ()
        for _ in range(MAX_ROUNDS):
            problems = self._problems()
            edits = _edits(problems, len(self._top))
            if not edits:
                break
            for number, on_line in edits.items():
                if number < 0:
                    self._top.append(on_line[0].edit.new if on_line[0].edit else "")
                    continue
                for problem in on_line:
                    if problem.edit is not None and _apply(self._lines[number], problem.edit):
                        self._lines[number].notes.append(f"{MARK}{problem.message}")
                        self._changed.add(number)
        return problems

    def _protect(self) -> list[Problem]:
        """Replace rules with an error by rules that protect as much; return their errors."""
        replaced: dict[int, _Replaced] = {}
        for _ in range(MAX_ROUNDS):
            replaced_now = [self._stand_in(problem, replaced) for problem in self._errors()]
            if not any(replaced_now):
                break
            self._apply_edits()
        failed = {number for problem in self._errors() if (number := self._number(problem)) >= 0}
        for number, rule in replaced.items():
            line = self._lines[number]
            if number in failed:
                line.text = rule.text
            else:
                line.notes += rule.notes(line.text)
                self._changed.add(number)
        kept = (rule for number, rule in replaced.items() if number not in failed)
        return [problem for rule in kept for problem in rule.problems]

    def _stand_in(self, problem: Problem, replaced: dict[int, _Replaced]) -> bool:
        """Replace the rule with an error, if there is one that protects as much."""
        number = self._number(problem)
        if number < 0:
            return False
        line = self._lines[number]
        instead = stand_in(line.text, problem)
        if instead is None:
            return False
        indent = line.text[: len(line.text) - len(line.text.lstrip())]
        rule = replaced.setdefault(number, _Replaced(line.text))
        rule.problems.append(problem)
        line.text = f"{indent}{instead}" if instead else f"{indent}# {rule.text.strip()}"
        return True

    def _errors(self) -> list[Problem]:
        return [problem for problem in self._problems() if not problem.warning]

    def _number(self, problem: Problem) -> int:
        """Return the index of the line of a problem, or -1."""
        number = problem.position.line - 1 - len(self._top)
        return number if 0 <= number < len(self._lines) else -1

    def _problems(self) -> tuple[Problem, ...]:
        return _problems(self._name, _joined(self._lines, self._top, notes=False), self._own)


def _to_decide(problem: Problem) -> str:
    hint = f" ({problem.suggestion})" if problem.suggestion else ""
    return f"{DECIDE}{problem.message}{hint}"


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
