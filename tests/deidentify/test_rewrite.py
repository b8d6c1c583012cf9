"""Bytes that no rule names are preserved; changes are written in the file's own encoding."""

from __future__ import annotations

import struct
import warnings
from datetime import date, timedelta
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from sendit.deidentify.plan import Change, compile_plan
from sendit.dicom.encode import element as element_bytes
from sendit.dicom.placeholder_dates import EARLIEST, LATEST, is_placeholder
from sendit.dicom.scan import EXPLICIT_LITTLE, TRAILING_PADDING, open_instance, read_header
from sendit.dicom.transfer_syntax import ENCAPSULATED
from sendit.errors import SkipInstance
from sendit.recipe.parse import bundled_names, read_recipe
from testing.builder import ObjectKind, end_with_pixels, make_dataset, to_bytes
from testing.operations import calls_of
from testing.real_files import real_files
from tests.deidentify.engine import (
    IDENTIFIERS,
    deidentified_bytes,
    deidentified_dataset,
    deidentify_files,
    plan_of,
)

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
]
KEEP_ALL = plan_of("KEEP ALL", uids=False)


def elements(ds: Dataset) -> list[tuple[int, object]]:
    """Return tags and values; sequences as lists of the same."""
    pairs: list[tuple[int, object]] = []
    for element in ds:
        if element.tag.element == 0 or element.tag == TRAILING_PADDING:
            continue
        value = [elements(item) for item in element.value] if element.VR == "SQ" else element.value
        pairs.append((int(element.tag), value))
    return pairs


def read(data: bytes) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(data), force=True)


@pytest.mark.filterwarnings("ignore")
def test_keep_all_plan_leaves_real_files_unchanged() -> None:
    compared = masked = 0
    for path in real_files():
        data = path.read_bytes()
        if len(data) > 1 << 20:
            continue  # the same with more pixels
        try:
            header = open_instance(path)
        except SkipInstance:
            continue
        if not header.sop_instance or path.name in {"winter.dcm", "MR_small_padded.dcm"}:
            continue  # has an element twice, and bytes after the pixels
        result, members = deidentify_files([data], KEEP_ALL)
        if not members:  # pixel data: see tests/dicom/test_pixel_data.py
            continue
        new = next(iter(members.values()))
        wanted, actual = elements(read(data)), elements(read(new))
        compressed = header.transfer_syntax in ENCAPSULATED  # comments in them are blanked
        if result.actions[Change.MASKED] or compressed:
            wanted = [pair for pair in wanted if pair[0] != 0x7FE00010]
            actual = [pair for pair in actual if pair[0] != 0x7FE00010]
            masked += result.actions[Change.MASKED]
        # pydicom decodes some UN values; compare those as text
        assert repr(actual) == repr(wanted), path.name
        assert read(new).file_meta.MediaStorageSOPInstanceUID == header.sop_instance
        compared += 1
    assert compared > 150
    assert masked <= 2


@pytest.mark.parametrize("kind", ["CT", "ENHANCED", "SR", "PDF"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_transfer_syntax_is_preserved(kind: ObjectKind, syntax: str) -> None:
    before = make_dataset(kind=kind, transfer_syntax=syntax)
    plan = plan_of(
        """
        REPLACE PatientName var:entity_id
        BLANK PatientID
        REMOVE PatientComments
        JITTER select:VR:DA var:jitter
        ADD PatientIdentityRemoved YES
        ADD Rows 77
        ADD DeidentificationMethodCodeSequence func:method_codes
        REPLACE select:VR:UI func:remap_uid
    """.replace("ADD Rows 77", "REPLACE Rows 77"),
        uids=False,
    )
    ds = deidentified_dataset(before, plan)
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.PatientName == IDENTIFIERS.patient_code
    assert ds["PatientID"].is_empty
    assert ds.PatientIdentityRemoved == "YES"
    if "Rows" in before:
        assert ds.Rows == 77
        assert ds.PixelData == before.PixelData
    assert ds.SOPClassUID == before.SOPClassUID
    assert ds.SOPInstanceUID.startswith("2.25.")
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    changed = {"PatientName", "PatientID", "PatientComments", "Rows", "PatientIdentityRemoved"}
    for element in before:
        if element.VR in ("DA", "UI", "SQ") or element.keyword in changed or element.tag.is_private:
            continue
        assert ds[element.tag].value == element.value, element.keyword


def test_length_encoding_is_preserved() -> None:
    inner = Dataset()
    inner.PatientName = "DOE^JANE"
    for undefined in (True, False):
        ds = make_dataset(ReferencedStudySequence=Sequence([inner, Dataset()]))
        ds["ReferencedStudySequence"].is_undefined_length = undefined
        ds.ReferencedStudySequence[0].is_undefined_length_sequence_item = undefined
        new = read(deidentified_bytes(ds, plan_of("REPLACE PatientName x")))
        sequence = new["ReferencedStudySequence"]
        assert sequence.is_undefined_length is undefined
        assert sequence.value[0].is_undefined_length_sequence_item is undefined
        assert sequence.value[0].PatientName == "x"


def test_elements_out_of_order_are_sorted() -> None:
    ds = make_dataset()
    data = to_bytes(ds)
    header = read_header(data)
    name, identifier = header.element(0x00100010), header.element(0x00100020)
    assert name is not None
    assert identifier is not None
    swapped = (
        data[: name[2]]
        + data[identifier[2] : identifier[4]]
        + data[name[4] : identifier[2]]
        + data[name[2] : name[4]]
        + data[identifier[4] :]
    )
    assert deidentified_bytes(swapped, KEEP_ALL) == deidentified_bytes(data, KEEP_ALL)


def test_last_of_two_elements_with_the_same_tag_wins() -> None:
    data = to_bytes(make_dataset(PatientID="SECOND"))
    header = read_header(data)
    patient_id = header.element(0x00100020)
    assert patient_id is not None
    first = data[patient_id[2] : patient_id[4]].replace(b"SECOND", b"FIRST ")
    twice = data[: patient_id[2]] + first + data[patient_id[2] :]
    new = deidentified_bytes(twice, plan_of("BLANK PatientName"))
    assert b"FIRST" not in new
    assert read(new).PatientID == "SECOND"


# Character sets -------------------------------------------------------------------------


def test_text_is_written_in_the_character_set_of_the_file() -> None:
    plan = plan_of("REPLACE PatientComments Ärztin Ω")
    assert (
        deidentified_dataset(
            make_dataset(SpecificCharacterSet="ISO_IR 192", PatientComments="x"), plan
        )["PatientComments"].value
        == "Ärztin Ω"
    )
    latin = make_dataset(SpecificCharacterSet="ISO_IR 100", PatientComments="x")
    assert deidentified_dataset(latin, plan).PatientComments == "Ärztin ?"
    ascii_only = make_dataset(SpecificCharacterSet=None, PatientComments="x")
    assert deidentified_dataset(ascii_only, plan).PatientComments == "?rztin ?"


def test_items_can_have_their_own_character_set() -> None:
    inner = Dataset()
    inner.SpecificCharacterSet = "ISO_IR 192"
    inner.PatientComments = "x"
    ds = make_dataset(
        SpecificCharacterSet="ISO_IR 100",
        PatientComments="x",
        ReferencedStudySequence=Sequence([inner]),
    )
    new = deidentified_bytes(ds, plan_of("REPLACE PatientComments Ω"))
    assert "Ω".encode() in new
    assert read(new).PatientComments == "?"


def test_value_lists_match_names_in_every_character_set() -> None:
    plan = plan_of("REMOVE values:known", sections="%values known\nFIELD PatientName\n")
    for terms, name in (
        ("ISO_IR 100", "Müller"),
        ("ISO_IR 192", "Ὀδυσσεύς"),
        ("GB18030", "王小东"),
        (["", "ISO 2022 IR 87"], "山田"),
        ("ISO_IR 144", "Люкceмбypг"),
    ):
        ds = make_dataset(
            SpecificCharacterSet=terms, PatientName=name, PatientComments=f"saw {name} today"
        )
        new = deidentified_dataset(ds, plan)
        assert "PatientComments" not in new, terms


# Sequences encoded as UN ----------------------------------------------------------------


def with_unknown(data: bytes, value: bytes) -> bytes:
    """Insert ReferencedFrameOfReferenceSequence encoded as UN (pydicom would not write it)."""
    header = read_header(data)
    at = next(e[2] for e in header.elements if e[0] > 0x30060010)
    return data[:at] + element_bytes(0x30060010, "UN", value, header.encoding) + data[at:]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_sequences_encoded_as_un_are_cleaned(syntax: str) -> None:
    inner = struct.pack("<HHL", 0x0010, 0x0010, 8) + b"DOE^JANE"
    inner += struct.pack("<HHL", 0x0008, 0x0080, 8) + b"GENERAL "
    inner = inner[16:] + inner[:16]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    data = with_unknown(to_bytes(make_dataset(transfer_syntax=syntax)), item)
    assert b"DOE^JANE" in data
    new = deidentified_bytes(data, plan_of("REPLACE PatientName x"))
    assert b"DOE^JANE" not in new
    assert b"GENERAL" in new


def test_unreadable_sequences_are_removed() -> None:
    data = with_unknown(to_bytes(make_dataset()), b"\xfe\xff\x00\xe0\x40\0\0\0DOE^JANE")
    result, members = deidentify_files([data], plan_of("BLANK PatientName"))
    assert result.actions[Change.OPAQUE] == 1
    assert b"DOE^JANE" not in next(iter(members.values()))


# Intervals ------------------------------------------------------------------------------

DATE_KEYWORDS = ["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate"]


@given(
    st.lists(
        st.dates(date(EARLIEST, 1, 1), date(LATEST, 12, 31)).filter(
            lambda day: not is_placeholder(day)
        ),
        min_size=5,
        max_size=5,
    ),
    st.integers(-3650, 3650).filter(bool),
    st.sampled_from(SYNTAXES),
)
@settings(max_examples=25)
def test_intervals_between_dates_are_preserved(dates: list[date], days: int, syntax: str) -> None:
    ds = make_dataset(transfer_syntax=syntax, rows=2, columns=2)
    inner = Dataset()
    for keyword, day in zip(DATE_KEYWORDS, dates, strict=True):
        text = f"{day.year:04}{day.month:02}{day.day:02}"
        setattr(ds, keyword, text)
        setattr(inner, keyword, text)
    inner.AcquisitionDateTime = f"{ds.StudyDate}103000.5+0100"
    ds.ReferencedStudySequence = Sequence([inner])
    new = deidentified_dataset(
        ds, plan_of(f"JITTER select:VR:DA {days}\nJITTER select:VR:DT {days}")
    )
    for where in (new, new.ReferencedStudySequence[0]):
        for keyword, day in zip(DATE_KEYWORDS, dates, strict=True):
            moved = day + timedelta(days)
            assert where[keyword].value == f"{moved.year:04}{moved.month:02}{moved.day:02}"
            if keyword == "StudyDate":
                text = new.ReferencedStudySequence[0].AcquisitionDateTime
                assert text == f"{where[keyword].value}103000.5+0100"


def test_dates_that_cannot_be_shifted_are_removed_and_counted() -> None:
    plan = plan_of("JITTER select:VR:DA 5\nJITTER select:VR:DT 5")
    ds = make_dataset()
    data = to_bytes(ds)
    for keyword, element in (("StudyDate", 0x00080020), ("AcquisitionDate", 0x00080022)):
        date_element = read_header(data).element(element)
        assert date_element is not None, keyword
        data = data[: date_element[3]] + b"2020    " + data[date_element[4] :]
    result, members = deidentify_files([data], plan)
    new = read(next(iter(members.values())))
    assert new["StudyDate"].is_empty  # type 2 in a CT image
    assert "AcquisitionDate" not in new  # type 3
    assert result.actions[Change.UNMOVABLE] == 1
    assert result.actions[Change.UNMOVABLE_BLANKED] == 1


# Linear time ----------------------------------------------------------------------------


def test_functional_groups_take_linear_time() -> None:
    plan = plan_of("REMOVE PatientName\nJITTER endswith:DateTime 3")

    def work(frames: int) -> int:
        data = to_bytes(make_dataset(kind="ENHANCED", frames=frames, rows=2, columns=2))
        return calls_of(lambda: deidentify_files([data], plan))

    work(2)
    few, many = work(50), work(400)
    assert many < 8 * few * 1.1


# Values that do not match their VR ------------------------------------------------------


def with_value(data: bytes, tag: int, vr: str, value: bytes) -> bytes:
    """Replace an element by one with this VR and value, bypassing pydicom's checks."""
    header = read_header(data)
    place = header.element(tag)
    assert place is not None
    return data[: place[2]] + element_bytes(tag, vr, value, header.encoding) + data[place[4] :]


@pytest.mark.parametrize("vr", ["OB", "UN", "LO", "CS", "UT", "US"])
def test_rules_apply_to_attributes_with_a_wrong_vr(vr: str) -> None:
    plan = plan_of(
        """
        JITTER StudyDate 3
        JITTER select:VR:DA 3
        REPLACE StudyDescription func:clean_text
        REPLACE FrameOfReferenceUID func:remap_uid
        REPLACE PatientName var:entity_id
        REMOVE select:VR:TM
    """.replace("JITTER StudyDate 3\n", "")
    )
    data = to_bytes(make_dataset(StudyDescription="x"))
    for tag, value in (
        (0x00080020, b"20200118"),
        (0x00081030, b"DOE^JANE"),
        (0x00200052, b"1.2.826.0.1.3680043.8.498.9.9."),
        (0x00100010, b"DOE^JANE"),
        (0x00080030, b"DOE^JANE"),
    ):
        new = deidentified_bytes(with_value(data, tag, vr, value), plan)
        assert value not in new, (hex(tag), vr)
    moved = deidentified_bytes(with_value(data, 0x00080020, vr, b"20200118"), plan)
    assert b"20200121" in moved


SEQUENCES = [tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ"]


@pytest.mark.parametrize("vr", ["OB", "OW", "UN", "LO", "UT", "UI", "DS"])
@pytest.mark.parametrize("recipe", ["default", "default-retain-uids"])
def test_sequences_with_another_vr_are_cleaned(vr: str, recipe: str) -> None:
    """Found by the fuzzer: a sequence encoded as OW that a rule was meant to clean inside."""
    assert len(SEQUENCES) > 400
    header = read_header(to_bytes(make_dataset(rows=4, columns=4)))
    there = {element[0]: header.data[element[2] : element[4]] for element in header.elements}
    there |= {tag: element_bytes(tag, vr, b"DOE^JANE", header.encoding) for tag in SEQUENCES}
    start = header.elements[0][2]
    data = header.data[:start] + b"".join(there[tag] for tag in sorted(there) if tag >> 16 != 4)
    assert data.count(b"DOE^JANE") > 400
    assert b"DOE^JANE" not in deidentified_bytes(data, compile_plan(read_recipe(recipe)))


def test_words_in_numeric_and_date_attributes_are_always_removed() -> None:
    data = to_bytes(make_dataset(PatientWeight="77", PatientAge="050Y"))
    for tag, vr in ((0x00101030, "DS"), (0x00101010, "AS"), (0x00080030, "TM"), (0x00200013, "IS")):
        for rules in ("KEEP ALL", "BLANK PatientName"):
            bad = with_value(data, tag, vr, b"DOE^JANE")
            result, members = deidentify_files([bad], plan_of(rules))
            assert b"DOE^JANE" not in next(iter(members.values()))
            assert result.actions[Change.WORDS] == 1
    for tag in (0x00101030, 0x00200013, 0x00080030, 0x00280106):  # the last one is US
        for vr in ("LO", "PN", "UT", "CS", "UI"):
            for rules in ("KEEP ALL", "BLANK PatientName"):
                bad = with_value(data, tag, vr, b"DOE^JANE")
                assert b"DOE^JANE" not in deidentified_bytes(bad, plan_of(rules))
                assert b"12345678" in deidentified_bytes(
                    with_value(data, tag, vr, b"12345678"), plan_of(rules)
                )
    odd = with_value(data, 0x00101030, "DS", b"NaN\\1.5E+3\\-Inf ")
    assert b"NaN\\1.5E+3\\-Inf " in deidentified_bytes(odd, plan_of("BLANK PatientName"))


@pytest.mark.parametrize(
    ("tag", "vr", "value", "stays"),
    [
        (0x00280106, "OW", b"Habersham ", False),  # Smallest Image Pixel Value, a binary number
        (0x00280106, "UN", b"Habersham ", False),
        (0x00280106, "UN", b"q=J?}?U?d;_?", True),
        (0x00280106, "UN", b"AB", True),  # two letters are also a number
        (0x00280106, "OB", b"Hab\x01\x02rsham", True),
    ],
)
def test_words_are_removed_from_attributes_without_a_rule(
    tag: int, vr: str, value: bytes, stays: bool
) -> None:
    data = with_value(to_bytes(make_dataset()), tag, vr, value)
    assert (value in deidentified_bytes(data, plan_of("BLANK PatientName"))) is stays


# Caching --------------------------------------------------------------------------------


def test_private_attribute_cache_depends_on_the_creator() -> None:
    """Two files with the same bytes at the same tag, in blocks of two creators."""

    def file(instance: int, creator: str) -> bytes:
        ds = make_dataset(private=False, instance=instance)
        ds.private_block(0x0019, creator, create=True).add_new(0x01, "LO", "THE SAME")
        return to_bytes(ds)

    plan = plan_of('KEEP 0019,"ACME",01\nREPLACE 0019,"OTHER",01 ANOTHER')
    files = [file(1, "ACME"), file(2, "OTHER"), file(3, "ACME"), file(4, "OTHER")]
    for order in (files, files[::-1]):
        _, members = deidentify_files(order, plan)
        values = [read(data)[0x0019, 0x1001].value for data in members.values()]
        assert values == ["THE SAME" if b"ACME" in data else "ANOTHER" for data in order]


def test_private_sequence_cache_depends_on_the_path() -> None:
    """The same bytes in two functional groups, of which a rule names one."""
    image, holders = Dataset(), []
    image.ImageComments = "THE SAME"
    image.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 2.5)
    for _ in range(2):
        holder = Dataset()
        block = holder.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", Sequence([image]))
        holders.append(Sequence([holder]))
    ds = make_dataset(private=False)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = holders
    plan = plan_of(
        'KEEP (2005,"Philips MR Imaging DD 005",0F)\n'
        'KEEP (2005,"Philips MR Imaging DD 001",0E)\n'
        "REMOVE contains:^SharedFunctionalGroupsSequence__.*ImageComments$"
    )
    new = deidentified_dataset(ds, plan)
    left = [
        sequence[0].private_block(0x2005, "Philips MR Imaging DD 005")[0x0F].value[0]
        for sequence in (new.SharedFunctionalGroupsSequence, new.PerFrameFunctionalGroupsSequence)
    ]
    assert ["ImageComments" in item for item in left] == [False, True]


@pytest.mark.parametrize(
    ("term", "written", "text", "decoded"),
    [
        (b"ISO IR 192", "ISO_IR 192", "Größe".encode(), "Größe"),
        (b"ISO IR 192", "ISO_IR 192", "Größe".encode("latin-1"), "Gr??e"),
        (b"ISO IR 192", "ISO_IR 192", "Größe".encode() + b"\xff", "Größe?"),  # the rest is complete
        (b"ISO IR 100", "ISO_IR 100", "Größe".encode("latin-1"), "Größe"),
        (b"KLINGONIAN", None, "Größe".encode("latin-1"), "Gr??e"),
    ],
)
@pytest.mark.parametrize("rules", ["BLANK PatientName", "KEEP ContentDescription"])
def test_text_is_decoded_with_the_declared_character_set(
    term: bytes, written: str | None, text: bytes, decoded: str, rules: str
) -> None:
    files = []
    for instance in (1, 2):  # the second file matches the template of the first
        dataset = make_dataset(
            instance=instance,
            SpecificCharacterSet="ISO_IR 144",
            ContentDescription="ZZZZZZZZ",
            Laterality="XX",
            PatientName="A",
            private=False,
        )
        end_with_pixels(dataset)
        data = to_bytes(dataset).replace(b"ISO_IR 144", term, 1)
        other = text.ljust(8) if instance == 1 else b" " * (8 - len(text)) + text
        files.append(
            data.replace(b"ZZZZZZZZ", other, 1).replace(b"CS\x02\0XX", b"CS\x02\0\xe4X", 1)
        )
    _, members = deidentify_files(files, plan_of(rules))
    assert len(members) == 2
    for member in members.values():
        new = read(member)
        assert new.get("SpecificCharacterSet") == written
        assert str(new.ContentDescription).strip().rstrip("?") == decoded.rstrip("?")
        assert new.Laterality == "?X"


def test_binary_numbers_stay_numbers() -> None:
    dataset = make_dataset()
    dataset.add_new("PatientWeight", "FD", 70.5)
    dataset.add_new("PatientSize", "FL", 1.75)
    dataset.add_new("PatientAge", "US", 7)
    rules = "REPLACE PatientWeight func:known_value\nREPLACE PatientSize func:known_value\n"
    new = deidentified_dataset(dataset, plan_of(f"{rules}REPLACE PatientAge func:cap_age"))
    assert (new.PatientWeight, new.PatientSize) == (70.5, 1.75)
    assert not new.PatientAge


def with_pixels(value: bytes, vr: str = "OB") -> Dataset:
    """Make an item of four by four pixels, like an icon."""
    made = Dataset()
    made.Rows = made.Columns = 4
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.add_new(0x7FE00010, vr, value)
    return made


SAMPLES = bytes(range(16))
BUNDLED = [name for name in bundled_names() if "filter" not in name]


def with_icon(item: Dataset) -> FileDataset:
    ds = make_dataset()
    ds.IconImageSequence = Sequence([item])
    return ds


@pytest.mark.parametrize("recipe", BUNDLED)
def test_bundled_recipes_remove_pixels_in_sequences(recipe: str) -> None:
    item = with_pixels(SAMPLES)
    item.PixelSpacing = [1, 1]
    item.add_new(0x60003000, "OW", b"OVERLAY1")
    item.add_new(0x50003000, "OW", b"CURVE123")
    holder = Dataset()
    holder.PixelMeasuresSequence = Sequence([item])
    image = Dataset()
    image.IconImageSequence = Sequence([item])
    ds = with_icon(item)
    ds.ReferencedImageSequence = Sequence([image])
    ds.SharedFunctionalGroupsSequence = Sequence([holder])
    ds.WaveformSequence = Sequence([item])
    _, members = deidentify_files([to_bytes(ds)], compile_plan(read_recipe(recipe)))
    (new,) = members.values()
    assert SAMPLES not in new and b"OVERLAY1" not in new and b"CURVE123" not in new
    measures = read(new).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.PixelSpacing == [1, 1]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("rules", ["KEEP IconImageSequence", "KEEP ALL"])
@pytest.mark.parametrize("trailing", [b"", b"\0\0", b"text behind the frame"])
def test_a_kept_icon_is_reduced_to_its_frame(rules: str, syntax: str, trailing: bytes) -> None:
    ds = with_icon(with_pixels(SAMPLES + trailing))
    ds.file_meta.TransferSyntaxUID = syntax
    result, members = deidentify_files([to_bytes(ds)], plan_of(rules, uids=False))
    (new,) = members.values()
    if len(trailing) < 16:
        assert read(new).IconImageSequence[0].PixelData == SAMPLES
    else:  # ambiguous: either the frame or its description is wrong
        assert "IconImageSequence" not in read(new)
        assert result.actions[Change.NESTED_PIXELS] == 1
    assert b"text" not in new


def test_unnamed_icons_are_checked_and_other_nested_pixels_removed() -> None:
    ds = with_icon(with_pixels(SAMPLES + b"text"))
    measures = with_pixels(b"x" * 16)
    ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = Sequence([measures])
    _, members = deidentify_files([to_bytes(ds)], plan_of("REMOVE PatientName", uids=False))
    (new,) = members.values()
    assert read(new).IconImageSequence[0].PixelData == SAMPLES
    measures = read(new).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert "PixelData" not in measures and measures.Rows == 4


@pytest.mark.parametrize("harm", ["short", "no rows", "fragments", "another VR"])
def test_inconsistent_icons_are_removed(harm: str) -> None:
    item = with_pixels(SAMPLES[:14] if harm == "short" else SAMPLES)
    if harm == "no rows":
        del item.Rows
    elif harm == "fragments":
        item[0x7FE00010].value = encapsulate([SAMPLES])
        item[0x7FE00010].is_undefined_length = True
    elif harm == "another VR":
        item = with_pixels(b"MUELLER^MARIA   ".decode(), "LT")
    result, members = deidentify_files([to_bytes(with_icon(item))], plan_of("KEEP ALL"))
    for new in members.values():
        assert "IconImageSequence" not in read(new)
    assert result.actions[Change.NESTED_PIXELS] == 1 or not members


# Values of private attributes -----------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2])
def test_value_lists_read_private_attributes_by_creator(block: int) -> None:
    ds = make_dataset(private=False, PatientComments="for Quackenbush", StudyDescription="Zanzibar")
    for number in range(1, block):
        ds.private_block(0x0019, f"OTHER {number}", create=True).add_new(0x01, "LO", "Zanzibar")
    ds.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", "Quackenbush")
    inner = Dataset()
    inner.CodeMeaning = "seen by quackenbush"
    inner.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", "Innermost")
    ds.ProcedureCodeSequence = Sequence([inner])
    ds.SeriesDescription = "innermost"
    sections = '%values known\nFIELD (0019,"ACME",01)\n'
    new = deidentified_dataset(ds, plan_of("BLANK values:known", sections=sections))
    assert new["PatientComments"].is_empty
    assert new["SeriesDescription"].is_empty
    assert new.ProcedureCodeSequence[0]["CodeMeaning"].is_empty
    assert new.StudyDescription == "Zanzibar"


def test_value_lists_are_split_and_skip_short_values() -> None:
    ds = make_dataset(
        PatientName="Quackenbush^Al^",
        PatientComments="QUACKENBUSH",
        StudyDescription="al",
        SeriesDescription="Quackenbush^Al^",
    )
    ds.add_new("SelectorOBValue", "OB", b"xx quackenbush ")
    ds.add_new("SelectorOWValue", "OW", b"nothing here    ")
    sections = '%values known\nSPLIT PatientName by="^";minlength=3\nFIELD PixelData\n'
    new = deidentified_dataset(ds, plan_of("REMOVE values:known", sections=sections))
    assert not {"PatientComments", "SeriesDescription", "SelectorOBValue"} & set(new.dir())
    assert new.StudyDescription == "al"
    assert "SelectorOWValue" in new
    least = sections.replace("minlength=3", "minlength=2")
    assert "StudyDescription" not in deidentified_dataset(
        ds, plan_of("REMOVE values:known", sections=least)
    )


@pytest.mark.parametrize("vr", ["OB", "UN", "OW"])
def test_value_lists_match_binary_values(vr: str) -> None:
    ds = make_dataset(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192")
    sections = '%values known\nSPLIT PatientName by="^";minlength=3\n'
    plan = plan_of("REMOVE values:known\nKEEP PatientName", sections=sections)
    for text, stays in (("\1\2 MüLLER\3", False), ("\1\2 Miller\3\0", True)):
        ds.add_new("SelectorOBValue", vr, text.encode())
        assert ("SelectorOBValue" in deidentified_dataset(ds, plan)) is stays


# Dates in attributes of every VR --------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "moved"),
    [
        ("StationAETitle", "AE", b"20200118", "20200121"),
        ("StationAETitle", "AE", b"CT1 ", "CT1"),
        ("BodyPartExamined", "CS", b"20200118", "20200121"),
        ("BodyPartExamined", "CS", b"CHEST ", "CHEST"),
        ("SliceThickness", "DS", b"20200118", "20200121"),
        ("SliceThickness", "DS", b"1.5 ", "1.5"),
        ("AcquisitionNumber", "IS", b"20200118", "20200121"),
        ("AcquisitionNumber", "IS", b"7 ", "7"),
        ("StudyID", "SH", b"20200118", "20200121"),
        ("StudyID", "SH", b"  ", "  "),
        ("StudyID", "SH", b"ABC ", ""),  # type 2
        ("Manufacturer", "LO", b"ACME", ""),  # type 2
        ("InstitutionName", "LO", b"ACME", None),  # type 3
        ("StudyTime", "TM", b"101112", "101112"),
        ("StudyTime", "TM", b"lunch ", ""),
        ("AcquisitionDateTime", "DT", b"20200118101112", "20200121101112"),
        ("FrameOfReferenceUID", "UI", b"1.2.20200118", "1.2.20200118"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_jitter_applies_to_dates_of_every_vr(
    keyword: str, vr: str, value: bytes, moved: str | None
) -> None:
    before = make_dataset(**({keyword: "1"} if vr in {"DS", "IS"} else {keyword: "X"}))
    data = with_value(to_bytes(before), int(before[keyword].tag), vr, value)
    new = deidentified_dataset(data, plan_of(f"JITTER contains:^({keyword}|SeriesDate)$ 3"))
    shown = None if keyword not in new else str(new[keyword].value or "")
    assert shown == (moved if moved is None else moved.strip())


@pytest.mark.filterwarnings("ignore")
def test_a_possibly_required_date_of_an_unknown_class_becomes_a_dummy() -> None:
    ds = make_dataset(SOPClassUID="1.2.3.4", AcquisitionDateTime="X")
    data = with_value(to_bytes(ds), 0x00080020, "DA", b"soon")
    data = with_value(data, 0x0008002A, "DT", b"soon")
    plan = plan_of("JITTER StudyDate 3\nJITTER AcquisitionDateTime 3")
    result, members = deidentify_files([data], plan)
    new = read(next(iter(members.values())))
    assert (new.StudyDate, new.AcquisitionDateTime) == ("19000101", "19000101000000")
    assert result.actions[Change.UNMOVABLE_BLANKED] == 2


def test_value_lists_do_not_shift_dates_in_text() -> None:
    ds = make_dataset(PatientComments="20200118 and more", PatientID="20200118", StudyID="20200118")
    sections = "%values known\nFIELD PatientID\n"
    new = deidentified_dataset(ds, plan_of("JITTER values:known 3", sections=sections))
    assert new.PatientComments == "20200118 and more"
    assert new.StudyID == "20200121"


# Template matches -----------------------------------------------------------------------


def test_value_lists_are_read_per_file_in_template_matches() -> None:
    plan = plan_of("BLANK values:known", sections="%values known\nFIELD PatientID\n")
    files = []
    for number, identifier in ((1, "AAAA"), (2, "BBBB"), (3, "AAAA")):
        ds = make_dataset(instance=number, PatientID=identifier, StudyDescription="AAAA BBBB C")
        ds.InstitutionName = "AAAA"
        end_with_pixels(ds)
        files.append(to_bytes(ds))
    result, members = deidentify_files(files, plan)
    assert len(members) == 3, result.outcomes
    left = [str(read(data).InstitutionName or "") for data in members.values()]
    assert left == ["", "AAAA", ""]


def test_differing_private_elements_are_checked_in_template_matches() -> None:
    """Files of one structure: a value kept in the first may have to be removed from the second."""
    files = []
    for number, value in enumerate((b"\x24\x00", b"\x30\x00", b"\x24\x00"), 1):
        ds = make_dataset(instance=number, private=False)
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 36)
        ds.PatientComments = f"file {number}"
        end_with_pixels(ds)
        data = to_bytes(ds)
        mark = struct.pack("<HH2sH", 0x0019, 0x100A, b"US", 2)
        files.append(data.replace(mark + b"\x24\x00", mark + value))
    plan = plan_of('KEEP (0019,"SIEMENS MR HEADER",0A)\nBLANK PatientComments')
    alone = [next(iter(deidentify_files([data], plan)[1].values())) for data in files]
    result, members = deidentify_files(files, plan)
    assert list(members.values()) == alone
    assert [read(data)[0x0019, 0x100A].value for data in alone] == [36, 48, 36]
    assert result.actions[Change.BLANKED] >= 3
    assert result.actions[Change.KEPT] == sum(
        deidentify_files([data], plan)[0].actions[Change.KEPT] for data in files
    )


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "stays"),
    [
        ("SOPClassesInStudy", "UI", b"1.2.840.10008.5.1.4.1.1.2", True),
        ("SOPClassesInStudy", "UI", b"Winterbottom", False),
        ("SOPClassesInStudy", "LO", b"Winterbottom 7", False),
        ("SOPClassesInStudy", "UN", b"Winterbottom 7", False),
        ("AcquisitionTime", "TM", b"101112", True),
        ("AcquisitionTime", "DT", b"20160314101112", False),
        ("SeriesNumber", "DA", b"20160314", False),
        ("DetectorType", "DA", b"20160314", False),
        ("CodeValue", "DA", b"20160314", False),
        ("PregnancyStatus", "DA", b"20160314", False),  # the default recipe keeps it
        ("CodeValue", "SH", b"20160314", True),
    ],
)
def test_no_uid_holds_words_and_no_date_stands_under_another_attribute(
    keyword: str, vr: str, value: bytes, stays: bool
) -> None:
    data = make_dataset(private=False)
    tag = int(Tag(keyword))
    if Tag(keyword) in data:
        del data[Tag(keyword)]
    whole = to_bytes(data)
    before = read_header(whole)
    at = next((each[2] for each in before.elements if each[0] > tag), len(whole))
    whole = whole[:at] + element_bytes(tag, vr, value, EXPLICIT_LITTLE) + whole[at:]
    plan = compile_plan(read_recipe("default"))
    after = read_header(deidentified_bytes(whole, plan))
    assert ((after.raw(tag) or b"").strip(b" \0") == value) is stays


@pytest.mark.parametrize("vr", ["DA", "DT"])
@pytest.mark.parametrize("rules", ["KEEP ALL", "KEEP ContentSequence", "REMOVE values:names"])
def test_no_program_keeps_a_date_under_another_attribute(rules: str, vr: str) -> None:
    top = plan_of(rules, sections="%values names\nFIELD PatientName").top
    for level in (top, top.child(0x0040A730, "", kept=True)):
        for tag, (known, *_) in DicomDictionary.items():
            if known not in {"DA", "DT", "SQ", "UN"} and tag >= 0x00080000:
                assert level.program(tag, vr).removed is not None, f"{tag:08X}"


def test_no_date_is_kept_under_another_attribute_of_a_cleaned_sequence() -> None:
    item = element_bytes(0x00180086, "DA", b"20160314", EXPLICIT_LITTLE)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(item)) + item
    whole = to_bytes(make_dataset(private=False))
    at = next(each[2] for each in read_header(whole).elements if each[0] > 0x0040A730)
    new = deidentified_bytes(
        whole[:at] + sequence + whole[at:], compile_plan(read_recipe("default"))
    )
    assert b"20160314" not in new


@pytest.mark.parametrize("count", [2, 6000])
def test_dates_in_listed_private_sequences_are_shifted(count: int) -> None:
    """Also in one too large to be cached."""
    items = []
    for number in range(count):
        item = Dataset()
        item.AcquisitionDate, item.InstanceNumber = "20160314", number
        item.ImagePositionPatient = [-12.5, 30.25, number]
        items.append(item)
    ds = make_dataset(private=False)
    ds.private_block(0x0065, "Image Private Header", create=True).add_new(0x51, "SQ", items)
    made = deidentified_dataset(ds, compile_plan(read_recipe("default")))[0x0065, 0x1051].value
    assert len(made) == count
    assert {item.AcquisitionDate for item in made} == {"20160226"}
    assert [item.ImagePositionPatient[2] for item in made] == list(range(count))


@pytest.mark.parametrize("keep", ['KEEP (0029,"ACME",01)', 'KEEP (0029,"OTHER",01)'])
def test_a_private_block_reserved_twice_does_not_stay(keep: str) -> None:
    ds = make_dataset(private=False)
    ds.private_block(0x0029, "ACME", create=True).add_new(0x01, "LO", "inner")
    data = to_bytes(ds)
    at = data.index(b"\x29\0\x10\0LO")
    again = element_bytes(0x00290010, "LO", b"OTHER ", EXPLICIT_LITTLE)
    plan = plan_of(f"{keep}\nREMOVE ALL")
    assert ((0x0029, 0x1001) in deidentified_dataset(data, plan)) is ("ACME" in keep)
    twice = deidentified_dataset(data[: at + 12] + again + data[at + 12 :], plan)
    assert not [element for element in twice if element.tag.is_private]


def test_a_kept_private_block_reserved_twice_leaves_a_readable_file() -> None:
    ds = make_dataset(private=False)
    ds.private_block(0x0029, "ACME", create=True).add_new(0x01, "LO", "inner")
    data = to_bytes(ds)
    at = data.index(b"\x29\0\x10\0LO") + 12
    twice = data[:at] + element_bytes(0x00290010, "LO", b"OTHER ", EXPLICIT_LITTLE) + data[at:]
    made = deidentified_dataset(twice, KEEP_ALL)
    assert made.PixelData == ds.PixelData
    assert made.Rows == ds.Rows
