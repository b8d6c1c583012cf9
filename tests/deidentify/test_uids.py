"""UIDs are replaced by a keyed hash that is a valid UID."""

from __future__ import annotations

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import RE_VALID_UID

from sendit.deidentify.uids import UidMap
from sendit.keys import Keys

ONE = UidMap(Keys(b"1" * 32))
OTHER = UidMap(Keys(b"2" * 32))
UIDS = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)


@given(UIDS)
def test_the_new_uid_is_a_uuid_and_says_nothing_without_the_key(original: str) -> None:
    new = ONE.many(original.encode()).decode()
    assert re.fullmatch(RE_VALID_UID, new)
    assert len(new) <= 44
    number = int(new.removeprefix("2.25."))
    assert uuid.UUID(int=number).variant == uuid.RFC_4122
    assert ONE.many(original.encode() + b"\0").decode() == new
    assert OTHER.many(original.encode()).decode() != new


@given(st.lists(UIDS, min_size=2, max_size=5, unique=True))
def test_each_of_several_values_gets_its_own(originals: list[str]) -> None:
    new = ONE.many("\\".join(originals).encode()).split(b"\\")
    assert new == [ONE.many(original.encode()) for original in originals]
    assert len(set(new)) == len(originals)


def test_registered_uids_stay() -> None:
    assert ONE.many(b"1.2.840.10008.5.1.4.1.1.2\0") == b"1.2.840.10008.5.1.4.1.1.2"
    assert ONE.many(b"1.2.840.10008.5.1.4.1.1.2.99.1").startswith(b"2.25.")


def test_a_root_of_ones_own() -> None:
    new = ONE.many(b"1.2.3", "1.2.826.0.1.3680043.10.999.").decode()
    assert new.startswith("1.2.826.0.1.3680043.10.999.")
    assert len(new) <= 64
    assert re.fullmatch(RE_VALID_UID, new)


def test_empty_stays_empty_and_text_does_not_pass() -> None:
    assert ONE.many(b"") == b""
    assert ONE.many(b"\0") == b""
    assert ONE.many(b"DOE^JANE").startswith(b"2.25.")
