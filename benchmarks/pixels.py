"""Recall of text in pixels: synthetic text over real and synthetic images, and real images alone.

    .venv/bin/python -m benchmarks.pixels [--number 60] [--seed 1]

Each image is treated as a localizer: rendered and read. Reported: the share of images with text
that are withheld, by size and contrast and by rotation; real images without a name that are
withheld; CPU time.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.pixels.utils import iter_pixels

from sendit.pixels.reader import read
from sendit.pixels.render import grey_pictures
from sendit.pixels.verdict import BatchValues, judge
from testing.real_files import real_files

NAMES = ("WINTERBOTTOM", "ABERNATHY^JO", "Featherstone, A", "OKONKWO ADA", "Kowalczyk")
SIZES = (9, 11, 13, 16, 20, 40)
CONTRASTS = (0.1, 0.2, 0.3, 0.6, 1.0)
MIN_CONTRAST = 0.2
ANGLES = (0, 0, 0, 5, 15, 90, 180, 270)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    real = list(backgrounds())
    draw = np.random.default_rng(arguments.seed)
    by_condition: dict[str, list[bool]] = defaultdict(list)
    began = time.process_time()
    for _ in range(arguments.number):
        _, pixels = real[int(draw.integers(len(real)))]
        name, size = str(draw.choice(NAMES)), int(draw.choice(SIZES))
        contrast, angle = float(draw.choice(CONTRASTS)), int(draw.choice(ANGLES))
        kept = keeps(
            with_text(pixels, name, size=size, contrast=contrast, angle=angle, draw=draw), name
        )
        enough = "contrast >= .2" if contrast >= MIN_CONTRAST else "contrast .1"
        by_condition[enough].append(kept)
        by_condition[f"{size} px, {enough}"].append(kept)
        if contrast >= MIN_CONTRAST:
            by_condition[f"rotated by {angle}, {enough}"].append(kept)
    took = (time.process_time() - began) / arguments.number
    print("| text | kept back | images |\n|---|--:|--:|")
    for what, outcomes in sorted(by_condition.items()):
        print(f"| {what} | {np.mean(outcomes):.2f} | {len(outcomes)} |")
    alarms: dict[str, list[bool]] = defaultdict(list)
    for modality, pixels in real:
        alarms[modality].append(keeps(pixels, "-"))
    print("\n| real images without text | kept back | images |\n|---|--:|--:|")
    for modality, outcomes in sorted(alarms.items()):
        print(f"| {modality} | {sum(outcomes)} | {len(outcomes)} |")
    print(f"\n{took * 1000:.0f} ms of CPU an image")


def keeps(pixels: np.ndarray[Any, Any], name: str) -> bool:
    """Whether an image is withheld."""
    own = BatchValues(
        words={part.lower() for part in name.replace("^", " ").split() if len(part) > 2}
    )
    return any(judge(read(picture), own) is not None for picture in grey_pictures(pixels))


def with_text(
    pixels: np.ndarray[Any, Any],
    text: str,
    *,
    size: int,
    contrast: float,
    angle: int,
    draw: np.random.Generator,
) -> np.ndarray[Any, Any]:
    """Return an image with a text lighter than its surroundings."""
    font = ImageFont.load_default(size)
    box = font.getbbox(text)
    stamp = Image.new("L", (int(box[2]) + 6, int(box[3]) + 6), 0)
    ImageDraw.Draw(stamp).text((3, 2), text, fill=255, font=font)
    shape = np.asarray(stamp.rotate(angle, expand=True)).astype(np.float32) / 255
    values = pixels.astype(np.float32)
    low, high = np.percentile(values, (1, 99))
    rows, columns = (min(a, b) for a, b in zip(shape.shape, values.shape, strict=True))
    top = int(draw.integers(values.shape[0] - rows + 1))
    left = int(draw.integers(values.shape[1] - columns + 1))
    part = values[top : top + rows, left : left + columns]
    level = np.median(part) + contrast * (high - low)
    mask = shape[:rows, :columns]
    part[:] = part * (1 - mask) + level * mask
    return values


def backgrounds() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield real CT, MR and radiography images of at least 128 rows, one per file."""
    seen: set[Path] = set()
    for path in real_files():
        if path in seen:
            continue
        seen.add(path)
        try:
            ds = pydicom.dcmread(path, force=True)
            modality = str(ds.get("Modality", ""))
            if modality not in {"CT", "MR", "CR", "DX"} or int(ds.Rows) < 128:
                continue
            frame = next(iter(iter_pixels(ds)))
        except Exception:  # noqa: BLE001, S112 what pydicom cannot read here is no background
            continue
        if frame.ndim == 2:
            yield modality, frame[:1024, :1024]


if __name__ == "__main__":
    main()
