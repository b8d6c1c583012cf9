"""Explain what a recipe does to an attribute, and by which lines."""

from __future__ import annotations

from dataclasses import dataclass

from sendit.recipe import attributes
from sendit.recipe.attributes import keyword_of, tag_text, vrs_of
from sendit.recipe.coverage import Treatment, treatment_of
from sendit.recipe.effect import Effects, is_carried_out
from sendit.recipe.matching import reaches
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Literal,
    OwnFunction,
    PatternSelector,
    PrivateSelector,
    Recipe,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)
from sendit.recipe.profile import table

_TREATMENTS = {
    Treatment.GONE: "nothing of the original is kept",
    Treatment.CLEANED: "it is kept, cleaned",
    Treatment.MOVED: "its date is shifted by the patient's jitter",
    Treatment.KEPT: "it is kept unchanged",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation of what a recipe does to an attribute, as lines to print."""

    heading: str
    lines: tuple[str, ...]


def explain(recipe: Recipe, name: str) -> Explained | None:
    """Explain an attribute.

    Parameters
    ----------
    recipe
        A usable recipe.
    name
        A keyword in any case, or a tag as ``(gggg,eeee)`` or ``ggggeeee``.

    Returns
    -------
    Explained or None
        None if there is no such attribute.
    """
    tag = tag_named(name)
    if tag is None:
        return None
    heading = f"{keyword_of(tag)} {tag_text(tag)}, {' or '.join(vrs_of(tag))}"
    lines: list[str] = []
    row = next((row for row in table() if row.number == tag), None)
    if row is not None:
        lines.append(f"PS3.15 Table E.1-1 requires: {row.basic}")
    effects = Effects(recipe)
    applied, nested = effects.of(tag), effects.of(tag, nested=True)
    lines.append(f"at the top: {_summary(applied)}")
    if nested != applied:
        lines.append(f"in a sequence: {_summary(nested)}")
    naming = [rule for rule in recipe.header if _names(rule, tag, recipe)]
    lines += [
        f"{rule.position}: {shown(rule)}{'' if rule in applied else ': ' + _why(rule, applied)}"
        for rule in naming
    ]
    if any(isinstance(rule.selector, ValuesSelector) for rule in recipe.header):
        lines.append("rules on values (values:) apply if an object holds one of them")
    return Explained(heading, tuple(lines))


def tag_named(name: str) -> int | None:
    """Return the tag of a keyword, ``(gggg,eeee)`` or ``ggggeeee``; None if there is none."""
    digits = "".join(name.strip("() ").replace(",", "").split())
    tag = attributes.tag_of(name)
    if tag is not None:
        return tag
    try:
        number = int(digits, 16) if len(digits) == 8 else None
    except ValueError:
        return None
    return number if number is not None and attributes.is_known(number) else None


def _summary(applied: tuple[HeaderRule, ...]) -> str:
    if not applied:
        return "no rule applies: it is kept unchanged"
    by = " and ".join(f"{rule.action} on line {rule.position.line}" for rule in applied)
    return f"{_TREATMENTS[treatment_of(applied)]}, by {by}"


def _names(rule: HeaderRule, tag: int, recipe: Recipe) -> bool:
    if isinstance(rule.selector, TagSelector):
        return rule.selector.tag == tag
    return reaches(rule.selector, tag, recipe.fields)


def _why(rule: HeaderRule, applied: tuple[HeaderRule, ...]) -> str:
    if not is_carried_out(rule):
        return "ignored"
    if isinstance(rule.value, OwnFunction) and rule.action is Action.REMOVE:
        return "applies if the function says so"
    if any(one.action is Action.KEEP for one in applied):
        return "overridden by KEEP"
    if rule.action is Action.REMOVE and applied and applied[-1].action is not Action.REMOVE:
        return "leaves what another rule names, or changes for it"
    return "overridden by another rule"


def shown(rule: HeaderRule) -> str:
    """Return a rule in recipe syntax."""
    match rule.selector:
        case TagSelector(tag):
            field = keyword_of(tag)
        case PrivateSelector(group, creator, element):
            field = f'({group:04X},"{creator}",{element:02X})'
        case PatternSelector(match, text):
            field = f"{match}:{text}" if text else str(match)
        case FieldsSelector(name):
            field = f"fields:{name}"
        case ValuesSelector(name):
            field = f"values:{name}"
    return " ".join(filter(None, (str(rule.action), field, _value(rule.value))))


def _value(value: Value | None) -> str:
    match value:
        case None:
            return ""
        case Literal(text):
            return text
        case Variable(name):
            return f"var:{name}"
        case OwnFunction(name):
            return f"func:{name}"
        case Function(name, arguments):
            return " ".join((f"func:{name}", *(f"{key}={given}" for key, given in arguments)))
