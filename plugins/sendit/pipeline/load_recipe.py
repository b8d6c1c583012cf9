"""Loading a recipe: read, linted and compiled once per process."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import lru_cache

from sendit.deidentify.plan import Plan, compile_plan
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.own import Own, read_own
from sendit.recipe.parse import read_recipe
from sendit.settings import read_settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedRecipe:
    """A compiled recipe for import and anonymize, and the digest of its text."""

    plan: Plan
    filters: FilterPlan
    digest: str


def load_recipe(names: str) -> LoadedRecipe:
    """Read, lint and compile a recipe.

    Parameters
    ----------
    names
        A bundled recipe's name or the absolute path of a deid recipe; several, separated by
        commas, are combined in order.

    Raises
    ------
    RecipeError
        With file, line and reason of every mistake.
    Misconfigured
        The site's own functions or table cannot be used.
    """
    settings = read_settings()
    return _load(names, read_own(settings.recipe_functions, settings.recipe_table))


@lru_cache(maxsize=8)
def _load(names: str, own: Own) -> LoadedRecipe:
    recipe = read_recipe(*(name.strip() for name in names.split(",")), own=own)
    for warning in recipe.warnings:
        _log.warning("recipe: %s", warning)
    return LoadedRecipe(
        plan=compile_plan(recipe),
        filters=compile_filters(recipe),
        digest=hashlib.sha256(f"{recipe.digest} {own.digest}".encode()).hexdigest()
        if own.digest
        else recipe.digest,
    )
