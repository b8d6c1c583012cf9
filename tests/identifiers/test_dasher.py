from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sendit.coded_study import CodedStudy
from sendit.dicom.placeholder_dates import is_placeholder
from sendit.errors import FailBatch, Misconfigured, RetryLater
from sendit.identifiers.dasher import DasherService, DasherSettings, _backoff, dasher_settings
from sendit.identifiers.models import Request, request_of
from testing.dasher_standin import TOKEN_PATH, DasherStandin, Fault

Make = Callable[..., DasherService]

# Content of a test's request that no error, log or output may contain.
SECRETS = ("1111111", "2222222", "1961", "Bearer")


@pytest.fixture(autouse=True)
def nothing_is_shown(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, dasher: DasherStandin
) -> Any:
    """After each test: nothing printed, and no part of a request or token logged."""
    caplog.set_level(logging.DEBUG)
    tokens = [dasher.access, dasher.refresh]
    yield
    out, err = capfd.readouterr()
    assert not out
    assert not any(word in caplog.text + err for word in (*SECRETS, *tokens))


def fails(error: type[Exception], text: str, ask: Callable[[], object]) -> Exception:
    with pytest.raises(error, match=text) as caught:
        ask()
    shown = f"{caught.value} {caught.value!r}"
    assert not any(word in shown for word in SECRETS)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


# --- success ---------------------------------------------------------------------------------


def test_documented_request_and_response(
    dasher: DasherStandin, service: Make, request_body: Request
) -> None:
    dasher.known = {"1111111": ("12fa", 5), "2222222": ("12fb", 5)}
    coded = service().identify(request_body).coded_study()
    assert coded == CodedStudy("12fa", "12fb", 5, "19610801", "20100209")
    (call,) = dasher.calls()
    assert call.method == "POST"
    assert call.path == "/identifiers/api/v1/uid/test"
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["Authorization"] == f"Bearer {dasher.access}"
    assert call.body == request_body.wire()


def test_study_name_is_sent_in_lower_case(
    dasher: DasherStandin, service: Make, request_body: Request
) -> None:
    service("IRB-41449_Trial").identify(request_body)
    assert dasher.calls()[0].path.endswith("/v1/uid/irb-41449_trial")


def test_nothing_is_printed(dasher: DasherStandin, token_file: Path) -> None:
    """In a subprocess: som keeps the streams that exist when it is imported."""
    program = f"""
from sendit.identifiers.dasher import DasherService, DasherSettings
from sendit.identifiers.models import request_of
settings = DasherSettings(base={dasher.base!r}, token_file={str(token_file)!r})
DasherService("test", settings).identify(request_of("1111111", None, "2222222", None))
from som.logger import bot
assert bot.history == []
"""
    dasher.expire()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert not any(word in done.stderr for word in ("uid/test", "token", "DEBUG"))


def test_second_study_of_a_patient(service: Make, request_body: Request) -> None:
    first = service().identify(request_body).coded_study()
    second = service().identify(request_of("1111111", None, "333", None)).coded_study()
    assert (second.patient_code, second.jitter) == (first.patient_code, first.jitter)
    assert second.study_code != first.study_code
    # DASHER dates a missing date by its own clock; that is not the patient's date.
    assert (second.entity_date, second.item_date) == (None, None)


@given(
    patient=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    accession=st.from_regex(r"[A-Za-z0-9_-]{1,16}", fullmatch=True),
    made=st.datetimes(
        min_value=datetime(1900, 1, 1),
        max_value=datetime(2099, 12, 31),
    ).filter(lambda moment: not is_placeholder(moment.date())),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_id_and_date_round_trips(
    service: Make, patient: str, accession: str, made: datetime
) -> None:
    request = request_of(patient, made.strftime("%Y%m%d"), accession, made.strftime("%Y%m%d%H%M%S"))
    coded = service().identify(request).coded_study()
    assert coded.entity_date == coded.item_date is not None
    assert abs(coded.jitter) <= 31


# --- tokens ------------------------------------------------------------------------------------


def test_an_expired_token_is_refreshed_and_saved(
    dasher: DasherStandin, service: Make, request_body: Request
) -> None:
    dasher.expire()
    service().identify(request_body)
    service().identify(request_body)
    assert dasher.refreshes == 1
    assert len(dasher.calls()) == 3


def test_a_token_refreshed_by_another_worker_is_used(
    dasher: DasherStandin, service: Make, request_body: Request, token_file: Path
) -> None:
    def renewed_elsewhere(_: dict[str, Any]) -> None:
        dasher.rotate()
        dasher.write_tokens(token_file)

    dasher.rotate()  # rejected; the file has a new one by the time of the response
    dasher.script(Fault("change", change=renewed_elsewhere))
    service().identify(request_body)
    assert dasher.refreshes == 0
    assert not dasher.calls(TOKEN_PATH)


def test_401_after_a_refresh(dasher: DasherStandin, service: Make, request_body: Request) -> None:
    dasher.script(Fault("status", status=401), Fault("status", status=401))
    fails(
        Misconfigured,
        "refuses the token that it has just issued",
        lambda: service().identify(request_body),
    )
    assert dasher.refreshes == 1
    assert len(dasher.calls()) == 2


def test_a_failed_refresh_is_retried(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None
) -> None:
    dasher.expire()
    dasher.script(Fault("status", status=503), Fault("html"), where="token")
    service().identify(request_body)
    assert dasher.refreshes == 1


def test_token_service_timeout(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None
) -> None:
    dasher.expire()
    # If the client waited, there would be a response and no error.
    dasher.script(Fault("slow", seconds=4), where="token")
    asked = service(timeout=0.3, attempts=1)
    fails(RetryLater, "DASHER could not be asked", lambda: asked.identify(request_body))


def test_a_rejected_refresh(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None
) -> None:
    dasher.rotate()  # somebody else used the refresh token
    fails(Misconfigured, "a new token file", lambda: service().identify(request_body))
    assert len(dasher.calls()) == 1


def test_a_refresh_response_without_tokens(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None
) -> None:
    dasher.expire()
    dasher.script(Fault("text", body='{"token": "x"}'), where="token")
    fails(Misconfigured, "without accessToken", lambda: service().identify(request_body))


def test_missing_token_file(
    dasher: DasherStandin, request_body: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STANFORD_CLIENT_SECRETS", raising=False)
    settings = DasherSettings(base=dasher.base)
    fails(Misconfigured, "no tokens for DASHER", lambda: DasherService("test", settings))
    monkeypatch.setenv("STANFORD_CLIENT_SECRETS", str(tmp_path / "none"))
    service = DasherService("test", settings)
    fails(RetryLater, "cannot be read", lambda: service.identify(request_body))


def test_token_file_from_the_environment(
    dasher: DasherStandin, request_body: Request, monkeypatch: pytest.MonkeyPatch, token_file: Path
) -> None:
    monkeypatch.setenv("STANFORD_CLIENT_SECRETS", str(token_file))
    DasherService("test", DasherSettings(base=dasher.base)).identify(request_body)


# --- transient errors ------------------------------------------------------------------------

PASSING = [
    *(Fault("status", status=code, body="1111111") for code in (408, 425, 429, 500, 502, 503, 599)),
    *(Fault("status", status=code) for code in (201, 202)),
    Fault("status", status=204, headers={"Content-Length": "0"}),
    Fault("html"),
    Fault("empty"),
    *(Fault("text", body=text) for text in ("[]", "null", '"x"', "3", "{", "[" * 100_000)),
    Fault("drop"),
    Fault("short"),
    Fault("endless"),
    Fault("slow", seconds=1),
    Fault("drip", seconds=0.05),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda f: f"{f.kind}-{f.status}-{f.body[:4]}")
def test_transient_errors_are_retried_by_the_client(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None, fault: Fault
) -> None:
    dasher.script(fault, fault)
    service(timeout=0.5).identify(request_body)
    assert len(dasher.calls()) == 3


@pytest.mark.parametrize("fault", PASSING, ids=lambda f: f"{f.kind}-{f.status}-{f.body[:4]}")
def test_persistent_errors_raise_retry_later(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None, fault: Fault
) -> None:
    dasher.script(fault, fault)
    asked = service(timeout=0.5, attempts=2)
    fails(RetryLater, "DASHER could not be asked", lambda: asked.identify(request_body))
    assert len(dasher.calls()) == 2


def test_connection_refused(dasher: DasherStandin, service: Make, request_body: Request) -> None:
    asked = service(attempts=2)
    dasher.stop()
    fails(RetryLater, "the connection to DASHER failed", lambda: asked.identify(request_body))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would sleep between two calls; recorded, not slept."""
    waited: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=waited.append))
    return waited


def test_retry_after_is_respected(
    dasher: DasherStandin,
    service: Make,
    request_body: Request,
    no_pauses: None,
    pauses: list[float],
) -> None:
    dasher.script(Fault("status", status=429, headers={"Retry-After": "7"}))
    service().identify(request_body)
    assert pauses == [7.0]
    assert len(dasher.calls()) == 2


def test_retry_after_beyond_the_deadline_raises_immediately(
    dasher: DasherStandin,
    service: Make,
    request_body: Request,
    no_pauses: None,
    pauses: list[float],
) -> None:
    dasher.script(Fault("status", status=429, headers={"Retry-After": "3600"}))
    fails(RetryLater, "it answered 429", lambda: service().identify(request_body))
    assert pauses == []
    assert len(dasher.calls()) == 1


def test_retries_end_at_the_deadline(
    dasher: DasherStandin, service: Make, request_body: Request, no_pauses: None
) -> None:
    dasher.script(*[Fault("slow", seconds=3)] * 20)
    asked = service(timeout=0.4, deadline=1, attempts=20)
    fails(RetryLater, "DASHER took too long", lambda: asked.identify(request_body))
    # Each call may take 0.4 s, the last one what is left of the second.
    assert 1 <= len(dasher.calls()) <= 3


def test_backoff_grows_with_jitter() -> None:
    def pauses(attempt: int) -> list[float]:
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = attempt
        return [_backoff(state) for _ in range(200)]

    for attempt, most in ((1, 1), (3, 4), (6, 32), (12, 60)):
        drawn = pauses(attempt)
        assert 0.5 * most < max(drawn) <= most
        assert min(drawn) < 0.5 * most


# --- permanent errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (400, FailBatch, "refused this batch's ids"),
        (413, FailBatch, "refused this batch's ids"),
        (422, FailBatch, "refused this batch's ids"),
        (403, Misconfigured, "may not use this study"),
        (404, Misconfigured, "answered 404; check the address"),
        (405, Misconfigured, "answered 405; check the address"),
        (410, Misconfigured, "answered 410; check the address"),
        (415, Misconfigured, "answered 415; check the address"),
    ],
)
def test_client_errors_are_not_retried(
    dasher: DasherStandin,
    service: Make,
    request_body: Request,
    *,
    status: int,
    error: type[Exception],
    text: str,
) -> None:
    dasher.script(Fault("status", status=status, body="we do not like 1111111 born 1961"))
    fails(error, text, lambda: service().identify(request_body))
    assert len(dasher.calls()) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    dasher: DasherStandin, service: Make, request_body: Request, status: int
) -> None:
    elsewhere = DasherStandin()
    elsewhere.start()
    dasher.script(Fault("redirect", status=status, to=f"{elsewhere.base}/v1/uid/test"))
    fails(Misconfigured, "redirects elsewhere", lambda: service().identify(request_body))
    assert not elsewhere.seen
    elsewhere.stop()


def test_study_without_permission(
    dasher: DasherStandin, service: Make, request_body: Request
) -> None:
    dasher.forbidden_studies = {"secret"}
    fails(Misconfigured, "SENDIT_STUDY", lambda: service("secret").identify(request_body))


def test_wrong_base_url(dasher: DasherStandin, service: Make, request_body: Request) -> None:
    asked = service(base=dasher.root + "/elsewhere")
    fails(Misconfigured, "answered 404", lambda: asked.identify(request_body))


ITEM = ["results", 0, "items", 0]
LIES = [
    *(
        Fault("remove", where=[*place, name])
        for place in (["results", 0], ITEM)
        for name in ("id", "id_source", "suid", "jitter", "jittered_timestamp")
    ),
    Fault("remove", where=["results"]),
    Fault("remove", where=["results", 0]),
    Fault("remove", where=["results", 0, "items"]),
    Fault("remove", where=ITEM),
    Fault("set", where=["results", 0, "id"], value="1111112"),
    Fault("set", where=[*ITEM, "id"], value="2222223"),
    Fault("set", where=[*ITEM, "id_source"], value="GE PACS"),
    Fault("set", where=[*ITEM, "suid"], value="../../etc"),
    Fault("set", where=[*ITEM, "suid"], value="2222222"),
    Fault("set", where=[*ITEM, "jitter"], value=99),
    Fault("set", where=[*ITEM, "jittered_timestamp"], value="2010-02-04T11:50:00-0800"),
    Fault("set", where=["results"], value={"1111111": "1961"}),
]


@pytest.mark.parametrize("fault", LIES, ids=lambda f: f"{f.kind}-{f.where}-{f.value}")
def test_responses_that_violate_the_contract_are_rejected(
    dasher: DasherStandin, service: Make, request_body: Request, fault: Fault
) -> None:
    dasher.script(fault)
    fails(FailBatch, "breaks its contract", lambda: service().identify(request_body))
    assert len(dasher.calls()) == 1


# --- ids that DASHER rejects -----------------------------------------------------------------


@pytest.mark.parametrize("bad", ["12 34", "12.34", " 1234", "1234^X", "1234/5", "é1234", "1" * 65])
def test_invalid_ids_are_neither_sent_nor_altered(
    dasher: DasherStandin, service: Make, bad: str
) -> None:
    for request, name in (
        (request_of(bad, None, "2222222", None), "PatientID"),
        (request_of("1111111", None, bad, None), "AccessionNumber"),
    ):
        ask = partial(service().identify, request)
        error = fails(FailBatch, f"^{name} is not one that DASHER accepts", ask)
        assert bad not in str(error)
    assert not dasher.seen


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["", "a/b", "a b", "../x", "ä", "a?b=c"])
def test_invalid_study_name(service: Make, study: str) -> None:
    fails(Misconfigured, "the study's name", lambda: service(study))


@pytest.mark.parametrize("base", ["http://api.example.org", "https://u:p@x", "x"])
def test_unsafe_base_url(service: Make, base: str) -> None:
    fails(Misconfigured, "the address of DASHER", lambda: service(base=base))


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", 0), ("deadline", "soon"), ("attempts", 1.5), ("tokenfile", "x")]
)
def test_invalid_settings_are_named(name: str, value: Any) -> None:
    fails(
        Misconfigured,
        f"the connection to DASHER: {name}: ",
        lambda: dasher_settings(**{name: value}),
    )


def test_default_base_url() -> None:
    assert dasher_settings().base == "https://api.rit.stanford.edu/identifiers/api"


def test_check_sends_no_patient_data(dasher: DasherStandin, service: Make) -> None:
    service().check()
    assert dasher.calls()[0].body == '{"identifiers": []}'
    dasher.script(Fault("text", body='{"results": []}'))
    service().check()
    dasher.script(Fault("status", status=403))
    fails(Misconfigured, "403", service().check)


def test_docs_list_the_settings() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dasher.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    documented = {row[1].strip(): row[2].strip().strip("`") for row in rows}
    for name, field in DasherSettings.model_fields.items():
        shown = documented["Address (`host`)" if name == "base" else f"`{name}`"]
        if isinstance(field.default, float | int):
            assert float(shown) == field.default
        else:
            assert shown == (field.default or "the file that `STANFORD_CLIENT_SECRETS` names")
