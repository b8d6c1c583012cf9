"""Identify: ask the identifier service for a batch's codes and jitter once, and store them."""

from __future__ import annotations

import json

from sendit.coded_study import CodedStudy
from sendit.crashpoint import reach
from sendit.errors import FailBatch
from sendit.identifiers.identity import IdentityRules, request_for
from sendit.identifiers.models import read_answer, read_request
from sendit.identifiers.service import IdentifierService
from sendit.ledger import Batch, Ledger


def identify_batch(
    ledger: Ledger, batch: Batch, service: IdentifierService, rules: IdentityRules
) -> CodedStudy:
    """Get a batch's codes from its study's identifier service, and store request, answer and study
    in the ledger.

    The service is asked again every time this step runs: it gives the same answer for the same
    ids, and an earlier attempt's answer may be for a different study.

    Raises
    ------
    FailBatch
        The batch has no header values, or the service refuses its ids.
    Misconfigured, RetryLater
        The service cannot be used, or does not answer.
    """
    header = ledger.identifier(batch.id, "header")
    if header is None:
        raise FailBatch(f"batch {batch.id} has no header values; clear its import task")
    request = request_for({int(tag, 16): value for tag, value in header.items()}, rules)
    answer = service.identify(request)
    reach("dasher: answered")
    ledger.put_identifier(batch.id, "request", json.loads(request.wire()))
    reach("dasher: request stored")
    ledger.put_identifier(batch.id, "answer", json.loads(answer.wire()))
    reach("dasher: answer stored")
    ledger.put_identifier(batch.id, "study", batch.study)
    return answer.coded_study()


def coded_study(ledger: Ledger, batch: Batch) -> CodedStudy:
    """Return the codes that ``identify_batch`` stored for the batch's study.

    Raises
    ------
    FailBatch
        There are none, or they are for a different study.
    """
    request = ledger.identifier(batch.id, "request")
    answer = ledger.identifier(batch.id, "answer")
    if request is None or answer is None:
        raise FailBatch(f"batch {batch.id} has no identifiers; clear its dasher task")
    if ledger.identifier(batch.id, "study") != batch.study:
        raise FailBatch(
            f"batch {batch.id}: its identifiers were coded for a different study; clear its dasher "
            "task"
        )
    return read_answer(json.dumps(answer), read_request(json.dumps(request))).coded_study()
