"""Search bytes for many values at once (Hyperscan), at several gigabytes a second."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import hyperscan

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
        self._database: Any = None
        if patterns:
            self._database = hyperscan.Database()
            self._database.compile(
                expressions=list(patterns),
                ids=list(range(len(patterns))),
                elements=len(patterns),
                flags=[hyperscan.HS_FLAG_CASELESS * fold for fold in caseless],
            )

    def hits(self, data: Buffer) -> list[Hit]:
        """Return every place in ``data`` (under 4 GiB) where a pattern ends, in order."""
        found: list[Hit] = []
        if self._database is not None and len(data):
            self._database.scan(cast("bytes", data), match_event_handler=_note, context=found)
        return found


def _note(pattern: int, _start: int, end: int, _flags: int, found: list[Hit]) -> None:
    found.append(Hit(pattern, end))


def literal(value: bytes) -> bytes:
    """Return the expression that finds just these bytes."""
    return b"\\x" + hexlify(value, b"|").replace(b"|", b"\\x")
