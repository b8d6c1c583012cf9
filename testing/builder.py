"""Synthetic DICOM: the single builder of all test and benchmark images.

``make_dataset`` makes an object of one of five kinds, identified by four small numbers;
``write_study`` writes a folder of them; ``plant_canaries`` puts a unique text into every element
that may hold PHI, and returns them. Everything is deterministic: the same arguments give the same
bytes.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydicom import datadict
from pydicom.charset import convert_encodings, python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

import sendit.dicom.dictionary  # noqa: F401 - attributes newer than pydicom's dictionary

ObjectKind = Literal["CT", "MR", "ENHANCED", "US", "SR", "PDF", "SC"]

ROOT = "1.2.826.0.1.3680043.8.498"
SOP_CLASSES: dict[str, str] = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "ENHANCED": EnhancedMRImageStorage,
    "US": UltrasoundImageStorage,
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "PDF": EncapsulatedPDFStorage,
    "SC": SecondaryCaptureImageStorage,
}


class Numbers(NamedTuple):
    """Patient, study, series and instance of an object."""

    patient: int
    study: int
    series: int
    instance: int


FIRST_DAY = datetime.date(2016, 3, 14)


def uid(*numbers: int) -> UID:
    """Return a UID under a root that no scanner uses."""
    return UID(".".join([ROOT, *map(str, numbers)]))


def make_dataset(
    patient: int = 1,
    study: int = 1,
    series: int = 1,
    instance: int = 1,
    *,
    kind: ObjectKind = "CT",
    rows: int = 16,
    columns: int = 16,
    frames: int = 4,
    private: bool = True,
    transfer_syntax: str = ExplicitVRLittleEndian,
    **elements: Any,
) -> FileDataset:
    """Make one object.

    Parameters
    ----------
    patient, study, series, instance
        Determine names, ids, dates and UIDs.
    kind
        CT has about 190 top-level elements, as a scanner's has; ENHANCED is an Enhanced MR
        Image of ``frames`` frames with functional groups.
    rows, columns
        Image size in pixels; 512 by 512 makes a CT of 0.5 MB that compresses like a real one.
    private
        Whether to add vendor blocks (32 elements for CT).
    transfer_syntax
        Encoding of the file; JPEG Baseline gets a fragment that shows 8 bits of it.
    elements
        Values by keyword that override the generated ones; None deletes.
    """
    ds = FileDataset("", Dataset(), file_meta=_file_meta(transfer_syntax), preamble=bytes(128))
    day = FIRST_DAY + datetime.timedelta(days=7 * study)
    numbers = Numbers(patient, study, series, instance)
    _patient_and_study(ds, numbers, day)
    _series_and_equipment(ds, kind, numbers, day)
    ds.SOPClassUID = SOP_CLASSES[kind]
    ds.SOPInstanceUID = uid(patient, study, series, instance)
    ds.InstanceNumber = instance
    ds.ContentDate = f"{day:%Y%m%d}"
    ds.ContentTime = f"1012{instance % 60:02}.{instance:06}"
    _BUILDERS[kind](ds, numbers, frames)
    if kind in {"CT", "MR", "ENHANCED", "US", "SC"}:
        _pixels(ds, kind, instance, (frames, rows, columns), transfer_syntax)
    if private:
        _private(ds, kind, numbers)
    for keyword, value in elements.items():
        if value is None:
            if keyword in ds:
                del ds[keyword]
        else:
            setattr(ds, keyword, value)
    assert ds.file_meta is not None
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "")
    return ds


def end_with_pixels(dataset: Dataset) -> None:
    """Remove the elements after the pixel data: most files end with it."""
    for tag in [tag for tag in dataset.keys() if tag > 0x7FE00010]:  # noqa: SIM118 not its elements
        del dataset[tag]


def to_bytes(dataset: FileDataset, trailing: bytes = b"") -> bytes:
    """Return the dataset as a file's bytes, with ``trailing`` after its last element."""
    buffer = DicomBytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=False)
    return bytes(buffer.getvalue()) + trailing


@dataclass(frozen=True)
class Canary:
    """A text that occurs in one place only.

    ``where`` is a path such as ``00081110[0].00080090``, or preamble or meta;
    ``raw`` are the bytes in the file, ``text`` the value as decoded.
    """

    where: str
    tag: int
    vr: str
    text: str
    raw: bytes


@dataclass(frozen=True)
class Study:
    """A folder made by ``write_study``, its files in instance order."""

    folder: Path
    files: tuple[Path, ...]
    canaries: tuple[Canary, ...] = field(default=())


def write_study(
    folder: Path,
    *,
    patient: int = 1,
    study: int = 1,
    series: int = 1,
    instances: int = 3,
    canaries: bool = False,
    name: str = "IM{:05}.dcm",
    trailing: bytes = b"",
    **options: Any,
) -> Study:
    """Write a folder with one series and return what was written.

    Parameters
    ----------
    folder
        Created if missing; more series can be added by further calls.
    canaries
        Plant canaries in every file (each file has its own).
    name
        File name for the number series * 1000 + instance.
    trailing
        Bytes after each file's last element.
    options
        As for ``make_dataset``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    planted: list[Canary] = []
    for instance in range(1, instances + 1):
        dataset = make_dataset(patient, study, series, instance, **options)
        if canaries:
            planted += plant_canaries(dataset, start=1 + len(planted))
        path = folder / name.format(series * 1000 + instance)
        path.write_bytes(to_bytes(dataset, trailing))
        files.append(path)
    return Study(folder, tuple(files), tuple(planted))


def plant_canaries(dataset: FileDataset, *, start: int = 1, absent: bool = True) -> list[Canary]:
    """Put a canary into every element that may hold PHI, adding missing ones.

    Every attribute of PS3.15's Table E.1-1 gets one (with one inside each sequence, nested
    two deep), each element of a private block, a private sequence, sequences encoded as UN,
    an unknown attribute, SR content, elements after the pixels, file meta and preamble.
    What distinguishes patients, studies and series is left unchanged and listed, too. Without
    ``absent``, attributes of the table that the dataset does not have are left out.
    """
    planter = _Planter(dataset, start)
    planter.item(dataset, "")
    for tag in basic_profile():
        if absent and tag not in dataset and tag >> 16 > 0x0002:
            planter.element(dataset, tag, "")
    planter.odd_places(dataset)
    planter.meta(dataset)
    return planter.canaries


@cache
def basic_profile() -> dict[int, str]:
    """Return the Basic Profile's action for each attribute of Table E.1-1 that has a single tag."""
    lines = (Path(__file__).parent / "data" / "ps3.15-basic-profile.txt").read_text().splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {
        int(name, 16): action
        for name, action in pairs
        if set(name) <= set("0123456789ABCDEFabcdef")
    }


# Attributes that must be equal in every file of a study, or that determine the kind of file.
_IDENTITY = {
    Tag(keyword): keyword
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "StudyDate",
        "SeriesDate",
        "ContentDate",
        "AcquisitionDate",
        "FrameOfReferenceUID",
        "StudyID",
    )
}
_SHORT = {"AE", "CS"}
_TEXT = {"LO", "SH", "LT", "ST", "UT", "UC", "UR"}
_BYTES = {"OB", "OW", "UN"}
_PRIVATE = 0x00291000


def planted_day(number: int) -> datetime.date:
    """Return a canary's day: 32 days after the one before, and not a placeholder.

    Shifted by a month at most, none equals another.
    """
    return datetime.date(1901, 2, 2) + datetime.timedelta(days=32 * (number % 2250))


class _Planter:
    """Numbers canaries and formats them for each VR."""

    def __init__(self, dataset: Dataset, start: int) -> None:
        self.canaries: list[Canary] = []
        self._number = start - 1
        charset = dataset.get("SpecificCharacterSet", "ISO_IR 6")
        self._charset = charset if isinstance(charset, str) else "ISO_IR 6"
        self._umlaut = "ä" if self._charset in {"ISO_IR 100", "ISO_IR 192"} else "a"

    def next(self) -> int:
        self._number += 1
        return self._number

    def note(self, where: str, tag: int, vr: str, text: str) -> Canary:
        raw = text.encode(python_encoding.get(self._charset, "ascii"))
        canary = Canary(where, int(tag), vr, text, raw)
        self.canaries.append(canary)
        return canary

    def item(self, item: Dataset, where: str) -> None:
        """Plant in the existing elements of an item."""
        known = basic_profile()
        for element in list(item):
            path = f"{where}{element.tag:08X}"
            if element.tag in _IDENTITY and not where:
                if element.value:
                    self.note(path, element.tag, element.VR, str(element.value))
            elif element.VR == "SQ":
                for index, inner in enumerate(element.value):
                    self.item(inner, f"{path}[{index}].")
            elif element.tag in known or (
                element.tag.is_private and not element.tag.is_private_creator
            ):
                self.element(item, element.tag, where, element.VR)

    def element(self, item: Dataset, tag: int, where: str, vr: str | None = None) -> None:
        """Add an element with a canary as its value to an item, if its VR can hold one."""
        vr = (vr or datadict.dictionary_VR(tag)).split(" or ")[0]
        path = f"{where}{tag:08X}"
        if vr == "SQ":
            inner = Dataset()
            item.add(DataElement(tag, vr, DicomSequence([inner])))
            self._fill(inner, f"{path}[0].")
            if not where:
                nested = Dataset()
                inner.add_new("ReferencedStudySequence", "SQ", DicomSequence([nested]))
                self._fill(nested, f"{path}[0].00081110[0].")
            return
        text = self._text(vr)
        if text is None:
            return
        canary = self.note(path, tag, vr, text)
        value: Any = text
        if vr in _BYTES:
            value = canary.raw + b"\0" * (len(canary.raw) % 2)
        item.add(DataElement(tag, vr, value))

    def odd_places(self, dataset: Dataset) -> None:
        """Plant where a walk over public, well-formed elements would not look."""
        block = dataset.private_block(0x0029, "SENDIT KANARIE", create=True)
        hidden = Dataset()
        block.add_new(0x01, "SQ", DicomSequence([hidden]))
        self._fill(hidden, f"{block.get_tag(0x01):08X}[0].")
        self._coded_as_un(dataset, block.get_tag(0x02))
        # Referenced Patient Sequence, as an archive that does not know it would send it.
        if 0x00081120 in dataset:
            del dataset[0x00081120]
            self.canaries = [c for c in self.canaries if not c.where.startswith("00081120")]
        self._coded_as_un(dataset, 0x00081120)
        self.element(dataset, 0x00109999, "", "LO")
        self.element(dataset, 0x60003000, "", "OB")
        self.element(dataset, 0x60004000, "", "LT")
        self.element(dataset, 0x50003000, "", "OB")
        after = dataset.private_block(0x7FE1, "SENDIT KANARIE", create=True)
        self.element(dataset, after.get_tag(0x01), "", "LO")

    def meta(self, dataset: FileDataset) -> None:
        """Plant in file meta and preamble."""
        meta = dataset.file_meta
        for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle"):
            text = self._text("AE")
            setattr(meta, keyword, text)
            self.note(f"meta.{keyword}", Tag(keyword), "AE", text or "")
        meta.PrivateInformationCreatorUID = uid(987, 1_000_000 + self.next())
        canary = self.note("meta.PrivateInformation", 0x00020102, "OB", self._text("OB") or "")
        meta.PrivateInformation = canary.raw + b"\0" * (len(canary.raw) % 2)
        self.note("meta", 0x00020100, "UI", meta.PrivateInformationCreatorUID)
        preamble = self.note("preamble", 0, "OB", f"Kanarie{self.next():06}Q")
        dataset.preamble = preamble.raw.ljust(128, b"\0")

    def _fill(self, item: Dataset, where: str) -> None:
        for keyword in (
            "PatientName",
            "InstitutionName",
            "StudyDate",
            "ReferencedSOPInstanceUID",
            "TextValue",
        ):
            self.element(item, Tag(keyword), where)
        block = item.private_block(0x0029, "SENDIT KANARIE", create=True)
        self.element(item, block.get_tag(0x01), where, "LO")

    def _coded_as_un(self, dataset: Dataset, tag: int) -> None:
        """Add a sequence with the VR UN: implicit little endian inside, whatever is outside."""
        item = Dataset()
        self._fill(item, f"{tag:08X}[0].")
        inner = DicomBytesIO()
        inner.is_little_endian, inner.is_implicit_VR = True, True
        encodings = dataset.get("SpecificCharacterSet")
        write_dataset(inner, item, parent_encoding=convert_encodings(encodings))
        content = inner.getvalue()
        value = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
        element = DataElement(tag, "UN", value, already_converted=True)
        # pydicom uses the VR that it knows; the file must have UN.
        element.VR = "UN"
        dataset.add(element)

    def _text(self, vr: str) -> str | None:
        number = self.next()
        if vr in _SHORT:
            return f"KANARIE{number:06}Q"
        if vr in _TEXT:
            return f"Kan{self._umlaut if vr != 'UR' else 'a'}rie{number:06}Q"
        if vr in _BYTES:
            return f"Kanarie{number:06}Q"
        day = planted_day(number)
        texts = {
            "PN": f"Kan{self._umlaut}rie{number:06}Q^Zwilling{number:06}Q",
            "UI": uid(987, 1_000_000 + number),
            "DA": f"{day:%Y%m%d}",
            "TM": f"101112.{number:06}",
            "DT": f"{day:%Y%m%d}101112.{number:06}",
            "IS": str(76_000_000 + number),
            "DS": str(76_000_000 + number),
        }
        return texts.get(vr)


def _file_meta(transfer_syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom inserts what it is
    meta.FileMetaInformationVersion = b"\0\1"
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = uid(1)
    meta.ImplementationVersionName = "SENDIT_TESTS"
    return meta


def _set(dataset: Dataset, values: dict[str, Any]) -> None:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _items(*items: dict[str, Any]) -> DicomSequence:
    made = []
    for values in items:
        item = Dataset()
        _set(item, values)
        made.append(item)
    return DicomSequence(made)


def _code(value: str, scheme: str, meaning: str) -> DicomSequence:
    return _items({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})


def _reference(sop_class: str, *numbers: int) -> dict[str, Any]:
    return {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": uid(*numbers)}


def _patient_and_study(ds: Dataset, numbers: Numbers, day: datetime.date) -> None:
    patient, study, _, _ = numbers
    birth = datetime.date(1948, 5, 2) + datetime.timedelta(days=97 * patient)
    _set(
        ds,
        {
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientName": f"Musterfrau{patient:04}^Änne{patient:04}",
            "PatientID": f"MRN77{patient:06}",
            "IssuerOfPatientID": "General Hospital",
            "PatientBirthDate": f"{birth:%Y%m%d}",
            "PatientBirthTime": "031500",
            "PatientSex": "F",
            "PatientAge": f"{(day - birth).days // 365:03}Y",
            "PatientSize": "1.68",
            "PatientWeight": "71.5",
            "PatientAddress": f"{patient} Harbour Road",
            "PatientTelephoneNumbers": f"+1 650 555{patient:04}",
            "OtherPatientIDs": [f"OLD{patient:06}", f"EXT{patient:06}"],
            "OtherPatientNames": f"Beispiel{patient:04}^A",
            "EthnicGroup": "U",
            "Occupation": "Lighthouseman",
            "MedicalAlerts": "none",
            "Allergies": "penicillin",
            "AdditionalPatientHistory": "fell on the quay",
            "PatientComments": "brought by her neighbour",
            "StudyInstanceUID": uid(patient, study),
            "StudyID": f"ST{patient:04}{study:03}",
            "StudyDate": f"{day:%Y%m%d}",
            "StudyTime": "100115.123",
            "AccessionNumber": f"ACC88{patient:04}{study:03}",
            "ReferringPhysicianName": "Hausarzt^Heinz",
            "PhysiciansOfRecord": "Oberarzt^Olga",
            "NameOfPhysiciansReadingStudy": "Leser^Lena",
            "StudyDescription": "THORAX routine",
            "AdmittingDiagnosesDescription": "dyspnoea",
            "ReferencedStudySequence": _items(
                _reference("1.2.840.10008.3.1.2.3.1", patient, study, 0)
            ),
            "ReferencedPatientSequence": _items(_reference("1.2.840.10008.3.1.2.1.1", patient)),
            "ProcedureCodeSequence": _code("CTTHOR", "99HOSP", "CT thorax"),
        },
    )


def _series_and_equipment(
    ds: Dataset, kind: ObjectKind, numbers: Numbers, day: datetime.date
) -> None:
    patient, study, series, _ = numbers
    _set(
        ds,
        {
            "Modality": {"ENHANCED": "MR", "PDF": "DOC", "SC": "OT"}.get(kind, kind),
            "SeriesInstanceUID": uid(patient, study, series),
            "SeriesNumber": series,
            "SeriesDate": f"{day:%Y%m%d}",
            "SeriesTime": "100512.500",
            "SeriesDescription": f"series {series}",
            "ProtocolName": "Thorax_Routine",
            "PerformingPhysicianName": "Radiologe^Rita",
            "OperatorsName": "Assistent^Anton",
            "Manufacturer": "TESTWORKS",
            "ManufacturerModelName": "Scanner 7",
            "DeviceSerialNumber": "SN-0815-42",
            "SoftwareVersions": ["syn 1.0", "rec 2.2"],
            "InstitutionName": "General Hospital",
            "InstitutionAddress": "1 Cliff Way",
            "InstitutionalDepartmentName": "Radiology North",
            "StationName": "CTNORTH1",
            "PerformedProcedureStepID": f"PP{patient:04}{study:03}",
            "PerformedProcedureStepStartDate": f"{day:%Y%m%d}",
            "PerformedProcedureStepStartTime": "100000",
            "PerformedProcedureStepDescription": "CT thorax with contrast",
            "RequestAttributesSequence": _items(
                {
                    "RequestedProcedureDescription": "CT thorax",
                    "ScheduledProcedureStepDescription": "CT thorax",
                    "ScheduledProcedureStepID": f"SP{patient:04}{study:03}",
                    "RequestedProcedureID": f"RP{patient:04}{study:03}",
                }
            ),
            "RequestingPhysician": "Hausarzt^Heinz",
            "RequestingService": "Ward 4",
            "RequestedProcedureDescription": "CT thorax",
        },
    )


def _image(ds: Dataset, numbers: Numbers) -> None:
    patient, study, series, instance = numbers
    day = ds.StudyDate
    _set(
        ds,
        {
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "InstanceCreationDate": day,
            "InstanceCreationTime": f"1013{instance % 60:02}",
            "AcquisitionDate": day,
            "AcquisitionTime": f"1011{instance % 60:02}.{instance:06}",
            "AcquisitionDateTime": f"{day}1011{instance % 60:02}",
            "AcquisitionNumber": 1,
            "FrameOfReferenceUID": uid(patient, study, 0, 99),
            "PositionReferenceIndicator": "",
            "ImagePositionPatient": [-250.0, -250.0, -2.5 * instance],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SliceThickness": "2.5",
            "SliceLocation": f"{-2.5 * instance:.2f}",
            "PixelSpacing": ["0.9765625", "0.9765625"],
            "WindowCenter": ["40", "-600"],
            "WindowWidth": ["400", "1500"],
            "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
            "RescaleIntercept": "-1024",
            "RescaleSlope": "1",
            "RescaleType": "HU",
            "LossyImageCompression": "00",
            "BurnedInAnnotation": "NO",
            "ImageComments": "slightly blurred by breath",
            "SourceImageSequence": _items(_reference(SOP_CLASSES["CT"], patient, study, series, 1)),
            "ReferencedImageSequence": _items(
                _reference(SOP_CLASSES["CT"], patient, study, 900, 1),
                _reference(SOP_CLASSES["CT"], patient, study, 900, 2),
            ),
            "IrradiationEventUID": uid(patient, study, 0, 77),
        },
    )


def _ct(ds: Dataset, numbers: Numbers, _frames: int) -> None:
    patient, study, _, instance = numbers
    _image(ds, numbers)
    _set(
        ds,
        {
            "ScanOptions": "HELICAL MODE",
            "KVP": "120",
            "DataCollectionDiameter": "500",
            "ReconstructionDiameter": "500",
            "DistanceSourceToDetector": "1040",
            "DistanceSourceToPatient": "570",
            "GantryDetectorTilt": "0",
            "TableHeight": "144.5",
            "RotationDirection": "CW",
            "ExposureTime": "500",
            "XRayTubeCurrent": str(200 + instance % 40),
            "Exposure": str(100 + instance % 20),
            "FilterType": "BODY",
            "FocalSpots": ["1.2", "1.2"],
            "DateOfLastCalibration": "20160101",
            "TimeOfLastCalibration": "080000",
            "ConvolutionKernel": "B31f",
            "PatientPosition": "FFS",
            "SingleCollimationWidth": 0.6,
            "TotalCollimationWidth": 38.4,
            "TableSpeed": 46.0,
            "TableFeedPerRotation": 23.0,
            "SpiralPitchFactor": 0.6,
            "ReconstructionTargetCenterPatient": [0.0, -144.5, -2.5 * instance],
            "ExposureModulationType": "XYZ_EC",
            "EstimatedDoseSaving": 12.5,
            "CTDIvol": 7.25 + instance / 1000,
            "CTDIPhantomTypeCodeSequence": _code("113691", "DCM", "IEC Body Dosimetry Phantom"),
            "BodyPartExamined": "CHEST",
            "ContrastBolusAgent": "Iopamidol",
            "ContrastBolusRoute": "IV",
            "ContrastBolusVolume": "80",
            "ContrastBolusStartTime": "100730",
            "ContrastFlowRate": "3",
            "ContrastBolusIngredient": "IODINE",
            "ContrastBolusIngredientConcentration": "300",
            "AcquisitionType": "SPIRAL",
            "RevolutionTime": 0.5,
            "ReconstructionAlgorithm": "FILTER_BACK_PROJ",
            "AnatomicRegionSequence": _code("T-D3000", "SRT", "Chest"),
            "PerformedProcedureStepEndDate": ds.StudyDate,
            "PerformedProcedureStepEndTime": "102000",
            "CommentsOnThePerformedProcedureStep": "patient restless",
            "ReasonForTheRequestedProcedure": "exclude embolism",
            "CurrentPatientLocation": "Ward 4",
            "PatientState": "stable",
            "PregnancyStatus": 1,
            "SmokingStatus": "NO",
            "LastMenstrualDate": "19990101",
            "AdmissionID": f"ADM66{patient:06}",
            "AdmittingDate": ds.StudyDate,
            "FillerOrderNumberImagingServiceRequest": f"FO{patient:04}{study:03}",
            "PlacerOrderNumberImagingServiceRequest": f"PO{patient:04}{study:03}",
            "OrderEnteredBy": "Schreiber^Sven",
            "ScheduledPerformingPhysicianName": "Radiologe^Rita",
            "PatientIdentityRemoved": "NO",
            "TimezoneOffsetFromUTC": "+0100",
            "InstanceCreatorUID": uid(3),
            "SmallestImagePixelValue": 0,
            "LargestImagePixelValue": 4095,
        },
    )


def _mr(ds: Dataset, numbers: Numbers, _frames: int) -> None:
    _image(ds, numbers)
    for keyword in ("RescaleType", "IrradiationEventUID"):
        delattr(ds, keyword)
    _set(
        ds,
        {
            "ScanningSequence": ["SE", "IR"],
            "SequenceVariant": "SK",
            "ScanOptions": "FS",
            "MRAcquisitionType": "2D",
            "SequenceName": "tse2d1_9",
            "RepetitionTime": "4000",
            "EchoTime": "92",
            "InversionTime": "0",
            "EchoTrainLength": "9",
            "MagneticFieldStrength": "3",
            "ImagingFrequency": "123.25",
            "ImagedNucleus": "1H",
            "FlipAngle": "150",
            "SAR": "0.31",
            "PatientPosition": "HFS",
            "BodyPartExamined": "BRAIN",
            "TransmitCoilName": "Body",
            "AcquisitionMatrix": [0, 256, 256, 0],
            "InPlanePhaseEncodingDirection": "ROW",
        },
    )


def _enhanced(ds: Dataset, numbers: Numbers, frames: int) -> None:
    patient, study, series, _ = numbers
    _image(ds, numbers)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SliceThickness",
        "SliceLocation",
        "PixelSpacing",
        "WindowCenter",
        "WindowWidth",
        "WindowCenterWidthExplanation",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "IrradiationEventUID",
    ):
        delattr(ds, keyword)
    ds.SharedFunctionalGroupsSequence = _items(
        {
            "PixelMeasuresSequence": _items({"SliceThickness": "4", "PixelSpacing": [1, 1]}),
            "PlaneOrientationSequence": _items({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}),
            "ReferencedImageSequence": _items(
                _reference(SOP_CLASSES["MR"], patient, study, 900, 1)
            ),
        }
    )
    ds.PerFrameFunctionalGroupsSequence = _items(
        *(
            {
                "FrameContentSequence": _items(
                    {
                        "FrameAcquisitionDateTime": f"{ds.StudyDate}1011{frame % 60:02}",
                        "FrameReferenceDateTime": f"{ds.StudyDate}1011{frame % 60:02}",
                        "StackID": "1",
                        "InStackPositionNumber": frame + 1,
                        "DimensionIndexValues": [1, frame + 1],
                        "FrameComments": f"frame {frame} of a restless patient",
                    }
                ),
                "PlanePositionSequence": _items({"ImagePositionPatient": [-120, -120, 4 * frame]}),
                "FrameVOILUTSequence": _items({"WindowCenter": "500", "WindowWidth": "1000"}),
                "PixelValueTransformationSequence": _items(
                    {"RescaleIntercept": "0", "RescaleSlope": "1", "RescaleType": "US"}
                ),
            }
            for frame in range(frames)
        )
    )
    ds.DimensionOrganizationSequence = _items(
        {"DimensionOrganizationUID": uid(patient, study, series, 88)}
    )


def _us(ds: Dataset, numbers: Numbers, _frames: int) -> None:
    patient, study, series, instance = numbers
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.AcquisitionDate = ds.StudyDate
    ds.BurnedInAnnotation = "YES"
    ds.SequenceOfUltrasoundRegions = _items(
        {
            "RegionSpatialFormat": 1,
            "RegionDataType": 1,
            "RegionLocationMinX0": 0,
            "RegionLocationMinY0": 4,
            "RegionLocationMaxX1": 15,
            "RegionLocationMaxY1": 15,
        }
    )
    ds.ReferencedPerformedProcedureStepSequence = _items(
        _reference("1.2.840.10008.3.1.2.3.3", patient, study, 70 + series + instance)
    )


def _sr(ds: Dataset, numbers: Numbers, frames: int) -> None:
    """Fill a report whose containers nest ``frames`` deep."""
    patient, study, series, instance = numbers
    _set(
        ds,
        {
            "CompletionFlag": "COMPLETE",
            "VerificationFlag": "VERIFIED",
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": _code("18782-3", "LN", "Radiology Study observation"),
            "ContinuityOfContent": "SEPARATE",
            "CurrentRequestedProcedureEvidenceSequence": _items(
                {
                    "StudyInstanceUID": uid(patient, study),
                    "ReferencedSeriesSequence": _items(
                        {
                            "SeriesInstanceUID": uid(patient, study, series),
                            "ReferencedSOPSequence": _items(
                                _reference(SOP_CLASSES["CT"], patient, study, series, instance)
                            ),
                        }
                    ),
                }
            ),
            "VerifyingObserverSequence": _items(
                {
                    "VerifyingOrganization": "General Hospital",
                    "VerificationDateTime": f"{ds.StudyDate}180000",
                    "VerifyingObserverName": "Pruefer^Paul",
                }
            ),
        },
    )
    content: list[dict[str, Any]] = [
        {"ValueType": "PNAME", "PersonName": "Leser^Lena"},
        {"ValueType": "TEXT", "TextValue": f"Mrs Musterfrau{patient:04} has no embolism."},
        {"ValueType": "UIDREF", "UID": uid(patient, study, series)},
        {"ValueType": "DATE", "Date": ds.StudyDate},
        {"ValueType": "DATETIME", "DateTime": f"{ds.StudyDate}101112"},
    ]
    for item in content:
        item["RelationshipType"] = "CONTAINS"
        item["ConceptNameCodeSequence"] = _code("121071", "DCM", "Finding")
    for _ in range(frames):
        content = [
            *content[:5],
            {
                "RelationshipType": "CONTAINS",
                "ValueType": "CONTAINER",
                "ContinuityOfContent": "SEPARATE",
                "ContentSequence": _items(*content),
            },
        ]
    ds.ContentSequence = _items(*content)


def _pdf(ds: Dataset, *_: object) -> None:
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.DocumentTitle = "Report of Mrs Musterfrau"
    ds.BurnedInAnnotation = "YES"
    ds.EncapsulatedDocument = b"%PDF-1.4 Musterfrau has no embolism %%EOF "


def _sc(ds: Dataset, *_: object) -> None:
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceManufacturer = "TESTWORKS"
    ds.DateOfSecondaryCapture = ds.StudyDate


_BUILDERS: Final[dict[ObjectKind, Callable[[Dataset, Numbers, int], None]]] = {
    "CT": _ct,
    "MR": _mr,
    "ENHANCED": _enhanced,
    "US": _us,
    "SR": _sr,
    "PDF": _pdf,
    "SC": _sc,
}


def _pixels(
    ds: Dataset,
    kind: ObjectKind,
    instance: int,
    shape: tuple[int, int, int],
    transfer_syntax: str,
) -> None:
    """Give an image a bright disc in noise, in 16 bits (8-bit colour for US), as scanners do."""
    frames, rows, columns = shape
    noise = np.random.default_rng(instance)
    down, across = np.mgrid[0:rows, 0:columns]
    away = (across - columns / 2) ** 2 + (down - rows / 2) ** 2
    disc = 1000 * np.exp(-away / (2 * ((0.23 + 0.001 * (instance % 50)) * columns) ** 2))
    count = frames if kind == "ENHANCED" else 1
    ds.Rows, ds.Columns = rows, columns
    if kind in {"US", "SC"}:
        grey = np.clip(disc / 4 + noise.normal(0, 4, (rows, columns)), 0, 255).astype(np.uint8)
        data = np.repeat(grey[..., None], 3, axis=2).tobytes()
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "RGB"
        ds.PlanarConfiguration = 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelRepresentation = 0
    else:
        spread = 12 if kind == "CT" else 20
        images = 1024 + disc + noise.normal(0, spread, (count, rows, columns))
        images[:, away > (0.47 * columns) ** 2] = 0
        order = ">u2" if transfer_syntax == ExplicitVRBigEndian else "<u2"
        data = np.clip(images, 0, 4095).astype(order).tobytes()
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelRepresentation = 0
    if kind == "ENHANCED":
        ds.NumberOfFrames = frames
    if transfer_syntax == JPEGBaseline8Bit:
        fragment = _baseline(np.frombuffer(data, np.uint8), rows, columns, ds.SamplesPerPixel)
        ds.add_new("PixelData", "OB", encapsulate([fragment] * count))
        ds["PixelData"].is_undefined_length = True
    else:
        ds.add_new("PixelData", "OB" if ds.BitsAllocated == 8 else "OW", data)


def _baseline(samples: np.ndarray[Any, Any], rows: int, columns: int, count: int) -> bytes:
    """Return a JPEG that shows an image's first samples (of 16 bits the lower ones)."""
    shown = samples[:: len(samples) // (rows * columns * count)][: rows * columns * count]
    shape = (rows, columns) if count == 1 else (rows, columns, count)
    made = BytesIO()
    Image.fromarray(shown.reshape(shape)).save(made, "JPEG", quality=90)
    return made.getvalue()


def jpeg(
    rows: int,
    columns: int,
    samples: int = 1,
    data: bytes = b"",
    *,
    more: bytes = b"",
    trailing: bytes = b"",
    frame_marker: int = 0xC0,
) -> bytes:
    """Return a structurally valid JPEG with made-up entropy-coded bytes.

    ``more`` is inserted among the segments, ``trailing`` after the end of the image.
    """
    components = b"".join(bytes((number, 0x11, 0)) for number in range(1, samples + 1))
    scan = b"".join(bytes((number, 0)) for number in range(1, samples + 1))
    return b"".join(
        (
            b"\xff\xd8",
            more,
            jpeg_segment(frame_marker, struct.pack(">BHHB", 8, rows, columns, samples), components),
            jpeg_segment(0xDA, bytes((samples,)), scan, b"\0\x3f\0"),
            data.replace(b"\xff", b"\xff\0"),
            b"\xff\xd9",
            trailing,
        )
    )


def jpeg_segment(marker: int, *body: bytes) -> bytes:
    """Return a marker segment."""
    whole = b"".join(body)
    return struct.pack(">BBH", 0xFF, marker, 2 + len(whole)) + whole


def _private(ds: Dataset, kind: ObjectKind, numbers: Numbers) -> None:
    """Add vendor blocks: 32 elements with their creators, as a CT has; fewer for other kinds."""
    patient, _, _, instance = numbers
    block = ds.private_block(0x0019, "TESTWORKS CT VA0 COAD", create=True)
    texts = 16 if kind == "CT" else 4
    for number in range(texts):
        value = f"{number}.{instance % 10}" if number else f"Musterfrau{patient:04}"
        block.add_new(0x10 + number, "LO", value)
    block = ds.private_block(0x0029, "TESTWORKS CSA HEADER", create=True)
    binaries = 8 if kind == "CT" else 2
    for number in range(binaries):
        block.add_new(0x08 + number, "OB", bytes(range(64)) * (1 + 4 * number))
    block = ds.private_block(0x0051, "TESTWORKS MR", create=True)
    for number in range(4 if kind == "CT" else 1):
        block.add_new(0x08 + number, "DS", f"{number + instance / 10}")
    block.add_new(0x20, "SQ", _items({"PatientID": f"MRN77{patient:06}"}))


def all_elements(dataset: Dataset) -> Iterable[DataElement]:
    """Yield the elements of a dataset at every level."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from all_elements(item)
