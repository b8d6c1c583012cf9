"""Requeue: one batch, or all batches that failed for one reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sendit.batch import STUDY_NAME, Status
from sendit.errors import FailBatch, Misconfigured, SenditError
from sendit.ledger import Batch, BatchParams, Ledger
from sendit.pipeline.load_recipe import load_recipe
from sendit.settings import Settings


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of batches: those named, and those in ERROR that match all other criteria."""

    batches: tuple[str, ...] = ()
    every: bool = False
    run: str | None = None
    reason: str | None = None
    stage: str | None = None

    @property
    def names_something(self) -> bool:
        """Whether the selection has any criterion."""
        return bool(self.batches or self.every or self.run or self.reason or self.stage)

    def fits(self, batch: Batch) -> bool:
        """Whether a batch in ERROR matches the selection."""
        if batch.status is not Status.ERROR or not (
            self.every or self.run or self.reason or self.stage
        ):
            return False
        if self.run and batch.run_id != self.run:
            return False
        return any(self._fits_error(error["stage"], error["reason"]) for error in batch.errors) or (
            not self.reason and not self.stage
        )

    def _fits_error(self, stage: str, reason: str) -> bool:
        if self.reason and self.reason.casefold() not in reason.casefold():
            return False
        return not self.stage or self.stage in {stage, stage.removesuffix(" task")}


@dataclass(frozen=True, slots=True)
class Changes:
    """New params for requeued batches; None leaves a param as it is."""

    study: str | None = None
    recipe: str | None = None
    revise: bool | None = None

    def of(self, held: BatchParams, settings: Settings) -> BatchParams:
        """Return a batch's params with the changes; the collection follows the study."""
        params = held
        if self.study is not None:
            collection = settings.collection_of(self.study)
            params = replace(params, study=self.study, collection=collection)
        if self.recipe is not None:
            params = replace(params, recipe=self.recipe)
        if self.revise is not None:
            params = replace(params, revise=self.revise)
        return params

    def check(self) -> None:
        """Validate study and recipe, before any batch is changed.

        Raises
        ------
        Misconfigured
            The study's name is invalid, or the recipe cannot be used.
        """
        if self.study is not None and not STUDY_NAME.fullmatch(self.study):
            raise Misconfigured("the study may contain only letters, digits, - and _, at most 63")
        if self.recipe is not None:
            load_recipe(self.recipe)


def requeue_batches(
    ledger: Ledger, settings: Settings, chosen: Selection, changes: Changes
) -> tuple[list[str], list[str]]:
    """Requeue the selected batches.

    Returns
    -------
    tuple of list of str
        The batches that are back in the queue, and the reasons why others are not.

    Raises
    ------
    Misconfigured
        The changes are invalid; nothing was changed.
    """
    changes.check()
    named = list(dict.fromkeys(chosen.batches))
    matching = [batch.id for batch in ledger.all_batches(errors_only=True) if chosen.fits(batch)]
    done, refused = [], []
    for batch_id in dict.fromkeys([*named, *matching]):
        try:
            _requeue(ledger, settings, batch_id, changes)
        except SenditError as error:
            refused.append(str(error))
        else:
            done.append(batch_id)
    return done, refused


def _requeue(ledger: Ledger, settings: Settings, batch_id: str, changes: Changes) -> None:
    batch = ledger.batch(batch_id)
    params = changes.of(batch.params, settings)
    if batch.status is Status.QUEUE and params == batch.params:
        raise FailBatch(f"batch {batch_id} is already in the queue")
    # Before it is queued, because a run may claim it from then on.
    if params != batch.params:
        ledger.put_params(batch_id, params)
    if batch.status is not Status.QUEUE:
        ledger.requeue(batch_id)
