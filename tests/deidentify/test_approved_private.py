"""What becomes of every private attribute of the list of safe ones, with values of every form."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from sendit.deidentify.losses import counted, lost, warnings_of
from sendit.deidentify.plan import compile_plan
from sendit.deidentify.private_form import ITEMS, clean, is_geometry, listed, with_dependents
from sendit.deidentify.rewrite import Rewriter
from sendit.dicom.binary import NUMBER_FORMATS
from sendit.dicom.header_diff import DiffHeader
from sendit.dicom.scan import read_header
from sendit.errors import SkipInstance
from sendit.recipe.parse import read_recipe
from sendit.recipe.profile import SafePrivate, safe_private
from testing import vendor_objects
from testing.approval import Approved
from testing.builder import end_with_pixels, to_bytes
from tests.deidentify.corpus import changes, context, short

TEXTS = (
    b"",
    b" \0",
    b"1",
    b"1.5",
    b"-3.25 \\ 7",
    b"0.5\\0.5\\0.70710678",
    b"1\\2\\3\\4\\5\\6",
    b"19570314",
    b"7734512",
    b"1e11",
    b"nan",
    b"1.234567890123456789",
    b"Winterbottom",
    b"Winterbottom 1.5",
    b"IMAGE NUM 4",
    b"DIRECTIONAL",
    b"ISOTROPIC",
    b"NONE",
    b"MR",
    b"20100114",
    b"p2",
    b"64p*64",
    b"ROW",
    b"YES",
    b"Y",
    b"M\xfcller",
)
NUMBERS: tuple[tuple[float, ...], ...] = (
    (0,),
    (1,),
    (7,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4, 5, 6),
    (30000,),
)


def _values(safe: SafePrivate) -> Iterator[tuple[str, bytes]]:
    form = NUMBER_FORMATS.get(safe.vr)
    if form is None:
        yield from ((repr(text)[1:], text) for text in TEXTS)
        return
    for numbers in NUMBERS:
        yield repr(numbers), struct.pack(f"<{len(numbers)}{form}", *numbers)
    if form in "fd":
        for number in (1e8, 1e12, 1e-35, float("nan"), float("inf")):
            yield repr(number), struct.pack(f"<{form}", number)
    for text in (b"Winterbottomm", b"19570314", b"77345127", b"ab", b"abcd"):
        yield repr(text), text


def test_each_value(approved: Approved) -> None:
    """Attributes of the same VR, number of values and form are judged alike."""
    alike: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    one: dict[tuple[str, str, str], SafePrivate] = {}
    for safe in safe_private():
        kind = safe.vr, safe.vm, safe.form
        alike[kind].append(f"({safe.group:04X},{safe.creator!r},{safe.element:02X})")
        one.setdefault(kind, safe)

    def lines() -> Iterator[str]:
        for kind, names in sorted(alike.items()):
            yield ""
            yield f"# {' '.join(kind)}: {', '.join(names)}"
            safe = one[kind]
            if safe.form == ITEMS:
                continue
            results: dict[str, list[str]] = defaultdict(list)
            for name, value in _values(safe):
                for vr in (safe.vr, "UN", "LO", "OB"):
                    left = clean(safe, vr, value)
                    outcome = "gone" if left is None else "kept" if left == value else repr(left)
                    results[outcome].append(name if vr == safe.vr else f"{name} as {vr}")
                if safe.vr in NUMBER_FORMATS:
                    big = clean(safe, safe.vr, value, little=False)
                    if (big is None) is not (clean(safe, safe.vr, value) is None):
                        results["differs as big endian"].append(name)
            yield from (f"  {outcome} <- {', '.join(of)}" for outcome, of in results.items())

    approved(lines())


def test_the_list(approved: Approved) -> None:
    approved(
        f"({safe.group:04X},{safe.creator!r},{safe.element:02X}) {safe.vr} {safe.vm} {safe.form} "
        f"{safe.origin} {safe.need or '-'}{' geometry' if is_geometry(safe) else ''}"
        f"{'' if listed(safe.group << 16 | 0x1000 | safe.element, safe.creator) is safe else ' ?'}"
        for safe in safe_private()
    )


def test_dependent_attributes(approved: Approved) -> None:
    def lines() -> Iterator[str]:
        for safe in safe_private():
            refused = {(safe.group, safe.creator, safe.element)}
            more = with_dependents(refused) - refused
            if more:
                yield f"{sorted(refused)} takes {sorted(more)}"

    approved(lines())


MAKERS: dict[str, Callable[[], list[FileDataset]]] = {
    "siemens mosaic": vendor_objects.mosaics,
    "siemens mosaic without CSA": lambda: vendor_objects.mosaics(csa=False),
    "siemens xa": vendor_objects.siemens_xa,
    "philips enhanced": vendor_objects.philips_enhanced,
    "ge slices": vendor_objects.ge_slices,
    "ge functional": vendor_objects.ge_functional,
    "uih grid": vendor_objects.uih_grid,
    "canon": vendor_objects.canon_slices,
}


def _private_of(images: list[FileDataset], recipe: str) -> Iterator[str]:
    plan = compile_plan(read_recipe(recipe))
    rewriter = Rewriter(plan, context(plan))
    for number, image in enumerate(images[:3], 1):
        end_with_pixels(image)
        data = to_bytes(image)
        header = rewriter.match_template(data) or read_header(data)
        before = read_header(data)
        try:
            output = rewriter.rewrite(header)
        except SkipInstance as skipped:
            yield f"image {number}: quarantined: {skipped.reason}"
            continue
        meta = bytes(data[: before.elements[0][2]])
        rewriter.add_template(header, output)
        written = meta + b"".join(output.before)
        after = read_header(written)
        yield f"image {number}{' like one before' if isinstance(header, DiffHeader) else ''}"
        yield from (
            short(line) if len(line) > 400 else line
            for line in changes(before, after)
            if any(int(part[:8], 16) & 0x10000 for part in line.split(" ")[0].split("."))
        )
        needs = counted(lost(before, written))
        yield from (f"lost: {need} {count}" for need, count in needs.items())
        yield from (f"warning: {warning}" for warning in warnings_of(needs))
    yield from (f"{kind}: {count}" for kind, count in sorted(rewriter.counts.items()) if count)


@pytest.mark.parametrize("maker", MAKERS)
def test_makers(maker: str, approved: Approved) -> None:
    approved(_private_of(MAKERS[maker](), "default"))


@pytest.mark.parametrize("maker", MAKERS)
def test_makers_with_no_private_attribute(maker: str, approved: Approved) -> None:
    approved(_private_of(MAKERS[maker](), "default-no-private"))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_name_in_each_private_attribute(maker: str, approved: Approved) -> None:
    """One attribute after the other holds a name: it goes, and what depends on it."""

    def lines() -> Iterator[str]:
        first = MAKERS[maker]()[0]
        end_with_pixels(first)
        data = to_bytes(first)
        tags = [element.tag for element in vendor_objects.private_elements(first)]
        plan = compile_plan(read_recipe("default"))
        for number, tag in enumerate(tags):
            if tag in tags[:number]:
                continue  # of another frame
            image = dcmread(BytesIO(data))
            element = list(vendor_objects.private_elements(image))[number]
            if element.VR == "SQ":
                continue
            value = b"Winterbottom"
            if element.VR in ("OB", "UN", "OW"):
                element.value = value
            elif element.VR in NUMBER_FORMATS:
                size = struct.calcsize(f"={NUMBER_FORMATS[element.VR]}")
                code = NUMBER_FORMATS[element.VR]
                count = 8 // size
                element.value = list(struct.unpack(f"<{count}{code}", b"19570314"))
            elif element.VR in ("DS", "IS"):
                element.value = "19570314"
            else:
                element.value = "Winterbottom"
            before = read_header(to_bytes(image))
            rewriter = Rewriter(plan, context(plan))
            try:
                output = rewriter.rewrite(before)
            except SkipInstance as skipped:
                yield f"{tag} {element.VR}: quarantined: {skipped.reason}"
                continue
            after = read_header(
                bytes(before.data[: before.elements[0][2]]) + b"".join(output.before)
            )
            gone = [
                line.split(" ")[0]
                for line in changes(before, after)
                if line.endswith("-> gone")
                and int(line.split(" ")[0].rpartition(".")[2], 16) & 0x10000
            ]
            named = b"Winterbottom" in b"".join(output.before) or b"19570314" in b"".join(
                output.before
            )
            yield f"{tag} {element.VR}: {'STAYS; ' if named else ''}gone: {' '.join(gone)}"

    approved(lines())
