"""Rules that protect what a rule was meant for, until a person decides what it should do.

A rule of another program's recipe can name a function, a variable or a list that only that program
defines. What it was meant to do is known roughly: hide something. :func:`stand_in` returns a rule
that hides at least as much and has the same precedence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sendit.recipe import attributes
from sendit.recipe.functions import shifts_dates
from sendit.recipe.model import Action
from sendit.recipe.problems import Problem, Rule
from sendit.recipe.spelling import near

_RULE = re.compile(
    r'(?P<action>[A-Z]+)\s+(?P<field>\(\s*[0-9A-Fa-f]{4}\s*,[^)]*\)|(?:[^\s"]|"[^"]*")+)\s*'
    r"(?P<value>.*)"
)
_BARE_PRIVATE = re.compile(r"\(?\s*([0-9A-Fa-f]{4})\s*,?\s*[0-9A-Fa-f]{2}([0-9A-Fa-f]{2})\s*\)?")

CREATOR = "RECIPE"
"""Private creator for an attribute that a recipe adds without one."""

COMMENT = ""
"""The rule is left out: it keeps or adds something, and without it less is delivered."""

_CODES = {
    "AccessionNumber": "var:item_id",
    "PatientID": "var:entity_id",
    "PatientName": "var:entity_id",
    "StudyID": "var:item_id",
}
_OF_MEANING = frozenset((Rule.ATTRIBUTE, Rule.ACTION, Rule.GRAMMAR, Rule.LIST, Rule.PATTERN))
_OF_VALUE = frozenset((Rule.FUNCTION, Rule.VARIABLE, Rule.VALUE))


def stand_in(line: str, problem: Problem) -> str | None:
    """Return a rule to use instead of one with an error.

    Parameters
    ----------
    line
        A line of ``%header``.
    problem
        Its error.

    Returns
    -------
    str or None
        The rule; :data:`COMMENT` to leave it out; None if there is no rule that is certain to
        protect as much.
    """
    parts = _RULE.fullmatch(line.strip())
    if parts is None or parts["action"] not in Action.__members__:
        return None
    field, value = parts["field"], parts["value"]
    if problem.rule is Rule.ATTRIBUTE and not _may_be_meant(field):
        return COMMENT  # it resembles no attribute: no file has it
    return _INSTEAD[Action[parts["action"]]](field, value, problem)


def _may_be_meant(field: str) -> bool:
    """Whether an unknown name resembles that of an attribute."""
    names = (name for name in re.split(r"[:_|(),]", field) if name)
    return not field.isalnum() or any(map(near, names))


def _instead_of_keep(_field: str, _value: str, problem: Problem) -> str | None:
    return COMMENT if problem.rule in _OF_MEANING else None


def _instead_of_jitter(field: str, value: str, problem: Problem) -> str | None:
    if problem.rule is Rule.LIST:
        return f"JITTER select:VR:DA {value}"
    if problem.rule is Rule.JITTER and _vrs(field) == ("TM",):
        return f"BLANK {field}"
    needs_days = problem.rule in (Rule.JITTER, Rule.FUNCTION, Rule.VARIABLE)
    return f"JITTER {field} var:jitter" if needs_days else None


def _instead_of_removal(field: str, _value: str, problem: Problem) -> str | None:
    if problem.rule is Rule.LIST:
        return "REMOVE ALL"
    return f"REMOVE {field}" if problem.rule is Rule.FUNCTION else None


def _instead_of_replace(field: str, value: str, problem: Problem) -> str | None:
    if problem.rule is Rule.LIST:
        return "REMOVE ALL"
    if problem.rule not in _OF_VALUE:
        return None
    is_date = not attributes.DATE_VRS.isdisjoint(_vrs(field))
    if is_date and value.startswith(("func:", "deid_func:")) and shifts_dates(value):
        return f"JITTER {field} var:jitter"
    return f"REPLACE {field} {_protected_value(field)}"


def _instead_of_add(field: str, value: str, problem: Problem) -> str:
    if private := _BARE_PRIVATE.fullmatch(field):
        group, element = private.groups()
        if int(group, 16) & 1:
            text = "func:dummy" if ":" in value else value
            return f'ADD ({group},"{CREATOR}",{element}) {text}'
    if problem.rule in _OF_VALUE and _vrs(field):
        return f"ADD {field} {_protected_value(field)}"
    return COMMENT


def _protected_value(field: str) -> str:
    """Return the code that the attribute usually holds, or else a dummy, which is valid for every
    VR and for a UID depends on the original."""
    tag = _tag(field)
    keyword = attributes.keyword_of(tag) if tag is not None else ""
    return _CODES.get(keyword, "func:dummy")


def _vrs(field: str) -> tuple[str, ...]:
    tag = _tag(field)
    return attributes.vrs_of(tag) if tag is not None else ()


def _tag(field: str) -> int | None:
    field = field.removeprefix("fields:")  # a list that is not there may be meant as an attribute
    digits = re.sub(r"[(), ]", "", field)
    tag = attributes.tag_of(field)
    if tag is None and re.fullmatch(r"[0-9A-Fa-f]{8}", digits):
        tag = int(digits, 16)
    return tag


_INSTEAD: Final[dict[Action, Callable[[str, str, Problem], str | None]]] = {
    Action.ADD: _instead_of_add,
    Action.BLANK: _instead_of_removal,
    Action.JITTER: _instead_of_jitter,
    Action.KEEP: _instead_of_keep,
    Action.REMOVE: _instead_of_removal,
    Action.REPLACE: _instead_of_replace,
}
