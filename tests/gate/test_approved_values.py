"""What the gate gathers of a batch, what it looks for, and what it recognises in texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import pytest

from sendit.deidentify.plan import Plan
from sendit.dicom.scan import read_header
from sendit.gate import coincidence
from sendit.gate.real_values import (
    FOLDER,
    Boundary,
    Matcher,
    RealValueMatch,
    RealValues,
    actions_of,
    cleaned_by,
    decode,
    is_meaningful,
    literals,
    plain,
)
from sendit.gate.search import Search, literal
from sendit.gate.vendor_values import numbers_and_text
from sendit.recipe.profile import safe_private
from testing import vendor_objects
from testing.approval import Approved
from testing.builder import make_dataset, to_bytes
from tests.deidentify.corpus import VALUES, in_bytes, object_of, one, short
from tests.deidentify.engine import plan_of
from tests.deidentify.test_approved_attributes import ATTRIBUTES
from tests.deidentify.test_approved_attributes import plan_of as bundled
from tests.deidentify.test_approved_words import DAYS, NAMES, NUMBERS, TEXTS

PATIENT_NAME, PATIENT_ID, STATION, STUDY_DATE = 0x00100010, 0x00100020, 0x00081010, 0x00080020
FEW = plan_of("REMOVE PatientName\nREMOVE PatientID\nREMOVE StudyDate\nJITTER SeriesDate -3")


def _tags(tags: object) -> str:
    return " ".join(f"{tag:08X}" for tag in sorted(tags)) or "-"  # type: ignore[call-overload]


def gathered(real: RealValues) -> Iterator[str]:
    """Yield what was gathered, each value with the attributes that it is from."""
    for (raw, character_set, patient), tags in sorted(real.names.items()):
        whose = "patient" if patient else "other"
        yield f"name {raw!r} in {character_set!r} of {whose}: {_tags(tags)}"
    for kind in ("identifiers", "uids", "dates"):
        for value, tags in sorted(getattr(real, kind).items()):
            yield f"{kind} {short(repr(value))}: {_tags(tags)}"
    for tag, values in sorted(real.exact.items()):
        yield f"exact {tag:08X}: {short(repr(sorted(values)))}"
    for kind in ("kept", "kept_dates", "left_names", "left_words", "left_places"):
        yield f"{kind}: {short(repr(sorted(getattr(real, kind))))}"
    yield f"left_references: {short(repr(sorted(real.left_references)))}"
    yield f"character sets: {sorted(real.character_sets)}"


def _match(match: RealValueMatch) -> str:
    return f"{match.kind} {match.key!r} of {_tags(match.sources)}"


def looked_for(known: Matcher) -> Iterator[str]:
    """Yield everything that a matcher looks for."""
    # Letters of ASCII are found in both cases; which one is noted is chance.
    for needle in sorted(known.needles, key=lambda each: (each.value.lower(), each.around.value)):
        samples = "" if needle.in_samples else ", not in samples"
        yield (
            f"needle {needle.value.lower()!r} {needle.kind} {needle.around.name}{samples} "
            f"of {_tags(needle.sources)}"
        )
    tables: Mapping[str, Mapping[object, RealValueMatch]] = {
        name: getattr(known, f"_{name}")
        for name in ("words", "cleaned", "short", "pairs", "unspaced", "keys", "dates", "uids")
    }
    for name, table in tables.items():
        for key, match in sorted(table.items(), key=lambda item: str(item[0])):
            yield f"{name} {key!r}: {_match(match)}"
    yield from (f"exact {tag:08X}: {sorted(v)}" for tag, v in sorted(known.exact.items()) if v)
    yield f"references: {sorted(known.left_references)}; {len(known)} in all"


RECIPES = {
    "default": lambda: bundled("default"),
    "default-retain-uids": lambda: bundled("default-retain-uids"),
    "default-retain-institution": lambda: bundled("default-retain-institution"),
    "default-retain-device": lambda: bundled("default-retain-device"),
    "few rules": lambda: FEW,
    "kept": lambda: plan_of(
        "KEEP PatientID\nKEEP StudyDate\nKEEP contains:Physician\nKEEP ReferencedImageSequence\n"
        "REMOVE PatientName\nREMOVE SeriesDate\nREPLACE StationName Winterbottom"
    ),
    "values": lambda: plan_of(
        "REMOVE values:v\nREMOVE PatientID", sections="%values v\nFIELD PatientName\n"
    ),
}


@cache
def _objects() -> tuple[bytes, ...]:
    made = make_dataset(kind="CT")
    made.StationName = "Scanner 7"
    made.RequestAttributesSequence[0].AccessionNumber = "ACC880001001"
    made.ReferencedPatientSequence[0].PatientName = "Beispiel^Berta"
    block = made.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "PN", "Privatmann^Peter")
    block.add_new(2, "UI", "1.2.3.4.5.6.7.8")
    block.add_new(3, "DA", "20010203")
    return tuple(
        to_bytes(each) for each in (made, make_dataset(kind="SR"), make_dataset(kind="US"))
    )


@pytest.mark.parametrize("name", RECIPES)
def test_collected_and_searched_values(name: str, approved: Approved) -> None:
    plan = RECIPES[name]()
    real = RealValues(plan)
    real.add_identifier("ACC-FOLDER-99")
    for data in _objects():
        real.see(read_header(data))
    approved((*gathered(real), "", *looked_for(Matcher(real, plan, -17))))


def test_values_collected_from_each_attribute(approved: Approved) -> None:
    """Attributes from whose value something is noted, by what."""
    plan = bundled("default")

    def lines() -> Iterator[str]:
        for vr, tags in sorted(ATTRIBUTES.items()):
            if vr in ("SQ", "NONE"):
                continue
            by_notes: dict[tuple[str, ...], list[str]] = {}
            value = in_bytes(VALUES[vr][0]) if vr not in ("UI",) else b"1.2.826.0.1.7734512.1"
            for tag in tags:
                real = RealValues(plan)
                real.see(object_of({tag: one(tag, vr, value)}))
                noted = {
                    line.replace(f"{tag:08X}", "it")
                    for line in gathered(real)
                    if f"{tag:08X}" in line or line.startswith(("kept", "left"))
                }
                by_notes.setdefault(tuple(sorted(noted)), []).append(f"{tag:08X}")
            for noted_lines, of in by_notes.items():
                if any("it" in line for line in noted_lines) or "[]" not in " ".join(noted_lines):
                    yield f"# {vr}: {' '.join(of)}"
                    yield from (f"  {line}" for line in noted_lines if not line.endswith(": []"))

    approved(lines())


def _matcher(
    names: tuple[bytes, ...] = (),
    identifiers: tuple[str, ...] = (),
    *,
    plan: Plan = FEW,
    tag: int = PATIENT_ID,
    dates: tuple[str, ...] = (),
    character_set: bytes = b"ISO_IR 192",
    name_tag: int = PATIENT_NAME,
    patient: bool = True,
) -> Matcher:
    real = RealValues(plan)
    real.character_sets = {character_set}
    for raw in names:
        real.names[raw, character_set, patient] = {name_tag}
    for text in identifiers:
        real.identifiers[text] = {tag}
    for day in dates:
        real.dates[day] = {STUDY_DATE}
    return Matcher(real, plan, -17)


def test_names(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for name in NAMES:
            for patient in (True, False):
                yield f"# {name!r} of {'the patient' if patient else 'another'}"
                known = _matcher((name.encode(),), patient=patient)
                yield from (short(line) for line in looked_for(known) if "-" not in line[:1])

    approved(lines())


def test_names_in_escaped_bytes(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for terms, name in (
            (b"\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎".encode("iso2022_jp")),
            (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030")),
            (b"ISO_IR 144", "Люкceмбypг^Иван".encode("iso8859_5")),
            (b"ISO_IR 100", "Müller^Jörg Ä".encode("latin-1")),
            (b"nonsense", "Müller^Jörg".encode("latin-1")),
            (b"", "Müller^Jörg".encode()),
        ):
            yield f"# {terms!r}"
            yield from looked_for(_matcher((name,), character_set=terms))
            yield f"  {decode(name, terms)!r}"

    approved(lines())


def test_identifiers(approved: Approved) -> None:
    more = ("Straße 12 Berlin", "ÄÖ773451", "General Hospital", "a" * 70 + "1", "1.2.3.4", "x-x-x")

    def lines() -> Iterator[str]:
        for text in (*NUMBERS, *more):
            for tag in (PATIENT_ID, STATION, FOLDER):
                yield f"# {text!r} of {tag:08X}"
                yield from (short(line) for line in looked_for(_matcher((), (text,), tag=tag)))
        yield "# twice"
        yield from looked_for(_matcher((), ("MRN7734512", "mrn-7734512", "7734512", "007734512")))

    approved(lines())


def test_dates(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        days = ("20160314", "20160331", "19570314", "19000101", "19700101", "20160317", "20160320")
        yield from looked_for(_matcher(dates=days))
        real = RealValues(FEW)
        real.dates = {"20160314": {STUDY_DATE}, "20160401": {STUDY_DATE}}
        real.kept_dates = {"20160401"}
        real.kept = {"20160314"}
        yield from looked_for(Matcher(real, FEW, -17))

    approved(lines())


def test_texts(approved: Approved) -> None:
    """What is recognised in texts, with and without short identifiers and words of radiology."""
    known = _matcher(
        (b"Winterbottom^Joan^Mae", "Müller-Lüdenscheidt^Li".encode(), b"Stone^Head"),
        ("MRN-7734512", "ACC12345", "A-17 9", "A179", "Ward 7b", "7b12", "1 Harbour Road"),
        dates=("19570314", "20160314"),
    )
    chinese = _matcher(("Wang^XiaoDong=王^小东=왕^소동".encode(),))
    other = _matcher((b"Winterbottom^Joan",), name_tag=0x00080090, patient=False)
    texts = (
        *TEXTS,
        *DAYS,
        *(
            "王小东",
            "王 小东",
            "小东王",
            "왕소동",
            "Dr 小东 came",
            "Wang Xiao Dong",
            "wangxiaodong",
        ),
        *("Harbour Road", "1 harbour road", "ward 7b", "WARD7B", "7b12", "x7b12", "7B12 seen"),
        *("stone head", "kidney stone", "Head^Stone", "joan, mae", "bottom winter", "Lüdenscheidt"),
        *("mueller ludenscheidt", "li muller", "muller li", "J.M. Winterbottom", "7 734 512"),
    )

    def lines() -> Iterator[str]:
        for text in texts:
            matches = known.read(text, identifying=False)
            short_ones = known.read(text, identifying=True) - matches
            cleaned = known.read(text, identifying=False, cleaned=True) - matches
            parts = [
                *sorted(map(_match, matches)),
                *(f"identifying: {_match(each)}" for each in sorted(short_ones)),
                *(f"cleaned: {_match(each)}" for each in sorted(cleaned, key=str)),
                *(
                    f"chinese: {_match(each)}"
                    for each in sorted(chinese.read(text, identifying=False), key=str)
                ),
                *(
                    f"other: {_match(each)}"
                    for each in sorted(other.read(text, identifying=False), key=str)
                ),
                *(f"days: {_match(each)}" for each in sorted(known.read_days(text), key=str)),
            ]
            yield f"{text!r} -> {'; '.join(parts) or 'nothing'}"
        for number in (
            "7734512",
            "+7734512",
            "-007734512.00",
            "7734512.5",
            "19570314",
            "773451",
            "x",
        ):
            yield f"number {number} -> {sorted(map(_match, known.read_number(number)))}"
        for day in (b"19570314", b"19570315"):
            yield f"day {day!r} -> {sorted(map(_match, known.read_day(day)))}"

    approved(lines())


def test_uids(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        real = RealValues(FEW)
        for uid in ("1.2.826.0.1.3680043.8.498.1", "1.2.3.4.5", "1.2.826.0.1.3680043.8.498.17"):
            real._note_uids(0x00080018, uid.encode())
        real._note_uids(0x00080014, b"1.2.840.10008.1.2\\1.2.3 \\1.22.333.4444\0")
        known = Matcher(real, FEW, 0)
        yield from looked_for(known)
        for raw in (b"1.2.826.0.1.3680043.8.498.1", b"1.22.333.4444\0\\1.2.3.4.5", b"1.2.826", b""):
            yield f"{raw!r} -> {sorted(map(_match, known.read_uids(raw)))}"
        for text in (
            "see 1.2.826.0.1.3680043.8.498.1.",
            "x1.2.3.4.5",
            "1.2.826.0.1.3680043.8.498.178",
        ):
            yield f"{text!r} -> {sorted(map(_match, known.read(text, identifying=False)))}"
        for needle in known.needles:
            for data in (
                b"1.2.826.0.1.3680043.8.498.17",
                b"1.2.826.0.1.3680043.8.498.17.5",
                b"11.2.826.0.1.3680043.8.498.1",
                b"1.22.333.4444x",
                b".1.22.333.4444",
            ):
                at = data.find(needle.value)
                if at >= 0:
                    match = known.confirm(needle, data, at)
                    yield f"{needle.value!r} in {data!r} -> {match and _match(match)}"

    approved(lines())


def test_boundaries(approved: Approved) -> None:
    around = (
        *(
            (b"", b""),
            (b" ", b" "),
            (b"1", b""),
            (b"", b"1"),
            (b"a", b""),
            (b"", b"a"),
            (b".", b""),
        ),
        *((b"1.", b""), (b"a.", b""), (b"", b".5"), (b"", b".0"), (b"", b".x"), (b"", b".00")),
        *(
            (b"", b"1011"),
            (b"", b"101112"),
            (b"", b"2511"),
            (b"", b"10"),
            (b"", b"1061"),
            (b"-", b"-"),
        ),
        *((b"", b"10111"), (b"_", b"_"), (b"\xff", b"\xff"), (b"xx1", b"")),
    )

    def lines() -> Iterator[str]:
        for before, after in around:
            data = before + b"VALUE" + after
            clear = [
                each.name for each in Boundary if each.clear(data, len(before), len(before) + 5)
            ]
            yield f"{before!r} VALUE {after!r} -> {', '.join(clear)}"

    approved(lines())


def test_plain_values(approved: Approved) -> None:
    texts = (
        " X ",
        "A^B^^",
        "=A",
        "ÄÖ",
        "Ａ",
        "0",
        "0000",
        "x.x",
        "-",
        "_x_",
        "1",
        "a b",
        "",
        "**",
        "?",
    )
    approved(
        (
            *(f"{text!r} -> {plain(text)!r}, tells {is_meaningful(plain(text))}" for text in texts),
            *(
                f"{name}: {sorted(literals(RECIPES[name]()))[:40]}, cleaned {len(cleaned_by(RECIPES[name]()))}, "
                f"actions {len(actions_of(RECIPES[name]()))}"
                for name in ("few rules", "kept")
            ),
        )
    )


def test_coincidences(approved: Approved) -> None:
    sources = {
        "patient": frozenset((PATIENT_ID,)),
        "station": frozenset((STATION,)),
        "both": frozenset((PATIENT_ID, STATION)),
        "folder": frozenset((FOLDER,)),
    }
    places = (
        *((0x00081090, "LO"), (0x00080070, "LO"), (0x00200011, "IS"), (0x00181151, "DS")),
        *(
            (0x00080100, "SH"),
            (0x00080119, "UC"),
            (0x00081030, "LO"),
            (0x00104000, "LT"),
            (0, "IS"),
        ),
    )
    keys = ("galan3t", "123456", "1234567", "113691", "7734512", "mr")

    def lines() -> Iterator[str]:
        for name, of in sources.items():
            for key in keys:
                own = [
                    f"{tag:08X} {vr}"
                    for tag, vr in places
                    if coincidence.identifier_is_coincidence(of, key, tag, vr)
                ]
                yield f"{key} of {name} is its own in {', '.join(own) or 'none'}"
        for letters in range(3, 9):
            yield f"{letters} letters: " + ", ".join(
                vr
                for vr in ("AE", "CS", "LO", "SH")
                if coincidence.name_is_coincidence(letters, vr)
            )
        values = (
            "1011",
            "101112.123",
            "2511",
            "10",
            "045Y",
            "45Y",
            "045y",
            "1.5",
            "-7e5",
            "",
            ".",
            "x1",
            "1e",
            "101112.1234567",
        )
        for vr in ("TM", "AS", "DS", "IS", "LO"):
            yield f"{vr}: {[value for value in values if coincidence.is_plain_number(vr, value)]}"

    approved(lines())


def test_searches(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for count in (1, 5, 24, 25, 60, 96, 97, 120):
            patterns = [literal(f"value{number:03}".encode()) for number in range(count)]
            search = Search(patterns, [number % 2 == 0 for number in range(count)])
            text = (
                b"value000 VALUE000 Value001 value001 value023 value024 value059 value096 value119"
            )
            yield f"{count} in {len(search._databases)}: {[tuple(hit) for hit in search.hits(text)]}"
            yield f"  nothing: {search.hits(b'')}, a view: {len(search.hits(memoryview(text)))}"
        yield f"{literal(bytes(range(4)))!r}"

    approved(lines())


def test_vendors_values(approved: Approved) -> None:
    """What is read as numbers, and what as text, in each private attribute that stays."""

    def lines() -> Iterator[str]:
        makers = (
            *vendor_objects.mosaics(2),
            *vendor_objects.siemens_xa()[:1],
            *vendor_objects.philips_enhanced()[:1],
            *vendor_objects.ge_slices(2),
            *vendor_objects.uih_grid(1),
            *vendor_objects.canon_slices(2),
        )
        seen = set()
        for image in makers:
            for _, tag, vr, raw in _raw(read_header(to_bytes(image))):
                if (tag >> 16 & 1 or tag == 0x00204000) and (tag, vr, raw) not in seen:
                    seen.add((tag, vr, raw))
                    if tag == 0x0025101B or raw[4:6] == b"\x1f\x8b":
                        result = numbers_and_text(tag, vr, raw)
                        yield f"{tag:08X} {vr} compressed -> {result}"
                        continue
                    result = numbers_and_text(tag, vr, raw)
                    yield f"{tag:08X} {vr} {short(repr(raw)[1:])} -> {short(repr(result))}"
        kinds = {(safe.vr, safe.vm, safe.form): safe for safe in reversed(safe_private())}
        values = (
            *(
                b"",
                b"1.5",
                b"1\\2\\3",
                b"Winterbottom",
                b"19570314",
                b"DIRECTIONAL",
                b"IMAGE NUM 4",
            ),
            *(
                b"SV10 Winterbottom 1.5",
                b"### ASCCONV BEGIN ###\nlProtNo = 7734512\n",
                b"SV10\1\2\3ab",
            ),
            *(bytes(8), bytes(6) + b"\1\2", b"\1\2\3\4\5\6\7\0", b"abc" + bytes(50), bytes(40)),
        )
        for kind, safe in sorted(kinds.items()):
            tag = safe.group << 16 | 0x1000 | safe.element
            by_result: dict[str, list[str]] = {}
            for value in values:
                by_result.setdefault(repr(numbers_and_text(tag, safe.vr, value)), []).append(
                    repr(value)
                )
            for result, of in by_result.items():
                if result != "None":
                    yield f"{tag:08X} {' '.join(kind)}: {result} <- {', '.join(of)}"

    approved(lines())


def _raw(header: object) -> Iterator[tuple[str, int, str, bytes]]:
    pending = [header.elements]  # type: ignore[attr-defined]
    while pending:
        for tag, vr, _, start, end, items in pending.pop():
            if items is None:
                yield "", tag, vr, bytes(header.data[start:end])  # type: ignore[attr-defined]
            else:
                pending.extend(nested for _, nested in items)
