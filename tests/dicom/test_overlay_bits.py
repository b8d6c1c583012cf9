"""Overlay bits in samples are cleared, and pixel values are preserved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from sendit.batch import Outcome, Reason
from sendit.deidentify.plan import Change
from sendit.dicom import overlay_bits
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentified_dataset, deidentify_files, plan_of

PLAN = plan_of("BLANK PatientName\nREMOVE contains:^\\(60")
REFUSED = (Outcome.QUARANTINED, Reason.OVERLAY_BITS)


def dataset(samples: np.ndarray, *, stored: int = 12, signed: bool = False, **elements: object):
    ds = make_dataset(rows=samples.shape[0], columns=samples.shape[1], **elements)
    ds.BitsAllocated = samples.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = stored, stored - 1
    ds.PixelRepresentation = int(signed)
    ds.SmallestImagePixelValue = ds.LargestImagePixelValue = None
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    ds.PixelData = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def rle(ds):
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return ds


def samples_of(ds, like: np.ndarray) -> np.ndarray:
    if ds.file_meta.TransferSyntaxUID == RLELossless:
        ds.decompress(as_rgb=False, generate_instance_uid=False)
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    return np.frombuffer(ds.PixelData, like.dtype.newbyteorder(order)).reshape(like.shape)


def delivered(ds, like: np.ndarray) -> np.ndarray:
    return samples_of(deidentified_dataset(ds, PLAN), like)


def smooth(rows: int = 16) -> np.ndarray:
    """A 12-bit image: a ramp, as smooth as images usually are."""
    return (np.arange(rows * rows, dtype=np.uint16).reshape(rows, rows) * 7) % 1800


def text(rows: int = 16) -> np.ndarray:
    overlay = np.zeros((rows, rows), np.uint16)
    overlay[4:9, 2:12:3] = 1
    return overlay


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize("bits", [1 << 12, 1 << 15, 0xF000, 1 << 13 | 1 << 14])
def test_undeclared_overlays_are_cleared(syntax: str, bits: int) -> None:
    image = smooth()
    native = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    before = dataset(image | text() * bits, transfer_syntax=native)
    if syntax == RLELossless:
        rle(before)
    result, _ = deidentify_files([to_bytes(before)], PLAN)
    assert result.actions[Change.MASKED] == 1
    assert np.array_equal(delivered(before, image), image)


@pytest.mark.parametrize("compress", [False, True])
def test_declared_overlays_are_cleared_even_over_noise(compress: bool) -> None:
    image = np.random.default_rng(1).integers(0, 4096, (16, 16)).astype(np.uint16)
    before = dataset(image | text() << 12)
    plain, _ = deidentify_files([to_bytes(rle(before) if compress else before)], PLAN)
    assert plain.outcomes[1] == REFUSED  # smoothness cannot be determined in noise
    before = dataset(image | text() << 12)
    before.add_new(0x60020100, "US", 16)
    before.add_new(0x60020102, "US", 12)
    if compress:
        rle(before)
    assert np.array_equal(delivered(before, image), image)
    before.add_new(
        0x60023000, "OW", bytes(32)
    )  # it has its own OverlayData, so it is not in the samples
    result, _ = deidentify_files([to_bytes(before)], PLAN)
    assert result.outcomes[1] == REFUSED


def test_declared_overlay_in_a_stored_bit_is_kept() -> None:
    image = smooth()
    before = dataset(image | text() << 12)
    before.add_new(0x60000102, "US", 0)
    assert np.array_equal(delivered(before, image), image)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("samples", "stored", "high", "signed", "padding"),
    [
        (np.where(text(), -3024, 40).astype(np.int16), 12, 11, True, None),
        (np.where(text(), 63536, smooth()).astype(np.uint16), 12, 11, False, 63536),
        ((smooth() * 8).astype(np.uint16), 12, 11, False, None),  # 14 bits, 12 by the header
        ((smooth().astype(np.int16) * 5 - 4000).astype(np.int16), 12, 11, True, None),
        (smooth(), 12, 15, False, None),
        (smooth().astype(np.int16) - 900, 12, 11, True, None),
    ],
)
def test_pixel_values_are_preserved(  # noqa: PLR0917 what the header says, and what it says it of
    samples, stored, high, signed, padding, compress
) -> None:
    before = dataset(samples, stored=stored, signed=signed)
    before.HighBit = high
    if padding is not None:
        before.add_new("PixelPaddingValue", "US", padding)
    if compress:
        rle(before)
    result, _ = deidentify_files([to_bytes(before)], PLAN)
    assert result.outcomes[1] == (Outcome.DELIVERED, None)
    assert result.actions[Change.MASKED] == 0
    assert deidentified_dataset(before, PLAN).PixelData == before.PixelData


def test_sign_is_extended_over_cleared_bits() -> None:
    image = smooth().astype(np.int16) - 900
    before = dataset(image ^ (text() << 13).astype(np.int16), signed=True)
    before.add_new(0x60000102, "US", 13)
    assert np.array_equal(delivered(before, image), image)


def test_a_constant_bit_is_kept() -> None:
    result, _ = deidentify_files([to_bytes(dataset(smooth() | 1 << 12))], PLAN)
    assert result.outcomes[1] == REFUSED


@given(
    st.integers(1, 16),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 65535), min_size=16, max_size=16),
)
@settings(max_examples=25, deadline=None)
@example(stored=1, signed=True, compress=False, values=[0] * 15 + [5])
def test_stored_bits_are_unchanged(
    stored: int, signed: bool, compress: bool, values: list[int]
) -> None:
    samples = np.array(values, np.uint16).reshape(4, 4)
    before = dataset(samples, stored=stored, signed=signed)
    compressed = compress and stored > 8  # pydicom treats fewer as bytes
    if compressed:
        rle(before)
    result, _ = deidentify_files([to_bytes(before)], PLAN)
    if result.outcomes[1] == REFUSED:
        return
    new = delivered(before, samples)
    mask = (1 << stored) - 1
    assert np.array_equal(new & mask, samples & mask)
    if compressed:  # pydicom masks, or extends the sign of, what it decompresses
        return
    cleared = (new ^ samples) & ~np.uint16(mask)
    masked = result.actions[Change.MASKED] == 1
    # A cleared bit of a negative sample becomes its sign extension, which may be what it was.
    negative = signed and bool((samples & (1 << (stored - 1))).any())
    assert masked == bool(cleared.any()) or (masked and negative)


@given(
    st.integers(2, 15),
    st.booleans(),
    st.lists(st.integers(-32768, 32767), min_size=16, max_size=16),
)
@settings(max_examples=15, deadline=None)
def test_valid_samples_are_unchanged(stored: int, compress: bool, values: list[int]) -> None:
    limit = 1 << (stored - 1)
    for signed in (True, False):
        array = np.array(values).reshape(4, 4)
        samples = (
            np.clip(array, -limit, limit - 1).astype(np.int16)
            if signed
            else (array & (2 * limit - 1)).astype(np.uint16)
        )
        before = dataset(samples, stored=stored, signed=signed)
        if compress and stored > 8:
            rle(before)
        assert deidentified_dataset(before, PLAN).PixelData == before.PixelData


def test_large_images_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_bits, "_AT_ONCE", 48)
    image = smooth()
    assert np.array_equal(delivered(dataset(image | text() << 12), image), image)
    assert np.array_equal(delivered(dataset(image), image), image)
    long = (smooth() * 8).astype(np.uint16)
    assert np.array_equal(delivered(dataset(long), long), long)


def test_a_named_overlay_in_compressed_pixels_cannot_be_cleared() -> None:
    ds = make_dataset(transfer_syntax=JPEGBaseline8Bit)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    plain, _ = deidentify_files([to_bytes(ds)], PLAN)
    assert plain.outcomes[1] == (Outcome.DELIVERED, None)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    result, _ = deidentify_files([to_bytes(ds)], PLAN)
    assert result.outcomes[1] == REFUSED
