"""Objects derived from images can pass the default filters; documents cannot."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from sendit.dicom.scan import read_header
from sendit.recipe.filters import FilterPlan, compile_filters
from sendit.recipe.parse import read_recipe
from testing.builder import make_dataset, to_bytes
from testing.derived_objects import OBJECTS, dose_report, measurement_report, presentation_state

ROOT = "1.2.840.10008.5.1.4.1.1."


@pytest.fixture(scope="module")
def filters() -> FilterPlan:
    return compile_filters(read_recipe("default"))


def reason(dataset: Dataset, filters: FilterPlan) -> str | None:
    decision = filters.ask(read_header(to_bytes(dataset)))
    return None if decision is None else decision.label


def report(sop_class: str, template: str | None) -> Dataset:
    made = measurement_report()
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(ROOT + sop_class)
    if template is None:
        del made.ContentTemplateSequence
    else:
        item = Dataset()
        item.MappingResource, item.TemplateIdentifier = "DCMR", template
        made.ContentTemplateSequence = Sequence([item])
    return made


@pytest.mark.parametrize("name", OBJECTS)
def test_derived_objects_pass(name, filters):
    assert reason(OBJECTS[name](), filters) is None


@pytest.mark.parametrize("recipe", ["ct-mr"])
@pytest.mark.parametrize("name", OBJECTS)
def test_image_only_recipes_filter_derived_objects(name, recipe):
    assert reason(OBJECTS[name](), compile_filters(read_recipe(recipe))) is not None


@pytest.mark.parametrize("template", ["1500", "4000", "5000", "5100", "5200", "10001", "10011"])
@pytest.mark.parametrize("sop_class", ["88.22", "88.33", "88.34"])
def test_reports_of_known_templates_pass(sop_class, template, filters):
    assert reason(report(sop_class, template), filters) is None


@pytest.mark.parametrize("template", [None, "2000", "2005", "4200", "15000", "150", "9007"])
@pytest.mark.parametrize("sop_class", ["88.11", "88.22", "88.33", "88.34", "88.35"])
def test_reports_of_other_templates_are_filtered(sop_class, template, filters):
    withheld = reason(report(sop_class, template), filters)
    assert withheld == "Structured report of a template that is not on the list"


@pytest.mark.parametrize("sop_class", ["88.50", "88.59", "88.65", "88.67", "88.69", "88.72"])
def test_template_id_is_optional_for_single_template_classes(sop_class, filters):
    assert reason(report(sop_class, None), filters) is None


@pytest.mark.parametrize("sop_class", ["88.40", "88.70", "88.1", "104.1", "7", "2", "9.4.1"])
def test_reports_of_other_classes_are_filtered(sop_class, filters):
    assert reason(report(sop_class, "1500"), filters) is not None


@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [
        *(("DOC", "104.1"), ("DOC", "88.34"), ("OT", "104.3"), ("AU", "9.4.1"), ("ECG", "9.4.2")),
        *(("RTIMAGE", "481.1"), ("RTRECORD", "481.4"), ("RTPLAN", "481.1"), ("SEG", "7")),
        *(("PR", "88.34"), ("SEG", "2"), ("REG", "66"), ("KO", "7")),
    ],
)
def test_other_objects_are_filtered(modality, sop_class, filters):
    made = dose_report()
    made.Modality = modality
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(ROOT + sop_class)
    assert reason(made, filters) is not None


def test_presentation_states_with_bitmaps_are_filtered(filters):
    made = presentation_state()
    made.ShutterOverlayGroup = 0x6000
    assert reason(made, filters) == "Presentation state with a bitmap over the image"


def test_image_rules_still_apply(filters):
    assert reason(make_dataset(kind="CT", private=False), filters) is None
    assert reason(make_dataset(kind="SC", private=False), filters) is not None
    assert reason(make_dataset(kind="PDF", private=False), filters) is not None
