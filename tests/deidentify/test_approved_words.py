"""What the small parts of de-identification answer, in tables: names, numbers, dates, UIDs, codes
and forms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from sendit.deidentify import codes, forms, jitter, people, spellings, structured_content
from sendit.deidentify.common_words import is_common, is_common_word
from sendit.deidentify.people_matcher import PeopleMatcher
from sendit.deidentify.uids import UidMap, holds_date
from sendit.recipe.functions import FORMS
from testing.approval import Approved
from tests.deidentify.corpus import PEOPLE
from tests.deidentify.engine import KEYS

NAMES = (
    "Winterbottom^Joan^Mae",
    "Winterbottom^Joan^Mae^Dr^Jr",
    "DOE^JANE",
    "Doe, Jane",
    "Doe Jane M",
    "Müller-Lüdenscheidt^Hans-Jörg",
    "van der Berg^Willem",
    "van den BERG^W",
    "O'Brien^Seán",
    "Li^Or",
    "Li X^Or",
    "Ng^A",
    "de la Cruz^María José",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "Wang^XiaoDong=王^小东",
    "Иванов^Иван",
    "Παπαδόπουλος^Γιώργος",
    "Łukasz^Żółć",
    "Dr Stone^Rita",
    "Prof Dr^Rita",
    "Mr Mrs^Dr",
    "Herr Frau^Head",
    "CT^Chest",
    "QA^PHANTOM",
    "Phantom",
    "Test^Patient^Head",
    "Test^Winterbottom",
    "Test^T",
    "ACR QA",
    "Anonymous",
    "General Hospital",
    "Radiology Group^North",
    "Mount Imaging LLC",
    "Klinikum Nord",
    "Service^Unit",
    "X",
    "A^B^C",
    "Ab^Cd^Ef",
    "abc123^d4",
    "1234567",
    "",
    "^^^",
    "A^B^Cdef^Ghij^Klmn",
    "Smith_Jones^Ann.Marie",
    "Long^Black",
    "NONE",
    "Unknown^Unknown",
    "\u202eevil^name",
)
NUMBERS = (
    "7734512",
    "MRN7734512",
    "MRN-77 34.512",
    "0007734512",
    "7734512.0",
    "A12",
    "A123",
    "A0123",
    "AB1C2",
    "12345",
    "123456",
    "012345",
    "0123456",
    "ACC1",
    "UNKNOWN",
    "TEST",
    "0000",
    "000000",
    "1234567\\ABC999",
    "",
    "ÄÖ7734",
    "ABCDEFG",
    "MR7",
    "phantom1",
    "n/a",
)
TEXTS = (
    "winterbottom",
    "WINTERBOTTOM",
    "Winterbottom's",
    "J Winterbottom",
    "JWinterbottom",
    "WinterbottomJ",
    "WinterbottomJoan",
    "joanmae",
    "joan mae",
    "Mae",
    "Joan",
    "JoanX",
    "Winterbo",
    "Winterbott",
    "Winterb",
    "W1nterbottom",
    "muller",
    "mueller",
    "MÜLLER",
    "MULLER ludenscheidt",
    "Luedenscheidt",
    "Li",
    "Stone",
    "STONE HEAD",
    "stone joan",
    "Head Joan",
    "Head Head",
    "7734512",
    "773 4512",
    "773-4512",
    "773/4512",
    "773, 4512",
    "0007734512",
    "7734512.0",
    "7,734,512",
    "MRN7734512",
    "MRN 7734512",
    "mrn-7734512-2",
    "x7734512x",
    "17734512",
    "1.7734512",
    "ACC12345",
    "acc 12345",
    "12345",
    "ACC 1 2 3 4 5",
    "A179",
    "a-17-9",
    "a 17 9",
    "A1790",
    "B31f",
    "",
    "chest",
)
DAYS = (
    "19570314",
    "1957-03-14",
    "1957/3/14",
    "1957.03.14",
    "1957:03:14",
    "1957 03 14",
    "1957_3_14",
    "1957-03/14",
    "14.03.1957",
    "14/3/1957",
    "03/14/1957",
    "14-03-57",
    "3/14/57",
    "57-03-14",
    "14. 3. 1957",
    "14031957",
    "03141957",
    "195703141011",
    "19570314101112",
    "19570314251112",
    "19570314.101112",
    "1.19570314",
    "14mar1957",
    "14 mar 1957",
    "14-mar-57",
    "14. märz 1957",
    "14 de marzo de 1957",
    "14de marzo 57",
    "14th march, 1957",
    "mar 14, 1957",
    "march 14th 57",
    "1957 mar 14",
    "1957mar14",
    "14 mrt 1957",
    "14 mai 1957",
    "1er avr 1957",
    "14 août 1957",
    "14 déc 57",
    "14 дек 1957",
    "14 января 1957",
    "14 foo 1957",
    "1957年3月14日",
    "1957 년 3 월 14",
    "31.02.1957",
    "00.00.0000",
    "born 14.03.1957 in x",
    "1.2.826.14.3.57",
    "14.3.57.1",
    "12",
    "12:30:45",
    "20160314 19570314",
    "3.14.1957",
    "1957.14.03",
    "14.03.19577",
    "114.03.1957",
    "14  03  1957",
    "14--03--1957",
    "31 dec 99",
    "99 12 31",
)
WORDS = (
    "Müller",
    "Mueller",
    "Muller",
    "Ångström",
    "Aangstroem",
    "Łukasz",
    "Þór",
    "Straße",
    "STRASSE",
    "Œuvre",
    "Æther",
    "Ĳsselmeer",
    "Иванов",
    "Щукин",
    "Χρήστος",
    "Ψαρός",
    "ﬁsh",
    "ＡＢＣ",
    "naïve café",
    "neue Autos",
    "Aaron",
    "ß",
    "a1b22c",
    "x_y-z",
    "00-77 34",
    "0",
    "",
    "one two three four five six seven eight nine ten",
    "Đặng",
    "Ðor",
    "ıstanbul",
)
UIDS = (
    "1.2.840.113619.2.55.3.20160314.101112",
    "1.2.3.2016.3.14.7",
    "1.2.3.2016.03.14",
    "1.2.3.12016.03.14",
    "1.2.3.2016.13.14",
    "1.2.3.19691231",
    "1.2.3.19700101",
    "1.2.3.20991231",
    "1.2.3.21000101",
    "1.2.3.20161301",
    "1.2.3.20160132",
    "1.3.12.2.1107.5.2.32.35162.30000016031410111200000",
    "1.3.12.2.1107.5.2.32.35162.3000001603142511120",
    "1.3.12.2.1107.5.2.32.300000160314",
    "1.2.156.112605.14038013.160314101112",
    "1.2.156.112605.160314251112",
    "1.2.156.160314101112.1",
    "1.2.156.1603141011123",
    "1.2.3.1457950272",
    "1.2.3.1457950272123",
    "1.2.3.629999999",
    "1.2.3.630000000",
    "1.2.3.2099999999",
    "1.2.3.2100000000",
    "1.2.3.63593550272",
    "1.2.3.63593550272123",
    "1.2.3.635935502721234567",
    "1.2.3.63593550272123456789012",
    "1.2.3.64193550272",
    "1.2.840.113681.1.2.3668000000",
    "1.2.840.113681.1.2.2768000000",
    "1.2.840.113682.1.2.3668000000",
    "2.25.329800735698586629295641978511506172918",
    "1.2.3.4.5",
    "",
    "abc",
)
MOMENTS = (
    "20160314",
    " 20160314 ",
    "2016-03-14",
    "14.03.2016",
    "03/14/2016",
    "04/03/2016",
    "14 Mar 2016",
    "2016",
    "201603",
    "20160314101112",
    "20160314101112.123456",
    "20160314101112.1234567",
    "20160314101112+0100",
    "2016031410",
    "20160314 101112",
    "2016-03-14T10:11:12.5Z",
    "20160314-20160315",
    "20160314\\20160401",
    "20160314\\",
    "\\",
    "",
    "19000101",
    "19700101",
    "00010101",
    "00010102",
    "00010110",
    "99991230",
    "99991231",
    "20160230",
    "20160101",
    "20160102",
    "20160117",
    "20160118",
    "101112",
    "10:11:12.5",
    "1011",
    "10",
    "25",
    "24:00",
    "101112.",
    "3:54:31 PM",
    "Winterbottom",
)
CODES = (
    ("113691", "DCM"),
    ("T-D3000", "SRT"),
    ("T-D3000", "SNM3"),
    ("T-D3000", "99SDM"),
    ("T-D3000", "SCT"),
    ("51185008", "SCT"),
    ("18782-3", "LN"),
    ("mm", "UCUM"),
    ("1", "UCUM"),
    ("{counts}", "UCUM"),
    ("99WB", "99HOSP"),
    ("113691", "99HOSP"),
    ("nothing", "DCM"),
    ("nothing", "SRT"),
    ("", ""),
    ("RID58", "RADLEX"),
    ("en", "RFC5646"),
    ("121071", "DCM"),
    ("MR", "DCM"),
    ("F-01796", "SRT"),
)


def _rows(*rows: tuple[str, object]) -> Iterator[str]:
    for question, answer in rows:
        yield f"{question!r} -> {answer}"


def _sorted(values: object) -> str:
    return " ".join(sorted(values)) or "(nothing)"  # type: ignore[call-overload]


def test_words_of_names(approved: Approved) -> None:
    approved(
        f"{name!r} -> patient: {_sorted(people.words_of(name, patient=True))}; "
        f"other: {_sorted(people.words_of(name, patient=False))}"
        for name in NAMES
    )


def test_numbers(approved: Approved) -> None:
    approved(_rows(*((text, _sorted(people.numbers_of(text))) for text in NUMBERS)))


def test_peoples_own_values(approved: Approved) -> None:
    own = PeopleMatcher(PEOPLE)
    approved(
        (
            _sorted(PEOPLE),
            *(
                f"{text!r} -> LO {own.matches(text, 'LO')}, CS {own.matches(text, 'CS')}"
                for text in TEXTS
            ),
            f"of nobody: {PeopleMatcher().matches('Winterbottom 7734512', 'LO')}",
        )
    )


def test_days_in_texts(approved: Approved) -> None:
    approved(_rows(*((text, " ".join(spellings.days(spellings.fold(text)))) for text in DAYS)))


def test_spellings(approved: Approved) -> None:
    beginnings = _Everything()
    approved(
        f"{text!r} -> {folded!r} {[tuple(token) for token in spellings.tokens(folded)]} "
        f"words {spellings.words(text)} key {spellings.key(text)!r} keys "
        f"{[*spellings.keys_in(folded, spellings.tokens(folded), beginnings)]}"
        for text in (*WORDS, *NUMBERS, *TEXTS)
        for folded in [spellings.fold(text)]
    )


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


def test_uids(approved: Approved) -> None:
    uids = UidMap(KEYS)
    approved(
        f"{uid} -> dated {holds_date(uid.encode())}, undated {uids.undated(uid.encode()).decode()}"
        for uid in (*UIDS, "1.2.3 \\1.2.3.20160314\0", "1.2.3.1457950272\\")
    )


def test_new_uids(approved: Approved) -> None:
    uids = UidMap(KEYS)
    values = ("1.2.3", "1.2.3\0", " 1.2.3", "1.2.3\\", "1.2.840.10008.1.2\\1.2.3", "", "x")
    lines = [
        f"{value!r} under {root} -> {uids.many(value.encode(), root).decode()}"
        for value, root in product(values, ("2.25.", "1.2.826.0.1", f"1.{'7' * 40}."))
    ]
    approved([*lines, str(uids.uuid(b"1.2.3")), str(uids.uuid(b"")), uids.one(b"").decode()])


def test_moved_dates(approved: Approved) -> None:
    approved(
        f"{text!r} -> "
        + ", ".join(
            f"{vr} {days:+} {jitter.shift(vr, text, days)}"
            for vr in ("DA", "DT", "TM", "LO")
            for days in ((-17, 3) if vr == "DA" else (-17,))
        )
        for text in MOMENTS
    )


def test_codes(approved: Approved) -> None:
    units = ("mm", "{counts}", "{RBC}/mm", "{Winterbottom}", "{}", "{frames}{x}", "{SUVbw}g/ml")
    languages = ("en", "de-DE", "zh-Hans-CN", "english", "e", "de_DE", "x-y-z-1")
    approved(
        (
            *(f"{code} -> {codes.standard_meanings(*code)[:4]}" for code in CODES),
            *(f"{code[0]} is published: {codes.is_published(code[0])}" for code in CODES),
            *(f"{unit} has the remarks {codes.remarks_of(unit)}" for unit in units),
            *(f"{text}: {codes.LANGUAGE.fullmatch(text) is not None}" for text in languages),
        )
    )


def test_forms(approved: Approved) -> None:
    texts = (
        *("AXIAL", "Axial", "a", "B31f", "FIRST^SECOND", "Doe, Jane", "Doe,Jane", "1, 2", "a,b"),
        *("123456", "12345", "x123456y", "2016-03-14", "14.3.2016", "3/14/1957", "14.03.57"),
        *("syngo MR B17", "20160314", "7734512", "1.0\\2.0", "[x]", "{x}", '"x"', "O'Neil", "50%"),
        *("WINDOW1", "window", "Algo2", "preset12", "preset123", "chest", "chest pain", "STONE"),
        *("", " ", "Müller", "a@b", "x" * 16, "x" * 17, "X" * 17, "x" * 64, "x" * 65, "A_B C"),
        *("Winterbottom", "head stone", "1.5T", "a&b<c>=d", "a|b", "$5", "~x", "a;b", "x!", "y?"),
    )
    approved(
        f"{text!r} -> "
        + (", ".join(form for form in (*FORMS, "none") if forms.fits(form, text, PEOPLE)) or "no")
        + (" (of nobody: " + ", ".join(f for f in FORMS if forms.fits(f, text)) + ")")
        for text in texts
    )


def test_common_words(approved: Approved) -> None:
    words = (
        *("chest", "siemens", "philips", "anonymous", "winterbottom", "stone", "head", "avanto"),
        *("n/a", "na", "no", "", "test", "prof", "general", "phantom", "a", "lightspeed", "1"),
        *("de-identified", "CHEST", "Siemens", "norm", "long", "black", "rao", "per", "volunteer"),
    )
    approved(f"{word!r} -> {is_common(word)}, as a word {is_common_word(word)}" for word in words)


def test_units_of_time(approved: Approved) -> None:
    units = ("a", "mo", "wk", "d", "h", "min", "s", "")
    approved(
        f"90 years in {unit!r}: {structured_content.years_in(90, (unit, scheme))}, {scheme}"
        for unit in units
        for scheme in ("UCUM", "DCM")
    )
