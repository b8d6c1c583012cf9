"""Pixel data is reduced to exactly the frames that the header declares."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from sendit.batch import Outcome, Reason
from sendit.dicom.iod import is_image
from sendit.dicom.scan import read_header
from sendit.dicom.transfer_syntax import ENCAPSULATED, RLE_LOSSLESS
from sendit.errors import SkipInstance
from testing.builder import SOP_CLASSES, jpeg, jpeg_segment, make_dataset, to_bytes
from testing.real_files import real_files
from tests.deidentify.engine import (
    deidentified_bytes,
    deidentified_dataset,
    deidentify_files,
    plan_of,
)

PLAN = plan_of("BLANK PatientName")
NAME = b"WINTERBOTTOM^AGNES  "


def outcome(ds) -> tuple[Outcome, str | None]:
    result, _ = deidentify_files([ds if isinstance(ds, bytes) else to_bytes(ds)], PLAN)
    return result.outcomes[1]


def image(**elements: object):
    return make_dataset(rows=4, columns=4, LargestImagePixelValue=None, **elements)


# Native ---------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_bytes_after_the_last_frame_are_removed(syntax: str) -> None:
    ds = image(transfer_syntax=syntax)
    samples = ds.PixelData
    for trailing in (b"\0\0", NAME, bytes(500)):
        ds.PixelData = samples + trailing
        assert deidentified_dataset(ds, PLAN).PixelData == samples
    ds.PixelData = samples + NAME * 2  # one frame more than declared
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.PIXELS_DIFFER)


def test_padding_byte_becomes_zero() -> None:
    ds = make_dataset(kind="SC", rows=3, columns=3)
    samples = ds.PixelData[:27]
    for padding in (b"\0", b"x", b"", b"\0more"):
        ds.PixelData = samples + padding
        assert deidentified_dataset(ds, PLAN).PixelData == samples + b"\0"


def test_last_byte_of_big_endian_words_is_not_padding() -> None:
    ds = make_dataset(kind="SC", rows=3, columns=3, transfer_syntax=ExplicitVRBigEndian)
    samples = ds.PixelData[:26] + b"\0\x9e"
    ds["PixelData"].VR = "OW"
    for trailing in (b"", b"more"):
        ds.PixelData = samples + trailing
        assert deidentified_dataset(ds, PLAN).PixelData == samples


@pytest.mark.parametrize(
    ("values", "length", "right"),
    [
        ({"BitsAllocated": 1, "NumberOfFrames": 3, "Rows": 3}, 5, True),
        (
            {"BitsAllocated": 1, "NumberOfFrames": 3, "Rows": 3},
            6,
            True,
        ),  # starting at a byte boundary
        ({"BitsAllocated": 1, "NumberOfFrames": 3, "Rows": 3}, 4, False),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}, 64, True),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}, 96, True),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}, 62, False),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_PARTIAL_420"}, 48, True),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, 64, False),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, 64, True),
        ({"BitsAllocated": 12}, 24, True),
        ({"NumberOfFrames": "2"}, 64, True),
        ({"NumberOfFrames": "2"}, 62, False),
    ],
)
def test_pixel_data_length_must_match_the_header(
    values: dict[str, object], length: int, right: bool
) -> None:
    ds = image(**values)
    ds.PixelData = bytes(length)
    if right:
        assert deidentified_dataset(ds, PLAN).PixelData == bytes(length + length % 2)
    else:
        assert outcome(ds) == (Outcome.QUARANTINED, Reason.SHORT_PIXELS)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_pixels_without_a_description_are_refused(keyword: str) -> None:
    assert outcome(image(**{keyword: 0}))[1] == Reason.PIXELS_DIFFER
    ds = image()
    ds.NumberOfFrames = 0
    assert outcome(ds)[1] == Reason.PIXELS_DIFFER


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
def test_float_pixel_data(tag: int, vr: str, size: int) -> None:
    ds = image()
    del ds.PixelData
    values = np.arange(16, dtype=f"<f{size}").tobytes()
    ds.add_new(tag, vr, values + NAME)
    assert deidentified_dataset(ds, PLAN)[tag].value == values
    ds.add_new(tag, vr, values[:-size])
    assert outcome(ds)[1] == Reason.SHORT_PIXELS


def test_an_image_has_exactly_one_pixel_element() -> None:
    ds = image()
    del ds.PixelData
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.NO_PIXELS)
    assert outcome(to_bytes(ds) + bytes(4096)) == (Outcome.QUARANTINED, Reason.ZERO_FILLED)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.3"  # by its pixel module
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.NO_PIXELS)
    del ds.BitsAllocated
    assert outcome(ds) == (Outcome.DELIVERED, None)
    ds = image()
    ds.add_new(0x7FE00008, "OF", bytes(64))
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.MALFORMED)


def test_image_classes() -> None:
    images = {kind for kind, uid in SOP_CLASSES.items() if is_image(uid)}
    assert images == {"CT", "MR", "ENHANCED", "US", "SC"}
    assert is_image("1.2.840.10008.5.1.4.1.1.66.4")  # segmentation
    assert not is_image(
        "1.2.840.10008.5.1.4.1.1.481.2"
    )  # dose, which may consist of histograms only
    assert not is_image("1.2.3")


def test_black_pixels_are_valid_unless_the_header_declares_bright_values() -> None:
    ds = image()
    ds.PixelData = bytes(32)
    assert outcome(ds) == (Outcome.DELIVERED, None)
    ds.add_new("LargestImagePixelValue", "US", 1)
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.ZERO_FILLED)
    ds.PixelData = bytes(31) + b"\1"
    ds.BitsStored, ds.HighBit = 16, 15
    assert outcome(ds) == (Outcome.DELIVERED, None)


def test_differing_class_in_file_meta() -> None:
    ds = image()
    ds.file_meta.MediaStorageSOPClassUID = SOP_CLASSES["SC"]
    assert outcome(ds) == (Outcome.QUARANTINED, Reason.OTHER_CLASS)
    ds = image()
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"  # as left behind by software
    assert outcome(ds) == (Outcome.DELIVERED, None)


# Encapsulated ---------------------------------------------------------------------------


def compressed(frames: list[bytes], syntax: str, table: bytes = b"", **elements: object):
    ds = image(transfer_syntax=JPEGBaseline8Bit, **elements)
    ds.file_meta.TransferSyntaxUID = syntax
    value = encapsulate(frames, has_bot=False)
    ds.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table + value[8:]
    ds["PixelData"].is_undefined_length = True
    return ds


def frame_of(ds) -> bytes:
    return deidentified_dataset(ds, PLAN).PixelData[16:]


def test_frame_format_must_match_the_transfer_syntax() -> None:
    frame = jpeg(4, 4)
    assert outcome(compressed([frame], JPEGBaseline8Bit)) == (Outcome.DELIVERED, None)
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless, "1.2.840.10008.1.2.4.70"):
        expected = (
            Outcome.DELIVERED
            if syntax == "1.2.840.10008.1.2.4.70"  # a frame header of another JPEG process
            else Outcome.QUARANTINED
        )
        assert outcome(compressed([frame], syntax))[0] is expected
    assert outcome(compressed([frame], ExplicitVRLittleEndian))[1] == Reason.OTHER_SYNTAX
    native, rle = (uid.encode() + b"\0" for uid in (ExplicitVRLittleEndian, RLELossless))
    assert outcome(to_bytes(image()).replace(native, rle, 1))[1] == Reason.OTHER_SYNTAX
    fragments = to_bytes(compressed([rle_frame(REPEAT, LITERAL)], RLELossless))
    assert outcome(fragments.replace(rle, native, 1))[1] == Reason.OTHER_SYNTAX
    for size in ((5, 4, 1), (4, 5, 1), (4, 4, 3)):
        assert outcome(compressed([jpeg(*size)], JPEGBaseline8Bit))[1] == Reason.PIXELS_DIFFER


JFIF = b"JFIF\0\1\2\0\0\1\0\1"


@pytest.mark.parametrize(
    ("marker", "kept", "blanked"),
    [
        (0xFE, b"", NAME),
        (0xE1, b"", b"Exif\0\0" + NAME),
        (0xEF, b"", NAME),
        (0xE0, JFIF + b"\0\0", b""),
        (0xE0, JFIF + b"\2\1", b"RGBRGB"),
        (0xE0, b"", JFIF + b"\0\0" + NAME),
        (0xE0, b"", b"JFIF\0" + NAME),
        (0xEE, b"Adobe\0\x64\0\0\0\0\1", b""),
        (0xEE, b"", b"Adobe\0\x64\0\0\0\0\1" + NAME),
        (0xEE, b"", b"Adobe\0\x64\0\0\0\0\7"),
        (0xE8, b"SPIFF\0" + bytes(24), b""),
        (0xE8, b"", b"SPIFF\0" + bytes(24) + NAME),
    ],
)
def test_jpeg_segments(marker: int, kept: bytes, blanked: bytes) -> None:
    frame = jpeg(4, 4, data=b"12345\xff", more=jpeg_segment(marker, kept, blanked), trailing=NAME)
    new = jpeg(
        4,
        4,
        data=b"12345\xff",
        more=jpeg_segment(marker, kept, bytes(len(blanked))),
        trailing=bytes(len(NAME)),
    )
    cleaned = frame_of(compressed([frame], JPEGBaseline8Bit))
    assert cleaned[: len(new)] == new


def test_jpeg_restart_and_fill_markers() -> None:
    frame = jpeg(4, 4, data=b"ab").replace(b"ab", b"a\xff\xd0b\xff\xff")
    ds = compressed([frame], JPEGBaseline8Bit)
    assert deidentified_dataset(ds, PLAN).PixelData == ds.PixelData


def test_jpeg_ls_frame() -> None:
    frame = jpeg(4, 4, frame_marker=0xF7, data=b"ab", more=jpeg_segment(0xFE, NAME))
    frame = frame.replace(b"ab", b"a\xff\x7fb")  # stuffed bits
    cleaned = frame_of(compressed([frame], JPEGLSLossless))
    assert cleaned.startswith(frame.replace(NAME, bytes(len(NAME))))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (jpeg(4, 4)[:-2], Reason.SHORT_PIXELS),
        (jpeg(4, 4)[:20], Reason.SHORT_PIXELS),
        (jpeg(4, 4, more=jpeg_segment(0xDB, bytes(65) + NAME)), Reason.UNCLEAR_FRAME),
        (jpeg(4, 4, more=jpeg_segment(0xC4, bytes(17) + NAME)), Reason.UNCLEAR_FRAME),
        (jpeg(4, 4, more=jpeg_segment(0xDD, NAME)), Reason.UNCLEAR_FRAME),
        (jpeg(4, 4, more=jpeg_segment(0xF0, NAME)), Reason.UNCLEAR_FRAME),
        (jpeg(4, 4, more=NAME), Reason.UNCLEAR_FRAME),
        (jpeg(4, 4, trailing=jpeg(4, 4)), Reason.PIXELS_DIFFER),
        (b"\xff\xd8\xff\xd9", Reason.UNCLEAR_FRAME),
        (NAME, Reason.OTHER_SYNTAX),
        (bytes(64), Reason.OTHER_SYNTAX),
    ],
)
def test_invalid_jpeg_frames(frame: bytes, reason: Reason) -> None:
    ds = compressed([frame], JPEGBaseline8Bit)
    assert outcome(ds) == (Outcome.QUARANTINED, reason)


def jpeg_2000(*, comment: bytes = b"", in_tile: bytes = b"", trailing: bytes = b"") -> bytes:
    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">HH", marker, 2 + len(body)) + body

    size = struct.pack(">HLLLLLLLLH3B", 0, 4, 4, 0, 0, 4, 4, 0, 0, 1, 15, 1, 1)
    head = segment(0xFF64, b"\0\1" + in_tile) if in_tile else b""
    tile = head + b"\xff\x93" + b"packets\xff\x7f"
    start = segment(0xFF90, struct.pack(">HLBB", 0, 12 + len(tile), 0, 1))
    main = segment(0xFF51, size) + segment(0xFF52, bytes(10)) + segment(0xFF5C, bytes(4))
    if comment:
        main += segment(0xFF64, b"\0\1" + comment)
    return b"\xff\x4f" + main + start + tile + b"\xff\xd9" + trailing


def test_jpeg_2000_comments() -> None:
    frame = jpeg_2000(comment=NAME, in_tile=NAME, trailing=NAME)
    cleaned = frame_of(compressed([frame], JPEG2000Lossless))
    assert cleaned.startswith(frame.replace(NAME, bytes(len(NAME))))
    unsized = jpeg_2000(trailing=NAME)
    length = unsized.index(b"\xff\x90\0\x0a") + 6
    unsized = unsized[:length] + bytes(4) + unsized[length + 4 :]
    cleaned = frame_of(compressed([unsized], JPEG2000Lossless))
    assert cleaned.startswith(unsized.replace(NAME, bytes(len(NAME))))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\xff\x52\0\x0c", b"\xff\x30\0\x0c", Reason.UNCLEAR_FRAME),  # an unknown marker
        (b"\xff\x93", b"\xff\x64", Reason.SHORT_PIXELS),
        (b"\xff\xd9", b"", Reason.SHORT_PIXELS),
        (b"\xff\xd9", NAME, Reason.UNCLEAR_FRAME),
        (b"\xff\x4f", b"\0\0\0\x0cjP  ", Reason.OTHER_SYNTAX),  # wrapped in JP2
        (struct.pack(">LL", 4, 4), struct.pack(">LL", 5, 4), Reason.PIXELS_DIFFER),
    ],
)
def test_invalid_jpeg_2000_codestreams(old: bytes, new: bytes, reason: Reason) -> None:
    frame = jpeg_2000().replace(old, new, 1)
    assert outcome(compressed([frame], JPEG2000Lossless)) == (Outcome.QUARANTINED, reason)


def rle_frame(first: bytes, second: bytes, *, header: bytes = b"", gap: bytes = b"") -> bytes:
    start = 64 + len(gap)
    offsets = struct.pack("<3L", 2, start, start + len(first))
    return (offsets + header).ljust(64, b"\0") + gap + first + second


LITERAL = b"\x0f" + bytes(range(16))
REPEAT = b"\xf1\x07"  # sixteen times


def test_rle_frames() -> None:
    frame = rle_frame(REPEAT + NAME, b"\x80" + LITERAL + NAME, header=NAME, gap=NAME)
    cleaned = frame_of(compressed([frame], RLELossless))
    assert cleaned.startswith(frame.replace(NAME, bytes(len(NAME))))
    long = b"\x13" + bytes(range(16)) + b"NAME"  # a literal run that overruns
    cleaned = frame_of(compressed([rle_frame(b"\xe0\x07", long)], RLELossless))
    assert b"NAME" not in cleaned
    assert cleaned.startswith(rle_frame(b"\xe0\x07", long).replace(b"NAME", bytes(4)))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (rle_frame(REPEAT, LITERAL[:-1]), Reason.SHORT_PIXELS),
        (rle_frame(b"\xf2\x07", LITERAL), Reason.SHORT_PIXELS),
        (rle_frame(REPEAT, LITERAL)[:60], Reason.SHORT_PIXELS),
        (b"\3" + rle_frame(REPEAT, LITERAL)[1:], Reason.OTHER_SYNTAX),
        (rle_frame(b"", LITERAL), Reason.OTHER_SYNTAX),
        (bytes(200), Reason.OTHER_SYNTAX),
    ],
)
def test_invalid_rle_frames(frame: bytes, reason: Reason) -> None:
    assert outcome(compressed([frame], RLELossless)) == (Outcome.QUARANTINED, reason)


def test_frames_and_fragments() -> None:
    frames = [jpeg(4, 4, data=bytes((number,)) * 9) for number in range(3)]
    parts = [frames[0], frames[1][:30], frames[1][30:], frames[2] + NAME]
    three = compressed(parts, JPEGBaseline8Bit, NumberOfFrames=3)
    assert NAME not in deidentified_bytes(three, PLAN)
    for count in (2, 4):
        ds = compressed(parts, JPEGBaseline8Bit, NumberOfFrames=count)
        assert outcome(ds)[1] in {Reason.PIXELS_DIFFER, Reason.SHORT_PIXELS, Reason.OTHER_SYNTAX}
    alone = compressed([frames[0][:30], frames[0][30:], NAME], JPEGBaseline8Bit)
    assert NAME not in deidentified_bytes(alone, PLAN)
    assert outcome(compressed([], JPEGBaseline8Bit))[0] is Outcome.QUARANTINED


def test_offset_tables() -> None:
    frames = [jpeg(4, 4, data=bytes(20)), jpeg(4, 4)]
    right = struct.pack("<2L", 0, 8 + len(frames[0]) + len(frames[0]) % 2)
    for table in (b"", right):
        ds = compressed(frames, JPEGBaseline8Bit, table, NumberOfFrames=2)
        assert deidentified_dataset(ds, PLAN).PixelData == ds.PixelData
    for table in (NAME, bytes(8), right + NAME):
        new = deidentified_dataset(
            compressed(frames, JPEGBaseline8Bit, table, NumberOfFrames=2), PLAN
        )
        assert new.PixelData == compressed(frames, JPEGBaseline8Bit, right).PixelData


def test_extended_offset_tables() -> None:
    frames = [jpeg(4, 4, data=bytes(21)), jpeg(4, 4)]
    sizes = [len(frame) + len(frame) % 2 for frame in frames]

    def with_tables(offsets: bytes, lengths: bytes | None, total: bytes | None = None):
        ds = compressed(frames, JPEGBaseline8Bit, NumberOfFrames=2)
        ds.add_new(0x7FE00001, "OV", offsets)
        if lengths is not None:
            ds.add_new(0x7FE00002, "OV", lengths)
        if total is not None:
            ds.add_new(0x7FE00003, "UV", int.from_bytes(total, "little"))
        return ds

    offsets = struct.pack("<2Q", 0, 8 + sizes[0])
    lengths, unpadded = struct.pack("<2Q", *sizes), struct.pack("<2Q", *map(len, frames))
    whole = sum(sizes).to_bytes(8, "little")
    for tables in ((offsets, lengths), (offsets, unpadded), (offsets, lengths, whole)):
        ds = with_tables(*tables)
        new = deidentified_dataset(ds, PLAN)
        assert [new.get_item(tag).value for tag in (0x7FE00001, 0x7FE00002)] == list(tables[:2])
        assert (0x7FE00003 in new) == (len(tables) == 3)
    for wrong in (
        (NAME[:16], lengths),
        (offsets, NAME[:16]),
        (offsets, None),
        (offsets, lengths + bytes(8)),
        (offsets, lengths, NAME[:8]),
    ):
        new = deidentified_dataset(with_tables(*wrong), PLAN)
        assert not [tag for tag in (0x7FE00001, 0x7FE00002, 0x7FE00003) if tag in new]
    ds = image()
    ds.add_new(0x7FE00001, "OV", NAME[:16])  # with native pixels
    assert 0x7FE00001 not in deidentified_dataset(ds, PLAN)


def test_pixels_are_checked_in_template_matches() -> None:
    sound = image(instance=1)
    data = to_bytes(sound)
    other = to_bytes(image(instance=2))
    at = read_header(other).elements[-1][2]
    long = image(instance=3)
    long.PixelData += NAME
    result, members = deidentify_files([data, other, to_bytes(long)], PLAN)
    assert [outcome for outcome, _ in result.outcomes.values()] == [Outcome.DELIVERED] * 3
    assert not any(NAME in member for member in members.values())
    assert other[at:] != data[at:]
    frames = [jpeg(4, 4), jpeg(4, 4, more=jpeg_segment(0xFE, NAME)), jpeg(5, 4)]
    files = [
        to_bytes(compressed([frame], JPEGBaseline8Bit, instance=number))
        for number, frame in enumerate(frames, 1)
    ]
    result, members = deidentify_files(files, PLAN)
    assert [reason for _, reason in result.outcomes.values()] == [None, None, Reason.PIXELS_DIFFER]
    assert not any(NAME in member for member in members.values())


@pytest.mark.filterwarnings("ignore")
def test_compressed_real_files_decode_unchanged() -> None:
    compared = changed = 0
    for path in real_files():
        data = path.read_bytes()
        try:
            header = read_header(data)
        except SkipInstance:
            continue
        if header.transfer_syntax not in ENCAPSULATED or not header.sop_instance:
            continue
        _, members = deidentify_files([data], PLAN)
        if not members:
            continue
        new = pydicom.dcmread(BytesIO(next(iter(members.values()))))
        old = pydicom.dcmread(BytesIO(data))
        changed += new.PixelData != old.PixelData
        try:
            wanted = pixel_array(old)
        except Exception:  # noqa: BLE001 no decoder here, or pydicom cannot read it
            assert header.transfer_syntax != RLE_LOSSLESS
            continue
        assert np.array_equal(pixel_array(new), wanted), path.name
        compared += 1
    assert compared > 30
    assert changed > 5
