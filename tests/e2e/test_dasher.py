"""A run with DASHER as the identifier service, over HTTP."""

from __future__ import annotations

import json

import pytest

from testing.builder import make_dataset, to_bytes, write_study
from tests.e2e.conftest import RemoteDasher
from tests.e2e.site import Site

pytestmark = pytest.mark.e2e

DASHER = {
    "SENDIT_IDENTIFIERS": "dasher",
    "SENDIT_STUDY": "DasherStudy",
    # The issuer in the builder's images.
    "SENDIT_PATIENT_ID_SOURCES": '{"General Hospital": "Stanford MRN"}',
}


def test_codes_and_jitter_come_from_dasher(configured: Site, remote_dasher: RemoteDasher) -> None:
    site = configured
    site.stack.configure(**DASHER)
    write_study(site.inputs / "coded" / "A1", patient=21, study=3)
    remote_dasher.expire()
    run_id = site.run("coded")
    assert site.state(run_id) == "success", site.explain(run_id)

    original = make_dataset(21, 3)
    calls = [call for call in remote_dasher.seen() if "/v1/uid/" in call["path"]]
    # Before a batch is claimed, DASHER is checked without patient data. That call met an expired
    # token; it was refreshed, and the call repeated.
    assert [json.loads(call["body"])["identifiers"] for call in calls[:-1]] == [[], []]
    assert calls[-1]["path"].endswith("/v1/uid/dasherstudy")
    (entity,) = json.loads(calls[-1]["body"])["identifiers"]
    (item,) = entity["items"]
    assert (entity["id"], entity["id_source"]) == (original.PatientID, "Stanford MRN")
    assert (item["id"], item["id_source"]) == (original.AccessionNumber, "DCM Accession #")

    (delivery,) = site.deliveries(run_id)
    answer = _answer(remote_dasher, entity, item)
    assert delivery["object"] == (
        f"Collection/DasherStudy/Entity/{answer['patient']}/"
        f"{answer['patient']}_{answer['date']}_{answer['study']}.tar.gz"
    )
    (row,) = site.stack.tables()["DasherStudy.dicom"]
    assert (row["CodedPatientID"], row["CodedAccessionNumberID"]) == (
        answer["patient"],
        answer["study"],
    )


def _answer(
    dasher: RemoteDasher, entity: dict[str, object], item: dict[str, object]
) -> dict[str, str]:
    """The stand-in's response to such a request, which is deterministic."""
    from testing.dasher_standin import DasherStandin

    service = DasherStandin()
    try:
        _, answer = service.answer_uid(
            "dasherstudy",
            {"Authorization": f"Bearer {service.access}", "Content-Type": "application/json"},
            json.dumps({"identifiers": [{**entity, "items": [item]}]}),
        )
    finally:
        service._server.server_close()
    (result,) = answer["results"]
    (coded,) = result["items"]
    return {
        "patient": result["suid"],
        "study": coded["suid"],
        "date": coded["jittered_timestamp"][:10].replace("-", ""),
    }


def test_a_wrong_token_is_a_clear_error_and_fixing_it_delivers(
    configured: Site, remote_dasher: RemoteDasher
) -> None:
    site = configured
    site.stack.configure(**DASHER)
    write_study(site.inputs / "refused" / "A1", patient=22, study=1)
    remote_dasher.expire()
    remote_dasher.script({"kind": "status", "status": 401, "body": "no such token"}, where="token")
    run_id = site.run("refused")
    assert site.state(run_id) == "failed"
    assert site.batches(run_id) == []  # no batch was claimed
    log = site.log(run_id, "discover")
    assert "STANFORD_CLIENT_SECRETS" in log or "token" in log
    for value in _identifying(make_dataset(22, 1)):
        assert value not in log

    site.clear(run_id, "discover")
    assert site.wait(run_id) == "success", site.explain(run_id)
    assert len(site.delivered(run_id).objects) == len(site.delivered(run_id).rows) == 1


def _identifying(dataset: object) -> list[str]:
    return [
        str(getattr(dataset, name))
        for name in ("PatientID", "AccessionNumber", "PatientName", "PatientBirthDate")
    ]


def test_an_accession_number_invalid_for_dasher_fails_its_batch_only(
    configured: Site, remote_dasher: RemoteDasher
) -> None:
    site = configured
    site.stack.configure(**DASHER)
    folder = site.inputs / "odd"
    write_study(folder / "A1", patient=23, study=1)
    (folder / "A2").mkdir()
    odd = make_dataset(24, 1, AccessionNumber="77 66/55")
    (folder / "A2" / "image.dcm").write_bytes(to_bytes(odd))
    run_id = site.run("odd")
    assert site.state(run_id) == "failed"
    assert sorted(batch["status"] for batch in site.batches(run_id)) == ["DONE", "ERROR"]
    for index in (0, 1):
        assert "77 66/55" not in site.log(run_id, "process.dasher", index)
