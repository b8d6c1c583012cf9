"""Run params, checked where they are used.

Airflow's form checks values against a JSON schema, which accepts 5.0 as an integer and does not
check names: a misspelt param would silently mean the default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sendit.batch import STUDY_NAME
from sendit.errors import Misconfigured

#: A larger number of batches is a typing error; "all" is an empty number.
MAX_NUMBER = 1_000_000
MAX_TEXT = 1000
_ANEW = "correct it and start another run"
_SHOWN = re.compile(r"[A-Za-z_]{1,32}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class RunParams:
    """A run's params. ``number`` None means all batches; for the others None means as
    configured."""

    number: int | None = 1
    subfolder: str | None = None
    study: str | None = None
    recipe: str | None = None
    revise: bool = False


def read_run_params(given: Iterable[str], params: Mapping[str, Any]) -> RunParams:
    """Validate a run's params.

    Parameters
    ----------
    given
        The names in the run's conf, as the user wrote them.
    params
        Airflow's resolved params: the conf over the DAG's defaults.

    Raises
    ------
    Misconfigured
        A name is not a param, or a value is not valid for its param. The text names the
        param and never quotes a value.
    """
    known = [each.name for each in fields(RunParams)]
    for name in given:
        if name not in known:
            shown = name if _SHOWN.fullmatch(name) else "a name"
            near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else f"the params are {', '.join(known)}."
            raise Misconfigured(
                f"the run was given {shown}, which is not a param of sendit: {hint} Nothing was "
                f"started; {_ANEW}"
            )
    return RunParams(
        number=_number(params.get("number")),
        subfolder=_text("subfolder", params.get("subfolder")),
        study=_study(params.get("study")),
        recipe=_text("recipe", params.get("recipe")),
        revise=_switch("revise", params.get("revise")),
    )


def _number(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has no integer type: 5.0 is 5
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_NUMBER:
        raise Misconfigured(
            f"the run's number must be a whole number from 1 to {MAX_NUMBER}, or empty for all "
            f"batches; {_ANEW}"
        )
    return value


def _text(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT or _CONTROL.search(value):
        raise Misconfigured(
            f"the run's {name} must be one line of text, of at most {MAX_TEXT} characters; {_ANEW}"
        )
    return value


def _study(value: object) -> str | None:
    study = _text("study", value)
    if study is not None and not STUDY_NAME.fullmatch(study):
        raise Misconfigured(
            f"the run's study may contain only letters, digits, - and _, at most 63; {_ANEW}"
        )
    return study


def _switch(name: str, value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Misconfigured(f"the run's {name} must be true or false; {_ANEW}")
    return value
