"""Check that a recipe's rules make sense, individually and together.

deid fails open: a rule that cannot be carried out is skipped and the original value stays. Here
such a rule is an error, reported before the first image is read. A rule that may not do what its
author meant is carried out as in deid, or more protectively, and is a warning.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from sendit.dicom.charset import TEXT_VRS
from sendit.dicom.scan import CHARACTER_SET, SOP_CLASS
from sendit.recipe import attributes
from sendit.recipe.attributes import keyword_of, private_vr, standard_tags, vrs_of
from sendit.recipe.effect import REQUIRED_UIDS, Effects, leaves_needed
from sendit.recipe.functions import FUNCTIONS
from sendit.recipe.literals import MAX_LENGTHS, written
from sendit.recipe.matching import reaches
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    Function,
    HeaderRule,
    Literal,
    OwnFunction,
    PatternSelector,
    Position,
    PrivateSelector,
    Recipe,
    Selector,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)
from sendit.recipe.problems import Edit, Problem, Rule
from sendit.recipe.profile import table

MAX_DAYS = 36500

DATES_OF_THE_EXAMINATION = frozenset(
    (
        *(0x00080012, 0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x00080024, 0x00080025),
        *(0x0008002A, 0x00181012, 0x00189074, 0x00189516, 0x00189517, 0x00321040, 0x00321050),
        *(0x00400244, 0x00400250, 0x00404050, 0x00404051),
    )
)
"""Dates that are usually the same day: of study, series, acquisition, content, creation, and of the
procedure step."""

_CODE_VRS = TEXT_VRS | {"CS", "AE"}
_VARIABLE_VRS = {
    "entity_id": _CODE_VRS,
    "item_id": _CODE_VRS,
    "entity_timestamp": attributes.DATE_VRS | TEXT_VRS | {"TM"},
    "item_timestamp": attributes.DATE_VRS | TEXT_VRS | {"TM"},
    "jitter": TEXT_VRS | {"IS", "DS", "SS", "SL"},
}
_LIST_NAMES = ("whitelist", "graylist", "greylist", "blacklist", "withheld")


def lint(recipe: Recipe) -> list[Problem]:
    """Return the errors and warnings about a recipe's rules."""
    effects = Effects(recipe)
    return [
        *_lists(recipe),
        *_actions(recipe),
        *_values(recipe),
        *_jitter(recipe),
        *_precedence(recipe),
        *_shifted_twice(recipe, effects),
        *_kept_dates(recipe, effects),
        *_needed(recipe),
        *_filters(recipe),
    ]


def _targets(rule: HeaderRule, recipe: Recipe) -> tuple[int, ...]:
    """Return the standard attributes that a rule names."""
    if isinstance(rule.selector, TagSelector):
        return (rule.selector.tag,)
    return tuple(tag for tag in standard_tags() if reaches(rule.selector, tag, recipe.fields))


def _keywords(tags: list[int] | tuple[int, ...]) -> str:
    names = [keyword_of(tag) for tag in tags[:3]]
    return ", ".join(names) + (f" and {len(tags) - 3} more" if len(tags) > 3 else "")


# Lists of fields and values -------------------------------------------------------------


def _lists(recipe: Recipe) -> Iterator[Problem]:
    yield from _unknown_lists(recipe)
    yield from _unused_lists(recipe)
    for entries in (*recipe.fields.values(), *recipe.values.values()):
        for entry in entries:
            if isinstance(entry.selector, PatternSelector) and not _matches_something(
                entry.selector
            ):
                yield _nothing_matches(entry.position)


def _list_named(rule: HeaderRule) -> tuple[str, str] | None:
    """Return the kind and the name of the list that a rule refers to, if any."""
    match rule.selector:
        case FieldsSelector(name):
            return "fields", name
        case ValuesSelector(name):
            return "values", name
        case _:
            return None


def _unknown_lists(recipe: Recipe) -> Iterator[Problem]:
    lists = {"fields": recipe.fields, "values": recipe.values}
    for rule in recipe.header:
        kind, name = _list_named(rule) or ("", "")
        if not kind or name in lists[kind]:
            continue
        meant = _list_meant(kind, name, tuple(lists[kind]))
        yield Problem(
            rule.position,
            f"there is no %{kind} {name}",
            f"did you mean {meant}?"
            if meant
            else f"deid would do nothing; begin a section %{kind} {name}",
            Rule.LIST,
            edit=Edit(f"{kind}:{name}", meant) if meant else None,
        )


def _list_meant(kind: str, name: str, known: tuple[str, ...]) -> str:
    """Return what a reference to an unknown list must mean: the only similar list, or an attribute
    (``fields:PatientID``); an empty string if it is not certain."""
    close = difflib.get_close_matches(name, known, n=2)
    if len(close) == 1:
        return f"{kind}:{close[0]}"
    is_attribute = kind == "fields" and not close and attributes.tag_of(name) is not None
    return name if is_attribute else ""


def _unused_lists(recipe: Recipe) -> Iterator[Problem]:
    used = set(map(_list_named, recipe.header))
    for kind, lists in (("fields", recipe.fields), ("values", recipe.values)):
        for name, entries in lists.items():
            if (kind, name) not in used and entries:
                yield Problem(
                    entries[0].position,
                    f"%{kind} {name} is used by no rule",
                    f"write for example REMOVE {kind}:{name}",
                    Rule.LIST,
                    warning=True,
                )


# What a rule names ----------------------------------------------------------------------


def _nothing_matches(position: Position) -> Problem:
    return Problem(
        position,
        "the pattern matches no DICOM attribute",
        "check its spelling; ( and ) need a \\",
        Rule.PATTERN,
    )


def _actions(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        selector = rule.selector
        if rule.action is Action.ADD and not isinstance(selector, TagSelector | PrivateSelector):
            yield _add_of_many(rule.position, selector)
        elif rule.action is Action.ADD and isinstance(selector, PrivateSelector):
            yield from _private_add(rule.position, selector)
        elif rule.action is Action.KEEP and isinstance(selector, ValuesSelector):
            yield Problem(
                rule.position,
                "KEEP by value would keep any attribute that contains it by chance",
                "name the attributes to keep",
                Rule.ACTION,
            )
        elif rule.action is Action.KEEP and isinstance(selector, FieldsSelector):
            yield Problem(
                rule.position,
                f"KEEP fields:{selector.name} is ignored, as in deid",
                "write a KEEP for each of the attributes",
                Rule.ACTION,
                warning=True,
            )
        elif isinstance(selector, TagSelector):
            yield from _tag_rule(rule, selector.tag)
        elif isinstance(selector, PatternSelector) and not _matches_something(selector):
            yield _nothing_matches(rule.position)


def _add_of_many(position: Position, selector: Selector) -> Problem:
    if isinstance(selector, PatternSelector) and "__" in selector.text:
        what = "ADD only acts at the top level of an object, as in deid"
        hint = "REPLACE changes an attribute inside a sequence"
    else:
        what = "ADD needs one attribute"
        hint = (
            'name it by keyword, (gggg,eeee), or (gggg,"CREATOR",ee) if it is private; to change '
            "existing attributes write REPLACE"
        )
    return Problem(position, what, hint, Rule.ACTION)


def _private_add(position: Position, selector: PrivateSelector) -> Iterator[Problem]:
    """Check a private ADD: the creator's name, and that the attribute is not a sequence."""
    creator, tag = selector.creator, selector.group << 16 | 0x1000 | selector.element
    if len(creator) > MAX_LENGTHS["LO"] or not re.fullmatch(r"[ -\[\]-~]+", creator):
        yield Problem(
            position,
            f"{creator!r} cannot name a private block",
            f"at most {MAX_LENGTHS['LO']} ASCII characters, without a backslash",
            Rule.VALUE,
        )
    elif private_vr(tag, creator) == "SQ":
        yield Problem(
            position,
            f'({selector.group:04X},"{creator}",{selector.element:02X}) is a sequence, but ADD '
            "sets a value",
            "name another attribute of the block",
            Rule.VALUE,
        )


@cache
def _matches_something(selector: PatternSelector) -> bool:
    """Whether a pattern matches a standard attribute or could match a private one."""
    if "__" in selector.text or any(reaches(selector, tag, {}) for tag in standard_tags()):
        return True  # two underscores: it may match attributes in a sequence
    if selector.match.value == "select":
        group = selector.text.removeprefix("GROUP:")
        return group == selector.text or bool(int(group, 16) & 1)
    # the names of private attributes contain tag and creator
    return any(sign in selector.text for sign in '("0123456789[.\\')


def _tag_rule(rule: HeaderRule, tag: int) -> Iterator[Problem]:
    name = keyword_of(tag)
    if tag >> 16 == 0x0002 and rule.action is not Action.REMOVE:
        yield Problem(
            rule.position,
            f"{rule.action} of {name} is ignored: file meta information is rewritten",
            "remove the line: none of the original file meta is kept",
            Rule.FILE_META,
            warning=True,
            edit=Edit(),
        )
    elif tag & 0xFFFF == 0 and rule.action is not Action.REMOVE:
        yield Problem(
            rule.position,
            f"{rule.action} is ignored: group lengths are never written",
            "delete the line",
            Rule.PROTECTED,
            warning=True,
            edit=Edit(),
        )
    elif rule.action is Action.ADD and tag >> 16 & 1:
        yield Problem(
            rule.position,
            "ADD of a private attribute needs its creator, without which it has no meaning",
            f'write (gggg,"CREATOR",ee): ({tag >> 16:04X},"YOUR CREATOR",{tag & 0xFF:02X})',
            Rule.ACTION,
        )
    elif tag == CHARACTER_SET and rule.action is not Action.KEEP:
        yield Problem(
            rule.position,
            f"{rule.action} of SpecificCharacterSet is ignored: the remaining texts could not be "
            "decoded",
            "remove the line: values that are not character sets are never kept",
            Rule.PROTECTED,
            warning=True,
            edit=Edit(),
        )
    elif tag in attributes.IMAGE_TAGS and rule.action is not Action.KEEP:
        yield Problem(
            rule.position,
            f"{rule.action} of {name} is ignored, as in deid: there is no image without it",
            "to withhold images write a %filter",
            Rule.PROTECTED,
            warning=True,
            edit=Edit(),
        )


# Values ---------------------------------------------------------------------------------


def _values(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        value = rule.value
        if rule.action not in (Action.ADD, Action.REPLACE) or value is None:
            continue
        if isinstance(value, OwnFunction):
            continue  # its result is not known in advance
        is_ours = isinstance(value, Function) and FUNCTIONS[value.name].prefix == "func"
        if isinstance(rule.selector, PrivateSelector | ValuesSelector):
            if isinstance(value, Function) and is_ours and FUNCTIONS[value.name].vrs is not None:
                yield Problem(
                    rule.position,
                    f"{_value_text(value)} is for {_vrs(value)}, but this may have any VR",
                    "use func:dummy, or a text",
                    Rule.VALUE,
                )
            continue  # a value that is not valid for the attribute's VR empties it
        tags = [
            tag
            for tag in _targets(rule, recipe)
            if not tag >> 16 & 1 and tag not in attributes.NEVER_MATCHED and tag >> 16 != 2
        ]
        unfit = [tag for tag in tags if not _fits(value, tag, recipe)]
        if not unfit:
            yield from _changed_text(rule, tags)
        elif isinstance(rule.selector, TagSelector) or is_ours or len(unfit) == len(tags):
            yield _unfit(rule, value, unfit)
        else:
            yield Problem(
                rule.position,
                f"{_value_text(value)} is not a valid value for {_keywords(unfit)} "
                f"({', '.join(vrs_of(unfit[0]))}): they are emptied if present",
                _narrower(value),
                Rule.VALUE,
                warning=True,
            )


def _unfit(rule: HeaderRule, value: Value, unfit: list[int]) -> Problem:
    vrs = ", ".join(vrs_of(unfit[0]))
    hint = _narrower(value)
    if isinstance(rule.selector, TagSelector):
        if isinstance(value, Function):
            hint = f"it gives values for {_vrs(value)}"
        elif vrs == "SQ":
            hint = "a sequence has items: name an attribute in it, or write BLANK or REMOVE"
        else:
            hint = _FORMS.get(vrs, "")
    elif vrs == "SQ":
        hint = f"{hint}; a sequence takes no value: name the attributes in it"
    return Problem(
        rule.position,
        f"{_value_text(value)} is not a valid value for {_keywords(unfit)} ({vrs})",
        hint,
        Rule.VALUE,
    )


_FORMS = {
    "AS": "write an age as 055Y",
    "CS": "write upper-case letters, digits, spaces and underscores, at most 16",
    "DA": "write a date as 20240131",
    "DS": "write a number of at most 16 characters",
    "DT": "write a date and time as 20240131235959",
    "IS": "write a whole number",
    "TM": "write a time as 235959",
    "UI": "write numbers separated by dots, or deid_func:pydicom_uuid",
}


def _changed_text(rule: HeaderRule, tags: list[int]) -> Iterator[Problem]:
    """Warn about a text that is not valid for the VR but can be converted."""
    value = rule.value
    if not isinstance(rule.selector, TagSelector) or not tags:
        return
    vr = vrs_of(tags[0])[0]
    if isinstance(value, Literal):
        text = next(filter(None, (written(vr, value.text) for vr in vrs_of(tags[0]))), "")
        if text != value.text and vr != "AT":
            shown = f"written as {text}" if text else "is not a number: the value becomes empty"
            yield Problem(
                rule.position,
                f"{value.text!r} is not a valid {vr}: {shown}",
                f"write {text}" if text else f"write BLANK {keyword_of(tags[0])}",
                Rule.VALUE,
                warning=True,
                edit=Edit(value.text, text) if text else Edit(new=f"BLANK {keyword_of(tags[0])}"),
            )
    elif isinstance(value, Variable) and value.name.endswith("_timestamp") and vr == "TM":
        yield Problem(
            rule.position,
            f"var:{value.name} is a date, and {keyword_of(tags[0])} a time: it is emptied",
            f"write BLANK {keyword_of(tags[0])}",
            Rule.VALUE,
            warning=True,
            edit=Edit(new=f"BLANK {keyword_of(tags[0])}"),
        )


def _vrs(value: Function) -> str:
    return ", ".join(sorted(FUNCTIONS[value.name].vrs or ()))


def _narrower(value: Value) -> str:
    if isinstance(value, Function) and (vrs := FUNCTIONS[value.name].vrs):
        return (
            f"it gives values for {_vrs(value)}; name the fields more narrowly, "
            f"for example select:VR:{'UI' if 'UI' in vrs else min(vrs)}"
        )
    return "name the fields more narrowly"


def _value_text(value: Value) -> str:
    match value:
        case Literal():
            return repr(value.text)
        case Variable():
            return f"var:{value.name}"
        case OwnFunction():
            return f"func:{value.name}"
        case Function():
            return f"{FUNCTIONS[value.name].prefix}:{value.name}"


def _fits(value: Value, tag: int, recipe: Recipe) -> bool:
    vrs = vrs_of(tag)
    match value:
        case Literal():
            return any(written(vr, value.text) is not None for vr in vrs)
        case Variable():
            if value.name in recipe.own.variables:
                return vrs != ("SQ",)
            # for UIDs that every object needs, see _needed
            return tag in REQUIRED_UIDS or not _VARIABLE_VRS[value.name].isdisjoint(vrs)
        case Function():
            allowed = FUNCTIONS[value.name].vrs
            return allowed is None or not allowed.isdisjoint(vrs)
        case OwnFunction():
            return True


# Dates ----------------------------------------------------------------------------------


def _jitter(recipe: Recipe) -> Iterator[Problem]:
    for rule in recipe.header:
        if isinstance(rule.value, Function) and rule.value.name == "jitter":
            given = dict(rule.value.arguments)
            if int(given.get("days", 1)) + 365 * int(given.get("years", 0)) == 0:
                yield _not_shifted(rule)
        if rule.action is not Action.JITTER:
            continue
        problem = _days_problem(rule, recipe)
        if problem is not None:
            yield problem
        if not isinstance(rule.selector, PrivateSelector | ValuesSelector):
            yield from _jitter_targets(rule, _targets(rule, recipe))


def _days_problem(rule: HeaderRule, recipe: Recipe) -> Problem | None:
    """Return the problem with the number of days of a JITTER, if any."""
    match rule.value:
        case Variable(name) if name == "jitter" or name in recipe.own.variables:
            return None
        case Literal(text) if re.fullmatch(r"[+-]?\d{1,6}", text):
            if int(text) == 0:
                return _not_shifted(rule)
            if abs(int(text)) <= MAX_DAYS:
                return None
            message = f"JITTER by {text} days is more than a century"
            return Problem(rule.position, message, rule=Rule.JITTER)
        case _:
            return Problem(
                rule.position,
                "JITTER needs a whole number of days",
                "write var:jitter, or a number",
                Rule.JITTER,
            )


def _jitter_targets(rule: HeaderRule, targets: tuple[int, ...]) -> Iterator[Problem]:
    """Report attributes that a JITTER names but that are not dates."""
    others = [
        tag for tag in targets if not tag >> 16 & 1 and attributes.DATE_VRS.isdisjoint(vrs_of(tag))
    ]
    if not others or rule.value == Literal("0"):
        return
    is_time = vrs_of(others[0]) == ("TM",)
    if isinstance(rule.selector, TagSelector):
        if is_time:
            yield Problem(
                rule.position,
                f"JITTER shifts dates, but {_keywords(others)} is a time of day (TM)",
                "write KEEP: a time of day does not change when the date is shifted by whole days",
                Rule.JITTER,
            )
            return
    elif len(others) == len(targets):
        yield Problem(
            rule.position,
            f"JITTER shifts dates, but {_keywords(others)} is not a date "
            f"({', '.join(vrs_of(others[0]))})",
            "write for example select:VR:DA",
            Rule.JITTER,
        )
        return
    texts = [tag for tag in others if not TEXT_VRS.isdisjoint(vrs_of(tag))]
    if texts:
        yield Problem(
            rule.position,
            f"JITTER of {_keywords(texts)} ({', '.join(vrs_of(texts[0]))}): dates in it are "
            "shifted, and other values are removed",
            "" if isinstance(rule.selector, TagSelector) else "write for example select:VR:DA",
            Rule.JITTER,
            warning=True,
        )
    rest = [tag for tag in others if tag not in texts]
    if rest:
        yield Problem(
            rule.position,
            f"JITTER skips {_keywords(rest)}: not dates ({', '.join(vrs_of(rest[0]))})",
            "",
            Rule.JITTER,
            warning=True,
        )


def _not_shifted(rule: HeaderRule) -> Problem:
    return Problem(
        rule.position,
        "a shift of 0 days leaves the date unchanged",
        "write KEEP if that is intended",
        Rule.JITTER,
        warning=True,
    )


# Two rules for one attribute ------------------------------------------------------------


def _precedence(recipe: Recipe) -> Iterator[Problem]:
    order = {name: index for index, name in enumerate(recipe.files)}
    explicit: dict[int, list[HeaderRule]] = defaultdict(list)
    for rule in recipe.header:
        if isinstance(rule.selector, TagSelector):
            explicit[rule.selector.tag].append(rule)
    keeps = [
        rule
        for rule in recipe.header
        if rule.action is Action.KEEP
        and not isinstance(rule.selector, TagSelector | FieldsSelector)
    ]
    for tag, rules in explicit.items():
        yield from _same_attribute(tag, rules, recipe)
        for keep in keeps:
            if reaches(keep.selector, tag, recipe.fields):
                yield from _kept_by_pattern(tag, rules, keep, order, recipe)


def _same_attribute(tag: int, rules: list[HeaderRule], recipe: Recipe) -> Iterator[Problem]:
    for index, rule in enumerate(rules):
        for earlier in rules[:index]:
            same_file = earlier.position.file == rule.position.file
            if _conflict(earlier, rule, same_file=same_file):
                yield _two_actions(tag, earlier, rule, recipe, same_file=same_file)
                break


def _conflict(earlier: HeaderRule, later: HeaderRule, *, same_file: bool) -> bool:
    """Whether two rules for one attribute conflict.

    KEEP overrides everything except a later ADD. In one file an attribute may have only one
    action, but ADD may follow REMOVE, BLANK or REPLACE. A later file may override an earlier one.
    """
    if earlier.action is Action.KEEP:
        return later.action is not Action.KEEP
    if not same_file:
        return False
    if later.action is Action.KEEP:
        return True
    if earlier.action is later.action:
        return earlier.value != later.value
    if later.action is Action.JITTER and isinstance(earlier.value, Function):
        spec = FUNCTIONS.get(earlier.value.name)
        if spec is not None and spec.before_jitter:
            return False
    return Action.ADD not in (earlier.action, later.action)


def _two_actions(
    tag: int, earlier: HeaderRule, later: HeaderRule, recipe: Recipe, *, same_file: bool
) -> Problem:
    where = f"line {earlier.position.line}" + ("" if same_file else f" of {earlier.position.file}")
    both = f"{later.action} of {keyword_of(tag)} conflicts with {earlier.action} on {where}"
    actions = {earlier.action, later.action}
    if Action.KEEP in actions and Action.ADD not in actions:
        removes = not actions.isdisjoint({Action.REMOVE, Action.BLANK})
        overridden = earlier if later.action is Action.KEEP else later
        return _overridden(tag, later, both, recipe, overridden=overridden, removes=removes)
    if Action.KEEP in actions:
        outcome = "the added value is kept"
    elif Action.REMOVE in actions and not actions.isdisjoint({Action.REPLACE, Action.JITTER}):
        outcome = f"{Action.REMOVE} does not remove what {_other(actions)} names"
    elif earlier.action in (Action.REMOVE, Action.BLANK) and later.action is not Action.REPLACE:
        outcome = "it is removed" if Action.REMOVE in actions else "it is empty"
    elif later.action is Action.JITTER:
        outcome = (
            "the date is shifted twice" if len(actions) == 1 else "the date that was set is shifted"
        )
    else:
        outcome = f"the {later.action} applies"
    return Problem(
        later.position,
        f"{both}: as in deid, {outcome}",
        "keep one of the two",
        Rule.PRECEDENCE,
        warning=True,
    )


def _other(actions: set[Action]) -> Action:
    return next(action for action in sorted(actions) if action is not Action.REMOVE)


def _overridden(
    tag: int, rule: HeaderRule, both: str, recipe: Recipe, *, overridden: HeaderRule, removes: bool
) -> Problem:
    """Report a KEEP that overrides another rule: an error if that rule removes an identifier."""
    is_error = removes and tag in _identifiers() and not recipe.as_deid
    return Problem(
        rule.position,
        f"{both}: {'KEEP would win' if is_error else 'as in deid, KEEP wins'}, and it is kept "
        "unchanged",
        "keep one of the two" + ("; or write the line: # sendit: as deid" if is_error else ""),
        Rule.PRECEDENCE,
        warning=not is_error,
        edit=Edit(line=overridden.position.line)
        if overridden.position.file == rule.position.file
        else None,
    )


@cache
def _identifiers() -> frozenset[int]:
    """Return the attributes of PS3.15 Table E.1-1."""
    return frozenset(row.number for row in table() if row.number is not None)


def _kept_by_pattern(
    tag: int, rules: list[HeaderRule], keep: HeaderRule, order: dict[str, int], recipe: Recipe
) -> Iterator[Problem]:
    for rule in rules:
        if (
            rule.action not in (Action.KEEP, Action.ADD)
            and order[rule.position.file] >= order[keep.position.file]
        ):
            both = (
                f"{rule.action} of {keyword_of(tag)} conflicts with a broader KEEP on line "
                f"{keep.position.line}"
            )
            removes = rule.action in (Action.REMOVE, Action.BLANK)
            yield _overridden(tag, rule, both, recipe, overridden=rule, removes=removes)


def _shifted_twice(recipe: Recipe, effects: Effects) -> Iterator[Problem]:
    """Report dates that would be shifted more than once, or shifted after they were set."""
    moved: dict[tuple[HeaderRule, HeaderRule], list[int]] = defaultdict(list)
    if all(rule.action is not Action.JITTER for rule in recipe.header):
        return
    for tag in standard_tags():
        if not attributes.DATE_VRS.isdisjoint(vrs_of(tag)):
            for pair in pairwise(effects.of(tag)):
                moved[pair].append(tag)
    for (earlier, later), tags in moved.items():
        what = "is jittered" if earlier.action is Action.JITTER else f"is set by {earlier.action}"
        if isinstance(earlier.selector, TagSelector) and isinstance(later.selector, TagSelector):
            continue  # reported by _same_attribute
        yield Problem(
            later.position,
            f"JITTER of {_keywords(tags)}, which {what} on line {earlier.position.line} already: "
            "both act, as in deid",
            "name the fields more narrowly",
            Rule.JITTER,
            warning=True,
        )


def _kept_dates(recipe: Recipe, effects: Effects) -> Iterator[Problem]:
    """Report a KEEP of a date of the examination while others are shifted by the patient's jitter.

    The same day, kept in one attribute and shifted in another, discloses the jitter and with it
    all real dates.
    """
    kept: dict[HeaderRule, list[int]] = defaultdict(list)
    moved: list[tuple[int, HeaderRule]] = []
    for tag in sorted(DATES_OF_THE_EXAMINATION):
        applied = effects.of(tag)
        last = applied[-1] if applied else None
        if last is not None and last.action is Action.KEEP:
            kept[last].append(tag)
        elif last is not None and last.action is Action.JITTER and isinstance(last.value, Variable):
            moved.append((tag, last))
    if not moved:
        return
    other, jitter = moved[0]
    for rule, tags in kept.items():
        yield Problem(
            rule.position,
            f"KEEP of {_keywords(tags)} conflicts with JITTER of {keyword_of(other)} on line "
            f"{jitter.position.line}: the same day, kept in one and shifted in the other, reveals "
            "the patient's jitter",
            "JITTER it too" + ("" if recipe.as_deid else "; or write the line: # sendit: as deid"),
            Rule.JITTER,
            warning=recipe.as_deid,
        )


# Required UIDs --------------------------------------------------------------------------


def _needed(recipe: Recipe) -> Iterator[Problem]:
    """Report rules that name UIDs which every object needs."""
    remapped: dict[HeaderRule, list[int]] = defaultdict(list)
    effects = Effects(recipe, protect_needed=False)
    for tag in REQUIRED_UIDS:
        applied = effects.of(tag)
        if not applied or leaves_needed(tag, applied[-1].action, applied[-1].value):
            continue
        rule = applied[-1]
        if isinstance(rule.selector, TagSelector) and not isinstance(rule.value, Variable):
            yield _removes_needed(tag, rule)
        else:
            remapped[rule].append(tag)
    for rule, tags in remapped.items():
        others = [tag for tag in tags if tag != SOP_CLASS]
        outcome = " and ".join(
            filter(
                None,
                (
                    f"{_keywords(others)} are remapped as by func:remap_uid" if others else "",
                    "SOPClassUID stays" if SOP_CLASS in tags else "",
                ),
            )
        )
        yield Problem(
            rule.position,
            f"{rule.action} reaches {_keywords(tags)}, which every object needs: {outcome}",
            "name these UIDs in separate rules",
            Rule.NEEDED_UID,
            warning=True,
        )


def _removes_needed(tag: int, rule: HeaderRule) -> Problem:
    hint = f"write KEEP {keyword_of(tag)}"
    if tag != SOP_CLASS:
        hint = f"write REPLACE {keyword_of(tag)} func:remap_uid"
    if rule.action in (Action.REMOVE, Action.BLANK):
        message = f"{rule.action} of {keyword_of(tag)}, which every object needs"
    elif tag == SOP_CLASS:
        message = f"{rule.action} changes SOPClassUID: the object would have the wrong class"
    else:
        message = f"{keyword_of(tag)} would be the same in every object"
    edit = Edit(new=hint.removeprefix("write "))
    return Problem(rule.position, message, hint, Rule.NEEDED_UID, edit=edit)


# Filters --------------------------------------------------------------------------------


def _filters(recipe: Recipe) -> Iterator[Problem]:
    for group in recipe.filters:
        name = group.name.lower()
        close = difflib.get_close_matches(name, _LIST_NAMES, n=1, cutoff=0.8)
        if name not in _LIST_NAMES and close and group.rules:
            yield Problem(
                group.rules[0].position,
                f"%filter {group.name} is a separate list: images that match it are filtered",
                f"did you mean {close[0]}?",
                Rule.FILTER,
                warning=True,
            )
        elif group.name != name and name in _LIST_NAMES and group.rules:
            yield Problem(
                group.rules[0].position,
                f"%filter {group.name} is a separate list: images that match it are filtered",
                f"write %filter {name}",
                Rule.FILTER,
                warning=True,
            )
