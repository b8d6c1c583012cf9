"""Only a few frames of a cine are read, including those with text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from sendit.pixels.cine import EVERY, frames_to_read
from tests.pixels.images import written

Frame = np.ndarray[Any, Any]


def speckle(count: int) -> Iterator[Frame]:
    """Yield frames of a moving sector on a static screen."""
    draw = np.random.default_rng(3)
    down, across = np.mgrid[0:240, 0:320]
    inside = np.hypot(down, across - 160) < 200
    envelope = 90 + 60 * np.sin(down / 30) * np.cos(across / 40)
    for number in range(count):
        noise = cv2.GaussianBlur(draw.gamma(2.0, 0.35, (240, 320)), None, 1.2)
        moved = np.roll(envelope, number, axis=0) * noise
        yield np.where(inside, np.clip(moved, 0, 255), 0).astype(np.uint8)


def read(frames: list[Frame]) -> list[int]:
    """Return the numbers of the frames that are read."""
    taken = [id(frame) for frame in frames_to_read(iter(frames))]
    return [number for number, frame in enumerate(frames) if id(frame) in taken]


def test_moving_tissue_is_read_occasionally() -> None:
    numbers = read(list(speckle(3 * EVERY)))
    assert numbers[0] == 0 and {EVERY, 2 * EVERY} <= set(numbers)
    assert len(numbers) <= 12


@pytest.mark.parametrize("number", [1, 2, 9, 40])
@pytest.mark.parametrize("at", [(4, 220), (90, 60)])
def test_a_frame_with_text_is_read(number: int, at: tuple[int, int]) -> None:
    frames = list(speckle(50))
    frames[number] = written(frames[number], "WINTERBOTTOM", 255, at=at, size=14)
    assert number in read(frames)


def test_repeated_frames_are_not_read() -> None:
    (frame,) = speckle(1)
    assert len(list(frames_to_read(iter([frame] * EVERY)))) == 1
    assert list(frames_to_read(iter([]))) == []
