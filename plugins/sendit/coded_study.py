"""A study's coded identifiers and jitter: the identifier service's answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodedStudy:
    """A study's identity outside the hospital.

    Attributes
    ----------
    patient_code, study_code
        Coded ids: letters, digits, ``-`` and ``_``, at most 64.
    jitter
        Whole days added to every date of the patient.
    entity_date, item_date
        The patient's birth date and the study's date, already jittered, ``yyyymmdd``;
        None if the images have no such date.
    """

    patient_code: str
    study_code: str
    jitter: int
    entity_date: str | None
    item_date: str | None

    @property
    def variables(self) -> dict[str, str]:
        """The values of a recipe's variables (``sendit.recipe.functions.VARIABLES``)."""
        return {
            "entity_id": self.patient_code,
            "item_id": self.study_code,
            "entity_timestamp": self.entity_date or "",
            "item_timestamp": self.item_date or "",
            "jitter": str(self.jitter),
        }
