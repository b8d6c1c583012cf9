"""Run params: interpreted as meant, or refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.errors import Misconfigured
from sendit.pipeline.run_params import MAX_NUMBER, RunParams, read_run_params

DEFAULTS = {"number": 1, "subfolder": None, "study": None, "recipe": None, "revise": False}


def read(**conf: Any) -> RunParams:
    return read_run_params(conf, DEFAULTS | conf)


def test_params_from_the_trigger_form() -> None:
    assert read() == RunParams()
    assert read(number=None, study="Chest", subfolder="1_6", recipe="/r.deid", revise=True) == (
        RunParams(None, "1_6", "Chest", "/r.deid", revise=True)
    )
    assert read(subfolder="", study="", recipe="") == RunParams()


def test_a_whole_float_is_accepted_as_an_integer() -> None:
    value = read(number=5.0).number
    assert (value, type(value)) == (5, int)


@pytest.mark.parametrize(
    "number", [0, -1, 2.5, 10**30, MAX_NUMBER + 1, 1e300, float("nan"), float("inf"), True, "5", []]
)
def test_an_invalid_number_is_refused(number: object) -> None:
    with pytest.raises(Misconfigured, match="the run's number must be a whole number"):
        read(number=number)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numbr", "did you mean number"),
        ("Number", "did you mean number"),
        ("sub_folder", "did you mean subfolder"),
        ("studies", "did you mean study"),
        ("dry_run", "the params are number, subfolder, study, recipe, revise"),
    ],
)
def test_an_unknown_param_is_refused(name: str, message: str) -> None:
    with pytest.raises(Misconfigured, match=f"was given {name}, which is not a param .*{message}"):
        read(**{name: 5})


def test_an_unknown_param_name_is_not_quoted() -> None:
    with pytest.raises(Misconfigured, match="was given a name, which") as caught:
        read(**{"DOE^JANE 123": 1})
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("study", ["alpha\n", "../up", "a b", "-x", "x" * 64, 7, "al\npha"])
def test_an_invalid_study_name_is_refused(study: object) -> None:
    with pytest.raises(Misconfigured, match="the run's study"):
        read(study=study)


@pytest.mark.parametrize("name", ["subfolder", "recipe"])
@pytest.mark.parametrize("value", ["a\0b", "a\n", "x" * 1001, 7, ["a"]])
def test_multiline_text_is_refused(name: str, value: object) -> None:
    with pytest.raises(Misconfigured, match=f"the run's {name} must be one line of text"):
        read(**{name: value})


@pytest.mark.parametrize("value", [1, 0, "yes", "false"])
def test_a_boolean_param_accepts_only_true_or_false(value: object) -> None:
    with pytest.raises(Misconfigured, match="the run's revise must be true or false"):
        read(revise=value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)) | st.text(), _JSON))
def test_any_conf_is_accepted_or_refused_with_a_message(conf: dict[str, Any]) -> None:
    try:
        params = read_run_params(conf, DEFAULTS | conf)
    except Misconfigured:
        return
    assert params.number is None or 1 <= params.number <= MAX_NUMBER
    assert type(params.revise) is bool
