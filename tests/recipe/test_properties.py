"""Any text is either rejected with its line, or has one defined meaning."""

from __future__ import annotations

import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sendit.deidentify.plan import compile_plan
from sendit.recipe.attributes import standard_tags
from sendit.recipe.coverage import cover
from sendit.recipe.effect import Effects
from sendit.recipe.filters import Decision, compile_filters
from sendit.recipe.model import Action, Recipe
from sendit.recipe.parse import RecipeError, read_text
from sendit.recipe.profile import table
from tests.recipe import strategies

CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def read(text: str) -> Recipe | None:
    try:
        return read_text(("r", text))
    except RecipeError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.position.file == "r"
            assert 1 <= problem.position.line <= text.count("\n") + 1
            assert problem.message
        return None


@CALM
@given(st.text(max_size=400))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    read(text)


@CALM
@given(st.lists(st.text(alphabet='%#:|+()", ADEMORVabcdefint_01', max_size=30), max_size=8))
def test_recipe_like_text_is_parsed_or_rejected(lines: list[str]) -> None:
    read("FORMAT dicom\n%header\n" + "\n".join(lines))


@CALM
@given(
    st.sampled_from(("contains", "startswith", "endswith", "except")),
    st.text(alphabet="()[]{}|?*+^$.\\abdiP<=!:-,0123", min_size=1, max_size=12),
)
def test_any_regular_expression_is_compiled_or_rejected(expander: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # possible nested set
        recipe = read(f"FORMAT dicom\n%header\nKEEP {expander}:{text}\n")
        if recipe is not None:
            compile_plan(recipe)
            cover(recipe)


@CALM
@given(st.one_of(strategies.recipes, strategies.good_recipes), st.data())
def test_accepted_recipes_compile(text: str, data: st.DataObject) -> None:
    recipe = read(text)
    if recipe is None:
        return
    compile_plan(recipe)
    for tag in data.draw(st.lists(st.sampled_from(standard_tags()), max_size=20)):
        applied = Effects(recipe).of(tag)
        assert all(rule.action is Action.JITTER for rule in applied[1:])
    coverage = cover(recipe)
    assert len(coverage.rows) == len(table())
    assert bool(coverage.codes) is not bool(coverage.exposed)
    plan = compile_filters(recipe)
    values = data.draw(
        st.dictionaries(
            st.sampled_from(sorted(plan.tags) or [0x00100010]),
            st.one_of(st.none(), st.text(max_size=8), st.sampled_from(("CT", "NO", "A\\B"))),
        )
    )
    decision = plan.decide(values)
    assert decision is None or isinstance(decision, Decision)
    assert plan.decide(values) == decision


@CALM
@given(strategies.good_recipes)
def test_comments_and_blank_lines_change_nothing(text: str) -> None:
    recipe = read(text)
    commented = read("\n".join(f"\n  {line}\t# PatientID" for line in text.split("\n")))
    assert (recipe is None) is (commented is None)
    if recipe is not None and commented is not None:
        assert recipe.digest == commented.digest


@CALM
@given(strategies.good_recipes, strategies.good_recipes)
def test_combined_recipes_hold_all_rules_of_both(one: str, two: str) -> None:
    first, second = read(one), read(two)
    if first is None or second is None:
        return
    try:
        both = read_text(("a", one), ("b", two))
    except RecipeError:
        return  # they contradict one another
    assert len(both.header) == len(first.header) + len(second.header)
    count = sum(len(group.rules) for group in (*first.filters, *second.filters))
    assert sum(len(group.rules) for group in both.filters) == count


@CALM
@given(
    strategies.good_filters,
    st.dictionaries(st.sampled_from((0x00080060, 0x00100010, 0x00280010)), st.text(max_size=5)),
)
def test_adding_a_recipe_never_passes_what_the_default_filters(
    filters: str, values: dict[int, str | None]
) -> None:
    """Adding a recipe never opens what the default's blacklist closes."""
    text = f"FORMAT dicom\n{filters}\n%header\nREMOVE PatientID\n"
    if read(text) is None:
        return
    black = "FORMAT dicom\n%filter blacklist\nLABEL x\nnotequals Modality CT\n%header\n"
    closed = compile_filters(read_text(("d", black + "REMOVE StudyID\n")))
    both = compile_filters(read_text(("d", black + "REMOVE StudyID\n"), ("r", text)))
    if closed.decide(values):
        assert both.decide(values)
