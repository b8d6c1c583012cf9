"""Apply a plan to the bytes of one file.

Elements that stay are copied in runs; only elements that a rule changes are decoded and encoded
again, in the file's own encoding and character set. The result for an element is cached for the
study by its path and its bytes, because the files of a series differ in few elements. The result
for a file is cached as a template: in files with the same structure, only the elements that
differ are rewritten (:mod:`sendit.dicom.header_diff`).

Unlike deid, a ``values:`` rule compares literal text, ignoring case, with each element of a
sequence rather than with the sequence's printed form. JITTER removes a date that cannot be shifted
(or blanks it where the object's IOD needs the attribute), and leaves an attribute alone whose VR
cannot hold a date, as in deid.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter, lt
from typing import Final

from sendit.batch import Reason
from sendit.deidentify import functions, jitter
from sendit.deidentify.functions import REMOVED, ApplyToItems, ElementContext, Removed, StudyContext
from sendit.deidentify.own_functions import Caller
from sendit.deidentify.pixel_data import deliver_nested
from sendit.deidentify.plan import (
    BINARY_NUMBERS,
    BY_CODE,
    BYTES,
    CHECK_ACCESSION,
    CHECK_CHARACTER_SET,
    CHECK_PIXELS,
    CHECK_WORDS,
    DECIMALS,
    FLAGGED,
    ICON,
    KEEP,
    PASS,
    WRITTEN_NUMBERS,
    Change,
    Plan,
    Program,
    SequencePath,
    Step,
)
from sendit.deidentify.private_form import (
    ITEMS,
    clean,
    is_geometry,
    listed,
    usual_creator,
    with_dependents,
)
from sendit.deidentify.structured_content import NO_ITEM_CODES, ItemCodes, item_codes
from sendit.dicom import charset
from sendit.dicom.encode import (
    SEQUENCE_TAIL,
    NewElement,
    Part,
    build_items,
    head,
    item,
    one_vr,
    pack,
)
from sendit.dicom.encode import element as element_bytes
from sendit.dicom.header_diff import DiffHeader, HeaderTemplate, template_of
from sendit.dicom.iod import Need, need_of
from sendit.dicom.scan import (
    CHARACTER_SET,
    LONG_VRS,
    PIXEL_DATA_TAGS,
    UNDEFINED,
    Buffer,
    Element,
    Encoding,
    Header,
    Item,
    read_header,
    value_text,
    vr_of,
)
from sendit.errors import SkipInstance
from sendit.pixels.mosaic import is_mosaic
from sendit.recipe.literals import written
from sendit.recipe.matching import matches
from sendit.recipe.model import (
    Action,
    Function,
    ListEntry,
    Literal,
    OwnFunction,
    Value,
    Variable,
)
from sendit.recipe.profile import SafePrivate
from sendit.vendors.blocks import MANUFACTURER

MAX_CACHED_BYTES: Final = 16 << 20
"""Bytes of elements cached for a study before the cache is cleared."""

MAX_CACHED_VALUE: Final = 1 << 16
MAX_CACHED_STRUCTURE: Final = 1 << 18
"""Maximum size in bytes of a private structure whose result is cached."""

MAX_CREATORS: Final = 1 << 10

MAX_TEMPLATES: Final = 8
"""Templates kept for a study, of the most recently used structures."""

COPIED: Final = 1 << 20
"""Longer runs, in bytes, are passed on as views of the file instead of copies."""

_TEXT_DATES: Final = frozenset(("DA", "DT", "TM", "LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_CHECKED_TEXTS: Final = charset.TEXT_VRS | charset.ASCII_VRS
_DATES: Final = frozenset(("DA", "DT", "TM"))
_MAYBE_DATES: Final = frozenset(("AE", "CS", "DS", "IS"))
_CLEANING: Final = frozenset(("clean_content", "clean_text"))
_WORD: Final = re.compile(rb"[A-Za-z\x80-\xff]{2}")
_NUMBER_WORDS: Final = re.compile(rb"(?:[^A-Za-z\x80-\xff]|nan|inf(?:inity)?|e)*", re.IGNORECASE)
_PRINTED: Final = re.compile(rb"(?=.*[A-Za-z]{5})[\t\n\r\x20-\x7e]{6,}\0?", re.DOTALL)
"""Printable bytes with a word of five letters. Fewer occur by chance: b"q=J?}?U?d;_?" is three
wavelengths in a real file."""

_INTEGER: Final = re.compile(r"[+-]?\d{1,6}", re.ASCII)
_ENTRY_BYTES: Final = 250  # approximate overhead of a cache entry
_UNDEFINED_BYTES: Final = b"\xff\xff\xff\xff"


class _Unchanged:
    """The element's bytes stay unchanged."""


_UNCHANGED: Final = _Unchanged()
_Result = bytes | _Unchanged | None  # None: the element is removed
_Entry = tuple[_Result, tuple[tuple[str, int], ...]]
_BY_CODE: Final = Program(steps=(BY_CODE,))
_KEPT: Final[_Entry] = (_UNCHANGED, ((Change.KEPT, 1),))
_PRIVATE: Final[_Entry] = (None, ((Change.PRIVATE, 1),))
_REFUSED: Final[_Entry] = (None, ((Change.PRIVATE, 1),))  # for its value, not by the recipe
_GEOMETRY: Final[_Entry] = (None, ((Change.GEOMETRY, 1),))
_WORDS: Final[_Entry] = (None, ((Change.WORDS, 1),))
_NESTED_PIXELS: Final[_Entry] = (None, ((Change.NESTED_PIXELS, 1),))
_Current = bytes | _Unchanged | Removed | ApplyToItems | tuple[tuple[NewElement, ...], ...]


_Gathered = tuple[tuple[str, frozenset[str]], ...]
_ScopeKey = tuple[Encoding, bytes, str, str, _Gathered]


class Scope:
    """What an element's result depends on besides its path and its bytes.

    Attributes
    ----------
    encoding, character_set
        How values are encoded.
    sop_class, manufacturer
        SOP class and Manufacturer of the object.
    gathered
        The object's values for each ``%values`` list, in lower case.
    memo
        Results cached for this scope, by path and bytes.
    """

    __slots__ = (
        *("_others", "character_set", "encoding", "gathered", "manufacturer", "memo"),
        "sop_class",
    )

    def __init__(
        self,
        encoding: Encoding,
        character_set: bytes,
        sop_class: str,
        manufacturer: str = "",
        gathered: _Gathered = (),
    ) -> None:
        self.encoding = encoding
        self.character_set = character_set
        self.sop_class = sop_class
        self.manufacturer = manufacturer
        self.gathered = gathered
        self.memo: dict[SequencePath, dict[bytes, _Entry]] = {}
        self._others: dict[tuple[Encoding, bytes], Scope] = {}

    def memo_of(self, level: SequencePath) -> dict[bytes, _Entry]:
        """Return the results cached for this scope at a path."""
        memo = self.memo.get(level)
        if memo is None:
            memo = self.memo[level] = {}
        return memo

    def of_item(self, encoding: Encoding, elements: Sequence[Element], data: Buffer) -> Scope:
        """Return the scope of an item, which may have its own encoding and character set.

        Parameters
        ----------
        encoding
            Encoding of the item.
        elements
            Its elements.
        data
            The bytes of the file.
        """
        character_set = self.character_set
        for tag, _, _, value, end, _ in elements:
            if tag == CHARACTER_SET:
                character_set = bytes(data[value:end]).strip(b" \0")
            if tag >= CHARACTER_SET:
                break
        if encoding == self.encoding and character_set == self.character_set:
            return self
        key = (encoding, character_set)
        scope = self._others.get(key)
        if scope is None:
            scope = Scope(encoding, character_set, self.sop_class, self.manufacturer, self.gathered)
            scope._others = self._others
            self._others[key] = scope
        return scope


@dataclass(frozen=True, slots=True)
class Output:
    """A file's new data set.

    Attributes
    ----------
    scope
        The scope of its top level.
    before
        The bytes before the pixel data.
    pixels
        The pixel data element in the source; None if there is none or it is removed.
    after
        The bytes after the pixel data.
    """

    scope: Scope
    before: list[Part]
    pixels: Element | None
    after: list[Part]


@dataclass(frozen=True, slots=True)
class RewriteTemplate:
    """How one file was rewritten, to be applied to files with the same structure.

    Attributes
    ----------
    structure
        The structure of its header.
    scope
        Key of its scope.
    output
        The new bytes before the pixel data.
    slices
        For each element, its start and end in ``output``, and how it is counted.
    counts
        How its elements are counted in total, without the pixel data.
    creators
        Private creators by the first tag of their blocks.
    values
        New values of elements, cached by :meth:`Rewriter.value_after`.
    """

    structure: HeaderTemplate
    scope: _ScopeKey
    output: bytes
    slices: list[tuple[int, int, tuple[tuple[str, int], ...]]]
    counts: dict[str, int]
    creators: dict[int, str]
    values: dict[int, bytes | None] = field(default_factory=dict)


class Rewriter:
    """Applies a plan to the files of one study.

    Parameters
    ----------
    plan
        The compiled recipe.
    study
        The study's identifiers, jitter and UID map.

    Attributes
    ----------
    counts
        Number of elements by what happened to them (:class:`~sendit.deidentify.plan.Change`).
    """

    def __init__(self, plan: Plan, study: StudyContext) -> None:
        self._plan = plan
        self._study = study
        self._scopes: dict[_ScopeKey, Scope] = {}
        self._cached_bytes = 0
        self._templates: list[RewriteTemplate] = []
        self._names: dict[tuple[bytes, bytes], str] = {}
        self._reserved: dict[int, str] = {}
        self._created = self._matched = 0
        self._caller = Caller(plan.recipe.own, study.variables)
        self.counts: Counter[str] = Counter()

    def match_template(self, data: Buffer) -> DiffHeader | None:
        """Return the header of a file with the same structure as an earlier one, or None."""
        if self._plan.own:  # a site's function may depend on the whole object
            return None
        for index, template in enumerate(self._templates):
            header = template.structure.match(data)
            if header is not None:
                self._matched += 1
                if index:  # the next file probably belongs to the same series
                    self._templates.insert(0, self._templates.pop(index))
                return header
        return None

    def rewrite(self, header: Header) -> Output:
        """Rewrite a file's data set.

        Parameters
        ----------
        header
            From :meth:`match_template` if the file has the structure of an earlier one, else from
            :func:`~sendit.dicom.scan.read_header`.

        Raises
        ------
        SkipInstance
            It is a mosaic whose private geometry cannot be read, without which everything derived
            from the image would be rotated or mirrored.
        """
        self._plan.renew()
        self._caller.header = header
        if self._cached_bytes > MAX_CACHED_BYTES:
            self._scopes.clear()
            self._cached_bytes = 0
        lost = self.counts[Change.GEOMETRY]
        output = (
            self._rewrite_by_template(header)
            if isinstance(header, DiffHeader)
            else self._rewrite(header)
        )
        if self.counts[Change.GEOMETRY] > lost and is_mosaic(header):
            raise SkipInstance(Reason.MOSAIC)
        return output

    def _rewrite(self, header: Header) -> Output:
        """Rewrite the data set of a file that was scanned."""
        data, level = header.data, self._plan.top
        scope = self._scope(_scope_key(header, self._gather(header)))
        elements = self._with_private(_ordered(header.elements), data, scope)
        at = _index_of_pixels(elements)
        before, pixels, after = elements[:at], elements[at : at + 1], elements[at + 1 :]
        last = pixels[0][0] if pixels else UNDEFINED
        early = [tag for tag in self._plan.added if tag < last]
        late = [tag for tag in self._plan.added if tag > last]
        first = self._dataset(level, before, data, scope, self.counts, early)
        second = self._dataset(level, after, data, scope, self.counts, late)
        return Output(
            scope,
            _copied(data, before) if first is None else first,
            pixels[0] if pixels and self._keeps_pixels(pixels[0]) else None,
            _copied(data, after) if second is None else second,
        )

    def add_template(self, header: Header, output: Output) -> None:
        """Keep a template of a rewritten file, for files with the same structure.

        Costs as much as rewriting the file, so it stops soon if no file matches a template.
        """
        if (
            isinstance(header, DiffHeader)
            or self._plan.values
            or self._plan.own
            or self._created >= MAX_TEMPLATES + self._matched
            or output.after
        ):
            return
        structure = template_of(header)
        if structure is None:
            return
        self._created += 1
        template = self._template(structure, header)
        if template is not None and template.output == b"".join(output.before):
            self._templates.insert(0, template)
            del self._templates[MAX_TEMPLATES:]

    def _template(self, structure: HeaderTemplate, header: Header) -> RewriteTemplate | None:
        """Rewrite a file element by element, recording where each result is.

        There is no template of a file to which private creators are added.
        """
        key = _scope_key(header, ())
        scope, data = self._scope(key), header.data
        parts: list[bytes] = []
        slices = []
        counts: Counter[str] = Counter()
        end = 0
        elements = _with_added(structure.elements, self._plan.added)
        creators: dict[int, str] = {}
        private: dict[int, _Entry] = {}
        if self._plan.private:
            creators = self._creators(structure.elements, data, scope)
            if _missing_creators(structure.elements, creators, scope):
                return None
            private = self._private_entries(self._plan.top, structure.elements, data, scope)
        for element in elements:
            if element[0] & 0x10000:
                result, happened = private.get(element[2], _PRIVATE)
            else:
                result, happened = self._standard_entry(element, data, scope)
            part = (
                data[element[2] : element[4]] if isinstance(result, _Unchanged) else result or b""
            )
            counts.update(dict(happened))
            if element[2] >= 0:
                slices.append((end, end + len(part), happened))
            parts.append(part)
            end += len(part)
        return RewriteTemplate(structure, key, b"".join(parts), slices, counts, creators)

    def _rewrite_by_template(self, header: DiffHeader) -> Output:
        """Rewrite the data set of a file with the structure of an earlier one."""
        template = self._template_of(header)
        scope, data, counts = self._scope(template.scope), header.data, self.counts
        private: dict[int, _Entry] = {}
        if self._plan.private:
            for number, element in header.differing.items():
                if element[0] & 0x10000:
                    creator = template.creators.get(element[0] & 0xFFFFFF00, "")
                    entry = self._private_entry(self._plan.top, element, data, scope, creator)
                    start, end, _ = template.slices[number]
                    if (entry[0] is None) is not (start == end):
                        # Whether other elements of the block stay depends on it.
                        return self._rewrite(read_header(data))
                    private[number] = entry
        parts: list[Part] = []
        done = 0
        for kind, number in template.counts.items():
            counts[kind] += number
        for number, element in header.differing.items():
            start, end, happened = template.slices[number]
            if element[0] & 0x10000:
                if number not in private:
                    continue  # removed, as in the other file
                result, happens = private[number]
            else:
                result, happens = self._standard_entry(element, data, scope)
            if happens != happened:
                counts.subtract(dict(happened))
                counts.update(dict(happens))
            parts.append(template.output[done:start])
            if isinstance(result, _Unchanged):
                parts.append(data[element[2] : element[4]])
            elif result is not None:
                parts.append(result)
            done = end
        parts.append(template.output[done:])
        pixels = header.pixels
        kept = pixels if pixels is not None and self._keeps_pixels(pixels) else None
        return Output(scope, parts, kept, [])

    def _template_of(self, header: DiffHeader) -> RewriteTemplate:
        return next(each for each in self._templates if each.structure is header.template)

    def _scope(self, key: _ScopeKey) -> Scope:
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(*key)
        return scope

    def _keeps_pixels(self, element: Element) -> bool:
        program = self._plan.top.program(element[0], element[1])
        kept = program.removed is None and not program.steps
        self.counts[Change.KEPT if kept else Change.REMOVED] += 1
        return kept

    def value_after(self, header: Header, scope: Scope, tag: int) -> bytes | None:
        """Return the new value of a top-level element.

        Parameters
        ----------
        header
            The source file's header.
        scope
            Scope of its top level.
        tag
            The element.

        Returns
        -------
        bytes or None
            The value without padding; None if the element is absent or removed.
        """
        if isinstance(header, DiffHeader) and not header.differs(tag):
            values = self._template_of(header).values
            if tag not in values:
                values[tag] = self._value_after(header, scope, tag)
            return values[tag]
        return self._value_after(header, scope, tag)

    def _value_after(self, header: Header, scope: Scope, tag: int) -> bytes | None:
        element = header.element(tag) or (_absent(tag) if tag in self._plan.added else None)
        if element is None:
            return None
        program = self._plan.top.program(tag, "SQ" if element[5] is not None else element[1])
        if self._is_flagged(program, element, header.data):
            program = FLAGGED
        if program.removed is not None:
            return None
        result: _Result = _UNCHANGED
        if program.steps:
            result, _ = self._entry(program, self._plan.top, element, header.data, scope, "")
        if isinstance(result, _Unchanged):
            return (header.raw(tag) or b"").strip(b" \0")
        if result is None:
            return None
        long = scope.encoding.explicit and result[4:6].decode("latin-1") in LONG_VRS
        return result[12 if long else 8 :].strip(b" \0")

    # Data sets --------------------------------------------------------------------------

    def _dataset(  # noqa: PLR0912, PLR0915, PLR0917 hot loop: calls would cost more than the work
        self,
        level: SequencePath,
        elements: Sequence[Element],
        data: Buffer,
        scope: Scope,
        counts: Counter[str],
        added: Sequence[int] = (),
    ) -> list[Part] | None:
        """Return the parts of a data set's new bytes, or None if nothing changes."""
        ordered = _ordered(elements)
        changed = ordered is not elements
        elements = _with_added(ordered, added) if added else ordered
        program_of = level.programs.get
        known = scope.memo_of(level).get
        flagged = self._study.flagged
        numeric_vrs, has_word = WRITTEN_NUMBERS, _WORD.search
        text_vrs = _CHECKED_TEXTS
        private: dict[int, _Entry] | None = None
        private_stays = self._plan.private
        parts: list[Part] = []
        run = run_end = elements[0][2] if elements else 0
        kept = dropped = 0
        for element in elements:
            tag, vr, start, value, end, items = element
            if tag & 0x10000:
                if not private_stays:
                    dropped += 1
                    continue
                if private is None:
                    private = self._private_entries(level, elements, data, scope)
                result, happened = private[start]
            else:
                if items is not None:
                    vr = "SQ"
                program = program_of((tag, vr)) or level.program(tag, vr)
                if flagged and self._is_flagged(program, element, data):
                    program = FLAGGED
                if items is None and (program is PASS or program is KEEP):
                    if (
                        vr in numeric_vrs
                        and has_word(data, value, end)
                        and _is_text(data, value, end)
                    ):
                        counts[Change.WORDS] += 1
                        changed = True
                        continue
                    if vr in text_vrs and not data[value:end].isascii():
                        text = _recoded(element, data, scope)
                        if text is not None:
                            counts[Change.CLEANED] += 1
                            changed = True
                            _flush(parts, data, run, run_end)
                            parts.append(text)
                            run = run_end = end
                            continue
                    kept += 1
                    if run_end != start:
                        _flush(parts, data, run, run_end)
                        run = start
                    run_end = end
                    continue
                if program.removed is not None:
                    counts[program.removed] += 1
                    changed = True
                    continue
                if program.siblings:
                    result, happened = self._entry_of_item(
                        program, level, element, elements, data, scope
                    )
                else:
                    entry = (
                        known(data[start:end] or _absent_key(tag))
                        if end - start <= MAX_CACHED_VALUE
                        else None
                    )
                    result, happened = entry or self._entry(
                        program, level, element, data, scope, ""
                    )
            for kind, number in happened:
                counts[kind] += number
            if type(result) is bytes:
                changed = True
                _flush(parts, data, run, run_end)
                parts.append(result)
                run = run_end = end
            elif result is None:
                changed = True
            else:
                if run_end != start:
                    _flush(parts, data, run, run_end)
                    run = start
                run_end = end
        if kept:
            counts[Change.KEPT] += kept
        if dropped:
            counts[Change.PRIVATE] += dropped
            changed = True
        if not changed and not parts:  # a single run from the first element to the last
            return None
        _flush(parts, data, run, run_end)
        return parts

    def _private_entries(
        self, level: SequencePath, elements: Sequence[Element], data: Buffer, scope: Scope
    ) -> dict[int, _Entry]:
        """Return the result of each private element of a data set, by its offset.

        Attributes on the list of safe ones stay only with the listed form, and groups that depend
        on each other only if complete. If a block's creator is missing, it is added before the
        first element that follows.
        """
        entries: dict[int, _Entry] = {}
        creators = self._creators(elements, data, scope)
        missing = _missing_creators(elements, creators, scope)
        refused: set[tuple[int, str, int]] = set()
        for element in elements:
            tag, start = element[0], element[2]
            if not tag & 0x10000 or 0x10 <= tag & 0xFFFF <= 0xFF:
                continue
            creator = creators.get(tag & 0xFFFFFF00) or missing.get(tag, "")
            entries[start] = entry = self._private_entry(level, element, data, scope, creator)
            if entry is _REFUSED or entry is _GEOMETRY:
                refused.add((tag >> 16, creator, tag & 0xFF))
        refused = with_dependents(refused) if refused else refused
        used: set[int] = set()
        for element in elements:
            tag, start = element[0], element[2]
            if start in entries and entries[start][0] is not None:
                block = tag & 0xFFFFFF00
                creator = creators.get(block) or missing.get(tag, "")
                if refused and (tag >> 16, creator, tag & 0xFF) in refused:
                    entries[start] = _REFUSED
                else:
                    used.add(block)
        for element in elements:
            tag, vr, start = element[:3]
            if tag & 0x10000 and start not in entries:
                block = tag & 0xFFFF0000 | (tag & 0xFF) << 8
                program = level.private_program(tag, vr, creators[block])
                stays = block in used or program is KEEP
                if stays and start < 0:
                    name = self._reserved[tag].encode("ascii")
                    reserving = element_bytes(tag, "LO", name, scope.encoding)
                    entries[start] = reserving, ((Change.ADDED, 1),)
                else:
                    entries[start] = _KEPT if stays else _PRIVATE
        added = {tag & 0xFFFFFF00: name for tag, name in missing.items()}
        for block in sorted(added.keys() & used, reverse=True):
            tag = block & 0xFFFF0000 | (block >> 8 & 0xFF)
            reserving = element_bytes(tag, "LO", added[block].encode("ascii"), scope.encoding)
            _, _, start, _, end, _ = next(each for each in elements if each[0] > tag)
            result, happened = entries[start]
            rest = data[start:end] if isinstance(result, _Unchanged) else result or b""
            entries[start] = reserving + rest, (*happened, (Change.ADDED, 1))
        return entries

    def _with_private(
        self, elements: Sequence[Element], data: Buffer, scope: Scope
    ) -> Sequence[Element]:
        """Insert the private attributes that ADD rules name and the file does not have.

        A creator without a block in the group reserves the first unused one (PS3.5 7.8.1).
        """
        self._reserved.clear()
        if not self._plan.added_private:
            return elements
        creators = self._creators(elements, data, scope)
        tags = set(map(itemgetter(0), elements))
        in_use = {tag & 0xFFFFFF00 for tag in tags} | creators.keys()
        merged = list(elements)

        def insert(tag: int, vr: str) -> None:
            place = -1 - len(merged)  # unique: results are looked up by it
            insort(merged, (tag, vr, place, place, place, None))
            tags.add(tag)

        for group, creator, element, vr in self._plan.added_private:
            own = [each for each in creators if each >> 16 == group and creators[each] == creator]
            if any(block | element in tags for block in own):
                continue
            blocks = (group << 16 | number << 8 for number in range(0x10, 0x100))
            block = own[0] if own else next((each for each in blocks if each not in in_use), None)
            if block is None:
                continue  # all 240 blocks are reserved
            if not own:
                creators[block] = creator
                in_use.add(block)
                reserving = group << 16 | (block >> 8 & 0xFF)
                self._reserved[reserving] = creator
                insert(reserving, "LO")
            insert(block | element, vr)
        return merged

    def _creators(self, elements: Sequence[Element], data: Buffer, scope: Scope) -> dict[int, str]:
        """Return the private creators of a data set, by the first tag of their blocks."""
        creators: dict[int, str] = {}
        for tag, _, start, value, end, _ in elements:
            if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:
                if start < 0:
                    creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = self._reserved[tag]
                    continue
                raw = (bytes(data[value:end]), scope.character_set)
                creator = self._names.get(raw)
                if creator is None:
                    if len(self._names) >= MAX_CREATORS:
                        self._names.clear()
                    creator = self._names[raw] = charset.decode(*raw).strip(" \0")
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = creator
        return creators

    def _private_entry(
        self, level: SequencePath, element: Element, data: Buffer, scope: Scope, creator: str
    ) -> _Entry:
        """Return the result of a private element that is not a private creator."""
        tag, vr, _, _, _, items = element
        program = level.private_program(tag, "SQ" if items is not None else vr, creator)
        if program.removed is not None:
            return None, ((program.removed, 1),)
        safe = listed(tag, creator) if program.by_creator else None
        if safe is None:
            return self._entry(program, level, element, data, scope, creator)
        if self._is_flagged(program, element, data):
            return _REFUSED
        return self._safe_entry(safe, level, element, data, scope)

    def _safe_entry(
        self, safe: SafePrivate, level: SequencePath, element: Element, data: Buffer, scope: Scope
    ) -> _Entry:
        """Return the result of a private element on the list of safe ones, cached if possible."""
        start, end = element[2], element[4]
        limit = 0 if safe.form == "csa-image" else MAX_CACHED_STRUCTURE  # differs in each image
        if end - start > limit:
            return self._compute_safe(safe, level, element, data, scope)
        raw = data[start:end] + safe.creator.encode("ascii")
        memo = scope.memo_of(level)
        entry = memo.get(raw)
        if entry is None:
            entry = memo[raw] = self._compute_safe(safe, level, element, data, scope)
            size = len(entry[0]) if isinstance(entry[0], bytes) else 0
            self._cached_bytes += _ENTRY_BYTES + len(raw) + size
        return entry

    def _compute_safe(
        self, safe: SafePrivate, level: SequencePath, element: Element, data: Buffer, scope: Scope
    ) -> _Entry:
        tag, vr, _, start, end, items = element
        refused = _GEOMETRY if is_geometry(safe) else _REFUSED
        if (safe.form == ITEMS) is not (items is not None):
            return refused
        if items is not None:
            counts: Counter[str] = Counter({Change.KEPT: 1})
            child = level.child(tag, safe.creator, kept=False)
            result = self._sequence(child, element, items, data, scope, counts)
            return (result if _anything_stays(counts) else None), tuple(counts.items())
        value = bytes(data[start:end])
        cleaned = clean(safe, vr, value, little=scope.encoding.little)
        if cleaned is None:
            return refused
        if cleaned is value:
            return _KEPT
        return element_bytes(tag, vr, cleaned, scope.encoding), ((Change.CLEANED, 1),)

    # Elements ---------------------------------------------------------------------------

    def _is_flagged(self, program: Program, element: Element, data: Buffer) -> bool:
        """Whether the last gate reported a finding in a number that nothing else changes."""
        tag, vr, _, value, end, _ = element
        return (
            vr in DECIMALS
            and (program is PASS or program.by_creator)
            and (tag, bytes(data[value:end]).strip(b" \0")) in self._study.flagged
        )

    def _standard_entry(self, element: Element, data: Buffer, scope: Scope) -> _Entry:
        """Return the result of one standard top-level element, as `_dataset` computes it."""
        tag, vr, _, value, end, items = element
        level = self._plan.top
        program = level.program(tag, vr if items is None else "SQ")
        if self._is_flagged(program, element, data):
            program = FLAGGED
        if items is None and (program is PASS or program is KEEP):
            if vr in WRITTEN_NUMBERS and not _has_no_words(data, value, end):
                return _WORDS
            text = _recoded(element, data, scope) if vr in _CHECKED_TEXTS else None
            return _KEPT if text is None else (text, ((Change.CLEANED, 1),))
        if program.removed is not None:
            return None, ((program.removed, 1),)
        return self._entry(program, level, element, data, scope, "")

    def _entry(  # noqa: PLR0917 hot: called for each element that a rule names
        self,
        program: Program,
        level: SequencePath,
        element: Element,
        data: Buffer,
        scope: Scope,
        creator: str,
    ) -> _Entry:
        """Return the result of one element, cached by its path and bytes."""
        start, end = element[2], element[4]
        if end - start > MAX_CACHED_VALUE or program.own:
            return self._compute(program, level, element, data, scope, creator)
        raw = data[start:end] if start >= 0 else _absent_key(element[0])
        if creator:
            raw += creator.encode("utf-8", "replace")
        memo = scope.memo_of(level)
        entry = memo.get(raw)
        if entry is None:
            entry = memo[raw] = self._compute(program, level, element, data, scope, creator)
            size = len(entry[0]) if isinstance(entry[0], bytes) else 0
            self._cached_bytes += _ENTRY_BYTES + len(raw) + size
        return entry

    def _entry_of_item(  # noqa: PLR0917 as _entry
        self,
        program: Program,
        level: SequencePath,
        element: Element,
        siblings: Sequence[Element],
        data: Buffer,
        scope: Scope,
    ) -> _Entry:
        """Return the result of an element that also depends on the other elements of its item."""
        if program is CHECK_PIXELS:
            pixels = deliver_nested(siblings, element, data, scope.encoding)
            if pixels is None:
                return _NESTED_PIXELS
            same = pixels == data[element[2] : element[4]]
            return _KEPT if same else (pixels, ((Change.CLEANED, 1),))
        codes = item_codes(siblings, data)
        raw = b"\0".join((data[element[2] : element[4]], *(map(str.encode, chain(*codes)))))
        memo = scope.memo_of(level)
        entry = memo.get(raw)
        if entry is None:
            entry = self._compute(program, level, element, data, scope, "", codes)
            if len(raw) <= MAX_CACHED_VALUE:
                memo[raw] = entry
                self._cached_bytes += _ENTRY_BYTES + 2 * len(raw)
        return entry

    def _compute(  # noqa: PLR0917 as _entry
        self,
        program: Program,
        level: SequencePath,
        element: Element,
        data: Buffer,
        scope: Scope,
        creator: str,
        codes: ItemCodes = NO_ITEM_CODES,
    ) -> _Entry:
        """Compute the result of one element: run the steps of its program."""
        tag, written_vr, start, value, end, items = element
        if program is CHECK_CHARACTER_SET:
            written = bytes(data[value:end]).strip(b" \0")
            terms = charset.defined_terms(written)
            if terms is None:
                return None, ((Change.REMOVED, 1),)
            if terms == b"\\".join(part.strip(b" \0") for part in written.split(b"\\")):
                return _KEPT
            return element_bytes(tag, "CS", terms, scope.encoding), ((Change.REPLACED, 1),)
        if program is CHECK_WORDS:
            if one_vr(vr_of(tag)) in BINARY_NUMBERS and written_vr in BYTES:
                return _WORDS if _PRINTED.fullmatch(data, value, end) else _KEPT
            return _KEPT if _has_no_words(data, value, end) else _WORDS
        vr = written_vr
        if items is not None:
            vr = "SQ"
        elif vr == "UN" or vr_of(tag) == "SQ":  # the file may give a sequence another VR
            vr = one_vr(vr_of(tag))
        raw = bytes(data[value:end]) if items is None and start >= 0 and program.steps else b""
        here = ElementContext(
            tag,
            vr,
            raw,
            level,
            scope.encoding,
            scope.character_set,
            scope.sop_class,
            self._study,
            items or (),
            data,
            codes,
        )
        current: _Current = REMOVED if start < 0 else _UNCHANGED
        kind = Change.KEPT
        if program is CHECK_ACCESSION:
            program = _BY_CODE if self._is_folder_name(here.text) else PASS
        for step in program.steps:
            current, kind = self._step(step, here, current, kind, scope)
        return self._finish(current, kind, program, here, element, data, scope, creator)

    def _is_folder_name(self, text: str) -> bool:
        name = text.strip(" \0").casefold()
        return bool(name) and name == self._study.folder_name.strip().casefold()

    def _finish(  # noqa: PLR0917 as _entry
        self,
        current: _Current,
        kind: Change,
        program: Program,
        here: ElementContext,
        element: Element,
        data: Buffer,
        scope: Scope,
        creator: str,
    ) -> _Entry:
        """Encode what the steps of a program left, and rewrite the items of a sequence."""
        tag, written_vr, items = element[0], element[1], element[5]
        if isinstance(current, _Unchanged | ApplyToItems) and items is not None:
            counts: Counter[str] = Counter({kind: 1})
            child = here.level.child(
                tag,
                creator,
                kept=program.kept,
                inherited=current.function if isinstance(current, ApplyToItems) else None,
            )
            result = self._sequence(child, element, items, data, scope, counts)
            if tag == ICON and counts[Change.NESTED_PIXELS]:
                return _NESTED_PIXELS  # an icon without pixels is useless
            return result, tuple(counts.items())
        if isinstance(current, ApplyToItems) or (
            isinstance(current, _Unchanged) and here.vr == "SQ"
        ):
            # A sequence according to the dictionary, without items: it cannot be checked.
            current, kind = b"", Change.BLANKED
        happened = ((str(kind), 1),)
        if isinstance(current, _Unchanged):
            return _UNCHANGED, happened
        if isinstance(current, Removed):
            return None, happened
        if isinstance(current, tuple):
            built = build_items(current, scope.encoding, scope.character_set)
            return element_bytes(tag, "SQ", built, scope.encoding), happened
        vr = here.vr if written_vr == "UN" else written_vr
        value = b"" if vr == "SQ" else current
        return element_bytes(tag, vr, value, scope.encoding), happened

    def _step(
        self, step: Step, here: ElementContext, current: _Current, kind: Change, scope: Scope
    ) -> tuple[_Current, Change]:
        """Apply one rule to the result of the rules before it."""
        if current is REMOVED and step.action is not Action.ADD:
            return current, kind
        now = (
            here
            if isinstance(current, _Unchanged | Removed | ApplyToItems)
            else here.with_value(current)
        )
        if not self._applies(step, now, scope):
            return current, kind
        match step.action:
            case Action.REMOVE:
                return REMOVED, Change.REMOVED
            case Action.BLANK:
                return b"", Change.BLANKED
            case Action.JITTER:
                return self._jitter(step, now, current, kind)
            case _:
                return self._set(step, now)

    def _applies(self, step: Step, now: ElementContext, scope: Scope) -> bool:
        """Whether a rule's condition holds: on the value, or by the site's function."""
        if step.values is not None and not _holds(now, scope, step.values):
            return False
        if step.action is Action.REMOVE and isinstance(step.value, OwnFunction):
            return bool(self._caller.call(step.value.name, now))
        return True

    def _set(self, step: Step, now: ElementContext) -> tuple[_Current, Change]:
        """Return the value that an ADD or REPLACE gives an element."""
        kind = Change.ADDED if step.action is Action.ADD else Change.REPLACED
        if isinstance(step.value, Function):
            value = functions.call(step.value, now)
            if value is REMOVED:
                return REMOVED, Change.REMOVED
            if value == b"":
                return b"", Change.BLANKED
            return value, Change.CLEANED if step.value.name in _CLEANING else kind
        if isinstance(step.value, OwnFunction):
            text = self._caller.text(step.value.name, now)
        else:
            text = self._text(step.value)
        vr = one_vr(now.vr)
        text = written(vr, text) or ""
        packed = pack(vr, text, now.encoding, now.character_set)
        return (packed, kind) if packed else (b"", Change.BLANKED)

    def _text(self, value: Value | None) -> str:
        match value:
            case Literal(text):
                return text
            case Variable(name):
                return self._study.variables[name]
            case _:
                raise AssertionError("compile_plan rejects rules without a value")

    def _days(self, value: Value | None) -> int:
        text = self._text(value)
        if not _INTEGER.fullmatch(text):
            raise SkipInstance("the site's table has no whole number of days for JITTER")
        return int(text)

    def _jitter(
        self, step: Step, now: ElementContext, current: _Current, kind: Change
    ) -> tuple[_Current, Change]:
        """Shift the dates of an element; return ``current`` if it holds none."""
        known = vr_of(now.tag)
        is_date = now.vr in _TEXT_DATES or known in _DATES
        maybe = now.vr in _MAYBE_DATES and not is_date
        if not (maybe or is_date) or not now.value.strip(b" \0"):
            return current, kind
        # The file may give an attribute for dates another VR.
        vr = known if known in _DATES and now.vr not in _TEXT_DATES else now.vr
        text = now.value.decode("latin-1") if vr in _DATES else now.text
        moved = jitter.shift(vr, text, self._days(step.value))
        if moved is not None:
            return moved.encode("ascii"), Change.JITTERED
        if maybe or (step.values is not None and not (_DATES & {vr, known})):
            return current, kind  # a text that only matches the list: as in deid
        match need_of(now.sop_class, now.level.tags, now.tag):
            case Need.NONE:
                return REMOVED, Change.UNMOVABLE
            case Need.EMPTY:
                return b"", Change.UNMOVABLE_BLANKED
            case _:
                return functions.DUMMIES.get(vr, b""), Change.UNMOVABLE_BLANKED

    # Sequences --------------------------------------------------------------------------

    def _sequence(  # noqa: PLR0917 as _entry
        self,
        level: SequencePath,
        element: Element,
        items: Sequence[Item],
        data: Buffer,
        scope: Scope,
        counts: Counter[str],
    ) -> _Result:
        """Rewrite the items of a sequence, keeping defined and undefined lengths."""
        parts: list[bytes] = []
        changed = False
        numbered = self._plan.items
        for number, (encoding, elements) in enumerate(items):
            inner = scope.of_item(encoding, elements, data)
            place = level.item(number) if numbered else level
            content = self._dataset(place, elements, data, inner, counts)
            if content is None:
                content = _copied(data, elements)
            else:
                changed = True
            start = elements[0][2] if elements else 0
            undefined = start > 0 and data[start - 4 : start] == _UNDEFINED_BYTES
            parts.append(item(b"".join(content), encoding, undefined=undefined))
        if not changed:
            return _UNCHANGED
        tag, vr, _, value, _, _ = element
        joined = b"".join(parts)
        little = items[0][0].little
        if data[value - 4 : value] == _UNDEFINED_BYTES:
            return head(tag, vr, UNDEFINED, scope.encoding) + joined + SEQUENCE_TAIL[little]
        return head(tag, vr, len(joined), scope.encoding) + joined

    # Values lists -----------------------------------------------------------------------

    def _gather(self, header: Header) -> tuple[tuple[str, frozenset[str]], ...]:
        """Collect the object's values for each ``%values`` list that the plan uses."""
        if not self._plan.values:
            return ()
        values_by_list: dict[str, set[str]] = {name: set() for name in self._plan.values}
        recipe = self._plan.recipe
        scope = Scope(header.encoding, header.character_set, header.sop_class)
        for level, element, creator, inner in _walk(
            self._plan.top, header.elements, header.data, scope
        ):
            vr = "SQ" if element[5] is not None else element[1]
            attribute = level.attribute(element[0], vr, creator)
            for name, gathered in values_by_list.items():
                for entry in recipe.values.get(name, ()):
                    if matches(entry.selector, attribute, recipe.fields):
                        gathered.update(_values_of(entry, element, header.data, inner))
        return tuple((name, frozenset(values)) for name, values in sorted(values_by_list.items()))


def _walk(
    level: SequencePath, elements: Sequence[Element], data: Buffer, scope: Scope
) -> Iterator[tuple[SequencePath, Element, str | None, Scope]]:
    """Yield the elements of all levels with their path, private creator and scope."""
    creators: dict[int, str] = {}
    for element in _ordered(elements):
        tag, _, _, value, end, items = element
        creator: str | None = None
        if tag & 0x10000:
            if 0x10 <= tag & 0xFFFF <= 0xFF:
                text = charset.decode(bytes(data[value:end]), scope.character_set)
                creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = text.strip(" \0")
            creator = creators.get(tag & 0xFFFFFF00, "")
        yield level, element, creator, scope
        if items:
            child = level.child(tag, creator or "", kept=False)
            for number, (encoding, nested) in enumerate(items):
                inner = scope.of_item(encoding, nested, data)
                yield from _walk(child.item(number), nested, data, inner)


def _values_of(entry: ListEntry, element: Element, data: Buffer, scope: Scope) -> set[str]:
    tag, vr, _, value, end, items = element
    if items is not None or tag in PIXEL_DATA_TAGS:
        return set()
    text = value_text(tag, vr, bytes(data[value:end]), scope.encoding, scope.character_set)
    values = text.split("\\")
    if entry.split_by is not None:
        values = [part for joined in values for part in joined.split(entry.split_by)]
    return {part.lower() for part in values if part and len(part) >= entry.minimum_length}


def _holds(element: ElementContext, scope: Scope, name: str) -> bool:
    """Whether an element's value contains one of the values collected for a list."""
    if element.vr == "SQ":
        return False
    gathered = dict(scope.gathered)[name]
    if element.vr[0] == "O" or element.vr == "UN":
        folded = element.value.lower()
        return any(value.encode("utf-8") in folded for value in gathered)
    text = element.text.lower()
    return any(value in text for value in gathered)


def _scope_key(header: Header, gathered: _Gathered) -> _ScopeKey:
    manufacturer = (header.raw(MANUFACTURER) or b"").decode("latin-1")
    return header.encoding, header.character_set, header.sop_class, manufacturer, gathered


def _missing_creators(
    elements: Sequence[Element], creators: Mapping[int, str], scope: Scope
) -> dict[int, str]:
    """Return the creators of listed private elements whose block is not reserved, by their tags."""
    if not scope.manufacturer:
        return {}
    return {
        element[0]: creator
        for element in elements
        if element[0] & 0x10000
        and element[0] & 0xFFFFFF00 not in creators
        and (creator := usual_creator(element[0], scope.manufacturer))
    }


def _index_of_pixels(elements: Sequence[Element]) -> int:
    """Return the index of the pixel data element, which is near the end; the length if none."""
    for index in range(len(elements) - 1, -1, -1):
        if elements[index][0] in PIXEL_DATA_TAGS:
            return index
    return len(elements)


def _absent(tag: int) -> Element:
    """Return a placeholder for an element that ADD creates."""
    return tag, one_vr(vr_of(tag)), -1, -1, -1, None


def _absent_key(tag: int) -> bytes:
    """Return the cache key of an absent element; shorter than any element's bytes."""
    return tag.to_bytes(4)


def _with_added(elements: Sequence[Element], added: Sequence[int]) -> Sequence[Element]:
    present = set(map(itemgetter(0), elements))
    missing = [_absent(tag) for tag in added if tag not in present]
    if not missing:
        return elements
    merged = list(elements)
    for element in missing:
        insort(merged, element)
    return merged


def _ordered(elements: Sequence[Element]) -> Sequence[Element]:
    """Sort elements by tag; of duplicates the last one counts.

    A private block that is reserved twice is ambiguous: its creator is empty and takes no bytes, so
    that it does not stay, nor do elements that a rule names with their creator.
    """
    tags = list(map(itemgetter(0), elements))
    if all(map(lt, tags, islice(tags, 1, None))):
        return elements
    by_tag = {element[0]: element for element in elements}
    for tag, count in Counter(tags).items():
        if count > 1 and tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF:
            own, vr, _, value, end, _ = by_tag[tag]
            if value != end:
                by_tag[tag] = own, vr, value, value, value, None
    return [by_tag[tag] for tag in sorted(by_tag)]


def _copied(data: Buffer, elements: Sequence[Element]) -> list[Part]:
    """Return the bytes of contiguous elements, unchanged."""
    parts: list[Part] = []
    if elements:
        _flush(parts, data, elements[0][2], elements[-1][4])
    return parts


def _flush(parts: list[Part], data: Buffer, start: int, end: int) -> None:
    if start >= end:
        return
    parts.append(data[start:end] if end - start <= COPIED else memoryview(data)[start:end])


def _anything_stays(counts: Counter[str]) -> bool:
    """Whether any element in a sequence stays."""
    return sum(number for kind, number in counts.items() if not kind.startswith("removed")) > 1


def _is_text(data: Buffer, start: int, end: int) -> bool:
    """Whether a numeric value contains a word other than ``nan``, ``inf`` or an exponent."""
    return _NUMBER_WORDS.fullmatch(data, start, end) is None


def _has_no_words(data: Buffer, start: int, end: int) -> bool:
    return _WORD.search(data, start, end) is None or not _is_text(data, start, end)


def _recoded(element: Element, data: Buffer, scope: Scope) -> bytes | None:
    """Encode a text in its file's character set, with ``?`` for invalid bytes; None if valid."""
    tag, vr, _, value, end, _ = element
    raw = bytes(data[value:end])
    if charset.is_valid(raw, vr, scope.character_set):
        return None
    declared = scope.character_set if vr in charset.TEXT_VRS else b""
    text = charset.decode(raw, declared).replace("\ufffd", "?")
    return element_bytes(tag, vr, charset.encode(text, declared), scope.encoding)
