"""The private blocks that each vendor's scanners use, for files that lost their private creators.

Some anonymisers remove private creators (gggg,0010) to (gggg,00FF) and leave the elements of their
blocks. Converters find those elements by tag alone, because a vendor's software uses the same
blocks in all its files. So the creator is known from the manufacturer. The blocks are those of the
images that dcm2niix's authors publish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

MANUFACTURER: Final = 0x00080070

_BLOCKS: Final[Mapping[str, Mapping[int, str]]] = {
    # manufacturer, in lower case: {first tag of a block: its creator}
    r"siemens\b": {
        0x00191000: "SIEMENS MR HEADER",
        0x00211000: "SIEMENS MR SDS 01",
        0x00211100: "SIEMENS MR SDI 02",
        0x00291000: "SIEMENS CSA HEADER",
        0x00511000: "SIEMENS MR HEADER",
    },
    r"ge\b": {
        0x00191000: "GEMS_ACQU_01",
        0x00211000: "GEMS_RELA_01",
        0x00251000: "GEMS_SERS_01",
        0x00271000: "GEMS_IMAG_01",
        0x00431000: "GEMS_PARM_01",
        0x00451000: "GEMS_HELIOS_01",
    },
    r"philips\b": {
        0x20011000: "Philips Imaging DD 001",
        0x20051000: "Philips MR Imaging DD 001",
        0x20051400: "Philips MR Imaging DD 005",
        0x20051500: "Philips MR Imaging DD 006",
        0x70531000: "Philips PET Private Group",
    },
    r"(?:uih|united imaging)\b": {0x00651000: "Image Private Header"},
    r"(?:toshiba|canon)(?:_|\b)": {0x70051000: "TOSHIBA_MEC_CT3"},
}


@lru_cache(64)
def usual_creators(manufacturer: str) -> Mapping[int, str]:
    """Return the creators of a vendor's blocks by their first tags; empty if it is not known.

    Parameters
    ----------
    manufacturer
        Manufacturer (0008,0070), as written.
    """
    name = manufacturer.strip(" \0").lower()
    return next((blocks for start, blocks in _BLOCKS.items() if re.match(start, name)), {})
