"""The benchmark's studies: synthetic and deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testing.builder import make_dataset, to_bytes, write_study


@dataclass(frozen=True)
class Input:
    """A folder to de-identify; a slow tool only gets the first ``slow`` files."""

    name: str
    meaning: str
    folder: Path
    slow: int

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.files)


def make_all(folder: Path, scale: float = 1.0, only: Sequence[str] | None = None) -> list[Input]:
    """Make the studies below ``folder``; ``scale`` reduces the number of files, not their size."""

    def count(number: int) -> int:
        return max(2, round(number * scale))

    def study(name: str, meaning: str, slow: int, **options: Any) -> Input | None:
        if only and name not in only:
            return None
        write_study(folder / name, **options)
        return Input(name, meaning, folder / name, slow)

    cts, mrs, smalls, batches = count(200), count(200), count(2000), count(20)
    made = [
        study("ct", f"CT, {cts} files of 0.5 MB", 12, instances=cts, rows=512, columns=512),
        study(
            "mr",
            f"MR, {mrs} files of 0.13 MB",
            12,
            kind="MR",
            instances=mrs,
            rows=256,
            columns=256,
        ),
        study(
            "enhanced",
            "Enhanced MR, 1 file of 400 frames",
            1,
            kind="ENHANCED",
            instances=1,
            frames=400,
            rows=256,
            columns=256,
        ),
        study(
            "small",
            f"MR, {smalls} files of 12 kB",
            12,
            kind="MR",
            instances=smalls,
            rows=64,
            columns=64,
        ),
        study("large", "CT, 1 file of 200 MB", 1, instances=1, rows=10240, columns=10240),
    ]
    if not only or "2017" in only:
        _write_2017(folder / "2017", batches)
        made.append(
            Input("2017", f"radiographs of {batches} batches as in 2017", folder / "2017", 3)
        )
    return [one for one in made if one is not None]


# Megabytes of the 2017 service's batches, by rank (4,920 batches, 80.7 GB): half of them are one
# radiograph of 12.5 MB, the tenth part holds two or more.
_MEGABYTES_2017 = (
    *(0.5, 9.75, 9.75, 12.5, 12.5, 12.5, 12.5, 12.5, 12.5, 12.5),
    *(12.5, 12.5, 12.5, 18.2, 18.2, 18.2, 25.2, 25.2, 25.2, 63.7),
)
_LARGEST_FILE = 12.6


def _write_2017(folder: Path, batches: int) -> None:
    folder.mkdir(parents=True)
    for batch in range(batches):
        megabytes = _MEGABYTES_2017[batch * len(_MEGABYTES_2017) // batches]
        files = max(1, round(megabytes / _LARGEST_FILE))
        side = round((megabytes / files * 1e6 / 2) ** 0.5)
        for number in range(files):
            dataset = make_dataset(1, 1, 1 + batch, 1 + number, rows=side, columns=side)
            (folder / f"{batch:03}_{number}.dcm").write_bytes(to_bytes(dataset))
