"""Atomic writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: Path, mode: int = 0o600) -> Iterator[IO[str]]:
    """Open a text file (UTF-8) that replaces ``path`` only if the block succeeds.

    Readers of ``path`` see either the old or the new content at any moment, even after a power
    cut. On an error nothing is left behind.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(
            part,
            "w",
            encoding="utf-8",
            newline="",
            opener=lambda name, flags: os.open(name, flags, mode),
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
