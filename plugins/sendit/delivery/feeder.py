"""Records in the bucket which site feeds a collection, so that no other site does by mistake.

Codes and date shifts depend on the ledger, the key, the identifier service, the study, and on
which issuers share their numbers. An empty, restored or different ledger, a different key, or a
different source for an issuer would deliver known patients under different codes, and nothing in
the bucket would show it. So each delivery is counted in the ledger and then recorded beside the
archives, as a separate object that nobody can replace (``if_generation_match=0``):
``Collection/<IRB>/Feeder/<count>.json``. A site with different digests, or whose count is behind,
delivers nothing until a person confirms it (`adopt`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from google.cloud import storage

from sendit.crashpoint import reach
from sendit.delivery import objects
from sendit.digests import short_digest
from sendit.errors import Misconfigured, RetryLater, SenditError
from sendit.identifiers.identity import (
    ANY_ISSUER,
    NO_ISSUER,
    IdentityRules,
    issuer_sources,
)
from sendit.identifiers.models import ENTITY_SOURCE, ITEM_SOURCE
from sendit.keys import Keys
from sendit.ledger import Ledger

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/json"
VERSION = 1
#: Attempts to write a count; each concurrent run may cost one, and there are never more than a few.
MAX_TRIES = 20


@dataclass(frozen=True, slots=True)
class Feeder:
    """Everything that a collection's codes and dates depend on.

    Attributes
    ----------
    ledger, key
        Digests, from which neither can be derived.
    identifiers
        The identifier service; for DASHER also its host.
    study
        The study whose codes are delivered, in lower case.
    sources
        By setting, the id source of each issuer, both as keyed digests; None in records from
        before this field existed.
    project
        The project whose BigQuery has the rows; None as for ``sources``.
    """

    ledger: str
    key: str
    identifiers: str
    study: str
    sources: dict[str, dict[str, str]] | None = None
    project: str | None = None

    def differences(self, other: Feeder) -> list[str]:
        """Describe the differences from another feeder."""
        words = {
            "ledger": "ledger",
            "key": "key",
            "identifiers": "identifier service",
            "study": "study",
            "project": "project of the rows",
        }
        differences = [
            f"{word} {getattr(self, name)}, here {getattr(other, name)}"
            for name, word in words.items()
            if getattr(self, name) != getattr(other, name)
            and not self._is_unsaid(name, getattr(other, name))
        ]
        # Digests made with different keys cannot be compared.
        if self.sources is not None and other.sources is not None and self.key == other.key:
            for setting, held in self.sources.items():
                count = _recoded(held, other.sources[setting], self.identifiers)
                if count:
                    differences.append(
                        f"{setting} gives {count} issuer{'s' * (count > 1)} a different source "
                        "from before, so their numbers would get different codes"
                    )
        return differences

    def _is_unsaid(self, name: str, there: str | None) -> bool:
        """Whether this record is from before the field existed."""
        held = getattr(self, name)
        if name == "identifiers":
            return held == "dasher" and str(there).startswith("dasher at ")
        return held is None

    def after(self, held: Feeder) -> Feeder:
        """Return this feeder with the additional sources of ``held``, which it replaces: an issuer
        that was removed from the settings may come back."""
        if self.sources is None or held.sources is None:
            return self
        merged = {name: held.sources[name] | new for name, new in self.sources.items()}
        return replace(self, sources=merged)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The record in the bucket: the collection's feeder, its delivery count, and the adoptions,
    each with the feeder before it, when (seconds since the epoch) and why."""

    feeder: Feeder
    counter: int
    adopted: tuple[dict[str, Any], ...] = ()

    @property
    def ledgers(self) -> set[str]:
        """The digests of all ledgers that have ever fed the collection."""
        return {self.feeder.ledger, *(each["before"]["ledger"] for each in self.adopted)}


@dataclass(frozen=True, slots=True)
class Feed:
    """This site's feed of a collection in a bucket.

    Parameters
    ----------
    ledger
        The ledger.
    client
        Cloud Storage.
    bucket, collection
        The destination.
    feeder
        This site's identity.
    """

    ledger: Ledger
    client: storage.Client
    bucket: str
    collection: str
    feeder: Feeder

    def check(self) -> Remembered | None:
        """Return the collection's record if this site is its feeder; None for a collection to which
        nobody has delivered yet.

        Raises
        ------
        Misconfigured
            This site is not its feeder. Nothing may be delivered.
        """
        held = remembered(self.client, self.bucket, self.collection)
        problems = self._problems(held)
        if problems:
            raise Misconfigured(
                f"the collection {self.collection} in bucket {self.bucket} is fed by another: "
                f"{'; '.join(problems)}. Its studies would get inconsistent codes, so nothing was "
                "delivered. Correct the setting or connection named here, or restore the latest "
                "ledger. For the meaning of each difference and other options, run: sendit adopt "
                f"{self.collection}"
            )
        return held

    def count(self) -> None:
        """Check, then count a delivery in the ledger and record it in the bucket.

        Each call counts once more. The ledger counts first, so it is behind the bucket only if it
        is not the ledger that delivered last.

        Raises
        ------
        Misconfigured
            As ``check``.
        RetryLater
            Too many runs counted at the same time.
        """
        for _ in range(MAX_TRIES):
            held = self.check()
            counter = self.ledger.advance_feed(self.bucket, self.collection)
            reach("feeder: counted")
            new = Remembered(self.feeder, counter)
            if held:
                new = Remembered(self.feeder.after(held.feeder), counter, held.adopted)
            if self._write(new):
                reach("feeder: written")
                return
        raise RetryLater(
            f"too many runs deliver to the collection {self.collection} at the same time"
        )

    def problems(self) -> list[str]:
        """Return the reasons why this site may not feed the collection; none if it may."""
        return self._problems(remembered(self.client, self.bucket, self.collection))

    def adopt(self, reason: str) -> None:
        """Make this site the collection's feeder from now on.

        Raises
        ------
        RetryLater
            Someone delivered to it at the same time.
        """
        held = remembered(self.client, self.bucket, self.collection)
        before = asdict(held.feeder) if held else asdict(_NOBODY)
        entry = {"at": time.time(), "reason": reason, "before": before}
        counter = self.ledger.advance_feed(
            self.bucket, self.collection, held.counter if held else 0
        )
        adopted = (*held.adopted, entry) if held else (entry,)
        if not self._write(Remembered(self.feeder, counter, adopted)):
            raise RetryLater(
                f"someone delivered to the collection {self.collection} meanwhile; find out who, "
                "then adopt it again"
            )

    def _problems(self, held: Remembered | None) -> list[str]:
        if held is None:
            unknown = self._unknown_archives()
            return [f"it has {unknown} archives that this ledger does not know"] * bool(unknown)
        problems = held.feeder.differences(self.feeder)
        # Read after the bucket: another task of this site may count in between.
        counted = self.ledger.feed(self.bucket, self.collection)
        if held.feeder.ledger == self.feeder.ledger and counted < held.counter:
            problems.append(
                f"this ledger is older than its last delivery (count {counted}, in the bucket "
                f"{held.counter}): it was restored from a backup, or is a copy"
            )
        return problems

    def _unknown_archives(self) -> int:
        there = objects.names(self.client, self.bucket, f"Collection/{self.collection}/Entity/")
        if not there:
            return 0
        return len(set(there) - self.ledger.objects_of(self.bucket, self.collection))

    def _write(self, new: Remembered) -> bool:
        """Write the count's object and delete earlier ones; return False if it already exists."""
        # The random part distinguishes two copies of one ledger that reach the same count.
        content = {"version": VERSION, "by": secrets.token_hex(8), **asdict(new)}
        text = json.dumps(content, indent=1, sort_keys=True)
        name = f"{feeder_folder(self.collection)}{new.counter:012d}.json"
        if not objects.create(self.client, self.bucket, name, text.encode() + b"\n", CONTENT_TYPE):
            return False
        for other in objects.names(self.client, self.bucket, feeder_folder(self.collection)):
            if other < name:
                # Under a retention policy they are kept, which is harmless.
                with contextlib.suppress(SenditError):
                    objects.remove(self.client, self.bucket, other)
        return True


_NOBODY = Feeder("", "", "", "")
#: Keys in a mapping of sources for all other issuers, and for numbers without an issuer.
_ANY, _NONE = "any", "none"


def _recoded(before: dict[str, str], now: dict[str, str], identifiers: str) -> int:
    """Count the issuers whose numbers get different codes under another mapping of sources.

    With DASHER an issuer without a source fails its studies, so adding or removing its source
    changes no code. The built-in service treats such an issuer as a source of its own.
    """
    changed = 0
    for name in before.keys() | now.keys():
        held, wanted = (each.get(name, each.get(_ANY)) for each in (before, now))
        if held != wanted and not (identifiers.startswith("dasher") and None in {held, wanted}):
            changed += 1
    return changed


def _sources(rules: IdentityRules, keys: Keys) -> dict[str, dict[str, str]]:
    """Return the issuers' sources as keyed digests, because their names identify the site."""

    def digest(text: str) -> str:
        return keys.digest("feeder", f"source {text}")[:16]

    settings = {
        "SENDIT_PATIENT_ID_SOURCES": (rules.patient_sources, ENTITY_SOURCE),
        "SENDIT_ACCESSION_SOURCES": (rules.accession_sources, ITEM_SOURCE),
    }
    digests: dict[str, dict[str, str]] = {}
    for setting, (sources, default) in settings.items():
        digests[setting] = {}
        for name, source in ({NO_ISSUER: default} | issuer_sources(sources)).items():
            key = {ANY_ISSUER: _ANY, NO_ISSUER: _NONE}.get(name) or digest(name)
            digests[setting][key] = digest(source)
    return digests


def feeder_of(
    ledger: Ledger,
    keys: Keys,
    identifiers: str,
    study: str,
    rules: IdentityRules,
    *,
    project: str | None = None,
) -> Feeder:
    """Return this site's identity as the feeder of a collection.

    Parameters
    ----------
    ledger, keys
        The site's.
    identifiers
        The identifier service, ``local`` or ``dasher at HOST``.
    study
        The study whose codes are delivered; the services use it in lower case.
    rules
        The site's rules about numbers. How missing numbers are treated is not compared: such a
        study fails, or becomes its own patient; it never gets another patient's code, or a
        different code from before.
    project
        The project of the Google connection.
    """
    return Feeder(
        ledger=ledger_digest(ledger),
        key=keys.digest("feeder", "key")[:16],
        identifiers=identifiers,
        study=study.lower(),
        sources=_sources(rules, keys),
        project=project,
    )


def ledger_digest(ledger: Ledger) -> str:
    """Return the digest by which a ledger is identified outside of it."""
    return short_digest(f"ledger {ledger.id()}")


def feeder_folder(collection: str) -> str:
    """Return the prefix of a collection's feeder records."""
    return f"Collection/{collection}/Feeder/"


def remembered(client: storage.Client, bucket: str, collection: str) -> Remembered | None:
    """Return a collection's feeder record, or None.

    Raises
    ------
    Misconfigured
        The record is not sendit's, or was written by a later version.
    RetryLater
        Too many runs deliver at the same time.
    """
    for _ in range(MAX_TRIES):
        counts = objects.names(client, bucket, feeder_folder(collection))
        if not counts:
            return None
        content = objects.read(client, bucket, counts[-1])
        if content is not None:  # otherwise a later count has just replaced it
            return _remembered(bucket, counts[-1], content)
    raise RetryLater(f"too many runs deliver to the collection {collection} at the same time")


def _remembered(bucket: str, name: str, content: bytes) -> Remembered:
    try:
        held = json.loads(content)
        if held["version"] == VERSION:
            return Remembered(
                Feeder(**held["feeder"]), int(held["counter"]), tuple(held["adopted"])
            )
    except (ValueError, KeyError, TypeError):
        pass
    raise Misconfigured(
        f"{name} in bucket {bucket} is not a feeder record of this version of sendit. Run the "
        "version that wrote it, or restore the object"
    )
