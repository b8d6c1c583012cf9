"""Parse deid's recipe language: grammar and names.

The grammar is that of deid 0.4.13 (``deid/config/utils.py``). A line that deid silently skips is an
error here; text that deid accepts and ignores is a warning. :mod:`sendit.recipe.lint` checks
whether the rules make sense together; :func:`read_recipe` does both.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from sendit.recipe import attributes, spelling
from sendit.recipe.functions import (
    FORMS,
    FUNCTIONS,
    VARIABLES,
    Argument,
    FunctionSpec,
    function_like,
    is_test_for_private,
    variable_like,
)
from sendit.recipe.matching import expression_of
from sendit.recipe.model import (
    Action,
    Condition,
    FieldsSelector,
    FilterLine,
    FilterList,
    FilterRule,
    Function,
    HeaderRule,
    Joiner,
    ListEntry,
    Literal,
    Match,
    OwnFunction,
    PatternSelector,
    Position,
    PrivateSelector,
    Recipe,
    Region,
    Selector,
    TagSelector,
    Value,
    ValuesSelector,
    Variable,
)
from sendit.recipe.own import Own
from sendit.recipe.problems import DECIDE, DOCS, Edit, Problem, RecipeError, Rule

__all__ = ["Problem", "RecipeError", "bundled_names", "read_recipe", "read_text"]

MAX_BYTES = 4 << 20  # recipes are written by hand; a larger file is something else
SUFFIX = ".deid"

SECTIONS = ("header", "filter", "labels", "fields", "values")
NAMED_SECTIONS = ("filter", "fields", "values")
OPERATORS_WITH_TEXT = ("contains", "notcontains", "equals", "notequals")
OPERATORS = (*OPERATORS_WITH_TEXT, "missing", "present", "empty")
AS_DEID = "as-deid"
"""Pseudo-recipe: deid's precedence applies, even where KEEP overrides a rule that protects."""

UNSTABLE = "stable_remapping=false"
"""An argument of deid's ``pydicom_uuid``, with which every image gets the same or a random UID."""

FROM_TEXT = "from:TextInPixels"
"""A region of a filter: identifying text that is recognised in the pixels."""

PRIVATE = r"contains:^\([0-9a-f]{3}[13579bdf],"
"""All private attributes, which have an odd group."""

DEFAULT_HEADER = "default"
"""The bundled recipe whose header is added to recipes that only have filters."""

COORDINATES = ("coordinates", "keepcoordinates", "ctpcoordinates", "ctpkeepcoordinates")
_SECTION_WORDS = frozenset(
    (
        *(action.lower() for action in Action),
        *(*OPERATORS, *COORDINATES, *SECTIONS, "field", "label", "split", "+", "||"),
    )
)
"""Words with which a rule, an entry or a section may begin. Other lines before the first section
are prose, which deid skips."""

NEEDS_VALUE = frozenset({Action.ADD, Action.REPLACE, Action.JITTER})

_SAYS_AS_DEID = re.compile(r"#\s*sendit\s*:\s*as[ -]deid\s*", re.IGNORECASE)
_COMMENT = re.compile(r'("[^"]*")|#.*')
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TAG = re.compile(r"\(\s*([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\s*\)")
_BARE_TAG = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{8})")
_PRIVATE = re.compile(
    r'(?P<open>\()?\s*(?P<group>[0-9A-Fa-f]{4})\s*,\s*"(?P<creator>[^"]+)"\s*,'
    r"\s*(?P<element>[0-9A-Fa-f]{2})\s*(?(open)\))"
)
_FIELD_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*")+')
_EXPANDER = re.compile(r'([^:"]*):(.*)', re.DOTALL)
_NAMES_OF_EXCEPT = ("allexcept", "exceptfields")  # in earlier versions of deid's documentation
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_REFERENCE = re.compile(r"(var|func|deid_func)\s*:\s*(.*)", re.IGNORECASE | re.DOTALL)
_JOIN = re.compile(rf"\s*(\|\||\+)\s*(?=(?:{'|'.join(OPERATORS)})(?:\s|$))", re.IGNORECASE)
_SPLIT_PARAMETER = re.compile(r"""\s*(\w+)\s*=\s*("[^"]*"|'[^']*'|[^;]*)\s*(?:;|$)""")
_UID_ROOT = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*\.?")


@dataclass(slots=True)
class _File:
    """A recipe file while it is being parsed."""

    name: str
    header: list[HeaderRule] = field(default_factory=list)
    filters: dict[str, list[FilterRule]] = field(default_factory=dict)
    labels: list[tuple[str, str]] = field(default_factory=list)
    fields: dict[str, list[ListEntry]] = field(default_factory=dict)
    values: dict[str, list[ListEntry]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    has_format: bool = False
    as_deid: bool = False
    header_at: Position | None = None


@dataclass(slots=True)
class _OpenRule:
    """A LABEL whose lines are still being parsed."""

    label: str
    position: Position
    lines: list[FilterLine] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)


class _Invalid(Exception):
    """A line is invalid; parsing continues with the next."""

    def __init__(
        self,
        message: str,
        suggestion: str = "",
        rule: Rule = Rule.GRAMMAR,
        edit: Edit | None = None,
    ) -> None:
        super().__init__(message)
        self.edit = edit
        self.message = message
        self.suggestion = suggestion
        self.rule = rule


def _closest(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _without_comment(line: str) -> str:
    return _COMMENT.sub(lambda part: part[1] or "", line).strip()


# Fields ---------------------------------------------------------------------------------


def _known_tag(tag: int) -> int:
    if not attributes.is_known(tag):
        raise _Invalid(
            f"{attributes.tag_text(tag)} is not a DICOM attribute",
            "check the number, or name it with contains:",
            Rule.ATTRIBUTE,
        )
    return tag


def _attribute(text: str) -> int:
    """Return the tag of an attribute given as keyword, (gggg,eeee), ggggeeee or 0xggggeeee.

    A keyword of a repeating group stands for its first attribute.
    """
    if digits := _TAG.fullmatch(text):
        return _known_tag(int(digits[1] + digits[2], 16))
    if digits := _BARE_TAG.fullmatch(text):
        return _known_tag(int(digits[1], 16))
    tag = attributes.tag_of(text)
    if tag is None and (mask := attributes.repeating(text)):
        tag = int(mask.replace("x", "0"), 16)
    if tag is None:
        raise _Invalid(
            f"{text} is not a DICOM keyword or tag",
            spelling.near(text) or _masked_hint(text),
            Rule.ATTRIBUTE,
            _corrected(text),
        )
    return tag


def _corrected(text: str) -> Edit | None:
    """Return the fix for an unknown attribute if it is unambiguous."""
    keyword = attributes.repeating_keyword(re.sub(r"[(), ]", "", text).lower())
    name = keyword or spelling.only_near(text)
    if name:
        return Edit(text, name)
    # deid's own default recipe has REMOVE jitter, which names no attribute and has no effect
    return Edit() if text in VARIABLES else None


def _masked_hint(text: str) -> str:
    """Suggest the keyword of an attribute of a repeating group: ``(60xx,3000)`` is OverlayData."""
    mask = re.sub(r"[(), ]", "", text).lower()
    keyword = attributes.repeating_keyword(mask)
    return f"write {keyword}: it means the attribute in every repeating group" if keyword else ""


def _take_field(rest: str) -> tuple[str, str]:
    """Split the text after an action into the field and the text of the value."""
    field = _PRIVATE.match(rest) or _TAG.match(rest) or _FIELD_TOKEN.match(rest)
    if field is None:
        raise _Invalid("unmatched quotation mark", 'write (gggg,"CREATOR",ee)')
    if field.end() < len(rest) and not rest[field.end()].isspace():
        field = _FIELD_TOKEN.match(rest)
        if field is None or (field.end() < len(rest) and not rest[field.end()].isspace()):
            raise _Invalid("unmatched quotation mark", 'write (gggg,"CREATOR",ee)')
    return field[0], " ".join(rest[field.end() :].split())


def _selector(text: str) -> Selector:
    if text.lower() in ("all", "allfields"):
        return PatternSelector(Match.ALL)
    if text == "*":
        raise _Invalid(
            "* is not a way to name fields: deid would do nothing",
            "write ALL",
            Rule.ATTRIBUTE,
            Edit("*", "ALL"),
        )
    if parts := _PRIVATE.fullmatch(text):
        group = int(parts["group"], 16)
        if not group & 1:
            raise _Invalid(
                f"{text}: a private attribute's group is odd", "even groups have no creators"
            )
        return PrivateSelector(group, parts["creator"], int(parts["element"], 16))
    if not _TAG.fullmatch(text) and (parts := _EXPANDER.fullmatch(text)):
        return _expander(parts[1], parts[2])
    if "__" in text:
        return _path(text)
    if mask := attributes.repeating(text):
        expression = re.sub("x", "[0-9a-f]", f"^\\({mask[:4]},{mask[4:]}\\)$")
        return PatternSelector(Match.CONTAINS, expression)
    return TagSelector(_attribute(text))


def _path(text: str) -> PatternSelector:
    """Return the pattern for an attribute in named sequences, in deid's notation for its position.

    ``Sequence__Keyword`` matches in all items, ``Sequence__0__Keyword`` in one item. Tags are
    allowed instead of keywords.
    """
    *sequences, last = text.split("__")
    numbers = [part for part in sequences if part.isdigit()]
    names = [part for part in sequences if not part.isdigit()]
    if numbers and (len(names) != len(numbers) or sequences[1::2] != numbers):
        raise _Invalid(
            f"{text} has item numbers for only some of its sequences",
            "write Sequence__0__Keyword, or no numbers at all",
        )
    for name in names:
        tag = _tag_in_path(name)
        if tag is None or attributes.vrs_of(tag) != ("SQ",):
            raise _Invalid(
                f"{name or 'nothing'} in {text} is not the keyword of a sequence",
                spelling.near(name) or "a path consists of keywords or tags",
                Rule.ATTRIBUTE,
            )
    if _tag_in_path(last) is None:
        raise _Invalid(
            f"{last or 'nothing'} in {text} is not a keyword", spelling.near(last), Rule.ATTRIBUTE
        )
    parts = [
        f"{int(part)}" if part.isdigit() else attributes.keyword_of(_tag_in_path(part) or 0)
        for part in (*sequences, last)
    ]
    return PatternSelector(Match.CONTAINS, f"^{'__'.join(parts).lower()}$")


def _tag_in_path(name: str) -> int | None:
    digits = _TAG.fullmatch(name)
    tag = int(digits[1] + digits[2], 16) if digits else attributes.tag_of(name)
    return tag if tag is not None and attributes.tag_of(attributes.keyword_of(tag)) else None


def _expander(word: str, text: str) -> Selector:
    """Return the selector of deid's field expanders (``contains:``, ``fields:``, ...)."""
    text = text.strip()
    if word in ("fields", "values"):
        if not text:
            raise _Invalid(f"{word}: no list is named", f"write {word}:NAME")
        return FieldsSelector(text) if word == "fields" else ValuesSelector(text)
    kinds = {"contains": Match.CONTAINS, "startswith": Match.STARTSWITH}
    kinds |= {"endswith": Match.ENDSWITH, "except": Match.EXCEPT, "select": Match.SELECT}
    match = kinds.get(word.lower())
    if match is None:
        raise _Invalid(
            f"{word}: is not a way to name fields",
            _closest(word.lower(), [*kinds, "fields", "values"])
            or f"use one of {', '.join(kinds)}",
            Rule.ATTRIBUTE,
            Edit(f"{word}:", "except:") if word.lower() in _NAMES_OF_EXCEPT else None,
        )
    if not text:
        raise _Invalid(
            f"{word}: has no text after it", "an empty text would match everything; use ALL"
        )
    if match is Match.SELECT:
        return _select(text)
    selector = PatternSelector(match, text)
    _compiled(text)
    try:
        expression_of(selector)  # a valid expression may be invalid within ^( )$
    except (re.error, OverflowError, RecursionError) as error:
        raise _Invalid(f"{word}:{text} is not a regular expression: {error}") from None
    return selector


def _select(text: str) -> PatternSelector:
    attribute, _, wanted = (part.strip() for part in text.partition(":"))
    if attribute.upper() == "VR":
        if wanted.upper() not in attributes.VRS:
            raise _Invalid(f"select:VR:{wanted} is not a value representation", "for example DA")
        return PatternSelector(Match.SELECT, f"VR:{wanted.upper()}")
    if attribute.upper() == "GROUP":
        if not re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,4}", wanted):
            raise _Invalid(f"select:group:{wanted} is not a group", "write four hex digits: 0010")
        return PatternSelector(Match.SELECT, f"GROUP:{int(wanted, 16):04X}")
    raise _Invalid(f"select:{attribute} is unknown", "write select:VR:.. or select:group:....")


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise _Invalid(
            f"{expression} is not a regular expression: {error}", "put \\ before ( ) [ ] + * ? ."
        ) from None


# Values ---------------------------------------------------------------------------------


def _value(text: str, action: Action, own: Own) -> tuple[Value, str]:
    """Return a value and a warning about it (empty if there is none)."""
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return Literal(text), ""
    word, rest = reference[1], reference[2].strip()
    if not text.startswith(f"{word.lower()}:"):
        raise _Invalid(
            f"{word} before a colon must be in lower case, without a space", rule=Rule.VALUE
        )
    if not rest:
        raise _Invalid(f"{word}: has no name after it", f"write {word}:NAME", Rule.VALUE)
    if word == "var":
        return _variable(rest, own)
    return _function(word, rest, action, own)


def _in_recipe_syntax(value: Value) -> str:
    """Return a variable or function in recipe syntax."""
    match value:
        case Variable(name):
            return f"var:{name}"
        case Function(name):
            return f"{FUNCTIONS[name].prefix}:{name}"
        case _:
            return ""


def _variable(text: str, own: Own) -> tuple[Variable, str]:
    name, _, more = text.partition(" ")
    if more:
        raise _Invalid(
            f"var:{name} is followed by more text",
            "a value is one variable or one text",
            Rule.VARIABLE,
        )
    if name in own.variables or name in VARIABLES:
        return Variable(name), ""
    known = variable_like(name)
    if known:
        return Variable(known), f"var:{name} is read as var:{known}, {VARIABLES[known]}"
    near = _closest(name, (*VARIABLES, *own.variables))
    raise _Invalid(
        f"var:{name} is not a known variable",
        f"{near + ' ' if near else ''}{_known_variables(own)}",
        Rule.VARIABLE,
    )


def _known_variables(own: Own) -> str:
    known = "; ".join(f"var:{name}: {meaning}" for name, meaning in VARIABLES.items())
    columns = ", ".join(f"var:{name}" for name in own.variables)
    more = (
        f"from the site's table: {columns}" if columns else "define others in SENDIT_RECIPE_TABLE"
    )
    return f"the variables are {known}; {more}"


def _function(prefix: str, text: str, action: Action, own: Own) -> tuple[Value, str]:
    name, _, more = text.partition(" ")
    if prefix == "func" and name.startswith("deid_func:"):
        raise _Invalid(
            f"func:{name} has two prefixes: deid would do nothing",
            f"write {name}",
            Rule.FUNCTION,
            Edit(f"func:{name}", name),
        )
    if prefix == "func" and name in own.functions:
        if more:
            raise _Invalid(
                f"func:{name} is followed by more text",
                "the site's own functions take no arguments",
                Rule.FUNCTION,
            )
        return OwnFunction(name), ""
    spec = FUNCTIONS.get(name)
    note = ""
    if spec is None or spec.prefix != prefix:
        meant = spec or _misspelt(name)
        alias = None if meant else function_like(name)
        if alias is None:
            hint = f"it is written {spec.prefix}:{name}" if spec else _closest_function(name)
            edit = Edit(f"{prefix}:{name}", f"{meant.prefix}:{meant.name}") if meant else None
            raise _Invalid(f"{prefix}:{name} is not a known function", hint, Rule.FUNCTION, edit)
        spec, more = FUNCTIONS[alias], ""
        note = f"{prefix}:{name} is read as {spec.prefix}:{alias}: {spec.meaning}"
    if action not in spec.actions:
        allowed = " or ".join(sorted(spec.actions))
        raise _Invalid(
            f"{prefix}:{name} cannot be used with {action}",
            f"it belongs to {allowed}",
            Rule.FUNCTION,
        )
    words = more.split()
    ignored = [word for word in words if _is_ignored(spec, word)]
    if ignored:
        note = f"{prefix}:{name} has no argument {', '.join(ignored)}: it is ignored, as in deid"
    if UNSTABLE in words:
        ignored.append(UNSTABLE)
        note = f"{UNSTABLE} is ignored: equal originals get equal UIDs, and others different ones"
    arguments = tuple(_argument(spec, word) for word in words if word not in ignored)
    return Function(spec.name, arguments), note


def _is_ignored(spec: FunctionSpec, word: str) -> bool:
    """Whether a word is an argument that deid's function ignores; a likely misspelling is not."""
    key, equals, value = word.partition("=")
    names = [argument.name for argument in spec.arguments]
    is_given = spec.prefix == "deid_func" and bool(equals and value)
    return is_given and key not in names and not _closest(key, names)


def _misspelt(name: str) -> FunctionSpec | None:
    """Return the function whose name is misspelt, if that is certain."""
    close = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=0.9)
    return FUNCTIONS[close[0]] if close else None


def _closest_function(name: str) -> str:
    """Suggest a function with its prefix, or say where to find or define one."""
    for near in difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=0.7):
        return f"did you mean {FUNCTIONS[near].prefix}:{near}?"
    return f"define it in SENDIT_RECIPE_FUNCTIONS, or use one of those in {DOCS}#value"


def _argument(spec: FunctionSpec, word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    known = {argument.name: argument for argument in spec.arguments}
    if not equals or not value:
        raise _Invalid(f"{word} after {spec.prefix}:{spec.name} is not key=value")
    if key not in known:
        hint = _closest(key, known) or (f"there is {', '.join(known)}" if known else "it has none")
        raise _Invalid(f"{spec.prefix}:{spec.name} has no argument {key}", hint)
    return key, _checked(known[key], value)


def _checked(argument: Argument, value: str) -> str:
    match argument.kind:
        case "integer":
            if not re.fullmatch(r"[+-]?\d{1,6}", value):
                raise _Invalid(f"{argument.name}={value} is not a whole number")
        case "boolean":
            if value not in ("true", "false"):
                raise _Invalid(f"{argument.name}={value} is not true or false")
        case "uid root":
            if not _UID_ROOT.fullmatch(value) or len(value) > 40:
                raise _Invalid(f"{argument.name}={value} is not the root of a UID", "like 1.2.3")
        case "form":
            if value not in FORMS:
                hint = _closest(value, FORMS) or f"there is {', '.join(FORMS)}"
                raise _Invalid(f"{argument.name}={value} is not a form of a value", hint)
        case "text":
            pass
    return value


# Filters --------------------------------------------------------------------------------


def _condition(text: str, joiner: Joiner, position: Position) -> Condition:
    words = text.split(None, 1)
    operator = words[0].lower() if words else ""
    if operator not in OPERATORS:
        raise _Invalid(
            f"{words[0] if words else 'nothing'} is not a test", _closest(operator, OPERATORS)
        )
    rest = words[1] if len(words) > 1 else ""
    if not rest:
        raise _Invalid(f"{operator} needs a field", f"write {operator} FIELD")
    name, value = _take_field(rest)
    *outer, own = name.split("__")
    inside, tag = list(map(_attribute, outer)), _attribute(own)
    for keyword, sequence in zip(outer, inside, strict=True):
        if "SQ" not in attributes.vrs_of(sequence):
            raise _Invalid(
                f"{name}: {keyword} is not a sequence",
                "write SEQUENCE__FIELD for a field in a sequence's items",
            )
    if operator not in OPERATORS_WITH_TEXT:
        if value:
            raise _Invalid(f"{operator} takes only a field", "join tests with + (and) or || (or)")
        return Condition(joiner, operator, tag, "", position, tuple(inside))
    if not value:
        raise _Invalid(f"{operator} needs a value", f"write {operator} {name} VALUE")
    if operator in ("contains", "notcontains"):
        _compiled(value)
    return Condition(joiner, operator, tag, value, position, tuple(inside))


def _filter_line(text: str, position: Position) -> FilterLine:
    joiner = Joiner.AND
    if text.startswith("||"):
        joiner, text = Joiner.OR, text[2:]
    elif text.startswith("+"):
        text = text[1:]
    parts = _JOIN.split(text.strip())
    joiners = [Joiner.AND, *(Joiner.OR if sign == "||" else Joiner.AND for sign in parts[1::2])]
    conditions = tuple(
        _condition(part.strip(), inner, position)
        for inner, part in zip(joiners, parts[::2], strict=True)
    )
    return FilterLine(joiner, conditions)


def _region(word: str, text: str) -> Region:
    keep, ctp = "keep" in word, word.startswith("ctp")
    if text == "all":
        return Region(keep)
    if text == FROM_TEXT:
        if keep:
            raise _Invalid(
                f"{word} {text} would keep identifying text", f"write coordinates {text}"
            )
        return Region(keep, text=True)
    if text.startswith("from:"):
        return Region(keep, source=_attribute(text.removeprefix("from:").strip()))
    numbers = [part.strip() for part in text.strip("()").split(",")]
    if len(numbers) != 4 or not all(re.fullmatch(r"\d{1,6}", part) for part in numbers):
        raise _Invalid(
            f"{word} {text} is not a region", "all, from:SEQUENCE, or four numbers: 0,0,512,100"
        )
    x0, y0, x1, y1 = map(int, numbers)
    if ctp or _is_of_ctp(x0, y0, x1, y1):  # width and height
        x1, y1 = x0 + x1, y0 + y1
    if x1 <= x0 or y1 <= y0:
        raise _Invalid(
            f"{word} {text} is an empty region",
            "write xmin,ymin,xmax,ymax; for CTP's x,y,width,height write ctpcoordinates",
            Rule.FILTER,
        )
    return Region(keep, box=(x0, y0, x1, y1))


def _is_of_ctp(x0: int, y0: int, x1: int, y1: int) -> bool:
    """Whether four numbers are x, y, width and height, as in CTP, rather than two corners."""
    return (x1 <= x0 or y1 <= y0) and x1 > 0 and y1 > 0


# Lines ----------------------------------------------------------------------------------


class _Reader:
    """Parses one file, line by line.

    Parameters
    ----------
    name
        Name of the file in messages.
    own
        The site's functions and variables.
    """

    def __init__(self, name: str, own: Own) -> None:
        self.file = _File(name)
        self._own = own
        self.section = ""
        self.section_name = ""
        self.rule: _OpenRule | None = None

    def read(self, text: str) -> _File:
        """Parse the file's text; problems are collected in the result."""
        lines = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")
        self.file.raw = lines
        for number, raw in enumerate(lines, 1):
            position = Position(self.file.name, number)
            try:
                if _CONTROL.search(raw):
                    raise _Invalid("the line contains control characters", "is this a text file?")
                self.file.as_deid |= _SAYS_AS_DEID.fullmatch(raw.strip()) is not None
                if raw.strip().startswith(DECIDE):
                    self._undecided(raw.strip().removeprefix(DECIDE), position)
                line = _without_comment(raw)
                if line:
                    self._line(line, position)
                    self.file.lines.append(" ".join(line.split()))
            except _Invalid as invalid:
                self.file.problems.append(
                    Problem(
                        position,
                        invalid.message,
                        invalid.suggestion,
                        invalid.rule,
                        edit=invalid.edit,
                    )
                )
        self._close_rule()
        self._check_file()
        return self.file

    def _undecided(self, text: str, position: Position) -> None:
        self._warn(
            position,
            f"undecided: {text}",
            "delete this comment once you have decided",
            Rule.DECISION,
        )

    def _problem(
        self, position: Position, message: str, suggestion: str = "", rule: Rule = Rule.GRAMMAR
    ) -> None:
        self.file.problems.append(Problem(position, message, suggestion, rule))

    def _warn(
        self,
        position: Position,
        message: str,
        suggestion: str = "",
        rule: Rule = Rule.GRAMMAR,
        edit: Edit | None = None,
    ) -> None:
        self.file.problems.append(
            Problem(position, message, suggestion, rule, warning=True, edit=edit)
        )

    @property
    def _is_valid(self) -> bool:
        return all(problem.warning for problem in self.file.problems)

    def _check_file(self) -> None:
        top = Position(self.file.name, 1)
        if not self.file.lines and not self.file.problems:
            self._problem(top, "the recipe is empty", "see docs/recipes.md for an example")
        elif not self.file.has_format:
            self._warn(
                top,
                "the recipe has no FORMAT line: dicom is assumed",
                "begin with FORMAT dicom",
                edit=Edit(new="FORMAT dicom", line=0),
            )
        if self.file.header_at and not self.file.header and self._is_valid:
            self._problem(
                self.file.header_at,
                "%header is empty: it changes nothing in any image",
                "add rules, or remove the line and combine with the bundled recipe: default",
                Rule.HEADER,
            )
        for kind, lists in (("fields", self.file.fields), ("values", self.file.values)):
            for name, entries in lists.items():
                if not entries and self._is_valid:
                    self._problem(
                        top, f"%{kind} {name} is empty", "add FIELD lines or remove it", Rule.LIST
                    )

    def _line(self, line: str, position: Position) -> None:
        word = line.split(None, 1)[0]
        if line.startswith("%"):
            self._begin_section(line, position)
        elif word.lower() == "format":
            self._format(line, position)
        elif not self.section:
            self._before_sections(line, position)
        elif self.section == "filter":
            self._filter(line, position)
        elif self.section == "header":
            self.file.header.append(self._header(line, position))
        elif self.section == "labels":
            self._label(line, position)
        else:
            self._entry(line, position)

    def _before_sections(self, line: str, position: Position) -> None:
        """Report a line before the first section: prose is skipped, as in deid, but a rule is an
        error."""
        word, *more = line.split()
        message, hint = f"{word} comes before any section", "begin with %header, %filter, %fields"
        close = difflib.get_close_matches(word.upper(), Action.__members__, n=1, cutoff=0.8)
        is_rule = word.lower() in _SECTION_WORDS or bool(close)
        if is_rule or (more and attributes.tag_of(more[0]) is not None):
            raise _Invalid(message, f"{hint} or %values")
        self._warn(position, f"{message}: it is ignored", f"{hint}, or with #", edit=Edit())

    def _format(self, line: str, position: Position) -> None:
        if self.file.has_format:
            self._warn(position, "FORMAT is given twice", "delete the line", edit=Edit())
        self.file.has_format = True
        kind = line[len("format") :].strip().lower()
        if kind != "dicom":
            raise _Invalid(f"format {kind or 'nothing'} is unknown", "write FORMAT dicom")

    def _begin_section(self, line: str, position: Position) -> None:
        self._close_rule()
        self.section = ""
        word, _, name = line[1:].partition(" ")
        section = word.strip().lower()
        name = " ".join(name.split())
        if section not in SECTIONS:
            hint = _closest(f"%{section}", [f"%{known}" for known in SECTIONS])
            self.section = "unknown"
            raise _Invalid(
                f"%{section} is not a section", hint or f"there are %{', %'.join(SECTIONS)}"
            )
        self.section, self.section_name = section, name
        if section not in NAMED_SECTIONS:
            if section == "header":
                self.file.header_at = self.file.header_at or position
            if name:
                raise _Invalid(f"%{section} takes no name", f"write %{section} alone")
            return
        if not name:
            raise _Invalid(f"%{section} has no name", f"write %{section} NAME")
        if section != "filter" and not _NAME.fullmatch(name):
            raise _Invalid(f"{name} cannot be a list's name", "use only letters, digits, _ . -")
        if section == "filter":
            self.file.filters.setdefault(name, [])
        else:
            (self.file.fields if section == "fields" else self.file.values).setdefault(name, [])

    def _close_rule(self) -> None:
        rule, self.rule = self.rule, None
        if rule is None:
            return
        if not rule.lines and not rule.regions:
            self._problem(rule.position, f"LABEL {rule.label} has no test", "it can never match")
            return
        self.file.filters.setdefault(self.section_name, []).append(
            FilterRule(rule.label, tuple(rule.lines), tuple(rule.regions), rule.position)
        )

    def _filter(self, line: str, position: Position) -> None:
        word, _, rest = line.partition(" ")
        if word.upper() == "LABEL":
            self._close_rule()
            self.rule = _OpenRule(" ".join(rest.split()), position)
            if not self.rule.label:
                self.rule.label = f"rule on line {position.line}"
                raise _Invalid("LABEL has no text", "say what the rule matches: the label is shown")
            return
        if self.rule is None:
            raise _Invalid(f"{word} comes before any LABEL", "begin each rule with LABEL TEXT")
        if word.lower() in COORDINATES:
            text = "".join(rest.split())
            region = _region(word.lower(), text)
            numbers = [int(part) for part in re.findall(r"\d+", text)]
            if not word.lower().startswith("ctp") and region.box and list(region.box) != numbers:
                self._warn(
                    position,
                    f"{word} {text} are not corners: read as CTP's x,y,width,height",
                    f"write ctp{word.lower()}",
                    Rule.FILTER,
                    Edit(word, f"ctp{word.lower()}"),
                )
            self.rule.regions.append(region)
            return
        if word in Action.__members__:
            raise _Invalid(f"{word} belongs in %header", "begin a %header section before it")
        self.rule.lines.append(_filter_line(line, position))

    def _header(self, line: str, position: Position) -> HeaderRule:
        word, _, rest = line.partition(" ") if " " in line else (line, "", "")
        parts = line.split(None, 1)
        word, rest = parts[0], parts[1] if len(parts) > 1 else ""
        if word not in Action.__members__:
            if word.upper() in Action.__members__:
                raise _Invalid(
                    f"{word} is an action in the wrong case: deid would skip the line",
                    f"write {word.upper()}",
                    Rule.ACTION,
                    Edit(word, word.upper()),
                )
            is_field = attributes.tag_of(word) is not None
            raise _Invalid(
                f"{word} is not an action" + (", it is an attribute" if is_field else ""),
                f"write the action first, for example REMOVE {word}"
                if is_field
                else _closest(word.upper(), Action.__members__)
                or f"a line of %header must begin with one of {', '.join(Action.__members__)}",
                Rule.ACTION,
                None if word.isalpha() else Edit(),  # output, or a ruler: deid skips it
            )
        action = Action[word]
        if not rest:
            raise _Invalid(f"{action} has no field", f"write {action} FIELD")
        name, value = _take_field(rest)
        selector = _selector(name)
        if action is Action.REMOVE and value.startswith("func:"):
            if self._asks_for_private(selector, value):
                self._warn(
                    position,
                    f"{action} {name} {value} is read as a rule for private attributes, unless a "
                    "KEEP names them",
                    f"write {action} {PRIVATE}",
                    Rule.FUNCTION,
                    Edit(new=f"{action} {PRIVATE}"),
                )
                return HeaderRule(action, _selector(PRIVATE), None, position)
            condition = self._condition_of(value)
            return HeaderRule(action, selector, condition, position)
        if action not in NEEDS_VALUE:
            if value:
                self._ignored(action, name, value, position)
            return HeaderRule(action, selector, None, position)
        if not value:
            raise _Invalid(
                f"{action} {name} has no value", f"write {action} {name} VALUE", Rule.VALUE
            )
        read, note = _value(value, action, self._own)
        if note:
            rule = Rule.VARIABLE if isinstance(read, Variable) else Rule.FUNCTION
            self._warn(position, note, rule=rule, edit=Edit(value, _in_recipe_syntax(read)))
        return HeaderRule(action, selector, read, position)

    def _asks_for_private(self, selector: Selector, value: str) -> bool:
        """Whether a REMOVE of all attributes has the condition that they are private."""
        name = value.removeprefix("func:").strip()
        return (
            selector == PatternSelector(Match.ALL)
            and name not in self._own.functions
            and is_test_for_private(name)
        )

    def _condition_of(self, value: str) -> OwnFunction:
        """Return the site's function that is the condition of a REMOVE."""
        name = value.removeprefix("func:").strip()
        if name not in self._own.functions:
            raise _Invalid(
                f"func:{name}, the condition of the REMOVE, is not one of the site's functions",
                "define it in SENDIT_RECIPE_FUNCTIONS, or delete it to always remove the attribute",
                Rule.FUNCTION,
            )
        return OwnFunction(name)

    def _ignored(self, action: Action, name: str, value: str, position: Position) -> None:
        is_condition = action is Action.REMOVE and re.match(r"\w+:", value)
        if is_condition:
            self._warn(
                position,
                f"{action} {name} applies whatever the value is: {value} is not a condition that "
                "deid knows",
                "only func:NAME is one; for values write REMOVE values:LIST",
                Rule.REMARK,
                Edit(value),
            )
        else:
            self._warn(
                position,
                f"{value} is ignored: {action} takes only a field",
                f"to set a value write REPLACE {name} VALUE; begin a comment with #",
                Rule.REMARK,
                Edit(value),
            )

    def _label(self, line: str, position: Position) -> None:
        parts = line.split(None, 2)
        if len(parts) != 3 or parts[0] != "ADD":
            self._warn(
                position,
                f"{line} is ignored",
                "a line of %labels is ADD NAME VALUE",
                Rule.REMARK,
                Edit(),
            )
            return
        self.file.labels.append((parts[1], " ".join(parts[2].split())))

    def _entry(self, line: str, position: Position) -> None:
        if self.section == "unknown":
            return
        parts = line.split(None, 1)
        word, rest = parts[0], parts[1] if len(parts) > 1 else ""
        allowed = ("FIELD", "SPLIT") if self.section == "values" else ("FIELD",)
        if word not in allowed:
            hint = f"write {word.upper()}" if word.upper() in allowed else f"{' or '.join(allowed)}"
            raise _Invalid(f"{word} is not for %{self.section}", hint)
        if not rest:
            raise _Invalid(f"{word} has no field", f"write {word} FIELD")
        name, more = _take_field(rest)
        selector = _selector(name)
        if isinstance(selector, FieldsSelector | ValuesSelector):
            raise _Invalid("a list cannot be built from a list", "name the fields themselves")
        if more and word == "FIELD":
            self._warn(
                position,
                f"{more} is ignored: FIELD takes only a field",
                "only SPLIT takes by= and minlength=",
                Rule.REMARK,
            )
        split_by, minimum = _split_parameters(more) if word == "SPLIT" else (None, 1)
        lists = self.file.fields if self.section == "fields" else self.file.values
        lists.setdefault(self.section_name, []).append(
            ListEntry(selector, split_by, minimum, position)
        )


def _split_parameters(text: str) -> tuple[str, int]:
    split_by, minimum = " ", 1
    while text:
        parameter = _SPLIT_PARAMETER.match(text)
        if parameter is None:
            raise _Invalid(f"{text} is not by=TEXT or minlength=NUMBER", 'by="^";minlength=4')
        key, value, text = parameter[1], parameter[2].strip(), text[parameter.end() :]
        if key == "by":
            split_by = value[1:-1] if value[:1] in ("'", '"') else value
            if not split_by:
                raise _Invalid("by= is empty", 'write by="^"')
        elif key == "minlength":
            value = value.strip("'\"")
            if not re.fullmatch(r"\d{1,4}", value) or int(value) < 1:
                raise _Invalid(f"minlength={value} is not a whole number above 0")
            minimum = int(value)
        else:
            edit = Edit("splitval=", "by=") if key == "splitval" else None
            raise _Invalid(f"SPLIT has no {key}", "by= or minlength=", edit=edit)
    return split_by, minimum


# Recipes --------------------------------------------------------------------------------


def bundled_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with sendit."""
    folder = resources.files("sendit.recipe") / "bundled"
    return tuple(
        sorted(f.name.removesuffix(SUFFIX) for f in folder.iterdir() if f.name.endswith(SUFFIX))
    )


def _text_of(name: str) -> tuple[str, str]:
    """Return the display name and the text of a bundled recipe or of a file.

    Raises
    ------
    RecipeError
        There is no such recipe, or the file cannot be read.
    """
    if name in bundled_names():
        shown = f"{name}{SUFFIX}"
        return shown, (resources.files("sendit.recipe") / "bundled" / shown).read_text("utf-8")
    here = Position(name or "(no name)", 1)
    path = Path(name)
    if not path.is_absolute():
        hint = _closest(name, bundled_names()) or f"bundled: {', '.join(bundled_names())}"
        raise RecipeError(
            [Problem(here, "no bundled recipe has this name, and it is not an absolute path", hint)]
        )
    try:
        if path.is_dir():
            raise RecipeError(
                [Problem(here, "this is a folder", "name the recipe file in it", Rule.FILE)]
            )
        if not path.is_file():
            raise RecipeError([Problem(here, "there is no such file", "check the path", Rule.FILE)])
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError([Problem(here, "the file is too large to be a recipe")])
        return name, path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(
            [Problem(here, "the file is not UTF-8 text", "save it as UTF-8")]
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise RecipeError([Problem(here, f"the file cannot be read: {why}")]) from None


def _digest(files: Sequence[_File]) -> str:
    text = "\n".join(line for file in files for line in file.lines)
    return hashlib.sha256(text.encode()).hexdigest()


def read_text(*named_texts: tuple[str, str], own: Own | None = None) -> Recipe:
    """Parse and check recipes given as (name, text), combined in order.

    Parameters
    ----------
    named_texts
        Names for messages, and the texts of the recipes. The comment ``# sendit: as deid`` in any
        of them allows KEEP to override a rule that protects an identifier.
    own
        The site's functions and variables.

    Returns
    -------
    Recipe
        The combined recipe, with its warnings.

    Raises
    ------
    RecipeError
        There are problems of grammar, names or meaning; holds all, in the order of files and
        lines.
    """
    from sendit.recipe.lint import lint  # noqa: PLC0415 - lint imports nothing from here

    own = own or Own()
    files = [_Reader(name, own).read(text) for name, text in named_texts]
    problems = [problem for file in files for problem in file.problems]
    problems += _named_twice(files)
    if not any(file.header_at for file in files):
        problems += _without_header(files, own)
    recipe = _combined(files, own)
    problems = _in_order([*problems, *lint(recipe)], files)
    warnings = tuple(problem for problem in problems if problem.warning)
    errors = [problem for problem in problems if not problem.warning]
    if errors:
        raise RecipeError(errors, warnings)
    return replace(recipe, warnings=warnings)


def _named_twice(files: Iterable[_File]) -> list[Problem]:
    names = Counter(file.name for file in files)
    return [
        Problem(Position(name, 1), "the recipe is named twice", rule=Rule.FILE)
        for name, times in names.items()
        if times > 1
    ]


def _without_header(files: list[_File], own: Own) -> list[Problem]:
    """Report recipes without a header; if they have other sections, add the default's header."""
    top = Position(files[0].name if files else "(none)", 1)
    if any(file.filters or file.fields or file.values or file.labels for file in files):
        _, text = _text_of(DEFAULT_HEADER)
        default = _Reader(f"{DEFAULT_HEADER}{SUFFIX}", own).read(text)
        default.filters.clear()
        files.append(default)
        return [
            Problem(
                top,
                "no %header section: attributes are de-identified by the bundled recipe "
                f"{DEFAULT_HEADER} (deid would leave them all unchanged)",
                "add %header to decide it yourself",
                Rule.HEADER,
                warning=True,
            )
        ]
    if any(problem.message == "the recipe is empty" for file in files for problem in file.problems):
        return []
    return [
        Problem(
            top,
            "no %header section: every image would be delivered unchanged",
            "add %header, or combine with the bundled recipe: default",
            Rule.HEADER,
        )
    ]


def _combined(files: list[_File], own: Own) -> Recipe:
    filters: dict[str, list[FilterRule]] = {}
    fields: dict[str, list[ListEntry]] = {}
    values: dict[str, list[ListEntry]] = {}
    for file in files:
        for name, rules in file.filters.items():
            filters.setdefault(name, []).extend(rules)
        for name, entries in file.fields.items():
            fields.setdefault(name, []).extend(entries)
        for name, entries in file.values.items():
            values.setdefault(name, []).extend(entries)
    return Recipe(
        header=tuple(rule for file in files for rule in file.header),
        filters=tuple(FilterList(name, tuple(rules)) for name, rules in filters.items()),
        labels=tuple(label for file in files for label in file.labels),
        fields={name: tuple(entries) for name, entries in fields.items()},
        values={name: tuple(entries) for name, entries in values.items()},
        files=tuple(file.name for file in files),
        digest=_digest(files),
        as_deid=any(file.as_deid for file in files),
        own=own,
    )


def _in_order(problems: list[Problem], files: Sequence[_File]) -> list[Problem]:
    """Sort problems by file and line, and add the column of what each names."""
    order = {file.name: index for index, file in enumerate(files)}
    raw = {file.name: file.raw for file in files}
    problems = [
        replace(problem, position=_with_column(problem, raw.get(problem.position.file, [])))
        for problem in problems
    ]
    return sorted(problems, key=lambda p: (order.get(p.position.file, 0), p.position.line))


def _with_column(problem: Problem, raw: Sequence[str]) -> Position:
    place = problem.position
    if place.line > len(raw):
        return place
    line = raw[place.line - 1]
    for word in problem.message.split():
        token = word.strip(",.;'")
        if token in Action.__members__ or not token:
            continue
        if (start := line.find(token)) >= 0:
            return replace(place, column=start + 1)
        break
    return replace(place, column=len(line) - len(line.lstrip()) + 1)


def read_recipe(*names_or_paths: str, own: Own | None = None) -> Recipe:
    """Read, combine and check recipes.

    Parameters
    ----------
    names_or_paths
        Names of bundled recipes or absolute paths, combined in order: header rules are
        concatenated, filter lists and field lists of the same name are joined (deid drops one
        of them). The pseudo-recipe ``as-deid`` allows KEEP to override a rule that protects an
        identifier, as in deid.
    own
        The site's functions and variables.

    Returns
    -------
    Recipe
        The combined recipe, with its warnings.

    Raises
    ------
    RecipeError
        There are problems; each names file, line and, if possible, what to write instead.
    """
    names = [name for name in names_or_paths if name != AS_DEID]
    if not names:
        raise RecipeError([Problem(Position("(none)", 1), "no recipe is given", rule=Rule.FILE)])
    texts = list(map(_text_of, names))
    if AS_DEID in names_or_paths:
        texts[0] = (texts[0][0], f"{texts[0][1]}\n# sendit: as deid\n")
    return read_text(*texts, own=own)
