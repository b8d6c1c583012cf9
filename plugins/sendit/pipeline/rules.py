"""Rules wanted: which images need a rule that says what to blank, and drafts of such rules.

A draft is based on the text in several images of one key. It is a proposal: a person looks at the
pictures that come with it before adding it to the site's recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sendit.deidentify.people import People, words_in
from sendit.deidentify.pixel_data import Delivered, deliver
from sendit.dicom.scan import PIXEL_DATA_TAGS, Header, open_instance, read_file, read_header
from sendit.errors import FailBatch, Misconfigured, SkipInstance
from sendit.keys import Keys
from sendit.ledger import Ledger
from sendit.pipeline.discover import list_files, locate
from sendit.pixels.boxes import Box
from sendit.pixels.wanted import RuleKey, key_of
from sendit.settings import Settings

MIN_IMAGES: Final = 3
"""Minimum number of images for a draft, since names differ in length."""

MAX_IMAGES: Final = 8
_BANNER: Final = (0.15, 0.9)
"""Fractions of the rows above and below which text is in a banner, whose full width is blanked."""

_AS_IT_IS: Final = re.compile(r"[^A-Za-z0-9 _,:;/=-]")


@dataclass(frozen=True, slots=True)
class WantedRule:
    """A key, and how many files in which batches need a rule for it."""

    key: RuleKey
    files: int
    batches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule in deid's language, and pictures of each image before and after it: uint8 arrays of
    shape (rows, columns, 3), BGR."""

    text: str
    pictures: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=list)


def wanted_rules(ledger: Ledger) -> list[WantedRule]:
    """Return the rules wanted, those needed by most files first."""
    files: dict[str, int] = {}
    batches: dict[str, list[str]] = {}
    for batch in ledger.all_batches():
        for text, count in batch.wanted.items():
            files[text] = files.get(text, 0) + count
            batches.setdefault(text, []).append(batch.id)
    rules = [
        WantedRule(RuleKey.from_text(text), count, tuple(batches[text]))
        for text, count in files.items()
    ]
    return sorted(rules, key=lambda rule: (-rule.files, rule.key.id))


def wanted_rule(ledger: Ledger, name: str) -> WantedRule:
    """Return the rule wanted whose key's id begins with ``name``.

    Raises
    ------
    Misconfigured
        No key, or more than one, begins with it.
    """
    rules = [rule for rule in wanted_rules(ledger) if name and rule.key.id.startswith(name)]
    if len(rules) != 1:
        raise Misconfigured(
            f"{len(rules) or 'no'} keys begin with {name!r}; see them with: sendit rules wanted"
        )
    return rules[0]


def draft_rule(ledger: Ledger, settings: Settings, keys: Keys, wanted: WantedRule) -> Draft:
    """Read a key's images in the input folders, and draft a rule.

    Raises
    ------
    FailBatch
        Fewer images of the key than ``MIN_IMAGES`` can be read.
    """
    return draft(wanted.key, islice(_images(ledger, settings, keys, wanted), MAX_IMAGES))


def draft(key: RuleKey, images: Iterable[tuple[Header, People]]) -> Draft:
    """Draft a rule from images of one key, each with the names of people in its study.

    Raises
    ------
    FailBatch
        Fewer than ``MIN_IMAGES`` can be read.
    """
    # Loads codecs and OpenCV, which only drafting needs.
    from sendit.pixels.text_detector import first_picture, lines_to_hide  # noqa: PLC0415

    shown: list[npt.NDArray[Any]] = []
    hidden: list[Box] = []
    for header, people in images:
        with suppress(SkipInstance):  # it cannot be decoded
            delivered = _pixels(header)
            pixels, samples = delivered.pixels, delivered.parts[1:]
            shown.append(first_picture(header, pixels, samples))
            hidden += lines_to_hide(header, pixels, samples, frozenset(people.words))
    if len(shown) < MIN_IMAGES:
        raise FailBatch(
            f"{len(shown)} images of key {key.id} can be read in the input folders, "
            f"{MIN_IMAGES} are needed: put folders back, or wait until more have arrived"
        )
    rows, columns = shown[0].shape[:2]
    mask = np.zeros((rows, columns), np.bool_)
    for box in hidden:
        x0, y0, x1, y1 = _with_margin(box, rows, columns)
        mask[y0:y1, x0:x1] = True
    boxes = _merged(mask)
    made = Draft(_rule_text(key, boxes, len(shown)))
    for picture in shown:
        after = picture.copy()
        for x0, y0, x1, y1 in boxes:
            after[y0:y1, x0:x1] = 0
        made.pictures.append((picture, after))
    return made


def _images(
    ledger: Ledger, settings: Settings, keys: Keys, wanted: WantedRule
) -> Iterator[tuple[Header, People]]:
    """Yield images of a key: the first of each batch, then the second of each, and so on."""
    images: list[Iterator[tuple[Header, People]]] = []
    for batch_id in wanted.batches:
        with suppress(FailBatch):  # its folder is gone
            images.append(_images_in(locate(ledger, settings, keys, batch_id), wanted.key))
    return (image for image in chain.from_iterable(zip_longest(*images)) if image is not None)


def _images_in(folder: Path, key: RuleKey) -> Iterator[tuple[Header, People]]:
    people = People()
    for path, _, _ in list_files(folder):
        with suppress(SkipInstance, OSError):
            header = open_instance(folder / path)
            people.see(header)
            if key_of(header, words_in(header)) == key:
                data, _ = read_file(folder / path)
                yield read_header(data), people


def _pixels(header: Header) -> Delivered:
    element = next((each for each in header.elements if each[0] in PIXEL_DATA_TAGS), None)
    if element is None:
        raise FailBatch("objects of this key have no pixels; no rule lets them through")
    return deliver(header, element)


def _with_margin(box: Box, rows: int, columns: int) -> Box:
    """Return a line's box with a margin for longer lines and other letter sizes."""
    x0, y0, x1, y1 = box
    height = max(y1 - y0, 8)
    top, bottom = max(0, y0 - height // 2), min(rows, y1 + height // 2)
    if not _BANNER[0] * rows < (y0 + y1) / 2 < _BANNER[1] * rows:
        return 0, top, columns, bottom
    return max(0, x0 - 2 * height), top, min(columns, x1 + (x1 - x0) // 2 + 2 * height), bottom


def _merged(mask: npt.NDArray[np.bool_]) -> list[Box]:
    """Return the bounding boxes of a mask's connected components, as (x0, y0, x1, y1)."""
    import cv2  # noqa: PLC0415

    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [
        (int(left), int(top), int(left + width), int(top + height))
        for left, top, width, height, _ in stats[1:count]
    ]


def _rule_text(key: RuleKey, boxes: Sequence[Box], images: int) -> str:
    what = _AS_IT_IS.sub("", key.model or key.manufacturer or key.modality)
    columns, _, rows = key.size.partition(" x ")
    kind = "graylist" if boxes else "whitelist"
    tests = [
        _test("Modality", key.modality),
        _test("SOPClassUID", key.sop_class),
        _test("Manufacturer", key.manufacturer),
        _test("ManufacturerModelName", key.model),
        _test("SoftwareVersions", key.software),
        f"equals Rows {rows}",
        f"equals Columns {columns}",
        _test("PhotometricInterpretation", key.photometric),
        _test("ImageType", key.image_type, whole=False),
        _test("BurnedInAnnotation", key.burned_in),
    ]
    lines = [
        "FORMAT dicom",
        "",
        f"%filter {kind}",
        "",
        f"# Drafted from {images} images of key {key.id}: look at the pictures before you use it.",
        *(
            []
            if boxes
            else ["# No text to hide was found in them: this rule passes them unblanked."]
        ),
        f"LABEL {what} {key.size}, drafted from {key.id}",
        "  " + "\n  + ".join(tests),
        *(f"  coordinates {x0},{y0},{x1},{y1}" for x0, y0, x1, y1 in boxes),
    ]
    return "\n".join(lines) + "\n"


def _test(attribute: str, value: str, *, whole: bool = True) -> str:
    """Return a filter test for a key's value."""
    if not value:
        return f"missing {attribute}"
    pattern = _AS_IT_IS.sub(lambda sign: r"(\w+|.)" if sign[0] == "#" else ".", value)
    return f"contains {attribute} ^{pattern.replace(' ', ' +')}{'$' if whole else ''}"
