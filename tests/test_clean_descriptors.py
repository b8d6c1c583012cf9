"""Descriptors keep only words of the allow-list."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendit.clean_descriptors import REACH, Sort, clean, fold, is_allowed, vocabulary

COMMON_NAMES = """
    smith johnson williams jones garcia miller davis rodriguez martinez hernandez lopez
    gonzalez wilson anderson thomas taylor moore jackson martin lee perez thompson harris
    sanchez clark ramirez lewis robinson walker allen wright scott torres nguyen flores adams
    nelson baker rivera campbell mitchell carter roberts gomez phillips evans turner diaz
    parker cruz edwards collins reyes stewart morris morales murphy cook rogers gutierrez
    ortiz morgan cooper peterson bailey reed kelly howard ramos kim cox ward richardson watson
    brooks chavez james bennett gray mendoza ruiz hughes price alvarez castillo sanders patel
    myers ross foster jimenez mary patricia jennifer linda elizabeth barbara susan jessica
    sarah karen john robert michael william david richard joseph charles christopher daniel
    doe jane müller schmidt schneider fischer weber meyer wagner becker schulz hoffmann
"""


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("CT CHEST W CONTRAST", "CT CHEST W CONTRAST"),
        ("CT CHEST DOE^JANE", "CT CHEST"),
        ("Thorax Dr. Smith 12.05.2020", "Thorax"),
        ("AX T1 POST-CONTRAST 3mm", "AX T1 POST-CONTRAST 3mm"),
        ("HEAD/NECK W/O 1.25mm", "HEAD/NECK W/O 1.25mm"),
        ("L5-S1 spine", "L5-S1 spine"),
        ("MRN 12345678", ""),
        ("to_ep2d_PCASL", "to_ep2d_PCASL"),
        ("func-bold_task-fa", "func-bold_task-fa"),
        ("call 650-555-1234 chest", "chest"),
        ("05/12/1950 abdomen", "abdomen"),
        ("Knie links Müller", "Knie links"),
        ("CT Schädel, Übersicht", "CT Schädel, Übersicht"),
        (
            "TDM thoraco-abdomino-pelvien avec injection",
            "TDM thoraco-abdomino-pelvien avec injection",
        ),
        ("RM columna lumbar sin contraste", "RM columna lumbar sin contraste"),
        ("CT Thorax/Abdomen/Becken mit KM", "CT Thorax/Abdomen/Becken mit KM"),
        ("TC encefalo senza mdc", "TC encefalo senza mdc"),
        ("TC tórax s/ contraste", "TC tórax s/ contraste"),
        ("DT buk utan kontrast", "DT buk utan kontrast"),
        (
            "CT of the Chest, Abdomen & Pelvis with IV and oral contrast",
            "CT of the Chest, Abdomen & Pelvis with IV and oral contrast",
        ),
        # doubts and symbols
        ("CT BRAIN R/O STROKE", "CT BRAIN R/O STROKE"),
        ("CT CHEST PE?", "CT CHEST PE?"),
        ("CT CHEST ?PE", "CT CHEST ?PE"),
        ("CT Thorax KM-", "CT Thorax KM-"),
        ("iv contrast (-)", "iv contrast (-)"),
        ("(-) contrast", "(-) contrast"),
        ("contrast: 0", "contrast: 0"),
        ("V.a. Fraktur", "V.a. Fraktur"),
        ("contrast n/a", "contrast n/a"),
        ("CONTRAST NOT ADMINISTERED", "CONTRAST NOT ADMINISTERED"),
        ("sin evidencia de fractura", "sin evidencia de fractura"),
        ("T1+C", "T1+C"),
        ("contrast wasn't given", "contrast wasn't given"),
        # findings next to unknown words are removed, anatomy is kept
        ("CT CHEST Smith W CONTRAST", "CT CHEST"),
        ("CT chest bezz iv and oral contrast", "CT chest and"),
        ("CT chest. No recent Smith abdomen", "CT chest"),
        ("No recent Smith abdomen, CT chest", "CT chest"),
        ("CT chest without contrast Smith", "CT chest"),
        ("CT of the chest and of the abdomen Smith", "CT of the chest and of the abdomen"),
        ("T2 FLAIR\\Jane Doe", "T2 FLAIR"),
        ("b1000 4D PHASE 50%", "b1000 4D PHASE 50%"),
        # the side, by a letter that may be an initial
        ("CT L SPINE W CONTRAST", "CT L SPINE W CONTRAST"),
        ("KNEE R Smith", "KNEE"),
        # protocols' terms with numbers
        ("ep2d_diff_mddw_20_p2", "ep2d_diff_mddw_20_p2"),
        ("t2_tse_sag_384 run-1", "t2_tse_sag_384 run-1"),
        ("SagHF dir80 36sl epfid2d1", "SagHF dir80 36sl epfid2d1"),
        ("3DpCASL Sag3D 3Dd D3", "3DpCASL Sag3D"),
        ("3-Plane Smith", "3-Plane"),
        ("DeLong HeadNeck chest", "chest"),
        ("chest CT12345 HEAD1957", "chest"),
        ("chest 1A2 B1C2", "chest"),
        # short numbers between known words
        ("RIGHT KNEE 3 VIEWS", "RIGHT KNEE 3 VIEWS"),
        ("LUNG 1.25 B70f", "LUNG 1.25 B70f"),
        ("AXIAL 0.625 and 2.5 and 5.0", "AXIAL 0.625 and 2.5 and 5.0"),
        ("DELAYED 10 MIN", "DELAYED 10 MIN"),
        ("chest 1234", "chest"),
        ("chest 000", "chest"),
        ("chest 12 34", "chest"),
        ("chest 12 Smith", "chest"),
        ("Smith 12 chest", "chest"),
        ("Smith, 12", ""),
        ("12", ""),
        # days and months
        ("chest 14.03", "chest"),
        ("chest 31.12", "chest"),
        ("chest 32.12 and 31.13", "chest 32.12 and 31.13"),
        ("chest 10.5", "chest"),
        ("chest 5.3", "chest"),
        ("chest 5/12 12-3", "chest"),
        ("chest 14 may", "chest may"),
        ("mai 14 chest", "mai chest"),
        ("chest 14mai57 14MRT57 may57", "chest"),
        ("chest 14-mai mai-57 des-14", "chest"),
        ("chest 14. 3. 57", "chest"),
        ("chest 14, 3, 57", "chest"),
        ("chest, 3 views", "chest, 3 views"),
        ("", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("SagHF sag", "sag"),
        ("dir80 36sl", "36sl"),
        ("chest 345 ct", "chest ct"),
        ("run-345 dir345 chest", "chest"),
        ("head dir-1 chest", "head chest"),
        ("nodule 12 mm chest 12", "nodule 12 mm chest"),
    ],
)
def test_names_and_numbers_of_the_study_are_removed_from_terms(text: str, cleaned: str) -> None:
    assert clean(text, {"hf", "dir", "12", "345"}) == cleaned


def test_common_names_are_not_allowed() -> None:
    assert [name for name in COMMON_NAMES.split() if is_allowed(name)] == []


@given(st.text(max_size=80))
def test_cleaned_text_contains_only_allowed_words(text: str) -> None:
    for word in re.split(r"[\s_^=,;()\[\]{}<>\"|&*\\]+", clean(text)):
        core = word.strip(".:!?¿¡+-/±'’`´–")
        assert is_allowed(core) or all(
            len(piece) <= 1 or is_allowed(piece) or re.fullmatch(r"\d{1,3}", piece, re.ASCII)
            for piece in re.split(r"[/+\-.:–'’`´]", core)
        )


@pytest.mark.parametrize("sign", ["/?", "?/", "?'", "¿´", "?/'?"])
def test_a_question_mark_next_to_symbols_means_doubt(sign: str) -> None:
    assert clean(f"chest ct {sign}").startswith("chest ct")
    assert {"?", "¿"} & set(clean(f"chest ct {sign}"))


@given(st.text(max_size=80))
def test_cleaning_is_idempotent(text: str) -> None:
    once = clean(text)
    for word in clean(once).split():
        assert word in once


@given(st.lists(st.sampled_from([*"?¿!.:/+-'´_^0", "no", "ct", "smith", " "]), max_size=12))
def test_symbols_in_any_order(signs: list[str]) -> None:
    assert "smith" not in clean("".join(signs))


@given(st.from_regex(r"[0-9]{5,12}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}", fullmatch=True))
def test_identifying_numbers_are_removed(number: str) -> None:
    assert clean(f"chest {number} ct") == "chest ct"


def test_allow_list_contains_case_folded_words() -> None:
    assert len(vocabulary()) > 2000
    assert all(word == fold(word) and word.isascii() for word in vocabulary())


WORDS = {
    sort: sorted(w for w, s in vocabulary().items() if s is sort and w.isalpha()) for sort in Sort
}
CLAIMS = st.sampled_from([word for word in WORDS[Sort.CLAIM] if len(word) > 2])
DENIALS = st.sampled_from(WORDS[Sort.DENIAL] + WORDS[Sort.REFUSAL])
PLAIN = st.lists(st.sampled_from([word for word in WORDS[Sort.PLAIN] if len(word) > 2]), max_size=3)
UNKNOWN = st.text("bdfgkqvxzöß", min_size=4, max_size=9).filter(lambda word: not is_allowed(word))
SEPARATORS = st.sampled_from([" ", "  ", "_", ", ", " (", "/", "-", "^", ". ", ": "])
CASES = st.sampled_from([str.lower, str.upper, str.title])


def _words_of(text: str) -> set[str]:
    """Return the words of a text in lower case, both as written (w/o) and at each sign."""
    return {
        word.rstrip(".")
        for signs in (r"[\s_,()^:]+", r"[\s_,()^:/-]+")
        for word in re.split(signs, text.lower())
    }


@given(PLAIN, DENIALS, PLAIN, CLAIMS, PLAIN, st.booleans(), SEPARATORS, CASES, st.lists(UNKNOWN))
def test_negations_are_never_lost(  # noqa: PLR0917 drawn
    before: list[str],
    denial: str,
    between: list[str],
    claim: str,
    after: list[str],
    first: bool,
    separator: str,
    case: Callable[[str], str],
    noise: list[str],
) -> None:
    core = [denial, *between, claim] if first else [claim, *between, denial]
    for place, word in enumerate(noise):
        core.insert((7 * place) % (len(core) + 1), word)
    text = separator.join(case(word) for word in [*before, *core, *after])
    kept = _words_of(clean(text))
    if claim in kept:
        assert denial in kept


@given(PLAIN, UNKNOWN, PLAIN.filter(lambda words: len(words) < REACH), CLAIMS, st.booleans(), CASES)
def test_findings_next_to_unknown_words_are_removed(  # noqa: PLR0917 drawn
    before: list[str],
    unknown: str,
    between: list[str],
    claim: str,
    first: bool,
    case: Callable[[str], str],
) -> None:
    core = [unknown, *between, claim] if first else [claim, *between, unknown]
    assert claim not in _words_of(clean(" ".join(case(word) for word in [*before, *core])))


@pytest.mark.parametrize("claim", ["contrast", "gadolinium", "PE", "fracture", "iv", "KM"])
@pytest.mark.parametrize(
    "template",
    [
        *("no {}", "without {}", "w/o {}", "wo {}", "not {}", "non {}", "excl. {}", "ex {}"),
        *("absence of {}", "negative for {}", "no evidence of {}", "{} unlikely", "{} refused"),
        *("{} declined", "{} allergy", "allergic to {}", "{} contraindicated", "{} not given"),
        *("{} withheld", "R/O {}", "rule out {}", "{}?", "?{}", "{} excluded", "{}: no", "{} -"),
        *(
            "{}-",
            "({} -)",
            "{} (-)",
            "(-) {}",
            "- {}",
            "{} n/a",
            "{}=0",
            "{}: none",
            "can't exclude {}",
            "{} wasn't given",
        ),
        *("ohne {}", "kein {}", "keine {}", "Ausschluss {}", "V.a. {}", "o. {}", "{} abgelehnt"),
        *("sans {}", "pas de {}", "aucun {}", "refus de {}", "{} contre-indiqué"),
        *("sin {}", "s/ {}", "ningún {}", "descartar {}", "{} rechazado", "alergia a {}"),
        *("sem {}", "não {}", "nenhum {}", "senza {}", "nessun {}", "non {}", "{} rifiutato"),
        *("zonder {}", "geen {}", "{} geweigerd", "utan {}", "ej {}", "inget {}", "uden {}"),
        *("ikke {}", "ingen {}", "ilman {}", "bez {}", "fără {}", "nélkül {}", "без {}", "無{}"),
        *("{}なし", "{} olmadan", "∅ {}", "Ø {}", "≠ {}", "!{}", "~{}", "{} abs.", "minus {}"),
    ],
)
def test_negation_phrases(template: str, claim: str) -> None:
    cleaned = clean(f"CT CHEST {template.format(claim)}")
    assert cleaned.startswith("CT CHEST")
    rest = cleaned.removeprefix("CT CHEST").strip().lower()
    assert claim.lower() not in rest.split()[-1:] or len(rest.split()) > 1


@pytest.mark.parametrize(
    "text",
    [
        *("CT CHEST W CONTRAST", "CT ABDOMEN PELVIS W WO CONTRAST", "MRI BRAIN W/WO CONTRAST"),
        *("CTA HEAD NECK", "CT ANGIO CHEST PE PROTOCOL W CONTRAST", "MR LUMBAR SPINE WO CON"),
        *("CT HEAD WITHOUT CONTRAST", "CT Thorax mit Kontrastmittel", "MRT Kniegelenk links nativ"),
        *("CT Abdomen ohne KM", "IRM cérébrale", "TDM thoracique sans injection"),
        *("Scanner abdominal avec injection", "RM rodilla derecha", "TC abdomen con contraste"),
        *("TC tórax sin contraste", "RM crânio com contraste", "TC torace senza mdc"),
        *("RMN ginocchio destro", "CT hersenen zonder contrast", "MRI knie rechts"),
        *("DT hjärna utan kontrast", "CT Becken links mit KM arteriell", "IRM du genou gauche"),
    ],
)
def test_common_descriptions_are_unchanged(text: str) -> None:
    assert clean(text) == text
