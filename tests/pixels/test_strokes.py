"""The cheap searches: what stands through a series, what stands in a row."""

from __future__ import annotations

import numpy as np
import pytest

from sendit.pixels.strokes import MIN_IMAGES, SeriesStrokes, has_glyphs
from tests.pixels.images import tissue, written


@pytest.mark.parametrize("contrast", [60, 300, 32000])
def test_constant_strokes_in_a_series_are_found(contrast: int) -> None:
    frames = [written(tissue(seed=seed), "DOE JANE 1964", 60 + contrast) for seed in range(9)]
    series = SeriesStrokes(frames[0])
    for frame in frames:
        series.see(frame)
    assert series.suspicious()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_tissue_is_not_found(dtype: type) -> None:
    series = SeriesStrokes(tissue(seed=1).astype(dtype))
    for seed in range(1, 9):
        assert not series.see(tissue(seed=seed).astype(dtype))
    assert not series.suspicious()
    assert not has_glyphs(tissue().astype(dtype))


def test_counts_do_not_overflow() -> None:
    frame = written(tissue(), "DOE JANE 1964", 900)
    series = SeriesStrokes(frame)
    for _ in range(600):
        series.see(frame)
    assert series.suspicious()
    for seed in range(300):
        series.see(tissue(seed=seed % 9))
    assert not series.suspicious()  # in two thirds only


def test_too_few_images_are_inconclusive() -> None:
    series = SeriesStrokes(tissue())
    for _ in range(MIN_IMAGES - 1):
        series.see(tissue())
    assert series.suspicious()


@pytest.mark.parametrize("angle", [0, 90])
def test_a_row_of_glyphs_in_one_image(angle: int) -> None:
    assert has_glyphs(written(tissue(), "DOE JANE 1964", 900, at=(20, 20), angle=angle))
    dark = written(tissue(level=900), "DOE JANE 1964", -400, at=(60, 110), angle=angle)
    assert has_glyphs(dark)
