"""Calls a site's own functions as deid does: with item, value, field and dicom.

What a function answers is text for the engine, which writes it as the attribute's VR wants it
and lets the last gate judge it like everything else. An exception that it raises quarantines
the file; its text is not shown, for it may hold a value.
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
    """What deid's ``DicomField`` is to a function: the element, and its name with the keywords
    of the sequences around it."""

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
        The study's variables, which functions see as ``item``.
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

    def text(self, name: str, subject: ElementContext) -> str:
        """Return a function's result as text; empty for None.

        Raises
        ------
        SkipInstance
            The function failed.
        """
        return _text(self.answer(name, subject), one_vr(subject.vr))

    def answer(self, name: str, subject: ElementContext) -> Any:
        """Return what a function returns for an element.

        Raises
        ------
        SkipInstance
            The function failed.
        """
        try:
            return self._own.functions[name](
                item=dict(self._variables),
                value=f"func:{name}",
                field=_field(subject),
                dicom=self._dataset(),
            )
        except Exception as error:  # noqa: BLE001 the site's code may raise anything
            raise SkipInstance(
                f"func:{name}, of the site's own, failed ({type(error).__name__}) on "
                f"{keyword_of(subject.tag)}"
            ) from None

    def _dataset(self) -> Dataset:
        """Return the object as it was received, read once for each file."""
        if self._object is None:
            if self._header is None:
                raise AssertionError("a file is set before its functions are called")
            header = self._header
            stream = BytesIO(bytes(header.data))
            self._object = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        return self._object


def _field(subject: ElementContext) -> Field:
    tag, vr = Tag(subject.tag), one_vr(subject.vr)
    path = "__".join(map(keyword_of, (*subject.level.tags, subject.tag)))
    if vr == "SQ":
        return Field(DataElement(tag, "SQ", []), path)
    value = subject.value
    little = subject.encoding.little
    raw = RawDataElement(tag, vr, len(value), value, 0, False, little)
    terms = subject.character_set.decode("ascii", "replace").split("\\")
    declared = [term.strip() for term in terms]
    return Field(convert_raw_data_element(raw, encoding=convert_encodings(declared)), path)


def _text(answer: Any, vr: str) -> str:
    match answer:
        case None:
            return ""
        case bytes():
            return answer.decode("utf-8", "replace").rstrip(" \0")
        case datetime() | date() | time():
            return answer.strftime(_FORMATS.get(vr, "%Y%m%d"))
        case str():
            return answer
        case Iterable() if not hasattr(answer, "components"):
            return "\\".join(_text(one, vr) for one in answer)
        case _:
            return str(answer)
