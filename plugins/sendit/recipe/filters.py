"""Apply the recipe's ``%filter`` lists: decide from its header whether an image is processed.

The lists describe images whose pixels may show who the patient is. They are evaluated in this
order:

1. ``blacklist``, and any list whose name is none of these four: a match filters the image.
2. ``whitelist``: a match lets it pass, and the other lists are skipped.
3. ``graylist`` (or ``greylist``): the regions of all matching rules are blanked and the image
   passes; a match of a rule without regions filters it.
4. ``withheld``: a match filters the image. A site lets such images pass by a white or gray rule
   of its own.

An image that matches no rule passes. deid calls a match in any list "flagged", white ones too.

Two differences from deid: an attribute without a value (zero length, blanks) counts as absent
(PS3.5 7.4.5). And for an attribute with several values that should have one (``NO\\YES``), a black
or gray rule matches if it would for any of the values, a white one only if it would for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sendit.dicom.scan import value_text
from sendit.recipe.attributes import has_one_value
from sendit.recipe.model import Condition, FilterLine, FilterRule, Joiner, Recipe, Region

if TYPE_CHECKING:
    from sendit.dicom.scan import Header

WHITE = frozenset({"whitelist"})
GRAY = frozenset({"graylist", "greylist"})
WITHHELD = frozenset({"withheld"})
"""Lists of images that are filtered because no rule says what to blank in them."""

# YES or NO: matched as words, so that NO does not match UNKNOWN.
YES_OR_NO = frozenset({0x00280301})
_WORDS = re.compile(r"\w+(\|\w+)*")

_OF_PRESENCE = frozenset({"empty", "missing", "present"})
_BLANKS = " \0\t\r\n\\"

MAX_SEEN = 256
"""Number of combinations of values whose decision is cached."""

FieldPath = int | tuple[int, ...]
"""A tag at the top level, or the tags of the enclosing sequences and the attribute."""

Values = Mapping[FieldPath, str | None]
Test = Callable[[Values], bool]
Agree = Callable[[Iterable[bool]], bool]


@dataclass(frozen=True, slots=True)
class Decision:
    """The match of a filter rule.

    Attributes
    ----------
    list, label
        The list and the rule.
    coordinates
        Regions to blank, for each matching rule, in the order of the rules.
    blanks
        Whether the image passes with regions blanked; otherwise it is filtered.
    """

    list: str
    label: str
    coordinates: tuple[tuple[Region, ...], ...] = ()
    blanks: bool = False

    @property
    def wants_rule(self) -> bool:
        """Whether a rule of the site's own would let the image pass."""
        return self.list in WITHHELD

    @property
    def blanks_text(self) -> bool:
        """Whether identifying text is blanked where it is recognised."""
        return any(region.text for regions in self.coordinates for region in regions)

    @property
    def reason(self) -> str:
        """The list and the rule, in the recipe's words; contains nothing of the image."""
        return f"{self.list}: {self.label}"


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    decision: Decision
    applies: Test


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """A recipe's filters, compiled once for all images.

    Attributes
    ----------
    fields
        The attributes that :meth:`decide` uses.
    black, white, gray, withheld
        The rules of each kind of list.
    by_presence
        The subset of ``fields`` of which only the presence of a value matters, which is the same
        for all images of a series.
    """

    fields: tuple[FieldPath, ...]
    black: tuple[_CompiledRule, ...]
    white: tuple[_CompiledRule, ...]
    gray: tuple[_CompiledRule, ...]
    withheld: tuple[_CompiledRule, ...] = ()
    by_presence: frozenset[FieldPath] = frozenset()
    _seen: dict[tuple[str | None, ...], Decision | None] = field(
        default_factory=dict, repr=False, compare=False
    )

    def ask(self, header: Header) -> Decision | None:
        """Return the decision for a file; a sequence with items counts as present."""
        return self.decide({field: _value(header, field) for field in self.fields})

    @property
    def tags(self) -> frozenset[int]:
        """The top-level attributes, including sequences, that :meth:`decide` uses."""
        return frozenset(field if isinstance(field, int) else field[0] for field in self.fields)

    def decide(self, values: Values) -> Decision | None:
        """Decide whether an image is filtered or blanked.

        Parameters
        ----------
        values
            The text of each of ``fields``, several values (and those of several items) separated
            by backslashes; None or no entry if the attribute is absent. For a sequence, any text
            means that it is present.

        Returns
        -------
        Decision or None
            Why the image is filtered, or what to blank in it; None if it passes unchanged.
        """
        key = tuple(
            values.get(field) if field not in self.by_presence else _presence(field, values)
            for field in self.fields
        )
        try:  # the images of a series agree in what filters use
            return self._seen[key]
        except KeyError:
            decision = self._decide(values)
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen[key] = decision
        return decision

    def _decide(self, values: Values) -> Decision | None:
        if hit := _first(self.black, values):
            return hit
        if _first(self.white, values):
            return None
        gray = _joined([rule.decision for rule in self.gray if rule.applies(values)])
        return gray or _first(self.withheld, values)


def _joined(hits: list[Decision]) -> Decision | None:
    """Combine the matching gray rules: their regions in the order of the rules, as in deid."""
    if not hits:
        return None
    without_regions = next((hit for hit in hits if not hit.coordinates), None)
    if without_regions is not None:
        return without_regions
    regions = tuple(each for hit in hits for each in hit.coordinates)
    return Decision(hits[0].list, hits[0].label, regions, blanks=True)


def _value(header: Header, field: FieldPath) -> str | None:
    if not isinstance(field, int):
        return _nested_value(header, field)
    element = header.element(field)
    if element is not None and element[5]:
        return "items"
    return header.text(field)


def _nested_value(header: Header, path: tuple[int, ...]) -> str | None:
    """Return the values of an attribute in all items of the enclosing sequences."""
    data, character_set = header.data, header.character_set
    first = header.element(path[0])
    items = first[5] or () if first is not None else ()
    for tag in path[1:-1]:
        items = [
            inner
            for _, elements in items
            for element in elements
            if element[0] == tag
            for inner in element[5] or ()
        ]
    texts = [
        "items" if nested else value_text(tag, vr, data[start:end], encoding, character_set)
        for encoding, elements in items
        for tag, vr, _, start, end, nested in elements
        if tag == path[-1]
    ]
    return "\\".join(texts) if texts else None


def _first(rules: tuple[_CompiledRule, ...], values: Values) -> Decision | None:
    return next((rule.decision for rule in rules if rule.applies(values)), None)


def compile_filters(recipe: Recipe) -> FilterPlan:
    """Compile the ``%filter`` lists of a recipe that :func:`~sendit.recipe.parse.read_recipe`
    accepted."""
    black: list[_CompiledRule] = []
    white: list[_CompiledRule] = []
    gray: list[_CompiledRule] = []
    withheld: list[_CompiledRule] = []
    fields: set[FieldPath] = set()
    by_value: set[FieldPath] = set()
    for group in recipe.filters:
        rules = black
        for names, kind in ((WHITE, white), (GRAY, gray), (WITHHELD, withheld)):
            if group.name in names:
                rules = kind
        for rule in group.rules:
            regions = (rule.regions,) if rule.regions else ()
            decision = Decision(group.name, rule.label, regions)
            agree = all if group.name in WHITE else any
            rules.append(_CompiledRule(decision, partial(_rule_applies, rule, _tests(rule, agree))))
            for condition in (one for line in rule.lines for one in line.conditions):
                fields.add(_field(condition))
                if condition.operator not in _OF_PRESENCE:
                    by_value.add(_field(condition))
                if condition.inside:  # the sequence's content matters, not only its presence
                    by_value.add(condition.inside[0])
    return FilterPlan(
        tuple(sorted(fields, key=str)),
        tuple(black),
        tuple(white),
        tuple(gray),
        tuple(withheld),
        frozenset(fields - by_value),
    )


def _field(condition: Condition) -> FieldPath:
    return condition.path if condition.inside else condition.tag


def _presence(field: FieldPath, values: Values) -> str | None:
    """Return a placeholder for a value of which only presence and emptiness matter."""
    if values.get(field) is None:
        return None
    return "" if _text(field, values) is None else "a value"


def _tests(rule: FilterRule, agree: Agree) -> tuple[tuple[Test, ...], ...]:
    return tuple(tuple(_test(one, agree) for one in line.conditions) for line in rule.lines)


def _rule_applies(rule: FilterRule, tests: tuple[tuple[Test, ...], ...], values: Values) -> bool:
    """Evaluate a rule: each line from left to right, then the lines from top to bottom."""
    if not rule.lines:
        return True
    result = _line_applies(rule.lines[0], tests[0], values)
    for line, line_tests in zip(rule.lines[1:], tests[1:], strict=True):
        if line.joiner is Joiner.OR:
            result = result or _line_applies(line, line_tests, values)
        else:
            result = result and _line_applies(line, line_tests, values)
    return result


def _line_applies(line: FilterLine, tests: tuple[Test, ...], values: Values) -> bool:
    result = tests[0](values)
    for condition, test in zip(line.conditions[1:], tests[1:], strict=True):
        result = (
            result or test(values) if condition.joiner is Joiner.OR else result and test(values)
        )
    return result


_OPPOSITES = {"notequals": "equals", "notcontains": "contains", "present": "missing"}


def _test(condition: Condition, agree: Agree) -> Test:
    positive = _OPPOSITES.get(condition.operator)
    positive_test = _positive_test(positive or condition.operator, condition)
    test: Test = positive_test if positive is None else lambda values: not positive_test(values)
    if has_one_value(condition.tag):
        return partial(_of_each, _field(condition), test, agree)
    return test


def _of_each(field: FieldPath, test: Test, agree: Agree, values: Values) -> bool:
    """Apply a test to each value of an attribute that should have only one."""
    text = values.get(field)
    if text is None or "\\" not in text:
        return test(values)
    readings = [text, *filter(None, _parts(text))]
    return agree(test({field: reading}) for reading in readings)


def _positive_test(operator: str, condition: Condition) -> Test:
    match operator:
        case "missing":
            return partial(_missing, _field(condition))
        case "empty":
            return partial(_empty, _field(condition))
        case "equals":
            return partial(_equals, _field(condition), condition.text.strip().lower())
        case "contains":
            return partial(_contains, _field(condition), _search(condition))
        case _:
            raise ValueError("not a test in deid's language")


def _missing(field: FieldPath, values: Values) -> bool:
    return _text(field, values) is None


def _empty(field: FieldPath, values: Values) -> bool:
    """Whether the attribute is present without a value; an absent one is missing, not empty."""
    return values.get(field) is not None and _text(field, values) is None


def _text(field: FieldPath, values: Values) -> str | None:
    """Return an attribute's text, or None if it has none: absent or without a value."""
    text = values.get(field)
    return text if text is not None and text.strip(_BLANKS) else None


def _search(condition: Condition) -> re.Pattern[str]:
    text = condition.text
    if condition.tag in YES_OR_NO and _WORDS.fullmatch(text):
        text = rf"\b(?:{text})\b"
    return re.compile(text, re.IGNORECASE)


def _parts(text: str) -> list[str]:
    return [part.strip(" \0") for part in text.split("\\")]


def _equals(field: FieldPath, wanted: str, values: Values) -> bool:
    """Whether the value, or one of several, equals the text, ignoring case."""
    text = _text(field, values)
    if text is None:
        return False
    text = text.lower()
    return text.strip(" \0") == wanted or wanted in _parts(text)


def _contains(field: FieldPath, expression: re.Pattern[str], values: Values) -> bool:
    """Whether the expression matches in the value, or in one of several."""
    text = _text(field, values)
    if text is None:
        return False
    if expression.search(text.strip(" \0")):
        return True
    return "\\" in text and any(map(expression.search, _parts(text)))
