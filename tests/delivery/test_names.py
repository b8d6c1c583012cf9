"""Names of archives, datasets and stages."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sendit.delivery.names import ObjectName, Stage, dataset_name, object_name, parse_object_name
from sendit.errors import FailBatch, Misconfigured

codes = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
dates = st.none() | st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8))


def test_object_name_format():
    assert (
        object_name("IRB-41449", "12fa", "20100209", "12fb")
        == "Collection/IRB-41449/Entity/12fa/12fa_20100209_12fb.tar.gz"
    )


def test_object_name_without_a_study_date():
    assert object_name("c", "p", None, "s").endswith("/p_nodate_s.tar.gz")


@given(codes, dates, codes)
@example("a", "20100209", "b_20100209_c")
@example("a_20100209", None, "b")
def test_object_names_round_trip(patient, day, study):
    name = object_name("c", patient, day, study)
    assert parse_object_name(name) == ObjectName("c", patient, day, study)


@given(st.text())
@example("..")
@example("")
@example("a/b")
@example("a\n")
@example("é")
def test_invalid_codes_fail_the_batch_and_are_not_quoted(code):
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", code):
        return
    for arguments in (("c", code, None, "s"), ("c", "p", None, code)):
        with pytest.raises(FailBatch) as raised:
            object_name(*arguments)
        assert "code from the identifier service" in str(raised.value)
        assert len(code) < 4 or code not in str(raised.value)


@pytest.mark.parametrize("day", ["20101301", "2010-02-09", "201002", "", "2010020٣", "00000000"])
def test_an_invalid_date_fails_the_batch(day):
    with pytest.raises(FailBatch):
        object_name("c", "p", day, "s")


@pytest.mark.parametrize("collection", ["", "../x", "a b", "-a", "a" * 64])
def test_an_invalid_collection_name_is_a_configuration_error(collection):
    with pytest.raises(Misconfigured):
        object_name(collection, "p", None, "s")
    with pytest.raises(Misconfigured):
        dataset_name(collection)


@pytest.mark.parametrize(
    "name", ["x", "Collection/c/Entity/p/q_nodate_s.tar.gz", "Collection/c/Entity/p/p_1_s.tar.gz"]
)
def test_unknown_object_names_are_rejected(name):
    with pytest.raises(ValueError, match="not the name"):
        parse_object_name(name)


def test_dataset_name_is_derived_from_the_collection():
    assert dataset_name("IRB_41449") == "IRB_41449"
    assert dataset_name("IRB-41449") == "IRB_41449"


@given(st.text(min_size=1), st.integers(0, 9))
def test_stage_names_are_safe_for_any_run_id(run_id, lane):
    stage = Stage.of(run_id, lane, "IRB-1")
    assert stage == Stage.of(run_id, lane, "IRB-1")
    assert re.fullmatch(r"stage_[0-9a-f]{16}_[0-9]", stage.table)
    assert re.fullmatch(r"Stage/[0-9a-f]{16}/IRB-1/[0-9]\.ndjson", stage.object)
    assert re.fullmatch(r"lanes/[0-9a-f]{16}/IRB-1/[0-9]\.ndjson", stage.file)


def test_a_stage_rejects_path_traversal_in_the_collection():
    with pytest.raises(Misconfigured):
        Stage.of("run", 0, "../other")


def test_each_run_and_lane_has_its_own_stage():
    stages = [Stage.of(run, lane, "c") for run in ("scheduled__1", "manual__1") for lane in (0, 1)]
    assert len({stage.table for stage in stages}) == 4
    assert len({stage.object for stage in stages}) == 4
    assert len({stage.file for stage in stages}) == 4
