"""Errors and warnings about a recipe, each with its position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sendit.errors import Misconfigured

if TYPE_CHECKING:
    from sendit.recipe.model import Position

DOCS = "docs/recipes.md"


class Rule(StrEnum):
    """What a problem is about; docs/recipes.md has a section for each."""

    ACTION = "action"
    ATTRIBUTE = "attribute"
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
        """Where the documentation explains it."""
        return f"{DOCS}#{self}"


@dataclass(frozen=True, slots=True)
class Edit:
    """How to fix a line: ``old`` is replaced by ``new``.

    Without ``old`` the whole line does; without ``new`` the line becomes a comment. ``line`` is
    another line than the problem's, 0 for one that is to be put before the first.
    """

    old: str = ""
    new: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error or a warning: where, what, what to write instead (empty if nothing comes close),
    and the edit that does so if there is one that needs nobody's decision."""

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
    """A recipe that cannot be used. ``problems`` are its errors, and ``warnings`` what else is to
    be said of it, in the order of the files' lines."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the recipe has {count}; no image was read\n{lines}")
