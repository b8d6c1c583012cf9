"""Types of attributes in IODs (PS3.3), for the attributes of PS3.15 Table E.1-1.

``tools/make_iod_types.py`` generates the data file next to this module.
"""

from __future__ import annotations

import json
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any, Final

DATA: Final = "iod_types.json"


class Need(IntEnum):
    """Whether an IOD needs an attribute, and with a value; conditions count as met."""

    NONE = 3
    EMPTY = 2
    VALUE = 1


@cache
def _data() -> dict[str, Any]:
    types = json.loads((resources.files("sendit.dicom") / DATA).read_text("utf-8"))
    assert isinstance(types, dict)
    return types


@cache
def _attributes() -> frozenset[int]:
    return frozenset(int(tag, 16) for tag in _data()["attributes"])


@cache
def _needs(iod: str) -> dict[str, Need]:
    data = _data()
    needs: dict[str, Need] = {}
    for module in data["iods"].get(iod, ()):
        for level, paths in data["modules"][module].items():
            need = Need(int(level))
            for path in paths:
                if need < needs.get(path, Need.NONE):
                    needs[path] = need
    return needs


def need_of(sop_class: str, path: tuple[int, ...], tag: int) -> Need:
    """Return whether the IOD of a SOP class needs an attribute.

    Parameters
    ----------
    sop_class
        SOP class UID.
    path
        Tags of the enclosing sequences, outermost first.
    tag
        The attribute.

    Returns
    -------
    Need
        VALUE for types 1 and 1C, EMPTY for 2 and 2C, NONE for 3 and if it is not in the IOD. If
        several modules have the attribute, the strictest type counts. VALUE for unknown SOP
        classes and for attributes outside Table E.1-1, because a dummy does no harm.
    """
    iod = _data()["classes"].get(sop_class)
    if iod is None or tag not in _attributes():
        return Need.VALUE
    steps: list[int] = []
    for step in path:
        if not steps or steps[-1] != step:  # a content item within a content item
            steps.append(step)
    return _needs(iod).get("/".join(f"{step:08x}" for step in (*steps, tag)), Need.NONE)


_IMAGES: Final = frozenset(
    (
        *("corneal-topography-map", "enhanced-us-volume", "height-map-segmentation"),
        *("ophthalmic-optical-coherence-tomography-b-scan-volume-analysis", "segmentation"),
        *("ophthalmic-thickness-map", "parametric-map"),
    )
)
"""IODs with pixel data (PS3.3 A) whose names do not end in "image"."""


def is_image(sop_class: str) -> bool:
    """Whether objects of a SOP class have pixel data; False for an unknown class."""
    iod = _data()["classes"].get(sop_class, "")
    return iod.endswith("-image") or iod in _IMAGES
