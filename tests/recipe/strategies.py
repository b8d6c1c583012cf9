"""Random recipes: mostly valid ones, and ones with a mistake anywhere."""

from __future__ import annotations

from hypothesis import strategies as st

from sendit.recipe.functions import FUNCTIONS, VARIABLES

KEYWORDS = (
    "PatientID",
    "PatientName",
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "StudyTime",
    "AcquisitionDateTime",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyDescription",
    "Rows",
    "PixelSpacing",
    "RequestAttributesSequence",
    "PixelData",
    "OverlayData",
)
WORDS = st.sampled_from(
    (
        "Patient",
        "Date",
        "Time",
        "Physician",
        "UID",
        "ID",
        "0010,",
        r"\(0010",
        "Study",
        "D(ate)?$",
        "(",
    )
)
attributes = st.one_of(
    st.sampled_from(KEYWORDS),
    st.sampled_from(("(0010,0020)", "(0010, 0010)", "00080020", "(0009,1001)", "Patinet")),
)
patterns = st.one_of(
    st.builds(
        "{}:{}".format,
        st.sampled_from(("contains", "startswith", "endswith", "except", "contians")),
        WORDS,
    ),
    st.builds("select:VR:{}".format, st.sampled_from(("DA", "PN", "UI", "SQ", "ZZ"))),
    st.builds("select:group:{}".format, st.sampled_from(("0010", "8", "09", "x"))),
    st.sampled_from(("ALL", "allfields", "fields:f", "values:v", "fields:g")),
    st.builds(
        '({:04x},"{}",{:02x})'.format, st.integers(8, 40), st.just("ACME #1"), st.integers(0, 255)
    ),
)
fields = st.one_of(attributes, patterns)
values = st.one_of(
    st.sampled_from(("YES", "O", "20200101", "1.2.3", "5", "-400", "two words", "", "Var:jitter")),
    st.sampled_from([f"var:{name}" for name in (*VARIABLES, "nothing")]),
    st.sampled_from([f"{spec.prefix}:{spec.name}" for spec in FUNCTIONS.values()]),
    st.sampled_from(("deid_func:jitter days=3", "deid_func:pydicom_uuid prefix=1.2.", "func:x")),
)
comments = st.sampled_from(("", "", " # why", "#", "   "))
header_lines = st.one_of(
    st.builds(
        "{} {}{}".format, st.sampled_from(("REMOVE", "BLANK", "KEEP", "remove")), fields, comments
    ),
    st.builds("{} {} {}{}".format, st.sampled_from(("ADD", "REPLACE")), fields, values, comments),
    st.builds("JITTER {} {}{}".format, fields, values, comments),
)
tests = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(("contains", "notcontains", "equals", "notequals")),
        attributes,
        st.sampled_from(("CT", "No", "A|B", "^x$", "1", "(")),
    ),
    st.builds("{} {}".format, st.sampled_from(("missing", "present", "empty")), attributes),
)
filter_lines = st.builds(
    "{} {}".format,
    st.sampled_from(("", "+", "||")),
    st.builds(
        lambda first, more: first + "".join(f" {sign} {test}" for sign, test in more),
        tests,
        st.lists(st.tuples(st.sampled_from(("+", "||")), tests), max_size=2),
    ),
)
rules = st.builds(
    lambda label, lines, regions: "\n".join((f"LABEL {label}", *lines, *regions)),
    st.sampled_from(("one", "two # CTP", "")),
    st.lists(filter_lines, max_size=3),
    st.lists(
        st.sampled_from(("coordinates 0,0,5,5", "ctpcoordinates 1,1,1,1", "coordinates all")),
        max_size=1,
    ),
)
filters = st.builds(
    lambda name, rules: "\n".join((f"%filter {name}", *rules)),
    st.sampled_from(("whitelist", "graylist", "blacklist", "other")),
    st.lists(rules, min_size=1, max_size=3),
)
lists = st.sampled_from(
    (
        "%fields f\nFIELD contains:Physician\nFIELD StudyDate",
        '%values v\nFIELD PatientID\nSPLIT PatientName by="^";minlength=3',
        "%labels\nADD site ours",
    )
)
recipes = st.builds(
    lambda lines, parts: "\n".join(("FORMAT dicom", *parts, "%header", *lines, "")),
    st.lists(header_lines, max_size=8),
    st.lists(st.one_of(filters, lists), max_size=3),
)
# Lines that are valid on their own, so that most recipes made of them are accepted
GOOD_LINES = (
    "REMOVE PatientName",
    "REMOVE contains:Physician|Operator",
    "REMOVE startswith:Patient",
    "REMOVE endswith:Time",
    "REMOVE except:Patient|Study|UID|Rows",
    "REMOVE select:VR:PN",
    "REMOVE select:group:0010 # the patient",
    'REMOVE (0009,"ACME #1",1e)',
    "REMOVE values:v",
    "REMOVE fields:f",
    "REMOVE OverlayData",
    "REMOVE RequestAttributesSequence",
    "BLANK PatientBirthDate",
    "BLANK contains:Comments",
    "BLANK fields:f",
    "KEEP PatientSex",
    "KEEP startswith:PatientS",
    "KEEP select:VR:CS",
    'KEEP (0019,"ACME",0A)',
    "KEEP (0019,100a)",
    "ADD PatientID var:entity_id",
    "ADD PatientIdentityRemoved YES",
    "ADD LongitudinalTemporalInformationModified func:dates_modified",
    "REPLACE AccessionNumber var:item_id",
    "REPLACE PatientAge func:cap_age",
    "REPLACE select:VR:UI func:remap_uid",
    "REPLACE SeriesInstanceUID deid_func:dicom_uuid org_root=1.2.3",
    "REPLACE StudyDescription func:clean_text",
    "REPLACE InstitutionName func:profile_xzd",
    "REPLACE contains:Device func:dummy",
    "REPLACE values:v func:dummy",
    "JITTER StudyDate var:jitter",
    "JITTER select:VR:DT var:jitter",
    "JITTER endswith:Date -31",
)
LISTS = (
    "%fields f",
    "FIELD contains:Institution",
    "FIELD OtherPatientIDs",
    "%values v",
    "FIELD PatientID",
    'SPLIT PatientName by="^";minlength=3',
)


def _good(lines: list[str], parts: list[str]) -> str:
    body = "\n".join(lines)
    lists = [*LISTS[:3]] * ("fields:f" in body) + [*LISTS[3:]] * ("values:v" in body)
    return "\n".join(("FORMAT dicom", *parts, "%header", *lines, *lists, ""))


good_tests = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(("contains", "notcontains", "equals", "notequals")),
        st.sampled_from(("Modality", "ImageType", "(0028,0301)", "Rows")),
        st.sampled_from(("CT", "No", "A|B", "^x$", "1")),
    ),
    st.builds("{} Modality".format, st.sampled_from(("missing", "present", "empty"))),
)
good_filters = st.builds(
    lambda name, lines: f"%filter {name}\nLABEL a rule\n" + "\n".join(lines),
    st.sampled_from(("whitelist", "graylist", "blacklist", "other")),
    st.lists(
        st.builds(
            "{} {} {} {}".format,
            st.sampled_from(("", "+", "||")),
            good_tests,
            st.sampled_from(("+", "||")),
            good_tests,
        ),
        min_size=1,
        max_size=3,
    ),
)
good_recipes = st.builds(
    _good,
    st.lists(st.sampled_from(GOOD_LINES), min_size=1, max_size=4, unique=True),
    st.lists(good_filters, max_size=2),
)
