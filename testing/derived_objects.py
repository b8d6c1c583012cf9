"""Objects derived from images, as workstations and programs make them: reports, key objects,
presentation states, segmentations, structure sets, plans, doses, registrations, waveforms.

highdicom makes those that it can, as an independent check: its objects are valid, and its own
reader must find in the output what it found in the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from testing.builder import make_dataset, uid

RADIOLOGIST: Final = "Befunder^Benno"
FREE_TEXT: Final = "Mrs Musterfrau0001 was seen by Dr Befunder, call 555 7734"
RULER: Final = (("Lesion 3", 34.5), ("Lesion 4", 12.25))
"""Names of two findings, and what they measure in mm."""

OUTLINE: Final = [[2.5, 3.25], [11.0, 3.25], [11.0, 9.5], [2.5, 9.5], [2.5, 3.25]]


def images(count: int = 3) -> list[FileDataset]:
    """Return the CT images that the other objects refer to."""
    made = [
        make_dataset(kind="CT", instance=number, private=False) for number in range(1, count + 1)
    ]
    for number, image in enumerate(made):
        image.ImagePositionPatient = [0, 0, 2.5 * number]
    return made


def measurement_report() -> FileDataset:
    """TID 1500: two regions with their lengths, an observer, texts, and local codes."""
    source = images()
    groups = [_region(source[number], number) for number in range(len(RULER))]
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(
            name=RADIOLOGIST, login_name="bbefunder", organization_name="General Hospital"
        ),
    )
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid(9, 9), manufacturer_name="TESTWORKS", model_name="Ruler 3000"
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer, device),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report[0].ContentSequence.extend(_content_of_all_types())
    return _filed(
        hd.sr.Comprehensive3DSR(
            evidence=source,
            content=report[0],
            series_instance_uid=uid(1, 1, 40),
            series_number=40,
            sop_instance_uid=uid(1, 1, 40, 1),
            instance_number=1,
            manufacturer="TESTWORKS",
            is_complete=True,
            is_verified=True,
            verifying_observer_name=RADIOLOGIST,
            verifying_organization="General Hospital",
        )
    )


def _region(image: FileDataset, number: int) -> Any:
    name, length = RULER[number]
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid(1, 1, 77, number + 1), name),
        referenced_region=hd.sr.ImageRegion(
            graphic_type="POLYLINE",
            graphic_data=np.asarray(OUTLINE) + number,
            source_image=hd.sr.SourceImageForRegion.from_source_image(image),
        ),
        finding_type=codes.SCT.Nodule,
        measurements=[hd.sr.Measurement(codes.SCT.Length, length, codes.UCUM.Millimeter)],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                hd.sr.CodedConcept("GRADE", "99HOSP", "Grade of Dr Befunder"),
                hd.sr.CodedConcept("G2", "99HOSP", "moderate, see Befunder"),
            )
        ],
    )


def _content_of_all_types() -> list[Dataset]:
    concept = hd.sr.CodedConcept
    has, sr = "CONTAINS", hd.sr
    subject_age = sr.NumContentItem(
        concept("121033", "DCM", "Subject Age"), 94, codes.UCUM.Year, relationship_type=has
    )
    return [
        sr.TextContentItem(concept("121106", "DCM", "Comment"), FREE_TEXT, has),
        sr.TextContentItem(concept("121022", "DCM", "Accession Number"), "ACC880001001", has),
        sr.TextContentItem(concept("121030", "DCM", "Subject ID"), "MRN77000001", has),
        sr.PnameContentItem(
            concept("121029", "DCM", "Subject Name"), "Musterfrau0001^Änne0001", has
        ),
        sr.DateContentItem(concept("121031", "DCM", "Subject Birth Date"), "19480807", has),
        sr.DateTimeContentItem(concept("111526", "DCM", "DateTime Started"), "20160108101112", has),
        sr.UIDRefContentItem(concept("113769", "DCM", "Irradiation Event UID"), uid(1, 1, 5), has),
        sr.CodeContentItem(concept("121058", "DCM", "Procedure reported"), codes.SCT.Thorax, has),
        subject_age,
    ]


def _filed(made: Dataset) -> FileDataset:
    """Return an object of highdicom as pydicom reads one from a file."""
    whole = FileDataset("", made, file_meta=made.file_meta, preamble=bytes(128))
    patient = make_dataset(kind="CT", private=False)
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyID", "PatientBirthDate"):
        setattr(whole, keyword, patient[keyword].value)
    whole.SpecificCharacterSet = "ISO_IR 100"
    return whole


def key_objects() -> FileDataset:
    """TID 2010: two images of interest, and the reason as text."""
    source = images()
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(RADIOLOGIST),
    )
    return _filed(
        hd.ko.KeyObjectSelectionDocument(
            evidence=source[:2],
            content=hd.ko.KeyObjectSelection(
                document_title=codes.DCM.ForTeaching,
                referenced_objects=source[:2],
                observer_person_context=observer,
                description=FREE_TEXT,
            ),
            series_instance_uid=uid(1, 1, 41),
            series_number=41,
            sop_instance_uid=uid(1, 1, 41, 1),
            instance_number=1,
            manufacturer="TESTWORKS",
        )
    )


def presentation_state() -> FileDataset:
    """A softcopy presentation state: two layers, each with an outline and a text."""
    source = images()
    source[0].WindowCenter, source[0].WindowWidth = 40, 400
    source[0].WindowCenterWidthExplanation = "WINDOW1"
    layers = [hd.pr.GraphicLayer(name, order) for order, name in enumerate(("RULERS", "TEXTS"), 1)]
    annotations = [
        hd.pr.GraphicAnnotation(
            referenced_images=source[:1],
            graphic_layer=layer,
            graphic_objects=[hd.pr.GraphicObject("POLYLINE", np.asarray(OUTLINE), "PIXEL")],
            text_objects=[hd.pr.TextObject(text, "PIXEL", anchor_point=(4.0, 5.0))],
        )
        for layer, text in zip(layers, ("34.5 mm", FREE_TEXT), strict=True)
    ]
    made = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=source[:1],
        series_instance_uid=uid(1, 1, 42),
        series_number=42,
        sop_instance_uid=uid(1, 1, 42, 1),
        instance_number=1,
        manufacturer="TESTWORKS",
        manufacturer_model_name="Ruler 3000",
        software_versions="1.0",
        device_serial_number="SN4711",
        content_label="RULERS",
        content_creator_name=RADIOLOGIST,
        graphic_annotations=annotations,
        graphic_layers=layers,
    )
    return _filed(made)


def segmentation() -> FileDataset:
    """Two segments over three images."""
    source = images()
    mask = np.zeros((len(source), 16, 16, 2), dtype=np.uint8)
    mask[:, 3:7, 3:9, 0] = 1
    mask[1:, 9:12, 2:5, 1] = 1
    described = [
        hd.seg.SegmentDescription(
            number,
            name,
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Nodule,
            "MANUAL",
            tracking_id=name,
            tracking_uid=uid(1, 1, 78, number),
        )
        for number, (name, _) in enumerate(RULER, 1)
    ]
    made = hd.seg.Segmentation(
        source_images=source,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=uid(1, 1, 43),
        series_number=43,
        sop_instance_uid=uid(1, 1, 43, 1),
        instance_number=1,
        manufacturer="TESTWORKS",
        manufacturer_model_name="Ruler 3000",
        software_versions="1.0",
        device_serial_number="SN4711",
        content_creator_name=RADIOLOGIST,
    )
    return _filed(made)


def parametric_map() -> FileDataset:
    """32-bit floating-point numbers over three images, with their meaning."""
    source = images()
    grid = np.linspace(-1.5, 3.25, len(source) * 16 * 16, dtype=np.float32)
    made = hd.pm.ParametricMap(
        source_images=source,
        pixel_array=grid.reshape(len(source), 16, 16),
        series_instance_uid=uid(1, 1, 50),
        series_number=50,
        sop_instance_uid=uid(1, 1, 50, 1),
        instance_number=1,
        manufacturer="TESTWORKS",
        manufacturer_model_name="Mapper 3000",
        software_versions="1.0",
        device_serial_number="SN4711",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="ADC",
                lut_explanation="Apparent diffusion coefficient",
                unit=codes.UCUM.SquareMillimeterPerSecond,
                value_range=(-1.5, 3.25),
                slope=0.001,
                intercept=0.25,
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=4.5)],
        content_description=FREE_TEXT,
        content_creator_name=RADIOLOGIST,
        content_label="ADC",
    )
    return _filed(made)


def enhanced_of_slices() -> FileDataset:
    """A legacy converted enhanced CT image: three slices with their own attributes."""
    made = hd.legacy.LegacyConvertedEnhancedCTImage(
        images(),
        series_instance_uid=uid(1, 1, 51),
        series_number=51,
        sop_instance_uid=uid(1, 1, 51, 1),
        instance_number=1,
    )
    return _filed(made)


def dose_report() -> FileDataset:
    """TID 10011: a CT dose report with a device and a responsible person."""
    made = _without_pixels("SR", "1.2.840.10008.5.1.4.1.1.88.67", 44)
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    made.ReferencedPerformedProcedureStepSequence = DicomSequence()
    made.PerformedProcedureCodeSequence = DicomSequence()
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = _coded("113701", "DCM", "X-Ray Radiation Dose Report")
    made.ContentTemplateSequence = _items(MappingResource="DCMR", TemplateIdentifier="10011")
    event = [
        _item("TEXT", "125203", "Acquisition Protocol", TextValue="Thorax Musterfrau0001"),
        _item("UIDREF", "113769", "Irradiation Event UID", UID=uid(1, 1, 5)),
        _number("113830", "Mean CTDIvol", "12.34", "mGy", "mGy"),
        _number("113838", "DLP", "345.6789", "mGy.cm", "mGy.cm"),
        _number("113824", "Exposure Time", "3.2", "s", "s"),
        _item("TEXT", "113605", "Irradiation Event Label", TextValue="Event 7 of Befunder"),
    ]
    content = [
        _item(
            "CODE",
            "121058",
            "Procedure reported",
            ConceptCodeSequence=_coded("P5-08000", "SRT", "Computed Tomography X-Ray"),
        ),
        _item("UIDREF", "121012", "Device Observer UID", UID=uid(9, 9)),
        _item("TEXT", "121014", "Device Observer Manufacturer", TextValue="TESTWORKS"),
        _item("TEXT", "121015", "Device Observer Model Name", TextValue="Scanner 128+"),
        _item("TEXT", "121016", "Device Observer Serial Number", TextValue="SN4711-0815"),
        _item(
            "TEXT",
            "121017",
            "Device Observer Physical Location During Observation",
            TextValue="General Hospital, room 12",
        ),
        _item("DATETIME", "113809", "Start of X-Ray Irradiation", DateTime="20160108101112"),
        _item("PNAME", "113870", "Person Name", PersonName=RADIOLOGIST),
        _item(
            "CONTAINER",
            "113819",
            "CT Acquisition",
            ContinuityOfContent="SEPARATE",
            ContentSequence=DicomSequence(event),
        ),
    ]
    made.ContentSequence = DicomSequence(content)
    return made


def structure_set() -> FileDataset:
    """RTSTRUCT: two regions of interest."""
    source = images()
    made = _without_pixels("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", 45)
    made.StructureSetLabel, made.StructureSetDate, made.StructureSetTime = (
        "Befunder",
        "20160108",
        "101112",
    )
    made.ReferencedFrameOfReferenceSequence = _items(
        FrameOfReferenceUID=source[0].FrameOfReferenceUID,
        RTReferencedStudySequence=_items(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
            ReferencedSOPInstanceUID=source[0].StudyInstanceUID,
            RTReferencedSeriesSequence=_items(
                SeriesInstanceUID=source[0].SeriesInstanceUID,
                ContourImageSequence=DicomSequence([_reference(image) for image in source]),
            ),
        ),
    )
    regions: list[Dataset] = []
    contours: list[Dataset] = []
    observed: list[Dataset] = []
    for number, (name, _) in enumerate(RULER, 1):
        regions += _items(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=source[0].FrameOfReferenceUID,
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
        )
        contours += _items(
            ROIDisplayColor=[255, 0, 0],
            ReferencedROINumber=number,
            ContourSequence=_items(
                ContourImageSequence=DicomSequence([_reference(source[0])]),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=3,
                ContourData=["1.5", "2.25", "0", "4", "2.25", "0", "4", "7.125", str(number)],
            ),
        )
        observed += _items(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIInterpretedType="GTV",
            ROIInterpreter=RADIOLOGIST,
        )
    made.StructureSetROISequence = DicomSequence(regions)
    made.ROIContourSequence = DicomSequence(contours)
    made.RTROIObservationsSequence = DicomSequence(observed)
    return made


def plan() -> FileDataset:
    """RTPLAN: a beam with its control points."""
    made = _without_pixels("RTPLAN", "1.2.840.10008.5.1.4.1.1.481.5", 46)
    made.RTPlanLabel, made.RTPlanDate, made.RTPlanTime = "Befunder", "20160108", "101112"
    made.RTPlanGeometry, made.PlanIntent = "PATIENT", "CURATIVE"
    made.FractionGroupSequence = _items(
        FractionGroupNumber=1,
        NumberOfFractionsPlanned=30,
        NumberOfBeams=1,
        NumberOfBrachyApplicationSetups=0,
        ReferencedBeamSequence=_items(ReferencedBeamNumber=1, BeamMeterset="123.5", BeamDose="2.0"),
    )
    made.BeamSequence = _items(
        BeamNumber=1,
        BeamName="Beam of Befunder",
        BeamType="STATIC",
        RadiationType="PHOTON",
        TreatmentMachineName="LINAC 3 General Hospital",
        SourceAxisDistance="1000",
        NumberOfControlPoints=1,
        ControlPointSequence=_items(
            ControlPointIndex=0,
            NominalBeamEnergy="6",
            GantryAngle="179.5",
            IsocenterPosition=["1.5", "-2.25", "3"],
            CumulativeMetersetWeight="0",
        ),
    )
    return made


def dose() -> FileDataset:
    """RTDOSE: a grid of doses in 32 bits."""
    source = images()
    made = _without_pixels("RTDOSE", "1.2.840.10008.5.1.4.1.1.481.2", 47)
    grid = (np.arange(3 * 16 * 16, dtype=np.uint32) * 997).reshape(3, 16, 16)
    _describe(made, grid, 32)
    made.FrameOfReferenceUID = source[0].FrameOfReferenceUID
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.NumberOfFrames = [1, 1], 3
    made.FrameIncrementPointer, made.GridFrameOffsetVector = 0x3004000C, [0, 2.5, 5]
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseComment, made.DoseGridScaling = FREE_TEXT, "0.0000125"
    planned = plan()
    made.ReferencedRTPlanSequence = DicomSequence([_reference(planned)])
    return made


def registration() -> FileDataset:
    """REG: one frame of reference mapped onto another."""
    source = images(1)[0]
    made = _without_pixels("REG", "1.2.840.10008.5.1.4.1.1.66.1", 48)
    made.ContentLabel, made.ContentCreatorName = "REGISTRATION", RADIOLOGIST
    made.FrameOfReferenceUID = source.FrameOfReferenceUID
    matrix = [
        "1",
        "0",
        "0",
        "12.5",
        "0",
        "1",
        "0",
        "-3.75",
        "0",
        "0",
        "1",
        "0.125",
        "0",
        "0",
        "0",
        "1",
    ]
    made.RegistrationSequence = _items(
        FrameOfReferenceUID=uid(1, 1, 88),
        ReferencedImageSequence=DicomSequence([_reference(source)]),
        MatrixRegistrationSequence=_items(
            RegistrationTypeCodeSequence=_coded("125021", "DCM", "Frame of Reference Identity"),
            MatrixSequence=_items(
                FrameOfReferenceTransformationMatrixType="RIGID",
                FrameOfReferenceTransformationMatrix=matrix,
            ),
        ),
    )
    return made


def electrocardiogram() -> FileDataset:
    """A waveform with a text annotation and a numeric one."""
    made = _without_pixels("ECG", "1.2.840.10008.5.1.4.1.1.9.1.2", 49)
    made.AcquisitionDateTime = "20160108101112"
    samples = np.arange(200, dtype=np.int16)
    made.WaveformSequence = _items(
        WaveformOriginality="ORIGINAL",
        NumberOfWaveformChannels=1,
        NumberOfWaveformSamples=len(samples),
        SamplingFrequency="500",
        ChannelDefinitionSequence=_items(
            ChannelSourceSequence=_coded("2:1", "MDC", "Lead I"),
            ChannelSensitivity="1",
            ChannelSensitivityUnitsSequence=_coded("uV", "UCUM", "microvolt"),
            ChannelSensitivityCorrectionFactor="1",
            ChannelBaseline="0",
            ChannelSampleSkew="0",
            WaveformBitsStored=16,
        ),
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
        WaveformData=samples.tobytes(),
    )
    made.WaveformSequence[0]["WaveformData"].VR = "OW"
    made.AcquisitionContextSequence = DicomSequence()
    rate = _items(
        ConceptNameCodeSequence=_coded("2:16016", "MDC", "Heart rate")[:],
        NumericValue="72.5",
        MeasurementUnitsCodeSequence=_coded("/min", "UCUM", "per minute"),
        AnnotationGroupNumber=1,
        ReferencedWaveformChannels=[1, 0],
    )
    words = _items(
        UnformattedTextValue=FREE_TEXT, AnnotationGroupNumber=0, ReferencedWaveformChannels=[1, 1]
    )
    made.WaveformAnnotationSequence = DicomSequence([*rate, *words])
    return made


def _without_pixels(modality: str, sop_class: str, series: int) -> FileDataset:
    made = make_dataset(kind="SR", private=False, series=series)
    for keyword in (
        *("ContentSequence", "ConceptNameCodeSequence", "ValueType", "ContinuityOfContent"),
        *("CurrentRequestedProcedureEvidenceSequence", "VerifyingObserverSequence"),
        *("CompletionFlag", "VerificationFlag"),
    ):
        delattr(made, keyword)
    made.Modality, made.SOPClassUID = modality, UID(sop_class)
    assert made.file_meta is not None
    made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def _describe(made: FileDataset, samples: Any, bits: int) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = samples.shape[-2:]
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    made.add_new(0x7FE00010, "OW", samples.tobytes())


def _items(**values: Any) -> DicomSequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return DicomSequence([item])


def _coded(value: str, scheme: str, meaning: str) -> DicomSequence:
    return _items(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(kind: str, code: str, meaning: str, **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = _coded(code, "DCM", meaning)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _number(code: str, meaning: str, value: str, unit: str, unit_meaning: str) -> Dataset:
    measured = _items(
        NumericValue=value, MeasurementUnitsCodeSequence=_coded(unit, "UCUM", unit_meaning)
    )
    return _item("NUM", code, meaning, MeasuredValueSequence=measured)


def _reference(target: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = target.SOPClassUID
    item.ReferencedSOPInstanceUID = target.SOPInstanceUID
    return item


OBJECTS: Final[dict[str, Callable[[], FileDataset]]] = {
    "measurement report": measurement_report,
    "dose report": dose_report,
    "key objects": key_objects,
    "presentation state": presentation_state,
    "segmentation": segmentation,
    "structure set": structure_set,
    "plan": plan,
    "dose": dose,
    "registration": registration,
    "electrocardiogram": electrocardiogram,
}

DERIVED_IMAGES: Final[dict[str, Callable[[], FileDataset]]] = {
    "parametric map": parametric_map,
    "enhanced of slices": enhanced_of_slices,
}
"""Objects of images' modality that are computed from images."""
