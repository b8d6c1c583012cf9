"""The real DICOM files that the test packages ship, ordered by path."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

PACKAGES = ("pydicom.data", "data_store.data", "deid_data.data")
NOT_IMAGES = frozenset(
    (
        *(".bz2", ".csv", ".dump", ".gz", ".icc", ".json", ".md", ".npy"),
        *(".pickle", ".py", ".pyc", ".txt", ".typed", ".zip"),
    )
)


def _folder(package: str) -> Path:
    top, _, rest = package.partition(".")
    file = import_module(top).__file__
    assert file is not None
    return Path(file).parent / rest.replace(".", "/")


@cache
def real_files() -> tuple[Path, ...]:
    """Return the paths of about 260 files: every transfer syntax, many malformed."""
    files = [
        path
        for package in PACKAGES
        for path in sorted(_folder(package).rglob("*"))
        if path.is_file() and path.suffix not in NOT_IMAGES
    ]
    assert len(files) > 200
    return tuple(files)


def nibabel_files() -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the scanner files in nibabel's tests: Siemens mosaics with CSA
    headers, and a Philips volume.
    """
    for path in sorted(_folder("nibabel.nicom.tests.data").iterdir()):
        if ".dcm" in path.suffixes:
            data = path.read_bytes()
            yield path.name, gzip.decompress(data) if path.suffix == ".gz" else data
