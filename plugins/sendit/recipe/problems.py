"""What is wrong with a recipe: every mistake at once, each with its place and a way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendit.errors import Misconfigured
from sendit.recipe.model import Position


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, what, and what to write instead (empty if nothing comes close)."""

    position: Position
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"{self.position}: {self.message}"
        return f"{text} ({self.suggestion})" if self.suggestion else text


class RecipeError(Misconfigured):
    """A recipe that cannot be used. ``problems`` are in the order of the files' lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the recipe has {count}; no image was read\n{lines}")
