"""Blanked regions in every pixel encoding: constant inside, original samples outside.

The samples are compared by :mod:`sendit.pixels.recheck`, which shares no code with the writer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sendit.batch import Reason
from sendit.deidentify.pixel_data import deliver
from sendit.deidentify.study import _file_meta
from sendit.dicom.pixel_data import Description
from sendit.dicom.scan import PIXEL_DATA_TAGS, open_instance, read_header
from sendit.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN
from sendit.errors import SkipInstance
from sendit.pixels import codecs, recheck
from sendit.pixels import scrub as scrubbing
from sendit.pixels.boxes import Blank, Expected
from sendit.pixels.header import METHOD, after_blanking
from sendit.pixels.scrub import scrub
from testing.builder import to_bytes
from testing.real_files import real_files
from tests.pixels.images import dataset

SYNTAX = "1.2.840.10008.1.2.4."
LOSSLESS = ["1.2.840.10008.1.2.5", *(SYNTAX + number for number in ("57", "70", "80", "90", "201"))]


def blanked(data: bytes, *boxes: tuple[int, int, int, int]) -> bytes:
    """Return a file with boxes blanked, its header as it was otherwise."""
    header = read_header(data)
    element = next(each for each in header.elements if each[0] in PIXEL_DATA_TAGS)
    delivered = deliver(header, element)
    description = delivered.pixels.description
    scrubbed = scrub(
        header,
        delivered.pixels,
        delivered.parts[1:],
        Blank(description.rows, description.columns, boxes),
        None,
    )
    before = [
        bytes(header.data[each[2] : each[4]])
        for each in header.elements
        if each[0] >> 16 != 2 and each[0] < element[0]
    ]
    plain = EXPLICIT_VR_LITTLE_ENDIAN if header.deflated else header.transfer_syntax
    after = EXPLICIT_VR_LITTLE_ENDIAN if header.deflated else scrubbed.syntax
    sop_class = header.sop_class.encode()
    said = after_blanking(
        before, meta=_file_meta(sop_class, b"1.2", plain), scrubbed=scrubbed, new_instance=b"1.2.3"
    )
    pixels = b"".join(map(bytes, scrubbed.parts))
    return bytes(128) + b"DICM" + _file_meta(sop_class, b"1.2.3", after) + said + pixels


def compared(original: bytes | Path, data: bytes, tmp_path: Path, *boxes: Any) -> str | None:
    path = original
    if isinstance(path, bytes):
        path = tmp_path / "original.dcm"
        path.write_bytes(original)  # type: ignore[arg-type]
    return recheck._compared(pydicom.dcmread(BytesIO(data)), Expected(path, boxes))


def images() -> Iterator[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in real_files():
            try:
                header = open_instance(path)
                element = next(each for each in header.elements if each[0] in PIXEL_DATA_TAGS)
                deliver(header, element)
            except (SkipInstance, StopIteration, OSError, ValueError):
                continue
            yield path


@pytest.mark.filterwarnings("ignore")
def test_real_images_of_every_transfer_syntax(tmp_path: Path) -> None:
    syntaxes = set()
    for path in images():
        header = open_instance(path)
        rows, columns = (int(header.text(tag) or 0) for tag in (0x00280010, 0x00280011))
        box = (columns // 5, rows // 7, columns // 2 + 1, rows // 2 + 1)
        data = blanked(path.read_bytes(), box)
        assert compared(path, data, tmp_path, box) is None, path
        syntaxes.add(header.transfer_syntax)
        if header.transfer_syntax == SYNTAX + "50":  # every real one can be edited
            assert pydicom.dcmread(BytesIO(data)).file_meta.TransferSyntaxUID == SYNTAX + "50"
    assert len(syntaxes) >= 12


def random_image(colours: int, dtype: str, bits: int, frames: int = 1) -> np.ndarray[Any, Any]:
    made = np.random.default_rng(colours * bits)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if dtype[0] == "i" else (0, 1 << bits)
    shape = (frames, 40, 50, colours)
    return (
        made.integers(low, high, shape)
        .astype(dtype)
        .reshape(tuple(each for place, each in enumerate(shape) if each > 1 or place in (1, 2)))
    )


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(
    ("colours", "dtype", "bits"),
    [(1, "u1", 8), (1, "u2", 12), (1, "i2", 12), (1, "u2", 16), (1, "i2", 16), (3, "u1", 8)],
)
def test_lossless_syntaxes_are_exact(
    syntax: str, colours: int, dtype: str, bits: int, tmp_path: Path
) -> None:
    samples = random_image(colours, dtype, bits)
    kind = "US" if colours == 3 else "CT"
    ds = dataset(samples, kind=kind)
    ds.BitsStored, ds.HighBit = bits, bits - 1
    photometric = b"RGB" if colours == 3 else b"MONOCHROME2"
    described = Description(
        40, 50, colours, 1, samples.itemsize * 8, bits, bits - 1, dtype[0] == "i", photometric
    )
    frame = codecs.encode(samples, syntax, described)
    assert np.array_equal(codecs.decode(frame, syntax, described), samples)
    data = blanked(compressed(ds, syntax, [frame]), (3, 5, 20, 30))
    new = pydicom.dcmread(BytesIO(data))
    assert new.file_meta.TransferSyntaxUID == syntax
    after = codecs.decode(next(generate_frames(new.PixelData)), syntax, described)
    assert not after[5:30, 3:20].any()
    samples[5:30, 3:20] = 0
    assert np.array_equal(after, samples)


def compressed(ds: FileDataset, syntax: str, frames: list[bytes]) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return to_bytes(ds)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours_and_planes(syntax: str, planar: int, photometric: str, tmp_path: Path) -> None:
    samples = random_image(3, "u1", 8, frames=3)
    stored = samples.transpose(0, 3, 1, 2) if planar else samples
    ds = dataset(samples, kind="US", frames=3)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PhotometricInterpretation, ds.PlanarConfiguration = photometric, planar
    ds.PixelData = np.ascontiguousarray(stored).tobytes()
    data = to_bytes(ds)
    new = blanked(data, (3, 5, 21, 31))
    assert compared(data, new, tmp_path, (3, 5, 21, 31)) is None
    inside = pydicom.dcmread(BytesIO(new))
    first = np.frombuffer(inside.PixelData, np.uint8)
    value = (
        first.reshape(3, 3, 40, 50)[0, :, 6, 6] if planar else first.reshape(samples.shape)[0, 6, 6]
    )
    assert value.tolist() == ([0, 128, 128] if photometric == "YBR_FULL" else [0, 0, 0])


def test_subsampled_chrominance_is_blanked_in_whole_blocks(tmp_path: Path) -> None:
    pairs = np.random.default_rng(1).integers(1, 255, (2, 40, 25, 4)).astype(np.uint8)
    ds = dataset(random_image(3, "u1", 8, frames=2), kind="US", frames=2)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = pairs.tobytes()
    data = to_bytes(ds)
    new = blanked(data, (3, 5, 20, 31))
    assert compared(data, new, tmp_path, (3, 5, 20, 31)) is None
    after = np.frombuffer(pydicom.dcmread(BytesIO(new)).PixelData, np.uint8).reshape(pairs.shape)
    assert (after[:, 5:31, 1:10] == [0, 0, 128, 128]).all()
    pairs[:, 5:31, 1:10] = [0, 0, 128, 128]
    assert np.array_equal(after, pairs)


def test_one_bit_frames(tmp_path: Path) -> None:
    bits = np.random.default_rng(3).integers(0, 2, (3, 7, 5)).astype(np.uint8)
    ds = dataset(np.zeros((3, 7, 5), np.uint8), frames=3)
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    new = blanked(to_bytes(ds), (1, 2, 4, 6))
    bits[:, 2:6, 1:4] = 0
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    assert pydicom.dcmread(BytesIO(new)).PixelData == packed + b"\0" * (len(packed) % 2)


def test_blanking_is_recorded_in_the_dataset() -> None:
    ds = dataset(random_image(1, "u1", 8), BurnedInAnnotation="YES")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.DeidentificationMethod = "before"
    new = pydicom.dcmread(BytesIO(blanked(to_bytes(ds), (0, 0, 50, 10))))
    assert new.BurnedInAnnotation == "NO"
    assert new.ImageType == ["DERIVED", "PRIMARY", "AXIAL"]
    assert list(new.DeidentificationMethod) == ["before", METHOD]
    assert [code.CodeValue for code in new.DeidentificationMethodCodeSequence][-1] == "113101"
    assert new.SOPInstanceUID == "1.2.3" == new.file_meta.MediaStorageSOPInstanceUID


def jpeg(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(samples).save(file, "JPEG", **options)
    frame = file.getvalue()
    return frame + b"\0" * (len(frame) % 2)


def jpeg_file(frames: list[bytes], samples: np.ndarray[Any, Any], syntax: str = "50") -> bytes:
    ds = dataset(np.stack([samples] * len(frames)).squeeze(), kind="US", frames=len(frames))
    ds.PhotometricInterpretation = "YBR_FULL_422" if samples.ndim == 3 else "MONOCHROME2"
    return compressed(ds, SYNTAX + syntax, frames)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("syntax", ["50", "51"])
def test_a_jpeg_stays_one_and_says_that_it_is_lossy(
    colours: int, syntax: str, tmp_path: Path
) -> None:
    samples = random_image(colours, "u1", 8)
    frames = [jpeg(samples, quality=quality) for quality in (60, 80)]
    data = jpeg_file(frames, samples, syntax)
    new = blanked(data, (3, 5, 20, 30))
    assert compared(data, new, tmp_path, (3, 5, 20, 30)) is None
    after = pydicom.dcmread(BytesIO(new))
    assert after.file_meta.TransferSyntaxUID == SYNTAX + syntax
    assert after.PhotometricInterpretation == ("YBR_FULL_422" if colours == 3 else "MONOCHROME2")
    assert after.LossyImageCompression == "01"
    assert len(list(generate_frames(after.PixelData, number_of_frames=2))) == 2


def test_a_jpeg_that_cannot_be_edited_becomes_lossless(tmp_path: Path) -> None:
    samples = random_image(3, "u1", 8)
    data = jpeg_file([jpeg(samples), jpeg(samples, progressive=True)], samples)
    new = blanked(data, (3, 5, 20, 30))
    assert compared(data, new, tmp_path, (3, 5, 20, 30)) is None
    after = pydicom.dcmread(BytesIO(new))
    assert after.file_meta.TransferSyntaxUID == SYNTAX + "80"
    assert after.PhotometricInterpretation == "RGB" and after.PlanarConfiguration == 0
    assert after.LossyImageCompression == "01"


def test_large_pixel_data_are_written_to_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scrubbing, "IN_MEMORY", 1000)
    samples = random_image(1, "u2", 16, frames=9)
    ds = dataset(samples, frames=9)
    data = to_bytes(ds)
    new = blanked(data, (1, 1, 9, 9))
    assert compared(data, new, tmp_path, (1, 1, 9, 9)) is None
    assert not list(tmp_path.glob("tmp*"))


def test_undecodable_pixels_are_refused() -> None:
    ds = dataset(random_image(1, "u1", 8))
    with pytest.raises(SkipInstance) as skipped:
        described = Description(40, 50, 1, 1, 8, 8, 7, False, b"MONOCHROME2")
        codecs.decode(b"\xff\xd8\xff\xd9", SYNTAX + "50", described)
    assert skipped.value.reason == Reason.PIXELS_NOT_READ
    assert ds.Rows == 40


# The gate -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda pixels: pixels[0].__setitem__((10, 10), 9), recheck.NOT_BLANK),
        (lambda pixels: pixels[1].__setitem__((35, 45), pixels[1][35, 45] ^ 1), recheck.ALTERED),
        (lambda pixels: pixels[2].__setitem__((5, 20), pixels[2][5, 20] ^ 1), recheck.ALTERED),
    ],
)
def test_gate_detects_every_changed_sample(change: Any, why: str, tmp_path: Path) -> None:
    samples = random_image(1, "u2", 16, frames=3)
    data = to_bytes(dataset(samples, frames=3))
    new = blanked(data, (3, 5, 20, 30))
    ds = pydicom.dcmread(BytesIO(new))
    pixels = np.frombuffer(ds.PixelData, np.uint16).reshape(samples.shape).copy()
    change(pixels)
    ds.PixelData = pixels.tobytes()
    assert compared(data, to_bytes(ds), tmp_path, (3, 5, 20, 30)) == why


def test_gate_counts_frames(tmp_path: Path) -> None:
    data = to_bytes(dataset(random_image(1, "u2", 16, frames=3), frames=3))
    ds = pydicom.dcmread(BytesIO(blanked(data, (3, 5, 20, 30))))
    ds.NumberOfFrames, ds.PixelData = 2, ds.PixelData[: 2 * 40 * 50 * 2]
    path = tmp_path / "original.dcm"
    path.write_bytes(data)
    expected = Expected(path, ((3, 5, 20, 30),))
    assert recheck._compare(to_bytes(ds), expected) == recheck.UNREADABLE


@pytest.mark.parametrize("colours", [1, 3])
def test_gate_detects_every_other_jpeg(colours: int, tmp_path: Path) -> None:
    samples = random_image(colours, "u1", 8)
    options = {"subsampling": 0} if colours == 3 else {}
    data = jpeg_file([jpeg(samples, quality=80, **options)] * 2, samples)
    ds = pydicom.dcmread(BytesIO(blanked(data, (16, 0, 50, 16))))
    first, second = generate_frames(ds.PixelData, number_of_frames=2)
    decoded = np.array(Image.open(BytesIO(first)))
    decoded[39, 3] ^= 255
    for frames, why in (
        ([first, jpeg(samples, quality=80, **options)], recheck.NOT_BLANK),
        ([jpeg(decoded, quality=80, **options), second], recheck.ALTERED),
        (
            [first, jpeg(np.asarray(Image.open(BytesIO(second))), quality=70, **options)],
            recheck.ALTERED,
        ),
        ([first, second], None),
    ):
        ds.PixelData = encapsulate(frames)
        assert compared(data, to_bytes(ds), tmp_path, (16, 0, 50, 16)) == why
