"""Canon MR: the diffusion gradient direction in Image Comments (0020,4000).

``b=1500(0.895,0.000,0.445)`` is a b-value and the components of a unit vector, as read by dcm2niix.
Without it, the b-value, which has an attribute of its own, has no direction.
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
    """Return the gradient in comments; None if there is none, or more than one."""
    gradients = set(_GRADIENT.findall(comments))
    return gradients.pop() if len(gradients) == 1 else None
