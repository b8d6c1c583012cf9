"""What researchers' tools make of images before and after sendit, field by field.

    make bench-clients
    make bench-clients ARGS="default-no-private --files FOLDER --tools dcm2niix,highdicom"

Series that the test packages ship, and series and objects built as vendors write them, are
converted as they were and as a recipe delivers them: dcm2niix (voxels, affine, gradients, the
fields of the sidecar), dicom2nifti, SimpleITK, highdicom (samples and their meaning, segments,
content of reports) and nibabel (CSA headers, mosaics). One line for each series and tool is told as
it is done, and what differs is counted by field at the end. A tool runs in a process of its own,
which is ended if it takes longer than :data:`TIME_LIMIT`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel
import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from sendit.batch import Outcome
from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.errors import SenditError
from sendit.keys import Keys
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.recipe.parse import read_recipe
from testing.builder import to_bytes
from testing.derived_objects import DERIVED_IMAGES, OBJECTS
from testing.real_files import nibabel_files, real_files
from testing.vendor_objects import SERIES

KEYS = Keys(b"a key for the clients' benchmark")
IDENTIFIERS = CodedStudy("IR1-0001", "IR1A0001", -17, "19480720", "20160304")

SUBJECTS_OWN = frozenset(
    (
        *("AccessionNumber", "AcquisitionDateTime", "AcquisitionTime", "CoilString"),
        *("ConversionSoftware", "ConversionSoftwareVersion", "DeidentificationMethod"),
        *("DeidentificationMethodCodeSequence", "DeviceSerialNumber", "ImageComments"),
        *("InstitutionAddress", "InstitutionName", "InstitutionalDepartmentName"),
        *("PatientBirthDate", "PerformedProcedureStepDescription"),
        *("PatientID", "PatientName", "ProcedureStepDescription"),
        *("ProtocolName", "ReferringPhysicianName", "SeriesDescription", "SeriesInstanceUID"),
        *("StationName", "StudyDescription", "StudyID", "StudyInstanceUID"),
    )
)
"""Fields of a sidecar that say who, where and when: a recipe changes them on purpose."""

Result = dict[str, Any]

OF_REPORTS = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (22, 33, 34))
"""Classes of reports that highdicom reads: enhanced, comprehensive, comprehensive 3D."""

MAX_SERIES = 99_999
"""Numbers of series above which dcm2niix has made one up, of the UID."""

TIME_LIMIT = 300
"""Seconds after which a tool is taken for one that hangs."""


def delivered(files: Iterable[bytes], plan: Plan, folder: Path) -> list[bytes]:
    """De-identify a series; return the delivered files (none, if none can be delivered)."""
    result = _deidentified(files, plan, folder)
    if result.archive is None:
        return []
    with tarfile.open(result.archive.path) as tar:
        return [member.read() for each in tar if (member := tar.extractfile(each)) is not None]


def _deidentified(files: Iterable[bytes], plan: Plan, folder: Path) -> StudyResult:
    sources = []
    folder.mkdir(parents=True)
    for number, data in enumerate(files, 1):
        path = folder / f"{number:05}"
        path.write_bytes(data)
        sources.append(Source(number, path, len(data), path.stat().st_mtime_ns))
    return deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=folder / "out.tar.gz"
    )


def by_dcm2niix(folder: Path) -> Result:
    """Convert a folder; return each output's voxels, affine, gradients and sidecar."""
    out = folder.with_name(f"{folder.name}-nii")
    out.mkdir()
    command = [dcm2niix.bin, "-b", "y", "-ba", "n", "-z", "n", "-f", "%s_%e", "-o", out, folder]
    subprocess.run(command, capture_output=True, check=False, timeout=TIME_LIMIT)
    outputs = sorted(out.glob("*.nii"))
    result: Result = {"outputs": len(outputs)} if outputs else {}
    for name, path in enumerate(outputs):  # series without a number are named by UID
        image = nibabel.load(path)
        result[f"{name} affine"] = np.round(np.asarray(image.affine), 4).tolist()
        result[f"{name} voxels"] = np.asarray(image.dataobj)
        for kind in ("bval", "bvec"):
            table = path.with_suffix(f".{kind}")
            if table.is_file():
                result[f"{name} {kind}"] = np.atleast_1d(np.loadtxt(table)).round(4).tolist()
        described = path.with_suffix(".json")
        if not described.is_file():  # an image that it derives: of equidistant slices, untilted
            continue
        sidecar = json.loads(described.read_text("utf-8", "replace"))
        if sidecar.get("SeriesNumber", 0) > MAX_SERIES:
            del sidecar["SeriesNumber"]
        for field, value in sidecar.items():
            if field not in SUBJECTS_OWN:
                result[f"{name} {field}"] = value
    return result


def by_dicom2nifti(folder: Path) -> Result:
    """Convert a folder; return the outputs' voxels and affines."""
    convert = import_module("dicom2nifti").convert_directory
    out = folder.with_name(f"{folder.name}-d2n")
    out.mkdir()
    convert(str(folder), str(out), compression=False, reorient=True)
    images = [nibabel.load(path) for path in sorted(out.rglob("*.nii"))]
    result: Result = {}
    for number, image in enumerate(images):
        result[f"{number} affine"] = np.round(np.asarray(image.affine), 4).tolist()
        result[f"{number} voxels"] = np.asarray(image.dataobj)
    return result


def by_simpleitk(folder: Path) -> Result:
    """Read each file; return voxels and geometry."""
    sitk = import_module("SimpleITK")
    result: Result = {}
    for path in sorted(folder.iterdir()):
        image = sitk.ReadImage(str(path))
        result[f"{path.stem} voxels"] = sitk.GetArrayFromImage(image)
        geometry = (image.GetOrigin(), image.GetSpacing(), image.GetDirection())
        result[f"{path.stem} geometry"] = [list(map(float, values)) for values in geometry]
    return result


def by_nibabel(folder: Path) -> Result:
    """Read each file's voxels, affine and, of Siemens, the CSA header's geometry."""
    wrapped = import_module("nibabel.nicom.dicomwrappers").wrapper_from_file
    result: Result = {}
    for path in sorted(folder.iterdir()):
        image = wrapped(str(path), force=True)
        result[f"{path.stem} voxels"] = np.asarray(image.get_data())
        result[f"{path.stem} affine"] = np.round(image.affine, 4).tolist()
        for name in ("b_value", "b_vector", "slice_normal", "series_signature"):
            value = getattr(image, name, None)
            if value is not None and name != "series_signature":
                result[f"{path.stem} {name}"] = np.round(value, 6).tolist()
    return result


def by_highdicom(folder: Path) -> Result:
    """Read each object by its class; return samples, their meaning, and report content."""
    hd = import_module("highdicom")
    result: Result = {}
    for path in sorted(folder.iterdir()):
        dataset = dcmread(path)
        name = path.stem
        match dataset.get("Modality"):
            case "SR" | "KO":
                report: Any = dataset  # a class unknown to highdicom
                if dataset.Modality == "KO":
                    report = hd.ko.KeyObjectSelectionDocument.from_dataset(dataset)
                elif str(dataset.SOPClassUID) in OF_REPORTS:
                    report = hd.sr.srread(path)
                for place, item in enumerate(_items_of(report)):
                    for field, value in _values_of(item):
                        result[f"{name} {place} {field}"] = value
            case "SEG":
                segments = hd.seg.segread(path)
                result[f"{name} voxels"] = segments.pixel_array
                result[f"{name} segments"] = [
                    (
                        segments.get_segment_description(number).segmented_property_type.value,
                        segments.get_segment_description(number).algorithm_type.value,
                    )
                    for number in segments.segment_numbers
                ]
                result[f"{name} sources"] = len(segments.get_source_image_uids())
                spacing = segments.get_volume_geometry()
                result[f"{name} affine"] = None if spacing is None else spacing.affine.tolist()
            case "RTSTRUCT":
                regions = dataset.StructureSetROISequence
                result[f"{name} regions"] = len({region.ROIName for region in regions} - {""})
                result[f"{name} contours"] = [
                    list(map(float, contour.ContourData))
                    for region in dataset.ROIContourSequence
                    for contour in region.get("ContourSequence", ())
                ]
            case _ if "FloatPixelData" in dataset:
                result[f"{name} voxels"] = dataset.pixel_array
                geometry = hd.pm.ParametricMap.from_dataset(dataset).get_volume_geometry()
                result[f"{name} affine"] = None if geometry is None else geometry.affine.tolist()
            case _ if "PixelData" in dataset:
                image = hd.imread(path)
                result[f"{name} voxels"] = image.get_frames(apply_real_world_transform=None)
                geometry = image.get_volume_geometry()
                result[f"{name} affine"] = None if geometry is None else geometry.affine.tolist()
            case _:
                pass
    return result


def _items_of(content: Any) -> Iterator[Any]:
    for item in content.get("ContentSequence", ()):
        yield item
        yield from _items_of(item)


def _values_of(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield a content item's codes and numbers; texts, dates and names are changed."""
    concept = item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None
    yield "item", (item.ValueType, None if concept is None else concept.get("CodeValue"))
    if "ConceptCodeSequence" in item:
        yield "code", item.ConceptCodeSequence[0].get("CodeValue")
    for measured in item.get("MeasuredValueSequence", ()):
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        yield "number", (float(measured.NumericValue), unit)
    if "GraphicData" in item:
        yield "coordinates", [float(value) for value in item.GraphicData]


TOOLS: dict[str, Callable[[Path], Result]] = {
    "dcm2niix": by_dcm2niix,
    "dicom2nifti": by_dicom2nifti,
    "SimpleITK": by_simpleitk,
    "nibabel": by_nibabel,
    "highdicom": by_highdicom,
}


def differences(before: Result, after: Result) -> list[str]:
    """Return which fields are missing, different or new."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            told.append(f"missing: {name}")
        elif name not in before:
            told.append(f"new: {name}")
        elif not _equal(before[name], after[name]):
            told.append(f"different: {name}")
    return told


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, np.ndarray) and before.dtype.kind in "fc":
        return np.array_equal(before, np.asarray(after), equal_nan=True)
    if isinstance(before, np.ndarray) or isinstance(after, np.ndarray):
        return np.array_equal(np.asarray(before), np.asarray(after))
    return bool(before == after)


def convert(files: Iterable[bytes], folder: Path, tool: str = "dcm2niix") -> Result:
    """Write files to a new folder, and run a tool on it."""
    return TOOLS[tool](_written(files, folder))


def _written(files: Iterable[bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, data in enumerate(files, 1):
        (folder / f"{number:05}.dcm").write_bytes(data)
    return folder


# Measurement ---------------------------------------------------------------------------


def _series(folders: Sequence[str]) -> Iterator[tuple[str, list[bytes]]]:
    if not folders:
        for name, make in SERIES.items():
            yield f"made: {name}", [to_bytes(image) for image in make()]
        for name, one in (OBJECTS | DERIVED_IMAGES).items():
            yield f"made: {name}", [to_bytes(one())]
        yield from _by_series(nibabel_files())
        yield from _by_series((path.name, path.read_bytes()) for path in real_files())
    for folder in folders:
        yield from _by_series(
            (
                str(path.relative_to(folder)),
                gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes(),
            )
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        )


def _by_series(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield files by series, named like the first; a repeated instance number (packages ship the
    same image in several transfer syntaxes) starts another series, because tools sort by it.
    """
    series_members: dict[tuple[str, int], list[tuple[tuple[float, float], str, bytes]]] = (
        defaultdict(list)
    )
    seen: Counter[tuple[str, tuple[float, float]]] = Counter()
    for name, data in files:
        try:
            header = dcmread(BytesIO(data), stop_before_pixels=True, force=True)
            series = str(header.get("SeriesInstanceUID") or name)
            order = (
                _number(header.get("AcquisitionNumber")),
                _number(header.get("InstanceNumber")),
            )
        except (InvalidDicomError, ValueError, TypeError, AttributeError, NotImplementedError):
            continue
        series_members[series, seen[series, order]].append((order, name, data))
        seen[series, order] += 1
    for members in series_members.values():
        members.sort(key=lambda member: member[0])
        yield members[0][1], [data for _, _, data in members]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


class Workers:
    """Runs tools in a subprocess, and in a new one after a hang or crash."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._pool = self._context.Pool(1, _silence)

    def run(self, tool: str, folder: Path) -> Result | str:
        """Return a tool's result for a folder, or why there is none."""
        try:
            return self._pool.apply_async(_run, (tool, folder)).get(TIME_LIMIT)
        except multiprocessing.TimeoutError:
            self.close()
            self._pool = self._context.Pool(1, _silence)
            return "ends without an answer, or hangs"

    def close(self) -> None:
        """End the process."""
        self._pool.terminate()
        self._pool.join()


def _silence() -> None:
    """Discard what tools print: they report each file that they cannot read."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def _run(tool: str, folder: Path) -> Result | str:
    warnings.simplefilter("ignore")
    try:
        return TOOLS[tool](folder)
    except Exception as failure:  # noqa: BLE001 a tool raises what it likes about odd files
        return f"fails: {type(failure).__name__}"


def _pairs(
    files: Sequence[bytes], plan: Plan, folder: Path
) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """Return the delivered files, before and after, and why others are not delivered."""
    try:
        result = _deidentified(files, plan, folder)
    except SenditError as failure:
        return [], [str(failure)]
    whys = sorted(
        {str(reason) for kind, reason in result.outcomes.values() if kind is not Outcome.DELIVERED}
    )
    if result.archive is None:
        return [], whys
    with tarfile.open(result.archive.path) as tar:
        new = {each.name: reader.read() for each in tar if (reader := tar.extractfile(each))}
    return [(files[number - 1], new[name]) for number, name in result.members.items()], whys


def _compared(workers: Workers, tool: str, before: Path, after: Path) -> tuple[str, list[str]]:
    first = workers.run(tool, before)
    if isinstance(first, str) or not first:
        return "nothing before", [first] if isinstance(first, str) else []
    then = workers.run(tool, after)
    if isinstance(then, str):
        return "differs", [then]
    differs = differences(first, then)
    return ("differs" if differs else "same"), differs


def _field(told: str) -> str:
    """Return a difference without the names of outputs and files."""
    kind, _, name = told.partition(": ")
    return f"{kind}: {name.split()[-1]}" if name else told


def main() -> int:
    """Print a line for each series and tool, and the differences by field."""
    parser = argparse.ArgumentParser(prog="benchmarks.clients", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", nargs="?", default="default", help="a bundled recipe, or a path")
    parser.add_argument(
        "--files", action="append", default=[], help="a folder, not what is shipped"
    )
    parser.add_argument("--tools", default=",".join(TOOLS), help="those to run")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    plan = compile_plan(read_recipe(arguments.recipe))
    tools = arguments.tools.split(",")
    workers = Workers()
    told: dict[str, Counter[str]] = {tool: Counter() for tool in tools}
    fields: dict[str, Counter[str]] = {tool: Counter() for tool in tools}
    for name, files in _series(arguments.files):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            pairs, whys = _pairs(files, plan, folder / "study")
            if whys:
                number = f"{len(files) - len(pairs)} of {len(files)}"
                print(f"{name}\twithheld\t{number}\t{'; '.join(whys)}", flush=True)
            if not pairs:
                for tool in tools:
                    told[tool]["withheld"] += 1
                continue
            before = _written((old for old, _ in pairs), folder / "before")
            after = _written((new for _, new in pairs), folder / "after")
            for tool in tools:
                kind, differs = _compared(workers, tool, before, after)
                told[tool][kind] += 1
                if kind == "differs":
                    fields[tool].update(set(map(_field, differs)))
                print(f"{name}\t{tool}\t{kind}\t{'; '.join(differs[:12])}", flush=True)
    workers.close()
    for tool in tools:
        print(f"{tool}: {', '.join(f'{kind} {count}' for kind, count in told[tool].most_common())}")
        for field, count in fields[tool].most_common():
            print(f"    {count:4} {field}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
