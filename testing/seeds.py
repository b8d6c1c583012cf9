"""Seeds of random tests: fresh on a developer's machine, fixed in CI.

A fresh seed finds new failures, and belongs where somebody looks at them; a merge must not depend
on chance. Hosted runners set ``CI``.
"""

from __future__ import annotations

import os
import random
from typing import Final

IN_CI: Final = bool(os.environ.get("CI"))

_FIXED: Final = 20261129


def seed(variable: str) -> int:
    """Return the seed set in an environment variable, or else a fixed or a fresh one."""
    given = int(os.environ.get(variable, "0"))
    return given or (_FIXED if IN_CI else random.SystemRandom().getrandbits(32))
