"""Run another tool over a folder and print its cost.

Runs standalone, in the environment that has the tool:
``python peers.py TOOL FOLDER FILES OUT RECIPE`` prints a line of JSON. Loading the tool and one
warm-up file are not counted; every tool ends with the same archive.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[list[Path], Path], None]


def deid_documented(recipe_path: str) -> Work:
    """deid's own documented calls: filter, get_identifiers, replace_identifiers."""
    os.environ.setdefault("MESSAGELEVEL", "QUIET")
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, has_burned_pixels, replace_identifiers

    def work(files: list[Path], out: Path) -> None:
        names = [str(path) for path in files]
        recipe = DeidRecipe(deid=recipe_path)
        has_burned_pixels(names)
        identifiers = get_identifiers(names)
        for name in names:
            identifiers[name].update(_variables())
        replace_identifiers(
            names,
            deid=recipe,
            ids=identifiers,
            save=True,
            overwrite=True,
            output_folder=str(out),
            remove_private=True,
        )

    return work


def deid_one_recipe(recipe_path: str) -> Work:
    """deid's parser with one recipe object and no second read for identifiers."""
    os.environ.setdefault("MESSAGELEVEL", "QUIET")
    from deid.config import DeidRecipe
    from deid.dicom.parser import DicomParser

    recipe = DeidRecipe(deid=recipe_path)

    def work(files: list[Path], out: Path) -> None:
        for path in files:
            parser = DicomParser(str(path), recipe=recipe)
            parser.lookup.update(_variables())
            parser.parse(strip_sequences=False, remove_private=True)
            parser.dicom.save_as(str(out / path.name))

    return work


def dicom_anonymizer(_: str) -> Work:
    from dicomanonymizer import anonymize_dicom_file

    def work(files: list[Path], out: Path) -> None:
        for path in files:
            anonymize_dicom_file(str(path), str(out / path.name))

    return work


def dicognito(_: str) -> Work:
    import pydicom
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")

    def work(files: list[Path], out: Path) -> None:
        for path in files:
            with pydicom.dcmread(path) as dataset:
                anonymizer.anonymize(dataset)
                dataset.save_as(out / path.name)

    return work


def dicom_dre(_: str) -> Work:
    from dicom_dre import DeidParameters, ProfileSettings, default_profile, deidentify_file

    profile = default_profile(ProfileSettings())
    parameters = DeidParameters(patient_id="P1", accession_number="A1", jitter=-5)

    def work(files: list[Path], out: Path) -> None:
        for path in files:
            deidentify_file(path, out / path.name, profile=profile, parameters=parameters)

    return work


TOOLS = {
    "deid": deid_documented,
    "deid-one-recipe": deid_one_recipe,
    "dicom-anonymizer": dicom_anonymizer,
    "dicognito": dicognito,
    "dicom-dre": dicom_dre,
}


def _variables() -> dict[str, object]:
    return {"entity_id": "P1", "item_id": "A1", "jitter": -5}


def _pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)


def main() -> None:
    tool, folder, count, out, recipe = sys.argv[1:]
    files = sorted(Path(folder).iterdir())[: int(count)]
    work = TOOLS[tool](recipe)
    results = Path(out)
    for chosen in (files[:1], files):
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        wall, cpu = time.perf_counter(), time.process_time()
        work(chosen, results)
        alone = time.process_time() - cpu
        _pack(results, results.with_suffix(".tar.gz"))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    written = sum(path.stat().st_size for path in results.iterdir())
    print(
        json.dumps(
            {
                "files": len(files),
                "input": sum(path.stat().st_size for path in files),
                "output": written,
                "written": len(list(results.iterdir())),
                "cpu": cpu,
                "cpu_alone": alone,
                "wall": wall,
            }
        )
    )


if __name__ == "__main__":
    main()
