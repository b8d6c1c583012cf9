"""Canon MR: the direction of a diffusion gradient, which is in Image Comments (0020,4000).

``b=1500(0.895,0.000,0.445)`` is a b-value and three components of a unit vector; dcm2niix reads it.
Without it, the b-value of the image stays in its own attribute and has no direction.
"""

from __future__ import annotations

import re
from typing import Final

IMAGE_COMMENTS: Final = 0x00204000

_COMPONENT: Final = r"-?[01](?:\.\d{1,6})?"
_GRADIENT: Final = re.compile(
    rf"(?<![\w.])b=\d{{1,5}}(?:\.\d{{1,3}})?\({_COMPONENT},{_COMPONENT},{_COMPONENT}\)", re.ASCII
)


def gradient(comments: str) -> str | None:
    """Return the gradient anywhere in comments; None if there is none, or more than one."""
    gradients = set(_GRADIENT.findall(comments))
    return gradients.pop() if len(gradients) == 1 else None
