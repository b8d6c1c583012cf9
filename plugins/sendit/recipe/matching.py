"""Match a recipe's selectors with attributes, of a file or of the dictionary.

Names, tags and patterns match at every nesting level. A pattern is searched for in each of an
attribute's names, as in deid; in a sequence these include the keywords of the enclosing sequences,
joined by two underscores.

Deliberate differences from deid:

- Patterns do not match pixel data and colour tables (deid's list is longer), nor
  SpecificCharacterSet, without which the remaining text could not be decoded.
- If an attribute's VR in the file differs from the dictionary's, ``select:VR`` matches either;
  for KEEP, both must match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from pydicom.datadict import get_entry, get_private_entry

from sendit.dicom.scan import vr_of
from sendit.recipe.attributes import NEVER_MATCHED, standard_tags, vrs_of
from sendit.recipe.model import (
    Action,
    FieldsSelector,
    HeaderRule,
    ListEntry,
    Match,
    PatternSelector,
    PrivateSelector,
    Selector,
    TagSelector,
    ValuesSelector,
)

Lists = Mapping[str, tuple[ListEntry, ...]]
"""The ``%fields`` lists of a recipe, by name."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute in the form that selectors match.

    Attributes
    ----------
    tag
        Its tag; for a private attribute, including its block in the file.
    vr
        Its VR in the file (SQ if it has items), or that in the dictionary: ``US or SS``.
    creator
        The private creator, empty if the file has none; None for a standard attribute.
    names
        The texts in which patterns are searched for.
    """

    tag: int
    vr: str
    creator: str | None
    names: tuple[str, ...]


@lru_cache(maxsize=16384)
def names_of(tag: int) -> tuple[str, ...]:
    """Return the names of a standard attribute, in which patterns are searched for.

    As in deid: the keyword in lower case, the tag in lower case with and without parentheses, the
    name ("Patient's Name") and the keyword.
    """
    hexadecimal = f"{tag:08x}"
    try:
        entry = get_entry(tag)
        name, keyword = entry[2], entry[4]
    except KeyError:
        name, keyword = "", ""
    return (keyword.lower(), f"({hexadecimal[:4]},{hexadecimal[4:]})", hexadecimal, name, keyword)


@lru_cache(maxsize=16384)
def private_names_of(tag: int, creator: str) -> tuple[str, ...]:
    """Return the names of a private attribute, as in deid (its ``name_contains``)."""
    group, element = tag >> 16, tag & 0xFFFF
    if 0x10 <= element <= 0xFF:
        name = "Private Creator"
    else:
        try:
            name = f"[{get_private_entry(tag, creator)[2]}]"
        except KeyError:
            name = "Private tag data"
    tagged = f"{group:04x},{element:04x}"
    texts = ("", f"({tagged})", tagged.replace(",", ""), name, "")
    if not creator:
        return texts
    by_creator = f'{group:04X},"{creator}",{element & 0xFF:02X}'
    return (*texts, by_creator, f"({by_creator})")


@lru_cache(maxsize=16384)
def standard_attribute(tag: int) -> Attribute:
    """Return a standard attribute at the top level of an object, with its VR in the dictionary."""
    return Attribute(tag, vr_of(tag), None, names_of(tag))


@lru_cache(maxsize=1024)
def expression_of(selector: PatternSelector) -> re.Pattern[str]:
    """Return the regular expression of a name pattern (CONTAINS, STARTSWITH, ENDSWITH, EXCEPT)."""
    form = {Match.STARTSWITH: "^({})", Match.ENDSWITH: "({})$"}.get(selector.match, "{}")
    return re.compile(form.format(selector.text), re.IGNORECASE)


def matches(
    selector: Selector, attribute: Attribute, fields: Lists, *, keeping: bool = False
) -> bool:
    """Whether a selector names an attribute.

    Parameters
    ----------
    selector
        The selector of a rule or of a list entry.
    attribute
        The attribute at its position.
    fields
        The recipe's ``%fields`` lists.
    keeping
        Whether the rule is a KEEP, for which ``select:VR`` must match both VRs of an attribute
        whose VR in the file differs from the dictionary's.

    Returns
    -------
    bool
        True for ``values:`` on anything that patterns can match, because the values depend on the
        object.
    """
    match selector:
        case TagSelector(tag):
            return tag == attribute.tag
        case PrivateSelector(group, creator, element):
            return (
                creator == attribute.creator
                and attribute.tag >> 16 == group
                and attribute.tag & 0xFFFF > 0xFF
                and attribute.tag & 0xFF == element
            )
        case ValuesSelector():
            return attribute.tag not in NEVER_MATCHED
        case FieldsSelector(name):
            return any(
                matches(entry.selector, attribute, fields, keeping=keeping)
                for entry in fields.get(name, ())
            )
        case PatternSelector():
            return attribute.tag not in NEVER_MATCHED and _pattern_matches(
                selector, attribute, keeping=keeping
            )


def _pattern_matches(selector: PatternSelector, attribute: Attribute, *, keeping: bool) -> bool:
    match selector.match:
        case Match.ALL:
            return True
        case Match.SELECT:
            kind, _, wanted = selector.text.partition(":")
            if kind == "GROUP":
                return attribute.tag >> 16 == int(wanted, 16)
            return _has_vr(attribute, wanted, both=keeping)
        case _:
            is_found = any(map(expression_of(selector).search, attribute.names))
            return is_found is not (selector.match is Match.EXCEPT)


def _has_vr(attribute: Attribute, wanted: str, *, both: bool) -> bool:
    """Whether an attribute has a VR in the file or in the dictionary; with ``both``, in each that
    knows one."""
    known = vr_of(attribute.tag)
    fits = [wanted in vr.split(" or ") for vr in (attribute.vr, known)]
    return all(fits) if both and "UN" not in (attribute.vr, known) else any(fits)


@lru_cache(maxsize=262144)
def _pattern_reaches(selector: PatternSelector, tag: int) -> bool:
    return matches(selector, standard_attribute(tag), {})


def reaches(selector: Selector, tag: int, fields: Lists) -> bool:
    """Whether a selector names a standard attribute at the top level of any object.

    Parameters
    ----------
    selector
        The selector of a rule or of a list entry.
    tag
        The attribute.
    fields
        The recipe's ``%fields`` lists.

    Returns
    -------
    bool
        False for ``values:``, which depends on the object's values.
    """
    match selector:
        case TagSelector():
            return selector.tag == tag
        case PatternSelector():
            return _pattern_reaches(selector, tag)
        case FieldsSelector(name):
            return any(reaches(entry.selector, tag, fields) for entry in fields.get(name, ()))
        case _:
            return False


def is_sweeping(rule: HeaderRule) -> bool:
    """Whether a rule names nothing in particular (ALL, ``except:``) and so does not act in a
    sequence that is kept."""
    selector = rule.selector
    return (
        rule.action is not Action.KEEP
        and isinstance(selector, PatternSelector)
        and selector.match in (Match.ALL, Match.EXCEPT)
    )


def names_individually(selector: Selector, fields: Lists, *, private: bool) -> bool:
    """Whether a selector names attributes individually rather than by a common property.

    Parameters
    ----------
    selector
        The selector of a rule or of a list entry.
    fields
        The recipe's ``%fields`` lists.
    private
        Whether only names of private attributes count.
    """
    match selector:
        case TagSelector(tag):
            return not private or bool(tag >> 16 & 1)
        case PrivateSelector():
            return True
        case FieldsSelector(name):
            return any(
                names_individually(entry.selector, fields, private=private)
                for entry in fields.get(name, ())
            )
        case _:
            return False


@cache
def sequence_names() -> tuple[str, ...]:
    """Return the keywords of all sequences in lower case, as they precede ``__``."""
    return tuple(names_of(tag)[0] for tag in standard_tags() if vrs_of(tag) == ("SQ",))


@lru_cache(maxsize=1024)
def matches_a_sequence(selector: PatternSelector) -> bool:
    """Whether a name pattern matches some sequence's keyword, and so everything inside it."""
    search = expression_of(selector).search
    return any(search(f"{name}__") for name in sequence_names())
