"""MR series as vendors write them, with the private elements that conversion tools use.

Each function makes the images of one series, on top of :func:`testing.builder.make_dataset`. The
elements and their forms are those that dcm2niix and dicom2nifti read. :func:`plant` puts a text
into each private element, to check that none is delivered.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence

from sendit.vendors.siemens_csa import CsaTag, write_csa
from testing.builder import make_dataset

SIDE = 16
SLICES = 4
SECRET = "Winterbottom"


def mosaics(volumes: int = 3, *, csa: bool = True, tiles: int = 2) -> list[FileDataset]:
    """Siemens (VB to VE): all slices of a volume in one image, in reverse order, with diffusion."""
    images = []
    for number in range(1, volumes + 1):
        weighted = number > 1
        image = _mr(number, "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], tiles * SIDE)
        image.SoftwareVersions = "syngo MR B17"
        block = image.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x08, "CS", "IMAGE NUM 4")
        block.add_new(0x09, "LO", "1.0")
        block.add_new(0x0A, "US", SLICES)
        block.add_new(0x0B, "DS", "100")
        block.add_new(0x0C, "IS", "1000" if weighted else "0")
        if weighted:
            block.add_new(0x0D, "CS", "DIRECTIONAL")
            block.add_new(0x0E, "FD", _direction(number))
        block.add_new(0x28, "FD", 19.055)
        block.add_new(0x29, "FD", [0.0, 50.0, 25.0, 75.0])
        if csa:
            block = image.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
            block.add_new(0x08, "CS", "IMAGE NUM 4")
            block.add_new(0x09, "LO", "20100114")
            block.add_new(0x10, "OB", csa_image(number, weighted=weighted))
            block.add_new(0x18, "CS", "MR")
            block.add_new(0x19, "LO", "20100114")
            block.add_new(0x20, "OB", csa_series())
        block = image.private_block(0x0051, "SIEMENS MR HEADER", create=True)
        block.add_new(0x08, "CS", "IMAGE NUM 4")
        block.add_new(0x0B, "SH", f"{SIDE}p*{SIDE}")
        block.add_new(0x0F, "LO", f"T:{SECRET}")
        block.add_new(0x11, "LO", "p2")
        images.append(image)
    return images


def csa_image(number: int, *, weighted: bool, **more: tuple[str, ...]) -> bytes:
    """Return a CSA image header with slices in descending order."""
    tags: dict[str, tuple[str, ...]] = {
        "EchoLinePosition": ("8",),
        "UsedPatientWeight": ("88",),
        "B_value": ("1000" if weighted else "0",),
        "ProtocolSliceNumber": ("0",),
        "SliceMeasurementDuration": ("100.0",),
        "PhaseEncodingDirectionPositive": ("1",),
        "NumberOfImagesInMosaic": (str(SLICES),),
        "SliceNormalVector": ("0.0", "0.0", "-1.0"),
        "BandwidthPerPixelPhaseEncode": ("19.055",),
        "MosaicRefAcqTimes": ("0.0", "50.0", "25.0", "75.0"),
        "ImaCoilString": (f"T:{SECRET}",),
        "PhaseEncodingDirection": ("COL",),
    }
    if weighted:
        tags["DiffusionGradientDirection"] = tuple(map(str, _direction(number)))
        tags["DiffusionDirectionality"] = ("DIRECTIONAL",)
    tags |= more
    return write_csa(CsaTag(name, len(values), "FD", 4, values) for name, values in tags.items())


def csa_series() -> bytes:
    """Return a CSA series header: a protocol with numbers and names."""
    protocol = "\n".join(
        (
            f'<XProtocol> {{ <ParamString."Name"> {{ "{SECRET}" }} }}',
            "### ASCCONV BEGIN ###",
            f'tProtocolName = ""{SECRET}""',
            r'tSequenceFileName = ""%SiemensSeq%\ep2d_diff""',
            'tReferenceImage0 = ""1.3.12.2.1107.5.2.32.35119.2010011420300000000""',
            f"sSliceArray.lSize = {SLICES}",
            "sKSpace.lPhaseEncodingLines = 16",
            "sKSpace.lBaseResolution = 16",
            "sPat.lAccelFactPE = 2",
            "sPat.ucPATMode = 0x2",
            "alTR[0] = 400000",
            "### ASCCONV END ###",
        )
    )
    return write_csa((CsaTag("MrPhoenixProtocol", 1, "UN", 0, (protocol,)),))


def siemens_xa(frames: int = SLICES) -> list[FileDataset]:
    """Siemens XA: an enhanced image with a private sequence for the series and for each frame."""
    image = _enhanced("SIEMENS", frames)
    image.SoftwareVersions = "syngo MR XA30"
    item = Dataset()
    block = item.private_block(0x0021, "SIEMENS MR SDS 01", create=True)
    block.add_new(0x01, "IS", "88")
    block.add_new(0x05, "IS", ["0", "0", "-12"])
    block.add_new(0x09, "LO", "p2")
    block.add_new(0x19, "OB", _protocol_alone())
    block.add_new(0x22, "SH", SECRET)
    shared = image.SharedFunctionalGroupsSequence[0]
    block = shared.private_block(0x0021, "SIEMENS MR SDS 01", create=True)
    block.add_new(0xFE, "SQ", DicomSequence([item]))
    for number, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.add_new(0x00210011, "LO", "SIEMENS MR SDI 02")
        block = item.private_block(0x0021, "SIEMENS MR SDI 02")
        block.add_new(0x03, "DS", "100")
        block.add_new(0x04, "DS", f"{number * 0.025:g}")
        block.add_new(0x06, "LO", "X_1_1_1_1_1_160_1_1_1_1_1_277")
        block.add_new(0x1C, "IS", "1")
        block.add_new(0x42, "IS", "2800")
        block.add_new(0x4F, "LO", SECRET)
        block.add_new(0x53, "FD", 19.055)
        block.add_new(0x75, "CS", ["ORIGINAL", "PRIMARY", "M", "ND"])
        block.add_new(0x76, "LO", SECRET)
        block.add_new(0x8A, "IS", f"{number + 1}")
        frame.add_new(0x00210011, "LO", "SIEMENS MR SDI 02")
        block = frame.private_block(0x0021, "SIEMENS MR SDI 02")
        block.add_new(0xFE, "SQ", DicomSequence([item]))
    return [image]


def philips_enhanced(frames: int = SLICES) -> list[FileDataset]:
    """Philips: an enhanced image whose true scaling is in a private sequence of each frame."""
    image = _enhanced("Philips Medical Systems", frames)
    image.SoftwareVersions = "5.4.1"
    image.add_new(0x20010010, "LO", "Philips Imaging DD 001")
    image.add_new(0x20011018, "SL", frames)
    series = Dataset()
    series.StationName = SECRET
    series.ParallelReductionFactorInPlane = 2.0
    shared = image.SharedFunctionalGroupsSequence[0]
    shared.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
    shared.add_new(0x2005140E, "SQ", DicomSequence([series]))
    for number, frame in enumerate(image.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence = DicomSequence([_slope("118362", "0")])
        item = Dataset()
        item.StationName = SECRET
        item.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
        item.RescaleSlope = "1.28"
        item.RescaleIntercept = "0"
        item.add_new(0x20010010, "LO", "Philips Imaging DD 001")
        item.add_new(0x2001100A, "IS", f"{number + 1}")
        item.add_new(0x2001100B, "CS", "TRANSVERSAL")
        item.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
        item.add_new(0x2005100D, "FL", 0.0)
        item.add_new(0x2005100E, "FL", 0.0078125)
        item.add_new(0x20051070, "LO", SECRET)
        frame.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
        frame.add_new(0x2005140F, "SQ", DicomSequence([item]))
    return [image]


def ge_slices(slices: int = SLICES) -> list[FileDataset]:
    """GE: echo-planar slices, each with its repetition time and diffusion direction."""
    images = []
    for number in range(1, slices + 1):
        image = _mr(number, "GE MEDICAL SYSTEMS", ["ORIGINAL", "PRIMARY", "OTHER"], SIDE)
        image.SoftwareVersions = ["27", "LX", "MR Software release:DV26.0_R03"]
        image.ImagePositionPatient = [-8, -8, 2 * number]
        image.SliceLocation = f"{2 * number}"
        block = image.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x17, "SS", 2)
        block.add_new(0x1B, "DS", "8")
        block.add_new(0x5A, "FL", 120_000_000.0)
        block.add_new(0x9C, "LO", "epi2")
        block.add_new(0x9E, "LO", "EPI2")
        block.add_new(0xB3, "DS", "0")
        block.add_new(0xA4, "DS", "1")
        block.add_new(0xBB, "DS", "0.6")
        block.add_new(0xBC, "DS", "0")
        block.add_new(0xBD, "DS", "0.8")
        block.add_new(0xE0, "DS", "6")
        block = image.private_block(0x0021, "GEMS_RELA_01", create=True)
        block.add_new(0x4F, "SS", slices)
        block.add_new(0x36, "LO", SECRET)
        block = image.private_block(0x0025, "GEMS_SERS_01", create=True)
        block.add_new(0x1B, "OB", ge_protocol())
        block = image.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x2A, "OB", ge_user_data())
        block.add_new(0x2C, "SS", 620)
        block.add_new(0x2F, "SS", 0)
        block.add_new(0x39, "IS", ["1000001000", "8", "0", "0"])
        block.add_new(0x7C, "FL", 0.033)
        block.add_new(0x95, "LO", "RN/s7")
        images.append(image)
    return images


def ge_functional(volumes: int = 2, slices: int = SLICES) -> list[FileDataset]:
    """GE: a functional series whose slice order and phase direction are in binary blocks."""
    images = ge_slices(volumes * slices)
    for place, image in enumerate(images):
        image.ImagePositionPatient = [-8, -8, 2 * (place % slices + 1)]
        image.SliceLocation = f"{2 * (place % slices + 1)}"
        image.TemporalPositionIdentifier = place // slices + 1
        image.NumberOfTemporalPositions = volumes
        image[0x0021104F].value = slices
        image[0x0019109C].value, image[0x0019109E].value = "epiRT", "EPI"
        for tag in (0x001910BB, 0x001910BC, 0x001910BD, 0x001910E0, 0x00431039):
            del image[tag]
    return images


def ge_protocol(**more: str) -> bytes:
    """Return a compressed protocol: numbers, options, and the patient."""
    settings = {
        "PSEQ": "EPI",
        "EXAM": SECRET,
        "IOPT": f"EPI, FMRI, {SECRET}, EDR",
        "SLICEORDER": "1",
        "VIEWORDER": "1",
        "NOSLC": str(SLICES),
        "DELACQNOAV": "0.033",
        "MBACCEL": "1",
    }
    settings |= more
    text = "".join(f'{name} "{value}"\n' for name, value in settings.items())
    packed = gzip.compress(f"{SECRET}\n{text}".encode("latin-1"), mtime=0)
    return struct.pack("<I", len(packed)) + packed


def ge_user_data(version: float = 26.0, *, polarity: int = 4, order: int = 0) -> bytes:
    """Return a scanner memory block with a date and a name between the values that tools read."""
    block = bytearray(f"{SECRET}10/23/120".ljust(1200).encode())
    struct.pack_into("<H", block, 24, 100)
    struct.pack_into("<f", block, 100, version)
    shift, order_at = (0x4C, 0x308) if version > 25 else (0, 0x394)
    struct.pack_into("<H", block, 100 + shift + 0x30, 0x2020 & ~4 | polarity)
    struct.pack_into("<H", block, 100 + shift + 0x3A, 0x2820)
    struct.pack_into("<H", block, 100 + shift + order_at, order)
    return bytes(block)


def uih_grid(volumes: int = 2, tiles: int = 2) -> list[FileDataset]:
    """United Imaging: all slices of a volume in one image, their times in a private sequence."""
    images = []
    for number in range(1, volumes + 1):
        image = _mr(number, "UIH", ["ORIGINAL", "PRIMARY", "M", "GRID"], tiles * SIDE)
        image.SoftwareVersions = "R001"
        block = image.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x05, "SH", "A->P")
        block.add_new(0x09, "FD", 1000.0 if number > 1 else 0.0)
        block.add_new(0x0D, "SH", "F:2S")
        block.add_new(0x37, "FD", _direction(number) if number > 1 else [0.0, 0.0, 0.0])
        block.add_new(0x50, "DS", f"{SLICES}")
        items = []
        for slice_ in range(SLICES):
            item = Dataset()
            item.AcquisitionDate = image.AcquisitionDate
            item.AcquisitionTime = f"10{number:02}{slice_ * 2:02}.500000"
            item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            item.ImagePositionPatient = [-8, -8, 2 * slice_]
            item.OperatorsName = SECRET
            items.append(item)
        block.add_new(0x51, "SQ", DicomSequence(items))
        block.add_new(0x58, "IS", "1")
        images.append(image)
    return images


def canon_slices(slices: int = SLICES) -> list[FileDataset]:
    """Canon: a b-value in its attribute, and its direction in the comments."""
    images = []
    for number in range(1, slices + 1):
        image = _mr(number, "CANON_MEC", ["ORIGINAL", "PRIMARY", "M"], SIDE)
        image.SoftwareVersions = "V6.0SP2001*"
        image.ImagePositionPatient = [-8, -8, 2 * number]
        image.SliceLocation = f"{2 * number}"
        image.DiffusionBValue = 1500.0
        image.ImageComments = "b=1500(0.895,0.000,0.445)"
        images.append(image)
    return images


SERIES: Final[dict[str, Callable[[], list[FileDataset]]]] = {
    "siemens mosaic": mosaics,
    "siemens xa": siemens_xa,
    "philips enhanced": philips_enhanced,
    "ge epi": ge_slices,
    "ge functional": ge_functional,
    "uih grid": uih_grid,
    "canon dwi": canon_slices,
}


@dataclass(frozen=True)
class Planted:
    """A text in a private element: its tag and the text."""

    tag: int
    text: str


def private_elements(dataset: Dataset) -> Iterator[Any]:
    """Yield the private elements of all levels, except creators and sequences."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from private_elements(item)
        elif element.tag.is_private and not element.tag.is_private_creator:
            yield element


def _direction(number: int) -> list[float]:
    return [0.6, 0.0, 0.8] if number % 2 else [0.0, 1.0, 0.0]


def _mr(number: int, manufacturer: str, image_type: list[str], side: int) -> FileDataset:
    image = make_dataset(1, 1, 1, number, kind="MR", rows=side, columns=side, private=False)
    image.Manufacturer = manufacturer
    image.ImageType = image_type
    image.AcquisitionNumber = number if "MOSAIC" in image_type or "GRID" in image_type else 1
    image.AcquisitionMatrix = [SIDE, 0, 0, SIDE]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [-8, -8, 2]
    image.PixelSpacing = [1, 1]
    image.SliceThickness = "2"
    image.SpacingBetweenSlices = "2"
    image.ScanningSequence = "EP"
    image.SequenceVariant = "SK"
    image.InPlanePhaseEncodingDirection = "COL"
    image.RepetitionTime = "2033" if manufacturer.startswith("GE") else "400"
    return image


def _enhanced(manufacturer: str, frames: int) -> FileDataset:
    image = make_dataset(kind="ENHANCED", rows=SIDE, columns=SIDE, frames=frames, private=False)
    image.Manufacturer = manufacturer
    return image


def _slope(slope: str, intercept: str) -> Dataset:
    item = Dataset()
    item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, intercept, "US"
    return item


def _protocol_alone() -> bytes:
    text = "\n".join(
        (
            "<XProtocol> ",
            "{",
            "}",
            "### ASCCONV BEGIN ###",
            f'tProtocolName = ""{SECRET}""',
            f"sSliceArray.lSize = {SLICES}",
            "sKSpace.lPhaseEncodingLines = 16",
            "### ASCCONV END ###",
        )
    )
    return text.encode() + bytes(len(text) % 2)
