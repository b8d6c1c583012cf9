"""A site's settings: environment variables named ``SENDIT_...``, or the same names in the
file that ``SENDIT_ENV_FILE`` points to. No setting is a secret; credentials are Airflow
connections, and the key is read from the file that ``SENDIT_KEY_FILE`` names."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sendit.batch import STUDY_NAME
from sendit.errors import Misconfigured, SenditError, unreadable
from sendit.identifiers.identity import IdentityRules
from sendit.keys import Keys, read_keys

PREFIX = "SENDIT_"
ENV_FILE = "SENDIT_ENV_FILE"
#: Variables with the prefix that are not settings: the settings file, the CLI's ledger, crash
#: points.
OTHER_VARIABLES = frozenset({ENV_FILE, "SENDIT_LEDGER_URL", "SENDIT_CRASH_AT"})


class Settings(BaseSettings):
    """A site's settings. The README's table is generated from the fields' descriptions."""

    model_config = SettingsConfigDict(env_prefix="SENDIT_", extra="ignore", frozen=True)

    home: Path | None = Field(
        default=None,
        description="Folder for what sendit writes: working folder, metrics, embedded ledger.",
    )
    ledger: Literal["connection", "embedded"] = Field(
        default="connection",
        description="The ledger's database: `connection` (`sendit_ledger`) or `embedded`, a file "
        "in HOME, for a single machine.",
    )
    input_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that hold accession folders, separated by a colon.",
    )
    work_folder: Path | None = Field(
        default=None,
        description="Working folder, shared by all workers (mode 0700). Default: HOME/work.",
    )
    key_file: Path | None = Field(
        default=None,
        description="File (mode 0600) with the site's secret key; `sendit key FILE` generates one.",
    )
    bucket: str = Field(default="", description="Cloud Storage bucket for the archives.")
    study: str = Field(
        default="test", description="Study at the identifier service (sent in lower case)."
    )
    collection: str | None = Field(
        default=None,
        description="IRB or collection name in object names, and BigQuery dataset. Default: study.",
    )
    location: str = Field(
        default="US", description="Location of the BigQuery dataset if sendit creates it."
    )
    identifiers: Literal["local", "dasher"] = Field(
        default="local", description="Identifier service: built-in (`local`) or Stanford's DASHER."
    )
    unknown_ids: Literal["study", "refuse"] = Field(
        default="study",
        description=(
            "What to do with a study whose PatientID or AccessionNumber is missing or a "
            "placeholder (UNKNOWN, 0): `study` gives it a code of its own, `refuse` fails it. With "
            "DASHER: always `refuse`."
        ),
    )
    patient_id_sources: Annotated[dict[str, str], NoDecode] = Field(
        default={},
        description=(
            "Id source of each issuer of PatientID, as JSON (issuer to id source); `*` is any "
            "other issuer. See [patients and issuers](docs/dasher.md#patients-and-issuers)."
        ),
    )
    accession_sources: Annotated[dict[str, str], NoDecode] = Field(
        default={}, description="The same for issuers of AccessionNumber."
    )
    recipe: str = Field(
        default="default",
        description="Name of a bundled recipe, or absolute path of your own deid recipe; separate "
        "several with commas.",
    )
    recipe_functions: Path | None = Field(
        default=None,
        description="Python file with your own functions, which recipes call as `func:NAME`.",
    )
    recipe_table: Path | None = Field(
        default=None,
        description="CSV file with your own variables, by accession number or patient ID.",
    )
    originals: Literal["keep", "delete"] = Field(
        default="keep", description="What happens to an input folder after its batch is DONE."
    )
    settle_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Folders changed less than this many seconds ago are left for a later run.",
    )
    disk_margin_mb: int = Field(
        default=512,
        ge=0,
        description="MiB to leave free on the working disk; batches that do not fit wait.",
    )
    lanes: int = Field(default=10, ge=1, le=10, description="Maximum number of upload lanes.")
    batches_at_once: int = Field(
        default=16, ge=1, le=256, description="Batches processed in parallel, per run."
    )
    batches_per_run: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Maximum number of batches in a run; further runs follow.",
    )

    @field_validator("input_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("patient_id_sources", "accession_sources", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else {}
        except ValueError:
            raise ValueError('not JSON; write {"ISSUER": "id source"}') from None

    @field_validator("patient_id_sources", "accession_sources")
    @classmethod
    def _sources_have_names(cls, value: dict[str, str]) -> dict[str, str]:
        if not all(source.strip() for source in value.values()):
            raise ValueError("an id source is empty")
        return value

    @field_validator("study", "collection")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not STUDY_NAME.fullmatch(value):
            raise ValueError("letters, digits, - and _ only, at most 63")
        return value

    @property
    def home_folder(self) -> Path:
        """``home`` with ``~`` expanded; raises ``Misconfigured`` if it is not set."""
        self.need("home")
        return Path(str(self.home)).expanduser()

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.work_folder or self.home_folder / "work"

    @property
    def embedded_ledger_url(self) -> str:
        """The SQLAlchemy URL of the embedded ledger."""
        return f"sqlite:///{self.home_folder / 'ledger.db'}"

    def need(self, *names: str) -> None:
        """Raise ``Misconfigured`` if one of these settings is not set."""
        for name in names:
            if not getattr(self, name):
                meaning = type(self).model_fields[name].description
                raise Misconfigured(f"{PREFIX}{name.upper()} is not set. {meaning}")

    def identity_rules(self) -> IdentityRules:
        """How the site treats missing numbers and the issuers of numbers.

        DASHER accepts only real numbers of sources that it knows, the built-in service any.
        """
        dasher = self.identifiers == "dasher"
        return IdentityRules(
            unknown_ids="refuse" if dasher else self.unknown_ids,
            patient_sources=self.patient_id_sources,
            accession_sources=self.accession_sources,
            known_issuers_only=dasher,
        )

    def keys(self) -> Keys:
        """Read the site's secret key and derive the keys from it.

        Raises
        ------
        Misconfigured
            No key file is set, others can read it, or the key is too short.
        RetryLater
            The file cannot be read at the moment.
        """
        return read_keys(self.key_file.expanduser() if self.key_file else None)

    def collection_of(self, study: str) -> str:
        """Return the collection to which a study is delivered.

        ``collection`` applies to the configured study only. Any other study's collection is the
        study's own name, so that two studies never share a folder or a table by accident.
        """
        return self.collection if self.collection and study == self.study else study


def read_settings() -> Settings:
    """Read the settings from the environment and the settings file.

    Raises
    ------
    Misconfigured
        A value is invalid, or a name looks like a misspelt setting.
    RetryLater
        The file that ``SENDIT_ENV_FILE`` names is unavailable.
    """
    file = os.environ.get(ENV_FILE)
    if file is not None:
        _check_names(_names_in(file), everything=True)
    _check_names(os.environ, everything=False)
    try:
        return Settings(_env_file=file)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        )
        raise Misconfigured(f"settings: {problems}") from None


def batches_at_once() -> int:
    """Return the number of batches to process in parallel, for the DAG file.

    Falls back to the default if the settings cannot be read, so that the DAG does not disappear
    from Airflow; each task reads the settings again and reports what is wrong.
    """
    try:
        return read_settings().batches_at_once
    except SenditError:
        return int(Settings.model_fields["batches_at_once"].default)


def _names_in(file: str) -> Iterable[str]:
    # pydantic-settings treats a missing file as an empty one.
    try:
        with Path(file).open(encoding="utf-8") as text:
            return list(dotenv_values(stream=text))
    except OSError as error:
        raise unreadable(
            error,
            f"settings: the file that {ENV_FILE} names cannot be read ({error.strerror}): mount "
            "it, or correct its name or permissions; settings are never guessed",
        ) from None
    except UnicodeDecodeError:
        raise Misconfigured(f"settings: the file that {ENV_FILE} names is not UTF-8 text") from None


def _check_names(names: Iterable[str], *, everything: bool) -> None:
    """Raise on an unknown name. In the settings file every unknown name is an error; in the
    environment, where other programs' variables may have the same prefix, only one that is close
    to a setting's."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(names):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        near = difflib.get_close_matches(
            name.upper().removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1, 0.8
        )
        if near or everything:
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise Misconfigured(f"settings: there is no setting {name}{hint}")
