"""Settings from the environment: named, validated, documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendit.errors import Misconfigured, RetryLater
from sendit.identifiers.identity import IdentityRules
from sendit.settings import Settings, batches_at_once, read_settings


def test_defaults_need_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENDIT_WORK_FOLDER", raising=False)
    settings = Settings(home=Path("/srv/sendit"))
    assert settings.work == Path("/srv/sendit/work")
    assert settings.embedded_ledger_url == "sqlite:////srv/sendit/ledger.db"
    assert settings.originals == "keep"


def test_input_folders_are_a_path_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDIT_INPUT_FOLDERS", "/data/1_6:/data/1_7")
    assert read_settings().input_folders == (Path("/data/1_6"), Path("/data/1_7"))


def test_settings_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("SENDIT_BUCKET=radiology\n")
    monkeypatch.setenv("SENDIT_ENV_FILE", str(tmp_path / "env"))
    assert read_settings().bucket == "radiology"


def test_a_missing_settings_file_is_not_treated_as_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SENDIT_ENV_FILE", str(tmp_path / "env"))
    with pytest.raises(RetryLater, match="SENDIT_ENV_FILE names cannot be read"):
        read_settings()
    assert batches_at_once() == 16  # the DAG is kept, and its tasks report the error
    (tmp_path / "env").write_bytes(b"SENDIT_BUCKET=\xff\n")
    with pytest.raises(Misconfigured, match="not UTF-8"):
        read_settings()
    monkeypatch.setenv("SENDIT_ENV_FILE", str(tmp_path))
    with pytest.raises(Misconfigured, match="Is a directory"):
        read_settings()


def test_unknown_settings_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENDIT_SOMETHING", "of others")
    read_settings()
    monkeypatch.setenv("SENDIT_STUDDY", "alpha")
    with pytest.raises(Misconfigured, match="SENDIT_STUDDY; did you mean SENDIT_STUDY"):
        read_settings()
    monkeypatch.delenv("SENDIT_STUDDY")
    (tmp_path / "env").write_text("SENDIT_SOMETHING=1\nOTHER=2\n")
    monkeypatch.setenv("SENDIT_ENV_FILE", str(tmp_path / "env"))
    with pytest.raises(Misconfigured, match="there is no setting SENDIT_SOMETHING"):
        read_settings()


def test_required_settings_are_not_guessed() -> None:
    for name in ("home", "bucket", "key_file", "input_folders"):
        with pytest.raises(Misconfigured, match=f"SENDIT_{name.upper()} is not set"):
            Settings().need(name)
    with pytest.raises(Misconfigured, match="SENDIT_HOME is not set"):
        _ = Settings().work


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENDIT_LANES", "11"),
        ("SENDIT_ORIGINALS", "shred"),
        ("SENDIT_STUDY", "../up"),
        ("SENDIT_COLLECTION", "a/b"),
        ("SENDIT_SETTLE_SECONDS", "-1"),
        ("SENDIT_UNKNOWN_IDS", "merge"),
        ("SENDIT_PATIENT_ID_SOURCES", "NORTHGATE=N"),
        ("SENDIT_PATIENT_ID_SOURCES", '["NORTHGATE"]'),
        ("SENDIT_ACCESSION_SOURCES", '{"*": " "}'),
    ],
)
def test_invalid_values_name_their_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=name):
        read_settings()


def test_a_custom_study_is_not_delivered_to_the_configured_collection() -> None:
    settings = Settings(study="chest", collection="IRB41449")
    assert settings.collection_of("chest") == "IRB41449"
    assert settings.collection_of("knee") == "knee"
    assert Settings(study="chest").collection_of("chest") == "chest"


def test_identity_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDIT_PATIENT_ID_SOURCES", '{"NORTHGATE": "Northgate MRN"}')
    monkeypatch.setenv("SENDIT_ACCESSION_SOURCES", "")
    rules = read_settings().identity_rules()
    assert rules == IdentityRules(
        unknown_ids="study", patient_sources={"NORTHGATE": "Northgate MRN"}
    )
    monkeypatch.setenv("SENDIT_UNKNOWN_IDS", "refuse")
    assert read_settings().identity_rules().unknown_ids == "refuse"


def test_only_real_ids_of_known_sources_are_sent_to_dasher() -> None:
    rules = Settings(identifiers="dasher", unknown_ids="study").identity_rules()
    assert (rules.unknown_ids, rules.known_issuers_only) == ("refuse", True)
