"""Pictures of sample images before and after: what was blanked, and that the rest is unchanged.

    .venv/bin/python -m demo.pictures ORIGINALS OBJECTS PICTURES

Runs in sendit's own environment, which decodes every transfer syntax. ``ORIGINALS`` is an
accession folder, ``OBJECTS`` holds the delivered archives. Images are matched by modality, rows
and columns.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from sendit.deidentify.pixel_data import deliver
from sendit.dicom.scan import PIXEL_DATA_TAGS, read_header
from sendit.pixels.layout import Array
from sendit.pixels.render import save_side_by_side
from sendit.pixels.text_detector import first_picture

Shape = tuple[str, int, int]


def main() -> None:
    """Write a picture of each delivered image of the folder."""
    originals, objects, pictures = map(Path, sys.argv[1:])
    pictures.mkdir(parents=True, exist_ok=True)
    before = {shape: data for shape, data in map(_with_shape, _files(originals)) if shape}
    for data in _members(objects):
        shape, _ = _with_shape(data)
        if shape in before:
            modality, rows, columns = shape
            save_side_by_side(
                pictures / f"{modality}-{columns}x{rows}.png",
                _picture(before[shape]),
                _picture(data),
            )


def _files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        yield path.read_bytes()


def _members(objects: Path) -> Iterator[bytes]:
    for path in sorted(objects.rglob("*.tar.gz")):
        with tarfile.open(path) as archive:
            for member in archive:
                opened = archive.extractfile(member)
                if opened is not None:
                    yield opened.read()


def _with_shape(data: bytes) -> tuple[Shape | None, bytes]:
    dataset: Dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    if "Rows" not in dataset:
        return None, data
    return (str(dataset.Modality), int(dataset.Rows), int(dataset.Columns)), data


def _picture(data: bytes) -> Array:
    header = read_header(data)
    element = next(each for each in header.elements if each[0] in PIXEL_DATA_TAGS)
    delivered = deliver(header, element)
    return first_picture(header, delivered.pixels, delivered.parts[1:])


if __name__ == "__main__":
    main()
