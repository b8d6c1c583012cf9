"""Deletes files that the image does not use: ``python trim.py site-packages unused-files.txt``.

Run by the Dockerfile's builder. The file lists what is deleted, and why.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def unused(packages: Path, text: str) -> list[Path]:
    """Return the files and folders that match the patterns, in order.

    Parameters
    ----------
    packages
        The folder ``site-packages``, to which patterns are relative.
    text
        One pattern per line; one after ``!`` keeps what earlier patterns matched.

    Raises
    ------
    LookupError
        A pattern matches nothing.
    """
    selected: set[Path] = set()
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        matches = set(packages.glob(pattern.removeprefix("!")))
        if not matches:
            raise LookupError(f"{pattern} matches nothing: look at that package again")
        selected = selected - matches if pattern.startswith("!") else selected | matches
    return sorted(selected)


def main() -> None:
    """Delete them, and print their total size."""
    packages, patterns = map(Path, sys.argv[1:])
    freed = 0
    for path in unused(packages, patterns.read_text()):
        if not path.exists():
            continue  # inside a folder that is deleted
        inside = path.rglob("*") if path.is_dir() else [path]
        freed += sum(each.lstat().st_size for each in inside if not each.is_dir())
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    print(f"deleted {freed / 1e6:.0f} MB that nothing uses")  # noqa: T201


if __name__ == "__main__":
    main()
