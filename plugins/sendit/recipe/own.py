"""A site's own functions and variables, which its recipes use as ``func:NAME`` and ``var:NAME``.

Functions are defined in a Python file that the site configures, with deid's signature::

    def research_id(item, value, field, dicom):
        ...

``item`` holds the study's variables by name, ``value`` is the text in the recipe
(``func:research_id``), ``field`` the element (``field.element``, a pydicom DataElement, and
``field.name``), ``dicom`` the source object without pixel data. The result is encoded for the
attribute's VR; None empties the attribute. As the condition of a REMOVE, a true result removes the
attribute.

Variables are the columns of a CSV file. Its first column, ``accession`` or ``patient``, is the key
of a row; the other columns are variables.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sendit.errors import FailBatch, Misconfigured, kind_and_place, unreadable

Callback = Callable[..., Any]

KEYS: Final = ("accession", "patient")
"""Valid names of a table's first column."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GIVEN: Final = ("entity_id", "item_id", "entity_timestamp", "item_timestamp", "jitter")
_MODULE: Final = "sendit_site_functions"
_PARAMETERS: Final = {"item", "value", "field", "dicom"}


@dataclass(frozen=True, slots=True)
class Table:
    """A site's table of variables.

    Attributes
    ----------
    key
        ``accession`` or ``patient``.
    columns
        Names of the variables.
    rows
        Values of the variables, by accession number or patient ID.
    """

    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def row(self, accession: str, patient: str) -> Mapping[str, str]:
        """Return the variables of a study.

        Raises
        ------
        FailBatch
            The table has no row for it.
        """
        row = self.rows.get((accession if self.key == "accession" else patient).strip())
        if row is None:
            what = "accession number" if self.key == "accession" else "patient ID"
            raise FailBatch(
                f"the site's table of variables (SENDIT_RECIPE_TABLE) has no row for this study's "
                f"{what}: add the row, then requeue the batch"
            )
        return row


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """A site's own functions and variables; compared by identity.

    Attributes
    ----------
    functions
        The functions by name.
    table
        The variables.
    digest
        Digest of the functions' source; the table belongs to studies, not to the recipe.
    """

    functions: Mapping[str, Callback] = field(default_factory=dict)
    table: Table | None = None
    digest: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the table's variables."""
        return self.table.columns if self.table else ()


def read_own(functions: Path | None, table: Path | None) -> Own:
    """Read a site's functions and variables.

    Parameters
    ----------
    functions
        A Python file, loaded once per process; recipes can use its public functions.
    table
        A CSV file with a header line.

    Raises
    ------
    Misconfigured
        One of them cannot be used; the message says why.
    """
    return _own(
        functions,
        _changed(functions, "SENDIT_RECIPE_FUNCTIONS") if functions else 0,
        table,
        _changed(table, "SENDIT_RECIPE_TABLE") if table else 0,
    )


@lru_cache(maxsize=4)
def _own(
    functions: Path | None,
    functions_changed: int,  # noqa: ARG001 a key
    table: Path | None,
    table_changed: int,  # noqa: ARG001 a key
) -> Own:
    return Own(
        _functions(functions) if functions else {},
        _table(table) if table else None,
        hashlib.sha256(functions.read_bytes()).hexdigest() if functions else "",
    )


def _changed(path: Path, setting: str) -> int:
    """Return a file's modification time, so that it is read again only after a change."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise unreadable(
            error,
            f"the file that {setting} names cannot be read ({error.strerror}): mount it, or "
            "correct the setting or the file's permissions",
        ) from None


def _functions(path: Path) -> Mapping[str, Callback]:
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise Misconfigured(f"{path} (SENDIT_RECIPE_FUNCTIONS) is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - a module may raise anything, with values it read
        raise Misconfigured(
            f"{path} (SENDIT_RECIPE_FUNCTIONS) cannot be loaded: {kind_and_place(error)}"
        ) from None
    functions = {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == _MODULE
        and not name.startswith("_")
    }
    for name, function in functions.items():
        _check_signature(path, name, function)
    return functions


def _check_signature(path: Path, name: str, function: Callback) -> None:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    missing = _PARAMETERS - {parameter.name for parameter in parameters}
    if missing:
        raise Misconfigured(
            f"{path}: {name} does not take {', '.join(sorted(missing))}; "
            f"write def {name}(item, value, field, dicom), or prefix a function that "
            "is not for recipes with an underscore"
        )


def _table(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Misconfigured(
            f"{path} (SENDIT_RECIPE_TABLE) cannot be read: {type(error).__name__}"
        ) from None
    head = [name.strip() for name in lines[0]] if lines else []
    if len(head) < 2 or head[0] not in KEYS:
        raise Misconfigured(
            f"{path} (SENDIT_RECIPE_TABLE) must begin with a header line: "
            f"{' or '.join(KEYS)}, then the variables"
        )
    for name in head[1:]:
        if not _NAME.fullmatch(name) or head.count(name) > 1:
            raise Misconfigured(
                f"{path}: {name or 'an empty name'} is not a valid variable name, or is duplicated"
            )
        if name in _GIVEN:
            raise Misconfigured(
                f"{path}: var:{name} comes from the identifier service: rename the column"
            )
    rows: dict[str, Mapping[str, str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(head):
            raise Misconfigured(f"{path}, line {number}: {len(line)} cells, not {len(head)}")
        key = line[0].strip()
        if not key or key in rows:
            raise Misconfigured(
                f"{path}, line {number}: the {head[0]} is empty, or occurs in an earlier line"
            )
        if not all(cell.strip() for cell in line):
            raise Misconfigured(f"{path}, line {number}: a value is empty")
        rows[key] = {name: cell.strip() for name, cell in zip(head[1:], line[1:], strict=True)}
    return Table(head[0], tuple(head[1:]), rows)
