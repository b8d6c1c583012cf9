"""CSA headers keep the numbers needed to read images, and no free text."""

from __future__ import annotations

import gzip
import warnings
from functools import cache
from importlib import resources

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel marks its readers as experimental
    from nibabel.nicom import ascconv, csareader

from sendit.gate.vendor_values import numbers_and_text
from sendit.vendors import siemens_csa
from sendit.vendors.siemens_csa import (
    GEOMETRY,
    IMAGE_TAGS,
    CsaTag,
    NotUnderstood,
    clean_image_header,
    clean_protocol,
    clean_series_header,
    clean_series_protocol,
    protocol_keys,
    read_csa,
    write_csa,
)

NEEDED = {
    "SliceNormalVector",
    "NumberOfImagesInMosaic",
    "PhaseEncodingDirectionPositive",
    "MosaicRefAcqTimes",
    "B_value",
    "DiffusionGradientDirection",
    "B_matrix",
    "BandwidthPerPixelPhaseEncode",
    "ProtocolSliceNumber",
    "SliceMeasurementDuration",
    "RealDwellTime",
    "ImaRelTablePosition",
    "AcquisitionMatrixText",
}


@cache
def shipped(name: str) -> bytes:
    """A file of nibabel's tests: real Siemens headers."""
    data = (resources.files("nibabel.nicom") / "tests" / "data" / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


@cache
def real_image() -> bytes:
    return shipped("csa2_b1000.bin")


@cache
def real_series() -> bytes:
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(shipped("siemens_dwi_1000.dcm.gz")))
    return bytes(dataset[0x0029, 0x1020].value)


def values(header: bytes) -> dict[str, list[object]]:
    return {name: tag["items"] for name, tag in csareader.read(header)["tags"].items()}


def header(**tags: tuple[str, ...]) -> bytes:
    return write_csa([CsaTag(name, len(items), "LO", 19, items) for name, items in tags.items()])


def test_real_image_header_keeps_geometry_values():
    before, after = values(real_image()), values(clean_image_header(real_image()))
    assert set(after) >= NEEDED
    assert all(before[name] == items for name, items in after.items())


def test_cleaned_header_contains_only_values_and_structure():
    new = clean_image_header(real_image())
    assert b"0a4d" in real_image()  # scanner memory after the first name
    assert b"0a4d" not in new
    assert write_csa(read_csa(new)) == new


def test_nibabel_reads_a_cleaned_header_as_a_mosaic():
    tags = csareader.read(clean_image_header(real_image()))
    assert csareader.is_mosaic(tags)
    assert csareader.get_n_mosaic(tags) == 48
    assert csareader.get_slice_normal(tags) == pytest.approx([0, 0.00523632, 0.99998629])
    assert csareader.get_b_matrix(tags).shape == (3, 3)


@pytest.mark.parametrize("name", sorted(IMAGE_TAGS))
@pytest.mark.parametrize(
    "planted", ["Winterbottom", "MRN7734512", "1957-03-14", "19570314", "nan", "1e999", "Ä"]
)
def test_a_malformed_value_removes_its_tag(name, planted):
    assert cleaned(header(**{name: (planted,)})) == b""


def cleaned(value: bytes) -> bytes:
    """Return a header without malformed values; None if it has to be removed completely."""
    try:
        return clean_image_header(value)
    except NotUnderstood:
        return b""


@pytest.mark.parametrize("name", sorted(GEOMETRY))
def test_a_header_without_essential_tags_is_removed(name):
    with pytest.raises(NotUnderstood, match=name):
        clean_image_header(header(**{name: ("Winterbottom",), "Rows": ("64",)}))


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientName": ("1",)},
        {"Winterbottom": ("1",)},
        {"SliceNormalVector": ("0", "0", "1", "0")},
        {"B_value": ("1000", "7734512")},
        {"ImaCoilString": ("T:HEA",)},
    ],
)
def test_unlisted_or_oversized_tags_are_removed(tags):
    assert cleaned(header(**tags)) == b""


def test_duplicate_tags_are_removed():
    once = CsaTag("B_value", 1, "IS", 6, ("1000",))
    other = CsaTag("B_value", 1, "IS", 6, ("7734",))
    assert clean_image_header(write_csa([once])) != b""
    assert cleaned(write_csa([once, other])) == b""
    assert cleaned(write_csa([once, other, once])) == b""


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:7],
        lambda whole: b"SV20" + whole[4:],
        lambda whole: whole[:4] + bytes(4) + whole[8:],
        lambda whole: whole[:8] + bytes(4) + whole[12:],
        lambda whole: whole[:8] + (1001).to_bytes(4, "little") + whole[12:],
        lambda whole: whole[:12] + bytes(4) + whole[16:],
        lambda whole: whole[:16] + b"\0" + whole[17:],
        lambda whole: whole[:16] + b" " + whole[17:],
        lambda whole: whole[:16] + b"A" * 64 + whole[80:],
        lambda whole: whole[:84] + b"1" + whole[85:],  # VR
        lambda whole: whole[:92] + (1001).to_bytes(4, "little") + whole[96:],  # number of items
        lambda whole: whole[:92] + b"\xff" * 4 + whole[96:],
        lambda whole: whole[:96] + bytes(4) + whole[100:],  # 77
        lambda whole: whole[:104] + b"\xff" * 4 + whole[108:],  # an item's length
        lambda whole: whole[:104] + b"\xff\xff\xff\x7f" + whole[108:],
        lambda whole: whole[: len(whole) // 2],
    ],
)
def test_invalid_csa_headers_are_refused(damage):
    with pytest.raises(NotUnderstood):
        clean_image_header(damage(real_image()))
    with pytest.raises(NotUnderstood):
        clean_series_header(damage(real_series()))


@given(st.binary(max_size=300), st.integers(0, 11_000), st.integers(0, 300))
def test_corrupted_headers_are_refused_or_give_listed_numbers(noise, place, gone):
    damaged = real_image()[:place] + noise + real_image()[place + gone :]
    try:
        new = clean_image_header(damaged)
    except NotUnderstood:
        return
    for tag in read_csa(new) if new else ():
        most, fits = IMAGE_TAGS[tag.name]
        assert len(tag.values) <= most
        assert all(map(fits, tag.values))
    if new:
        assert csareader.read(new)["n_tags"] == len(values(new))


@given(
    noise=st.binary(max_size=24),
    place=st.integers(0, 12000),
    gone=st.integers(0, 24),
)
def test_result_does_not_depend_on_the_previous_header(noise, place, gone):
    """A header's tags are compared with those of the previous header."""
    other = real_image()[:place] + noise + real_image()[place + gone :]
    outcomes = []
    for before in ((), (real_image(),), (real_image(), other)):
        siemens_csa._before.clear()
        for header_before in before:
            outcome(header_before)
        outcomes.append(outcome(other))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def outcome(value):
    try:
        return clean_image_header(value)
    except NotUnderstood as failure:
        return str(failure)


@given(
    st.lists(
        st.builds(
            CsaTag,
            st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,62}", fullmatch=True),
            st.integers(0, 6),
            st.sampled_from(["IS", "FD", "LO"]),
            st.integers(0, 30),
            st.lists(st.sampled_from(["1", "0.25", "-7", "123456789"]), max_size=60).map(tuple),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_headers_round_trip(tags):
    again = list(read_csa(write_csa(tags)))
    assert [(tag.name, tag.values) for tag in again] == [(tag.name, tag.items) for tag in tags]


def test_real_series_header_keeps_protocol_numbers():
    new = clean_series_header(real_series())
    before = values(real_series())["MrPhoenixProtocol"][0]
    after = values(new)["MrPhoenixProtocol"][0]
    protocol, _ = ascconv.parse_ascconv(after, str_delim='""')
    assert protocol["sSliceArray"]["lSize"] == 48
    assert protocol["sKSpace"]["lPhaseEncodingLines"] == 128
    assert len(after.splitlines()) > 0.9 * before.count(" = ")
    for text in (b"CBU", b"2010011420", b"HeadMatrix", b"XProtocol", b"88"):
        assert text in real_series()
    for text in (b"CBU", b"2010011420", b"HeadMatrix", b"XProtocol", b"35119"):
        assert text not in new


def test_older_protocols_are_kept():
    old = shipped("csa2_zero_len.bin.gz")
    protocol = values(clean_series_header(old))["MrProtocol"][0]
    assert "sKSpace.lBaseResolution" in protocol
    assert "Sonata" not in protocol


PROTOCOL = "### ASCCONV BEGIN{} ###\n{}\n### ASCCONV END ###"


@pytest.mark.parametrize(
    "line",
    [
        'tProtocolName = ""Winterbottom""',
        'alTE[0] = ""1957""',
        "Winterbottom = 1",
        "alTE[7734512] = 1",
        "alTE[0] = 77345120000",
        "alTE[0] = 1 # Winterbottom",
        "alTE[0] = 0x1 Winterbottom",
        "alTE[0] = 1957-03-14",
        "alTE[0] = nan",
        "alTE[0]",
        "alTE[0] = \u0661",
        "alTE[0].Winterbottom = 1",
        r'tSequenceFileName = ""%CustomerSeq%\winterbottom_bold""',
        r'tSequenceFileName = ""%SiemensSeq%\ep2d_bold"" Winterbottom',
        r'tSequenceFileName = ""C:\Winterbottom\ep2d_bold""',
    ],
)
def test_lines_without_a_known_number_are_removed(line):
    assert clean_protocol(PROTOCOL.format("", line)) == ""


@pytest.mark.parametrize("value", ["1", "-1", "0.5", "1.5e-05", "0x1F", "123251815"])
def test_lines_with_a_known_number_are_kept(value):
    begin = " object=MrProtDataImpl@MrProtocolData version=41340006 converter=Winterbottom"
    cleaned = clean_protocol(PROTOCOL.format(begin, f"alTE[0]\t = \t{value}"))
    assert ascconv.parse_ascconv(cleaned)[0]["alTE"] == [
        ascconv.parse_ascconv(PROTOCOL.format("", f"a = {value}"))[0]["a"]
    ]
    assert "Winterbottom" not in cleaned


def test_known_pulse_sequence_names_are_kept():
    line = r'tSequenceFileName = ""%SiemensSeq%\gre_field_mapping""'
    cleaned = clean_protocol(PROTOCOL.format("", line))
    read = ascconv.parse_ascconv(cleaned, str_delim='""')[0]
    assert read["tSequenceFileName"] == r"%SiemensSeq%\gre_field_mapping"
    assert numbers_and_text(0x00211019, "OB", cleaned.encode()) == ([], "")
    other = cleaned.replace("gre_field_mapping", "winterbottom").encode()
    assert numbers_and_text(0x00211019, "OB", other) == ([], r'""%SiemensSeq%\winterbottom""')


@pytest.mark.parametrize(
    "sequence",
    [
        r"%SiemensSeq%\tgse_pasl",
        r"%CustomerSeq%\ep2d_pcasl_ve11c",
        r"%CustomerSeq%\to_ep2d_VEPCASL",
        r"%CustomerSeq%\jw_tgse_VEPCASL",
    ],
)
def test_sequences_of_spin_labelling_are_kept(sequence: str) -> None:
    """Without the name, dcm2niix cannot read the labelling's parameters."""
    cleaned = clean_protocol(PROTOCOL.format("", f'tSequenceFileName = ""{sequence}""'))
    read = ascconv.parse_ascconv(cleaned, str_delim='""')[0]
    assert read["tSequenceFileName"] == sequence


@pytest.mark.parametrize("text", ["", "alTE[0] = 1", "### ASCCONV BEGIN ###\nalTE[0] = 1"])
def test_protocols_without_begin_or_end_are_invalid(text):
    assert clean_protocol(text) == ""


def test_xa_protocols_begin_with_a_line_feed() -> None:
    protocol = PROTOCOL.format("", "alTE[0]\t = \t30000")
    cleaned = clean_series_protocol(protocol.encode())
    assert cleaned == f"\n{clean_protocol(protocol)}".encode()
    assert numbers_and_text(0x00211019, "OB", cleaned) == (["30000"], "")
    assert clean_series_protocol(b"<XProtocol>") == b""


def test_series_header_without_protocol_is_empty():
    assert clean_series_header(header(UsedPatientWeight=("88",))) == b""


def test_protocol_keys_are_setting_names():
    assert len(protocol_keys()) > 300
    assert not [key for key in protocol_keys() if "patient" in key.lower() or "UID" in key]
