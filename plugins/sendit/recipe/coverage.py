"""Compare a recipe with PS3.15 Table E.1-1: exposed attributes, and options that it fulfils.

An attribute of the table is covered if nothing of its original value stays, or if an option of
the standard allows what stays. This determines what the recipe may claim in (0012,0064) and
(0028,0303).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from pydicom._private_dict import private_dictionaries

from sendit.recipe.attributes import FIRST_DATA_SET_TAG, vrs_of
from sendit.recipe.effect import Effects
from sendit.recipe.matching import (
    expression_of,
    matches_a_sequence,
    names_of,
    sequence_names,
)
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Match,
    OwnFunction,
    PatternSelector,
    PrivateSelector,
    Recipe,
    Selector,
    TagSelector,
    Variable,
)
from sendit.recipe.profile import PRIVATE, Option, Row, safe_private, table
from sendit.recipe.review import Reviewed, review

# PS3.16 CID 7050, De-identification Method
BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES: dict[Option, tuple[str, str]] = {
    Option.GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: (
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    Option.MODIFIED_DATES: (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    Option.PATIENT: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE: ("113109", "Retain Device Identity Option"),
    Option.UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
METHODS: dict[str, str] = {
    **dict((BASIC_CODE, *OPTION_CODES.values())),
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
}
"""All codes of CID 7050 with their meanings, including those that no recipe fulfils."""

_PLAIN = re.compile(r"[A-Za-z0-9|]+")
_PATH = re.compile(r"\^(?:[a-z0-9]+__)+([a-z0-9]+)\$")
_MOVED_DATES = frozenset({"entity_timestamp", "item_timestamp"})


class Treatment(StrEnum):
    """What remains of an attribute's original value."""

    GONE = "gone"
    CLEANED = "cleaned"
    MOVED = "moved"
    KEPT = "kept"


_BY_FUNCTION = {
    "cap_age": Treatment.CLEANED,
    "clean_code": Treatment.KEPT,
    "clean_code_meaning": Treatment.CLEANED,
    "clean_content": Treatment.CLEANED,
    "clean_text": Treatment.CLEANED,
    "content_date": Treatment.KEPT,
    "jitter": Treatment.MOVED,
    "known_value": Treatment.KEPT,
    "technical_value": Treatment.KEPT,
    "undated_uid": Treatment.KEPT,
}


@dataclass(frozen=True, slots=True)
class Covered:
    """A row of the table and what the recipe does to its attribute.

    Attributes
    ----------
    row
        The row.
    treatment
        What remains of the original value.
    rule
        The last rule that acts; None if no rule names the attribute.
    by
        The option that allows it.
    exposed
        Whether something remains that no option allows.
    """

    row: Row
    treatment: Treatment
    rule: HeaderRule | None
    by: Option | None
    exposed: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """A recipe compared with all rows of the table."""

    rows: tuple[Covered, ...]

    @property
    def exposed(self) -> tuple[Covered, ...]:
        """The rows that leave something that no option allows."""
        return tuple(row for row in self.rows if row.exposed)

    @property
    def options(self) -> tuple[Option, ...]:
        """The options that the recipe uses, in the order of the table's columns."""
        used = {row.by for row in self.rows}
        return tuple(option for option in Option if option in used)

    @property
    def treatments(self) -> dict[Treatment, int]:
        """Number of attributes by treatment."""
        counts = Counter(row.treatment for row in self.rows)
        return {treatment: counts[treatment] for treatment in Treatment}

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code values and meanings of PS3.16 CID 7050 (scheme DCM) that the recipe fulfils.

        Empty if it leaves an attribute exposed.
        """
        if self.exposed:
            return ()
        return (BASIC_CODE, *(OPTION_CODES[option] for option in self.options))

    @property
    def dates(self) -> str:
        """The value of Longitudinal Temporal Information Modified (0028,0303)."""
        treatments = {
            row.treatment
            for row in self.rows
            if Option.FULL_DATES in row.row.options and _is_date(row.row)
        }
        if Treatment.KEPT in treatments:
            return "UNMODIFIED"
        return "MODIFIED" if Treatment.MOVED in treatments else "REMOVED"

    @property
    def remaps_dated_uids(self) -> bool:
        """Whether UIDs stay except those that contain a date."""
        return any(_remaps_dated(row.rule) for row in self.rows)

    @property
    def dated_uids(self) -> tuple[Covered, ...]:
        """The UIDs of the table that stay even if they contain a date, while dates do not."""
        if self.dates == "UNMODIFIED":
            return ()
        return tuple(
            row
            for row in self.rows
            if row.row.vr == "UI"
            and row.treatment is Treatment.KEPT
            and not _remaps_dated(row.rule)
        )


def _remaps_dated(rule: HeaderRule | None) -> bool:
    value = rule.value if rule is not None else None
    return isinstance(value, Function) and value.name == "undated_uid"


def treatment_of(applied: tuple[HeaderRule, ...]) -> Treatment:
    """Return what remains of the original value after the rules that act on it."""
    if not applied or applied[-1].action is Action.KEEP:
        return Treatment.KEPT
    first = applied[0]
    if first.action is Action.JITTER:
        return Treatment.MOVED
    if isinstance(first.value, Variable) and first.value.name in _MOVED_DATES:
        return Treatment.MOVED
    if isinstance(first.value, OwnFunction):
        return Treatment.KEPT  # unknown: assume the worst
    if isinstance(first.value, Function):
        left = _BY_FUNCTION.get(first.value.name, Treatment.GONE)
        moved = left is Treatment.KEPT and applied[-1].action is Action.JITTER
        return Treatment.MOVED if moved else left
    return Treatment.GONE


def _is_date(row: Row) -> bool:
    return row.number is not None and bool({"DA", "DT"} & set(vrs_of(row.number)))


def _tags(row: Row) -> tuple[int, ...]:
    if row.number is not None:
        return (row.number,)
    groups = (row.tag[:4].replace("XX", pair) for pair in ("00", "02", "1E"))
    element = row.tag[4:].replace("XXXX", "3000")
    return tuple(int(group + element, 16) for group in groups)


def _keeps_inside(recipe: Recipe) -> tuple[tuple[HeaderRule, PatternSelector], ...]:
    """Return the KEEP rules whose name patterns may match attributes only inside a sequence.

    The names of an attribute in a sequence include the keywords of the enclosing sequences, so a
    pattern may match there although it does not match at the top level.
    """
    keeping: list[tuple[HeaderRule, PatternSelector]] = []
    for rule in recipe.header:
        if rule.action is not Action.KEEP:
            continue
        selectors: list[Selector] = [rule.selector]
        if isinstance(rule.selector, FieldsSelector):
            selectors = [e.selector for e in recipe.fields.get(rule.selector.name, ())]
        keeping += [
            (rule, selector)
            for selector in selectors
            if isinstance(selector, PatternSelector)
            and selector.match not in (Match.ALL, Match.SELECT, Match.EXCEPT)
        ]
    return tuple(keeping)


@cache
def _reaches_inside(selector: PatternSelector, keyword: str) -> bool:
    """Whether a pattern matches a keyword (lower case) inside some sequence, beyond what it
    matches outside."""
    if matches_a_sequence(selector):
        return True
    if _PLAIN.fullmatch(selector.text):
        return False  # cannot span the underscores between two keywords
    path = _PATH.fullmatch(selector.text)
    if path:
        return path[1] == keyword
    search = expression_of(selector).search
    return any(search(f"{sequence}__{keyword}") for sequence in sequence_names())


def _private(recipe: Recipe) -> tuple[Treatment, HeaderRule | None]:
    """Return what may remain of private attributes, which only KEEP or JITTER rules leave."""
    worst: tuple[Treatment, HeaderRule | None] = (Treatment.GONE, None)
    order = list(Treatment)
    for rule in recipe.header:
        if rule.action not in (Action.KEEP, Action.JITTER):
            continue
        selectors: list[Selector] = [rule.selector]
        if isinstance(rule.selector, FieldsSelector):
            selectors = [e.selector for e in recipe.fields.get(rule.selector.name, ())]
        for selector in selectors:
            if rule.action is Action.JITTER:
                treatment = Treatment.MOVED if _is_private(selector) else Treatment.GONE
            else:
                treatment = _kept_private(selector)
            worst = max(worst, (treatment, rule), key=lambda pair: order.index(pair[0]))
    return worst


def _is_private(selector: Selector) -> bool:
    return isinstance(selector, PrivateSelector) or (
        isinstance(selector, TagSelector) and bool(selector.tag >> 16 & 1)
    )


def _kept_private(selector: Selector) -> Treatment:
    match selector:
        case PrivateSelector(group, creator, element):
            is_safe = (group, creator, element) in _safe_ones()
            return Treatment.CLEANED if is_safe else Treatment.KEPT
        case PatternSelector():
            return Treatment.KEPT if _may_mean_private(selector) else Treatment.GONE
        case _:
            return Treatment.KEPT if _is_private(selector) else Treatment.GONE


@cache
def _safe_ones() -> frozenset[tuple[int, str, int]]:
    return frozenset((safe.group, safe.creator, safe.element) for safe in safe_private())


@cache
def _may_mean_private(selector: PatternSelector) -> bool:
    if selector.match is Match.SELECT:
        kind, _, text = selector.text.partition(":")
        return kind == "VR" or bool(int(text, 16) & 1)
    if selector.match in (Match.ALL, Match.EXCEPT):
        return True
    search = expression_of(selector).search
    return any(search(name) for name in _private_names())


@cache
def _private_names() -> tuple[str, ...]:
    """Return the names of known private attributes, in which patterns are searched for."""
    names = ["Private Creator", "Private tag data"]
    for creator, attributes in private_dictionaries.items():
        for masked, entry in attributes.items():
            tag = masked.replace("xx", "10").replace("x", "0")
            group, element = tag[:4], tag[6:]
            names += [tag, f"({tag[:4]},{tag[4:]})", f"[{entry[2]}]"]
            names.append(f'({group.upper()},"{creator}",{element.upper()})')
    return tuple(names)


def _worst(
    recipe: Recipe,
    effects: Effects,
    row: Row,
    inside: tuple[tuple[HeaderRule, PatternSelector], ...],
    *,
    in_kept: bool,
) -> tuple[Treatment, HeaderRule | None]:
    """Return the weakest treatment of a row's attributes at any position, and its rule."""
    order = list(Treatment)
    treatments = []
    if row.tag == PRIVATE:
        return _private(recipe)
    if row.number is not None:
        keyword = names_of(row.number)[0]
        for rule, selector in inside:
            if _reaches_inside(selector, keyword):
                return Treatment.KEPT, rule
    for tag in _tags(row):
        if tag < FIRST_DATA_SET_TAG:
            return Treatment.GONE, None
        within = effects.of(tag, nested=True, in_kept=in_kept)
        for applied in (effects.of(tag), within):
            treatments.append((treatment_of(applied), applied[-1] if applied else None))
    return max(treatments, key=lambda pair: order.index(pair[0]))


def _allowed_by(row: Row, treatment: Treatment) -> tuple[Option, ...]:
    """Return the options that allow what remains of a row's attribute."""
    vrs = set(vrs_of(row.number)) if row.number is not None else set()
    options = []
    for option, letter in row.options.items():
        if letter == "K":
            fits = treatment in (Treatment.KEPT, Treatment.CLEANED)
        elif option is Option.MODIFIED_DATES:
            # times of day and time zones need no change when dates are shifted by whole days
            fits = treatment is Treatment.MOVED or (
                treatment is Treatment.KEPT and not vrs.isdisjoint({"TM", "SH"})
            )
        else:
            fits = treatment is Treatment.CLEANED
        if fits:
            options.append(option)
    return tuple(options)


def cover(recipe: Recipe) -> Coverage:
    """Compare a recipe with PS3.15's Table E.1-1."""
    return Coverage(tuple(_rows(recipe)))


def beyond_the_table(recipe: Recipe) -> tuple[Reviewed, ...]:
    """Return the potentially identifying attributes outside PS3.15's table that the recipe leaves
    unchanged."""
    named = {row.number for row in table()}
    effects = Effects(recipe)
    return tuple(
        one
        for one in review()
        if one.holds.identifies
        and one.tag not in named
        and treatment_of(effects.of(one.tag)) is Treatment.KEPT
    )


def _rows(recipe: Recipe) -> list[Covered]:
    inside, effects = _keeps_inside(recipe), Effects(recipe)
    in_kept = effects.keeps_a_sequence()
    seen = [(row, *_worst(recipe, effects, row, inside, in_kept=in_kept)) for row in table()]
    allowed = [_allowed_by(row, treatment) for row, treatment, _ in seen]
    # A row that several options allow is attributed to one that another row needs anyway.
    needed = {options[0] for options in allowed if len(options) == 1}
    rows = []
    for (row, treatment, rule), options in zip(seen, allowed, strict=True):
        if treatment is Treatment.GONE:
            rows.append(Covered(row, treatment, rule, None, exposed=False))
            continue
        # the last of several: with shifted dates, times of day belong to Modified Dates
        by = next((option for option in reversed(options) if option in needed), None)
        by = by or next(iter(options), None)
        if by is not None:
            needed.add(by)
        rows.append(Covered(row, treatment, rule, by, exposed=by is None))
    return rows
