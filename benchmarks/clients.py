"""What researchers' tools make of images before and after sendit, field by field.

    make bench-clients

Series that the test packages ship, and series built as vendors write them, are converted as they
were and as the default recipe delivers them: dcm2niix (voxels, affine, gradients, the fields of the
sidecar), and, where they are installed, dicom2nifti and SimpleITK. What differs is told.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel
import numpy as np

from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.errors import SenditError
from sendit.keys import Keys
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import read_recipe
from testing.builder import to_bytes
from testing.real_files import real_files
from testing.vendor_objects import SERIES

KEYS = Keys(b"a key for the clients' benchmark")
IDENTIFIERS = CodedStudy("IR1-0001", "IR1A0001", -17, "19480720", "20160304")

SUBJECTS_OWN = frozenset(
    (
        *("AccessionNumber", "AcquisitionDateTime", "AcquisitionTime", "BodyPartExamined"),
        *(
            "CoilString",
            "ConversionSoftware",
            "ConversionSoftwareVersion",
            "DeidentificationMethod",
        ),
        *("DeidentificationMethodCodeSequence", "DeviceSerialNumber", "ImageComments"),
        *(
            "InstitutionAddress",
            "InstitutionName",
            "InstitutionalDepartmentName",
            "PatientBirthDate",
        ),
        *("PatientID", "PatientName", "PatientPosition", "ProcedureStepDescription"),
        *("ProtocolName", "ReferringPhysicianName", "SeriesDescription", "SeriesInstanceUID"),
        *("StationName", "StudyID", "StudyInstanceUID"),
    )
)
"""Fields of a sidecar that say who, where and when: a recipe changes them on purpose."""

Result = dict[str, Any]


def delivered(files: Iterable[bytes], plan: Plan, folder: Path) -> list[bytes]:
    """De-identify a series; return what is delivered of it (nothing, if none of it can be)."""
    sources = []
    folder.mkdir(parents=True)
    for number, data in enumerate(files, 1):
        path = folder / f"{number:05}"
        path.write_bytes(data)
        sources.append(Source(number, path, len(data), path.stat().st_mtime_ns))
    result = deidentify_study(
        sources, plan=plan, identifiers=IDENTIFIERS, keys=KEYS, archive=folder / "out.tar.gz"
    )
    if result.archive is None:
        return []
    with tarfile.open(result.archive.path) as tar:
        return [member.read() for each in tar if (member := tar.extractfile(each)) is not None]


def by_dcm2niix(folder: Path) -> Result:
    """Convert a folder; return each output's voxels, affine, gradients and sidecar."""
    out = folder.with_name(f"{folder.name}-nii")
    out.mkdir()
    command = [dcm2niix.bin, "-b", "y", "-ba", "n", "-z", "n", "-f", "%s_%e", "-o", out, folder]
    subprocess.run(command, capture_output=True, check=False, timeout=600)
    found: Result = {}
    for path in sorted(out.glob("*.nii")):
        image = nibabel.load(path)
        name = path.stem
        found[f"{name} affine"] = np.round(np.asarray(image.affine), 4).tolist()
        found[f"{name} voxels"] = np.asarray(image.dataobj)
        for kind in ("bval", "bvec"):
            table = path.with_suffix(f".{kind}")
            if table.is_file():
                found[f"{name} {kind}"] = np.atleast_1d(np.loadtxt(table)).round(4).tolist()
        sidecar = json.loads(path.with_suffix(".json").read_text("utf-8", "replace"))
        for field, value in sidecar.items():
            if field not in SUBJECTS_OWN:
                found[f"{name} {field}"] = value
    return found


def by_dicom2nifti(folder: Path) -> Result:
    """Convert a folder; return the outputs' voxels and affines."""
    convert = import_module("dicom2nifti").convert_directory
    out = folder.with_name(f"{folder.name}-d2n")
    out.mkdir()
    convert(str(folder), str(out), compression=False, reorient=True)
    images = [nibabel.load(path) for path in sorted(out.rglob("*.nii"))]
    found: Result = {}
    for number, image in enumerate(images):
        found[f"{number} affine"] = np.round(np.asarray(image.affine), 4).tolist()
        found[f"{number} voxels"] = np.asarray(image.dataobj)
    return found


def by_simpleitk(folder: Path) -> Result:
    """Read each file; return voxels and geometry."""
    sitk = import_module("SimpleITK")
    found: Result = {}
    for path in sorted(folder.iterdir()):
        image = sitk.ReadImage(str(path))
        found[f"{path.name} voxels"] = sitk.GetArrayFromImage(image)
        geometry = (image.GetOrigin(), image.GetSpacing(), image.GetDirection())
        found[f"{path.name} geometry"] = [list(map(float, values)) for values in geometry]
    return found


TOOLS: dict[str, Callable[[Path], Result]] = {
    "dcm2niix": by_dcm2niix,
    "dicom2nifti": by_dicom2nifti,
    "SimpleITK": by_simpleitk,
}


def differences(before: Result, after: Result) -> list[str]:
    """Return which fields are missing, different, or there for the first time."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            told.append(f"missing: {name}")
        elif name not in before:
            told.append(f"new: {name}")
        elif not np.array_equal(np.asarray(before[name]), np.asarray(after[name])):
            told.append(f"different: {name}")
    return told


def convert(files: Iterable[bytes], folder: Path, tool: str = "dcm2niix") -> Result:
    """Write files to a folder that is not there yet, and run a tool on it."""
    folder.mkdir(parents=True)
    for number, data in enumerate(files, 1):
        (folder / f"{number:05}.dcm").write_bytes(data)
    return TOOLS[tool](folder)


def _series() -> Iterable[tuple[str, list[bytes]]]:
    for name, make in SERIES.items():
        yield f"made: {name}", [to_bytes(image) for image in make()]
    for path in real_files():
        yield path.name, [path.read_bytes()]


def _compared(files: list[bytes], plan: Plan, tool: str) -> list[str] | None:
    """Return what differs; None if the tool makes nothing of the original either."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            before = convert(files, folder / "before", tool)
        except Exception:  # noqa: BLE001 a tool raises what it likes about odd files
            return None
        if not before:
            return None
        try:
            new = delivered(files, plan, folder / "study")
        except SenditError:
            return None  # withheld: nobody gets a wrong image
        if not new:
            return None
        try:
            return differences(before, convert(new, folder / "after", tool))
        except Exception as failure:  # noqa: BLE001 see above
            return [f"fails: {type(failure).__name__}"]


def main() -> int:
    """Print a table for each tool that is installed."""
    warnings.simplefilter("ignore")
    plan = compile_plan(read_recipe(sys.argv[1] if len(sys.argv) > 1 else "default"))
    for tool in TOOLS:
        try:
            import_module(tool)
        except ImportError:
            print(f"{tool}: not installed")
            continue
        same = 0
        told: list[tuple[str, list[str]]] = []
        for name, files in _series():
            found = _compared(files, plan, tool)
            if found:
                told.append((name, found))
            elif found is not None:
                same += 1
        print(f"{tool}: {same} the same, {len(told)} not")
        for name, found in told:
            print(f"  {name}: {'; '.join(found[:12])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
