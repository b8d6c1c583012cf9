"""Search bytes for many values at once (Hyperscan), at several gigabytes a second."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

import hyperscan

PATTERNS_PER_DATABASE: Final = 24
"""Compiling twice as many patterns takes Hyperscan ten times as long."""

MAX_DATABASES: Final = 4
"""With more databases, scanning each costs more than compiling a single one."""

#: Types that are searched without a copy.
Buffer = bytes | bytearray | memoryview


class Hit(NamedTuple):
    """The index of a pattern, and the offset at which a match ends (a match may have several)."""

    pattern: int
    end: int


class Search:
    """A set of patterns, compiled once.

    Parameters
    ----------
    patterns
        Regular expressions over bytes in Hyperscan's syntax; :func:`literal` escapes fixed bytes.
    caseless
        Whether ASCII letters match in both cases, one flag per pattern.
    """

    def __init__(self, patterns: Sequence[bytes], caseless: Sequence[bool]) -> None:
        self._databases: list[Any] = []
        count = len(patterns)
        fits = count <= PATTERNS_PER_DATABASE * MAX_DATABASES
        size = PATTERNS_PER_DATABASE if fits else count
        for start in range(0, count, size):
            numbers = range(start, min(start + size, count))
            database = hyperscan.Database()
            database.compile(
                expressions=[patterns[number] for number in numbers],
                ids=list(numbers),
                elements=len(numbers),
                flags=[hyperscan.HS_FLAG_CASELESS * caseless[number] for number in numbers],
            )
            self._databases.append(database)

    def hits(self, data: Buffer) -> list[Hit]:
        """Return every match in ``data`` (less than 4 GiB), in the order of their ends."""
        matches: list[Hit] = []
        if len(data):
            for database in self._databases:
                database.scan(cast("bytes", data), match_event_handler=_note, context=matches)
            if len(self._databases) > 1:
                matches.sort(key=itemgetter(1))
        return matches


def _note(pattern: int, _start: int, end: int, _flags: int, hits: list[Hit]) -> None:
    hits.append(Hit(pattern, end))


def literal(value: bytes) -> bytes:
    """Return the expression that matches exactly these bytes."""
    return b"\\x" + hexlify(value, b"|").replace(b"|", b"\\x")
