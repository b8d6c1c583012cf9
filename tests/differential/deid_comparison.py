"""One file and one recipe, processed by deid's own parser and by sendit, and the differences.

deid runs unmodified: ``DicomParser.parse`` and pydicom's ``save_as``. Only its UID function is
replaced, in both, by the same deterministic one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import mock

os.environ["MESSAGELEVEL"] = "QUIET"

import pydicom
from deid.config import DeidRecipe
from deid.dicom import fields as deid_fields
from deid.dicom import parser as deid_parser
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset

from sendit.coded_study import CodedStudy
from sendit.deidentify import functions
from sendit.deidentify.plan import compile_plan
from sendit.dicom.scan import vr_of
from sendit.recipe.attributes import FIRST_DATA_SET_TAG
from sendit.recipe.parse import read_text
from tests.deidentify.engine import deidentify_files

IDENTIFIERS = CodedStudy("IR1-00001", "IR1A00001", -17, "19500315", "20160401")
LARGEST = 200_000

# What sendit removes or rewrites regardless of the recipe: docs/differences.md.
_PADDING = 0xFFFCFFFC
_CHARACTER_SET = 0x00080005


class DeidFailed(Exception):
    """deid itself fails."""


class NotDelivered(Exception):
    """sendit does not deliver the file; the text is the reason."""


def uid_for(value: str) -> str:
    """Return the deterministic UID that both write for an original."""
    digest = hashlib.sha256(value.encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def by_deid(data: bytes, recipe: str) -> bytes:
    """Return deid's result for a file."""
    functions_of_deid = deid_parser.deid_funcs | {"pydicom_uuid": _deid_uid}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "recipe"
        path.write_text(recipe)
        try:
            parser = deid_parser.DicomParser(
                pydicom.dcmread(io.BytesIO(data)), recipe=DeidRecipe(deid=str(path))
            )
            parser.deid_funcs = functions_of_deid
            parser.lookup.update(IDENTIFIERS.variables | {"jitter": IDENTIFIERS.jitter})
            with mock.patch.object(deid_parser, "deid_funcs", functions_of_deid):
                parser.parse()
            out = io.BytesIO()
            parser.dicom.save_as(out, enforce_file_format=False)
        except (Exception, SystemExit) as error:
            raise DeidFailed(type(error).__name__) from error
        finally:
            # It would keep every object in memory.
            deid_fields._get_fields_inner.cache_clear()
    return out.getvalue()


def by_sendit(data: bytes, recipe: str) -> bytes:
    """Return what sendit makes of a file."""
    plan = compile_plan(read_text(("recipe", recipe)))
    table = functions._FUNCTIONS | {"pydicom_uuid": _our_uid}
    with mock.patch.object(functions, "_FUNCTIONS", table):
        result, members = deidentify_files([data], plan, IDENTIFIERS)
    if not members:
        raise NotDelivered(result.outcomes[1][1])
    return next(iter(members.values()))


def _deid_uid(item: object, value: object, field: deid_fields.DicomField, **_: object) -> object:
    original = field.element.value
    if isinstance(original, str):
        return uid_for(original) if original else ""
    return [uid_for(str(one)) for one in original]


def _our_uid(subject: functions.ElementContext, _: object) -> bytes:
    return b"\\".join(
        uid_for(value.strip(" \0")).encode() for value in subject.text.split("\\") if value
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@cache
def real_files() -> dict[str, bytes]:
    """Return the small files of pydicom, pydicom-data and deid-data that sendit delivers."""
    import data_store
    import deid_data

    folders = [Path(pydicom.__file__).parent / "data" / "test_files"]
    folders += [Path(module.__path__[0]) for module in (data_store, deid_data)]
    files = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.stat().st_size > LARGEST:
                continue
            data = path.read_bytes()
            with contextlib.suppress(Exception):
                if b"DICM" not in data[128:132]:
                    continue
                by_sendit(data, "FORMAT dicom\n%header\nKEEP SOPClassUID\n")
                with _quiet():
                    for element in pydicom.dcmread(io.BytesIO(data)).iterall():
                        repr(element.value)
                files[f"{folder.name}/{path.relative_to(folder)}"] = data
    return files


def differences(theirs: bytes, ours: bytes, ignored: frozenset[int] = frozenset()) -> list[str]:
    """Return where two results differ: nothing if the datasets' bytes are equal."""
    with _quiet():
        first, second = (pydicom.dcmread(io.BytesIO(data), force=True) for data in (theirs, ours))
        if data_set(theirs) == data_set(ours):
            return []
        _to_floor(first)
        _to_floor(second)
        if first.file_meta.TransferSyntaxUID.is_encapsulated:
            ignored |= {0x7FE00010}  # comments in frames are blanked: tests/dicom/test_pixel_data
        differences: list[str] = []
        _compare(first, second, "", differences, ignored)
    return differences


def data_set(data: bytes) -> bytes:
    """Return a file's bytes after its file meta."""
    end = 144 + int.from_bytes(data[140:144], "little")
    return data[end:] if data[132:136] == b"\x02\0\0\0" else data


def _to_floor(dataset: Dataset) -> None:
    """Remove what no recipe can keep, and read every value."""
    for element in list(dataset):
        tag = element.tag
        known = vr_of(tag)
        if (
            tag.is_private
            or tag.element == 0
            or tag < FIRST_DATA_SET_TAG
            or tag == _PADDING
            or known == "UN"
            or (known == "SQ" and element.VR != "SQ")
        ):
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _to_floor(item)


def _compare(
    first: Dataset, second: Dataset, where: str, differences: list[str], ignored: frozenset[int]
) -> None:
    tags = {element.tag for element in first} | {element.tag for element in second}
    for tag in sorted(tags - ignored - {_CHARACTER_SET}):
        place = f"{where}{tag}"
        if tag not in first or tag not in second:
            differences.append(f"{place}: only {'sendit' if tag in second else 'deid'} has it")
            continue
        one, two = first[tag], second[tag]
        if one.VR == "SQ" and two.VR == "SQ":
            if len(one.value or ()) != len(two.value or ()):
                differences.append(
                    f"{place}: {len(one.value or ())} and {len(two.value or ())} items"
                )
                continue
            for number, (left, right) in enumerate(
                zip(one.value or (), two.value or (), strict=True)
            ):
                _compare(left, right, f"{place}[{number}].", differences, ignored)
        elif not _equal(one, two):
            differences.append(f"{place} {one.VR}/{two.VR}: {_shown(one)} and {_shown(two)}")


def _equal(one: DataElement, two: DataElement) -> bool:
    if _plain(one) == _plain(two):
        return True
    return _is_number(one) and repr(one.value) == repr(two.value)


def _is_number(element: DataElement) -> bool:
    return element.VR in {"FD", "FL"}


def _plain(element: DataElement) -> object:
    value = element.value
    if value is None or (hasattr(value, "__len__") and not len(value)):
        return ""
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    return re.sub(r"[\s\0]+(?=\\|$)", "", "\\".join(map(str, _values(value))))


def _values(value: object) -> list[object]:
    many = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return list(value) if many else [value]  # type: ignore[call-overload]


def _shown(element: DataElement) -> str:
    return repr(element.value)[:60]


def read(data: bytes) -> FileDataset:
    """Return a result as pydicom reads it."""
    with _quiet():
        return pydicom.dcmread(io.BytesIO(data), force=True)
