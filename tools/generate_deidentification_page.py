"""Generate the tables of docs/deidentification.md and docs/recipes.md from the code.

    .venv/bin/python tools/generate_deidentification_page.py [--check]

Text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is generated, the rest is written by
hand. ``--check`` writes nothing and fails if a page is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sendit.recipe.attributes import FIRST_DATA_SET_TAG, keyword_of, tag_text, vrs_of
from sendit.recipe.coverage import OPTION_CODES, cover
from sendit.recipe.effect import Effects
from sendit.recipe.functions import FORMS, FUNCTIONS, VARIABLES
from sendit.recipe.model import Action, Function, HeaderRule, Literal, Variable
from sendit.recipe.parse import bundled_names, read_recipe
from sendit.recipe.profile import EDITION, KEPT, PRIVATE, Row, SafePrivate, safe_private, table
from sendit.recipe.review import Holds, review

ALL_SAFE_PRIVATE = "default-retain-safe-private"
SHOWN_WORDS = 8
DOCS = Path(__file__).resolve().parents[1] / "docs"

# What happens to an attribute: the word in the tables, and its explanation.
WORDS = {
    "removed": "removed",
    "emptied": "emptied, or a dummy value where the object's IOD requires a value",
    "blank": "emptied",
    "dummy": "replaced by a dummy value",
    "removed or dummy": "removed; a dummy value where the object's IOD requires the attribute",
    "removed or emptied": "removed; emptied or a dummy value where the object's IOD requires it",
    "removed or remapped": "removed; where the IOD requires it, its UIDs are remapped",
    "UID": "replaced by a keyed hash, the same for the same original",
    "shifted": "shifted by the patient's jitter, in whole days",
    "code": "replaced by the code of the identifier service",
    "kept": "kept",
    "capped": "kept up to 89 years, 090Y above",
    "kept if known": "kept if the attribute is defined to hold such a value, otherwise emptied",
    "cleaned": "reduced to words of the allow-list",
    "cleaned by item": "numbers, coordinates and codes kept, texts cleaned, UIDs remapped",
    "in its form": "kept if it has its expected form, otherwise cleaned",
    "a code": "kept unless it is a name or number of people in the study",
    "code's meaning": "kept if it is the standard's own text, otherwise cleaned",
    "rewritten": "rewritten with the file meta information",
}
BY_FUNCTION = {
    "profile_z": "emptied",
    "dummy": "dummy",
    "profile_xd": "removed or dummy",
    "profile_xz": "removed or emptied",
    "profile_xzd": "removed or emptied",
    "profile_xzu": "removed or remapped",
    "remap_uid": "UID",
    "cap_age": "capped",
    "known_value": "kept if known",
    "clean_text": "cleaned",
    "clean_code": "a code",
    "clean_code_meaning": "code's meaning",
    "clean_content": "cleaned by item",
    "technical_value": "in its form",
}


def word_for(row: Row, effects: Effects) -> str:
    """Return what the default recipe does to a row of the table, as a key of ``WORDS``."""
    if row.tag == PRIVATE or row.number is None:
        return "removed"
    if row.number < FIRST_DATA_SET_TAG:
        return "rewritten" if row.number >> 16 == 0x0002 else "removed"
    return word_of(effects.of(row.number)[-1])


def word_of(rule: HeaderRule) -> str:
    """Return what a rule does, as a key of ``WORDS``."""
    match rule.action, rule.value:
        case Action.REMOVE, _:
            return "removed"
        case Action.BLANK, _:
            return "blank"
        case Action.KEEP, _:
            return "kept"
        case Action.JITTER, _:
            return "shifted"
        case _, Function(name):
            return BY_FUNCTION[name]
        case _, Variable():
            return "code"
    raise ValueError(f"no words for line {rule.position}")


def shown_tag(row: Row) -> str:
    """Return a row's tag as the standard writes it."""
    if row.tag == PRIVATE:
        return "(odd,xxxx)"
    return (
        tag_text(row.number)
        if row.number is not None
        else f"({row.tag[:4]},{row.tag[4:]})".replace("X", "x")
    )


def outcomes() -> str:
    """Return the table of what happens to how many attributes."""
    effects = Effects(read_recipe("default"))
    counts = Counter(word_for(row, effects) for row in table())
    lines = ["| what happens | attributes |", "|---|--:|"]
    lines += [f"| {WORDS[word]} | {counts[word]} |" for word in WORDS if counts[word]]
    return "\n".join(lines)


def attributes() -> str:
    """Return the table of all attributes."""
    effects = Effects(read_recipe("default"))
    lines = ["| tag | attribute | VR | Basic Profile | in sendit |", "|---|---|---|---|---|"]
    for row in sorted(table(), key=lambda row: row.tag):
        name = keyword_of(row.number) if row.number is not None else row.name
        vr = vrs_of(row.number)[0] if row.number is not None else ""
        letter = row.basic.replace("*", "\\*")
        lines.append(f"| {shown_tag(row)} | {name} | {vr} | {letter} | {word_for(row, effects)} |")
    return "\n".join(lines)


def added() -> str:
    """Return the table of what is added to every object."""
    recipe = read_recipe("default")
    coverage = cover(recipe)
    values = {
        "dates_modified": coverage.dates,
        "method_codes": "; ".join(f"{code} {meaning}" for code, meaning in coverage.codes),
        "method_text": f"sendit's version, PS3.15 {EDITION}, and the recipe's digest",
    }
    lines = ["| attribute | value |", "|---|---|"]
    for rule in recipe.header:
        if rule.action is Action.ADD:
            match rule.value:
                case Literal(text):
                    value = text
                case Function(name):
                    value = values[name]
                case Variable(name):
                    value = VARIABLES[name]
            lines.append(f"| {keyword_of(rule.selector.tag)} | {value} |")  # type: ignore[union-attr]
    return "\n".join(lines)


def classes() -> str:
    """Return the table of what the attributes of the dictionary may hold."""
    effects = Effects(read_recipe("default"))
    counts = Counter(one.holds for one in review())
    lines = ["| what it may hold | attributes | what happens |", "|---|--:|---|"]
    for holds in Holds:
        words = Counter(_word_beyond(effects, one.tag) for one in review() if one.holds is holds)
        happens = "; ".join(f"{word} ({count})" for word, count in words.most_common())
        if holds is Holds.PROFILE:
            happens = "as the standard's table says, below"
        elif holds is Holds.NOT_OF_AN_IMAGE:
            happens = "removed, whatever a recipe says"
        elif len(words) == 1:
            happens = next(iter(words))
        lines.append(f"| {holds} | {counts[holds]} | {happens} |")
    return "\n".join(lines)


def _word_beyond(effects: Effects, tag: int) -> str:
    applied = effects.of(tag, nested=True)  # without what is added at the top
    return word_of(applied[-1]) if applied else "kept"


def beyond() -> str:
    """Return the table of the attributes beyond the standard's that may say who someone is."""
    effects = Effects(read_recipe("default"))
    named = {row.number for row in table()}
    lines = ["| attribute | tag | VR | may hold | in sendit | why |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.keyword or 'none'} | {tag_text(one.tag)} | {one.vr} | {one.holds} "
        f"| {_word_beyond(effects, one.tag)} | {one.reason} |"
        for one in review()
        if one.holds.identifies and one.tag not in named
    ]
    return "\n".join(lines)


def technical() -> str:
    """Return the attributes that stay in their form."""
    lines = []
    for form, meaning in FORMS.items():
        names = [one.keyword for one in review() if one.form == form]
        lines.append(f"**{form}** ({meaning}; {len(names)}): {', '.join(names)}.\n")
    return "\n".join(lines).rstrip()


def filters() -> str:
    """Return the default recipe's filters, in the order in which they are asked."""
    lines = ["| list | rule |", "|---|---|"]
    for group in read_recipe("default").filters:
        lines += [f"| {group.name} | {rule.label} |" for rule in group.rules]
    return "\n".join(lines)


def variants() -> str:
    """Return the bundled recipes and what each claims."""
    lines = ["| recipe | options on top of the Basic Profile |", "|---|---|"]
    for name in bundled_names():
        options = cover(read_recipe(name)).options
        claimed = ", ".join(
            f"{OPTION_CODES[option][1]} ({OPTION_CODES[option][0]})" for option in options
        )
        lines.append(f"| `{name}` | {claimed} |")
    return "\n".join(lines)


def private() -> str:
    """Return the private attributes that the bundled recipes keep."""
    lines = [
        "| private attribute | VR, VM | meaning | needed for | list | tools | form |",
        "|---|---|---|---|---|---|---|",
    ]
    for safe in safe_private():
        name = f'({safe.group:04X},"{safe.creator}",{safe.element:02X})'
        need = safe.need if safe.need in KEPT else f"`{ALL_SAFE_PRIVATE}` only"
        origin = {"both": "PS3.15, sendit"}.get(safe.origin, safe.origin)
        lines.append(
            f"| `{name}` | {safe.vr}, {safe.vm} | {safe.meaning} | {need} | {origin} | "
            f"{safe.tools} | {form_of(safe)} |"
        )
    return "\n".join(lines)


def form_of(safe: SafePrivate) -> str:
    """Return a form in words."""
    kind, _, text = safe.form.partition(":")
    match kind:
        case "words":
            words = text.split("|")
            return ", ".join(words) if len(words) <= SHOWN_WORDS else f"one of {len(words)} words"
        case "like":
            return "numbers with fixed letters"
        case "number" | "large-number":
            return "number"
        case "items":
            return "items, judged one by one"
        case _:
            return "rewritten to its numbers"


def functions() -> str:
    """Return the functions that a recipe may call."""
    lines = ["| function | with | arguments | what it gives |", "|---|---|---|---|"]
    for spec in FUNCTIONS.values():
        arguments = ", ".join(f"`{a.name}={a.default}`" for a in spec.arguments)
        with_ = ", ".join(sorted(spec.actions))
        limit = f" ({', '.join(sorted(spec.vrs))} only)" if spec.vrs else ""
        lines.append(
            f"| `{spec.prefix}:{spec.name}` | {with_} | {arguments} | {spec.meaning}{limit} |"
        )
    return "\n".join(lines)


def variables() -> str:
    """Return the variables that a recipe may name."""
    lines = ["| variable | what it stands for |", "|---|---|"]
    return "\n".join([*lines, *(f"| `var:{name}` | {text} |" for name, text in VARIABLES.items())])


PARTS: dict[str, Callable[[], str]] = {
    "outcomes": outcomes,
    "attributes": attributes,
    "added": added,
    "beyond": beyond,
    "classes": classes,
    "technical": technical,
    "filters": filters,
    "variants": variants,
    "private": private,
    "functions": functions,
    "variables": variables,
}
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def page(text: str) -> str:
    """Return a page with its generated parts regenerated."""
    return BLOCK.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def main() -> int:
    """Write or check both pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path in (DOCS / "deidentification.md", DOCS / "recipes.md"):
        text = path.read_text("utf-8")
        new = page(text)
        if not check:
            path.write_text(new, "utf-8")
        elif new != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"run tools/generate_deidentification_page.py: {', '.join(stale)}\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
