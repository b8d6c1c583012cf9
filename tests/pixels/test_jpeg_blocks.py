"""Blocks of a baseline JPEG: those that a box touches become black, the others stay as they are."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from sendit.pixels import recheck
from sendit.pixels.boxes import Blank
from sendit.pixels.jpeg_blocks import blank_blocks

UNITS = {"grey": (8, 8), "444": (8, 8), "422": (16, 8), "440": (8, 16), "420": (16, 16)}
UNITS |= {"411": (32, 8), "rgb": (8, 8)}
PILLOW = {"444": 0, "422": 1, "420": 2}


def picture(rows: int, columns: int, colours: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return waves in noise."""
    down, across = np.mgrid[0:rows, 0:columns]
    waves = [
        128 + 80 * np.sin(across / 9 + each) + 40 * np.cos(down / 7 * (each + 1))
        for each in range(colours)
    ]
    noise = np.random.default_rng(seed).normal(0, 12, (rows, columns, colours))
    made: np.ndarray[Any, Any] = np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
    return made[:, :, 0] if colours == 1 else made


def encoded(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    """Return a JPEG; ``kind`` is a key of ``UNITS``."""
    quality = options.pop("quality", 80)
    if kind in {"440", "411"}:
        return bytes(imagecodecs.jpeg8_encode(pixels, quality, subsampling=kind))
    if kind == "rgb":
        return bytes(
            imagecodecs.jpeg8_encode(pixels, quality, colorspace="RGB", outcolorspace="RGB")
        )
    if kind != "grey":
        options["subsampling"] = PILLOW[kind]
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def components(frame: bytes) -> np.ndarray[Any, Any]:
    """Decode without conversion of colours."""
    image = Image.open(BytesIO(frame))
    if image.mode == "RGB" and image.info.get("adobe_transform") != 0:
        image.draft("YCbCr", image.size)
    samples = np.asarray(image)
    return samples.reshape(*samples.shape[:2], -1)


def check(frame: bytes, box: tuple[int, int, int, int], kind: str) -> bytes:
    """Blank a box and compare every sample; return the new JPEG."""
    before = components(frame)
    rows, columns = before.shape[:2]
    new = blank_blocks(frame, Blank(rows, columns, (box,)), rgb=False)
    assert new is not None
    across, down = UNITS[kind]
    left, top, right, bottom = box
    inside = np.zeros((rows, columns), bool)
    inside[
        top // down * down : -(-bottom // down) * down,
        left // across * across : -(-right // across) * across,
    ] = True
    after = components(new)
    assert np.array_equal(before[~inside][:, 0], after[~inside][:, 0])
    black = [0, 0, 0] if kind == "rgb" else [0, 128, 128]
    assert not after[inside][:, 0].any()
    if kind in {"444", "rgb"}:
        assert np.array_equal(before[~inside], after[~inside])
        assert (after[inside] == black).all()
    assert recheck._compared_frame(frame, new, (box,)) is None
    return new


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (40, 50), (64, 64), (123, 131)])
@pytest.mark.parametrize("quality", [10, 80, 100])
def test_all_other_samples_stay(kind: str, rows: int, columns: int, quality: int) -> None:
    random = np.random.default_rng(rows * columns * quality)
    frame = encoded(picture(rows, columns, 1 if kind == "grey" else 3), kind, quality=quality)
    for _ in range(5):
        left, top = int(random.integers(columns)), int(random.integers(rows))
        right, bottom = random.integers(left + 1, columns + 1), random.integers(top + 1, rows + 1)
        check(frame, (left, top, int(right), int(bottom)), kind)


@pytest.mark.parametrize("kind", ["grey", "444", "422", "420"])
@pytest.mark.parametrize("interval", [1, 3, 7])
def test_restart_intervals_stay(kind: str, interval: int) -> None:
    pixels = picture(75, 90, 1 if kind == "grey" else 3)
    frame = encoded(pixels, kind, restart_marker_blocks=interval)
    new = check(frame, (20, 9, 61, 30), kind)
    assert markers(new) == markers(frame)
    assert new.count(b"\xff\xdd\0\4") == 1


def markers(frame: bytes) -> list[int]:
    scan = frame[frame.index(b"\xff\xda") :]
    return [one for zero, one in pairwise(scan) if zero == 0xFF and one]


@pytest.mark.parametrize("kind", ["grey", "444", "420"])
@pytest.mark.parametrize("level", [0, 3, 255])
def test_tables_without_the_needed_codes_get_them(kind: str, level: int) -> None:
    """A flat picture's own tables have few codes: none for a difference to black."""
    pixels = np.full((40, 48) if kind == "grey" else (40, 48, 3), level, np.uint8)
    pixels[20:24] = 99
    frame = encoded(pixels, kind, optimize=True, quality=100)
    new = check(frame, (9, 3, 20, 30), kind)
    tables = new.count(b"\xff\xc4") - frame.count(b"\xff\xc4")
    assert (tables > 0) == (level != 0)


def with_full_tables(frame: bytes) -> bytes:
    """Add codes of unused symbols to the first table until only the reserved one is left."""
    start = frame.index(b"\xff\xc4")
    end = start + 2 + int.from_bytes(frame[start + 2 : start + 4])
    counts = list(frame[start + 5 : start + 21])
    symbols = frame[start + 21 : start + 21 + sum(counts)]
    free = (1 << 16) - sum(count << 15 - length for length, count in enumerate(counts))
    for length in range(16):
        size = 1 << 15 - length
        while free > size and not any(counts[length + 1 :]):
            counts[length] += 1
            symbols += bytes([255 - len(symbols)])
            free -= size
    assert free == 1
    table = bytes([frame[start + 4], *counts]) + symbols
    rest = frame[start + 21 + sum(frame[start + 5 : start + 21]) : end]
    length = (2 + len(table) + len(rest)).to_bytes(2)
    return frame[: start + 2] + length + table + rest + frame[end:]


def test_the_reserved_code_is_not_used() -> None:
    pixels = np.full((40, 48), 128, np.uint8)
    pixels[20:24] = 99
    frame = encoded(pixels, "grey", optimize=True, quality=100)
    blank = Blank(40, 48, ((9, 3, 20, 30),))
    assert blank_blocks(frame, blank, rgb=False) is not None
    assert blank_blocks(with_full_tables(frame), blank, rgb=False) is None


def test_several_boxes_and_the_whole_image() -> None:
    frame = encoded(picture(96, 96, 3), "420")
    boxes = ((0, 0, 96, 10), (0, 10, 5, 96), (50, 40, 60, 50), (95, 95, 96, 96))
    new = blank_blocks(frame, Blank(96, 96, boxes), rgb=False)
    assert new is not None
    assert recheck._compared_frame(frame, new, boxes) is None
    whole = blank_blocks(frame, Blank(96, 96, ((0, 0, 96, 96),)), rgb=False)
    assert whole is not None
    assert (components(whole) == [0, 128, 128]).all()


def test_comments_and_bytes_after_the_end_are_not_kept() -> None:
    frame = encoded(picture(40, 50, 1), "grey", comment=b"Winterbottom", exif=b"Exif\0\0DOE^JANE")
    new = blank_blocks(frame + b"after the end", Blank(40, 50, ((0, 0, 9, 9),)), rgb=False)
    assert new is not None
    assert b"Winterbottom" not in new and b"DOE" not in new and new.endswith(b"\xff\xd9")


def test_colours_without_a_declaration() -> None:
    """Component numbers 0, 1 and 2, no JFIF or Adobe segment: the header says what they are."""
    pixels = picture(40, 50, 3)
    frame = encoded(pixels, "rgb")
    adobe = frame.index(b"\xff\xee")
    bare = frame[:adobe] + frame[adobe + 16 :]
    start = bare.index(b"\xff\xc0") + 10
    scan = bare.index(b"\xff\xda") + 5
    plain = bytearray(bare)
    for number in range(3):
        plain[start + 3 * number] = plain[scan + 2 * number] = number
    for rgb, black in ((True, [0, 0, 0]), (False, [0, 128, 128])):
        new = blank_blocks(bytes(plain), Blank(40, 50, ((0, 0, 50, 9),)), rgb=rgb)
        assert new is not None
        assert (components(new)[:8] == black).all()


def test_jfif_says_more_than_the_numbers_of_components() -> None:
    frame = encoded(picture(40, 50, 3), "444")
    start, scan = frame.index(b"\xff\xc0") + 10, frame.index(b"\xff\xda") + 5
    numbered = bytearray(frame)
    for number, letter in enumerate(b"RGB"):
        numbered[start + 3 * number] = numbered[scan + 2 * number] = letter
    new = blank_blocks(bytes(numbered), Blank(40, 50, ((0, 0, 50, 9),)), rgb=True)
    assert new is not None
    assert (components(new)[:8] == [0, 128, 128]).all()


def test_recheck_compares_tables_and_every_sample_of_luminance() -> None:
    black = np.zeros((16, 16), np.uint8)
    one, two = (encoded(black, "grey", quality=quality) for quality in (60, 90))
    assert recheck._compared_frame(one, two, ((0, 0, 16, 16),)) == recheck.ALTERED
    luminance, *chrominance = recheck._masks((64, 64), ((5, 5, 20, 20),), ((2, 2), (1, 1), (1, 1)))
    assert (luminance[0] | luminance[1]).all()
    for inside, outside in chrominance:
        missing = ~(inside | outside)
        assert missing[31, 5] and missing[32, 5] and not missing[30, 5] and not missing[33, 5]
        assert not missing[0, 0]


def test_a_progressive_jpeg_is_left_to_the_caller() -> None:
    frame = encoded(picture(40, 50, 3), "420", progressive=True)
    assert blank_blocks(frame, Blank(40, 50, ((0, 0, 9, 9),)), rgb=False) is None


def filled(frame: bytes) -> bytes:
    """Insert fill bytes before the scan header and the end (B.1.1.2)."""
    scan = frame.index(b"\xff\xda")
    return frame[:scan] + b"\xff\xff" + frame[scan:-2] + b"\xff\xff\xd9"


def with_tables_of_16_bits(frame: bytes) -> bytes:
    """Write quantisation tables of 16 bits, which extended JPEG allows (B.2.4.1)."""
    parts, rest = [], frame.replace(b"\xff\xc0", b"\xff\xc1", 1)
    while (at := rest.find(b"\xff\xdb\0\x43")) >= 0:
        table = rest[at + 5 : at + 69]
        wide = b"".join(bytes([0, step]) for step in table)
        parts += [rest[:at], b"\xff\xdb\0\x83", bytes([0x10 | rest[at + 4]]), wide]
        rest = rest[at + 69 :]
    return b"".join([*parts, rest])


def padded(frame: bytes) -> bytes:
    """Add a byte of ones after the last block, as some encoders do if no bits are left over."""
    return frame[:-2] + b"\xff\0" + frame[-2:]


@pytest.mark.parametrize("change", [filled, padded, with_tables_of_16_bits])
@pytest.mark.parametrize("kind", ["grey", "420"])
def test_rare_layouts_are_edited(change: Any, kind: str) -> None:
    pixels = picture(75, 90, 1 if kind == "grey" else 3)
    frame = change(encoded(pixels, kind, restart_marker_blocks=4))
    new = check(frame, (20, 9, 61, 30), kind)
    assert Image.open(BytesIO(new)).quantization == Image.open(BytesIO(frame)).quantization


def test_bytes_after_the_last_block_are_left_to_the_caller() -> None:
    frame = encoded(picture(40, 50, 1), "grey")
    frame = frame[:-2] + b"\x12\x34" + frame[-2:]
    assert blank_blocks(frame, Blank(40, 50, ((0, 0, 9, 9),)), rgb=False) is None


def test_another_size_is_left_to_the_caller() -> None:
    frame = encoded(picture(40, 50, 3), "420")
    assert blank_blocks(frame, Blank(50, 40, ((0, 0, 9, 9),)), rgb=False) is None


def test_corrupted_data_never_raises_nor_changes_what_decodes() -> None:
    """What is edited despite of damage decodes to the same outside the box."""
    random = np.random.default_rng(11)
    edited = 0
    for number in range(400):
        kind = ["grey", "444", "422", "420"][number % 4]
        frame = bytearray(encoded(picture(48, 64, 1 if kind == "grey" else 3, number), kind))
        for _ in range(int(random.integers(1, 4))):
            if number % 3:
                frame[int(random.integers(len(frame)))] = int(random.integers(256))
            else:
                cut = int(random.integers(2, len(frame)))
                del frame[cut : cut + int(random.integers(1, 9))]
        box = (0, 0, 64, 9)
        new = blank_blocks(bytes(frame), Blank(48, 64, (box,)), rgb=False)
        if new is None:
            continue
        edited += 1
        try:
            expected = components(bytes(frame))[16:, :, 0]
        except (OSError, SyntaxError, ValueError):
            continue
        assert np.array_equal(components(new)[16:, :, 0], expected)
    assert edited
