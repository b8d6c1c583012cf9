"""Recall and false positives of the gate.

    .venv/bin/python -m benchmarks.recall [--misses]

One image of a synthetic patient is de-identified with a recipe of few rules; each spelling of one
of the patient's values is then put into each place, and the gate is run. The second table is of
public files, each a study of its own: none of them contains its patient's values anywhere except
where the default recipe changes them, or should. ``--misses`` lists the spellings that were not
found. ``make recall`` runs this.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from sendit.archive import Archive
from sendit.batch import Outcome
from sendit.coded_study import CodedStudy
from sendit.deidentify.plan import Plan, compile_plan
from sendit.deidentify.study import Source
from sendit.dicom.scan import read_header
from sendit.errors import FailBatch
from sendit.gate.check import Stopped, gate
from sendit.gate.real_values import RealValues
from sendit.keys import Keys
from sendit.pipeline.study import deidentify_study
from sendit.recipe.parse import read_recipe, read_text
from testing.builder import make_dataset, to_bytes
from testing.real_files import real_files

KEYS: Final = Keys(b"recall" * 6)
IDENTIFIERS: Final = CodedStudy("P1", "A1", -17, "19570225", "20190606")
RULES: Final = """FORMAT dicom
%header
REPLACE PatientName var:entity_id
REPLACE PatientID var:entity_id
REPLACE AccessionNumber var:item_id
REPLACE contains:InstanceUID func:remap_uid
REMOVE PatientBirthDate
JITTER StudyDate var:jitter
KEEP select:GROUP:0x0019
"""
PATIENT: Final = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Müllerson^Jörgen=王^小东=김^민수",
    "PatientID": "MRN7734512",
    "AccessionNumber": "20190623017",
    "PatientBirthDate": "19570314",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.7734512.1",
}
SPELLINGS: Final = {
    "name": (
        *("Müllerson^Jörgen", "Jörgen Müllerson", "MÜLLERSON, JÖRGEN", "Müllerson", "müllerson"),
        *("Muellerson", "Mullerson", "MUELLERSON", "J. Mullerson", "Jorgen", "Joergen"),
        *("MullersonJorgen", "jmullerson", "Mullerson_J", "CT Mullerson thorax", "MULLERSO"),
        *("Mullerson01", "Mullerson's", "王小东", "王 小东", "王^小东 胸部CT", "김민수", "김 민수"),
    ),
    "identifier": (
        *("MRN7734512", "mrn7734512", "MRN 7734512", "MRN-7734512", "MRN-773-4512", "7734512"),
        *("MRN7734512.0", "0007734512", "(7734512)", "ID7734512", "MRN_7734512", "773-4512"),
        *("20190623017", "2019-0623-017", "00020190623017", "20190623017.0", "Acc#20190623017"),
    ),
    "date": (
        *("19570314", "1957-03-14", "1957/03/14", "1957.03.14", "14.03.1957", "14/03/1957"),
        *("03/14/1957", "14-03-1957", "14031957", "03141957", "14MAR1957", "14-Mar-1957"),
        *("14 March 1957", "March 14, 1957", "14. März 1957", "195703141012", "14.03.57"),
        *("3/14/57", "1957-03-14T10:12", "1957年3月14日"),
    ),
    "UID": ("1.2.826.0.1.3680043.8.498.7734512.1",),
}


HARMLESS: Final = "AXIAL 5MM, 12.7734512 on 20190624"


def _private(element: int, vr: str) -> Callable[[FileDataset, str], None]:
    def put(dataset: FileDataset, text: str) -> None:
        raw = text.encode()
        if vr != "OB":
            raw += b" " * (len(raw) % 2)
        else:
            raw = b"\1\0\0\0" + raw + b"\0\xff\xfe\0"
            raw += b"\0" * (len(raw) % 2)
        dataset.add_new(0x00190010, "LO", "A MAKER")
        dataset.add_new(0x00190000 | element, vr, text if vr == "LO" else raw)

    return put


def _nested(dataset: FileDataset, text: str) -> None:
    item = Dataset()
    item.CodeMeaning = text
    dataset.ProcedureCodeSequence = [item]


def _comment(dataset: FileDataset, text: str) -> None:
    raw = text.encode()
    frame = b"\xff\xd8\xff\xfe" + (len(raw) + 2).to_bytes(2, "big") + raw
    frame += b"\xff\xda" + bytes(range(1, 250)) * 20 + b"\xff\xd9"
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])


def _text(keyword: str) -> Callable[[FileDataset, str], None]:
    return lambda dataset, text: setattr(dataset, keyword, text)


PLACES: Final[dict[str, Callable[[FileDataset, str], None]]] = {
    "LO": _text("Manufacturer"),
    "SH": _text("ConvolutionKernel"),
    "LT": _text("ImageComments"),
    "UT": _text("TextValue"),
    "nested LO": _nested,
    "private LO": _private(0x1010, "LO"),
    "private UN": _private(0x1011, "UN"),
    "private OB": _private(0x1012, "OB"),
    "JPEG comment": _comment,
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--misses", action="store_true", help="name what was not found")
    misses = _recall()
    if parser.parse_args().misses:
        for place, spelling in misses:
            print(f"not found in {place}: {spelling}")
    print()
    _false_alarms()


def _recall() -> list[tuple[str, str]]:
    plan = compile_plan(read_text(("recall.deid", RULES)))
    dataset = make_dataset(transfer_syntax=JPEGBaseline8Bit, rows=8, columns=8)
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    original = to_bytes(dataset)
    real = RealValues(plan)
    real.see(read_header(original))
    misses = []
    with tempfile.TemporaryDirectory(prefix="sendit-recall-") as folder:
        clean = _finished(original, plan, Path(folder))
        print("| place | " + " | ".join(SPELLINGS) + " | of all |")
        print("|---" * (len(SPELLINGS) + 2) + "|")
        for place, put in PLACES.items():
            if _is_found(_with(clean, put, HARMLESS), real, plan, Path(folder)):
                raise SystemExit(f"{place}: the image is stopped with nothing real in it")
            cells, found_in_all = [], 0
            for spellings in SPELLINGS.values():
                lost = [
                    spelling
                    for spelling in spellings
                    if not _is_found(_with(clean, put, spelling), real, plan, Path(folder))
                ]
                misses += [(place, spelling) for spelling in lost]
                found_in_all += len(spellings) - len(lost)
                cells.append(f"{len(spellings) - len(lost)} of {len(spellings)}")
            total = sum(map(len, SPELLINGS.values()))
            print(f"| {place} | " + " | ".join(cells) + f" | {found_in_all} of {total} |")
    return misses


def _finished(original: bytes, plan: Plan, folder: Path) -> bytes:
    """Return the image as de-identified by the engine and the recipe."""
    result = _deidentified(original, plan, folder)

    with tarfile.open(folder / "out.tar.gz") as tar:
        member = tar.extractfile(next(iter(result)))
        if member is None:
            raise SystemExit("nothing was delivered")
        return member.read()


def _deidentified(original: bytes, plan: Plan, folder: Path) -> Sequence[str]:
    source = folder / "in"
    source.write_bytes(original)
    stat = source.stat()
    result = deidentify_study(
        [Source(1, source, stat.st_size, stat.st_mtime_ns)],
        plan=plan,
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=folder / "out.tar.gz",
    )
    return list(result.members.values())


def _with(clean: bytes, put: Callable[[FileDataset, str], None], text: str) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(clean))
    put(dataset, text)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=False)
    return out.getvalue()


def _is_found(member: bytes, real: RealValues, plan: Plan, folder: Path) -> bool:
    with Archive(folder / "judged.tar.gz") as writer:
        writer.add("a.dcm", member)
        try:
            gate(writer.finish(), real, plan, IDENTIFIERS.jitter, thorough=True)
        except Stopped:
            return True
    return False


def _false_alarms() -> None:
    """Report how many public files the gate stops, each as a study of its own."""
    plan = compile_plan(read_recipe("default"))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="sendit-recall-") as folder:
        for path in real_files():
            try:
                delivered = _deidentified(path.read_bytes(), plan, Path(folder))
            except FailBatch as stopped:
                counts["stopped"] += 1
                print(f"stopped: {path.name}: {str(stopped)[55:200]}")
            else:
                counts[Outcome.DELIVERED if delivered else Outcome.QUARANTINED] += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
