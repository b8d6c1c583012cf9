"""A recipe as typed values: what the text of a deid recipe means, with where it says so.

``parse`` makes these from text, ``lint`` refuses those that would fail open,
``deidentify.plan`` compiles the header rules, ``recipe.filters`` the filters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from sendit.recipe.own import Own

if TYPE_CHECKING:
    from sendit.recipe.problems import Problem


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a recipe file: line and column count from 1."""

    file: str
    line: int
    column: int = field(default=1, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Action(StrEnum):
    """What a header rule does to the elements that it names."""

    ADD = "ADD"
    BLANK = "BLANK"
    JITTER = "JITTER"
    KEEP = "KEEP"
    REMOVE = "REMOVE"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class TagSelector:
    """One attribute, by keyword or tag; at every nesting level."""

    tag: int


@dataclass(frozen=True, slots=True)
class PrivateSelector:
    """One private attribute: (gggg,"CREATOR",ee)."""

    group: int
    creator: str
    element: int


class Match(StrEnum):
    """How a pattern selector compares its text with an attribute."""

    ALL = "ALL"
    CONTAINS = "contains"
    STARTSWITH = "startswith"
    ENDSWITH = "endswith"
    EXCEPT = "except"
    SELECT = "select"


@dataclass(frozen=True, slots=True)
class PatternSelector:
    """Attributes by a property, at every nesting level.

    ``text`` is empty for ALL (which ``allfields`` means too); ``VR:DA`` or ``GROUP:0010``
    for SELECT; otherwise a regular expression that ignores case and is searched for in
    the attribute's names (``sendit.recipe.matching.names_of``).
    """

    match: Match
    text: str = ""


@dataclass(frozen=True, slots=True)
class FieldsSelector:
    """The attributes that a ``%fields`` list names."""

    name: str


@dataclass(frozen=True, slots=True)
class ValuesSelector:
    """Attributes whose value holds one of the values that a ``%values`` list gathers."""

    name: str


Selector = TagSelector | PrivateSelector | PatternSelector | FieldsSelector | ValuesSelector


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``var:name``: given with the study's identifiers."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """``func:name`` or a deid built-in (``deid_func:name key=value ...``)."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """``func:name`` of the site's own module (``sendit.recipe.own``)."""

    name: str


Value = Literal | Variable | Function | OwnFunction


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """One line of ``%header``. The value of a REMOVE is the condition under which it acts."""

    action: Action
    selector: Selector
    value: Value | None
    position: Position


class Joiner(StrEnum):
    """How a test is combined with what was evaluated before it."""

    AND = "and"
    OR = "or"


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a filter: ``operator`` is contains, notcontains, equals, notequals,
    missing, present or empty; ``text`` is a regular expression for the first two, a text
    to be equal to for the next two, and empty for the rest. ``joiner`` combines it with the
    tests before it on its line, from left to right; the first one's is ignored. ``inside`` are the
    tags of the sequences around the attribute, outermost first; none at the top level."""

    joiner: Joiner
    operator: str
    tag: int
    text: str
    position: Position
    inside: tuple[int, ...] = ()

    @property
    def path(self) -> tuple[int, ...]:
        """The tags on the way to the attribute, its own the last."""
        return (*self.inside, self.tag)


@dataclass(frozen=True, slots=True)
class FilterLine:
    """One line of a filter rule. A line is evaluated on its own, then combined with the
    lines before it by ``joiner``, from top to bottom; the first one's is ignored."""

    joiner: Joiner
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image that holds burned-in text, or (``keep``) the part that does not.

    ``box`` is (xmin, ymin, xmax, ymax) in pixels, as deid's; ``source`` is the tag of the
    sequence whose items give the boxes (``from:``); ``text``: wherever text that must not leave is
    read (``from:TextInPixels``). None of these: the whole image.
    """

    keep: bool
    box: tuple[int, int, int, int] | None = None
    source: int | None = None
    text: bool = False


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One LABEL of a ``%filter`` list. Without lines it is true of every image;
    without regions it only flags."""

    label: str
    lines: tuple[FilterLine, ...]
    regions: tuple[Region, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class FilterList:
    """A ``%filter`` section: its name (whitelist, graylist, blacklist, ...) and rules."""

    name: str
    rules: tuple[FilterRule, ...]


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One FIELD or SPLIT line of a ``%fields`` or ``%values`` list."""

    selector: Selector
    split_by: str | None
    minimum_length: int
    position: Position


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything one or more recipe files say, combined in order.

    ``files`` are the names of the files, in that order; ``labels`` are the recipe's own
    notes (``%labels``), which change nothing in an image.
    ``digest`` is the SHA-256 (hex) of the combined, normalised text: equal digests,
    equal meaning. ``as_deid`` says that KEEP may win over a rule that protects an identifier.
    ``own`` are the site's functions and variables. ``warnings`` are what the recipe's author
    should know, though the recipe can be used.
    """

    header: tuple[HeaderRule, ...]
    filters: tuple[FilterList, ...]
    labels: tuple[tuple[str, str], ...] = ()
    fields: dict[str, tuple[ListEntry, ...]] = field(default_factory=dict)
    values: dict[str, tuple[ListEntry, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    digest: str = ""
    as_deid: bool = False
    own: Own = field(default_factory=Own, compare=False, repr=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
