"""Mosaics: the same anatomy once in each tile is not text; text over it still is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import FileDataset

from sendit.batch import Reason
from sendit.pixels.mosaic import is_anatomy, is_mosaic, tile_shape
from sendit.pixels.reader import Line
from sendit.pixels.text_detector import TextDetector
from testing.builder import to_bytes
from tests.pixels.images import checked, dataset, written
from tests.pixels.test_text_detector import NAME, PEOPLE, look_at

SIEMENS = (0x0019, "SIEMENS MR HEADER", 0x0A, "US")
UIH = (0x0065, "Image Private Header", 0x50, "DS")
MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
GRID = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
TILE = 40
ACROSS = 7


def heads() -> np.ndarray[Any, Any]:
    """Return slices of a skull, side by side: each is an ellipse."""
    image = np.full((ACROSS * TILE, ACROSS * TILE), 20, np.int16)
    for row in range(ACROSS):
        for column in range(ACROSS):
            centre = (column * TILE + TILE // 2, row * TILE + TILE // 2)
            cv2.ellipse(image, centre, (12, 14), 0, 0, 360, 900, 4)
    return image + np.random.default_rng(1).integers(0, 9, image.shape, np.int16)


def mosaic(
    pixels: np.ndarray[Any, Any],
    slices: int | str | None = ACROSS * ACROSS,
    private: tuple[int, str, int, str] = SIEMENS,
    image_type: list[str] = MOSAIC,
) -> FileDataset:
    made = dataset(pixels, kind="MR", ImageType=image_type)
    if slices is not None:
        group, creator, element, vr = private
        block = made.private_block(group, creator, create=True)
        block.add_new(element, vr, slices)
    return made


def test_slices_in_a_row_are_not_taken_for_a_number() -> None:
    image = heads()
    without_geometry = look_at(TextDetector(PEOPLE), 1, mosaic(image, None))
    assert without_geometry is not None and without_geometry.startswith(Reason.TEXT_IN_PIXELS)
    detector = TextDetector(PEOPLE)
    assert look_at(detector, 1, mosaic(image)) is None
    assert detector.close() == {}


@pytest.mark.parametrize("at", [(4, 110), (60, 230)])
@pytest.mark.parametrize("size", [14, 20, 24])
def test_a_name_over_a_mosaic_is_found(size: int, at: tuple[int, int]) -> None:
    image = written(heads(), NAME, 2500, at=at, size=size)
    why = look_at(TextDetector(PEOPLE), 1, mosaic(image))
    assert why is not None and why.startswith(Reason.TEXT_IN_PIXELS)


@pytest.mark.parametrize(
    ("slices", "private", "image_type", "shape"),
    [
        (36, SIEMENS, MOSAIC, (40, 80)),
        (31, SIEMENS, MOSAIC, (40, 80)),
        (37, SIEMENS, MOSAIC, (240 / 7, 480 / 7)),
        (5, SIEMENS, MOSAIC, (80, 160)),
        ("20", UIH, GRID, (60, 96)),
        ("21", UIH, GRID, (48, 96)),
        ("17", UIH, ["ORIGINAL", "PRIMARY", "M", "GRID"], (60, 96)),
        (1, SIEMENS, MOSAIC, None),
        (0, SIEMENS, MOSAIC, None),
        (None, SIEMENS, MOSAIC, None),
        ("20", UIH, ["ORIGINAL", "PRIMARY", "M"], None),
        ("many", (0x0065, "Image Private Header", 0x50, "LO"), GRID, None),
        ("20", (0x0065, "Another Header", 0x50, "DS"), GRID, None),
        ("99999", UIH, GRID, None),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_a_tile_is_as_large_as_the_vendor_says(
    slices: int | str | None,
    private: tuple[int, str, int, str],
    image_type: list[str],
    shape: tuple[float, float] | None,
    implicit: bool,
) -> None:
    made = mosaic(np.zeros((240, 480), np.int16), slices, private, image_type)
    if implicit:
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    header, _ = checked(to_bytes(made))
    assert tile_shape(header, 240, 480) == shape


def test_the_creator_of_a_private_block_decides_where_its_number_is() -> None:
    made = mosaic(np.zeros((120, 120), np.int16), None)
    made.private_block(0x0019, "ANOTHER", create=True).add_new(0x0A, "US", 4)
    made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 9)
    header, _ = checked(to_bytes(made))
    assert is_mosaic(header)
    assert tile_shape(header, 120, 120) == (40, 40)


@pytest.mark.parametrize("line", ["ANNANNA", "19919911"])
def test_narrow_characters_over_small_tiles_are_text(line: str) -> None:
    box = (0, 0, 24 * len(line.replace(" ", "")) - 1, 22)
    assert not is_anatomy(Line(line, 0.9, box), (16, 16))
    assert is_anatomy(Line(line, 0.9, (*box[:2], box[2] + 1, box[3])), (16, 16))


@pytest.mark.parametrize(
    ("matrix", "shape"),
    [
        ([40, 0, 0, 40], (40, 40)),
        ([0, 60, 40, 0], (60, 60)),
        ([0, 0, 0, 0], None),
        ([70, 0, 0, 70], None),
        ([480, 0, 0, 480], None),
        (None, None),
    ],
)
def test_without_a_number_of_slices_the_acquisition_matrix_counts(
    matrix: list[int] | None, shape: tuple[float, float] | None
) -> None:
    made = mosaic(np.zeros((240, 480), np.int16), None)
    made.pop("AcquisitionMatrix", None)
    if matrix is not None:
        made.AcquisitionMatrix = matrix
    header, _ = checked(to_bytes(made))
    assert tile_shape(header, 240, 480) == shape


@pytest.mark.parametrize(
    ("text", "score", "box", "tile", "anatomy"),
    [
        ("8355599", 0.69, (26, 335, 555, 390), (82, 82), True),  # rows of real mosaics
        ("Bodoa", 0.56, (0, 387, 616, 521), (128, 128), True),
        ("Bodoa", 0.56, (387, 0, 521, 616), (128, 128), True),
        ("8355599", 0.8, (26, 335, 555, 390), (82, 82), False),  # sure of it
        ("83751", 0.69, (26, 335, 555, 390), (82, 82), False),  # not one in each tile
        ("Johnson", 0.69, (26, 300, 555, 400), (82, 82), False),  # as wide as letters are
        ("Jones", 0.56, (0, 387, 300, 457), (128, 128), False),
    ],
)
def test_different_characters_are_anatomy_if_there_is_one_in_each_tile(
    text: str,
    score: float,
    box: tuple[int, int, int, int],
    tile: tuple[float, float],
    anatomy: bool,
) -> None:
    assert is_anatomy(Line(text, score, box), tile) is anatomy


@pytest.mark.parametrize(
    ("text", "box", "anatomy"),
    [
        ("000000", (0, 0, 384, 60), True),
        ("000000", (0, 0, 60, 384), True),  # upright
        ("ddde", (20, 132, 285, 201), True),
        ("0 0 0 0 0", (0, 0, 320, 60), True),
        ("A600000", (0, 0, 384, 60), True),
        ("OoDdOOO", (0, 0, 384, 60), True),
        ("000000000", (0, 0, 384, 60), True),
        ("0000000000", (0, 0, 384, 60), False),
        ("19700131", (0, 0, 384, 60), False),
        ("JANE", (0, 0, 150, 60), False),
        ("000", (0, 0, 159, 60), False),
        ("000", (0, 0, 160, 60), True),
        ("0000000", (0, 0, 167, 20), False),
    ],
)
def test_a_line_with_one_character_in_each_tile_is_anatomy(
    text: str, box: tuple[int, int, int, int], anatomy: bool
) -> None:
    assert is_anatomy(Line(text, 0.9, box), (64, 64)) is anatomy
