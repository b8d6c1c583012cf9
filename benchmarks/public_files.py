"""Outcomes of public DICOM files: how many are delivered, filtered and refused, and why.

    .venv/bin/python -m benchmarks.public_files [RECIPE]

About 260 files that the test packages ship (pydicom's own, pydicom-data, deid-data): every
transfer syntax, many of them malformed on purpose. Each goes through import, filters, a bundled
recipe (default: ``default``) and the gate, as a study of one file.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from sendit.batch import Outcome
from sendit.errors import SenditError
from sendit.identifiers.identity import IdentityRules, request_for
from sendit.identifiers.local import KeyedCodes, LocalService
from sendit.keys import Keys
from sendit.pipeline.anonymize import deidentify_accepted
from sendit.pipeline.intake import import_folder
from sendit.pipeline.load_recipe import LoadedRecipe, load_recipe
from testing.real_files import real_files

KEYS = Keys(b"a key for public files' benchmark")


def main() -> int:
    recipe = load_recipe(sys.argv[1] if len(sys.argv) > 1 else "default")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    count: Counter[tuple[str, str]] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in real_files():
            count[_outcome(path, recipe)] += 1
    total = count.total()
    print(f"{total} files")
    print("| outcome | reason | files |\n|---|---|---|")
    for (outcome, reason), number in sorted(count.items(), key=lambda each: (each[0][0], -each[1])):
        print(f"| {outcome} | {reason} | {number} |")
    return 0


def _outcome(path: Path, recipe: LoadedRecipe) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        folder.mkdir()
        shutil.copy(path, folder / "file.dcm")
        try:
            intake = import_folder(folder, recipe.filters)
            if intake.accepted:
                request = request_for(intake.identity, IdentityRules())
                service = LocalService("public", KEYS, KeyedCodes(KEYS))
                deidentify_accepted(
                    intake.accepted,
                    folder,
                    service.identify(request).coded_study(),
                    recipe=recipe,
                    keys=KEYS,
                    archive=Path(name) / "archive.tar.gz",
                    people=frozenset(intake.people.words),
                )
        except SenditError as error:
            return "refused by the gate or for its identity", str(error).partition(":")[0][:80]
        (record,) = intake.records
        if record.outcome is Outcome.DELIVERED:
            return "delivered", ""
        return str(record.outcome), str(record.reason)


if __name__ == "__main__":
    sys.exit(main())
