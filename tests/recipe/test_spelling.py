"""Names of attributes that are misspelt, outdated or those of other programs."""

from __future__ import annotations

import pytest

from sendit.recipe.attributes import keyword_of, keywords
from sendit.recipe.functions import function_like, shifts_dates, variable_like
from sendit.recipe.spelling import near, only_near


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        ("PatientsName", "PatientName"),
        ("patient_name", "PatientName"),
        ("Manfacturer", "Manufacturer"),
        ("InstanceSOPUID", "SOPInstanceUID"),
        ("OperatorIDSequence", "OperatorIdentificationSequence"),
        ("OtherPatientIDsSeq", "OtherPatientIDsSequence"),
        ("PhysicianOfRecordIdSeq", "PhysiciansOfRecordIdentificationSequence"),
        ("AdmittingDiagnosisCodeSeq", "AdmittingDiagnosesCodeSequence"),
        ("RefSOPClassUID", "ReferencedSOPClassUID"),
        ("RefPPSSeq", "ReferencedPerformedProcedureStepSequence"),
        ("SPSDescription", "ScheduledProcedureStepDescription"),
        ("PPSComments", "CommentsOnThePerformedProcedureStep"),
        ("ScheduledStationAET", "ScheduledStationAETitle"),
        ("LargePaletteColorLUTUid", "LargePaletteColorLookupTableUID"),
        (
            "RefGenPurposeSchedProcStepTransUID",
            "ReferencedGeneralPurposeScheduledProcedureStepTransactionUID",
        ),
        ("ContrastAllergies", "Allergies"),
    ],
)
def test_other_names_of_an_attribute(name: str, keyword: str) -> None:
    assert only_near(name) == keyword
    assert near(name).startswith(f"did you mean {keyword}")


@pytest.mark.parametrize("name", ["OrdValue", "Instance", "Name", "Zzyzx", "RefFiducialUID"])
def test_uncertain_names_stay(name: str) -> None:
    assert not only_near(name)


@pytest.mark.parametrize(
    ("long", "short"), [("Sequence", "Seq"), ("Identification", "ID"), ("Referenced", "Ref")]
)
def test_an_abbreviated_keyword_is_never_another_one(long: str, short: str) -> None:
    names = {keyword_of(tag) for tag in keywords().values() if tag >= 0x00080000}
    abbreviated = {name: name.replace(long, short) for name in names if long in name}
    found = {name: only_near(each) for name, each in abbreviated.items() if each not in names}
    assert len(found) > 30
    assert {name: one for name, one in found.items() if one not in ("", name)} == {}
    assert sum(not one for one in found.values()) < 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *dict.fromkeys(
            (
                *("generate_uid", "generate_suid", "hash_func", "hashuid", "hashUID", "md5"),
                *("simple_uuid", "generate_hmacuid", "hash_patient_id", "hashname"),
            ),
            "keyed_hash",
        ).items(),
        *dict.fromkeys(
            ("pusheenize", "hash_increment_date", "is_uid", "replace_name", "remove_day"), None
        ).items(),
    ],
)
def test_functions_of_other_recipes(name: str, expected: str | None) -> None:
    assert function_like(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("id", "entity_id"),
        ("PATIENT_ID", "entity_id"),
        ("PatientName", "entity_id"),
        ("source_id", "item_id"),
        ("DATEINC", "jitter"),
        ("date-shift", "jitter"),
        ("anything", None),
    ],
)
def test_variables_of_other_recipes(name: str, expected: str | None) -> None:
    assert variable_like(name) == expected


def test_functions_that_shift_dates() -> None:
    assert all(map(shifts_dates, ("increment_date", "hmacdate_shift", "func:shift_date")))
    assert not any(map(shifts_dates, ("clean_date", "shift_uid", "generate_date")))
