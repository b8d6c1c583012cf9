"""Errors and warnings about a recipe, with positions and fixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sendit.errors import Misconfigured

if TYPE_CHECKING:
    from sendit.recipe.model import Position

DOCS = "docs/recipes.md"

MARK = "# sendit: "
"""Begins a comment of ``recipe fix``."""

DECIDE = f"{MARK}decide: "
"""Begins a comment of ``recipe fix`` on what a person must decide."""


class Rule(StrEnum):
    """The kind of a problem; docs/recipes.md has a section for each."""

    ACTION = "action"
    ATTRIBUTE = "attribute"
    DECISION = "decision"
    FILE = "file"
    FILE_META = "file-meta"
    FILTER = "filter"
    FUNCTION = "function"
    GRAMMAR = "grammar"
    HEADER = "header"
    JITTER = "jitter"
    LIST = "list"
    NEEDED_UID = "needed-uid"
    PATTERN = "pattern"
    PRECEDENCE = "precedence"
    PROTECTED = "protected"
    REMARK = "remark"
    VALUE = "value"
    VARIABLE = "variable"

    @property
    def link(self) -> str:
        """Page and anchor of its documentation."""
        return f"{DOCS}#{self}"


@dataclass(frozen=True, slots=True)
class Edit:
    """How to fix a line: replace ``old`` by ``new``.

    Without ``old``, the entire line is replaced; without either, it becomes a comment. ``line`` is
    the line to change if it is not the problem's; 0 inserts one before the first.
    """

    old: str = ""
    new: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error or a warning.

    Attributes
    ----------
    position
        Where it is.
    message
        What is wrong.
    suggestion
        What to write instead; may be empty.
    rule
        Its kind.
    warning
        Whether the recipe is usable despite it.
    edit
        An unambiguous fix, if there is one.
    """

    position: Position
    message: str
    suggestion: str = ""
    rule: Rule = Rule.GRAMMAR
    warning: bool = False
    edit: Edit | None = None

    def __str__(self) -> str:
        text = f"{self.position}: {self.message}"
        return f"{text} ({self.suggestion})" if self.suggestion else text


class RecipeError(Misconfigured):
    """A recipe cannot be used.

    Attributes
    ----------
    problems
        Its errors, in the order of files and lines.
    warnings
        Its warnings, likewise.
    """

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the recipe has {count}; no image was read\n{lines}")
