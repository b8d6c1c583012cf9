"""UIDs are replaced by a keyed hash that is a valid UID."""

from __future__ import annotations

import re
import uuid
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RE_VALID_UID

from benchmarks.clients import delivered
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.uids import UidMap, holds_date
from sendit.keys import Keys
from sendit.recipe.coverage import cover
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import make_dataset, to_bytes
from tests.deidentify.engine import deidentified_dataset

ONE = UidMap(Keys(b"1" * 32))
OTHER = UidMap(Keys(b"2" * 32))
UIDS = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)


@given(UIDS)
def test_new_uid_is_a_keyed_uuid(original: str) -> None:
    new = ONE.many(original.encode()).decode()
    assert re.fullmatch(RE_VALID_UID, new)
    assert len(new) <= 44
    number = int(new.removeprefix("2.25."))
    assert uuid.UUID(int=number).variant == uuid.RFC_4122
    assert ONE.many(original.encode() + b"\0").decode() == new
    assert OTHER.many(original.encode()).decode() != new


@given(st.lists(UIDS, min_size=2, max_size=5, unique=True))
def test_multiple_uids_are_remapped_separately(originals: list[str]) -> None:
    new = ONE.many("\\".join(originals).encode()).split(b"\\")
    assert new == [ONE.many(original.encode()) for original in originals]
    assert len(set(new)) == len(originals)


def test_registered_uids_are_kept() -> None:
    assert ONE.many(b"1.2.840.10008.5.1.4.1.1.2\0") == b"1.2.840.10008.5.1.4.1.1.2"
    assert ONE.many(b"1.2.840.10008.5.1.4.1.1.2.99.1").startswith(b"2.25.")


def test_custom_uid_root() -> None:
    new = ONE.many(b"1.2.3", "1.2.826.0.1.3680043.10.999.").decode()
    assert new.startswith("1.2.826.0.1.3680043.10.999.")
    assert len(new) <= 64
    assert re.fullmatch(RE_VALID_UID, new)


def test_empty_uid_stays_empty_and_text_is_replaced() -> None:
    assert ONE.many(b"") == b""
    assert ONE.many(b"\0") == b""
    assert ONE.many(b"DOE^JANE").startswith(b"2.25.")


DATED = (
    "1.3.12.2.1107.5.2.30.25858.2019062310111247857",
    "1.3.46.670589.11.0.0.11.4.2.0.12345.5.5396.2006120114285654497",
    "1.2.3.20190623.101112.4",
    "1.2.3.2019.6.23.10.11",
    "1.3.12.2.1107.5.1.4.50025.30000019062310111247800000012",
    "1.2.840.113619.2.55.3.2831868886.539.1181562487.123",
    "1.2.3.1561284672123.7",
    "1.2.156.112605.14038010222575.180907044420.3.4280.113456",
    "1.3.46.670589.33.1.63607428413445.4.1",
    "1.3.46.670589.33.1.63633212711415550100001.5176385460461537475",
    "1.2.3.636332127114155501.1",
    "1.2.840.113681.2229464929.713.3536747229.1068.1",
)
UNDATED = (
    "1.2.826.0.1.3680043.8.498.77.1.1",
    "1.2.826.0.1.3680043.8.498.77.1000",
    "2.25.329800735698586629295641978511506172918",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.3.20191332.4",
    "1.2.392.200036.9116.2.6.1.48",
    "1.2.156.112605.14038010222575.181307044420.3",
    "1.2.840.113681.2229464929.713.1",
    "1.2.3.2229464929.713.3536747229.1",
    "1.3.51.0.7.11463166183.27716.31484.40262.52345.62343.1",
)


@pytest.mark.parametrize("uid", DATED)
def test_uids_with_a_date_are_detected(uid: str) -> None:
    assert holds_date(uid.encode())


@pytest.mark.parametrize("uid", UNDATED)
def test_uids_without_a_date(uid: str) -> None:
    assert not holds_date(uid.encode())


def test_retained_uids_with_a_date_are_remapped() -> None:
    plan = compile_plan(read_recipe("default-retain-uids"))
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = DATED[0]
    data = make_dataset(
        StudyInstanceUID=UNDATED[0],
        SeriesInstanceUID=DATED[1],
        SOPInstanceUID=DATED[0],
        ReferencedImageSequence=Sequence([reference]),
        TargetFrameOfReferenceUID=DATED[2],
    )
    ds = deidentified_dataset(data, plan)
    assert ds.StudyInstanceUID == UNDATED[0]
    assert ds.SOPInstanceUID.startswith("2.25.")
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert ds.SeriesInstanceUID.startswith("2.25.")
    assert ds.TargetFrameOfReferenceUID.startswith("2.25.")
    assert "113110" in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert ds.DeidentificationMethod[1] == "UIDs that hold a date are remapped"


def test_a_retained_uid_can_be_remapped_in_content_items(tmp_path) -> None:
    """Retain UIDs has no K for the UID of a content item (Table E.1-1), only for references."""
    item, reference = Dataset(), Dataset()
    item.RelationshipType, item.ValueType, item.UID = "CONTAINS", "UIDREF", UNDATED[0]
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = UNDATED[0]
    data = make_dataset(
        kind="SR",
        ContentSequence=Sequence([item]),
        ReferencedImageSequence=Sequence([reference]),
    )
    new = delivered(
        [to_bytes(data)], compile_plan(read_recipe("default-retain-uids")), tmp_path / "study"
    )
    ds = dcmread(BytesIO(new[0]))
    assert ds.ContentSequence[0].UID.startswith("2.25.")
    assert ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID == UNDATED[0]


def test_recipe_uid_properties() -> None:
    dates = "JITTER select:VR:DA var:jitter\nREMOVE select:VR:DT"
    undated, whole = (
        cover(read_text(("r", f"FORMAT dicom\n%header\n{dates}\n{rule}\n")))
        for rule in ("REPLACE StudyInstanceUID func:undated_uid", "KEEP StudyInstanceUID")
    )
    assert undated.remaps_dated_uids
    assert "Study Instance UID" not in {row.row.name for row in undated.dated_uids}
    assert "Study Instance UID" in {row.row.name for row in whole.dated_uids}
    assert cover(read_recipe("default")).dated_uids == ()
    assert cover(read_recipe("default-retain-uids")).dated_uids == ()
    assert not whole.remaps_dated_uids
