"""What a recipe does to one attribute: the rules that take effect, in order.

deid's order, stated whole: KEEP wins over everything. The other rules act in the order in
which they are written, except that REMOVE spares what a REPLACE or JITTER anywhere in the
recipe names. ADD gives the attribute back after REMOVE.
"""

from __future__ import annotations

from sendit.recipe.attributes import finds_a_sequence, reaches, standard_tags, vrs_of
from sendit.recipe.model import (
    Action,
    HeaderRule,
    Match,
    PatternSelector,
    Recipe,
    TagSelector,
)


class Effects:
    """A recipe's header rules, looked up by the attribute that they name."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._alone: dict[int, list[int]] = {}
        self._others: list[int] = []
        for index, rule in enumerate(recipe.header):
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
        for rule in rules:
            if rule.action is Action.KEEP:
                return (rule,)
        spared = any(rule.action in (Action.REPLACE, Action.JITTER) for rule in rules)
        applied: list[HeaderRule] = []
        for rule in rules:
            if rule.action is Action.REMOVE and spared:
                continue
            if rule.action is not Action.JITTER:
                applied = [rule]
            elif not applied or applied[-1].action not in (Action.REMOVE, Action.BLANK):
                applied.append(rule)
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
