"""The look: text is found wherever it stands, and images without any pass."""

from __future__ import annotations

import logging
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from sendit.batch import Outcome, Reason
from sendit.deidentify.pixel_data import deliver
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.study import Source
from sendit.errors import SkipInstance
from sendit.pipeline.study import StudyResult, deidentify_study
from sendit.pixels.reader import Line, read
from sendit.pixels.text_detector import TextDetector, is_cross_section
from sendit.pixels.verdict import TextKind
from sendit.recipe.filters import compile_filters
from sendit.recipe.parse import read_text
from testing.builder import to_bytes
from tests.deidentify.engine import IDENTIFIERS, KEYS, PIXELS, UIDS
from tests.pixels.images import checked, dataset, tissue, written
from tests.pixels.test_boxes import region

NAME = "WINTERBOTTOM ADA"
PEOPLE = frozenset(("winterbottom", "ada"))


def look_at(detector: TextDetector, number: int, ds: FileDataset) -> str | None:
    header, pixels = checked(ds)
    samples = deliver(header, pixels.element).parts[1:]
    try:
        detector.image(number, header, pixels, samples, None)
    except SkipInstance as skipped:
        return skipped.reason
    return None


def section(number: int, pixels: np.ndarray[Any, Any], **elements: Any) -> FileDataset:
    elements.setdefault("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"])
    return dataset(pixels, instance=number, **elements)


def test_a_clean_series_passes_without_ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sendit.pixels.text_detector.read", lambda _: pytest.fail("was read"))
    detector = TextDetector(PEOPLE)
    for number in range(1, 13):
        assert look_at(detector, number, section(number, tissue(seed=number))) is None
    assert detector.close() == {}


@pytest.mark.parametrize("value", [200, 32767])
def test_text_in_a_whole_series_is_found(value: int) -> None:
    detector = TextDetector(PEOPLE)
    for number in range(1, 7):
        pixels = written(tissue(seed=number), NAME, value)
        early = look_at(detector, number, section(number, pixels))
        assert early is None or early.startswith(Reason.TEXT_IN_PIXELS)
    withheld = detector.close()
    assert set(withheld) >= {2, 3, 4, 5, 6}
    assert all(why == f"{Reason.TEXT_IN_PIXELS}: a value of the batch" for why in withheld.values())


def test_one_image_with_text_is_found() -> None:
    detector = TextDetector(PEOPLE)
    outcomes = []
    for number in range(1, 12):
        pixels = tissue(seed=number)
        if number == 10:
            pixels = written(pixels, NAME, 32767)
        outcomes.append(look_at(detector, number, section(number, pixels)))
    assert [number for number, why in enumerate(outcomes, 1) if why] == [10]
    assert detector.close() == {}


@pytest.mark.parametrize(
    ("height", "score", "kind", "found"),
    [
        (36, 0.56, "MR", False),  # sulci of a real image, read as a word
        (49, 0.6, "MR", True),
        (31, 0.56, "MR", True),
        (0, 0.56, "MR", True),
        (49, 0.56, "US", True),
    ],
)
def test_large_letters_that_ocr_is_not_sure_of_are_anatomy(
    monkeypatch: pytest.MonkeyPatch, height: float, score: float, kind: str, found: bool
) -> None:
    line = Line("ATMIE", score, (57, 35, 183, 84), height)
    monkeypatch.setattr("sendit.pixels.text_detector.read", lambda _: [line])
    localizer = ["ORIGINAL", "PRIMARY", "LOCALIZER"]  # is read without a look at its strokes
    image = dataset(tissue()[:256, :256], kind=kind, ImageType=localizer)
    assert (look_at(TextDetector(PEOPLE), 1, image) is not None) is found


def test_an_image_that_is_nowhere_in_the_patient_is_no_cross_section() -> None:
    assert is_cross_section(*checked(dataset(tissue())))
    assert not is_cross_section(*checked(dataset(tissue(), ImagePositionPatient=None)))


@pytest.mark.parametrize("turned", [0, 1])
def test_letters_are_measured_however_the_line_is_turned(turned: int) -> None:
    picture = cv2.putText(
        np.zeros((256, 256, 3), np.uint8), "MILLER", (20, 140), 0, 1.5, (255, 255, 255), 3
    )
    (line,) = read(np.ascontiguousarray(np.rot90(picture, turned)))
    assert 30 < line.height < 60


def test_localizers_are_read_with_both_windows() -> None:
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for value in (32767, 330):
        pixels = written(tissue(), NAME, value)
        why = look_at(TextDetector(PEOPLE), 1, section(1, pixels, ImageType=kind))
        assert why == f"{Reason.TEXT_IN_PIXELS}: a value of the batch", value
    assert look_at(TextDetector(PEOPLE), 1, section(1, tissue(), ImageType=kind)) is None


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_text_is_found(angle: int) -> None:
    pixels = written(tissue(), NAME, 900, at=(40, 40), size=20, angle=angle)
    why = look_at(TextDetector(PEOPLE), 1, section(1, pixels, ImageType=["DERIVED", "PRIMARY"]))
    assert why is not None and why.startswith(Reason.TEXT_IN_PIXELS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("L PORTABLE", None),
        ("BORN 07.03.1964", "a date"),
        ("12 MAR 2019", "a date"),
        ("ID 4478123", "a long number"),
        ("MERCY HOSPITAL", "an institution"),
        ("SMITHERS", "unknown words"),
    ],
)
def test_radiographs_with_known_words_pass(text: str, kind: str | None) -> None:
    pixels = written(tissue(), text, 900, at=(30, 30), size=22)
    ds = dataset(pixels, ImageType=["DERIVED", "PRIMARY"], SOPClassUID="1.2.840.10008.5.1.4.1.1.1")
    why = look_at(TextDetector(frozenset()), 1, ds)
    assert why == (None if kind is None else f"{Reason.TEXT_IN_PIXELS}: {kind}")


def test_cine_is_read_where_it_changes() -> None:
    frames = np.stack([tissue(seed=1)] * 6)
    frames[4] = written(frames[4], NAME, 900, size=20)
    ds = dataset(frames, frames=6, ImageType=["DERIVED", "PRIMARY"])
    assert look_at(TextDetector(PEOPLE), 1, ds) == f"{Reason.TEXT_IN_PIXELS}: a value of the batch"


def test_tiny_images_are_read_only_with_a_row_of_strokes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sendit.pixels.text_detector.read", lambda _: pytest.fail("was read"))
    detector = TextDetector(PEOPLE)
    tiny = tissue(16, 16)
    assert look_at(detector, 1, section(1, tiny)) is None
    assert look_at(detector, 2, section(2, tiny, ImageType=["DERIVED", "PRIMARY"])) is None
    assert detector.close() == {}


def test_a_frame_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    monkeypatch.setattr(
        "sendit.pixels.text_detector.read", lambda picture: pictures.append(picture) or []
    )
    detector = TextDetector(PEOPLE)
    for number in (1, 2):
        look_at(detector, number, section(number, written(tissue(), "L PORTABLE", 900)))
    first = len(pictures)
    assert first > 0
    assert detector.close() == {}
    assert len(pictures) == 2 * first  # of a short series the second image is read at its end


def test_the_first_frame_is_read_at_the_end_unless_it_was_read_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[np.ndarray[Any, Any]] = []
    monkeypatch.setattr(
        "sendit.pixels.text_detector.read", lambda picture: read.append(picture) or []
    )
    detector = TextDetector(PEOPLE)
    for number in range(1, 9):
        pixels = written(tissue(seed=number), NAME, 75, size=20)  # too faint in a single image
        if number == 6:
            pixels = written(pixels, "L PORTABLE", 32767, at=(20, 200))
        look_at(detector, number, section(number, pixels))
    assert len(read) == 2  # the sixth image, within its tissue and over its full range
    detector.close()
    assert len(read) == 2 + 2  # the first and the eighth


# Through the engine ---------------------------------------------------------------------

BLANKING = """
%filter graylist
LABEL regions of their own
  present SequenceOfUltrasoundRegions
  coordinates all
  keepcoordinates from:SequenceOfUltrasoundRegions
"""


def ultrasound(banner: str, typed: str = "", **elements: Any) -> FileDataset:
    grey = np.clip(tissue(), 0, 255).astype(np.uint8)
    grey = written(grey, banner, 255, at=(4, 2), size=16)
    grey = written(grey, typed, 255, at=(30, 222), size=18) if typed else grey
    elements.setdefault("SequenceOfUltrasoundRegions", [region(10, 40, 245, 250)])
    return dataset(np.repeat(grey[:, :, None], 3, axis=2), kind="US", **elements)


def run(
    tmp_path: Path, *datasets: FileDataset, filters: str = BLANKING
) -> tuple[StudyResult, dict[str, FileDataset]]:
    recipe = read_text(("test.deid", f"FORMAT dicom\n{filters}\n%header\n{RULES}\n"))
    sources = []
    for number, ds in enumerate(datasets, 1):
        path = tmp_path / str(number)
        path.write_bytes(to_bytes(ds))
        sources.append(Source(number, path, path.stat().st_size, path.stat().st_mtime_ns))
    result = deidentify_study(
        sources,
        plan=compile_plan(recipe),
        filters=compile_filters(recipe),
        identifiers=IDENTIFIERS,
        keys=KEYS,
        archive=tmp_path / "out.tar.gz",
        people=PEOPLE,
    )
    members = {}
    if result.archive is not None:
        with tarfile.open(result.archive.path) as tar:
            for member in tar:
                opened = tar.extractfile(member)
                assert opened is not None
                members[member.name] = pydicom.dcmread(BytesIO(opened.read()))
    return result, members


RULES = (
    UIDS
    + PIXELS
    + """KEEP Modality
KEEP ImageType
REPLACE PatientName Nobody
REPLACE PatientID var:entity_id
REMOVE AccessionNumber
REMOVE PatientBirthDate
"""
)


def test_pixels_outside_the_regions_are_blanked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one, two = ultrasound(NAME), ultrasound(NAME, "LIVER SAG", instance=2)
    three = ultrasound("", f"{NAME}", instance=3)
    four = ultrasound(NAME, instance=4, SequenceOfUltrasoundRegions=[region(0, 0, 600, 600)])
    result, members = run(tmp_path, one, two, three, four)
    assert result.outcomes[1] == result.outcomes[2] == (Outcome.DELIVERED, None)
    assert result.outcomes[3] == (
        Outcome.QUARANTINED,
        f"{Reason.TEXT_IN_PIXELS}: a value of the batch",
    )
    assert result.outcomes[4] == (
        Outcome.FILTERED,
        f"graylist: regions of their own: {Reason.NO_REGIONS}",
    )
    for original, name in ((one, result.members[1]), (two, result.members[2])):
        new = members[name]
        before, after = (np.frombuffer(ds.PixelData, np.uint8) for ds in (original, new))
        before, after = before.reshape(256, 256, 3), after.reshape(256, 256, 3)
        assert np.array_equal(before[40:251, 10:246], after[40:251, 10:246])
        after = after.copy()
        after[40:251, 10:246] = 0
        assert not after.any()
        assert new.BurnedInAnnotation == "NO" and new.SOPInstanceUID != original.SOPInstanceUID
        assert new.DeidentificationMethodCodeSequence[-1].CodeValue == "113101"
    assert "WINTERBOTTOM" not in caplog.text.upper()


def test_images_altered_outside_the_boxes_are_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendit.pixels.scrub._blank_native", lambda *_: None)
    monkeypatch.setattr(TextDetector, "image", lambda *_: None)
    plain = dataset(tissue(), instance=2)
    result, members = run(tmp_path, ultrasound(NAME), plain)
    assert result.outcomes[1] == (
        Outcome.QUARANTINED,
        f"{Reason.STOPPED}: an unblanked region in the pixel data",
    )
    assert len(members) == 1


def test_an_unknown_word_in_the_banner_of_a_region_is_no_annotation(tmp_path: Path) -> None:
    own = [region(0, 1, 245, 250)]
    below = ultrasound("", "KOWALCZYK", SequenceOfUltrasoundRegions=own)
    above = ultrasound("KOWALCZYK", instance=2, SequenceOfUltrasoundRegions=own)
    result, _ = run(tmp_path, below, above)
    assert result.outcomes[1] == (Outcome.DELIVERED, None)
    assert result.outcomes[2] == (
        Outcome.QUARANTINED,
        f"{Reason.TEXT_IN_PIXELS}: {TextKind.UNKNOWN}",
    )


def test_recognised_text_is_blanked_if_a_rule_allows_it(tmp_path: Path) -> None:
    pixels = np.clip(written(tissue(), NAME, 900, at=(30, 180), size=20), 0, 900)
    elements = {"Modality": "CR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}
    elements |= {"ImageType": ["DERIVED", "PRIMARY"], "SeriesInstanceUID": "1.2.3"}
    with_name = dataset(pixels, **elements)
    marker = dataset(written(tissue(seed=2), "L PORTABLE", 900, size=20), instance=2, **elements)
    rule = "%filter graylist\nLABEL hide\ncontains Modality CR\ncoordinates from:TextInPixels\n"
    result, members = run(tmp_path, with_name, marker, filters=rule)
    assert result.outcomes[1] == result.outcomes[2] == (Outcome.DELIVERED, None)
    new = members[result.members[1]].pixel_array
    assert not new[184:200, 34:200].any()
    outside = np.ones_like(new, bool)
    outside[160:220, 10:256] = False
    assert np.array_equal(new[outside], with_name.pixel_array[outside])
    assert members[result.members[1]].BurnedInAnnotation == "NO"
    assert np.array_equal(members[result.members[2]].pixel_array, marker.pixel_array)
