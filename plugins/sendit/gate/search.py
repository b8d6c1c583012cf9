"""Search bytes for many values at once (Hyperscan), at several gigabytes a second."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

import hyperscan

TOGETHER: Final = 24
"""Patterns in one database: twice as many take Hyperscan ten times as long to compile."""

MAX_DATABASES: Final = 4
"""Databases above which scanning in each of them costs more than compiling one for all."""

#: What can be searched without a copy.
Buffer = bytes | bytearray | memoryview


class Hit(NamedTuple):
    """Which pattern was found, and where it ends (it may be found to end in several places)."""

    pattern: int
    end: int


class Search:
    """Patterns compiled together.

    Parameters
    ----------
    patterns
        Regular expressions over bytes, as Hyperscan reads them; :func:`literal` makes one.
    caseless
        Whether ASCII letters match in both cases, for each pattern.
    """

    def __init__(self, patterns: Sequence[bytes], caseless: Sequence[bool]) -> None:
        self._databases: list[Any] = []
        count = len(patterns)
        together = TOGETHER if count <= TOGETHER * MAX_DATABASES else count
        for start in range(0, count, together):
            numbers = range(start, min(start + together, count))
            database = hyperscan.Database()
            database.compile(
                expressions=[patterns[number] for number in numbers],
                ids=list(numbers),
                elements=len(numbers),
                flags=[hyperscan.HS_FLAG_CASELESS * caseless[number] for number in numbers],
            )
            self._databases.append(database)

    def hits(self, data: Buffer) -> list[Hit]:
        """Return every place in ``data`` (under 4 GiB) where a pattern ends, in order."""
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
    """Return the expression that finds just these bytes."""
    return b"\\x" + hexlify(value, b"|").replace(b"|", b"\\x")
