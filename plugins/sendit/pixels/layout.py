"""The layout of native samples in the pixel data (PS3.5 8.1 and 8.2, PS3.3 C.7.6.3.1.2 and .3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sendit.batch import Reason
from sendit.dicom.pixel_data import Description, PixelData
from sendit.dicom.scan import PIXEL_DATA, Header
from sendit.dicom.transfer_syntax import ENCAPSULATED_UNCOMPRESSED
from sendit.errors import SkipInstance

Array = npt.NDArray[Any]

PLANAR: Final = 0x00280006


@dataclass(frozen=True, slots=True)
class Layout:
    """The samples of a native frame.

    Attributes
    ----------
    description
        The header's description of the pixel data.
    planar
        Whether a frame has one plane per sample (PlanarConfiguration 1).
    little
        Byte order of the samples.
    floating
        Whether the samples are floating point numbers.
    swapped
        Whether 8-bit samples are stored in big-endian words, so that each pair is swapped.
    subsampled
        (2, 1) if chrominance is stored for every second column, (2, 2) for every second column and
        row, else (1, 1).
    """

    description: Description
    planar: bool = False
    little: bool = True
    floating: bool = False
    swapped: bool = False
    subsampled: tuple[int, int] = (1, 1)

    @property
    def samples(self) -> int:
        """Number of samples in a frame."""
        across, down = self.subsampled
        pixels = self.description.rows * self.description.columns
        if (across, down) != (1, 1):
            return pixels + 2 * pixels // (across * down)
        return pixels * self.description.samples

    @property
    def size(self) -> int:
        """Size of a frame in bytes; samples must take whole bytes."""
        return self.samples * self.description.allocated // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a sample."""
        return sample_type(self.description, floating=self.floating, little=self.little)


def sample_type(
    description: Description, *, floating: bool = False, little: bool = True
) -> np.dtype[Any]:
    """Return the dtype of samples.

    Parameters
    ----------
    description
        The header's description; determines the size, and whether integers are signed.
    floating
        Whether samples are floating point numbers.
    little
        Byte order.

    Raises
    ------
    SkipInstance
        NumPy has no type with this number of bits.
    """
    kind = "f" if floating else "i" if description.signed else "u"
    if description.allocated not in (8, 16, 32, 64):
        raise SkipInstance(Reason.PIXELS_NOT_READ)
    return np.dtype(f"{'<' if little else '>'}{kind}{description.allocated // 8}")


def layout_of(header: Header, pixels: PixelData) -> Layout:
    """Return the layout of native samples, or of those in an encapsulated uncompressed frame.

    Raises
    ------
    SkipInstance
        Samples do not take whole bytes (1-bit samples are allowed), or rows or columns are not
        divisible as subsampled chrominance requires.
    """
    description = pixels.description
    raw = header.raw(PLANAR) or b"\0\0"
    planar = int.from_bytes(raw[:2], "little" if header.encoding.little else "big") == 1
    floating = pixels.element[0] != PIXEL_DATA
    if description.allocated != 1:
        sample_type(description, floating=floating)
    return Layout(
        description,
        planar=planar and description.samples > 1,
        little=header.encoding.little,
        floating=floating,
        swapped=not header.encoding.little
        and pixels.element[1] == "OW"
        and description.allocated <= 8,
        subsampled=_subsampled(header, pixels),
    )


def _subsampled(header: Header, pixels: PixelData) -> tuple[int, int]:
    description = pixels.description
    if pixels.frames and header.transfer_syntax != ENCAPSULATED_UNCOMPRESSED:
        return 1, 1
    if description.samples != 3 or not description.photometric.endswith((b"_422", b"_420")):
        return 1, 1
    full = description.rows * description.columns * 3 * description.allocated // 8
    length = len(pixels.frames[0].data) if pixels.frames else pixels.end - pixels.element[3]
    if length // (1 if pixels.frames else description.frames) >= full:
        return 1, 1  # not subsampled, despite the photometric interpretation
    if description.columns % 2 or description.rows % 2:
        raise SkipInstance(Reason.PIXELS_NOT_READ)
    return (2, 1) if description.photometric.endswith(b"_422") else (2, 2)


def planes(layout: Layout, frame: bytes | bytearray | memoryview) -> list[tuple[Array, int, int]]:
    """Return views of the components of a native frame.

    Parameters
    ----------
    layout
        The frame's layout; samples must take whole bytes.
    frame
        Its bytes, with pairs of swapped samples restored.

    Returns
    -------
    list[tuple[Array, int, int]]
        For each component an array, and the numbers of columns and rows of the image that one of
        its samples covers.
    """
    rows, columns, samples = layout.description[:3]
    flat = np.frombuffer(frame, layout.dtype, count=layout.samples)
    if layout.subsampled == (2, 1):
        pairs = flat.reshape(rows, columns // 2, 4)
        return [(pairs[:, :, 0], 2, 1), (pairs[:, :, 1], 2, 1)] + [
            (pairs[:, :, index], 2, 1) for index in (2, 3)
        ]
    if layout.subsampled == (2, 2):
        blocks = flat.reshape(rows // 2, columns // 2, 6)
        return [(blocks[:, :, index], 2, 2) for index in range(6)]
    if layout.planar:
        shaped = flat.reshape(samples, rows, columns)
        return [(shaped[index], 1, 1) for index in range(samples)]
    shaped = flat.reshape(rows, columns, samples)
    return [(shaped[:, :, index], 1, 1) for index in range(samples)]


def as_image(layout: Layout, frame: bytes | bytearray | memoryview) -> Array:
    """Return a native frame as an array of shape (rows, columns) or (rows, columns, samples).

    Subsampled chrominance is repeated for each pixel.
    """
    rows, columns, samples = layout.description[:3]
    components = planes(layout, frame)
    chroma: list[Array]
    if layout.subsampled == (2, 1):
        luma: Array = np.stack([components[0][0], components[1][0]], axis=2).reshape(rows, columns)
        chroma = [np.repeat(components[index][0], 2, axis=1) for index in (2, 3)]
        return np.stack([luma, *chroma], axis=2)
    if layout.subsampled == (2, 2):
        corners = np.stack([components[index][0] for index in range(4)], axis=2)
        luma = corners.reshape(rows // 2, columns // 2, 2, 2).transpose(0, 2, 1, 3)
        chroma = [
            np.repeat(np.repeat(components[index][0], 2, axis=0), 2, axis=1) for index in (4, 5)
        ]
        return np.stack([luma.reshape(rows, columns), *chroma], axis=2)
    if samples == 1:
        return components[0][0]
    return np.stack([plane for plane, _, _ in components], axis=2)
