"""Bits of samples above the stored ones are cleared, and nothing else of the pixels changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from sendit.batch import Outcome, Reason
from sendit.deidentify.plan import Kind
from tests.builder import make_dataset, to_bytes
from tests.deidentify.engine import opened, plan_of, run

PLAN = plan_of("BLANK PatientName\nREMOVE contains:^\\(60")


def dataset(samples: np.ndarray, *, stored: int = 12, signed: bool = False, **elements: object):
    ds = make_dataset(rows=samples.shape[0], columns=samples.shape[1], **elements)
    ds.BitsAllocated = samples.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = stored, stored - 1
    ds.PixelRepresentation = int(signed)
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    ds.PixelData = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def samples_of(ds, like: np.ndarray) -> np.ndarray:
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    return np.frombuffer(ds.PixelData, like.dtype.newbyteorder(order)).reshape(like.shape)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_an_overlay_in_the_spare_bits_goes(syntax: str) -> None:
    image = np.arange(64, dtype=np.uint16).reshape(8, 8) * 63
    text = np.zeros((8, 8), np.uint16)
    text[2:5, 2:5] = 1 << 12
    before = dataset(image | text, transfer_syntax=syntax)
    result, _ = run([to_bytes(before)], PLAN)
    assert result.actions[Kind.MASKED] == 1
    assert np.array_equal(samples_of(opened(before, PLAN), image), image)


@given(
    st.integers(1, 16),
    st.booleans(),
    st.lists(st.integers(0, 65535), min_size=16, max_size=16),
)
@settings(max_examples=60)
def test_stored_bits_stay_and_the_others_are_zero_or_the_sign(
    stored: int, signed: bool, values: list[int]
) -> None:
    samples = np.array(values, np.uint16).reshape(4, 4)
    new = samples_of(opened(dataset(samples, stored=stored, signed=signed), PLAN), samples)
    mask = (1 << stored) - 1
    assert np.array_equal(new & mask, samples & mask)
    spare = 0xFFFF ^ mask
    for value in new.ravel():
        sign = int(value) >> (stored - 1) & 1
        assert int(value) & spare in ({0, spare} if signed and sign else {0})


@given(st.integers(2, 15), st.lists(st.integers(-32768, 32767), min_size=16, max_size=16))
@settings(max_examples=30)
def test_proper_samples_pass_as_they_are(stored: int, values: list[int]) -> None:
    limit = 1 << (stored - 1)
    signed = np.clip(np.array(values), -limit, limit - 1).astype(np.int16).reshape(4, 4)
    before = dataset(signed, stored=stored, signed=True)
    assert opened(before, PLAN).PixelData == before.PixelData
    unsigned = (np.array(values) & (2 * limit - 1)).astype(np.uint16).reshape(4, 4)
    before = dataset(unsigned, stored=stored)
    assert opened(before, PLAN).PixelData == before.PixelData


def test_an_overlay_in_compressed_pixels_cannot_be_cleared() -> None:
    ds = make_dataset(transfer_syntax=JPEGBaseline8Bit)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    plain, _ = run([to_bytes(ds)], PLAN)
    assert plain.outcomes[1] == (Outcome.DELIVERED, None)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    result, _ = run([to_bytes(ds)], PLAN)
    assert result.outcomes[1] == (Outcome.QUARANTINED, Reason.NOT_CLEANABLE)
