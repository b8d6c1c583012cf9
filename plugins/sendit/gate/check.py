"""The last gate: search a finished archive for the real values of its batch.

While a study is de-identified, :class:`~sendit.gate.real_values.RealValues` collects the
identifying values of the attributes that the recipe changes. :func:`gate` reads the finished
archive back from disk (:mod:`sendit.gate.archive_reader` shares no code with the writer) and
searches it for these values, and for attributes that the recipe promised to remove. It reports
the members with findings, so that the archive can be rewritten without them.

What it searches for, and where (docs/gate.md gives the reasons):

==================  ==========================================================================
UIDs                complete, anywhere
names               any two parts of a name, adjacent in either order or written as one word,
                    in any text; of the patient's name, also a single part of four letters or
                    more that is not a radiology term, a maker or a model; long parts in all
                    bytes
identifiers         six characters or more: complete, anywhere, whatever separators, zeros or
                    letters surround them; four or five with a digit: as a word of a text that
                    the recipe names; shorter ones: if the same attribute still holds them
dates               in every spelling, anywhere but in UIDs; except dates that equal another of
                    the study's dates after the jitter, and dates that the recipe keeps
==================  ==========================================================================

A value that means something else in its attribute does not count
(:mod:`sendit.gate.coincidence`). Native pixel samples are numbers, not text: only a sample of
the members is searched.
"""

from __future__ import annotations

import base64
import re
import traceback
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import google_crc32c
from pydicom._dicom_dict import DicomDictionary

from sendit.archive import ArchiveInfo
from sendit.deidentify import private_form
from sendit.dicom.scan import CHARACTER_SET, TRAILING_PADDING, vr_of
from sendit.errors import FailBatch, SenditError
from sendit.gate import coincidence
from sendit.gate.archive_reader import (
    Damaged,
    Head,
    MemberPart,
    Pixels,
    Place,
    Tail,
    Totals,
    Unreadable,
    read_archive,
)
from sendit.gate.real_values import (
    FOLDER,
    MIN_RAW,
    REFERENCED_SOP_INSTANCE_UID,
    Boundary,
    Matcher,
    Needle,
    RealValueKind,
    RealValueMatch,
    RealValues,
    actions_of,
    cleaned_by,
    decode,
    plain,
)
from sendit.gate.search import Search, literal
from sendit.gate.vendor_values import numbers_and_text
from sendit.recipe.attributes import tag_text
from sendit.recipe.effect import is_carried_out
from sendit.recipe.model import Action, TagSelector
from sendit.vendors.canon import IMAGE_COMMENTS

if TYPE_CHECKING:
    from sendit.deidentify.plan import Plan
    from sendit.pixels.boxes import Expected

MAX_SHOWN: Final = 5
"""Maximum number of findings that an error message lists."""

PIXEL_DATA: Final = "the pixel data"

_KEYWORDS: Final = {tag: entry[4] for tag, entry in DicomDictionary.items()}
_PLANS: Final = 8  # recipes cached per process
_PAD: Final = b" \0"
_STRINGS: Final = frozenset(
    (
        *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN"),
        *("SH", "ST", "TM", "UC", "UR", "UT"),
    )
)
_NUMBERS: Final = frozenset(("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))
_BULK: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_READ: Final = 1 << 20
_MAX_CACHED_BYTES: Final = 1 << 12  # of a value, in the cache of checked values
_MAX_CACHED: Final = 1 << 18  # number of checked values in the cache
_MAX_RUN_BYTES: Final = 1 << 20  # longer binary values are not searched for runs of text
_FILE_META: Final = frozenset((0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013))
_RUN: Final = re.compile(rb"[\t\n\r\x20-\x7e]{6,}")
_WIDE_RUN: Final = re.compile(rb"(?:[\x20-\x7e]\0){6,}|(?:\0[\x20-\x7e]){6,}")
_CONTROLS: Final = bytes({*range(32), 127} - {*b"\t\n\f\r\x1b"})
_SMALL_NUMBERS: Final = re.compile(
    rb"(?: *[+-]?\d{0,5}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?[ \0]*(?:\\|$))*"
)
_TIME: Final = re.compile(rb"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-6]\d(?:\.\d{1,6})?)?)?[ \0]*")
_SMALL_NUMBER: Final = re.compile(r"(?<!\d)\d{1,3}(?!\d)")
_DATE_TIME: Final = re.compile(rb"(\d{8})(?:\d{2,6}(?:\.\d*)?)?(?:[+-]\d{4})? *")
_UID: Final = re.compile(rb"[0-9.\\]*")
_FIRST_SCAN: Final = re.compile(rb"\xff[\xda\x93]")  # JPEG's SOS, JPEG 2000's SOD
_MAX_DATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be in the archive: its kind and place, never the value.

    Attributes
    ----------
    member
        Number of the archive member, from 1.
    kind
        What was found, for the message.
    place
        Where it was found, for the message.
    tag
        The attribute that holds it; None outside of attributes.
    sources
        The attributes that the value comes from.
    """

    member: int
    kind: str
    place: str
    tag: int | None = None
    sources: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind} in {self.place}"


class Stopped(FailBatch):
    """The gate found something. The message says what, where, and what to do next.

    Attributes
    ----------
    members
        Why each affected member must not be delivered, by its number (from 1).
    thorough
        Whether there is a finding in pixel data, of which only a sample was searched, so that
        the rewritten archive must be searched completely.
    """

    def __init__(self, text: str, findings: Sequence[Finding]) -> None:
        super().__init__(text)
        self.members: Mapping[int, str] = {
            finding.member: str(finding) for finding in reversed(findings)
        }
        self.thorough = any(finding.place == PIXEL_DATA for finding in findings)


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate read.

    Attributes
    ----------
    members
        Number of archive members.
    inflated
        Bytes inflated and searched.
    passed
        Bytes of native pixels that were skipped.
    values
        Number of values searched for.
    """

    members: int
    inflated: int
    passed: int
    values: int


def gate(
    archive: ArchiveInfo,
    real: RealValues,
    plan: Plan,
    jitter: int,
    *,
    thorough: bool = False,
) -> GateReport:
    """Check a finished archive; delete it unless it passes.

    Parameters
    ----------
    archive
        As returned by ``Archive.finish``.
    real
        The values collected from the source files.
    plan
        The compiled recipe that was applied.
    jitter
        The study's jitter in days; distinguishes shifted dates from real ones.
    thorough
        Search all native pixels instead of a sample.

    Returns
    -------
    GateReport
        What was read, if there is no finding.

    Raises
    ------
    Stopped
        Members contain a real value or an attribute that the recipe removes, or cannot be read.
        The message names members by number and attributes by tag, never a value.
    FailBatch
        The archive as a whole cannot be read, or the gate itself failed.
    """
    try:
        return _gate(archive, real, plan, jitter, thorough=thorough)
    except BaseException as failure:
        archive.path.unlink(missing_ok=True)
        if isinstance(failure, SenditError) or not isinstance(failure, Exception):
            raise
        raise FailBatch(
            f"the last gate could not judge the archive ({_where(failure)}): it is deleted, and "
            "nothing of the batch is delivered. This is a bug in sendit: report it"
        ) from None


def _gate(
    archive: ArchiveInfo, real: RealValues, plan: Plan, days: int, *, thorough: bool
) -> GateReport:
    check = _Check(Matcher(real, plan, days), plan)
    totals = Totals()
    try:
        for part in read_archive(archive.path, totals, thorough=thorough):
            check.part(part)
        if totals.members != archive.members or _crc32c(archive.path) != archive.crc32c:
            raise Unreadable("the archive on the disk is not the one that was written")
    except Unreadable as unreadable:
        raise FailBatch(_STOPPED.format(unreadable)) from None
    except OSError:
        raise FailBatch(_STOPPED.format("the archive cannot be read")) from None
    if check.findings:
        real.flagged |= check.flagged
        raise Stopped(_explain(check.findings, plan), check.findings)
    return GateReport(totals.members, totals.inflated, totals.passed, check.values)


def check_blanked(archive: Path, expected: Mapping[str, Expected]) -> None:
    """Compare the pixels of blanked members with their originals; delete the archive unless they
    pass.

    Parameters
    ----------
    archive
        The finished ``.tar.gz``.
    expected
        What each blanked member must hold, by the member's name.

    Raises
    ------
    Stopped
        A region that should be blank is not, or samples outside it differ from the original.
    FailBatch
        The archive cannot be read.
    """
    if not expected:
        return
    from sendit.pixels.recheck import recheck  # noqa: PLC0415 imports decoders that few batches need

    try:
        problems = recheck(archive, expected)
    except Exception as failure:  # noqa: BLE001 nothing is delivered, whatever the cause
        archive.unlink(missing_ok=True)
        raise FailBatch(_STOPPED.format(f"it cannot be read ({_where(failure)})")) from None
    if problems:
        archive.unlink(missing_ok=True)
        findings = [Finding(number, why, PIXEL_DATA) for number, why in problems.items()]
        raise Stopped(_STOPPED.format("; ".join(sorted(set(problems.values())))), findings)


_STOPPED: Final = "the last gate stopped the archive, which is deleted: {}"


def _where(failure: Exception) -> str:
    """Return an unexpected error's type and location; its message may contain values."""
    frames = traceback.extract_tb(failure.__traceback__)
    place = f", {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(failure).__name__}{place}"


def _crc32c(path: Path) -> str:
    """Return the archive's CRC32C in base64, computed without the writer's code."""
    checksum = 0
    with path.open("rb") as file:
        while data := file.read(_READ):
            checksum = google_crc32c.extend(checksum, data)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()


def _explain(findings: Sequence[Finding], plan: Plan) -> str:
    """Describe the findings, the origin of each value, and which rule to add."""
    kinds = Counter((finding.kind, finding.place) for finding in findings)
    first = {(finding.kind, finding.place): finding for finding in reversed(findings)}
    described = []
    for (kind, place), count in kinds.most_common(MAX_SHOWN):
        finding = first[kind, place]
        described.append(
            f"{kind} in {place} ({count} times, first in member {finding.member})"
            f"{_origin(finding)}{_advice(finding, plan)}"
        )
    more = f"; and {len(kinds) - MAX_SHOWN} more" if len(kinds) > MAX_SHOWN else ""
    return _STOPPED.format(f"it would have carried {'; '.join(described)}{more}")


def _origin(finding: Finding) -> str:
    sources = sorted(finding.sources)
    if not sources:
        return ""
    names = [_label(tag) if tag != FOLDER else "the folder's name" for tag in sources[:MAX_SHOWN]]
    return f", which the batch has as {' and '.join(names)}"


def _advice(finding: Finding, plan: Plan) -> str:
    """Return the rule that would let the next archive pass."""
    tag = finding.tag
    if tag is None or tag >> 16 <= 2:
        return ""
    name = _KEYWORDS.get(tag) or tag_text(tag)
    actions = actions_of(plan).get(tag, set())
    if tag >> 16 & 1:
        what = "a rule keeps this private attribute: delete that rule"
    elif Action.KEEP in actions:
        what = f"the recipe keeps it on purpose: replace its KEEP by REMOVE {name}"
    elif actions:
        what = f"the recipe's rule for it leaves this: use REMOVE {name} instead"
    else:
        what = f"no rule names it: add REMOVE {name}, or REPLACE {name} func:clean_text"
    return f" ({what}; next to a bundled recipe, write the line into a recipe of your own)"


def _label(tag: int) -> str:
    """Return an attribute's tag and keyword."""
    return f"{tag_text(tag)} {_KEYWORDS.get(tag, '')}".strip()


class _Check:
    """Checks the parts of an archive and collects findings."""

    def __init__(self, known: Matcher, plan: Plan) -> None:
        self.findings: list[Finding] = []
        self.values = len(known)
        self.flagged: set[tuple[int, bytes]] = set()
        self._known = known
        self._plan = plan
        self._actions = actions_of(plan)
        self._creators = private_form.creators() | plan.creators
        self._cleaned = cleaned_by(plan)
        self._removed = _promised(plan)
        self._judged: set[tuple[int, str, bytes]] = set()
        self._clean_numbers: set[str] = set()
        self._names: set[str] = set()
        self._character_set = b""
        needles = known.needles
        self._search = Search([literal(needle.value) for needle in needles], [True] * len(needles))

    def part(self, part: MemberPart) -> None:
        """Check one part of a member."""
        match part:
            case Damaged():
                self._find(part.number, part.why, "its structure")
            case Pixels():
                self._pixels(part)
            case _:
                self._elements(part)

    def _elements(self, part: Head | Tail) -> None:
        elements = part.elements
        if isinstance(part, Head):
            self._head(part)
            # Elements that equal the previous member's were checked there; once there are
            # findings, all are checked again, because a finding belongs to each member.
            elements = part.elements if self.findings else part.new
        for tag in part.sequences:
            if tag in self._removed or (tag >> 16 & 1 and not self._stays(tag)):
                self._find(part.number, "what the recipe removes", _label(tag), tag)
        self._judge_all(part.number, part.data, elements)
        meta = part.meta_elements if isinstance(part, Head) else ()
        self._bytes(part.number, part.data, part.elements, meta)

    def _head(self, head: Head) -> None:
        if any(head.meta[:128]):
            self._find(head.number, "something", "the preamble")
        for tag, *_ in head.meta_elements:
            if tag & 0xFFFF not in _FILE_META:
                self._find(head.number, "something", f"file meta {tag_text(tag)}", tag)
        self._name(head)
        character_set = b""
        for tag, _, start, end, path in head.elements:
            if tag >= CHARACTER_SET:
                if tag == CHARACTER_SET and not path:
                    character_set = head.data[start:end].strip(_PAD)
                break
        if character_set != self._character_set:
            self._character_set = character_set
            self._judged.clear()  # the same bytes now mean another text
        self._judge_all(head.number, head.meta, head.meta_elements)
        if not head.data.startswith(head.meta):  # deflated
            self._bytes(head.number, head.meta, head.meta_elements)

    def _name(self, head: Head) -> None:
        """Check a member's name. Most names differ only in small numbers: each form once."""
        form = _SMALL_NUMBER.sub("0", head.name)
        if form in self._names:
            return
        matches = {
            match
            for match in self._known.read(head.name, identifying=True)
            # The name contains the series number and the instance number.
            if match.kind is not RealValueKind.IDENTIFIER
            or not coincidence.identifier_is_coincidence(match.sources, match.key, 0, "IS")
        }
        for each in _in_order(matches):
            self._find(head.number, each.kind, "the member's name", sources=each.sources)
        if not matches and len(self._names) < _MAX_CACHED:
            self._names.add(form)

    def _judge_all(self, number: int, data: bytes, elements: Sequence[Place]) -> None:
        judged = self._judged
        for tag, vr, start, end, _ in elements:
            key = (tag, vr, data[start:end])
            if (
                key not in judged
                and not self._judge(number, *key)
                and end - start <= _MAX_CACHED_BYTES
                and len(judged) < _MAX_CACHED
            ):
                judged.add(key)

    def _judge(self, number: int, tag: int, vr: str, raw: bytes) -> bool:
        """Check one element according to its VR; return whether there is a finding."""
        before = len(self.findings)
        if tag in self._removed or (tag >> 16 & 1 and not self._stays(tag)):
            self._find(number, "what the recipe removes", _label(tag), tag)
        elif (tag >> 16 & 1 or tag == IMAGE_COMMENTS) and self._vendors(number, tag, vr, raw):
            pass
        elif vr == "UI" and _UID.fullmatch(raw.rstrip(_PAD)):
            self._tell(number, self._known.read_uids(raw), tag, vr)
        elif vr in {"DS", "IS"} and _SMALL_NUMBERS.fullmatch(raw) and tag not in self._known.exact:
            pass  # most of the values that differ between files: positions
        elif vr == "TM" and _TIME.fullmatch(raw) and tag not in self._known.exact:
            pass  # and times
        elif vr in {"DA", "DT"} and (day := _DATE_TIME.fullmatch(raw)):
            self._tell(number, self._known.read_day(day[1]), tag, vr)
        elif vr in _STRINGS or vr == "UI":
            self._text(number, tag, vr, decode(raw, self._character_set))
        elif vr in _BULK:
            if len(raw) <= _MAX_CACHED_BYTES and raw.rstrip(_PAD).translate(None, _CONTROLS) == (
                raw.rstrip(_PAD)
            ):
                self._text(number, tag, vr, decode(raw, self._character_set))
            elif len(raw) <= _MAX_RUN_BYTES:
                self._text(number, tag, vr, _runs(raw))
        if len(self.findings) == before:
            return False
        if self._plan.removes_alone(tag, vr):
            self._note(number, tag, vr, raw)
        return True

    def _note(self, number: int, tag: int, vr: str, raw: bytes) -> None:
        """Flag an element with a finding, and those of its values that cause it."""
        self.flagged.add((tag, raw.strip(_PAD)))
        values = raw.split(b"\\")
        if len(values) > 1:
            before = len(self.findings)
            for value in values:
                self._judge(number, tag, vr, value)
            del self.findings[before:]

    def _stays(self, tag: int) -> bool:
        """Whether the recipe keeps a private attribute; a private creator stays with its block."""
        plan = self._plan
        return plan.private and (0x10 <= tag & 0xFFFF <= 0xFF or plan.keeps_private(tag))

    def _vendors(self, number: int, tag: int, vr: str, raw: bytes) -> bool:
        """Check a vendor's attribute by its known structure; False if it has none."""
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:  # a private creator is a constant
            return raw.strip(_PAD).decode("latin-1") in self._creators
        understood = numbers_and_text(tag, vr, raw)
        if understood is None:
            return False
        numbers, text = understood
        clean = self._clean_numbers
        for value in numbers:
            if len(value) >= MIN_RAW and value not in clean:
                matches = self._known.read_number(value)
                self._tell(number, matches, tag, "DS")
                if not matches and len(clean) < _MAX_CACHED:
                    clean.add(value)
        if text:
            self._text(number, tag, vr, text)
        return True

    def _text(self, number: int, tag: int, vr: str, text: str) -> None:
        exact = self._known.exact.get(tag)
        if exact and any(plain(value) in exact for value in text.split("\\")):
            self._find(number, "the real value", _label(tag), tag, frozenset((tag,)))
            return
        if vr in {"DA", "DT"}:
            self._tell(number, self._known.read_days(text), tag, vr)
            return
        if vr in coincidence.WRITTEN_NUMBER_VRS:
            text = self._numbers(number, tag, vr, text)
        if text:
            matches = self._known.read(
                text, identifying=self._is_identifying(tag), cleaned=tag in self._cleaned
            )
            self._tell(number, matches, tag, vr)

    def _numbers(self, number: int, tag: int, vr: str, text: str) -> str:
        """Check the values that are plain numbers of their VR; return the other values."""
        rest = []
        for value in text.split("\\"):
            written = value.strip(" \0")
            if not coincidence.is_plain_number(vr, written):
                rest.append(value)
            elif vr in {"DS", "IS"} and len(written) >= MIN_RAW:
                self._tell(number, self._known.read_number(written), tag, vr)
        return "\\".join(rest)

    def _tell(self, number: int, matches: Iterable[RealValueMatch], tag: int, vr: str) -> None:
        """Record matches in an attribute, except values that mean something else there."""
        for kind, sources, key in _in_order(matches):
            if kind is RealValueKind.IDENTIFIER and coincidence.identifier_is_coincidence(
                sources, key, tag, vr
            ):
                continue
            if tag == REFERENCED_SOP_INSTANCE_UID and key in self._known.left_references:
                continue
            if kind is RealValueKind.NAME_PART and coincidence.name_is_coincidence(len(key), vr):
                continue
            self._find(number, kind, _label(tag), tag, sources)

    def _is_identifying(self, tag: int) -> bool:
        """Whether an attribute is private, or changed by a rule that names it."""
        return bool(tag >> 16 & 1) or bool(self._actions.get(tag, set()) - {Action.KEEP})

    def _bytes(
        self, number: int, data: bytes, elements: Sequence[Place], meta: Sequence[Place] = ()
    ) -> None:
        """Search all bytes at once, including those outside the elements' values."""
        for needle, start, end in self._hits(data):
            place = _place(elements, end) or (_place(meta, end) if meta else None)
            vr = place[1] if place else ""
            checked = vr in _STRINGS or vr == "UI" or (vr in _NUMBERS and not needle.in_samples)
            if checked and needle.around is not Boundary.ANYTHING:
                continue  # texts were checked as text; binary numbers spell digits by chance
            if (
                place
                and place[0] >> 16 & 1
                and not needle.in_samples
                and numbers_and_text(place[0], vr, data[place[2] : place[3]]) is not None
            ):
                continue  # digits among a vendor's numbers were checked as numbers
            match = self._known.confirm(needle, data, start)
            if match and place:
                self._tell(number, (match,), place[0], vr)
            elif match:
                self._find(number, match.kind, "bytes", sources=match.sources)

    def _pixels(self, part: Pixels) -> None:
        """Search pixel data. Compressed data may contain comments, and rarely spells by chance."""
        for needle, start, _ in self._hits(part.data):
            if needle.in_samples or not part.samples:
                match = self._known.confirm(needle, part.data, start)
                if match:
                    self._find(part.number, match.kind, PIXEL_DATA, sources=match.sources)
        if part.samples:
            return
        matches: set[RealValueMatch] = set()
        for _, end in _written_dates().hits(part.data):
            near = part.data[max(0, end - _MAX_DATE_BYTES) : end + 4].decode("latin-1")
            matches |= self._known.read_days(near)
        for segment in _around_scans(part):
            matches |= self._known.read(_runs(segment), identifying=False)
        for each in _in_order(matches):
            self._find(part.number, each.kind, PIXEL_DATA, sources=each.sources)

    def _hits(self, data: bytes) -> Iterator[tuple[Needle, int, int]]:
        needles = self._known.needles
        for pattern, end in self._search.hits(data):
            needle = needles[pattern]
            yield needle, end - len(needle.value), end

    def _find(
        self,
        number: int,
        kind: str,
        place: str,
        tag: int | None = None,
        sources: frozenset[int] = frozenset(),
    ) -> None:
        self.findings.append(Finding(number, str(kind), place, tag, sources))


def _in_order(matches: Iterable[RealValueMatch]) -> list[RealValueMatch]:
    """Return matches in the same order in every process, because the first one is reported."""
    return sorted(matches, key=lambda each: (each.kind, each.key, sorted(each.sources)))


def _place(elements: Sequence[Place], end: int) -> Place | None:
    """Return the element whose value contains the byte that ends at ``end``."""
    index = bisect_right(elements, end - 1, key=itemgetter(2)) - 1
    # An element of length zero starts where the next element's header does.
    return elements[index] if index >= 0 and end <= elements[index][3] else None


def _runs(data: bytes) -> str:
    """Return the readable parts of bytes, one line per run of printable ASCII or UTF-16."""
    runs = _RUN.findall(data)
    if data.count(0) > len(data) // 3:
        runs += [run.replace(b"\0", b"") for run in _WIDE_RUN.findall(data)]
    return "\n".join(run.decode("ascii") for run in runs)


def _around_scans(part: Pixels) -> Iterator[bytes]:
    """Yield the bytes of a fragment before its first coded sample and after its last."""
    if part.first:
        scan = _FIRST_SCAN.search(part.data)
        yield part.data[: scan.start() if scan else _MAX_CACHED_BYTES]
    if part.last:
        yield part.data[part.data.rfind(b"\xff\xd9") + 2 :][-_MAX_CACHED_BYTES:]


@lru_cache(maxsize=_PLANS)
def _promised(plan: Plan) -> frozenset[int]:
    """Return the attributes that the recipe removes at every level."""
    removed: set[int] = {TRAILING_PADDING}
    exempt: set[int] = set()
    broad = False
    for rule in filter(is_carried_out, plan.recipe.header):
        if isinstance(rule.selector, TagSelector):
            always = rule.action is Action.REMOVE and rule.value is None
            (removed if always else exempt).add(rule.selector.tag)
        elif rule.action is not Action.REMOVE:
            broad = True
    promised = removed - exempt
    if broad:
        # A broad rule may exempt an attribute: only the plan knows.
        promised = {tag for tag in promised if plan.top.program(tag, vr_of(tag)).removed}
    return frozenset(promised)


@cache
def _written_dates() -> Search:
    """Return a search for dates in the forms in which people write them."""
    month = rb"(jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]{0,6}"
    year = rb"(18|19|20|21)\d\d"
    patterns = [
        rb"\b" + year + rb"[-/.:]\d\d?[-/.:]\d\d?",
        rb"\b\d\d?[-/. ]\d\d?[-/. ]" + year + rb"\b",
        rb"\d\d?[-/. ]{0,2}" + month + rb"[-/., ]{0,2}" + year,
        month + rb"[-/. ]{1,2}\d\d?[-/., ]{1,2}" + year,
    ]
    return Search(patterns, [True] * len(patterns))
