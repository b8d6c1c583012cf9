"""Files for sites that differ: they name what is there, in the versions that are used."""

from __future__ import annotations

import configparser
import re
from typing import Any

import pytest
import yaml

from sendit import __version__
from tests.production.compose_file import ROOT, load
from tests.production.test_versions import AIRFLOW

SERVICES = load()["services"]
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())


@pytest.mark.parametrize("name", ["oidc.yaml", "ldap.yaml"])
def test_examples_extend_existing_services(name: str) -> None:
    example = yaml.safe_load((ROOT / "deploy" / "examples" / name).read_text())
    assert set(example["services"]) <= set(SERVICES)
    for definition in example["services"].values():
        assert set(definition["secrets"]) <= set(example["secrets"])
        assert {each["source"] for each in definition["configs"]} <= set(example["configs"])
        declared = set(example["networks"]) | set(load()["networks"])
        assert set(definition.get("networks", ())) <= declared
    for options in example["configs"].values():
        assert (ROOT / options["file"]).is_file()


def test_ldap_image_is_built_like_the_base_image() -> None:
    text = (ROOT / "deploy" / "examples" / "ldap.Dockerfile").read_text()
    base = re.compile(r"^ARG BASE=.*$", re.MULTILINE)
    assert base.findall(text) == base.findall((ROOT / "Dockerfile").read_text())
    assert f"FROM sendit:{__version__}\n" in text
    assert "--require-hashes --build-constraints deploy/requirements.txt" in text
    example = yaml.safe_load((ROOT / "deploy" / "examples" / "ldap.yaml").read_text())
    assert example["services"]["api-server"]["image"] == f"sendit-ldap:{__version__}"
    assert text.rstrip().endswith("USER airflow")
    # Versions that the image has anyway are those of the image.
    pins = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
    image = dict(pins.findall((ROOT / "deploy" / "requirements.txt").read_text()))
    extra = dict(pins.findall((ROOT / "deploy" / "examples" / "ldap-requirements.txt").read_text()))
    assert {name: extra[name] for name in extra.keys() & image.keys()}.items() <= image.items()


def test_examples_rate_limit_password_guessing() -> None:
    for name in ("webserver_config.py", "examples/ldap.py"):
        text = (ROOT / "deploy" / name).read_text()
        assert 'AUTH_RATE_LIMIT = "5 per minute"' in text
        assert "RATELIMIT_KEY_FUNC = who_signs_in" in text


def helm_values() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "helm" / "values.yaml").read_text())
    return values


def test_helm_values_match_compose() -> None:
    values = helm_values()
    assert values["airflowVersion"] == AIRFLOW
    assert values["images"]["airflow"]["tag"] == __version__
    assert values["triggerer"] == {"enabled": False}
    worker = values["workers"]["celery"]
    (init,) = worker["extraInitContainers"]
    assert init["image"].endswith(f"/sendit:{__version__}")
    compose = SERVICES["worker"]["environment"]
    backend = "AIRFLOW__WORKERS__SECRETS_BACKEND"
    assert {each["name"]: each["value"] for each in worker["env"]} == {
        backend: compose[backend],
        f"{backend}_KWARGS": compose[f"{backend}_KWARGS"].replace("/run/secrets/", "/run/sendit/"),
    }
    assert {each["name"] for each in values["env"]} <= set(compose)


def test_helm_values_match_airflow_cfg() -> None:
    """The chart mounts a file of its own over it."""
    image = configparser.ConfigParser(interpolation=None)
    image.read(ROOT / "deploy" / "airflow.cfg")
    config = helm_values()["config"]
    # The chart sets these itself, or they are alike by default.
    by_the_chart = {
        ("core", "executor"),
        ("core", "execution_api_server_url"),
        ("core", "dags_folder"),
        ("core", "plugins_folder"),
        ("logging", "base_log_folder"),
        ("logging", "dag_processor_child_process_log_directory"),
        ("api", "host"),
        ("scheduler", "enable_health_check"),
    }
    for section in image.sections():
        for name, value in image[section].items():
            if (section, name) not in by_the_chart:
                assert config[section][name] == value, f"[{section}] {name}"


def test_helm_workers_have_no_excess_secrets() -> None:
    values = helm_values()
    given = values["enableBuiltInSecretEnvVars"]
    for name in ("DATABASE__SQL_ALCHEMY_CONN", "CORE__FERNET_KEY", "API__SECRET_KEY"):
        assert given[f"AIRFLOW__{name}"] is False
    assert given["AIRFLOW_CONN_AIRFLOW_DB"] is False
    worker = yaml.safe_dump(values["workers"])
    for secret in ("metadata", "fernet", "api", "jwt"):
        assert f"sendit-{secret}" not in worker
    # What asks Airflow's database has its password.
    for component in ("scheduler", "dagProcessor", "apiServer"):
        names = {each["name"] for each in values[component]["env"]}
        assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in names
    # The chart passes no secret on to what waits for migrations.
    for component in (values["scheduler"], values["apiServer"], values["workers"]["celery"]):
        assert component["waitForMigrations"] == {"enabled": False}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_units_call_existing_scripts(unit) -> None:
    text = unit.read_text()
    for script in re.findall(r"/srv/sendit/(deploy/\S+\.sh)", text):
        assert (ROOT / script).stat().st_mode & 0o100, script
    if unit.suffix == ".timer":
        assert unit.with_suffix(".service").is_file()
