"""Seeds of random tests: fresh ones on a developer's machine, always the same in CI.

A fresh seed finds what nobody thought of, and belongs where somebody looks at it; what lands
must not depend on chance. ``CI`` is what hosted runners set.
"""

from __future__ import annotations

import os
import random
from typing import Final

IN_CI: Final = bool(os.environ.get("CI"))

_FIXED: Final = 20261129


def seed(variable: str) -> int:
    """Return the seed that an environment variable sets, or else a fixed or a fresh one."""
    given = int(os.environ.get(variable, "0"))
    return given or (_FIXED if IN_CI else random.SystemRandom().getrandbits(32))
