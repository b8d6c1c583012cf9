"""The built-in identifier service, for sites without DASHER.

It has the same interface as DASHER. A patient gets one code and one jitter per
research study, whenever and wherever that patient's next image arrives. The store
holds only keyed digests of the real ids: someone who has the store but not the key can neither
read ids from it nor test ids against it.
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

#: Maximum shift in days, in either direction; never 0, which would keep the real dates. A month is
#: usual for honest brokers: season and age stay accurate enough for research, but the day is not
#: the patient's. The dates sent are in 1900 to 2100, so the result is always a valid DA.
MAX_DAYS = 31

# With the leading letter 16 characters, the maximum length of AccessionNumber (SH).
_CODE_DIGITS = 15


class CodeStore(Protocol):
    """A store of codes and jitters: get or create, safe with any number of concurrent workers.

    The values of the first caller with a digest are stored and returned to every later caller with
    that digest. Two digests never share a code.
    """

    def patient_code(self, digest: str, code: str, jitter: int) -> tuple[str, int]:
        """Return the code and jitter (days) stored for a patient's digest, storing the given ones
        if there are none."""
        ...

    def study_code(self, digest: str, code: str) -> str:
        """Return the code stored for a study's digest, storing the given one if there is none."""
        ...


class MemoryCodes:
    """A store in memory, for as long as the process runs."""

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
    """Derives codes and jitters from the key, the same on every machine, and stores nothing.

    For the command line, where nothing is kept between runs. Whoever has the key can derive a
    patient's code from the real id, which is impossible with random codes once the store is gone.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def patient_code(
        self,
        digest: str,
        code: str,  # noqa: ARG002 - part of the interface
        jitter: int,  # noqa: ARG002 - part of the interface
    ) -> tuple[str, int]:
        """Return the values derived from the digest; the given ones are not used."""
        drawn = self._keys.digest("local identifiers: patient code", digest)
        number = int(self._keys.digest("local identifiers: jitter", digest), 16)
        return f"p{drawn[:_CODE_DIGITS]}", _jitter(number)

    def study_code(
        self,
        digest: str,
        code: str,  # noqa: ARG002 - part of the interface
    ) -> str:
        """Return the code derived from the digest; the given one is not used."""
        drawn = self._keys.digest("local identifiers: study code", digest)
        return f"s{drawn[:_CODE_DIGITS]}"


class LocalService:
    """Assigns codes and jitter from the site's own store.

    Parameters
    ----------
    study
        The research study. The same patient has unrelated codes and jitters in two studies.
    keys
        The site's keys; the digests depend on them.
    store
        Store of codes and jitters.
    """

    def __init__(self, study: str, keys: Keys, store: CodeStore) -> None:
        self._study = study.lower()
        self._keys = keys
        self._store = store

    def identify(self, request: Request) -> Answer:
        """Return the codes and the jitter, assigning new ones to new patients and studies."""
        entity, item = request.entity, request.item
        # A code starts with a letter, so that spreadsheets do not read it as a number (12e45).
        patient_code, jitter = self._store.patient_code(
            self._digest("patient", entity),
            f"p{secrets.token_hex(8)[:_CODE_DIGITS]}",
            _jitter(secrets.randbits(64)),
        )
        study_code = self._store.study_code(
            # Accession numbers are unique only within one archive; including the patient ensures
            # that two patients' studies never become one.
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
        """Do nothing: the service has no requirements besides the ledger."""

    def _digest(self, kind: str, *ids: RequestEntity | RequestItem) -> str:
        # As JSON, so that no two lists of ids give the same text.
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
