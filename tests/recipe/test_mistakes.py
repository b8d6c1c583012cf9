"""What is reported for each mistake besides its text: location, rule and fix.

The mistakes are those of the other recipe tests; mistakes.json has the report of each. After an
intended change, regenerate it: ``python -m tests.recipe.test_mistakes``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sendit.recipe.parse import RecipeError, read_text
from sendit.recipe.problems import Problem
from tests.recipe import test_lint, test_parse
from tests.recipe.test_parse import HEAD

TOLD = Path(__file__).with_name("mistakes.json")
FILTER = "FORMAT dicom\n%filter blacklist\n{}\n%header\nREMOVE PatientID\n"
LIST = f"{HEAD}REMOVE fields:a\nREMOVE values:b\n"
MORE = [
    f"{LIST}%fields a\nFIELD\n%values b\nSPLIT\n",
    f"{LIST}%fields a\nFIELD fields:c\n%values b\nFIELD PatientID more\n",
    f'{LIST}%fields a\nFIELD PatientID\n%values b\nSPLIT PatientID by=""\n',
    f"{LIST}%fields a\nFIELD PatientID\n%values b\nSPLIT PatientID minlength=x;by=^\n",
    f"{HEAD}KEEP (0011,1001)\nREMOVE (0011,1001)\nADD (0011,1002) x\n",
    "FORMAT dicom\n%labels\nsomething\n",
    "FORMAT dicom\n%fields a\nFIELD PatientID\n",
    f"{HEAD}JITTER PatientBirthDate\nJITTER StudyDate var:nothing\n",
    f"{HEAD}REPLACE PatientName func:dummy x=1\nREPLACE StudyID func:keyed_hash=2\n",
]


def _cases(test: Any) -> list[Any]:
    return [case[0] for case in test.pytestmark[0].args[1]]


def mistakes() -> list[str]:
    """Return recipes with mistakes."""
    lines = _cases(test_lint.test_single_mistakes)
    lines += _cases(test_lint.test_deid_behaviour_is_a_warning)
    lines += _cases(test_parse.test_lines_that_deid_skips_are_errors)
    texts = [f"{HEAD}{each}\n" for each in lines]
    texts += [FILTER.format(each) for each in _cases(test_parse.test_filter_mistakes)]
    texts += _cases(test_parse.test_sections)
    texts += _cases(test_parse.test_lines_that_deid_ignores_are_warnings)
    return texts + MORE


def reported(text: str) -> list[list[object]]:
    """Return what is reported for a recipe's mistakes, except for the sentences."""
    try:
        problems: list[Problem] = list(read_text(("mine.deid", text)).warnings)
    except RecipeError as error:
        problems = [*error.problems, *error.warnings]
    return [
        [
            f"{problem.position.line}:{problem.position.column}",
            "warning" if problem.warning else "error",
            str(problem.rule),
            "has a way out" if problem.suggestion else "",
            [problem.edit.old, problem.edit.new, problem.edit.line] if problem.edit else None,
        ]
        for problem in problems
        if problem.position.file == "mine.deid"  # and not of a bundled recipe combined with it
    ]


def test_each_mistake_has_a_location_rule_and_fix() -> None:
    known = json.loads(TOLD.read_text())
    assert [case["recipe"] for case in known] == mistakes()
    for case in known:
        assert reported(case["recipe"]) == case["told"], case["recipe"]


def main() -> None:
    """Write the current reports, to be reviewed before they are committed."""
    cases = [{"recipe": text, "told": reported(text)} for text in mistakes()]
    TOLD.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
