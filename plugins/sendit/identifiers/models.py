"""Requests and answers of an identifier service: DASHER's JSON, typed and validated.

A request names one entity (the patient) with one item (the study). The answer gives each
of them a coded id and the patient's jitter. This is DASHER's contract
(``POST /v1/uid/{study}``); the built-in service follows the same one.

These models hold real identifiers: their ``repr`` shows no values,
and no error raised here quotes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sendit.coded_study import CodedStudy
from sendit.dicom.dates import PADDING, read_day, read_moment, read_time
from sendit.dicom.placeholder_dates import is_placeholder
from sendit.errors import FailBatch

ENTITY_SOURCE = "Stanford MRN"
ITEM_SOURCE = "DCM Accession #"

#: Dates outside these years are placeholders (00010101, 99991231), not a patient's.
YEARS = range(1900, 2101)

#: The attributes that may date a study, in the order of DASHER's contract:
#: StudyDate, SeriesDate, ContentDate, AcquisitionDate, each with its time.
STUDY_DATE_TAGS = (
    (0x00080020, 0x00080030),
    (0x00080021, 0x00080031),
    (0x00080023, 0x00080033),
    (0x00080022, 0x00080032),
)

_SENT_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
_JITTERED_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Used in object names, file names, PatientID and AccessionNumber.
_CODE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
# A century in either direction: no service shifts further, and years stay within four digits.
_MAX_DAYS = 36_525


class _Wire(BaseModel):
    """A JSON object of the service's API, whose ``repr`` shows no values."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    def wire(self) -> str:
        """Return the JSON text to send or store; fields without a value are omitted."""
        return self.model_dump_json(exclude_none=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    __str__ = __repr__


class _Sent(_Wire):
    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    id_source: Annotated[str, Field(min_length=1)]
    id_timestamp: Annotated[str | None, Field(pattern=_SENT_TIMESTAMP)] = None

    @field_validator("id")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip() or _CONTROL.search(value):
            raise ValueError("empty, or with control characters")
        return value

    @field_validator("id_timestamp")
    @classmethod
    def _is_a_date(cls, value: str | None) -> str | None:
        if value is not None and _real_day(value).year not in YEARS:
            raise ValueError("not a patient's date")
        return value

    @property
    def day(self) -> date | None:
        """The date that was sent, if any."""
        return date.fromisoformat(self.id_timestamp[:10]) if self.id_timestamp else None


class RequestItem(_Sent):
    """A study: its accession number, date and time."""


class RequestEntity(_Sent):
    """A patient: the medical record number, the birth date, and the requested study."""

    items: tuple[RequestItem]


class Request(_Wire):
    """The body of a request: one patient with one study."""

    model_config = ConfigDict(extra="forbid")

    identifiers: tuple[RequestEntity]

    @property
    def entity(self) -> RequestEntity:
        """The patient."""
        return self.identifiers[0]

    @property
    def item(self) -> RequestItem:
        """The study."""
        return self.identifiers[0].items[0]


class _Coded(_Wire):
    # A service may add fields; unused ones are dropped.
    model_config = ConfigDict(extra="ignore")

    id: str
    id_source: str
    suid: Annotated[str, Field(pattern=_CODE)]
    jitter: Annotated[int, Field(ge=-_MAX_DAYS, le=_MAX_DAYS)]
    jittered_timestamp: str | None = None

    @field_validator("jittered_timestamp")
    @classmethod
    def _is_a_timestamp(cls, value: str | None) -> str | None:
        if value is not None:
            if _JITTERED_TIMESTAMP.fullmatch(value) is None:
                raise ValueError("not a timestamp")
            _real_day(value)
        return value

    @property
    def day(self) -> date | None:
        """The date part, unconverted: a change of time zone could change the day."""
        return date.fromisoformat(self.jittered_timestamp[:10]) if self.jittered_timestamp else None


class AnswerItem(_Coded):
    """The study's code and jitter."""


class AnswerEntity(_Coded):
    """The patient's code and jitter, with the requested study."""

    items: tuple[AnswerItem]

    @model_validator(mode="after")
    def _one_jitter(self) -> Self:
        if self.jitter != self.items[0].jitter:
            raise ValueError("patient and study have different jitters")
        return self


class Answer(_Wire):
    """The body of an answer."""

    model_config = ConfigDict(extra="ignore")

    results: tuple[AnswerEntity]

    @property
    def entity(self) -> AnswerEntity:
        """The patient."""
        return self.results[0]

    @property
    def item(self) -> AnswerItem:
        """The study."""
        return self.results[0].items[0]

    def coded_study(self) -> CodedStudy:
        """Return the codes, the jitter and the jittered dates."""
        return CodedStudy(
            patient_code=self.entity.suid,
            study_code=self.item.suid,
            jitter=self.item.jitter,
            entity_date=_yyyymmdd(self.entity.day),
            item_date=_yyyymmdd(self.item.day),
        )


def request_of(
    patient_id: str | None,
    birth_date: str | None,
    accession: str | None,
    study_date_time: str | None,
    *,
    entity_source: str = ENTITY_SOURCE,
    item_source: str = ITEM_SOURCE,
) -> Request:
    """Build the request for one study from header values.

    Parameters
    ----------
    patient_id, accession
        PatientID and AccessionNumber from the header, without DICOM's padding.
        They are sent unchanged: removing a character could make two patients one.
    birth_date
        PatientBirthDate (DA).
    study_date_time
        A date (DA), optionally followed immediately by a time (TM), as returned by
        ``first_date_time``, or in another unambiguous form.
    entity_source, item_source
        Id sources of the two numbers.

    Raises
    ------
    FailBatch
        PatientID or AccessionNumber is missing, blank or has control characters.

    Notes
    -----
    A timestamp that is missing, invalid or a placeholder (``sendit.dicom.placeholder_dates``) is
    omitted, as in the 2017 service. DASHER then dates the id by its own clock, so the jittered
    timestamp that it returns is not used.
    """
    return Request(
        identifiers=(
            RequestEntity(
                id=_usable(patient_id, "PatientID"),
                id_source=entity_source,
                id_timestamp=_timestamp(birth_date),
                items=(
                    RequestItem(
                        id=_usable(accession, "AccessionNumber"),
                        id_source=item_source,
                        id_timestamp=_timestamp(study_date_time),
                    ),
                ),
            ),
        )
    )


def first_date_time(text: Callable[[int], str | None]) -> str | None:
    """Return the study's date and time (yyyymmdd, hhmmss if known): the first of
    ``STUDY_DATE_TAGS`` that has a valid date; None if none has.

    Parameters
    ----------
    text
        Returns the text of an attribute by its tag, or None.
    """
    for date_tag, time_tag in STUDY_DATE_TAGS:
        day = read_day((text(date_tag) or "").strip(PADDING))
        if day is not None and _timestamp(f"{day:%Y%m%d}"):
            moment = read_time((text(time_tag) or "").strip(PADDING)) or ""
            return f"{day:%Y%m%d}{moment}"
    return None


def read_request(content: str) -> Request:
    """Parse a request that was stored as ``Request.wire()``.

    Raises
    ------
    FailBatch
        It is damaged.
    """
    try:
        return Request.model_validate_json(content)
    except ValidationError as error:
        raise FailBatch(
            f"the stored request for coded ids is damaged ({_problems(error)}); "
            "clear this batch's import task to make it again"
        ) from None


def read_answer(content: str | bytes, request: Request) -> Answer:
    """Parse an answer and validate it against its request.

    Parameters
    ----------
    content
        JSON text, from the service or from the ledger.

    Raises
    ------
    FailBatch
        The answer breaks the contract, or is about someone else. The text names
        the fields, never their values.
    """
    try:
        answer = Answer.model_validate_json(content)
    except ValidationError as error:
        raise _broken(_problems(error)) from None
    for where, sent, got in (
        ("results.0", request.entity, answer.entity),
        ("results.0.items.0", request.item, answer.item),
    ):
        if got.id != sent.id or got.id_source != sent.id_source:
            raise _broken(f"{where}: answers for a different id from the one requested")
        if got.suid == sent.id:
            raise _broken(f"{where}.suid: the coded id is the real one")
        _check_date(where, sent, got)
    return _without_unasked_dates(answer, request)


def _check_date(where: str, sent: _Sent, got: _Coded) -> None:
    if sent.day is None:
        return
    if got.day is None:
        raise _broken(f"{where}.jittered_timestamp: missing")
    if got.day != sent.day + timedelta(days=got.jitter):
        raise _broken(f"{where}.jittered_timestamp: not the date that was sent plus the jitter")


def _without_unasked_dates(answer: Answer, request: Request) -> Answer:
    """Drop dates that the service made up for ids that were sent without one."""
    undated = {"jittered_timestamp": None}
    item = answer.item.model_copy(update=undated if request.item.day is None else None)
    entity = answer.entity.model_copy(
        update={"items": (item,), **(undated if request.entity.day is None else {})}
    )
    return answer.model_copy(update={"results": (entity,)})


def _broken(problem: str) -> FailBatch:
    return FailBatch(
        f"the identifier service's answer breaks its contract ({problem}); nothing from it was "
        "used; tell the people who run the service, then clear this task"
    )


def _problems(error: ValidationError) -> str:
    """Return each invalid field and its problem; pydantic's messages quote no input."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'the whole'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _usable(value: str | None, name: str) -> str:
    if value is None or not value.strip():
        raise FailBatch(
            f"{name} is missing or empty in this study's headers, so it cannot get a coded id; "
            "correct it at the source and send the study again"
        )
    if _CONTROL.search(value):
        raise FailBatch(
            f"{name} has control characters, so it cannot be sent unchanged, and sendit never "
            "changes it; correct it at the source and send the study again"
        )
    return value


def _timestamp(value: str | None) -> str | None:
    """Return yyyy-mm-ddThh:mm:ssZ for a DICOM date with or without a time; None if invalid."""
    moment = read_moment((value or "").strip(PADDING))
    if moment is None:
        return None
    day = moment.day
    parts = [moment.clock[start : start + 2] or "0" for start in (0, 2, 4)]
    # Second 60 is a leap second (PS3.5, VR TM), which a timestamp cannot represent.
    clock = time(int(parts[0]), int(parts[1]), min(int(parts[2]), 59))
    if day.year not in YEARS or is_placeholder(day):
        return None
    return f"{datetime.combine(day, clock):%Y-%m-%dT%H:%M:%SZ}"


def _real_day(timestamp: str) -> date:
    try:
        return date.fromisoformat(timestamp[:10])
    except ValueError:
        # Python's own message may quote the date.
        raise ValueError("no such date") from None


def _yyyymmdd(day: date | None) -> str | None:
    return day.strftime("%Y%m%d") if day else None
