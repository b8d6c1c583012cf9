"""Provider operators, one per collection of a lane: their arguments and failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sendit.delivery.lanes import Lane
from sendit.delivery.names import Stage
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.tasks import google, upload

pytestmark = pytest.mark.airflow


class Provider:
    """Stands in for a provider's operator."""

    made: ClassVar[list[dict[str, Any]]] = []
    fails: ClassVar[dict[str, Exception]] = {}
    killed: ClassVar[list[str]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    def execute(self, context: Any) -> None:
        type(self).made.append(self.arguments | {"context": context})
        if self.arguments["of"] in self.fails:
            raise self.fails[self.arguments["of"]]

    def on_kill(self) -> None:
        type(self).killed.append(self.arguments["of"])


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> google.GoogleOperator:
    """An operator over a lane of three collections."""
    Provider.made, Provider.fails, Provider.killed = [], {}, []
    parts = [SimpleNamespace(collection=name, dataset=f"set_{name}") for name in "abc"]
    monkeypatch.setattr(google, "lane_work", lambda _: SimpleNamespace(parts=lambda: parts))
    monkeypatch.setattr(google, "storage_client", lambda: None)
    return google.GoogleOperator(
        task_id="load",
        operator=f"{__name__}.Provider",
        lane={"lane": 3, "batches": []},
        arguments=lambda part: {"of": part.collection},
    )


def test_each_collection_has_its_own_operator(operator: google.GoogleOperator) -> None:
    context = {"run_id": "a run"}
    operator.execute(context)
    assert Provider.made == [{"task_id": "load", "of": name, "context": context} for name in "abc"]
    assert operator.custom_operator_name == "Provider"


def test_on_kill_reaches_the_running_operator(operator: google.GoogleOperator) -> None:
    operator.on_kill()
    assert Provider.killed == []
    operator.execute({})
    operator.on_kill()
    assert Provider.killed == ["c"]


def test_a_failed_collection_does_not_stop_the_others(operator: google.GoogleOperator) -> None:
    Provider.fails = {"a": AirflowFailException("one")}
    with pytest.raises(AirflowFailException, match="one"):
        operator.execute({})
    assert [made["of"] for made in Provider.made] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fails", "raised"),
    [
        ({"a": FailBatch("final"), "b": RetryLater("away")}, "away"),
        ({"a": Misconfigured("final"), "c": RetryLater("away")}, "away"),
        ({"b": RetryLater("away"), "c": FailBatch("final")}, "away"),
        ({"a": FailBatch("first"), "b": Misconfigured("second")}, "first"),
        ({"b": Misconfigured("first"), "c": FailBatch("second")}, "first"),
    ],
)
def test_retryable_errors_take_precedence(
    operator: google.GoogleOperator, monkeypatch: pytest.MonkeyPatch, fails: Any, raised: str
) -> None:
    caught: list[Exception] = []

    class Boundary:
        def __enter__(self) -> None: ...

        def __exit__(self, _: Any, error: Exception, __: Any) -> None:
            caught.append(error)

    monkeypatch.setattr(google, "error_boundary", Boundary)
    Provider.fails = fails
    with pytest.raises(type(next(e for e in fails.values() if str(e) == raised)), match=raised):
        operator.execute({})
    assert [str(error) for error in caught] == [raised]


@pytest.mark.parametrize("error", [AirflowSkipException("x"), AirflowFailException("x")])
def test_airflow_exceptions_from_operators_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, google._jobs(SimpleNamespace(dataset="d")):
        raise error
    assert caught.value is error


def test_job_messages_that_may_quote_a_row_are_dropped() -> None:
    with (
        pytest.raises(Exception, match="dataset d") as caught,
        google._jobs(SimpleNamespace(dataset="d")),
    ):
        raise AirflowException("400 bad value MRN7 in row 1")
    assert "MRN7" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_collection_of_a_failed_job_is_named(operator: google.GoogleOperator) -> None:
    Provider.fails = {"b": AirflowException("400 bad value MRN7 in row 1")}
    with pytest.raises(Exception, match="dataset set_b") as caught:
        operator.execute({})
    assert "MRN7" not in str(caught.value)


def test_a_lane_uses_batches_of_the_run_and_working_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = SimpleNamespace(of_run=lambda key: f"ledger of {key}")
    monkeypatch.setattr(google, "ledger", lambda: ledger)
    monkeypatch.setattr(google, "settings", lambda: SimpleNamespace(work=Path("/work")))
    monkeypatch.setattr(google, "own_run", lambda: SimpleNamespace(key="r0"))
    lane = Lane(lane=3, batches=["b0"])
    work: Any = google.lane_work(lane)
    assert (work.ledger, work.root, work.run, work.lane) == (
        "ledger of r0",
        Path("/work"),
        "r0",
        lane,
    )


def test_the_feeder_covers_every_setting_that_affects_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sendit.delivery import feeder
    from sendit.hooks import site

    calls: list[Any] = []
    monkeypatch.setattr(
        feeder, "feeder_of", lambda *given, **named: (calls.append((given, named)), "feeder")[1]
    )
    monkeypatch.setattr(google, "ledger", lambda: "ledger")
    settings = SimpleNamespace(keys=lambda: "keys", identity_rules=lambda: "rules")
    monkeypatch.setattr(google, "settings", lambda: settings)
    monkeypatch.setattr(site, "service_name", lambda: "local")
    client: Any = SimpleNamespace(project="project")
    feed: Any = google.feed(client, "bucket", "c", "study")
    assert calls == [(("ledger", "keys", "local", "study", "rules"), {"project": "project"})]
    assert feed == feeder.Feed("ledger", client, "bucket", "c", "feeder")  # type: ignore[arg-type]


PART = SimpleNamespace(
    stage=Stage.of("a run", 3, "c"), bucket="bucket", dataset="c", rows_file=Path("/nowhere/rows")
)


def test_rows_file_is_uploaded_to_the_lane_s_own_object(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.touch()
    part = SimpleNamespace(**vars(PART) | {"rows_file": rows})
    assert upload.stage_arguments(part) == {
        "src": str(rows),
        "dst": PART.stage.object,
        "bucket": "bucket",
        "mime_type": "application/x-ndjson",
    }
    with pytest.raises(FailBatch, match="lane 3: its file of rows is gone"):
        upload.stage_arguments(PART)


def test_rows_are_loaded_into_the_lanes_own_table() -> None:
    given = upload.load_arguments(PART)
    assert [field["name"] for field in given.pop("schema_fields")]
    assert given == {
        "bucket": "bucket",
        "source_objects": [PART.stage.object],
        "destination_project_dataset_table": f"c.{PART.stage.table}",
        "source_format": "NEWLINE_DELIMITED_JSON",
        "autodetect": False,
        "max_bad_records": 1000,
        "write_disposition": "WRITE_TRUNCATE",
        "job_id": f"sendit_load_c_{PART.stage.run}_3",
        "result_timeout": 600.0,
    }


def test_each_merge_has_a_new_job_id() -> None:
    given = upload.merge_arguments(PART)
    query = given["configuration"]["query"]
    assert query.keys() == {"query", "useLegacySql"} and query["useLegacySql"] is False
    assert f"`c.{PART.stage.table}`" in query["query"] or PART.stage.table in query["query"]
    assert given["job_id"] == f"sendit_merge_c_{PART.stage.run}_3"
    assert (given["durable"], given["result_timeout"]) == (False, 600.0)


@pytest.mark.parametrize(
    ("state", "alone"),
    [
        *((state, True) for state in ("success", "failed", "skipped", "upstream_failed")),
        *((state, False) for state in ("queued", "running", None)),
    ],
)
def test_cleared_alone_is_detected_by_the_state_of_confirm(state: str | None, alone: bool) -> None:
    calls: list[dict[str, Any]] = []

    def get_task_states(**what: Any) -> dict[str, Any]:
        calls.append(what)
        return {"a run": {"upload.confirm_3": state}, "another": {"upload.confirm_3": "success"}}

    ti = SimpleNamespace(dag_id="sendit", map_index=3, get_task_states=get_task_states)
    assert upload._is_alone({"ti": ti, "run_id": "a run"}) is alone
    assert calls == [
        {"dag_id": "sendit", "map_index": 3, "task_ids": ["upload.confirm"], "run_ids": ["a run"]}
    ]
