"""A compiled recipe: the steps to apply to each attribute, looked up by its position.

:mod:`sendit.recipe.matching` decides which rules name an attribute, :mod:`sendit.recipe.effect`
which of these act and in what order. This module adds the rest.

Deliberate differences from deid:

- Private attributes are removed unless a KEEP names them (in any way), or another rule names them
  individually (by tag, private creator or ``%fields`` list). A private creator stays as long as
  any element of its block does.
- Attributes that are not in the dictionary are removed under the same condition.
- A sequence is kept with its content, but rules that name an attribute still act inside; only ALL
  and ``except:``, which name nothing in particular, do not.
- Private attributes and those outside the dictionary are also removed from a kept sequence,
  unless it is itself private.
- UIDs that every object needs are remapped where a rule would remove them or make them equal in
  all objects; SOPClassUID stays.
- An attribute that is a sequence according to the dictionary but cannot be parsed as one is
  removed (or blanked, if a rule gives it a value), kept or not, because it cannot be checked.

An accession number that no rule names is replaced by the study's code if it is the name of the
batch's folder: the last gate would stop the study.

What no recipe can keep (the safety floor): the preamble, file meta (always rebuilt), elements of
groups 0000 to 0006, trailing bytes and DataSetTrailingPadding, group lengths, terms in
SpecificCharacterSet that are not character sets, words in values that are numbers, dates, times
or ages according to their VR or the dictionary, values with a date's VR in attributes that are not
dates, and bits of pixel samples above the stored ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple, Self

from pydicom.datadict import get_private_entry

from sendit.deidentify.private_form import listed
from sendit.dicom.encode import one_vr
from sendit.dicom.pixel_data import TABLES
from sendit.dicom.scan import (
    CHARACTER_SET,
    PIXEL_DATA_TAGS,
    PUBLIC_VR,
    SOP_CLASS,
    TRAILING_PADDING,
    vr_of,
)
from sendit.errors import Misconfigured
from sendit.recipe.attributes import FIRST_DATA_SET_TAG, private_vr, tag_text, vrs_of
from sendit.recipe.coverage import Coverage, cover
from sendit.recipe.effect import REMAP, REQUIRED_UIDS, acting, is_carried_out, leaves_needed
from sendit.recipe.functions import FUNCTIONS, KEPT_BY_FORM, VARIABLES
from sendit.recipe.literals import MAX_LENGTHS
from sendit.recipe.matching import (
    Attribute,
    is_sweeping,
    matches,
    names_individually,
    names_of,
    private_names_of,
)
from sendit.recipe.model import (
    Action,
    Function,
    HeaderRule,
    Literal,
    Match,
    OwnFunction,
    PatternSelector,
    PrivateSelector,
    Recipe,
    Selector,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)

MAX_SEQUENCE_PATHS: Final = 20_000
"""Number of sequence paths that a plan caches before it drops them all."""


class Change(StrEnum):
    """What happened to an element, as counted and reported."""

    KEPT = "kept"
    REMOVED = "removed"
    PRIVATE = "removed, private"
    GEOMETRY = "removed, private geometry that cannot be read"
    UNKNOWN = "removed, not in the dictionary"
    OPAQUE = "removed, unreadable sequence"
    PADDING = "removed, padding or group length"
    NO_IMAGES = "removed, element of messages, file meta or directories"
    WORDS = "removed, words where no text belongs"
    NESTED_PIXELS = "removed, pixel data inside a sequence"
    UNMOVABLE = "removed, date that cannot be moved"
    UNMOVABLE_BLANKED = "blanked, date that cannot be moved"
    BLANKED = "blanked"
    REPLACED = "replaced"
    CLEANED = "cleaned"
    JITTERED = "date moved"
    ADDED = "added"
    MASKED = "bits above the stored ones cleared"

    __hash__ = str.__hash__  # Enum's own is written in Python and slow: these are hot dict keys


@dataclass(frozen=True, slots=True)
class Step:
    """One rule, applied to one attribute.

    ``values`` is the name of the ``%values`` list one of whose values the element must contain;
    None if the rule acts on any value.
    """

    action: Action
    value: Value | None
    values: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """What to do with an attribute at one position.

    Attributes
    ----------
    steps
        Steps to apply in order; none to keep the attribute.
    removed
        Why the attribute is removed whatever its value is; None if it is not.
    kept
        Whether a KEEP applies.
    siblings
        Whether a step depends on the other elements of the item.
    by_creator
        Whether a KEEP names the private attribute by its creator only; if it is on the list of
        safe ones, it then stays only with the listed form.
    own
        Whether a step calls a function of the site's own, which may depend on the whole object.
    """

    steps: tuple[Step, ...] = ()
    removed: Change | None = None
    kept: bool = False
    siblings: bool = False
    by_creator: bool = False
    own: bool = False


PASS: Final = Program()
KEEP: Final = Program(kept=True)
KEEP_BY_CREATOR: Final = Program(kept=True, by_creator=True)
CHECK_CHARACTER_SET: Final = Program(steps=(Step(Action.BLANK, None, ""),))
CHECK_WORDS: Final = Program(steps=(Step(Action.BLANK, None, "words"),))
"""For a UID to be kept, and for a number, date or age that has a text VR in the file."""
CHECK_PIXELS: Final = Program(steps=(Step(Action.BLANK, None, "pixels"),), siblings=True)
"""For pixel data in an item: stays only if it is the frame that the item declares."""
FLAGGED: Final = Program(steps=(Step(Action.BLANK, None),))
"""For a number in which the last gate found a real value: none is better than an invented one."""

CHECK_ACCESSION: Final = Program(steps=(Step(Action.BLANK, None, "accession"),))
"""For an accession number that no rule names: replaced by the study's code if it is the name of the
batch's folder."""

ACCESSION_NUMBER: Final = 0x00080050
BY_CODE: Final = Step(Action.REPLACE, Variable("item_id"))

ICON: Final = 0x00880200
"""IconImageSequence, the only sequence whose items have pixel data (PS3.3 F.7)."""

DECIMALS: Final = frozenset(("DS", "IS"))
WRITTEN_NUMBERS: Final = frozenset(("AS", "DA", "DS", "DT", "IS", "TM"))
"""VRs whose values consist of digits, a few signs and single letters."""

_PIXELS: Final = PIXEL_DATA_TAGS.union(TABLES)
BINARY_NUMBERS: Final = frozenset(("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))
BYTES: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
DATES: Final = frozenset(("DA", "DT"))
_TEXTS: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"))


class SequencePath:
    """The top level of an object, or the items at one path of sequences.

    Attributes
    ----------
    tags
        Tags of the enclosing sequences, outermost first.
    inherited
        Function for elements that no rule names, in a sequence that is replaced by dummies or
        cleaned; None elsewhere.
    programs
        Cache of :meth:`program`, by (tag, VR).
    """

    __slots__ = (
        "_children",
        "_items",
        "_kept",
        "_numbered",
        "_plan",
        "_prefix",
        "_private",
        "_private_kept",
        "inherited",
        "programs",
        "tags",
    )

    def __init__(
        self,
        plan: Plan,
        tags: tuple[int, ...] = (),
        prefix: str = "",
        numbered: str = "",
        *,
        kept: bool = False,
        private_kept: bool = False,
        inherited: Function | None = None,
    ) -> None:
        self._plan = plan
        self._private_kept = private_kept
        self._prefix = prefix
        self._numbered = numbered
        self._items: dict[int, SequencePath] = {}
        self._kept = kept
        self._children: dict[tuple[int, str, bool, Function | None], SequencePath] = {}
        self._private: dict[tuple[int, str, str], Program] = {}
        self.tags = tags
        self.inherited = inherited
        self.programs: dict[tuple[int, str], Program] = {}

    @property
    def top(self) -> bool:
        """Whether this is the top level of the data set."""
        return not self.tags

    def program(self, tag: int, vr: str) -> Program:
        """Return the program of a standard attribute with a VR (SQ if it has items)."""
        key = (tag, vr)
        program = self.programs.get(key)
        if program is None:
            program = self.programs[key] = self._plan.decide(self, tag, vr, None)
        return program

    def private_program(self, tag: int, vr: str, creator: str) -> Program:
        """Return the program of a private attribute (``creator`` is empty if it has none)."""
        key = (tag, vr, creator)
        program = self._private.get(key)
        if program is None:
            if len(self._private) > MAX_SEQUENCE_PATHS:
                self._private.clear()
            program = self._private[key] = self._plan.decide(self, tag, vr, creator)
        return program

    def child(
        self, tag: int, creator: str, *, kept: bool, inherited: Function | None = None
    ) -> SequencePath:
        """Return the path of the items of a sequence at this path.

        Parameters
        ----------
        tag, creator
            The sequence, and its private creator or an empty string.
        kept
            Whether a KEEP names the sequence.
        inherited
            Function for elements in it that no rule names.
        """
        private_kept = self._private_kept or (kept and bool(tag >> 16 & 1))
        kept = kept or self._kept
        key = (tag, creator, kept, inherited)
        child = self._children.get(key)
        if child is None:
            keyword = names_of(tag)[0] if not tag >> 16 & 1 else ""
            child = SequencePath(
                self._plan,
                (*self.tags, tag),
                f"{self._prefix}{keyword}__",
                f"{self._numbered}{keyword}__" if self._numbered else "",
                kept=kept,
                private_kept=private_kept,
                inherited=inherited,
            )
            if self._plan.count_path():
                self._children[key] = child
        return child

    def item(self, number: int) -> SequencePath:
        """Return the path of an item by its index; a separate path only if a rule names it."""
        if number not in self._plan.items:
            return self
        item = self._items.get(number)
        if item is None:
            item = self._items[number] = SequencePath(
                self._plan,
                self.tags,
                self._prefix,
                f"{self._numbered or self._prefix}{number}__",
                kept=self._kept,
                private_kept=self._private_kept,
                inherited=self.inherited,
            )
        return item

    def attribute(self, tag: int, vr: str, creator: str | None) -> Attribute:
        """Return an attribute at this path in the form that selectors match.

        Parameters
        ----------
        tag, vr
            The attribute; SQ if it has items.
        creator
            Its private creator, empty if it has none; None for a standard attribute.
        """
        first, *rest = names_of(tag) if creator is None else private_names_of(tag, creator)
        if self._numbered:
            rest.append(self._numbered + first)
        return Attribute(tag, vr, creator, (self._prefix + first, *rest))

    @property
    def kept(self) -> bool:
        """Whether an enclosing sequence is kept."""
        return self._kept

    @property
    def private_kept(self) -> bool:
        """Whether an enclosing private sequence is kept."""
        return self._private_kept


class PrivateAttribute(NamedTuple):
    """A private attribute to add, in whichever block its creator reserves in a file."""

    group: int
    creator: str
    element: int
    vr: str

    @classmethod
    def of(cls, selector: PrivateSelector, value: Value | None) -> Self:
        """Choose the VR: from pydicom's private dictionary, else LO, or UT for a long text."""
        group, creator, element = selector.group, selector.creator, selector.element
        is_long = isinstance(value, Literal) and len(value.text) > MAX_LENGTHS["LO"]
        known = private_vr(group << 16 | 0x1000 | element, creator)
        return cls(group, creator, element, known or ("UT" if is_long else "LO"))


class Plan:
    """A compiled recipe, shared by all studies of a process.

    Attributes
    ----------
    recipe
        The recipe.
    top
        The top level, where to look up programs.
    added
        Standard attributes that ADD rules name, sorted by tag.
    added_private
        Private attributes that ADD rules name, sorted by tag.
    values
        Names of the ``%values`` lists in use; their values differ between objects.
    own
        Whether a rule calls a function of the site's own.
    private
        Whether any private attribute may stay.
    creators
        Private creators that rules name.
    items
        Indices of sequence items that rules name (``Sequence__0__Keyword``).
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._rules = tuple(filter(is_carried_out, recipe.header))
        self._exact: dict[int, list[int]] = {}
        self._private: dict[tuple[int, int], list[int]] = {}
        self._others: list[int] = []
        for index, rule in enumerate(self._rules):
            match rule.selector:
                case TagSelector(tag):
                    self._exact.setdefault(tag, []).append(index)
                case PrivateSelector(group, _, element):
                    self._private.setdefault((group, element), []).append(index)
                case _:
                    self._others.append(index)
        self.added = tuple(
            sorted(
                {
                    rule.selector.tag
                    for rule in self._rules
                    if rule.action is Action.ADD and isinstance(rule.selector, TagSelector)
                }
            )
        )
        self.added_private = tuple(
            sorted(
                {
                    PrivateAttribute.of(rule.selector, rule.value)
                    for rule in self._rules
                    if rule.action is Action.ADD and isinstance(rule.selector, PrivateSelector)
                }
            )
        )
        self.values = tuple(
            sorted(
                {
                    rule.selector.name
                    for rule in self._rules
                    if isinstance(rule.selector, ValuesSelector)
                }
            )
        )
        self.own = any(isinstance(rule.value, OwnFunction) for rule in self._rules)
        self._private_broad, self._private_named = self._private_kept()
        self.private = self._private_broad or bool(self._private_named)
        self.creators = frozenset(_creators_named(recipe))
        self.items = frozenset(_items_named(recipe))
        self._paths = 0
        self.top = SequencePath(self)

    @cached_property
    def coverage(self) -> Coverage:
        """The recipe's coverage of PS3.15, which the object's de-identification method claims."""
        return cover(self.recipe)

    def renew(self) -> None:
        """Drop the cached paths if there are too many; called between files."""
        if self._paths >= MAX_SEQUENCE_PATHS:
            self._paths = 0
            self.top = SequencePath(self)

    def count_path(self) -> bool:
        """Count a new path; return False if there are too many to cache it."""
        self._paths += 1
        return self._paths <= MAX_SEQUENCE_PATHS

    def keeps_private(self, tag: int) -> bool:
        """Whether a private attribute may stay."""
        return self._private_broad or any(
            key in self._private_named
            for key in ((tag >> 16, tag & 0xFFFF), (tag >> 16, tag & 0xFF))
        )

    def _private_kept(self) -> tuple[bool, frozenset[tuple[int, int]]]:
        """Return whether any private attribute may stay, and if not any, which ones.

        These are given by group and element; of those named by creator, without the block.
        """
        named: set[tuple[int, int]] = set()
        for rule in filter(self._may_keep_private, self._rules):
            keeps = rule.action is Action.KEEP
            match rule.selector:
                case PrivateSelector(group, creator, element) if not (
                    keeps and _may_be_sequence(group, creator, element)
                ):
                    named.add((group, element))
                case TagSelector(tag) if not keeps:
                    named.add((tag >> 16, tag & 0xFFFF))
                case _:  # a private sequence that is kept may keep any private attribute in it
                    return True, frozenset()
        return False, frozenset(named)

    def _may_keep_private(self, rule: HeaderRule) -> bool:
        if rule.action is Action.KEEP:
            match rule.selector:
                case TagSelector(tag):
                    return bool(tag >> 16 & 1)
                case PatternSelector(Match.SELECT, text) if text.startswith("GROUP:"):
                    return bool(int(text[6:], 16) & 1)
                case _:
                    return True
        return names_individually(rule.selector, self.recipe.fields, private=True)

    def decide(self, level: SequencePath, tag: int, vr: str, creator: str | None) -> Program:
        """Determine the program of an attribute at a path; see the module's docstring.

        Parameters
        ----------
        level
            The path.
        tag, vr
            The attribute; SQ if it has items.
        creator
            Its private creator, empty if it has none; None for a standard attribute.
        """
        program = self._decide(level, tag, vr, creator)
        if level.top or tag not in _PIXELS or program.removed is not None:
            return program
        stays = program.kept or level.kept or (not program.steps and level.tags[-1] == ICON)
        if stays and tag in PIXEL_DATA_TAGS and vr != "SQ":
            return CHECK_PIXELS
        return Program(removed=Change.NESTED_PIXELS)

    def _decide(self, level: SequencePath, tag: int, vr: str, creator: str | None) -> Program:
        attribute = level.attribute(tag, vr, creator)
        fields = self.recipe.fields
        rules = acting(
            (
                rule
                for rule in self._candidates(tag)
                if not (level.kept and is_sweeping(rule))
                and matches(rule.selector, attribute, fields, keeping=rule.action is Action.KEEP)
            ),
            self.recipe.files,
            top=level.top,
        )
        floor = self._floor(attribute, rules, inside_kept=level.private_kept)
        if floor is not None:
            return CHECK_WORDS if floor is KEEP and _is_disguised(tag, vr) else floor
        steps = tuple(map(_step, rules))
        if level.top and tag in REQUIRED_UIDS:
            steps = _protected(tag, steps)
        if tag == CHARACTER_SET and not steps:
            return CHECK_CHARACTER_SET
        if not steps and level.inherited is not None and not level.kept:
            steps = (Step(Action.REPLACE, level.inherited),)
        if not steps and tag == ACCESSION_NUMBER and vr != "SQ":
            return CHECK_ACCESSION
        if not steps:
            return CHECK_WORDS if vr == "UI" or _is_disguised(tag, vr) else PASS
        last = steps[-1]
        if (
            all(step.values is None for step in steps)
            and last.action is Action.REMOVE
            and last.value is None
        ):
            return Program(removed=Change.REMOVED)
        return Program(
            steps,
            siblings=not level.top and any(map(_uses_siblings, steps)),
            own=any(isinstance(step.value, OwnFunction) for step in steps),
        )

    def remaps_dated_uids(self, tag: int) -> bool:
        """Whether only those of an attribute's UIDs are remapped that contain a date."""
        return any(
            isinstance(step.value, Function) and step.value.name == "undated_uid"
            for step in self.top.program(tag, "UI").steps
        )

    def removes_alone(self, tag: int, vr: str) -> bool:
        """Whether a value in which the last gate has a finding is removed alone.

        True of an attribute whose values a rule keeps for their form, of a number that no rule
        names, and of one on the list of safe private attributes.
        """
        if vr in DECIMALS and (tag & 0x10000 or self.top.program(tag, vr) is PASS):
            return True
        return any(
            isinstance(rule.value, Function) and rule.value.name in KEPT_BY_FORM
            for rule in map(self._rules.__getitem__, self._exact.get(tag, ()))
        )

    def _candidates(self, tag: int) -> list[HeaderRule]:
        private = self._private.get((tag >> 16, tag & 0xFF), ()) if tag & 0x10000 else ()
        numbers = sorted((*self._exact.get(tag, ()), *private, *self._others))
        return [self._rules[number] for number in numbers]

    def _floor(
        self, attribute: Attribute, rules: list[HeaderRule], *, inside_kept: bool
    ) -> Program | None:
        """Return the program if no rule has a say: padding, KEEP, unknown or opaque attributes, and
        dates under another attribute."""
        tag, vr, creator = attribute.tag, attribute.vr, attribute.creator
        if tag & 0xFFFF == 0 or tag == TRAILING_PADDING:
            return Program(removed=Change.PADDING)
        if tag < FIRST_DATA_SET_TAG and creator is None:
            return Program(removed=Change.NO_IMAGES)
        known = PUBLIC_VR.get(tag) or vr_of(tag)
        opaque = creator is None and known == "SQ" and vr != "SQ"
        is_date_elsewhere = creator is None and _is_date_elsewhere(tag, vr)
        keeping = [rule.selector for rule in rules if rule.action is Action.KEEP]
        if keeping:
            if all(isinstance(selector, PrivateSelector) for selector in keeping):
                return KEEP_BY_CREATOR
            unsafe = Change.UNMOVABLE if is_date_elsewhere else Change.OPAQUE if opaque else None
            return KEEP if unsafe is None else Program(removed=unsafe)
        individually = any(
            names_individually(rule.selector, self.recipe.fields, private=creator is not None)
            for rule in rules
            if rule.action is not Action.REMOVE
        )
        if individually:
            return None
        removed = None
        if creator is not None:
            removed = None if inside_kept and not opaque else Change.PRIVATE
        elif known == "UN":
            removed = Change.UNKNOWN
        elif opaque:
            removed = Change.OPAQUE
        elif is_date_elsewhere:
            removed = Change.UNMOVABLE
        return None if removed is None else Program(removed=removed)


def _may_be_sequence(group: int, creator: str, element: int) -> bool:
    """Whether a private attribute may be a sequence, according to pydicom's dictionary."""
    tag = group << 16 | 0x1000 | element
    if listed(tag, creator):
        return False
    try:
        return get_private_entry(tag, creator)[0] in ("SQ", "UN")
    except KeyError:
        return True


def _uses_siblings(step: Step) -> bool:
    return isinstance(step.value, Function) and FUNCTIONS[step.value.name].siblings


def _selectors(recipe: Recipe) -> Iterator[Selector]:
    yield from (rule.selector for rule in recipe.header)
    lists = (*recipe.fields.values(), *recipe.values.values())
    yield from (entry.selector for entries in lists for entry in entries)


def _creators_named(recipe: Recipe) -> Iterator[str]:
    for selector in _selectors(recipe):
        if isinstance(selector, PrivateSelector):
            yield selector.creator


def _items_named(recipe: Recipe) -> Iterator[int]:
    for selector in _selectors(recipe):
        if isinstance(selector, PatternSelector) and "__" in selector.text:
            yield from (int(part) for part in selector.text.split("__") if part.isdigit())


def _is_disguised(tag: int, vr: str) -> bool:
    """Whether a number or UID according to the dictionary has a VR in the file that can hold
    words."""
    known = one_vr(vr_of(tag))
    if known in WRITTEN_NUMBERS or known == "UI":
        return vr not in WRITTEN_NUMBERS and vr not in BINARY_NUMBERS and vr not in {"SQ", known}
    return known in BINARY_NUMBERS and (vr in _TEXTS or (vr in BYTES and vr not in vrs_of(tag)))


def _is_date_elsewhere(tag: int, vr: str) -> bool:
    """Whether a file gives a date's VR to an attribute that is not a date.

    No rule shifts it, and next to shifted dates it reveals the shift.
    """
    return vr in DATES and one_vr(vr_of(tag)) not in {*DATES, "UN"}


def _step(rule: HeaderRule) -> Step:
    values = rule.selector.name if isinstance(rule.selector, ValuesSelector) else None
    return Step(rule.action, rule.value, values)


def _protected(tag: int, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Adapt the steps of a UID that every object needs.

    A step that would remove it, or make it the same in all objects, remaps it instead.
    """
    last = steps[-1] if steps else None
    if last is not None and last.values is None and leaves_needed(tag, last.action, last.value):
        return steps
    harmless = (
        step
        if leaves_needed(tag, step.action, step.value)
        else None
        if tag == SOP_CLASS
        else Step(Action.REPLACE, REMAP, step.values)
        for step in steps
    )
    return tuple(dict.fromkeys(step for step in harmless if step is not None))


def compile_plan(recipe: Recipe) -> Plan:
    """Compile a recipe.

    Parameters
    ----------
    recipe
        As returned by :func:`sendit.recipe.parse.read_recipe`.

    Raises
    ------
    Misconfigured
        A rule cannot be carried out: an unknown variable or function, a JITTER without a
        number of days, a value that its attribute cannot hold. Lint reports these with a
        suggestion; this check also covers recipes that were not linted.
    """
    for rule in filter(is_carried_out, recipe.header):
        problem = _problem(rule, recipe)
        if problem:
            raise Misconfigured(f"recipe, {rule.position}: {problem}")
    return Plan(recipe)


def _problem(rule: HeaderRule, recipe: Recipe) -> str | None:
    checks: dict[Action, Callable[[HeaderRule, Recipe], str | None]] = {
        Action.ADD: _value_problem,
        Action.REPLACE: _value_problem,
        Action.JITTER: _jitter_problem,
    }
    if isinstance(rule.value, OwnFunction) and rule.value.name not in recipe.own.functions:
        return f"there is no function {rule.value.name}"
    check = checks.get(rule.action)
    return check(rule, recipe) if check else None


def _value_problem(rule: HeaderRule, recipe: Recipe) -> str | None:
    value, selector = rule.value, rule.selector
    if rule.action is Action.ADD and not (
        isinstance(selector, PrivateSelector)
        or (isinstance(selector, TagSelector) and vr_of(selector.tag) != "UN")
    ):
        return "ADD needs one attribute of the standard, or a private one with its creator"
    problem: str | None = None
    match value:
        case None:
            problem = f"{rule.action} has no value"
        case Variable(name) if name not in VARIABLES and name not in recipe.own.variables:
            problem = f"there is no variable {name}"
        case Function(name) if name not in FUNCTIONS:
            problem = f"there is no function {name}"
        case Literal() | Variable() if isinstance(selector, TagSelector):
            if one_vr(vr_of(selector.tag)) == "SQ":
                problem = f"{tag_text(selector.tag)} cannot hold a text"
    return problem


def _jitter_problem(rule: HeaderRule, recipe: Recipe) -> str | None:
    match rule.value:
        case Variable(name) if name == "jitter" or name in recipe.own.variables:
            return None
        case Literal(text) if re.fullmatch(r"[+-]?\d{1,6}", text):
            return None
    return "JITTER needs a whole number of days"
