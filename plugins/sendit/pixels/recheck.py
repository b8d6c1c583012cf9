"""Verify blanked images in a finished archive: boxes are constant, all other samples unchanged.

Shares no code with the writer: archive and data sets are read by ``tarfile`` and pydicom, frames
are parsed by pydicom and decoded by Pillow where possible, and the mask is rebuilt from the boxes.
What cannot be compared does not pass.

Of a JPEG in which blocks were replaced, whole minimum coded units are compared. Decoders
interpolate subsampled chrominance, which mixes at the edge of a box: it is not compared in one
pixel on each side of the edge. Luminance is compared everywhere.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels

from sendit.pixels.boxes import Box, Expected

NOT_BLANK: Final = "an unblanked region"
ALTERED: Final = "altered pixels outside the blanked regions"
UNREADABLE: Final = "blanked pixels that cannot be compared"

_JPEG: Final = "1.2.840.10008.1.2.4."
_LOSSLESS_JPEG: Final = (_JPEG + "57", _JPEG + "70")
_DCT: Final = tuple(_JPEG + str(number) for number in range(50, 57))
_SEQUENTIAL: Final = (_JPEG + "50", _JPEG + "51")
_JPEG_LS: Final = (_JPEG + "80", _JPEG + "81")
_FRAMES_BY_PYDICOM: Final = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5"),
)


def recheck(archive: Path, expected: Mapping[str, Expected]) -> dict[int, str]:
    """Compare blanked members with their originals.

    Parameters
    ----------
    archive
        The finished ``.tar.gz``.
    expected
        Original and boxes of each blanked member, by its name.

    Returns
    -------
    dict[int, str]
        Why members must not be delivered, by their number, from 1.

    Raises
    ------
    LookupError
        A member is missing in the archive.
    OSError, tarfile.TarError
        The archive cannot be read.
    """
    findings: dict[int, str] = {}
    left = set(expected)
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for number, member in enumerate(tar, start=1):
            if member.name not in left:
                continue
            left.discard(member.name)
            opened = tar.extractfile(member)
            data = opened.read() if opened is not None else b""
            why = _compare(data, expected[member.name])
            if why is not None:
                findings[number] = why
    if left:
        raise LookupError("a blanked member is not in the archive")
    return findings


def _compare(data: bytes, expected: Expected) -> str | None:
    try:
        return _compared(pydicom.dcmread(BytesIO(data)), expected)
    except Exception:  # noqa: BLE001 what cannot be compared does not pass
        return UNREADABLE


def _compared(new: pydicom.Dataset, expected: Expected) -> str | None:
    old = pydicom.dcmread(expected.path, force=True)
    _set_syntax(old)
    if _has_replaced_blocks(old, new):
        return _compared_blocks(old, new, expected.boxes)
    inside = _mask(old, expected.boxes)
    outside = ~inside
    stored = int(old.BitsStored)
    count = int(old.get("NumberOfFrames") or 1)
    seen = 0
    before, after = _frames(old), _frames(new)
    for one, two in zip(before, after, strict=True):
        seen += 1
        if one.shape != two.shape:
            return ALTERED
        if not _constant(two[inside]):
            return NOT_BLANK
        if not np.array_equal(_bits(one[outside], stored), _bits(two[outside], stored)):
            return ALTERED
    return None if seen == count else UNREADABLE


def _has_replaced_blocks(old: pydicom.Dataset, new: pydicom.Dataset) -> bool:
    """Whether frames are still JPEGs of 8 bits, and not encoded again."""
    syntax = str(new.file_meta.TransferSyntaxUID)
    return (
        syntax in _SEQUENTIAL
        and syntax == str(old.file_meta.TransferSyntaxUID)
        and int(old.BitsAllocated) == int(new.BitsAllocated) == 8
    )


def _compared_blocks(
    old: pydicom.Dataset, new: pydicom.Dataset, boxes: tuple[Box, ...]
) -> str | None:
    count = int(old.get("NumberOfFrames") or 1)
    before = generate_frames(old.PixelData, number_of_frames=count)
    after = generate_frames(new.PixelData, number_of_frames=count)
    seen = 0
    for one, two in zip(before, after, strict=True):
        seen += 1
        why = _compared_frame(one, two, boxes)
        if why is not None:
            return why
    return None if seen == count else UNREADABLE


def _compared_frame(before: bytes, after: bytes, boxes: tuple[Box, ...]) -> str | None:
    one, two = Image.open(BytesIO(before)), Image.open(BytesIO(after))
    if not isinstance(one, JpegImageFile) or not isinstance(two, JpegImageFile):
        return UNREADABLE
    sampling = _sampling(one)
    if one.size != two.size or sampling != _sampling(two) or one.quantization != two.quantization:
        return ALTERED
    masks = _masks(one.size, boxes, sampling)
    samples_before, samples_after = _components(one), _components(two)
    for number, (inside, outside) in enumerate(masks):
        was, became = samples_before[:, :, number], samples_after[:, :, number]
        first = became.flat[inside.argmax()]
        if ((became != first) & inside).any():
            return NOT_BLANK
        if ((was != became) & outside).any():
            return ALTERED
    return None


@lru_cache(8)
def _masks(
    size: tuple[int, int], boxes: tuple[Box, ...], sampling: tuple[tuple[int, int], ...]
) -> list[tuple[Any, Any]]:
    """Return for each component of a JPEG which samples must be constant, and which unchanged."""
    across, down = (max(factors) for factors in zip(*sampling, strict=True))
    inside = _units(size, boxes, 8 * across, 8 * down)
    edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    exact = inside > 0, inside == 0
    interpolated = exact[0] & ~edge, exact[1] & ~edge
    return [exact if factors == (across, down) else interpolated for factors in sampling]


def _sampling(image: Any) -> tuple[tuple[int, int], ...]:
    """Return the horizontal and vertical sampling factors of a JPEG's components."""
    if len(image.layer) == 1:
        return ((1, 1),)
    return tuple((across, down) for _, across, down, _ in image.layer)


def _units(size: tuple[int, int], boxes: tuple[Box, ...], across: int, down: int) -> Any:
    """Return 1 for each pixel of a minimum coded unit that a box touches, else 0."""
    columns, rows = size
    units = np.zeros((-(-rows // down), -(-columns // across)), np.uint8)
    for left, top, right, bottom in boxes:
        units[
            max(top, 0) // down : -(-bottom // down), max(left, 0) // across : -(-right // across)
        ] = 1
    return units.repeat(down, axis=0).repeat(across, axis=1)[:rows, :columns]


def _components(image: Any) -> Any:
    """Decode a JPEG without converting its colours; of shape (rows, columns, components)."""
    if image.mode == "RGB" and not _is_rgb(image):
        image.draft("YCbCr", image.size)
    samples = np.asarray(image)
    return samples.reshape(*samples.shape[:2], -1)


def _is_rgb(image: Any) -> bool:
    """Whether the components of a JPEG are red, green and blue, as libjpeg decides."""
    if "jfif" in image.info:
        return False
    if "adobe" in image.info:
        return bool(image.info.get("adobe_transform") == 0)
    return [component[0] for component in image.layer] == [*b"RGB"]


def _set_syntax(old: pydicom.Dataset) -> None:
    """Give a data set without file meta the transfer syntax that it was read in."""
    if "TransferSyntaxUID" not in old.file_meta:
        implicit, little = old.original_encoding
        old.file_meta.TransferSyntaxUID = pydicom.uid.UID(
            _FRAMES_BY_PYDICOM[0] if implicit else _FRAMES_BY_PYDICOM[1 if little else 2]
        )


def _mask(old: pydicom.Dataset, boxes: tuple[Box, ...]) -> Any:
    rows, columns = int(old.Rows), int(old.Columns)
    mask = np.zeros((rows, columns), bool)
    across, down = _groups(old)
    for left, top, right, bottom in boxes:
        for row in range(max(top, 0), min(bottom, rows)):
            first = row // down * down
            mask[
                first : first + down,
                left // across * across : -(-min(right, columns) // across) * across,
            ] = True
    return mask


def _groups(old: pydicom.Dataset) -> tuple[int, int]:
    """Return how many columns and rows share a chrominance sample and are blanked together."""
    if old.file_meta.TransferSyntaxUID not in _FRAMES_BY_PYDICOM:
        return 1, 1
    photometric = str(old.PhotometricInterpretation)
    return (
        (2, 1)
        if photometric.endswith("_422")
        else (2, 2)
        if photometric.endswith("_420")
        else (1, 1)
    )


def _constant(values: Any) -> bool:
    return len(values) == 0 or bool((values == values[0]).all())


def _bits(values: Any, stored: int) -> Any:
    if values.dtype.kind == "f":
        return values.view(f"u{values.dtype.itemsize}")
    return values.astype(np.int64) & ((1 << stored) - 1)


def _frames(dataset: pydicom.Dataset) -> Iterator[Any]:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in _FRAMES_BY_PYDICOM and _groups(dataset) != (1, 1) and not _is_complete(dataset):
        yield from _subsampled(dataset)
        return
    if syntax in _FRAMES_BY_PYDICOM:
        yield from iter_pixels(dataset, raw=True)
        return
    count = int(dataset.get("NumberOfFrames") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=count):
        yield _decoded(frame, syntax, dataset)


def _is_complete(dataset: pydicom.Dataset) -> bool:
    """Whether chrominance is stored for each pixel, despite the photometric interpretation."""
    count = int(dataset.get("NumberOfFrames") or 1)
    full = int(dataset.Rows) * int(dataset.Columns) * 3 * count
    return len(dataset.PixelData) * 8 >= full * int(dataset.BitsAllocated)


def _subsampled(dataset: pydicom.Dataset) -> Iterator[Any]:
    """Yield native frames of YBR_FULL_422 and YBR_PARTIAL_420 with their chrominance repeated."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    across, down = _groups(dataset)
    group = across * down
    size = rows * columns // group * (group + 2)
    if (
        int(dataset.BitsAllocated) != 8
        or dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2"
    ):
        raise ValueError("subsampled chrominance of more than 8 bits, or in big-endian words")
    data = np.frombuffer(dataset.PixelData, np.uint8)
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        groups = data[number * size : (number + 1) * size].reshape(
            rows // down, columns // across, group + 2
        )
        pixels = np.empty((rows, columns, 3), np.uint8)
        for place in range(group):
            y, x = divmod(place, across)
            pixels[y::down, x::across, 0] = groups[:, :, place]
            pixels[y::down, x::across, 1:] = groups[:, :, group:]
        yield pixels


def _declares_colours(image: Any) -> bool:
    """Whether a JPEG declares its colour space: by JFIF, Adobe, or the component ids."""
    if "jfif" in image.info or "adobe" in image.info:
        return True
    return [component[0] for component in image.layer] == [*b"RGB"]


def _decoded(frame: bytes, syntax: str, dataset: pydicom.Dataset) -> Any:
    if syntax in _DCT and int(dataset.BitsStored) <= 8:
        return _by_pillow(frame, str(dataset.PhotometricInterpretation))
    colour = int(dataset.SamplesPerPixel) == 3
    if syntax in _LOSSLESS_JPEG and not colour:
        return imagecodecs.ljpeg_decode(frame)
    if syntax in (*_LOSSLESS_JPEG, *_DCT):
        space = "RGB" if colour else "GRAYSCALE"
        return imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space)
    decode = imagecodecs.jpegls_decode if syntax in _JPEG_LS else imagecodecs.jpeg2k_decode
    return decode(frame)


def _by_pillow(frame: bytes, photometric: str) -> Any:
    image = Image.open(BytesIO(frame))
    if image.mode == "L":
        return np.asarray(image)
    if photometric == "RGB" and not _declares_colours(image):
        image.draft("YCbCr", image.size)  # the components without conversion
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))
