"""Collect the real values of a batch while it is de-identified, and recognise them afterwards.

:class:`RealValues` collects the source values of attributes that the recipe changes. When the
archive is finished, a :class:`Matcher` is built from them: :meth:`Matcher.read` finds them in
text, whatever the spelling; other bytes are searched for :attr:`Matcher.needles`.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum, StrEnum
from functools import lru_cache
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Final, NamedTuple

from pydicom.charset import convert_encodings, decode_bytes

from sendit.deidentify import spellings
from sendit.deidentify.common_words import PLACEHOLDERS, is_common, is_common_word
from sendit.deidentify.people import PATIENT_NAMES, words_of
from sendit.deidentify.people_matcher import MIN_WORD, TRUNCATED
from sendit.deidentify.private_form import usual_creator
from sendit.deidentify.uids import holds_date
from sendit.gate.coincidence import PLACES, PLACES_AND_STEPS
from sendit.recipe.functions import KEPT_BY_FORM
from sendit.recipe.model import Action, Function, Literal, TagSelector
from sendit.vendors.blocks import MANUFACTURER

if TYPE_CHECKING:
    from sendit.deidentify.plan import Plan, Program, SequencePath
    from sendit.dicom.scan import Buffer, Element, Header

MIN_RAW: Final = 6
"""Minimum length of an identifier that is searched for everywhere, in characters."""

MIN_RAW_WORD: Final = 6
"""Minimum length of a part of a name that is searched for in binary data, in letters."""

MAX_NOTED_BYTES: Final = 1 << 12
"""Bytes of a value that are collected; identifiers and names are never longer."""

MAX_NEEDLE_BYTES: Final = 64
"""Bytes of a value that are searched for in binary data; enough to identify it."""

MAX_PARTS: Final = 12
"""A name of more words is treated as a text: only adjacent words count."""

IDENTIFIERS: Final = frozenset(
    (
        *(0x00080050, 0x00080051, 0x00080080, 0x00080081, 0x00080092, 0x00080094),
        *(0x00081010, 0x00081040, 0x00100020, 0x00100021, 0x00101000, 0x00101001),
        *(0x00101005, 0x00101040, 0x00101050, 0x00101060, 0x00101080, 0x00101090),
        *(0x00102154, 0x00102155, 0x00181000, 0x00181002, 0x00181003, 0x00181004),
        *(0x00181008, 0x00200010, 0x00201070, 0x00321033, 0x00380010, 0x00380060),
        *(0x00380300, 0x00400009, 0x00400253, 0x00401001, 0x00402010, 0x00402016),
        0x00402017,
    )
)
"""Attributes that identify an accession, patient, admission, order, device or place."""

PATIENT_PERSON_NAMES: Final = PATIENT_NAMES - {0x00100012}
"""The patient's names with VR PN: all but Name to Use (LT)."""

REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
STUDY_INSTANCE_UID: Final = 0x0020000D

PLACEHOLDER_DATES: Final = frozenset(
    ("00010101", "18000101", "18991230", "19000101", "19700101", "20000101", "99991231")
)

FOLDER: Final = 0
"""Pseudo-tag for the name of the batch's folder."""

_PLANS: Final = 8  # recipes cached per process
_PAD: Final = b" \0"
_KNOWN_UIDS: Final = "1.2.840.10008."
_UID_ROOT: Final = 14  # characters by which a UID is searched for
_BETWEEN: Final = (b"^", b" ", b", ", b",", b"_", b".", b"-", b"", b"^ ", b"=")
_DATE: Final = re.compile(rb"(\d{4})[-./]?(\d\d)[-./]?(\d\d)")
_UID: Final = re.compile(r"\d+(?:\.\d+){3,}")
_RUN_OF_DIGITS: Final = re.compile(r"\d+")
_UNSPACED: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
_WANTED: Final = frozenset(("PN", "UI", "DA", "DT"))


class RealValueKind(StrEnum):
    """Kinds of real values, as named in the gate's messages."""

    NAME = "a real name"
    NAME_PART = "a part of the patient's name"
    IDENTIFIER = "a real identifier"
    DATE = "a real date"
    UID = "a real UID"


class RealValueMatch(NamedTuple):
    """A real value found in a text.

    Attributes
    ----------
    kind
        What kind of value it is.
    sources
        Tags of the attributes that it comes from.
    key
        Its normalised form (:mod:`~sendit.deidentify.spellings`); never shown.
    """

    kind: RealValueKind
    sources: frozenset[int]
    key: str


class Boundary(Enum):
    """The kind of boundary that a match needs, so that it is not part of a longer value."""

    ANYTHING = 0
    UID = 1
    DATE = 2
    IDENTIFIER = 3
    NAME = 4

    def clear(self, data: bytes, start: int, end: int) -> bool:
        """Whether the value from ``start`` to ``end`` is not part of a longer one."""
        before, after = data[max(0, start - 2) : start], data[end : end + 6]
        decimal = before[-1:] == b"." and before[:1].isdigit()
        match self:
            case Boundary.UID:
                return not (before[-1:].isdigit() or before[-1:] == b".")
            case Boundary.DATE:
                # A date may be followed by a time; the decimals of a number are not a date.
                return not (before[-1:].isdigit() or decimal) and (
                    not after[:1].isdigit() or _TIME.match(after) is not None
                )
            case Boundary.IDENTIFIER:
                fraction = after[:1] == b"." and after[1:2].isdigit() and after[1:2] != b"0"
                return not (before[-1:].isalnum() or after[:1].isalnum() or decimal or fraction)
            case Boundary.NAME:
                return not (before[-1:].isalpha() or after[:1].isalpha())
            case _:
                return True


_TIME: Final = re.compile(rb"(?:[01]\d|2[0-3])[0-5]\d(?:[0-6]\d|(?!\d))")


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes to search for.

    Attributes
    ----------
    kind
        What kind of value they belong to.
    value
        The bytes; the search ignores the case of ASCII letters.
    around
        The boundary that a match needs.
    sources
        Tags of the attributes that the value comes from.
    in_samples
        Whether to search native and run-length encoded pixels, too.
    """

    kind: RealValueKind
    value: bytes
    around: Boundary
    sources: frozenset[int]
    in_samples: bool = True


class RealValues:
    """The values of a batch that its archive must not contain.

    Parameters
    ----------
    plan
        The compiled recipe. An attribute that it keeps or does not name is not a secret; this
        is looked up for each position, as the engine does.

    Attributes
    ----------
    names
        Names, as bytes with their character set and whether they are the patient's, to the
        attributes they come from. ``identifiers``, ``uids`` and ``dates`` map likewise.
    exact
        By attribute, the values (:func:`plain`) that it must not still have.
    kept_dates, kept
        Dates that are delivered, and values that a KEEP delivers on purpose.
    left_names, left_words
        Names that are delivered because no rule removes them, and their words.
    left_places
        Names of places (institution, station) that are delivered for the same reason.
    left_references
        UIDs of images that are delivered in references, for the same reason.
    flagged
        Technical values, codes and numbers in which the gate found any of these: the attribute
        and the value's bytes without padding, as they would have been delivered.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen: set[tuple[SequencePath, bool, int, bytes]] = set()
        self.names: dict[tuple[bytes, bytes, bool], set[int]] = {}
        self.identifiers: dict[str, set[int]] = {}
        self.exact: dict[int, set[str]] = {}
        self.uids: dict[str, set[int]] = {}
        self.dates: dict[str, set[int]] = {}
        self.kept_dates: set[str] = set()
        self.kept: set[str] = set()
        self.left_names: set[str] = set()
        self.left_words: set[str] = set()
        self.left_places: set[str] = set()
        self.left_references: set[str] = set()
        self.character_sets: set[bytes] = set()
        self.flagged: set[tuple[int, bytes]] = set()

    def see(self, header: Header) -> None:
        """Collect the values of a source file."""
        data, seen = header.data, self._seen
        manufacturer = (header.raw(MANUFACTURER) or b"").decode("latin-1")
        character_set = header.character_set
        self.character_sets.add(character_set)
        places: list[tuple[SequencePath, Sequence[Element], bool]] = [
            (self._plan.top, header.elements, False)
        ]
        while places:
            level, elements, removed = places.pop()
            for element in elements:
                tag, vr, _, start, end, items = element
                if items is not None:
                    if items:
                        creator = _creator_of(element, elements, data, manufacturer)
                        places.extend(self._items(level, element, creator, removed=removed))
                elif (vr in _WANTED or tag in IDENTIFIERS) and start != end:
                    raw = data[start : min(end, start + MAX_NOTED_BYTES)]
                    if (level, removed, tag, raw) not in seen:
                        seen.add((level, removed, tag, raw))
                        creator = _creator_of(element, elements, data, manufacturer)
                        program = _program(level, tag, vr, creator)
                        self._note(tag, vr, raw, character_set, level, None if removed else program)

    def _items(
        self,
        level: SequencePath,
        element: Element,
        creator: str | None,
        *,
        removed: bool,
    ) -> Iterator[tuple[SequencePath, Sequence[Element], bool]]:
        """Yield the items of a sequence with their path, and whether the sequence is removed."""
        tag, items = element[0], element[5]
        child = level
        if not removed:
            program = _program(level, tag, "SQ", creator)
            removed = program.removed is not None or any(
                step.values is None and not isinstance(step.value, Function)
                for step in program.steps
            )
            # A function applied to a sequence applies to everything in it that no rule names.
            inherited = Function("dummy") if program.steps and not removed else None
            child = level.child(tag, creator or "", kept=program.kept, inherited=inherited)
        for number, (_, inner) in enumerate(items or ()):
            yield child.item(number), inner, removed

    def add_identifier(self, text: str) -> None:
        """Add an identifier that comes from no header: the name of the batch's folder."""
        self.identifiers.setdefault(text, set()).add(FOLDER)

    def _note(  # noqa: PLR0917 called for every new value
        self,
        tag: int,
        vr: str,
        raw: bytes,
        character_set: bytes,
        level: SequencePath,
        program: Program | None,
    ) -> None:
        """Collect a value; ``program`` is None if its sequence is removed.

        Such a value is not a secret if the recipe leaves the attribute alone elsewhere.
        """
        if program is not None:
            if not _changes(program):
                on_purpose = program.kept or level.kept
                self._keep(tag, vr, raw, character_set, on_purpose=on_purpose)
                return
        elif not tag >> 16 & 1 and not _changes(self._plan.top.program(tag, vr)):
            return
        if vr == "PN":
            for name in raw.split(b"\\"):
                whose = (name.strip(_PAD), character_set, tag in PATIENT_PERSON_NAMES)
                self.names.setdefault(whose, set()).add(tag)
                self.exact.setdefault(tag, set()).add(plain(decode(name, character_set)))
        elif vr == "UI":
            self._note_uids(tag, raw)
        elif vr in {"DA", "DT"}:
            for day in _dates_in(raw):
                self.dates.setdefault(day, set()).add(tag)
        else:
            text = decode(raw, character_set)
            for value in text.split("\\") if vr in {"LO", "SH"} else [text]:
                self.identifiers.setdefault(value.strip(" \0"), set()).add(tag)
                self.exact.setdefault(tag, set()).add(plain(value))

    def _note_uids(self, tag: int, raw: bytes) -> None:
        for written in raw.split(b"\\"):
            uid = written.strip(_PAD)
            text = uid.decode("latin-1")
            if self._plan.remaps_dated_uids(tag) and not holds_date(uid):
                self.kept.add(plain(text))  # even if another attribute is remapped
            elif len(text) > 8 and not text.startswith(_KNOWN_UIDS):
                self.uids.setdefault(text, set()).add(tag)

    def _keep(
        self, tag: int, vr: str, raw: bytes, character_set: bytes, *, on_purpose: bool
    ) -> None:
        """Collect a value that is delivered: dates, names, places and references always, others
        only if a KEEP keeps them."""
        if vr in {"DA", "DT"}:
            self.kept_dates.update(_dates_in(raw))
            return
        values = decode(raw, character_set).split("\\")
        if vr == "PN":
            self.left_names.update(map(plain, values))
            self.left_words.update(word for name in values for word in spellings.words(name))
        if tag in PLACES:
            self.left_places.update(map(plain, values))
        if tag == REFERENCED_SOP_INSTANCE_UID:
            self.left_references.update(map(plain, values))
        if on_purpose:
            self.kept.update(map(plain, values))


def _program(level: SequencePath, tag: int, vr: str, creator: str | None) -> Program:
    """Return the program of an attribute at its position, as the engine looks it up."""
    if creator is None:
        return level.program(tag, vr)
    return level.private_program(tag, vr, creator)


def _creator_of(
    element: Element, elements: Sequence[Element], data: Buffer, manufacturer: str
) -> str | None:
    """Return the creator of a private attribute's block, as the engine takes it to be.

    None for a standard attribute, empty if there is none.
    """
    tag = element[0]
    if not tag & 0x10000:
        return None
    reserved = tag & 0xFFFF0000 | (tag & 0xFF00) >> 8
    for other, _, _, start, end, _ in elements:
        if other == reserved:
            return bytes(data[start:end]).decode("latin-1").strip(" \0")
    return usual_creator(tag, manufacturer)


def _changes(program: Program) -> bool:
    """Whether an attribute is changed whatever its value is.

    A rule with a condition on the value (``values:``, a check for words) changes only matches.
    """
    return program.removed is not None or any(
        step.values is None and not (step.action is Action.REMOVE and step.value is not None)
        for step in program.steps
    )


class Matcher:
    """Finds a batch's real values in texts and bytes.

    Parameters
    ----------
    real
        The values collected from the source files.
    plan
        The compiled recipe that was applied; texts that it writes are not secrets.
    days
        The study's jitter in days: another date, shifted, may equal a real date.

    Attributes
    ----------
    needles
        What to search for in binary data.
    exact
        By attribute, the values (:func:`plain`) that it must not still have.
    left_references
        UIDs of images that references may hold unchanged.
    """

    left_references: Set[str]

    def __init__(self, real: RealValues, plan: Plan, days: int) -> None:
        self._needles: dict[tuple[bytes, Boundary], Needle] = {}
        self._words: dict[str, RealValueMatch] = {}
        self._cleaned: dict[str, RealValueMatch] = {}
        self._short: dict[str, RealValueMatch] = {}
        self._pairs: dict[tuple[str, str], RealValueMatch] = {}
        self._unspaced: dict[str, RealValueMatch] = {}
        self._keys: dict[str, RealValueMatch] = {}
        self._beginnings = {""}
        self._dates: dict[str, RealValueMatch] = {}
        self._uids: dict[str, RealValueMatch] = {}
        self._character_sets = real.character_sets
        # A word of a name that is delivered is not a secret in another name.
        self._own_words = _own_words(plan) | real.left_words
        allowed = literals(plan) | PLACEHOLDERS | real.kept
        self.exact = {
            tag: {value for value in values - allowed if is_meaningful(value)}
            for tag, values in real.exact.items()
        }
        for uid, tags in sorted(real.uids.items()):
            if uid not in real.kept:
                self._uid(uid, frozenset(tags))
        # A study that keeps its own UID can be identified by it, and so can its images: leaving
        # references to them unchanged discloses nothing more.
        study_stays = not _changes(plan.top.program(STUDY_INSTANCE_UID, "UI"))
        self.left_references = real.left_references if study_stays else frozenset()
        for (raw, character_set, patient), tags in sorted(real.names.items()):
            text = decode(raw, character_set)
            left = plain(text) in real.left_names and all(tag >> 16 & 1 for tag in tags)
            if plain(text) not in allowed and not left:
                self._name(raw, text, frozenset(tags), patient=patient)
        for text, tags in sorted(real.identifiers.items()):
            is_left = plain(text) in real.left_places and tags <= PLACES
            if plain(text) not in allowed and not is_left and not is_common(plain(text)):
                self._identifier(text, frozenset(tags))
        jitters = {days} | _jitters(plan)
        moved = {to for day in real.dates for by in jitters if (to := _moved(day, by))}
        excused = moved | real.kept_dates | PLACEHOLDER_DATES | allowed
        for day, tags in sorted(real.dates.items()):
            if day not in excused:
                date_match = self._dates[day] = RealValueMatch(
                    RealValueKind.DATE, frozenset(tags), day
                )
                for run in (day, day[6:] + day[4:6] + day[:4], day[4:] + day[:4]):
                    self._add(date_match, run.encode(), Boundary.DATE, in_samples=False)
        self.needles = list(self._needles.values())

    def __len__(self) -> int:
        tables = (self.needles, self._words, self._short, self._pairs, self._keys, self._uids)
        return sum(map(len, tables))

    # Matching ---------------------------------------------------------------------------

    def read(self, text: str, *, identifying: bool, cleaned: bool = False) -> set[RealValueMatch]:
        """Return the real values in a text, whatever their spelling.

        Parameters
        ----------
        text
            The text, decoded.
        identifying
            Whether identifiers of four or five characters count, too.
        cleaned
            Whether names that are also radiology terms (Stone, Long) count, because a rule
            removes names from this text.
        """
        folded = spellings.fold(text)
        tokens = spellings.tokens(folded)
        seen = set()
        if cleaned and self._cleaned:
            seen = {self._cleaned[token.form] for token in tokens if token.form in self._cleaned}
        seen |= {self._words[token.form] for token in tokens if token.form in self._words}
        if self._pairs:
            forms = [token.form for token in tokens if not token.form.isdigit()]
            seen.update(self._pairs[pair] for pair in pairwise(forms) if pair in self._pairs)
        if self._unspaced and not folded.isascii():
            seen.update(known for name, known in self._unspaced.items() if name in folded)
        if self._keys:
            for key in spellings.keys_in(folded, tokens, self._beginnings):
                if key in self._keys:
                    seen.add(self._keys[key])
        if identifying and self._short:
            seen.update(self._short[word] for word in _ALNUM.findall(folded) if word in self._short)
        if self._uids:
            seen.update(self._uids[uid] for uid in _UID.findall(folded) if uid in self._uids)
        return seen | self._days(folded)

    def read_days(self, text: str) -> set[RealValueMatch]:
        """Return the real dates in a text."""
        return self._days(spellings.fold(text))

    def _days(self, folded: str) -> set[RealValueMatch]:
        dates = self._dates
        return {dates[day] for day in spellings.days(folded) if day in dates} if dates else set()

    def read_day(self, day: bytes) -> set[RealValueMatch]:
        """Return the real date that equals these eight digits, if any."""
        date_match = self._dates.get(day.decode())
        return set() if date_match is None else {date_match}

    def read_number(self, value: str) -> set[RealValueMatch]:
        """Return the real values that equal a number as a whole, ignoring zero decimals."""
        digits = _WHOLE.fullmatch(value)
        if digits is None:
            return set()
        known = (self._keys.get(digits[1]), self._dates.get(digits[1]))
        return {each for each in known if each is not None}

    def read_uids(self, raw: bytes) -> set[RealValueMatch]:
        """Return the real UIDs among the values of an attribute with VR UI."""
        uids = self._uids
        return {
            uids[uid]
            for value in raw.split(b"\\")
            if (uid := value.strip(_PAD).decode("latin-1")) in uids
        }

    def confirm(self, needle: Needle, data: bytes, start: int) -> RealValueMatch | None:
        """Return the real value that a match of a needle belongs to.

        Parameters
        ----------
        needle
            The needle.
        data
            The searched bytes.
        start
            Offset of the match in them.

        Returns
        -------
        RealValueMatch or None
            None if the match is part of a longer value, or of another UID.
        """
        end = start + len(needle.value)
        if not needle.around.clear(data, start, end):
            return None
        if needle.kind is not RealValueKind.UID:
            return RealValueMatch(needle.kind, needle.sources, "")
        written = _WRITTEN_UID.match(data, start)
        return self._uids.get(written[0].decode()) if written else None

    # Building the tables ----------------------------------------------------------------

    def _add(
        self, match: RealValueMatch, value: bytes, around: Boundary, *, in_samples: bool = True
    ) -> None:
        cut = value[:MAX_NEEDLE_BYTES]
        around = around if len(cut) == len(value) else Boundary.ANYTHING
        # The search ignores the case of ASCII letters, so both cases share a needle.
        key = cut.lower(), around
        known = self._needles.get(key)
        self._needles[key] = Needle(
            match.kind,
            cut if known is None else known.value,
            around,
            match.sources if known is None else match.sources | known.sources,
            in_samples or (known is not None and known.in_samples),
        )

    def _uid(self, uid: str, tags: frozenset[int]) -> None:
        self._uids[uid] = RealValueMatch(RealValueKind.UID, tags, uid)
        root = uid[:_UID_ROOT].encode("latin-1")
        self._needles[root, Boundary.UID] = Needle(RealValueKind.UID, root, Boundary.UID, tags)

    def _name(self, raw: bytes, text: str, tags: frozenset[int], *, patient: bool) -> None:
        match = RealValueMatch(RealValueKind.NAME, tags, "")
        if b"\x1b" in raw and patient:
            for group in raw.split(b"="):
                if len(group) >= 2 * MIN_RAW:
                    self._add(match, group, Boundary.ANYTHING)
        for group_text in text.split("="):
            self._name_group(group_text, match, patient=patient)

    def _name_group(self, text: str, match: RealValueMatch, *, patient: bool) -> None:
        """Add a component group of a name: alphabetic, ideographic or phonetic (PS3.5 6.2.1)."""
        components = [spellings.words(part) for part in text.split("^")]
        parts = [word for words in components for word in words]
        near = len(parts) <= MAX_PARTS
        pairs = permutations(parts, 2) if near else _both_ways(parts)
        for first, second in pairs:
            self._pair(first, second, match)
        if not (patient and near):
            return
        for word in words_of(text, patient=True):
            is_left = word in self._own_words
            if len(word) >= MIN_WORD and is_common_word(word) and not is_left:
                form = spellings.skeleton(word)
                self._cleaned[form] = RealValueMatch(RealValueKind.NAME_PART, match.sources, form)
        self._forms_of_pairs(text, match)
        self._parts(text, components, match.sources)

    def _pair(self, first: str, second: str, match: RealValueMatch) -> None:
        heavy = _weight(first) + _weight(second) >= MIN_RAW
        if not heavy or first == second or (is_common_word(first) and is_common_word(second)):
            return
        self._pairs[first, second] = match
        joined = first + second
        if not is_common_word(joined):
            self._words.setdefault(joined, match)
            if _UNSPACED.search(joined):
                self._unspaced[joined] = match

    def _forms_of_pairs(self, text: str, match: RealValueMatch) -> None:
        """Add needles for pairs whose parts are too short to be searched for alone."""
        for first, second in permutations(_words_as_written(text), 2):
            short = max(_weight(first), _weight(second)) < MIN_RAW_WORD
            if not short or _weight(first) + _weight(second) < MIN_RAW or first == second:
                continue
            if is_common_word(first) and is_common_word(second):
                continue
            for one, two in _forms((first, second), self._character_sets):
                for between in _BETWEEN:
                    self._add(match, one + between + two, Boundary.NAME)

    def _parts(self, text: str, components: list[list[str]], tags: frozenset[int]) -> None:
        """Add the words of the patient's name one by one, and forms derived from them."""
        for part in (word for words in components for word in words):
            self._part(part, tags)
        family = "".join(components[0])
        given = "".join(components[1]) if len(components) > 1 else ""
        derived = [family, given]
        if given and not _UNSPACED.search(given) and len(family) + 1 >= MIN_RAW:
            derived += [family + given[0], given[0] + family]
        if len(family) > TRUNCATED:
            derived.append(family[:TRUNCATED])
        for word in derived:
            if _weight(word) >= MIN_RAW:
                self._part(word, tags)
        for word in _words_as_written(text):
            if _weight(word) < MIN_RAW_WORD or not self._is_distinctive(word):
                continue
            match = RealValueMatch(RealValueKind.NAME_PART, tags, word)
            for (form,) in _forms((word,), self._character_sets):
                self._add(match, form, Boundary.NAME)

    def _part(self, word: str, tags: frozenset[int]) -> None:
        if _weight(word) >= MIN_WORD and self._is_distinctive(word):
            self._words.setdefault(word, RealValueMatch(RealValueKind.NAME_PART, tags, word))

    def _is_distinctive(self, word: str) -> bool:
        return not (word in self._own_words or is_common_word(word))

    def _identifier(self, text: str, tags: frozenset[int]) -> None:
        value = plain(text)
        if not is_meaningful(value):
            return
        digits = any(character.isdigit() for character in value)
        if len(value) >= MIN_RAW and (digits or len(value) >= 2 * MIN_RAW):
            letters = any(character.isalpha() for character in value)
            key = spellings.key(text)
            match = RealValueMatch(RealValueKind.IDENTIFIER, tags, key)
            for (form,) in _forms((text.strip(" \0"),), self._character_sets if letters else ()):
                self._add(match, form, Boundary.IDENTIFIER, in_samples=letters)
            number = spellings.key(spellings.without_decimals(text))
            for one in {key, number, *_cores(number, tags)}:
                if len(one) >= MIN_RAW:
                    self._key(one, tags, letters=letters and one == key)
        elif digits and len(value) >= MIN_WORD and _ALNUM.fullmatch(value):
            self._short[value] = RealValueMatch(RealValueKind.IDENTIFIER, tags, value)

    def _key(self, key: str, tags: frozenset[int], *, letters: bool) -> None:
        known = self._keys.get(key)
        sources = tags | known.sources if known else tags
        match = self._keys[key] = RealValueMatch(RealValueKind.IDENTIFIER, sources, key)
        self._beginnings.update(key[:end] for end in range(1, len(key) + 1))
        self._add(match, key.encode(), Boundary.IDENTIFIER, in_samples=letters)


_ALNUM: Final = re.compile(r"[^\W_]+")
_WHOLE: Final = re.compile(r"[+-]?0*(\d{6,})(?:\.0*)?")
_WRITTEN_UID: Final = re.compile(rb"\d+(?:\.\d+)*")


def _cores(key: str, tags: frozenset[int]) -> list[str]:
    """Return the digits of a patient's identifier that are surrounded by letters."""
    runs = _RUN_OF_DIGITS.findall(key)
    if len(runs) != 1 or runs[0] == key or tags <= PLACES_AND_STEPS:
        return []
    return [runs[0].lstrip("0")]


def _both_ways(parts: list[str]) -> Iterator[tuple[str, str]]:
    for first, second in pairwise(parts):
        yield first, second
        yield second, first


def _words_as_written(text: str) -> list[str]:
    words = _ALNUM.findall(unicodedata.normalize("NFKC", text).casefold())
    return [word for word in words if not word.isdigit()]


@lru_cache(maxsize=_PLANS)
def actions_of(plan: Plan) -> dict[int, set[Action]]:
    """Return the actions of the recipe on attributes that it names individually.

    Rules that let codes and technical values stay are left out: a maker may have the patient's
    name.
    """
    actions: dict[int, set[Action]] = {}
    for rule in plan.recipe.header:
        stays = isinstance(rule.value, Function) and rule.value.name in KEPT_BY_FORM
        if isinstance(rule.selector, TagSelector) and not stays:
            actions.setdefault(rule.selector.tag, set()).add(rule.action)
    return actions


@lru_cache(maxsize=_PLANS)
def cleaned_by(plan: Plan) -> frozenset[int]:
    """Return the individually named attributes whose text the recipe cleans."""
    return frozenset(
        rule.selector.tag
        for rule in plan.recipe.header
        if isinstance(rule.selector, TagSelector)
        and isinstance(rule.value, Function)
        and rule.value.name in {"clean_content", "clean_text"}
    )


@lru_cache(maxsize=_PLANS)
def literals(plan: Plan) -> frozenset[str]:
    """Return the texts that the recipe itself writes, which are not secrets."""
    return frozenset(
        plain(rule.value.text) for rule in plan.recipe.header if isinstance(rule.value, Literal)
    )


@lru_cache(maxsize=_PLANS)
def _own_words(plan: Plan) -> frozenset[str]:
    """Return the words of the texts that sendit itself writes into every object."""
    texts = (*literals(plan), *(meaning for _, meaning in plan.coverage.codes), _METHOD)
    return frozenset(word for text in texts for word in spellings.words(text))


_METHOD: Final = "sendit basic profile clean descriptors retain longitudinal temporal option dates"


@lru_cache(maxsize=_PLANS)
def _jitters(plan: Plan) -> frozenset[int]:
    """Return the fixed numbers of days by which the recipe shifts dates."""
    jitters = set()
    for rule in plan.recipe.header:
        match rule.value:
            case Literal(text) if rule.action is Action.JITTER:
                jitters.add(int(text))
            case Function("jitter", arguments):
                given = dict(arguments)
                jitters.add(int(given.get("days", "1")) + 365 * int(given.get("years", "0")))
    return frozenset(jitters)


def _moved(day: str, by: int) -> str:
    try:
        return f"{date.fromisoformat(day) + timedelta(days=by):%Y%m%d}"
    except (ValueError, OverflowError):
        return ""


def _dates_in(raw: bytes) -> Iterator[str]:
    for value in raw.split(b"\\"):
        date = _DATE.match(value.strip(_PAD))
        if date:
            day = b"".join(date.groups()).decode()
            if "1850" <= day[:4] <= "2150" and _moved(day, 0):
                yield day


def decode(raw: bytes, character_set: bytes) -> str:
    """Decode a value; if its character set does not apply, decode it as Latin-1."""
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
    """Return the encodings of words in each codec, case and treatment of accents."""
    codecs = {"utf-8", "latin-1", *(codec for one in character_sets for codec in _codecs(one))}
    forms = set()
    for spelled in {words, tuple(map(_bare, words)), tuple(map(_transliterated, words))}:
        plain_ascii = all(word.isascii() for word in spelled)
        for case in (str,) if plain_ascii else (str, str.upper, str.title):
            for codec in codecs:
                with suppress(LookupError, ValueError):
                    forms.add(tuple(case(word).encode(codec) for word in spelled))
    return forms


def _bare(word: str) -> str:
    """Return a word without its accents."""
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _transliterated(word: str) -> str:
    """Return a word with its umlauts transliterated (``ae`` for ``ä``)."""
    return _bare(word.translate(_UMLAUTS))


_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa"})


def plain(text: str) -> str:
    """Normalise a value for comparison: no padding, no empty components, no case."""
    return unicodedata.normalize("NFKC", text).strip(" \0^=").casefold()


def _weight(word: str) -> int:
    """Return the length of a word in Latin letters; a Chinese character counts as three."""
    return len(word.encode())


_FILLERS: Final = frozenset("0x.-_?* ")


def is_meaningful(value: str) -> bool:
    """Whether a value is more than filler: zeros, crosses, dashes."""
    return not _FILLERS.issuperset(value)
