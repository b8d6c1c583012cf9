"""What tools will get wrong: private attributes that they compute with, and that did not stay.

A recipe may keep no private attribute, and a value may not be what the list of safe ones says it
is. The image is delivered all the same, and nothing in it tells that a converter will now turn a
volume over or find no gradient. So the batch says it, in manifest and row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sendit.deidentify.private_form import listed
from sendit.dicom import charset
from sendit.dicom.scan import Element, Header, read_header
from sendit.recipe.profile import NEEDED

AFFECTED: Final[Mapping[str, str]] = {
    "geometry": "number, order, orientation and position of slices",
    "timing": "repetition time, slice timing, phase encoding direction, echo spacing",
    "diffusion": "b-values and gradient directions",
    "scaling": "scaling of intensities",
    "dose": "dose and SUV",
}
"""What a converter computes from the private attributes of each need."""

_PREFIX: Final = "not kept, though tools need it: "


def lost(header: Header, data_set: bytes) -> Counter[str]:
    """Return how many private elements of each need were in a file, and are not in its new data
    set (with file meta, as a file)."""
    before = Counter(_needed(header.elements, header))
    if not before:
        return Counter()
    after = read_header(data_set)
    gone = before - Counter(_needed(after.elements, after))
    needs: Counter[str] = Counter()
    for (need, _, _, _), count in gone.items():
        needs[need] += count
    return needs


def _needed(elements: Sequence[Element], header: Header) -> Iterator[tuple[str, int, str, int]]:
    """Yield need, group, creator and element of each listed private element at any depth."""
    creators: dict[int, str] = {}
    for tag, _, _, start, end, items in elements:
        if tag & 0x10000:
            if 0x10 <= tag & 0xFFFF <= 0xFF:
                name = charset.decode(bytes(header.data[start:end]), header.character_set)
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = name.strip(" \0")
                continue
            creator = creators.get(tag & 0xFFFFFF00, "")
            safe = listed(tag, creator)
            if safe is not None and safe.need in NEEDED and (items or start != end):
                yield safe.need, safe.group, safe.creator, safe.element
        for _, inner in items or ():
            yield from _needed(inner, header)


def counted(needs: Mapping[str, int]) -> dict[str, int]:
    """Return what was lost as a batch's actions name it."""
    return {f"{_PREFIX}{need}": needs[need] for need in AFFECTED if needs.get(need)}


def warnings_of(actions: Mapping[str, int] | None) -> list[str]:
    """Return, from a batch's actions, what tools will get wrong about its images."""
    return [
        f"private {need} attributes were not kept: tools that compute with them may get wrong: "
        f"{affected}"
        for need, affected in AFFECTED.items()
        if (actions or {}).get(f"{_PREFIX}{need}")
    ]
