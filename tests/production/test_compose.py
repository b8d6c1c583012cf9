"""docker-compose.yaml: valid, confined, and consistent with the package, Airflow and deploy/."""

from __future__ import annotations

import configparser
import inspect
import re
from functools import cache
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from sendit.settings import Settings
from tests.production.compose_file import COMPOSE, REQUIRED, ROOT, VARIABLE, Unset, load

SERVICES: dict[str, dict[str, Any]] = load()["services"]
AIRFLOW = ("init", "api-server", "scheduler", "dag-processor", "worker")
ONE_SHOT = ("init",)
CONFIG = ROOT / "deploy" / "airflow.cfg"


def secrets_of(service: str) -> set[str]:
    return set(SERVICES[service].get("secrets", []))


def variables() -> list[tuple[str, str]]:
    return [
        (match["name"], match["mark"] or "")
        for match in VARIABLE.finditer(COMPOSE.read_text())
        if match["name"]
    ]


def passed_through() -> set[str]:
    """Settings that are passed through unchanged if they are set."""
    return {name for name, value in SERVICES["worker"]["environment"].items() if value is None}


def test_compose_file_is_valid() -> None:
    PyCompose.from_yaml(yaml.safe_dump(load()))


def test_services() -> None:
    # No triggerer: there are no deferrable tasks.
    assert set(SERVICES) == {*AIRFLOW, "postgres", "redis", "nginx"}
    for module in (ROOT / "plugins" / "sendit").rglob("*.py"):
        assert "deferrable=True" not in module.read_text(), module


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_required_variables(name: str) -> None:
    with pytest.raises(Unset, match=name):
        load({key: value for key, value in REQUIRED.items() if key != name})


def test_only_harmless_variables_have_defaults() -> None:
    with_default = {name for name, mark in variables() if mark.endswith("-")}
    assert with_default == {
        "WORKER_CONCURRENCY",
        "TASKS_AT_ONCE",
        "DASHER_ON_HOST",
        "LISTEN",
        "ALLOWED_NETWORKS",
        "HTTPS_PORT",
        "HTTP_PORT",
    }


def test_env_template_lists_every_variable() -> None:
    template = (ROOT / "deploy" / ".env.example").read_text()
    offered = set(re.findall(r"^#?([A-Z_]+)=", template, re.MULTILINE))
    assert offered == {name for name, _ in variables()} | passed_through()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_services_are_confined(service: str) -> None:
    definition = SERVICES[service]
    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert definition["restart"] == ("no" if service in ONE_SHOT else "unless-stopped")
    assert "memory" in definition["deploy"]["resources"]["limits"]
    # PostgreSQL's own image starts as root to own its folder, and then drops privileges.
    assert service == "postgres" or definition["user"] == "12345:0"
    assert "privileged" not in definition


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_has_a_health_check(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    if service in ONE_SHOT:
        assert check == {"disable": True}
    else:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_service_dependencies() -> None:
    for service, definition in SERVICES.items():
        for needed, how in definition.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how == {"condition": expected}, (service, needed)
    for service in set(AIRFLOW) - set(ONE_SHOT):
        assert "init" in SERVICES[service]["depends_on"]


def test_only_nginx_publishes_a_port() -> None:
    assert [name for name, definition in SERVICES.items() if "ports" in definition] == ["nginx"]
    networks = load()["networks"]
    open_ones = {name for name, options in networks.items() if not options.get("internal")}
    assert open_ones == {"public", "outside"}
    assert [n for n, definition in SERVICES.items() if "public" in definition["networks"]] == [
        "nginx"
    ]
    assert {n for n, definition in SERVICES.items() if "outside" in definition["networks"]} == {
        "worker"
    }


def test_networks_of_each_service() -> None:
    assert {name: set(definition["networks"]) for name, definition in SERVICES.items()} == {
        "postgres": {"core"},
        "init": {"core"},
        "dag-processor": {"core"},
        "api-server": {"core", "ui"},
        "scheduler": {"core", "broker"},
        "redis": {"broker"},
        "worker": {"core", "broker", "outside"},
        "nginx": {"ui", "public"},
    }


def test_secrets_of_each_service() -> None:
    metadata = {"metadata_url", "fernet_key"}
    worker = {"sendit_key", "connections.yaml", "google_key.json"}
    assert {name: secrets_of(name) for name in SERVICES} == {
        "postgres": {"postgres_password"},
        "redis": {"broker_url"},
        "init": metadata | worker | {"postgres_password", "admin_password"},
        "dag-processor": metadata,
        "api-server": metadata | {"api_secret_key", "jwt_secret"},
        "scheduler": metadata | {"jwt_secret", "broker_url"},
        # Neither Airflow's database nor the keys that sign tokens and UI sessions.
        "worker": worker | {"broker_url"},
        "nginx": {"tls.crt", "tls.key"},
    }
    environment = SERVICES["worker"]["environment"]
    assert not [name for name in environment if name.startswith("AIRFLOW__DATABASE__")]
    assert "--skip-serve-logs" in SERVICES["worker"]["command"]


def test_connections_are_read_from_the_file_only() -> None:
    backend = "AIRFLOW__WORKERS__SECRETS_BACKEND"
    having = {name for name in AIRFLOW if backend in SERVICES[name]["environment"]}
    assert having == {"init", "worker"}
    for name in having:
        environment = SERVICES[name]["environment"]
        assert environment[backend] == "sendit.hooks.connection_file.ConnectionFile"
        assert "/run/secrets/connections.yaml" in environment[f"{backend}_KWARGS"]
    template = yaml.safe_load((ROOT / "deploy" / "connections.yaml.example").read_text())
    assert set(template) == {"sendit_ledger", "google_cloud_default", "sendit_dasher"}


def test_health_checks_allow_a_slow_first_start() -> None:
    for service in set(SERVICES) - set(ONE_SHOT):
        check = SERVICES[service]["healthcheck"]
        assert check["start_period"] in ("5m", "10m"), service
    # The server that initialises a cluster listens on its socket only, and is then replaced.
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


def test_stop_grace_period_is_at_most_two_minutes() -> None:
    assert {definition.get("stop_grace_period", "10s") for definition in SERVICES.values()} <= {
        *("10s", "1m", "90s"),
    }


def test_only_workers_mount_patient_data() -> None:
    def mounts(service: str) -> set[str]:
        volumes = SERVICES[service].get("volumes", [])
        return {v["target"] if isinstance(v, dict) else v.split(":")[1] for v in volumes}

    for service in SERVICES:
        touched = mounts(service) & {"/data", "/var/lib/sendit", "/var/lib/dasher"}
        assert bool(touched) == (service == "worker"), service
    assert {"sendit_key"} & secrets_of("worker")
    assert [s for s in SERVICES if "sendit_key" in secrets_of(s)] == ["init", "worker"]


def test_secrets_are_used_files() -> None:
    declared = load()["secrets"]
    used = set().union(*(secrets_of(service) for service in SERVICES))
    assert used == set(declared)
    for name, options in declared.items():
        assert options == {"file": f"./secrets/{name}"}


def test_services_are_given_the_secrets_they_read() -> None:
    for service, definition in SERVICES.items():
        text = " ".join(str(value) for value in (definition.get("environment") or {}).values())
        named = set(re.findall(r"secret\.sh (\S+)|/run/secrets/([\w.]+)", text))
        for name in {either for pair in named for either in pair if either}:
            if name == "sendit_key" and service not in ("init", "worker"):
                continue  # a path that the other services are given and never open
            assert name in secrets_of(service), (service, name)


def test_postgresql_logs_no_statements() -> None:
    command = SERVICES["postgres"]["command"]
    assert "log_min_error_statement=panic" in command
    assert "log_error_verbosity=terse" in command


def test_images_are_pinned() -> None:
    for service, definition in SERVICES.items():
        tag = definition["image"].rpartition(":")[2]
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?(-bookworm)?", tag), service


def test_named_settings_exist() -> None:
    fields = {f"SENDIT_{name.upper()}" for name in Settings.model_fields}
    for service in AIRFLOW:
        named = {n for n in SERVICES[service]["environment"] if n.startswith("SENDIT_")}
        # The working folder is derived from the home folder, and the ledger is a connection.
        assert named == fields - {"SENDIT_WORK_FOLDER", "SENDIT_LEDGER"}, service


def test_optional_settings_have_no_default_in_compose() -> None:
    required = {"SENDIT_HOME", "SENDIT_INPUT_FOLDERS", "SENDIT_KEY_FILE", "SENDIT_BUCKET"}
    settings = {n for n in SERVICES["worker"]["environment"] if n.startswith("SENDIT_")}
    assert passed_through() == settings - required


def test_files_named_in_commands_exist() -> None:
    for service in AIRFLOW:
        definition = SERVICES[service]
        words = [
            *definition["command"],
            *definition["healthcheck"].get("test", []),
            *" ".join(str(value) for value in definition["environment"].values()).split(),
        ]
        for word in words:
            if match := re.fullmatch(r"/opt/airflow/([\w.]+\.(?:py|sh))", word):
                assert (ROOT / "deploy" / match[1]).is_file(), word
    for name, options in load()["configs"].items():
        assert (ROOT / options["file"]).is_file(), name


@pytest.mark.airflow
class TestAgainstTheInstalledAirflow:
    @pytest.mark.parametrize("service", sorted(set(AIRFLOW) - set(ONE_SHOT)))
    def test_commands_exist(self, service: str) -> None:
        from airflow.cli.cli_parser import get_parser

        program, *arguments = SERVICES[service]["command"]
        assert program == "airflow"
        assert callable(get_parser().parse_args(arguments).func)

    def test_variables_exist(self) -> None:
        for service in AIRFLOW:
            for name in SERVICES[service]["environment"]:
                if match := re.fullmatch(r"AIRFLOW__(.+?)__(.+?)(_CMD)?", name):
                    section, option = match[1].lower(), match[2].lower()
                    assert known(section, option), name
                    assert bool(match[3]) == sensitive(section, option), name

    def test_configuration_options_exist(self) -> None:
        parser = configparser.ConfigParser()
        parser.read(CONFIG)
        for section in parser.sections():
            for option in parser.options(section):
                assert known(section, option), (section, option)
                assert not sensitive(section, option), (section, option)


@cache
def described() -> dict[str, Any]:
    """Every option that the installed Airflow and its providers describe."""
    from airflow.configuration import retrieve_configuration_description
    from airflow.providers_manager import ProvidersManager

    options: dict[str, Any] = retrieve_configuration_description(include_providers=False)
    for _, more in ProvidersManager().provider_configs:
        options.update(more)
    return options


def known(section: str, option: str) -> bool:
    """Whether Airflow or a provider knows an option. FAB is in the production image only."""
    if section == "fab" and section not in described():
        return True
    if (section, option) == ("scheduler", "num_stuck_in_queued_retries"):
        # The scheduler reads it, and Airflow describes it nowhere.
        from airflow.jobs import scheduler_job_runner

        return f'"{option}"' in inspect.getsource(scheduler_job_runner)
    return option in described().get(section, {}).get("options", {})


def sensitive(section: str, option: str) -> bool:
    """Whether an option is a secret, which Airflow reads by a command."""
    from airflow.configuration import conf

    if (section, option) == ("workers", "secrets_backend_kwargs"):
        return False  # the name of the file with the connections
    return (section, option) in conf.sensitive_config_values
