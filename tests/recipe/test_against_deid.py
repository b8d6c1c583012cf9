"""Filters behave as deid's, where deid is right.

The random recipes leave out what deid gets wrong (docs/recipes.md): ``||`` at the start of a line,
tests without a value next to others, a whitelist, BurnedInAnnotation, and attributes without a
value.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from deid.config import DeidRecipe
from deid.dicom.pixels import has_burned_pixels
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_text
from tests.recipe.test_filters import header

FIELDS = ("Modality", "Manufacturer", "SeriesDescription", "ImageType")
WORDS = ("CT", "MR", "C", "GE|Acme", "^m", "save", "Dose Report", "DERIVED")
with_value = st.builds(
    "{} {} {}".format,
    st.sampled_from(("contains", "notcontains", "equals", "notequals")),
    st.sampled_from(FIELDS),
    st.sampled_from(WORDS),
)
without_value = st.builds(
    "{} {}".format, st.sampled_from(("missing", "present", "empty")), st.sampled_from(FIELDS)
)
lines = st.one_of(
    without_value,
    st.builds(
        lambda first, more: first + "".join(f" {sign} {test}" for sign, test in more),
        with_value,
        st.lists(st.tuples(st.sampled_from(("+", "||")), with_value), max_size=2),
    ),
)
rules = st.builds(
    lambda signed: "LABEL a\n" + "\n".join(f"{sign} {line}" for sign, line in signed),
    st.lists(st.tuples(st.sampled_from(("", "+")), lines), min_size=1, max_size=3),
)
recipes = st.builds(
    lambda black, gray: (
        "\n".join(
            ("FORMAT dicom", "%filter blacklist", *black, "%filter graylist", *gray, "%header")
        )
        + "\nREMOVE PatientID\n"
    ),
    st.lists(rules, min_size=1, max_size=2),
    st.lists(rules, min_size=1, max_size=2),
)
texts = st.sampled_from(("CT", "MR", "mr ", "GE Medical", "Acme", "DOSE REPORT", "Screen Save"))
elements = st.fixed_dictionaries(
    {},
    optional={
        "Modality": st.sampled_from(("CT", "MR", "OCT")),
        "Manufacturer": texts,
        "SeriesDescription": texts,
        "ImageType": st.lists(
            st.sampled_from(("ORIGINAL", "DERIVED", "SAVE", "CT")), min_size=2, max_size=3
        ),
    },
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deid") / "recipe"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipe=recipes, elements=elements)
def test_filters(path: Path, recipe: str, elements: dict[str, str | list[str]]) -> None:
    # deid compares several values as the text of a Python list, which equals nothing.
    several = [keyword for keyword, value in elements.items() if isinstance(value, list)]
    assume(not any(f"equals {keyword}" in recipe for keyword in several))
    data = FileDataset("image", {})
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    path.write_text(recipe)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        theirs = has_burned_pixels(data, deid=DeidRecipe(str(path)))["flagged"]
    plan = compile_filters(read_text(("recipe", recipe)))
    assert (plan.decide(header(data, plan.tags)) is not None) is bool(theirs)
