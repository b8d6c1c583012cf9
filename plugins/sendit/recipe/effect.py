"""What a recipe does to one attribute: the rules that take effect, in order.

deid's order, stated whole: KEEP wins over everything. The other rules act in the order in
which they are written, except that REMOVE spares what a REPLACE or JITTER anywhere in the
recipe names (not through a list). ADD gives the attribute back after REMOVE, and wins over a
KEEP of the same or an earlier file. A REMOVE with a condition may do nothing, and counts for
nothing here.

Beside deid: the UIDs that every object needs are neither removed nor made the same in all.
"""

from __future__ import annotations

from collections.abc import Sequence

from sendit.dicom.scan import SOP_CLASS
from sendit.recipe.attributes import (
    UNREACHED,
    finds_a_sequence,
    reaches,
    standard_tags,
    vrs_of,
)
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Literal,
    Match,
    OwnFunction,
    PatternSelector,
    Recipe,
    TagSelector,
    Variable,
)

NEEDED = (SOP_CLASS, 0x00080018, 0x0020000D, 0x0020000E)
"""UIDs without which an object is not a DICOM instance that anything could file or open."""

REMAP = Function("remap_uid")


def is_carried_out(rule: HeaderRule) -> bool:
    """Whether a rule is one that acts at all: not one about file meta, a group's length, or what
    the image is made of."""
    if not isinstance(rule.selector, TagSelector):
        return True
    tag = rule.selector.tag
    if tag >> 16 == 2:
        return False
    return rule.action is Action.KEEP or not (tag in UNREACHED or tag & 0xFFFF == 0)


def after_keep(rules: Sequence[HeaderRule], files: Sequence[str]) -> list[HeaderRule] | None:
    """Return the rules that act though a KEEP names the attribute: from the first ADD on that is
    not of a file before the KEEP. None if there is none: it stays as it is."""
    last_kept = max(files.index(rule.position.file) for rule in rules if rule.action is Action.KEEP)
    for index, rule in enumerate(rules):
        if rule.action is Action.ADD and files.index(rule.position.file) >= last_kept:
            return [rule for rule in rules[index:] if rule.action is not Action.KEEP]
    return None


def is_needed_in_effect(tag: int, applied: Sequence[HeaderRule]) -> bool:
    """Whether a needed UID is still one of its own after the rules that take effect."""
    last = applied[-1]
    if last.action is Action.KEEP:
        return True
    if last.action in (Action.REMOVE, Action.BLANK) or isinstance(last.value, Literal | Variable):
        return False
    return tag != SOP_CLASS or last.value == REMAP  # which leaves registered UIDs as they are


class Effects:
    """A recipe's header rules, looked up by the attribute that they name."""

    def __init__(self, recipe: Recipe, *, spare_needed: bool = True) -> None:
        self._recipe = recipe
        self._spare_needed = spare_needed
        self._alone: dict[int, list[int]] = {}
        self._others: list[int] = []
        for index, rule in enumerate(recipe.header):
            if not is_carried_out(rule) or (
                isinstance(rule.value, OwnFunction) and (rule.action is Action.REMOVE)
            ):
                continue
            if isinstance(rule.selector, TagSelector):
                self._alone.setdefault(rule.selector.tag, []).append(index)
            else:
                self._others.append(index)

    def of(
        self, tag: int, *, nested: bool = False, in_kept: bool = False
    ) -> tuple[HeaderRule, ...]:
        """Return the rules that decide a standard attribute at the top level of an object.

        Empty if no rule names it (it stays). One rule, or several when each acts on what the
        one before left, which only JITTER does. Rules on values (``values:``) depend on the
        object and are left out.

        Parameters
        ----------
        tag
            The attribute.
        nested
            Inside a sequence instead, where ADD does nothing.
        in_kept
            Inside a sequence that is kept, where ALL and ``except:`` name nothing.
        """
        header, fields = self._recipe.header, self._recipe.fields
        found = [i for i in self._others if reaches(header[i].selector, tag, fields)]
        rules = [header[i] for i in sorted([*found, *self._alone.get(tag, ())])]
        if nested:
            rules = [rule for rule in rules if not _stops_at_sequences(rule)]
        if in_kept:
            rules = [rule for rule in rules if not _is_everything(rule)]
        kept = next((rule for rule in rules if rule.action is Action.KEEP), None)
        if kept is not None:
            added = after_keep(rules, self._recipe.files)
            if added is None:
                return (kept,)
            rules = added
        spared = any(
            rule.action in (Action.REPLACE, Action.JITTER)
            and not isinstance(rule.selector, FieldsSelector)
            for rule in rules
        )
        applied: list[HeaderRule] = []
        for rule in rules:
            if rule.action is Action.REMOVE and spared:
                continue
            if rule.action is not Action.JITTER:
                applied = [rule]
            elif not applied or applied[-1].action not in (Action.REMOVE, Action.BLANK):
                applied.append(rule)
        if (
            self._spare_needed
            and not nested
            and tag in NEEDED
            and applied
            and not is_needed_in_effect(tag, applied)
        ):
            if tag == SOP_CLASS:
                return ()
            rule = applied[-1]
            return (HeaderRule(Action.REPLACE, rule.selector, REMAP, rule.position),)
        return tuple(applied)

    def keeps_a_sequence(self) -> bool:
        """Whether a KEEP reaches any sequence of the standard."""
        return any(rule.action is Action.KEEP for rule in self._recipe.header) and any(
            rule.action is Action.KEEP
            for tag in standard_tags()
            if vrs_of(tag) == ("SQ",)
            for rule in self.of(tag)
        )


def _stops_at_sequences(rule: HeaderRule) -> bool:
    """Whether a rule may do nothing inside some sequence: ADD, and ``except:`` with an
    expression that is found in the sequence's own name."""
    if rule.action is Action.ADD:
        return True
    return (
        rule.action is not Action.KEEP
        and isinstance(rule.selector, PatternSelector)
        and rule.selector.match is Match.EXCEPT
        and finds_a_sequence(rule.selector)
    )


def _is_everything(rule: HeaderRule) -> bool:
    return isinstance(rule.selector, PatternSelector) and rule.selector.match in (
        Match.ALL,
        Match.EXCEPT,
    )
