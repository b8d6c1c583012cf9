"""Report removed private attributes that researchers' tools need.

A recipe may keep no private attributes, and a value may differ from what the list of safe ones
describes. The image is delivered, but nothing in it shows that a converter will now flip a
volume or find no gradients. The batch's manifest and row report it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sendit.deidentify.private_form import listed, usual_creator
from sendit.dicom import charset
from sendit.dicom.scan import Element, Header, read_header
from sendit.recipe.profile import NEEDED
from sendit.vendors.blocks import MANUFACTURER

AFFECTED: Final[Mapping[str, str]] = {
    "geometry": "number, order, orientation and position of slices",
    "timing": "repetition time, slice timing, phase encoding direction, echo spacing",
    "diffusion": "b-values and gradient directions",
    "scaling": "scaling of intensities",
    "dose": "dose and SUV",
}
"""What tools compute from private attributes, by the attribute's need."""

_PREFIX: Final = "not kept, though tools need it: "


def lost(header: Header, data_set: bytes) -> Counter[str]:
    """Count the private elements that tools need and that the new data set no longer has.

    Parameters
    ----------
    header
        The source file's header.
    data_set
        The new data set, preceded by preamble and file meta information.

    Returns
    -------
    Counter[str]
        Number of removed elements by need, a key of :data:`AFFECTED`.
    """
    before = Counter(_needed(header.elements, header))
    if not before:
        return Counter()
    after = read_header(data_set)
    removed = before - Counter(_needed(after.elements, after))
    needs: Counter[str] = Counter()
    for (need, _, _, _), count in removed.items():
        needs[need] += count
    return needs


def _needed(elements: Sequence[Element], header: Header) -> Iterator[tuple[str, int, str, int]]:
    """Yield need, group, creator and element of each listed private element at any depth."""
    creators: dict[int, str] = {}
    manufacturer = (header.raw(MANUFACTURER) or b"").decode("latin-1")
    for tag, _, _, start, end, items in elements:
        if tag & 0x10000:
            if 0x10 <= tag & 0xFFFF <= 0xFF:
                name = charset.decode(bytes(header.data[start:end]), header.character_set)
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = name.strip(" \0")
                continue
            block = tag & 0xFFFFFF00
            creator = creators[block] if block in creators else usual_creator(tag, manufacturer)
            safe = listed(tag, creator)
            if safe is not None and safe.need in NEEDED and (items or start != end):
                yield safe.need, safe.group, safe.creator, safe.element
        for _, inner in items or ():
            yield from _needed(inner, header)


def counted(needs: Mapping[str, int]) -> dict[str, int]:
    """Return the losses under the names that a batch's actions use."""
    return {f"{_PREFIX}{need}": needs[need] for need in AFFECTED if needs.get(need)}


def warnings_of(actions: Mapping[str, int] | None) -> list[str]:
    """Return warnings about what tools may get wrong, derived from a batch's actions."""
    return [
        f"private {need} attributes were not kept: tools that compute with them may get wrong: "
        f"{affected}"
        for need, affected in AFFECTED.items()
        if (actions or {}).get(f"{_PREFIX}{need}")
    ]
