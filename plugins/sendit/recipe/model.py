"""The data model of a parsed recipe, with source positions.

``recipe.parse`` builds it from text, ``recipe.lint`` rejects rules that would fail open,
``deidentify.plan`` compiles the header rules and ``recipe.filters`` the filters.
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
    """A position in a recipe file; lines and columns count from 1."""

    file: str
    line: int
    column: int = field(default=1, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Action(StrEnum):
    """What a header rule does to the attributes that it names."""

    ADD = "ADD"
    BLANK = "BLANK"
    JITTER = "JITTER"
    KEEP = "KEEP"
    REMOVE = "REMOVE"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class TagSelector:
    """One attribute, named by keyword or tag; matches at every nesting level."""

    tag: int


@dataclass(frozen=True, slots=True)
class PrivateSelector:
    """One private attribute, (gggg,"CREATOR",ee); ``element`` is without the block."""

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
    """Attributes with a common property, at every nesting level.

    ``text`` is empty for ALL (or its synonym ``allfields``), ``VR:DA`` or ``GROUP:0010`` for
    SELECT, otherwise a case-insensitive regular expression that is searched for in the
    attribute's names (:func:`sendit.recipe.matching.names_of`).
    """

    match: Match
    text: str = ""


@dataclass(frozen=True, slots=True)
class FieldsSelector:
    """The attributes that a ``%fields`` list names."""

    name: str


@dataclass(frozen=True, slots=True)
class ValuesSelector:
    """Attributes whose value contains one of those collected by a ``%values`` list."""

    name: str


Selector = TagSelector | PrivateSelector | PatternSelector | FieldsSelector | ValuesSelector


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``var:name``: a value that comes with the study's identifiers or the site's table."""

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
    """A line of ``%header``. The value of a REMOVE is the condition under which it acts."""

    action: Action
    selector: Selector
    value: Value | None
    position: Position


class Joiner(StrEnum):
    """How a test is combined with the result of the tests before it."""

    AND = "and"
    OR = "or"


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a filter.

    Attributes
    ----------
    joiner
        Combines it with the tests before it on its line, from left to right; ignored for the
        first test.
    operator
        contains, notcontains, equals, notequals, missing, present or empty.
    tag
        The attribute.
    text
        A regular expression for the first two operators, a text for the next two, else empty.
    position
        Where it is in the recipe.
    inside
        Tags of the enclosing sequences, outermost first; empty at the top level.
    """

    joiner: Joiner
    operator: str
    tag: int
    text: str
    position: Position
    inside: tuple[int, ...] = ()

    @property
    def path(self) -> tuple[int, ...]:
        """The tags of the enclosing sequences, followed by the attribute's own."""
        return (*self.inside, self.tag)


@dataclass(frozen=True, slots=True)
class FilterLine:
    """A line of a filter rule.

    Each line is evaluated separately and then combined by ``joiner`` with the lines before it,
    from top to bottom; the joiner of the first line is ignored.
    """

    joiner: Joiner
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the image to blank, or (``keep``) to keep. Without a box, the entire image.

    Attributes
    ----------
    keep
        Whether everything outside the region is blanked instead.
    box
        (xmin, ymin, xmax, ymax) in pixels, as in deid.
    source
        Tag of the sequence whose items give the boxes (``from:``).
    text
        Whether the boxes are those of identifying text (``from:TextInPixels``).
    """

    keep: bool
    box: tuple[int, int, int, int] | None = None
    source: int | None = None
    text: bool = False


@dataclass(frozen=True, slots=True)
class FilterRule:
    """A LABEL of a ``%filter`` list.

    Without lines it matches every image; without regions it blanks nothing.
    """

    label: str
    lines: tuple[FilterLine, ...]
    regions: tuple[Region, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class FilterList:
    """A ``%filter`` section: its name (whitelist, graylist, blacklist, ...) and its rules."""

    name: str
    rules: tuple[FilterRule, ...]


@dataclass(frozen=True, slots=True)
class ListEntry:
    """A FIELD or SPLIT line of a ``%fields`` or ``%values`` list.

    Attributes
    ----------
    selector
        The attributes.
    split_by
        Separator at which SPLIT splits their values; None for FIELD.
    minimum_length
        Minimum length of a value that counts, in characters.
    position
        Where it is in the recipe.
    """

    selector: Selector
    split_by: str | None
    minimum_length: int
    position: Position


@dataclass(frozen=True, slots=True)
class Recipe:
    """One or more recipe files, combined in order.

    Attributes
    ----------
    header
        Header rules.
    filters
        Filter lists.
    labels
        Names and values in ``%labels``, which have no effect on images.
    fields, values
        ``%fields`` and ``%values`` lists by name.
    files
        Names of the recipe files, in order.
    digest
        SHA-256 (hex) of the combined, normalised text: equal digests mean equal recipes.
    as_deid
        Whether KEEP may override a rule that protects an identifier, as in deid.
    own
        The site's functions and variables.
    warnings
        What the recipe's author should know, though the recipe is usable.
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
