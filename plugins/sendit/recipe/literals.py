"""Convert literal values of a recipe to the syntax of a VR (PS3.5 6.2), if they are unambiguous.

deid writes a literal value as it is, valid or not. Here ``Yes`` becomes ``YES`` in a CS, quotation
marks that a VR does not allow are removed, a date-time is reduced to its date in a DA and to its
time in a TM, and values that are too long are truncated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from sendit.dicom.encode import POINTER

BINARY_NUMBER_VRS: Final = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))
"""VRs of binary numbers."""

BINARY: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))

MAX_LENGTHS: Final = {"AE": 16, "CS": 16, "LO": 64, "SH": 16, "PN": 64}
_DATE_TIME: Final = re.compile(
    r"(\d{4})[-.]?(\d\d)[-.]?(\d\d)"
    r"(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,6})\d*)?)?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_TIME: Final = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
_AGE: Final = re.compile(r"(\d{1,3}) ?([DWMYdwmy]?)(?:ears?|onths?|eeks?|ays?)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@lru_cache(maxsize=4096)
def is_valid(vr: str, text: str) -> bool:
    """Whether a text is a valid value of a VR, or several separated by backslashes."""
    if vr == "SQ":
        return False
    if vr in BINARY:
        return True
    if vr == "AT":
        return all(POINTER.fullmatch(part) for part in text.split("\\"))
    if vr in BINARY_NUMBER_VRS:
        form = _FLOAT if vr in ("FD", "FL") else _INTEGER
        return all(form.fullmatch(part) for part in text.split("\\"))
    return _is_text(vr, text)


def _is_text(vr: str, text: str) -> bool:
    from pydicom.config import RAISE  # noqa: PLC0415 - slow to import
    from pydicom.valuerep import validate_value  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for part in [text] if vr in ("LT", "ST", "UT", "UR") else text.split("\\"):
                validate_value(vr, part, RAISE)
    except (ValueError, Warning):
        return False
    return True


@lru_cache(maxsize=4096)
def written(vr: str, text: str) -> str | None:
    """Convert a text to a valid value of a VR.

    Returns
    -------
    str or None
        The value; None if the text cannot be converted. Empty if the VR is one of binary numbers
        and the text is not a number, as in deid.
    """
    if is_valid(vr, text):
        return text
    if vr == "SQ":
        return None
    if vr in BINARY_NUMBER_VRS or vr == "AT":
        plain = text.strip("\"' ")
        return plain if is_valid(vr, plain) else ""
    change = _CHANGES.get(vr)
    parts = text.split("\\")
    changed = "\\".join(_shorter(vr, change(part) if change else part) for part in parts)
    return changed if changed and is_valid(vr, changed) else None


def _shorter(vr: str, text: str) -> str:
    longest = MAX_LENGTHS.get(vr)
    return text[:longest].strip() if longest else text


def _code_string(text: str) -> str:
    return re.sub(r"[^A-Z0-9_ ]+", "_", text.strip("\"' ").upper()).strip("_ ")


def _date(text: str) -> str:
    date = _DATE_TIME.fullmatch(text.strip("\"' "))
    return date[1] + date[2] + date[3] if date else text


def _time(text: str) -> str:
    plain = text.strip("\"' ")
    parts = _TIME.fullmatch(plain)
    if parts:
        hour, minute, second, fraction = parts.groups()
    else:
        parts = _DATE_TIME.fullmatch(plain)
        if parts is None or parts[4] is None:
            return text
        hour, minute, second, fraction = parts[4], parts[5], parts[6], parts[7]
    return f"{hour}{minute}{second or '00'}{f'.{fraction}' if fraction else ''}"


def _date_time(text: str) -> str:
    parts = _DATE_TIME.fullmatch(text.strip("\"' "))
    if not parts:
        return text
    date = parts[1] + parts[2] + parts[3]
    if parts[4] is None:
        return date
    fraction = f".{parts[7]}" if parts[7] else ""
    zone = parts[8] or ""
    zone = "+0000" if zone == "Z" else zone.replace(":", "")
    return f"{date}{parts[4]}{parts[5]}{parts[6] or '00'}{fraction}{zone}"


def _age(text: str) -> str:
    age = _AGE.fullmatch(text.strip("\"' "))
    return f"{int(age[1]):03d}{(age[2] or 'Y').upper()}" if age else text


def _integer(text: str) -> str:
    plain = text.strip("\"' ")
    return re.sub(r"\.0*$", "", plain) if re.fullmatch(r"[+-]?\d+\.0*", plain) else plain


def _unquoted(text: str) -> str:
    return text.strip("\"' ")


_CHANGES: Final[dict[str, Callable[[str], str]]] = {
    "AE": _unquoted,
    "AS": _age,
    "CS": _code_string,
    "DA": _date,
    "DS": _unquoted,
    "DT": _date_time,
    "IS": _integer,
    "TM": _time,
    "UI": _unquoted,
}
