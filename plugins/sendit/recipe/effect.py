"""Precedence: which of the rules that name an attribute act on it, and in what order.

The order is deid's (``deid/dicom/parser.py``). KEEP overrides everything except an ADD at the top
level of an object, in the same recipe file or a later one. Other rules act in the order in which
they are written, but REMOVE does not remove an attribute that a REPLACE or JITTER anywhere in the
recipe names (by name or pattern, not through a list). ADD acts at the top level only, and restores
an attribute after REMOVE.

Unlike in deid, UIDs that every object needs are neither removed nor made equal in all objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sendit.dicom.scan import SOP_CLASS
from sendit.recipe.attributes import NEVER_MATCHED, standard_tags, vrs_of
from sendit.recipe.matching import is_sweeping, matches_a_sequence, reaches
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Literal,
    Match,
    OwnFunction,
    PatternSelector,
    PrivateSelector,
    Recipe,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)

REQUIRED_UIDS = (SOP_CLASS, 0x00080018, 0x0020000D, 0x0020000E)
"""UIDs without which an object is not a valid DICOM instance."""

REMAP = Function("remap_uid")


def is_carried_out(rule: HeaderRule) -> bool:
    """Whether a rule has any effect.

    Rules about file meta, group lengths, and the pixel data and colour tables have none; nor, as in
    deid, has a KEEP of a list.
    """
    if isinstance(rule.selector, FieldsSelector):
        return rule.action is not Action.KEEP
    if not isinstance(rule.selector, TagSelector):
        return True
    tag = rule.selector.tag
    if tag >> 16 == 2:
        return False
    return rule.action is Action.KEEP or not (tag in NEVER_MATCHED or tag & 0xFFFF == 0)


def acting(named: Iterable[HeaderRule], files: Sequence[str], *, top: bool) -> list[HeaderRule]:
    """Return the rules that act on an attribute.

    Parameters
    ----------
    named
        The rules that name the attribute, in the order of the recipe.
    files
        The recipe's files, in order.
    top
        Whether the attribute is at the top level of an object; ADD acts only there.

    Returns
    -------
    list[HeaderRule]
        The rules in the order in which they act. Only KEEP rules if the attribute is kept; none
        of them if an ADD overrides them.
    """
    rules = [rule for rule in named if top or rule.action is not Action.ADD]
    keeping = [rule for rule in rules if rule.action is Action.KEEP]
    if keeping:
        rules = _from_add_on(rules, keeping, files)
        if not rules:
            return keeping
    if any(_prevents_remove(rule) for rule in rules):
        return [rule for rule in rules if rule.action is not Action.REMOVE]
    return rules


def _from_add_on(
    rules: Sequence[HeaderRule], keeping: Iterable[HeaderRule], files: Sequence[str]
) -> list[HeaderRule]:
    """Return the rules that act despite a KEEP: those from the first ADD on that is not in an
    earlier file than the KEEP."""
    last_kept = max(files.index(rule.position.file) for rule in keeping)
    for index, rule in enumerate(rules):
        if rule.action is Action.ADD and files.index(rule.position.file) >= last_kept:
            return [rule for rule in rules[index:] if rule.action is not Action.KEEP]
    return []


def _prevents_remove(rule: HeaderRule) -> bool:
    return rule.action in (Action.REPLACE, Action.JITTER) and not isinstance(
        rule.selector, FieldsSelector | ValuesSelector
    )


def leaves_needed(tag: int, action: Action, value: Value | None) -> bool:
    """Whether a required UID is still present, and unique to its object, after an action.

    Parameters
    ----------
    tag
        The UID's attribute, one of :data:`REQUIRED_UIDS`.
    action, value
        Action and value of a rule.
    """
    if action is Action.KEEP:
        return True
    if action in (Action.REMOVE, Action.BLANK) or isinstance(value, Literal | Variable):
        return False
    return tag != SOP_CLASS or value == REMAP  # which does not change registered UIDs


class Effects:
    """The effects of a recipe's header rules on standard attributes.

    Parameters
    ----------
    recipe
        The recipe.
    protect_needed
        Whether rules that would remove a UID that every object needs remap it instead, as the
        engine does.
    """

    def __init__(self, recipe: Recipe, *, protect_needed: bool = True) -> None:
        self._recipe = recipe
        self._protect_needed = protect_needed
        self._by_tag: dict[int, list[int]] = {}
        self._others: list[int] = []
        for index, rule in enumerate(recipe.header):
            if not is_carried_out(rule) or (
                isinstance(rule.value, OwnFunction) and (rule.action is Action.REMOVE)
            ):
                continue
            if isinstance(rule.selector, TagSelector):
                self._by_tag.setdefault(rule.selector.tag, []).append(index)
            elif not isinstance(rule.selector, PrivateSelector):  # names no standard attribute
                self._others.append(index)

    def of(
        self, tag: int, *, nested: bool = False, in_kept: bool = False
    ) -> tuple[HeaderRule, ...]:
        """Return the rules that determine the result for a standard attribute.

        Rules on values (``values:``) depend on the object and are left out.

        Parameters
        ----------
        tag
            The attribute.
        nested
            Whether it is in a sequence, where ADD does nothing, rather than at the top level.
        in_kept
            Whether it is in a sequence that is kept, where ALL and ``except:`` do nothing.

        Returns
        -------
        tuple[HeaderRule, ...]
            Empty if no rule names the attribute and it stays. Otherwise one rule, followed by any
            JITTER that acts on its result.
        """
        rules = self._naming(tag)
        if nested:
            rules = [rule for rule in rules if not _may_stop_at_sequences(rule)]
        if in_kept:
            rules = [rule for rule in rules if not is_sweeping(rule)]
        rules = acting(rules, self._recipe.files, top=not nested)
        if rules and rules[0].action is Action.KEEP:
            return (rules[0],)
        applied = _not_overwritten(rules)
        if self._protect_needed and not nested and tag in REQUIRED_UIDS:
            return _protected(tag, applied)
        return applied

    def _naming(self, tag: int) -> list[HeaderRule]:
        header, fields = self._recipe.header, self._recipe.fields
        others = [i for i in self._others if reaches(header[i].selector, tag, fields)]
        return [header[i] for i in sorted([*others, *self._by_tag.get(tag, ())])]

    def keeps_a_sequence(self) -> bool:
        """Whether a KEEP reaches any sequence of the standard."""
        return any(rule.action is Action.KEEP for rule in self._recipe.header) and any(
            rule.action is Action.KEEP
            for tag in standard_tags()
            if vrs_of(tag) == ("SQ",)
            for rule in self.of(tag)
        )


def _not_overwritten(rules: Iterable[HeaderRule]) -> tuple[HeaderRule, ...]:
    """Return the last rule that sets or removes the value, and each JITTER after it."""
    applied: list[HeaderRule] = []
    for rule in rules:
        if rule.action is not Action.JITTER:
            applied = [rule]
        elif not applied or applied[-1].action not in (Action.REMOVE, Action.BLANK):
            applied.append(rule)
    return tuple(applied)


def _protected(tag: int, applied: tuple[HeaderRule, ...]) -> tuple[HeaderRule, ...]:
    """Return the rules that act on a required UID; one that would remove it remaps it instead."""
    if not applied or leaves_needed(tag, applied[-1].action, applied[-1].value):
        return applied
    if tag == SOP_CLASS:
        return ()
    rule = applied[-1]
    return (HeaderRule(Action.REPLACE, rule.selector, REMAP, rule.position),)


def _may_stop_at_sequences(rule: HeaderRule) -> bool:
    """Whether a rule may do nothing in some sequence: ``except:`` with an expression that matches
    the sequence's own name."""
    return (
        rule.action is not Action.KEEP
        and isinstance(rule.selector, PatternSelector)
        and rule.selector.match is Match.EXCEPT
        and matches_a_sequence(rule.selector)
    )
