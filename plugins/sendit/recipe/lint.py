"""Asks whether a recipe's rules make sense: each would do what it says, and all together.

deid fails open: a rule that cannot be carried out is skipped and the original stays. Here
such a rule is a problem, found before the first image is read.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from sendit.dicom.charset import TEXT_VRS
from sendit.dicom.scan import CHARACTER_SET, SOP_CLASS
from sendit.recipe import attributes
from sendit.recipe.attributes import keyword_of, reaches, standard_tags, vrs_of
from sendit.recipe.effect import Effects
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Literal,
    PatternSelector,
    Position,
    PrivateSelector,
    Recipe,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)
from sendit.recipe.problems import Problem

# Without these an object is not a DICOM instance that anything could file or open.
REQUIRED = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
MAX_DAYS = 36500
_NUMBER_VRS = {"IS", "US", "SS", "UL", "SL", "UV", "SV", "DS", "FL", "FD"}
_BINARY_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"}
_CODE_VRS = TEXT_VRS | {"CS", "AE"}
_VARIABLE_VRS = {
    "entity_id": _CODE_VRS,
    "item_id": _CODE_VRS,
    "entity_timestamp": attributes.DATE_VRS | TEXT_VRS,
    "item_timestamp": attributes.DATE_VRS | TEXT_VRS,
    "jitter": TEXT_VRS | {"IS", "DS", "SS", "SL"},
}
_LIST_NAMES = ("whitelist", "graylist", "greylist", "blacklist")


def lint(recipe: Recipe) -> list[Problem]:
    """Return everything that is wrong with a recipe's rules, taken together."""
    effects = Effects(recipe)
    return [
        *_lists(recipe),
        *_actions(recipe),
        *_values(recipe),
        *_jitter(recipe),
        *_contradictions(recipe),
        *_moved_twice(recipe, effects),
        *_required(effects),
        *_filters(recipe),
    ]


def _targets(rule: HeaderRule, recipe: Recipe) -> tuple[int, ...]:
    """Return the standard attributes that a rule names."""
    if isinstance(rule.selector, TagSelector):
        return (rule.selector.tag,)
    return tuple(tag for tag in standard_tags() if reaches(rule.selector, tag, recipe.fields))


def _named(tags: list[int] | tuple[int, ...]) -> str:
    names = [keyword_of(tag) for tag in tags[:3]]
    return ", ".join(names) + (f" and {len(tags) - 3} more" if len(tags) > 3 else "")


# Lists of fields and values -------------------------------------------------------------


def _lists(recipe: Recipe) -> Iterator[Problem]:
    used: set[tuple[str, str]] = set()
    for rule in recipe.header:
        if isinstance(rule.selector, FieldsSelector | ValuesSelector):
            kind = "fields" if isinstance(rule.selector, FieldsSelector) else "values"
            known = recipe.fields if kind == "fields" else recipe.values
            used.add((kind, rule.selector.name))
            if rule.selector.name not in known:
                close = difflib.get_close_matches(rule.selector.name, known, n=1)
                yield Problem(
                    rule.position,
                    f"there is no %{kind} {rule.selector.name}",
                    f"did you mean {kind}:{close[0]}?" if close else "",
                )
    for kind, known in (("fields", recipe.fields), ("values", recipe.values)):
        for name, entries in known.items():
            if (kind, name) not in used and entries:
                yield Problem(
                    entries[0].position,
                    f"%{kind} {name} is used by no rule",
                    f"write for example REMOVE {kind}:{name}",
                )
    for entries in (*recipe.fields.values(), *recipe.values.values()):
        for entry in entries:
            if isinstance(entry.selector, PatternSelector) and not _matches_something(
                entry.selector
            ):
                yield _nothing_matches(entry.position)


# What a rule names ----------------------------------------------------------------------


def _nothing_matches(position: Position) -> Problem:
    return Problem(
        position, "the pattern fits no attribute of DICOM", "check its spelling; ( and ) need a \\"
    )


def _actions(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        selector = rule.selector
        if rule.action is Action.ADD and not isinstance(selector, TagSelector):
            yield Problem(
                rule.position,
                "ADD needs one attribute of the standard",
                "name it by keyword or (gggg,eeee); REPLACE changes what is there",
            )
        elif rule.action is Action.KEEP and isinstance(selector, ValuesSelector):
            yield Problem(
                rule.position,
                "KEEP by value would keep whatever happens to hold it",
                "name the attributes to keep",
            )
        elif isinstance(selector, TagSelector):
            yield from _tag_rule(rule, selector.tag)
        elif isinstance(selector, PatternSelector) and not _matches_something(selector):
            yield _nothing_matches(rule.position)


@cache
def _matches_something(selector: PatternSelector) -> bool:
    """Whether a pattern reaches a standard attribute or could reach a private one."""
    if "__" in selector.text or any(reaches(selector, tag, {}) for tag in standard_tags()):
        return True  # with two underscores it is about what is inside a sequence
    if selector.match.value == "select":
        group = selector.text.removeprefix("GROUP:")
        return group == selector.text or bool(int(group, 16) & 1)
    # a private attribute goes by its tag and its creator only
    return any(sign in selector.text for sign in '("0123456789[.\\')


def _tag_rule(rule: HeaderRule, tag: int) -> Iterator[Problem]:
    if tag >> 16 == 0x0002 and rule.action is not Action.REMOVE:
        yield Problem(
            rule.position,
            f"{rule.action} of {keyword_of(tag)}: file meta information is written anew",
            "drop the line: nothing of the original's file meta is kept",
        )
    elif tag & 0xFFFF == 0 and rule.action is not Action.REMOVE:
        yield Problem(
            rule.position, "a group's length is computed when the file is written", "drop the line"
        )
    elif rule.action is Action.ADD and tag >> 16 & 1:
        yield Problem(
            rule.position,
            "ADD of a private attribute: nobody could read it without its creator",
            "use a standard attribute, for example DeidentificationMethod",
        )
    elif tag == CHARACTER_SET and rule.action is not Action.KEEP:
        yield Problem(
            rule.position,
            f"{rule.action} of SpecificCharacterSet: texts that stay could not be read",
            "drop the line: the engine sees to it that it holds nothing else",
        )
    elif tag in attributes.IMAGE_TAGS and rule.action not in (Action.KEEP, Action.REMOVE):
        yield Problem(
            rule.position, f"{rule.action} of {keyword_of(tag)} would destroy the image", ""
        )


# Values ---------------------------------------------------------------------------------


def _values(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        if rule.action not in (Action.ADD, Action.REPLACE) or rule.value is None:
            continue
        if isinstance(rule.selector, PrivateSelector | ValuesSelector):
            if isinstance(rule.value, Function) and FUNCTIONS[rule.value.name].vrs is not None:
                yield Problem(
                    rule.position,
                    f"{_shown(rule.value)} is for {_vrs(rule.value)}, and this may be anything",
                    "use func:dummy, or a text",
                )
            continue  # a text or variable that does not fit the value found makes it empty
        unfit = [tag for tag in _targets(rule, recipe) if not _fits(rule.value, tag)]
        unfit = [tag for tag in unfit if not tag >> 16 & 1 and tag not in attributes.IMAGE_TAGS]
        if unfit:
            yield Problem(
                rule.position,
                f"{_shown(rule.value)} is no valid value for {_named(unfit)} "
                f"({', '.join(vrs_of(unfit[0]))})",
                "" if isinstance(rule.selector, TagSelector) else _narrower(rule.value),
            )


def _vrs(value: Function) -> str:
    return ", ".join(sorted(FUNCTIONS[value.name].vrs or ()))


def _narrower(value: Value) -> str:
    if isinstance(value, Function) and (vrs := FUNCTIONS[value.name].vrs):
        return f"name the fields more narrowly, for example select:VR:{min(vrs)}"
    return "name the fields more narrowly"


def _shown(value: Value) -> str:
    match value:
        case Literal():
            return repr(value.text)
        case Variable():
            return f"var:{value.name}"
        case Function():
            return f"{FUNCTIONS[value.name].prefix}:{value.name}"


def _fits(value: Value, tag: int) -> bool:
    match value:
        case Literal():
            return any(_is_valid(vr, value.text) for vr in vrs_of(tag))
        case Variable():
            return not _VARIABLE_VRS[value.name].isdisjoint(vrs_of(tag))
        case Function():
            vrs = FUNCTIONS[value.name].vrs
            return vrs is None or not vrs.isdisjoint(vrs_of(tag))


@cache
def _is_valid(vr: str, text: str) -> bool:
    from pydicom.config import RAISE  # noqa: PLC0415 - slow to import
    from pydicom.valuerep import validate_value  # noqa: PLC0415

    if vr == "SQ" or vr in _BINARY_VRS:
        return False
    if vr in _NUMBER_VRS and vr not in ("IS", "DS"):
        pattern = r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?" if vr in ("FL", "FD") else r"[+-]?\d+"
        return re.fullmatch(pattern, text) is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for part in [text] if vr in ("LT", "ST", "UT", "UR") else text.split("\\"):
                validate_value(vr, part, RAISE)
    except (ValueError, Warning):
        return False
    return True


# Dates ----------------------------------------------------------------------------------


def _jitter(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        if isinstance(rule.value, Function) and rule.value.name == "jitter":
            given = dict(rule.value.arguments)
            if int(given.get("days", 1)) + 365 * int(given.get("years", 0)) == 0:
                yield _not_moved(rule)
        if rule.action is not Action.JITTER:
            continue
        match rule.value:
            case Literal(text) if re.fullmatch(r"[+-]?\d{1,6}", text):
                if abs(int(text)) > MAX_DAYS:
                    yield Problem(rule.position, f"JITTER by {text} days is more than a century")
                elif int(text) == 0:
                    yield _not_moved(rule)
            case Variable("jitter"):
                pass
            case _:
                yield Problem(
                    rule.position,
                    "JITTER needs a whole number of days",
                    "write var:jitter, or a number",
                )
        if isinstance(rule.selector, PrivateSelector | ValuesSelector):
            continue
        targets = _targets(rule, recipe)
        # A shift by whole days leaves a time of day as it is: a pattern may reach one.
        allowed = attributes.DATE_VRS
        if not isinstance(rule.selector, TagSelector):
            allowed = allowed | {"TM"}
        wrong = [tag for tag in targets if allowed.isdisjoint(vrs_of(tag))]
        if wrong:
            time = vrs_of(wrong[0]) == ("TM",)
            yield Problem(
                rule.position,
                f"JITTER moves dates, and {_named(wrong)} is none ({', '.join(vrs_of(wrong[0]))})",
                "write KEEP: a time of day does not change when the date moves by whole days"
                if time
                else "write for example select:VR:DA",
            )


def _not_moved(rule: HeaderRule) -> Problem:
    return Problem(rule.position, "the date would stay what it was", "write KEEP if that is meant")


# Rules that contradict one another ------------------------------------------------------


def _contradictions(recipe: Recipe) -> Iterator[Problem]:
    order = {name: index for index, name in enumerate(recipe.files)}
    explicit: dict[int, list[HeaderRule]] = defaultdict(list)
    for rule in recipe.header:
        if isinstance(rule.selector, TagSelector):
            explicit[rule.selector.tag].append(rule)
    keeps = [
        rule
        for rule in recipe.header
        if rule.action is Action.KEEP and not isinstance(rule.selector, TagSelector)
    ]
    for tag, rules in explicit.items():
        yield from _same_attribute(tag, rules)
        for keep in keeps:
            if reaches(keep.selector, tag, recipe.fields):
                yield from _kept_by_pattern(tag, rules, keep, order)


def _same_attribute(tag: int, rules: list[HeaderRule]) -> Iterator[Problem]:
    for index, rule in enumerate(rules):
        for earlier in rules[:index]:
            same_file = earlier.position.file == rule.position.file
            if _contradict(earlier, rule, same_file=same_file):
                yield Problem(
                    rule.position,
                    f"{rule.action} of {keyword_of(tag)} contradicts "
                    f"{earlier.action} on line {earlier.position.line}"
                    + ("" if same_file else f" of {earlier.position.file}"),
                    "keep one of the two",
                )
                break


def _contradict(earlier: HeaderRule, later: HeaderRule, *, same_file: bool) -> bool:
    """Whether two rules for one attribute cannot both be meant.

    KEEP wins over everything, so it must not undo what the same or a later file asks for.
    In one file an attribute has one action; ADD may follow REMOVE, BLANK or REPLACE. A later
    file may override an earlier one.
    """
    if earlier.action is Action.KEEP:
        return later.action is not Action.KEEP
    if not same_file:
        return False
    if later.action is Action.KEEP:
        return True
    if earlier.action is later.action:
        return earlier.value != later.value
    return Action.ADD not in (earlier.action, later.action)


def _kept_by_pattern(
    tag: int, rules: list[HeaderRule], keep: HeaderRule, order: dict[str, int]
) -> Iterator[Problem]:
    for rule in rules:
        if (
            rule.action is not Action.KEEP
            and order[rule.position.file] >= order[keep.position.file]
        ):
            yield Problem(
                rule.position,
                f"{rule.action} of {keyword_of(tag)} is undone by "
                f"KEEP on line {keep.position.line}",
                "KEEP wins over every other action: name its fields more narrowly",
            )


def _moved_twice(recipe: Recipe, effects: Effects) -> Iterator[Problem]:
    """Find attributes whose date would be moved more than once, or moved after it was set."""
    found: dict[tuple[HeaderRule, HeaderRule], list[int]] = defaultdict(list)
    if all(rule.action is not Action.JITTER for rule in recipe.header):
        return
    for tag in standard_tags():
        if not attributes.DATE_VRS.isdisjoint(vrs_of(tag)):
            for pair in pairwise(effects.of(tag)):
                found[pair].append(tag)
    for (earlier, later), tags in found.items():
        what = "is jittered" if earlier.action is Action.JITTER else f"is set by {earlier.action}"
        yield Problem(
            later.position,
            f"JITTER of {_named(tags)}, which {what} on line {earlier.position.line} already",
            "a date moved twice is wrong: name the fields more narrowly, or KEEP it out",
        )


# What must not go -----------------------------------------------------------------------


def _required(effects: Effects) -> Iterator[Problem]:
    for tag in REQUIRED:
        applied = effects.of(tag)
        if not applied:
            continue
        rule = applied[-1]
        hint = f"write KEEP {keyword_of(tag)}"
        if tag != SOP_CLASS:
            hint = f"write REPLACE {keyword_of(tag)} func:remap_uid"
        if rule.action in (Action.REMOVE, Action.BLANK):
            yield Problem(
                rule.position,
                f"{rule.action} takes {keyword_of(tag)}, which every object needs",
                hint,
            )
        elif tag == SOP_CLASS and rule.action in (Action.REPLACE, Action.ADD):
            if rule.value == Function("remap_uid"):
                continue  # leaves registered UIDs as they are
            yield Problem(
                rule.position,
                f"{rule.action} changes SOPClassUID: the object would claim to be another kind",
                hint,
            )
        elif isinstance(rule.value, Literal | Variable):
            yield Problem(
                rule.position, f"{keyword_of(tag)} would be the same in every object", hint
            )


# Filters --------------------------------------------------------------------------------


def _filters(recipe: Recipe) -> Iterator[Problem]:
    for group in recipe.filters:
        name = group.name.lower()
        close = difflib.get_close_matches(name, _LIST_NAMES, n=1, cutoff=0.8)
        if name not in _LIST_NAMES and close and group.rules:
            yield Problem(
                group.rules[0].position,
                f"%filter {group.name} is not one of the lists",
                f"did you mean {close[0]}?",
            )
        elif group.name != name and name in _LIST_NAMES and group.rules:
            yield Problem(
                group.rules[0].position,
                f"%filter {group.name} is a list in the wrong case",
                f"write %filter {name}",
            )
