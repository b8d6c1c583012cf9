"""Two recipes that deid and sendit interpret alike, so that both do the same work."""

from __future__ import annotations

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

from testing.builder import basic_profile

SMALL = """FORMAT dicom

%header

REPLACE PatientID var:entity_id
REPLACE AccessionNumber var:item_id
REPLACE PatientName var:entity_id
REMOVE PatientAddress
REMOVE InstitutionName
BLANK ReferringPhysicianName
JITTER StudyDate var:jitter
JITTER PatientBirthDate var:jitter
REPLACE SOPInstanceUID deid_func:pydicom_uuid
REPLACE StudyInstanceUID deid_func:pydicom_uuid
REPLACE SeriesInstanceUID deid_func:pydicom_uuid
"""

_NAMED = {
    "PatientID": "var:entity_id",
    "PatientName": "var:entity_id",
    "AccessionNumber": "var:item_id",
}


def big() -> str:
    """Return a recipe with a rule for each attribute of PS3.15's Table E.1-1."""
    lines = ["FORMAT dicom", "", "%header", ""]
    for tag, action in basic_profile().items():
        keyword = keyword_for_tag(tag)
        if not keyword or tag >> 16 <= 0x0002 or not dictionary_has_tag(tag):
            continue
        vr = dictionary_VR(tag)
        if keyword in _NAMED:
            lines.append(f"REPLACE {keyword} {_NAMED[keyword]}")
        elif vr == "UI":
            lines.append(f"REPLACE {keyword} deid_func:pydicom_uuid")
        elif vr == "DA":
            lines.append(f"JITTER {keyword} var:jitter")
        elif action.startswith("X"):
            lines.append(f"REMOVE {keyword}")
        elif action.startswith(("Z", "D")) and vr not in {"SQ", "OB", "OW"}:
            lines.append(f"BLANK {keyword}")
    return "\n".join(lines) + "\n"
