"""Build the pixel data element to deliver: the frames and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sendit.batch import Reason
from sendit.dicom.encode import ITEM_HEAD, Part, head
from sendit.dicom.iod import is_image
from sendit.dicom.overlay_bits import compressed_without_overlays, native_without_overlays
from sendit.dicom.pixel_data import (
    ALLOCATED,
    COLUMNS,
    ROWS,
    TABLES,
    PixelData,
    check_pixel_data,
)
from sendit.dicom.scan import PIXEL_DATA_TAGS, Buffer, Element, Encoding, Header
from sendit.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN
from sendit.errors import SkipInstance

_IMAGE_PIXEL: Final = (ROWS, COLUMNS, ALLOCATED)


class Delivered(NamedTuple):
    """Pixel data to deliver.

    Attributes
    ----------
    parts
        The element's new bytes; the first part is its tag, VR and length.
    cleared
        Whether overlay bits were cleared.
    tables
        Whether the extended offset table before the pixel data is still valid.
    pixels
        The pixel data of the source file.
    """

    parts: list[Part]
    cleared: bool
    tables: bool
    pixels: PixelData


def check_has_pixels(header: Header) -> None:
    """Reject an image without pixel data, and an object with several pixel data elements.

    Raises
    ------
    SkipInstance
        Pixel data are missing though the SOP class or the Image Pixel module requires them, or
        there is more than one element.
    """
    count = sum(element[0] in PIXEL_DATA_TAGS for element in header.elements)
    if count > 1:
        raise SkipInstance(Reason.MALFORMED)
    if count:
        return
    if is_image(header.sop_class) or all(header.raw(tag) for tag in _IMAGE_PIXEL):
        raise SkipInstance(Reason.ZERO_FILLED if header.trailing >= 8 else Reason.NO_PIXELS)


def deliver(header: Header, element: Element) -> Delivered:
    """Build the pixel data element to deliver.

    Raises
    ------
    SkipInstance
        It cannot be proven to hold exactly the frames that the header declares.
    """
    _, vr, _, _, _, items = element
    if items is not None or (vr[0] != "O" and vr != "UN"):
        raise SkipInstance(Reason.OTHER_SYNTAX)
    pixels = check_pixel_data(header, element)
    return _compressed(header, pixels) if pixels.frames else _native(header, pixels)


def deliver_nested(
    siblings: Sequence[Element], element: Element, data: Buffer, encoding: Encoding
) -> bytes | None:
    """Build the pixel data element of an icon; None if it is not what its item declares.

    Compressed icons are never delivered: viewers create one from the image.

    Parameters
    ----------
    siblings
        The elements of the item.
    element
        The pixel data among them.
    data
        The bytes of the file.
    encoding
        Encoding of the item.
    """
    item = Header(
        data=data,
        encoding=encoding,
        elements=[*siblings],
        meta={},
        transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN,
        size=len(data),
        trailing=0,
    )
    try:
        return b"".join(deliver(item, element).parts)
    except SkipInstance:
        return None


def _native(header: Header, pixels: PixelData) -> Delivered:
    data = header.data
    tag, vr, start, value, end, _ = pixels.element
    length = pixels.end - value
    padded = length + length % 2
    samples = native_without_overlays(header, pixels)
    unchanged = end - value == padded and not any(data[pixels.end : end])
    if samples is None:
        # The value is a part of its own: the archive makes such parts skippable for the gate.
        frames = memoryview(data)[value : end if unchanged else pixels.end]
        samples = [frames if unchanged or not length % 2 else bytes(frames) + b"\0"]
        cleared = False
    else:
        samples += [b"\0"] if length % 2 else []
        cleared = True
    first = bytes(data[start:value])
    if end - value != padded:
        first = head(tag, vr, padded, header.encoding)
    return Delivered([first, *samples], cleared, pixels.tables_fit, pixels)


def _compressed(header: Header, pixels: PixelData) -> Delivered:
    overlays = compressed_without_overlays(header, pixels)
    changes = [(start, bytes(end - start)) for start, end in pixels.blank]
    changes += overlays
    _, _, start, value, end, _ = pixels.element
    if pixels.offsets is None:
        parts = _changed(header.data, start, end, changes)
    else:
        first_fragment = pixels.frames[0].fragments[0][0] - 8
        table = ITEM_HEAD[True] + len(pixels.offsets).to_bytes(4, "little") + pixels.offsets
        parts = [bytes(header.data[start:value]) + table]
        parts += _changed(header.data, first_fragment, end, changes)
    return Delivered(parts, bool(overlays), pixels.tables_fit, pixels)


def _changed(
    data: Buffer, start: int, end: int, changes: Iterable[tuple[int, bytes]]
) -> list[Part]:
    """Return a range of the file with some bytes overwritten."""
    if not changes:
        return [memoryview(data)[start:end]]
    patched = bytearray(data[start:end])
    for at, new in changes:
        patched[at - start : at - start + len(new)] = new
    return [bytes(patched)]


def without_tables(header: Header, before: Sequence[Part]) -> list[Part]:
    """Remove extended offset tables, which no longer apply, from the bytes before the pixel data.

    If the recipe keeps them, they are the last elements there.
    """
    joined = b"".join(before)
    for tag in reversed(TABLES):
        element = header.element(tag)
        if element is not None:
            joined = joined.removesuffix(header.data[element[2] : element[4]])
    return [joined]
