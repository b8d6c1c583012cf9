"""Arbitrary content of private elements, in any form and at any depth: text is removed, and
numbers of listed attributes are kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from sendit.deidentify import private_form, rewrite
from sendit.deidentify.plan import Plan, compile_plan
from sendit.dicom.scan import LONG_VRS, read_header
from sendit.recipe.parse import read_recipe
from sendit.recipe.profile import KEPT, SafePrivate, safe_private
from sendit.vendors import ge_protocol
from sendit.vendors.siemens_csa import IMAGE_TAGS, CsaTag, write_csa
from testing import vendor_objects
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentify_files

RECIPES = ("default", "default-retain-safe-private")
NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC")
OTHER_VRS = ("OB", "OF", "OW", "UI", "UN", "UR", "UT")
STRANGERS = ("ACME 1.1", "SIEMENS CSA NON-IMAGE", "GEIIS", "ELSCINT1", "Winterbottom")
SEQUENCES = (0x00081140, 0x00400275, 0x52009229)
"""Public sequences that private elements may stand in."""


@cache
def plan_of(recipe: str) -> Plan:
    return compile_plan(read_recipe(recipe))


@cache
def template() -> bytes:
    return to_bytes(make_dataset(kind="MR", private=False, transfer_syntax=ExplicitVRLittleEndian))


@cache
def without_anything(recipe: str) -> bytes:
    return b"".join(deidentify_files([template()], plan_of(recipe))[1].values())


@cache
def words_of_the_list() -> str:
    return "\n".join(safe.form for safe in safe_private())


@dataclass
class Made:
    """Encoded elements by tag, and the texts in them."""

    elements: dict[int, bytes] = field(default_factory=dict)
    texts: set[bytes] = field(default_factory=set)

    def whole(self) -> bytes:
        return b"".join(self.elements[tag] for tag in sorted(self.elements))


def element(tag: int, vr: str, value: bytes, *, undefined: bool = False) -> bytes:
    """Write an element in Explicit VR Little Endian."""
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if undefined:
        return head + struct.pack("<HL", 0, 0xFFFFFFFF) + value + b"\xfe\xff\xdd\xe0" + bytes(4)
    if vr in LONG_VRS:
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes, *, undefined: bool) -> bytes:
    if undefined:
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0" + bytes(4)
    return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content)) + content


def spliced(elements: dict[int, bytes]) -> bytes:
    """Return the template with elements inserted or replaced."""
    data = template()
    own = {tag: data[start:end] for tag, _, start, _, end, _ in read_header(data).elements}
    start = min(start for _, _, start, _, _, _ in read_header(data).elements)
    whole = own | elements
    return data[:start] + b"".join(whole[tag] for tag in sorted(whole))


TEXTS = st.one_of(
    st.sampled_from(
        (
            *("Winterbottom", "WINTERBOTTOM", "Doe^Jane^M", "Jane Doe", "van der Berg"),
            *("M\xfcller", "19570314", "1957-03-14", "14.03.1957", "195703141957", "10/23/120"),
            *("MRN7734512AB", "7734512893", "call 555-0199", "patient refused contrast"),
        )
    ),
    st.from_regex(r"[A-Z][a-z]{4,11}", fullmatch=True),
    st.from_regex(r"[A-Z]{2}[0-9]{6,9}", fullmatch=True),
)


@st.composite
def values(draw: st.DrawFn, safe: SafePrivate | None, made: Made) -> tuple[str, bytes]:
    """Return the VR and value of one element: text, or a structure with text."""
    text = draw(TEXTS).encode("latin-1")
    form = "" if safe is None else safe.form
    if form in private_form._REWRITTEN and draw(st.booleans()):
        made.texts.add(text)
        return draw(st.sampled_from(("OB", "UN"))), blob(draw, form, text.decode("latin-1"))
    vr = draw(st.sampled_from((*TEXT_VRS, *OTHER_VRS, *NUMBERS)))
    if safe is not None and draw(st.booleans()):
        vr = "UN" if safe.vr == "SQ" else safe.vr
    if vr in NUMBERS:
        size = struct.calcsize("<" + NUMBERS[vr])
        text = text[: len(text) // size * size]
    if len(text) > 4:  # four bytes are ambiguous: 13.4 as FL is "ffVA"
        made.texts.add(text)
    if draw(st.booleans()) and vr not in NUMBERS and vr not in {"OB", "OF", "OW", "UN"}:
        text = b"1\\" + text
    return vr, text


def blob(draw: st.DrawFn, form: str, text: str) -> bytes:
    """Return a vendor's structure with text somewhere in it."""
    if form == "ge-protocol":
        name = draw(st.sampled_from((*ge_protocol.NUMBERS, ge_protocol.OPTIONS, "PSEQ", "EXAM")))
        return vendor_objects.ge_protocol(**{name: text})
    if form == "ge-user-data":
        block = bytearray(vendor_objects.ge_user_data(draw(st.sampled_from((20.0, 26.0)))))
        place = draw(st.integers(26, len(block) - len(text)))
        block[place : place + len(text)] = text.encode("latin-1")
        return bytes(block)
    lines = ["### ASCCONV BEGIN ###", "sSliceArray.lSize = 4", "alTR[0] = 400000"]
    place = draw(st.integers(0, 3))
    lines.insert(1 + place % 2, f'tProtocolName = ""{text}""' if place else f"alTR[0] = {text}")
    protocol = "\n".join([*lines, "### ASCCONV END ###", *([text] if place == 3 else [])])
    if form == "protocol":
        return protocol.encode("latin-1")
    if form == "csa-series":
        return write_csa([CsaTag("MrPhoenixProtocol", 1, "UN", 0, (protocol,))])
    name = draw(st.sampled_from((*IMAGE_TAGS, "ImaCoilString", "UsedPatientWeight")))
    tags = [
        CsaTag("B_value", 1, "IS", 6, ("1000",)),
        CsaTag(name, 1, "LO", 19, (text,) if place else ("1", text)),
    ]
    written = write_csa(tags)
    # after a value's end, where scanners leave uninitialised memory
    return written + (text.encode("latin-1") if place == 2 else b"")


@st.composite
def blocks(draw: st.DrawFn, depth: int, made: Made) -> dict[int, bytes]:
    """Return some private elements with their creators, some with items."""
    elements: dict[int, bytes] = {}
    for _ in range(draw(st.integers(1, 3))):
        safe = draw(st.one_of(st.none(), st.sampled_from(safe_private())))
        group = draw(st.sampled_from((0x0009, 0x0029, 0x2005))) if safe is None else safe.group
        block = draw(st.integers(0x10, 0x12))
        creator = draw(st.sampled_from(STRANGERS)) if safe is None else safe.creator
        number = draw(st.integers(0, 0xFF)) if safe is None else safe.element
        tag = group << 16 | block << 8 | number
        elements[group << 16 | block] = element(group << 16 | block, "LO", creator.encode())
        if depth and draw(st.integers(0, 2)) == 0:
            elements[tag] = nested(draw, tag, depth, made)
        else:
            vr, value = draw(values(safe, made))
            elements[tag] = element(tag, vr, value)
    return elements


def nested(draw: st.DrawFn, tag: int, depth: int, made: Made) -> bytes:
    """Return a private sequence: as SQ, or as UN containing one in implicit VR."""
    if draw(st.booleans()):
        inner = Made(draw(blocks(depth - 1, made)), made.texts)
        content = item(inner.whole(), undefined=draw(st.booleans()))
        return element(tag, "SQ", content, undefined=draw(st.booleans()))
    text = draw(TEXTS).encode("latin-1")
    made.texts.add(text)
    safe = draw(st.sampled_from(safe_private()))
    inner_tag = safe.group << 16 | 0x1000 | safe.element
    content = implicit(safe.group << 16 | 0x10, safe.creator.encode()) + implicit(inner_tag, text)
    undefined = draw(st.booleans())
    return element(tag, "UN", item(content, undefined=draw(st.booleans())), undefined=undefined)


@st.composite
def planted(draw: st.DrawFn) -> Made:
    """Return private elements at all depths with texts, none of them a listed word."""
    made = Made()
    made.elements = draw(blocks(2, made))
    for tag in draw(st.sets(st.sampled_from(SEQUENCES))):
        inner = Made(draw(blocks(1, made)))
        made.elements[tag] = element(tag, "SQ", item(inner.whole(), undefined=False))
    listed = words_of_the_list()
    made.texts = {text for text in made.texts if text.decode("latin-1") not in listed}
    return made


def search(recipe: str, made: Made) -> None:
    before = without_anything(recipe)
    assume(not any(text in before for text in made.texts))
    _, members = deidentify_files([spliced(made.elements)], plan_of(recipe))
    whole = b"".join(members.values())
    left = [text for text in made.texts if text in whole]
    assert not left, f"left: {left}"


@pytest.mark.parametrize("recipe", RECIPES)
@given(made=planted())
def test_text_is_removed_at_any_depth(recipe: str, made: Made) -> None:
    search(recipe, made)


def test_text_leaks_without_the_form_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the test above is effective."""
    monkeypatch.setattr(rewrite, "clean", lambda _safe, _vr, value, *, little: value)
    anywhere = settings(database=None, derandomize=True, max_examples=100)(
        given(made=planted())(search)
    )
    with pytest.raises(AssertionError, match="left"):
        anywhere("default-retain-safe-private")


def plausible(safe: SafePrivate) -> st.SearchStrategy[list[float]]:
    """Return numbers that an attribute can hold, none of which spells a text."""
    least, _, most = safe.vm.partition("-")
    most = most or least
    number: st.SearchStrategy[float] = st.integers(0, 0x1FF)
    if safe.vr in {"FL", "FD", "DS"}:
        number = st.integers(-9999, 9999).map(lambda value: value / 16)
    return st.lists(number, min_size=max(1, int(least)), max_size=4 if most == "n" else int(most))


def packed(safe: SafePrivate, numbers: list[float]) -> bytes:
    if safe.vr in NUMBERS:
        whole = numbers if safe.vr in {"FL", "FD"} else list(map(int, numbers))
        return struct.pack(f"<{len(whole)}{NUMBERS[safe.vr]}", *whole)
    return "\\".join(f"{number:g}" for number in numbers).encode()


OF_NUMBERS = tuple(safe for safe in safe_private() if safe.form in {"number", "large-number"})


@pytest.mark.parametrize("recipe", RECIPES)
@given(data=st.data())
def test_numbers_of_listed_attributes_are_kept(recipe: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(OF_NUMBERS), min_size=1, max_size=6, unique=True))
    elements: dict[int, bytes] = {}
    wanted = []
    creators: dict[tuple[int, str], int] = {}
    for safe in rows:
        block = creators.setdefault((safe.group, safe.creator), 0x10 + len(creators))
        elements[safe.group << 16 | block] = element(
            safe.group << 16 | block, "LO", safe.creator.encode()
        )
        tag = safe.group << 16 | block << 8 | safe.element
        vr = data.draw(st.sampled_from((safe.vr, "UN")))
        elements[tag] = element(tag, vr, packed(safe, data.draw(plausible(safe))))
        if recipe != "default" or safe.need in KEPT:
            wanted.append(elements[tag])
    _, members = deidentify_files([spliced(elements)], plan_of(recipe))
    whole = b"".join(members.values())
    assert not [one for one in wanted if one not in whole]
