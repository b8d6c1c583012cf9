"""What an object's IOD asks of an attribute (PS3.3), for the attributes of PS3.15 Table E.1-1.

The data beside this module is made by ``tools/make_iod_types.py``.
"""

from __future__ import annotations

import json
from enum import IntEnum
from functools import cache
from importlib import resources
from typing import Any, Final

DATA: Final = "iod_types.json"


class Need(IntEnum):
    """How much an IOD needs an attribute that is there; conditions count as met."""

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
    """Return what the IOD of a SOP class needs.

    Parameters
    ----------
    sop_class
        SOP class UID.
    path
        Tags of the sequences around the attribute, outermost first.
    tag
        The attribute.

    Returns
    -------
    Need
        VALUE for types 1 and 1C, EMPTY for 2 and 2C, NONE for 3 and for what is not in the
        IOD. If several modules name the attribute, the strictest counts. An object of an
        unknown class, and an attribute outside Table E.1-1, is taken to need a value: a
        dummy can harm nothing.
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
    """Whether objects of a SOP class have pixel data; False for a class that is not known."""
    iod = _data()["classes"].get(sop_class, "")
    return iod.endswith("-image") or iod in _IMAGES
