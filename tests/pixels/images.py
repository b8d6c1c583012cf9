"""Synthetic images with text, drawn in the font that Pillow ships."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset

from sendit.dicom.pixel_data import PixelData, check_pixel_data
from sendit.dicom.scan import PIXEL_DATA_TAGS, Header, read_header
from testing.builder import make_dataset, to_bytes


def tissue(
    rows: int = 256, columns: int = 256, seed: int = 1, level: float = 300.0
) -> np.ndarray[Any, Any]:
    """Return a disc in noise, as int16."""
    noise = np.random.default_rng(seed)
    down, across = np.mgrid[0:rows, 0:columns]
    away = ((across - columns / 2) / columns) ** 2 + ((down - rows / 2) / rows) ** 2
    disc = level * np.exp(-away * (9 + seed % 7))
    return (40 + disc + noise.normal(0, 6, (rows, columns))).astype(np.int16)


def written(
    pixels: np.ndarray[Any, Any],
    text: str,
    value: float,
    *,
    at: tuple[int, int] = (8, 8),
    size: int = 16,
    angle: int = 0,
) -> np.ndarray[Any, Any]:
    """Return pixels with text drawn over them; ``size`` is the font size, ``at`` is x and y."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    stamp = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(stamp).text((2 - left, 2 - top), text, fill=255, font=font)
    drawn = np.asarray(stamp.rotate(angle, expand=True)) > 127
    changed = pixels.copy()
    x, y = at
    part = changed[y : y + drawn.shape[0], x : x + drawn.shape[1]]
    part[drawn[: part.shape[0], : part.shape[1]]] = value
    return changed


def dataset(
    pixels: np.ndarray[Any, Any], *, kind: str = "CT", frames: int = 1, **elements: Any
) -> FileDataset:
    """Return an object with these pixels: (rows, columns), with frames in front and colours
    behind where there are some."""
    made = make_dataset(kind=kind, **elements)  # type: ignore[arg-type]
    shape = pixels.shape[1:] if frames > 1 else pixels.shape
    made.Rows, made.Columns = shape[:2]
    colours = shape[2] if len(shape) == 3 else 1
    made.SamplesPerPixel = colours
    if colours == 1:
        made.PhotometricInterpretation = elements.get("PhotometricInterpretation", "MONOCHROME2")
        if "PlanarConfiguration" in made:
            del made.PlanarConfiguration
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
        if keyword in made:
            del made[keyword]
    if frames > 1:
        made.NumberOfFrames = frames
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    made["PixelData"].VR = "OB" if bits == 8 else "OW"
    return made


def checked(data: bytes | FileDataset) -> tuple[Header, PixelData]:
    """Return a file's header and its pixel data, checked."""
    header = read_header(data if isinstance(data, bytes) else to_bytes(data))
    element = next(each for each in header.elements if each[0] in PIXEL_DATA_TAGS)
    return header, check_pixel_data(header, element)
