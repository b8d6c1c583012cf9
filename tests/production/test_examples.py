"""Files for sites that differ: they name what is there, in the versions that are used."""

from __future__ import annotations

import re

import pytest
import yaml

from sendit import __version__
from tests.production.compose_file import ROOT, load
from tests.production.test_versions import AIRFLOW

SERVICES = load()["services"]
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())


def test_the_openid_example_adds_to_services_that_are_there() -> None:
    example = yaml.safe_load((ROOT / "deploy" / "examples" / "oidc.yaml").read_text())
    assert set(example["services"]) <= set(SERVICES)
    for found in example["services"].values():
        assert set(found["secrets"]) <= set(example["secrets"])
        assert {each["source"] for each in found["configs"]} <= set(example["configs"])
        declared = set(example["networks"]) | set(load()["networks"])
        assert set(found.get("networks", ())) <= declared
    for options in example["configs"].values():
        assert (ROOT / options["file"]).is_file()


def test_the_helm_values_are_those_of_compose() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "values.yaml").read_text())
    assert values["airflowVersion"] == AIRFLOW
    assert values["images"]["airflow"]["tag"] == __version__
    assert values["triggerer"] == {"enabled": False}
    worker = {each["name"]: each["value"] for each in values["workers"]["env"]}
    compose = SERVICES["worker"]["environment"]
    assert worker == {name: compose[name] for name in worker}
    assert {each["name"] for each in values["env"]} <= set(compose)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_calls_what_is_there(unit) -> None:
    text = unit.read_text()
    for script in re.findall(r"/srv/sendit/(deploy/\S+\.sh)", text):
        assert (ROOT / script).stat().st_mode & 0o100, script
    if unit.suffix == ".timer":
        assert unit.with_suffix(".service").is_file()
