"""A batch's working folder: the only place with real identifiers besides ledger and input.

Mode 0700, named by the batch's opaque id. Files are written atomically, so a task killed at any
moment leaves the last good state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sendit.atomic_write import atomic_write
from sendit.batch import InstanceRecord, Outcome
from sendit.errors import FailBatch, RetryLater

#: Anonymize's result, for the upload: the study and collection that the archive was made for,
#: its first image's header as delivered, and every file's outcome.
RESULT = "result.json"

#: The digest of the recipe with which import filtered the files.
RECIPE = "recipe.json"

#: The words of all names of people in the study, and the patient's numbers, which are removed from
#: every text.
PEOPLE = "people.json"


class Workspace:
    """The working folder of one batch.

    Parameters
    ----------
    root
        The configured working folder, shared by all workers.
    batch_id
        Opaque id.
    """

    def __init__(self, root: Path, batch_id: str) -> None:
        self.folder = root / batch_id
        self.batch_id = batch_id

    @property
    def archive(self) -> Path:
        """The finished archive's path until it is delivered."""
        return self.folder / "archive.tar.gz"

    def make(self) -> None:
        """Create the folder if it does not exist.

        Raises
        ------
        RetryLater
            The working folder cannot be written.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.mkdir(exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
        except OSError as error:
            raise _cannot_write(error) from None

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file atomically.

        Raises
        ------
        RetryLater
            The working folder cannot be written.
        """
        try:
            with atomic_write(self.folder / name) as file:
                json.dump(value, file)
        except OSError as error:
            raise _cannot_write(error) from None

    def read(self, name: str) -> Any:
        """Read a JSON file.

        Raises
        ------
        FailBatch
            It does not exist: the task that writes it must run again.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="ascii"))
        except FileNotFoundError:
            raise FailBatch(
                f"batch {self.batch_id}: its working files are gone; "
                "clear the import task of this batch to create them again"
            ) from None

    def write_instances(self, records: list[InstanceRecord]) -> None:
        """Write import's record of every file."""
        self.write("import.json", [asdict(record) for record in records])

    def read_instances(self) -> list[InstanceRecord]:
        """Read import's record of every file."""
        return [
            InstanceRecord(
                **{**entry, "outcome": Outcome(entry["outcome"]) if entry["outcome"] else None}
            )
            for entry in self.read("import.json")
        ]

    def write_people(self, words: Iterable[str]) -> None:
        """Write the words of the names of people in the study, and the patient's numbers."""
        self.write(PEOPLE, sorted(words))

    def read_people(self) -> frozenset[str] | None:
        """Read the words of the names of people; None if an older version's import ran."""
        return frozenset(self.read(PEOPLE)) if (self.folder / PEOPLE).exists() else None

    def write_recipe(self, digest: str) -> None:
        """Record the recipe with which import filtered the files."""
        self.write(RECIPE, digest)

    @property
    def recipe_digest(self) -> str | None:
        """The digest of that recipe; None if import, or an older version's, wrote down none."""
        return str(self.read(RECIPE)) if (self.folder / RECIPE).exists() else None

    def check_recipe(self, digest: str) -> None:
        """Check that import filtered the files with this recipe.

        Raises
        ------
        FailBatch
            It was a different recipe, or the recipe has been edited since.
        """
        if self.recipe_digest not in {None, digest}:
            raise FailBatch(
                f"batch {self.batch_id}: the recipe was changed after import filtered the files "
                "with it; clear the import task of this batch, with downstream tasks, to filter "
                "them with the current recipe"
            )

    def remove(self) -> None:
        """Delete the folder and its contents; idempotent.

        Raises
        ------
        RetryLater
            It cannot be deleted.
        """
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RetryLater(
                f"batch {self.batch_id}: its working folder cannot be deleted "
                f"({error.strerror}); check SENDIT_WORK_FOLDER"
            ) from None


def _cannot_write(error: OSError) -> RetryLater:
    return RetryLater(
        f"the working folder cannot be written ({error.strerror}): free disk space or correct "
        "SENDIT_WORK_FOLDER; the task will be retried"
    )
