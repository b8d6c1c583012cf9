"""The last gate: no archive leaves with a real value of its batch in it.

While a study is de-identified, :class:`RealValues` gathers the values that say whose it is,
out of those attributes that the recipe changes. When the archive is finished, :func:`gate`
reads it again from the disk (:mod:`sendit.deidentify.reread`: none of the code that wrote
it) and looks for them, and for what the recipe promised to remove. A hit deletes the
archive and fails the batch.

What is looked for, and where (docs/gate.md gives the reasons):

==================  ==========================================================================
UIDs                whole, anywhere
full names          any two parts of a name side by side, in either order, in any text;
                    the patient's in all bytes, in every character set of the study, too
the patient's       a part of at least :data:`LEAST_WORD` letters as a word of its own, in text
names               that the recipe or PS3.15 calls identifying, in private elements, in bytes
                    that are no text; not if it is a word of radiology
identifiers         of at least :data:`LEAST_RAW` characters: whole, anywhere; of four or five
                    with a digit: as a word of text called identifying; any shorter one: if the
                    same attribute still holds it
dates               in every spelling, anywhere but in UIDs and pixels; not one that is another
                    of the study's dates after the jitter, or that the recipe keeps
==================  ==========================================================================

Native pixel samples are numbers, not text: they are searched in a sample of the members.
"""

from __future__ import annotations

import base64
import re
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import cache, lru_cache
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Final

import google_crc32c
from pydicom.charset import convert_encodings, decode_bytes

from sendit.archive import ArchiveInfo
from sendit.deidentify.reread import Head, Pixels, Place, Tail, Totals, Unreadable, reread
from sendit.deidentify.search import Search, literal
from sendit.dicom.scan import vr_of
from sendit.errors import FailBatch, SenditError
from sendit.recipe.attributes import tag_text
from sendit.recipe.model import Action, Function, Literal, TagSelector

if TYPE_CHECKING:
    from sendit.deidentify.plan import Plan
    from sendit.deidentify.study import StudyIdentifiers
    from sendit.dicom.scan import Header

LEAST_RAW: Final = 6
"""Characters of an identifier below which it is not searched for in bytes."""

LEAST_WORD: Final = 4
"""Letters of a part of a name below which it is not a word to look for."""

LEAST_RAW_WORD: Final = 6
"""Letters of a part of a name below which it is not searched for in bytes that are no text."""

SHOWN: Final = 5
"""Findings that an error tells."""

IDENTIFIERS: Final = frozenset(
    (
        *(0x00080050, 0x00080051, 0x00080080, 0x00080081, 0x00081010, 0x00081040),
        *(0x00100020, 0x00100021, 0x00101000, 0x00101001, 0x00101040, 0x00101050),
        *(0x00101080, 0x00101090, 0x00102154, 0x00102155, 0x00181000, 0x00181002),
        *(0x00200010, 0x00321033, 0x00380010, 0x00380060, 0x00380300, 0x00400009),
        *(0x00400253, 0x00401001, 0x00402016, 0x00402017, 0x00101005, 0x00101060),
    )
)
"""Attributes whose values are identifiers: accession, patient, admission, order, device, place."""

PATIENT_NAMES: Final = frozenset((0x00100010, 0x00101001, 0x00101005, 0x00101060))
PLACEHOLDERS: Final = frozenset(
    (
        *("anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified"),
        *("removed", "unknown", "none", "null", "patient", "name", "test", "na", "n/a", "no"),
        *("yes", "other", "undefined", "empty", "blank", "dummy", "default", "sendit"),
    )
)
"""Values that tell nothing about anyone, lower case."""

PLACEHOLDER_DATES: Final = frozenset(("19000101", "18000101", "19700101", "20000101"))

_PLANS: Final = 8  # recipes that a process remembers
_CHARACTER_SET: Final = 0x00080005
_TRAILING_PADDING: Final = 0xFFFCFFFC
_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_PAD: Final = b" \0"
_KNOWN_UIDS: Final = "1.2.840.10008."
_WORD: Final = re.compile(r"[^\W_]+")
_BETWEEN: Final = (b"^", b" ", b", ", b",", b"_", b".", b"-", b"", b"^ ", b"=")
_DATE: Final = re.compile(rb"(\d{4})[.]?(\d\d)[.]?(\d\d)")
_MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be in the archive: what kind, where; never the value."""

    member: int
    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.place} of member {self.member}"


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate looked at. Sizes in bytes as inflated; ``passed`` is native pixels."""

    members: int
    inflated: int
    passed: int
    values: int


class RealValues:
    """The values of a batch that must not leave with it.

    Parameters
    ----------
    plan
        What becomes of them: an attribute that the recipe keeps, or does not name, holds no
        secret of its own.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._actions = _actions(plan)
        self._changed: dict[tuple[int, str], bool] = {}
        self._seen: set[tuple[int, bytes]] = set()
        self.names: set[tuple[bytes, bytes, bool]] = set()
        self.identifiers: set[str] = set()
        self.exact: dict[int, set[str]] = {}
        self.uids: set[bytes] = set()
        self.dates: set[str] = set()
        self.kept_dates: set[str] = set()
        self.kept: set[str] = set()
        self.character_sets: set[bytes] = set()

    def see(self, header: Header) -> None:
        """Gather what one file of the batch holds, as it was received."""
        data, seen = header.data, self._seen
        character_set = header.character_set
        self.character_sets.add(character_set)
        levels = [header.elements]
        while levels:
            for tag, vr, _, start, end, items in levels.pop():
                if items is not None:
                    levels.extend(item[1] for item in items)
                elif (vr in _WANTED or tag in IDENTIFIERS) and start != end:
                    raw = data[start:end]
                    if (tag, raw) not in seen:
                        seen.add((tag, raw))
                        self._note(tag, vr, raw, character_set)

    def add_identifier(self, text: str) -> None:
        """Add an identifier that stands in no header: a folder's or a file's name."""
        self.identifiers.add(text)

    def _note(self, tag: int, vr: str, raw: bytes, character_set: bytes) -> None:
        if not self._changes(tag, vr):
            self._keep(tag, vr, raw, character_set)
            return
        if vr == "PN":
            for name in raw.split(b"\\"):
                self.names.add((name.strip(_PAD), character_set, tag in PATIENT_NAMES))
                self.exact.setdefault(tag, set()).add(_plain(_decode(name, character_set)))
        elif vr == "UI":
            self.uids.update(
                uid
                for uid in (value.strip(_PAD) for value in raw.split(b"\\"))
                if len(uid) > 8 and not uid.startswith(_KNOWN_UIDS.encode())
            )
        elif vr in {"DA", "DT"}:
            self.dates.update(_dates_in(raw))
        else:
            text = _decode(raw, character_set)
            for value in text.split("\\") if vr in {"LO", "SH"} else [text]:
                self.identifiers.add(value.strip(" \0"))
                self.exact.setdefault(tag, set()).add(_plain(value))

    def _keep(self, tag: int, vr: str, raw: bytes, character_set: bytes) -> None:
        """Note what is delivered on purpose; a date even if no rule names it."""
        if vr in {"DA", "DT"}:
            self.kept_dates.update(_dates_in(raw))
        elif Action.KEEP in self._actions.get(tag, ()) or self._plan.top.program(tag, vr).kept:
            self.kept.update(_plain(text) for text in _decode(raw, character_set).split("\\"))

    def _changes(self, tag: int, vr: str) -> bool:
        """Whether the recipe does something to an attribute: by its text, or by the plan."""
        found = self._changed.get((tag, vr))
        if found is None:
            actions = self._actions.get(tag, set())
            if actions - {Action.KEEP, Action.ADD}:
                found = Action.KEEP not in actions
            else:
                program = self._plan.top.program(tag, vr)
                # A rule that asks for a value (values:, a check for words) changes only what
                # holds one.
                found = program.removed is not None or any(
                    step.values is None for step in program.steps
                )
            self._changed[tag, vr] = found
        return found


_WANTED: Final = frozenset(("PN", "UI", "DA", "DT"))


@lru_cache(maxsize=_PLANS)
def _actions(plan: Plan) -> dict[int, set[Action]]:
    """Return what the recipe does to attributes that it names one by one.

    A technical value stays where it has its form: a maker may be called like the patient.
    """
    found: dict[int, set[Action]] = {}
    for rule in plan.recipe.header:
        stays = isinstance(rule.value, Function) and rule.value.name == "technical_value"
        if isinstance(rule.selector, TagSelector) and not stays:
            found.setdefault(rule.selector.tag, set()).add(rule.action)
    return found


def gate(
    archive: ArchiveInfo,
    real: RealValues,
    plan: Plan,
    identifiers: StudyIdentifiers,
    *,
    thorough: bool = False,
) -> GateReport:
    """Read an archive again; let it pass, or delete it and fail the batch.

    Parameters
    ----------
    archive
        As ``Archive.close`` gave it.
    real
        What was gathered from the sources.
    plan
        The recipe that was applied.
    identifiers
        The study's: the jitter tells shifted dates from real ones, the codes are no secrets.
    thorough
        Search all native pixels too, not a sample.

    Raises
    ------
    FailBatch
        Something real is in the archive, or it is not what the recipe promised, or it cannot
        be read. The text names members by number and attributes by tag, never a value.
    """
    try:
        return _gate(archive, real, plan, identifiers.jitter, thorough=thorough)
    except BaseException as failure:
        archive.path.unlink(missing_ok=True)
        if isinstance(failure, SenditError) or not isinstance(failure, Exception):
            raise
        raise FailBatch(
            f"the last gate could not judge the archive ({_where(failure)}): it is deleted, and "
            "nothing of the batch is delivered. This is a fault in sendit: report it"
        ) from None


def _gate(
    archive: ArchiveInfo, real: RealValues, plan: Plan, days: int, *, thorough: bool
) -> GateReport:
    check = _Check(real, plan, days)
    totals = Totals()
    trouble = ""
    try:
        for part in reread(archive.path, totals, thorough=thorough):
            check.part(part)
        if totals.members != archive.members or _crc32c(archive.path) != archive.crc32c:
            trouble = "the archive on the disk is not the one that was written"
    except Unreadable as unreadable:
        trouble = str(unreadable)
    except OSError:
        trouble = "the archive cannot be read"
    if trouble or check.findings:
        raise FailBatch(_explain(trouble, check.findings))
    return GateReport(totals.members, totals.inflated, totals.passed, check.values)


def _where(failure: Exception) -> str:
    """Return an unforeseen failure's kind and its place in the code: its text may hold values."""
    frames = traceback.extract_tb(failure.__traceback__)
    place = f", {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(failure).__name__}{place}"


def _crc32c(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(_READ):
            checksum = google_crc32c.extend(checksum, data)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()


def _explain(trouble: str, findings: Sequence[Finding]) -> str:
    if trouble:
        return f"the last gate stopped the archive, which is deleted: {trouble}"
    kinds = Counter((finding.kind, finding.place) for finding in findings)
    first = {(finding.kind, finding.place): finding.member for finding in reversed(findings)}
    told = [
        f"{kind} in {place} ({count} times, first in member {first[kind, place]})"
        for (kind, place), count in kinds.most_common(SHOWN)
    ]
    more = f", and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
    return (
        "the last gate stopped the archive, which is deleted: it would have carried "
        f"{'; '.join(told)}{more}. If the recipe lets these attributes through, mend it"
    )


class _Check:
    """What is looked for, compiled; and what was found."""

    def __init__(self, real: RealValues, plan: Plan, days: int) -> None:
        self.findings: list[Finding] = []
        self._needles: dict[tuple[bytes, Around], _Needle] = {}
        self._words: dict[str, str] = {}
        self._pairs: set[tuple[str, str]] = set()
        self._exact: dict[int, set[str]] = {}
        self._dates: set[str] = set()
        self._plan = plan
        self._actions = _actions(plan)
        self._removed = _promised(plan)
        self._judged: set[tuple[int, str, bytes]] = set()
        self._character_set = b""
        self._gather(real, days)
        self._order = list(self._needles.values())
        self._search = Search(
            [literal(needle.value) for needle in self._order],
            [needle.caseless for needle in self._order],
        )
        self.values = len(self._order) + len(self._words) + len(self._pairs)

    # What to look for -------------------------------------------------------------------

    def _gather(self, real: RealValues, days: int) -> None:
        allowed = _literals(self._plan) | PLACEHOLDERS | real.kept
        for tag, values in real.exact.items():
            self._exact[tag] = {value for value in values - allowed if _tells(value)}
        for uid in sorted(real.uids - {text.encode() for text in real.kept}):
            self._add(_Needle("a real UID", uid, Around.UID))
        for raw, character_set, patient in sorted(real.names):
            text = _decode(raw, character_set)
            if _plain(text) in allowed:
                continue
            if b"\x1b" in raw and patient:
                for group in raw.split(b"="):
                    if len(group) >= 2 * LEAST_RAW:
                        self._add(_Needle("a real name", group, Around.ANYTHING))
            for group_text in text.split("="):
                self._name(group_text, real.character_sets, allowed, patient=patient)
        for text in sorted(real.identifiers):
            if _plain(text) not in allowed:
                self._identifier(text)
        jitters = {days} | _jitters(self._plan)
        moved = {moved for day in real.dates for by in jitters if (moved := _moved(day, by))}
        for day in sorted(real.dates - moved - real.kept_dates - PLACEHOLDER_DATES - allowed):
            self._dates.add(day)
            self._add(_Needle("a real date", day.encode(), Around.DATE))

    def _add(self, needle: _Needle) -> None:
        self._needles[needle.value, needle.around] = needle

    def _name(
        self, text: str, character_sets: Iterable[bytes], allowed: frozenset[str], *, patient: bool
    ) -> None:
        from sendit.deidentify.words import is_allowed  # noqa: PLC0415 - only where there are names

        parts = [part for part in _words_of(text) if part not in allowed]
        for first, second in permutations(parts, 2):
            if _weight(first) + _weight(second) < LEAST_RAW or first == second:
                continue
            self._pairs.add((first, second))
            if patient and max(_weight(first), _weight(second)) < LEAST_RAW_WORD:
                for one, two in _forms((first, second), character_sets):
                    for between in _BETWEEN:
                        both = one + between + two
                        self._add(_Needle("a real name", both, Around.NAME, caseless=True))
        if not patient:
            return
        for part in parts:
            if _weight(part) < LEAST_WORD or part.isdigit() or is_allowed(part):
                continue
            self._words[part] = "a part of the patient's name"
            if _weight(part) >= LEAST_RAW_WORD:
                for (form,) in _forms((part,), character_sets):
                    self._add(
                        _Needle(
                            "a part of the patient's name",
                            form,
                            Around.NAME,
                            caseless=True,
                            in_text=False,
                        )
                    )

    def _identifier(self, text: str) -> None:
        plain = _plain(text)
        if not _tells(plain):
            return
        digits = any(character.isdigit() for character in plain)
        if len(plain) >= LEAST_RAW and (digits or len(plain) >= 2 * LEAST_RAW):
            for (form,) in _forms((text.strip(" \0"),), ()):
                letters = any(character.isalpha() for character in plain)
                self._add(
                    _Needle(
                        "a real identifier",
                        form,
                        Around.IDENTIFIER,
                        caseless=True,
                        in_pixels=letters,
                    )
                )
        elif digits and len(plain) >= LEAST_WORD and _WORD.fullmatch(plain):
            self._words[plain] = "a real identifier"

    # Looking for it ---------------------------------------------------------------------

    def part(self, part: Head | Pixels | Tail) -> None:
        """Look at one part of a member."""
        if isinstance(part, Pixels):
            for needle, start, end in self._hits(part.data):
                if needle.in_pixels and needle.around.clear(part.data, start, end):
                    self._find(part.number, needle.kind, "the pixel data")
            return
        elements = part.elements
        if isinstance(part, Head):
            self._head(part)
            elements = part.new
        for tag in part.sequences:
            if tag in self._removed or (tag >> 16 & 1 and not self._plan.private):
                self._find(part.number, "what the recipe removes", tag_text(tag))
        self._judge_all(part.number, part.data, elements)
        self._bytes(part.number, part.data, part.elements)

    def _head(self, head: Head) -> None:
        if any(head.meta[:128]):
            self._find(head.number, "something", "the preamble")
        for tag, *_ in head.meta_elements:
            if tag & 0xFFFF not in _FILE_META:
                self._find(head.number, "something", f"file meta {tag_text(tag)}")
        name = head.name.encode()
        for needle, start, end in self._hits(name):
            if needle.around.clear(name, start, end):
                self._find(head.number, needle.kind, "the member's name")
        self._bytes(head.number, head.meta, head.meta_elements)
        character_set = b""
        for tag, _, start, end, path in head.elements:
            if tag >= _CHARACTER_SET:
                if tag == _CHARACTER_SET and not path:
                    character_set = head.data[start:end].strip(_PAD)
                break
        if character_set != self._character_set:
            self._character_set = character_set
            self._judged.clear()  # the same bytes are another text

    def _judge_all(self, number: int, data: bytes, elements: Sequence[Place]) -> None:
        judged = self._judged
        for tag, vr, start, end, _ in elements:
            key = (tag, vr, data[start:end])
            if (
                key not in judged
                and not self._judge(number, *key)
                and end - start <= _REMEMBERED
                and len(judged) < _MOST_REMEMBERED
            ):
                judged.add(key)

    def _judge(self, number: int, tag: int, vr: str, raw: bytes) -> bool:
        """Judge one element by what it says; whether there is a finding."""
        before = len(self.findings)
        if tag in self._removed or (tag >> 16 & 1 and not self._plan.private):
            self._find(number, "what the recipe removes", tag_text(tag))
        elif vr in _TEXTS or (vr == "UN" and len(raw) <= _REMEMBERED):
            text = _decode(raw, self._character_set)
            exact = self._exact.get(tag)
            if exact and any(_plain(value) in exact for value in text.split("\\")):
                self._find(number, "the real value", tag_text(tag))
                return True
            words = _words_of(text)
            if not self._pairs.isdisjoint(pairwise(words)):
                self._find(number, "a real name", tag_text(tag))
            elif self._is_identifying(tag):
                for kind in {self._words[word] for word in words if word in self._words}:
                    self._find(number, kind, tag_text(tag))
        return len(self.findings) > before

    def _is_identifying(self, tag: int) -> bool:
        """Whether an attribute is private, or the recipe says that it may identify."""
        return bool(tag >> 16 & 1) or bool(self._actions.get(tag, set()) - {Action.KEEP})

    def _bytes(self, number: int, data: bytes, elements: Sequence[Place]) -> None:
        """Look at all bytes at once: what no element shows is seen too."""
        for needle, start, end in self._hits(data):
            place = next((place for place in elements if place[2] < end <= place[3]), None)
            vr = place[1] if place else ""
            if (vr in _TEXTS and not needle.in_text) or (
                needle.around is Around.DATE and vr == "UI"
            ):
                continue
            if needle.around.clear(data, start, end):
                self._find(number, needle.kind, tag_text(place[0]) if place else "bytes")
        if self._dates:
            for _, end in _written_dates().hits(data):
                found = _WRITTEN.search(data, max(0, end - _LONGEST_DATE), end + 4)
                if found and not self._dates.isdisjoint(_readings(found)):
                    place = next((place for place in elements if place[2] < end <= place[3]), None)
                    self._find(number, "a real date", tag_text(place[0]) if place else "bytes")

    def _hits(self, data: bytes) -> Iterator[tuple[_Needle, int, int]]:
        for pattern, end in self._search.hits(data):
            needle = self._order[pattern]
            yield needle, end - len(needle.value), end

    def _find(self, number: int, kind: str, place: str) -> None:
        self.findings.append(Finding(number, kind, place))


class Around(Enum):
    """What may not stand around a value that is found, because it would be another's part."""

    ANYTHING = 0
    UID = 1
    DATE = 2
    IDENTIFIER = 3
    NAME = 4

    def clear(self, data: bytes, start: int, end: int) -> bool:
        """Whether the value at ``start`` to ``end`` stands on its own."""
        before, after = data[max(0, start - 2) : start], data[end : end + 6]
        match self:
            case Around.UID:
                return not (
                    before[-1:].isdigit()
                    or before[-1:] == b"."
                    or after[:1].isdigit()
                    or (after[:1] == b"." and after[1:2].isdigit())
                )
            case Around.DATE:
                # A date with a time behind it is a date.
                return not before[-1:].isdigit() and (
                    not after[:1].isdigit() or _TIME.fullmatch(after) is not None
                )
            case Around.IDENTIFIER:
                decimal = before[-1:] == b"." and before[:1].isdigit()
                fraction = after[:1] == b"." and after[1:2].isdigit()
                return not (before[-1:].isalnum() or after[:1].isalnum() or decimal or fraction)
            case Around.NAME:
                return not (before[-1:].isalpha() or after[:1].isalpha())
            case _:
                return True


@dataclass(frozen=True, slots=True)
class _Needle:
    """Bytes to look for."""

    kind: str
    value: bytes
    around: Around
    caseless: bool = False
    in_text: bool = True
    in_pixels: bool = True


_READ: Final = 1 << 20
_TIME: Final = re.compile(rb"(?:[01]\d|2[0-3])[0-5]\d[0-6]\d")
_REMEMBERED: Final = 1 << 12
_MOST_REMEMBERED: Final = 1 << 18
_FILE_META: Final = frozenset((0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013))


@lru_cache(maxsize=_PLANS)
def _promised(plan: Plan) -> frozenset[int]:
    """Return the attributes that are nowhere, by the recipe's own words."""
    removed: set[int] = {_TRAILING_PADDING}
    spared: set[int] = set()
    broad = False
    for rule in plan.recipe.header:
        if isinstance(rule.selector, TagSelector):
            (removed if rule.action is Action.REMOVE else spared).add(rule.selector.tag)
        elif rule.action is not Action.REMOVE:
            broad = True
    promised = removed - spared
    if broad:
        # A pattern may spare an attribute: only the plan knows.
        promised = {tag for tag in promised if plan.top.program(tag, vr_of(tag)).removed}
    return frozenset(promised)


@lru_cache(maxsize=_PLANS)
def _literals(plan: Plan) -> frozenset[str]:
    """Return the texts that the recipe itself writes: they are no secret."""
    return frozenset(
        _plain(rule.value.text) for rule in plan.recipe.header if isinstance(rule.value, Literal)
    )


@lru_cache(maxsize=_PLANS)
def _jitters(plan: Plan) -> frozenset[int]:
    """Return the numbers of days by which the recipe itself moves dates."""
    found = set()
    for rule in plan.recipe.header:
        match rule.value:
            case Literal(text) if rule.action is Action.JITTER:
                found.add(int(text))
            case Function("jitter", arguments):
                given = dict(arguments)
                found.add(int(given.get("days", "1")) + 365 * int(given.get("years", "0")))
    return frozenset(found)


def _moved(day: str, by: int) -> str:
    try:
        return f"{date.fromisoformat(day) + timedelta(days=by):%Y%m%d}"
    except (ValueError, OverflowError):
        return ""


def _dates_in(raw: bytes) -> Iterator[str]:
    for value in raw.split(b"\\"):
        found = _DATE.match(value.strip(_PAD))
        if found:
            day = b"".join(found.groups()).decode()
            if "1850" <= day[:4] <= "2150" and _moved(day, 0):
                yield day


@cache
def _written_dates() -> Search:
    """Return a search for dates as people write them, whatever the date."""
    month = rb"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
    year = rb"(18|19|20|21)\d\d"
    patterns = [
        rb"\b" + year + rb"[-/.:]\d\d?[-/.:]\d\d?",
        rb"\b\d\d?[-/. ]\d\d?[-/. ]" + year + rb"\b",
        rb"\d\d?[-/. ]{1,2}" + month + rb"[-/., ]{1,2}" + year,
        month + rb"[-/. ]{1,2}\d\d?[-/., ]{1,2}" + year,
    ]
    return Search(patterns, [True] * len(patterns))


_LONGEST_DATE: Final = 20
_WRITTEN: Final = re.compile(
    rb"(?<!\d)(?:(?P<y1>\d{4})[-/.:](?P<a1>\d\d?)[-/.:](?P<b1>\d\d?)"
    rb"|(?P<a2>\d\d?)[-/. ](?P<b2>\d\d?)[-/. ](?P<y2>\d{4})"
    rb"|(?P<a3>\d\d?)[-/. ]{1,2}(?P<m3>[a-z]{3})[a-z]{0,6}[-/., ]{1,2}(?P<y3>\d{4})"
    rb"|(?P<m4>[a-z]{3})[a-z]{0,6}[-/. ]{1,2}(?P<a4>\d\d?)[-/., ]{1,2}(?P<y4>\d{4}))(?!\d)",
    re.IGNORECASE,
)


def _readings(found: re.Match[bytes]) -> set[str]:
    """Return the dates, as yyyymmdd, that a written date may be."""
    parts = {name[0]: value for name, value in found.groupdict().items() if value is not None}
    year, first = int(parts["y"]), int(parts["a"])
    if "m" in parts:
        name = parts["m"].decode().lower()
        return {f"{year:04}{_MONTHS.index(name) + 1:02}{first:02}"} if name in _MONTHS else set()
    second = int(parts["b"])
    return {f"{year:04}{first:02}{second:02}", f"{year:04}{second:02}{first:02}"}


def _decode(raw: bytes, character_set: bytes) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode_bytes(raw, list(_codecs(character_set)), set(b"\\^=\r\n\t\f"))
    except (LookupError, ValueError):
        return raw.decode("latin-1")


@lru_cache(maxsize=64)
def _codecs(character_set: bytes) -> tuple[str, ...]:
    """Return Python's codecs for a value of (0008,0005)."""
    terms = [term.strip() for term in character_set.decode("latin-1").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tuple(convert_encodings(terms if len(terms) > 1 else terms[0]))
        except (LookupError, ValueError):
            return ("latin-1",)


def _forms(words: tuple[str, ...], character_sets: Iterable[bytes]) -> set[tuple[bytes, ...]]:
    """Return the ways in which words stand in bytes: all alike in codec, case and accents."""
    codecs = {"utf-8", "latin-1", *(codec for one in character_sets for codec in _codecs(one))}
    forms = set()
    bare = tuple(_bare(word) for word in words)
    for spelled in {words, bare}:
        if all(word.isascii() for word in spelled):
            forms.add(tuple(word.encode() for word in spelled))
            continue
        for case in (str, str.upper, str.title):
            for codec in codecs:
                with suppress(LookupError, ValueError):
                    forms.add(tuple(case(word).encode(codec) for word in spelled))
    return forms


def _bare(word: str) -> str:
    """Return a word without its accents."""
    apart = unicodedata.normalize("NFKD", word)
    return "".join(character for character in apart if not unicodedata.combining(character))


def _plain(text: str) -> str:
    """Return a value as it is compared: no padding, empty components, or case."""
    return unicodedata.normalize("NFKC", text).strip(" \0^=").casefold()


def _words_of(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _weight(word: str) -> int:
    """Return how much a word tells, in Latin letters: a Chinese character tells three."""
    return len(word.encode())


def _tells(plain: str) -> bool:
    """Whether a value says anything: more than zeros, crosses and dashes."""
    return bool(set(plain) - set("0x.-_?* "))
