"""Call a site's own functions as deid does: with item, value, field and dicom.

A function's result is converted to text, which the engine encodes for the attribute's VR and the
last gate checks like any other value. If a function raises, the file is quarantined; the
exception's message is not shown, because it may contain a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from io import BytesIO
from typing import Any, Final

import pydicom
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from sendit.deidentify.functions import ElementContext
from sendit.dicom.encode import one_vr
from sendit.dicom.scan import Header
from sendit.errors import SkipInstance
from sendit.recipe.attributes import keyword_of
from sendit.recipe.own import Own

_FORMATS: Final = {"DA": "%Y%m%d", "DT": "%Y%m%d%H%M%S.%f", "TM": "%H%M%S.%f"}


@dataclass(frozen=True, slots=True)
class Field:
    """The counterpart of deid's ``DicomField``.

    Attributes
    ----------
    element
        The element as pydicom represents it.
    name
        Its keyword, preceded by the keywords of the enclosing sequences, joined by ``__``.
    """

    element: DataElement
    name: str

    @property
    def tag(self) -> str:
        """The tag as ``(gggg,eeee)``."""
        return str(self.element.tag)

    @property
    def stripped_tag(self) -> str:
        """The tag as eight digits."""
        return f"{int(self.element.tag):08X}"


class Caller:
    """Calls the site's functions for the files of one study.

    Parameters
    ----------
    own
        The site's functions.
    variables
        The study's variables, passed to functions as ``item``.
    """

    def __init__(self, own: Own, variables: dict[str, str]) -> None:
        self._own = own
        self._variables = variables
        self._header: Header | None = None
        self._object: Dataset | None = None

    @property
    def header(self) -> Header | None:
        """The header of the file being de-identified."""
        return self._header

    @header.setter
    def header(self, header: Header) -> None:
        self._header, self._object = header, None

    def text(self, name: str, element: ElementContext) -> str:
        """Call a function on an element and return its result as text; empty for None.

        Raises
        ------
        SkipInstance
            The function failed.
        """
        return _text(self.call(name, element), one_vr(element.vr))

    def call(self, name: str, element: ElementContext) -> Any:
        """Call a function on an element and return its result.

        Raises
        ------
        SkipInstance
            The function failed.
        """
        try:
            return self._own.functions[name](
                item=dict(self._variables),
                value=f"func:{name}",
                field=_field(element),
                dicom=self._dataset(),
            )
        except Exception as error:  # noqa: BLE001 the site's code may raise anything
            raise SkipInstance(
                f"func:{name}, of the site's own, failed ({type(error).__name__}) on "
                f"{keyword_of(element.tag)}"
            ) from None

    def _dataset(self) -> Dataset:
        """Return the source object as pydicom reads it; read once per file."""
        if self._object is None:
            if self._header is None:
                raise AssertionError("header must be set before a function is called")
            header = self._header
            stream = BytesIO(bytes(header.data))
            self._object = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        return self._object


def _field(element: ElementContext) -> Field:
    tag, vr = Tag(element.tag), one_vr(element.vr)
    path = "__".join(map(keyword_of, (*element.level.tags, element.tag)))
    if vr == "SQ":
        return Field(DataElement(tag, "SQ", []), path)
    value = element.value
    little = element.encoding.little
    raw = RawDataElement(tag, vr, len(value), value, 0, False, little)
    terms = element.character_set.decode("ascii", "replace").split("\\")
    declared = [term.strip() for term in terms]
    return Field(convert_raw_data_element(raw, encoding=convert_encodings(declared)), path)


def _text(result: Any, vr: str) -> str:
    match result:
        case None:
            return ""
        case bytes():
            return result.decode("utf-8", "replace").rstrip(" \0")
        case datetime() | date() | time():
            return result.strftime(_FORMATS.get(vr, "%Y%m%d"))
        case str():
            return result
        case Iterable() if not hasattr(result, "components"):
            return "\\".join(_text(one, vr) for one in result)
        case _:
            return str(result)
