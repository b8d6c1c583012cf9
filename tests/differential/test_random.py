"""Random recipes over real files: sendit's result equals deid's, except for docs/differences.md.

    SENDIT_DIFFERENTIAL_RECIPES=5000 .venv/bin/python -m pytest tests/differential/test_random.py -s

The seed is printed, and fresh unless in CI; SENDIT_DIFFERENTIAL_SEED reproduces a run.
"""

import os
import random
from collections import Counter

import pytest

from sendit.errors import Misconfigured
from testing.seeds import seed
from tests.differential.deid_comparison import (
    DeidFailed,
    NotDelivered,
    by_deid,
    by_sendit,
    differences,
    read,
    real_files,
)
from tests.differential.random_recipes import random_recipe

RECIPES = int(os.environ.get("SENDIT_DIFFERENTIAL_RECIPES", "100"))
SEED = seed("SENDIT_DIFFERENTIAL_SEED")


@pytest.mark.timeout(600 + 5 * RECIPES)
def test_random_recipes_match_deid():
    print(f"SENDIT_DIFFERENTIAL_SEED={SEED}")  # noqa: T201 the seed to run again
    rng = random.Random(SEED)
    files = real_files()
    assert len(files) > 100
    names = sorted(files)
    count: Counter[str] = Counter()
    for _ in range(RECIPES):
        name = rng.choice(names)
        recipe = random_recipe(rng, read(files[name]))
        try:
            ours = by_sendit(files[name], recipe)
            theirs = by_deid(files[name], recipe)
        except (Misconfigured, DeidFailed, NotDelivered) as error:
            count[type(error).__name__] += 1
            continue
        differing = differences(theirs, ours)
        assert not differing, f"seed {SEED}, {name}:\n{recipe}\n" + "\n".join(differing[:10])
        count["same"] += 1
    print(dict(count))  # noqa: T201
    assert count["same"] > RECIPES / 2
