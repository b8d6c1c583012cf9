"""The stack starts from a known environment, not the caller's."""

from demo.stack import clean_environment


def test_caller_settings_do_not_reach_the_stack(monkeypatch):
    for name in (
        "AIRFLOW__CORE__DAGS_FOLDER",
        "AIRFLOW_HOME",
        "SENDIT_INPUT_FOLDERS",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "STORAGE_EMULATOR_HOST",
        "PYTHONPATH",
    ):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = clean_environment()
    assert "/elsewhere" not in environment.values()
    assert environment["LANG"] == "C.UTF-8"


def test_localhost_calls_bypass_the_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert "127.0.0.1" in clean_environment()["no_proxy"]
