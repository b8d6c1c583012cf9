"""The built-in identifier service, for sites without DASHER.

It takes and gives what DASHER takes and gives. A patient gets one code and one jitter per
research study, whenever and wherever the next image of that patient comes in. The store
holds keyed digests of the real ids only: who holds the store but not the key can neither
read an id from it nor try ids against it.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from sendit.identifiers.models import (
    Answer,
    AnswerEntity,
    AnswerItem,
    Request,
    RequestEntity,
    RequestItem,
    read_answer,
)
from sendit.keys import Keys

#: Most days that a date moves, either way; never 0, which would leave true dates standing.
#: A month is what honest brokers of this kind use: season and age stay true enough for
#: research, while the day is not the patient's. Sent dates lie in 1900 to 2099, so what
#: comes out is always a valid DA.
MAX_DAYS = 31

# With the letter before them 16 characters: as much as AccessionNumber (SH) holds.
_CODE_DIGITS = 15


class CodeStore(Protocol):
    """A store of codes and jitters: get or create, safe with any number of concurrent workers.

    Of all callers with one digest the first one's values are stored, and every caller gets
    those back. Two digests never share a code.
    """

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        """Return the code and jitter held for a patient's digest, or store the given ones."""
        ...

    def study_code(self, digest: str, code: str) -> str:
        """Return the code held for a study's digest, or store the given one."""
        ...


class MemoryCodes:
    """A store that lasts as long as the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._patients: dict[str, tuple[str, int]] = {}
        self._studies: dict[str, str] = {}

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        """See ``CodeStore``."""
        with self._lock:
            return self._patients.setdefault(digest, (code, jitter))

    def study_code(self, digest: str, code: str) -> str:
        """See ``CodeStore``."""
        with self._lock:
            return self._studies.setdefault(digest, code)


class KeyedCodes:
    """No store at all: codes and jitters follow from the key, the same on every machine.

    For the command line, where nothing is kept between runs. Who has the key can find a
    patient's code from the real id, which random codes do not allow once the store is gone.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def patient_code(
        self,
        digest: str,
        code: str,  # noqa: ARG002 - part of the interface
        jitter: int,  # noqa: ARG002 - part of the interface
    ) -> tuple[str, int]:
        """Return what follows from the digest; the given values are not used."""
        drawn = self._keys.digest("local identifiers: patient code", digest)
        number = int(self._keys.digest("local identifiers: jitter", digest), 16)
        return f"p{drawn[:_CODE_DIGITS]}", _jitter(number)

    def study_code(
        self,
        digest: str,
        code: str,  # noqa: ARG002 - part of the interface
    ) -> str:
        """Return what follows from the digest; the given value is not used."""
        drawn = self._keys.digest("local identifiers: study code", digest)
        return f"s{drawn[:_CODE_DIGITS]}"


class LocalService:
    """Codes and jitter from a store of one's own.

    Parameters
    ----------
    study
        The research study. The same patient has unrelated codes and jitters in two studies.
    keys
        The site's keys; the digests depend on them.
    store
        Where codes and jitters are kept.
    """

    def __init__(self, study: str, keys: Keys, store: CodeStore) -> None:
        self._study = study.lower()
        self._keys = keys
        self._store = store

    def identify(self, request: Request) -> Answer:
        """Return the codes and the jitter, new ones for whoever is new."""
        entity, item = request.entity, request.item
        # A code starts with a letter: no spreadsheet takes it for a number (12e45).
        patient_code, jitter = self._store.patient_code(
            self._digest("patient", entity),
            f"p{secrets.token_hex(8)[:_CODE_DIGITS]}",
            _jitter(secrets.randbits(64)),
        )
        study_code = self._store.study_code(
            # Accession numbers are unique within one archive; with the patient beside them,
            # two patients' studies never become one.
            self._digest("study", entity, item),
            f"s{secrets.token_hex(8)[:_CODE_DIGITS]}",
        )
        answer = Answer(
            results=(
                AnswerEntity(
                    id=entity.id,
                    id_source=entity.id_source,
                    suid=patient_code,
                    jitter=jitter,
                    jittered_timestamp=_jittered(entity.id_timestamp, jitter),
                    items=(
                        AnswerItem(
                            id=item.id,
                            id_source=item.id_source,
                            suid=study_code,
                            jitter=jitter,
                            jittered_timestamp=_jittered(item.id_timestamp, jitter),
                        ),
                    ),
                ),
            )
        )
        return read_answer(answer.wire(), request)

    def check(self) -> None:
        """Need nothing: the store is asked before anything else is."""

    def _digest(self, kind: str, *ids: RequestEntity | RequestItem) -> str:
        # As JSON, so that no two lists of ids run together into the same text.
        parts = [self._study, *((part.id_source, part.id) for part in ids)]
        return self._keys.digest(f"local identifiers: {kind}", json.dumps(parts))


def _jitter(number: int) -> int:
    """Return one of the days -31 to -1 and 1 to 31, all equally likely for a random number."""
    days = number % (2 * MAX_DAYS) - MAX_DAYS
    return days if days < 0 else days + 1


def _jittered(timestamp: str | None, jitter: int) -> str | None:
    if timestamp is None:
        return None
    moment = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ") + timedelta(days=jitter)
    return f"{moment.isoformat()}+0000"
