"""Which site feeds a collection, recorded in the bucket, so that no other site does by mistake.

Codes and date shifts come from the ledger, the key, the identifier service, the study, and from
which issuers share their numbers. A ledger that is empty, restored from a backup or another one,
another key, or another source for an issuer, would deliver known patients under other codes, and
nothing in the bucket would tell. So each delivery is
counted in the ledger and then written down beside the archives, as an object of its own that
nobody can replace (``if_generation_match=0``): ``Collection/<IRB>/Feeder/<count>.json``. Whoever
comes with other digests, or has counted less far, delivers nothing until a person says so
(`adopt`).
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
#: So many may count at once; more than a few never do.
MAX_TRIES = 20


@dataclass(frozen=True, slots=True)
class Feeder:
    """Everything that a collection's codes and dates depend on.

    Attributes
    ----------
    ledger, key
        Digests: neither can be found from them.
    identifiers
        The identifier service; of DASHER also where it is.
    study
        The study whose codes are delivered, in lower case.
    sources
        By setting the id source of each issuer, both as keyed digests; None in a record that was
        written before it was kept.
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
        found = [
            f"{word} {getattr(self, name)}, here {getattr(other, name)}"
            for name, word in words.items()
            if getattr(self, name) != getattr(other, name)
            and not self._is_unsaid(name, getattr(other, name))
        ]
        # Under another key nothing of them can be compared.
        if self.sources is not None and other.sources is not None and self.key == other.key:
            for setting, held in self.sources.items():
                count = _recoded(held, other.sources[setting], self.identifiers)
                if count:
                    found.append(
                        f"{setting} gives {count} issuer{'s' * (count > 1)} another source than "
                        "before, so their numbers would get other codes"
                    )
        return found

    def _is_unsaid(self, name: str, there: str | None) -> bool:
        """Whether this record was written before it was kept what another says of this."""
        held = getattr(self, name)
        if name == "identifiers":
            return held == "dasher" and str(there).startswith("dasher at ")
        return held is None

    def after(self, held: Feeder) -> Feeder:
        """Return this feeder with the sources that ``held``, whose place it takes, knew: a name
        that is gone from the settings may come back."""
        if self.sources is None or held.sources is None:
            return self
        merged = {name: held.sources[name] | found for name, found in self.sources.items()}
        return replace(self, sources=merged)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the bucket has: who feeds the collection, the count of its deliveries, and who was
    said to be right instead of whom, when (seconds since the epoch) and why."""

    feeder: Feeder
    counter: int
    adopted: tuple[dict[str, Any], ...] = ()

    @property
    def ledgers(self) -> set[str]:
        """The digests of all ledgers that were ever right."""
        return {self.feeder.ledger, *(each["before"]["ledger"] for each in self.adopted)}


@dataclass(frozen=True, slots=True)
class Feed:
    """A collection in a bucket, as this site would feed it.

    Parameters
    ----------
    ledger
        The ledger.
    client
        Cloud Storage.
    bucket, collection
        Where it is delivered to.
    feeder
        Who this site is.
    """

    ledger: Ledger
    client: storage.Client
    bucket: str
    collection: str
    feeder: Feeder

    def check(self) -> Remembered | None:
        """Return what the collection remembers, if this site is the one that feeds it; None for
        a collection that nobody has fed yet.

        Raises
        ------
        Misconfigured
            It is not. Nothing may be delivered.
        """
        held = remembered(self.client, self.bucket, self.collection)
        problems = self._problems(held)
        if problems:
            raise Misconfigured(
                f"the collection {self.collection} in bucket {self.bucket} is fed by another: "
                f"{'; '.join(problems)}. Studies would be delivered to it that do not belong with "
                "those that are there, so none was. Correct the setting or connection that this "
                "names, or restore the latest ledger; what each difference means, and what else "
                f"can be done, says: sendit adopt {self.collection}"
            )
        return held

    def count(self) -> None:
        """Check, then count a delivery in the ledger and write it into the bucket.

        Doing it again counts once more. The ledger counts first: it is never behind the
        bucket but when it is not the one that was there last.

        Raises
        ------
        Misconfigured
            As ``check``.
        RetryLater
            Too many counted at the same time.
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
        raise RetryLater(f"too many runs deliver to the collection {self.collection} at once")

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
                f"the collection {self.collection} was delivered to meanwhile; see who does it, "
                "then adopt it again"
            )

    def _problems(self, held: Remembered | None) -> list[str]:
        if held is None:
            unknown = self._unknown_archives()
            return [f"{unknown} archives are there that this ledger knows nothing of"] * bool(
                unknown
            )
        problems = held.feeder.differences(self.feeder)
        # Read after the bucket: another task of this site may count in between.
        counted = self.ledger.feed(self.bucket, self.collection)
        if held.feeder.ledger == self.feeder.ledger and counted < held.counter:
            problems.append(
                f"this ledger is older than its last delivery (count {counted}, there "
                f"{held.counter}): it was restored from a backup, or is a copy"
            )
        return problems

    def _unknown_archives(self) -> int:
        there = objects.names(self.client, self.bucket, f"Collection/{self.collection}/Entity/")
        if not there:
            return 0
        return len(set(there) - self.ledger.objects_of(self.bucket, self.collection))

    def _write(self, new: Remembered) -> bool:
        """Write the count's object; False if it is there already. Earlier ones go."""
        # The random part tells two copies of one ledger apart that come to the same count.
        content = {"version": VERSION, "by": secrets.token_hex(8), **asdict(new)}
        text = json.dumps(content, indent=1, sort_keys=True)
        name = f"{feeder_folder(self.collection)}{new.counter:012d}.json"
        if not objects.create(self.client, self.bucket, name, text.encode() + b"\n", CONTENT_TYPE):
            return False
        for other in objects.names(self.client, self.bucket, feeder_folder(self.collection)):
            if other < name:
                # Under a retention policy they stay, which does no harm.
                with contextlib.suppress(SenditError):
                    objects.remove(self.client, self.bucket, other)
        return True


_NOBODY = Feeder("", "", "", "")
#: Stand in a mapping of sources for the issuers that it does not name, and for numbers without one.
_ANY, _NONE = "any", "none"


def _recoded(before: dict[str, str], now: dict[str, str], identifiers: str) -> int:
    """Count the issuers whose numbers another mapping of sources gives other codes.

    With DASHER an issuer without a source fails its studies, so that giving or taking it one
    changes no code. The built-in service codes it as a source of its own.
    """
    changed = 0
    for name in before.keys() | now.keys():
        held, wanted = (each.get(name, each.get(_ANY)) for each in (before, now))
        if held != wanted and not (identifiers.startswith("dasher") and None in {held, wanted}):
            changed += 1
    return changed


def _sources(rules: IdentityRules, keys: Keys) -> dict[str, dict[str, str]]:
    """Return which issuers have which source, as keyed digests: their names are the site's."""

    def digest(text: str) -> str:
        return keys.digest("feeder", f"source {text}")[:16]

    settings = {
        "SENDIT_PATIENT_ID_SOURCES": (rules.patient_sources, ENTITY_SOURCE),
        "SENDIT_ACCESSION_SOURCES": (rules.accession_sources, ITEM_SOURCE),
    }
    found: dict[str, dict[str, str]] = {}
    for setting, (sources, default) in settings.items():
        found[setting] = {}
        for name, source in ({NO_ISSUER: default} | issuer_sources(sources)).items():
            key = {ANY_ISSUER: _ANY, NO_ISSUER: _NONE}.get(name) or digest(name)
            found[setting][key] = digest(source)
    return found


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
        The study whose codes are delivered; the services take it in lower case.
    rules
        The site's rules about numbers. What becomes of a number that is none is not held against
        the collection: such a study fails, or is a patient of its own; it never gets the code of
        another, nor another code than before.
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
    """Return the digest that a ledger is named by outside of it."""
    return short_digest(f"ledger {ledger.id()}")


def feeder_folder(collection: str) -> str:
    """Return the prefix of a collection's feeder records."""
    return f"Collection/{collection}/Feeder/"


def remembered(client: storage.Client, bucket: str, collection: str) -> Remembered | None:
    """Return what a collection remembers of who feeds it, or None.

    Raises
    ------
    Misconfigured
        What is there is not sendit's, or a later sendit's.
    """
    for _ in range(MAX_TRIES):
        counts = objects.names(client, bucket, feeder_folder(collection))
        if not counts:
            return None
        content = objects.read(client, bucket, counts[-1])
        if content is not None:  # else a later count has just taken its place
            return _remembered(bucket, counts[-1], content)
    raise RetryLater(f"too many runs deliver to the collection {collection} at once")


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
        f"{name} in bucket {bucket} is not a count of this version of sendit: it says who "
        "feeds the collection. Run the version that wrote it, or restore the object"
    )
