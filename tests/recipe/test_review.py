"""Every attribute of the dictionary has a documented treatment."""

from __future__ import annotations

import pytest

from sendit.dicom.dictionary import DicomDictionary
from sendit.recipe.attributes import FIRST_DATA_SET_TAG
from sendit.recipe.coverage import Treatment, beyond_the_table, treatment_of
from sendit.recipe.effect import Effects
from sendit.recipe.functions import FORMS
from sendit.recipe.model import Action, Function
from sendit.recipe.parse import bundled_names, read_recipe, read_text
from sendit.recipe.profile import table
from sendit.recipe.review import Holds, review
from tests.recipe.test_parse import HEAD

WORDS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
NO_WORDS = {Holds.NUMBER, Holds.TIME, Holds.DATA, Holds.SEQUENCE}


def test_every_dictionary_attribute_is_reviewed_once() -> None:
    assert [one.tag for one in review()] == sorted(DicomDictionary)
    for one in review():
        vr, _, _, _, keyword = DicomDictionary[one.tag]
        assert (one.vr, one.keyword) == (vr, keyword)
        assert one.reason


def test_text_attributes_are_reviewed_as_text() -> None:
    for one in review():
        if one.vr in WORDS:
            assert one.holds not in NO_WORDS, one
        assert bool(one.form) is (one.holds is Holds.TECHNICAL), one
        assert one.form in {"", *FORMS}, one


def test_table_attributes_are_left_to_the_table() -> None:
    rows = {row.number for row in table()}
    for one in review():
        of_the_table = one.holds in (Holds.PROFILE, Holds.DATE, Holds.SHARED_DATE)
        assert one.tag not in rows or of_the_table, one
        assert one.holds is not Holds.PROFILE or one.tag in rows, one


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_recipes_cover_identifying_attributes(name: str) -> None:
    kept = {one.holds for one in beyond_the_table(read_recipe(name))}
    allowed = {"default-retain-uids": {Holds.UID}, "default-retain-device": {Holds.DEVICE}}
    assert kept == allowed.get(name, set())


def test_default_recipe_acts_by_review_class() -> None:
    effects = Effects(read_recipe("default"))
    named = {row.number for row in table()}
    for one in review():
        if one.tag in named or one.tag < FIRST_DATA_SET_TAG:
            continue
        rules = effects.of(one.tag, nested=True)
        if one.holds is Holds.DATE:
            assert [rule.action for rule in rules] == [Action.JITTER], one
        elif one.holds is Holds.TECHNICAL:
            value = Function("technical_value", (("form", one.form),))
            assert [rule.value for rule in rules] == [value], one
        elif one.holds is Holds.CODE:
            assert [rule.value for rule in rules] == [Function("clean_code")], one
        elif one.name == "TextValue":  # of a content item
            assert [rule.value for rule in rules] == [Function("clean_content")], one
        elif one.holds is Holds.TEXT:
            assert [rule.value for rule in rules] == [Function("clean_text")], one
        elif one.holds.identifies:
            assert treatment_of(rules) in (Treatment.GONE, Treatment.CLEANED), one
        else:
            assert rules == (), one


def test_custom_recipes_report_uncovered_attributes() -> None:
    left = {one.name for one in beyond_the_table(read_text(("r", f"{HEAD}REMOVE DeviceID")))}
    assert {"ContactDisplayName", "OtherStudyNumbers", "CodeMeaning", "(0028,0020)"} <= left
    assert not {"DeviceID", "PatientName", "ConvolutionKernel"} & left
