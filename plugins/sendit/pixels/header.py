"""Update the header of a blanked image (PS3.15 E.3.1, PS3.3 C.7.6.1 and C.12.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sendit.dicom.encode import PREAMBLE, NewElement, Part, build_items, element
from sendit.dicom.pixel_data import PHOTOMETRIC
from sendit.dicom.scan import (
    IMAGE_TYPE,
    SOP_INSTANCE,
    Encoding,
    Header,
    read_header,
)
from sendit.pixels.layout import PLANAR
from sendit.pixels.scrub import Scrubbed

METHOD: Final = "pixels: burned-in text blanked by region"
"""Value that is added to DeidentificationMethod."""

_METHOD: Final = 0x00120063
_METHOD_CODES: Final = 0x00120064
_BURNED_IN: Final = 0x00280301
_LOSSY: Final = 0x00282110
_CLEANED: Final = (
    NewElement(0x00080100, "SH", "113101"),
    NewElement(0x00080102, "SH", "DCM"),
    NewElement(0x00080104, "LO", "Clean Pixel Data Option"),
)


def after_blanking(
    before: Sequence[Part],
    *,
    meta: bytes,
    scrubbed: Scrubbed,
    new_instance: bytes | None,
) -> bytes:
    """Record the blanking in a data set.

    BurnedInAnnotation becomes NO, the first value of ImageType DERIVED, because the pixels are no
    longer those of the scanner; DeidentificationMethod and its code sequence name the Clean Pixel
    Data Option (113101); and attributes that describe the samples are updated.

    Parameters
    ----------
    before
        The data set up to the pixel data, after the recipe was applied.
    meta
        Its file meta, for the encoding.
    scrubbed
        The new pixel data.
    new_instance
        A new SOPInstanceUID, even if the recipe retains UIDs, because a derived image must not have
        the original's (PS3.3 C.7.6.1.1.2); None if it is new already.

    Returns
    -------
    bytes
        The new data set up to the pixel data.
    """
    header = read_header(b"".join([PREAMBLE, meta, *before]))
    encoding = header.encoding
    new = {
        IMAGE_TYPE: _image_type(header),
        _METHOD: _method(header),
        _METHOD_CODES: _codes(header),
        _BURNED_IN: element(_BURNED_IN, "CS", b"NO", encoding),
    }
    if new_instance is not None:
        new[SOP_INSTANCE] = element(SOP_INSTANCE, "UI", new_instance, encoding)
    if scrubbed.photometric is not None:
        new[PHOTOMETRIC] = element(PHOTOMETRIC, "CS", scrubbed.photometric, encoding)
    if scrubbed.interleaved:
        new[PLANAR] = element(PLANAR, "US", b"\0\0", encoding)
    if scrubbed.lossy:
        new[_LOSSY] = element(_LOSSY, "CS", b"01", encoding)
    return replaced(header, new)


def replaced(header: Header, new: Mapping[int, bytes]) -> bytes:
    """Replace top-level elements of a data set, or insert them in tag order.

    Parameters
    ----------
    header
        The data set.
    new
        Encoded elements by tag.
    """
    parts: list[bytes] = []
    left = dict(sorted(new.items()))
    for tag, _, start, _, end, _ in header.elements:
        if tag >> 16 == 2:
            continue
        for earlier in [each for each in left if each < tag]:
            parts.append(left.pop(earlier))
        parts.append(left.pop(tag) if tag in left else bytes(header.data[start:end]))
    return b"".join([*parts, *left.values()])


def _image_type(header: Header) -> bytes:
    values = (header.raw(IMAGE_TYPE) or b"").strip(b" \0").split(b"\\")
    values = [b"DERIVED", *values[1:]] if len(values) > 1 else [b"DERIVED", b"PRIMARY"]
    return element(IMAGE_TYPE, "CS", b"\\".join(values), header.encoding)


def _method(header: Header) -> bytes:
    raw = (header.raw(_METHOD) or b"").strip(b" \0")
    return element(_METHOD, "LO", raw + b"\\" * bool(raw) + METHOD.encode("ascii"), header.encoding)


def _codes(header: Header) -> bytes:
    sequence = header.element(_METHOD_CODES)
    items = sequence[5] if sequence is not None else None
    parts: list[bytes] = []
    for inner, elements in items or ():
        if elements and not any(
            tag == 0x00080100 and bytes(header.data[value:end]).strip(b" \0") == b"113101"
            for tag, _, _, value, end, _ in elements
        ):
            parts.append(_item(header, inner, elements[0][2], elements[-1][4]))
    parts.append(build_items((_CLEANED,), header.encoding, b""))
    return element(_METHOD_CODES, "SQ", b"".join(parts), header.encoding)


def _item(header: Header, inner: Encoding, start: int, end: int) -> bytes:
    content = bytes(header.data[start:end])
    tag = b"\xfe\xff\x00\xe0" if inner.little else b"\xff\xfe\xe0\x00"
    return tag + len(content).to_bytes(4, "little" if inner.little else "big") + content
