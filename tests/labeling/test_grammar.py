import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labeling import grammar
from tests.scripted_llm.constraints import accepts

CODES = ("negative", "positive", "not sure", "not")
WORD = st.text('ab{}"\\:, é\U0001f44d', min_size=1, max_size=6).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("negative", "negative"),
        ("  not sure\n", "not sure"),
        ("not", "not"),
        ('{"label": "positive"}', "positive"),
        ('{"label":" positive "}', "positive"),
        ('{"label": "positive", "why": "x"}', "positive"),
    ],
)
def test_a_code_is_read_bare_or_as_json(answer: str, code: str) -> None:
    assert grammar.read(answer, CODES) == code


@pytest.mark.parametrize(
    "answer",
    [
        "Positive",
        "POSITIVE",
        "positive.",
        "'positive'",
        '"Positive."',
        "“positive”",
        "„positive“",
        "`positive`",
        "**positive**",
        "**Positive**.",
        '* "positive" *',
        "positive。",
        '{"label": "Positive."}',
    ],
)
def test_capitals_marks_around_it_and_a_full_stop_make_no_other_code(answer: str) -> None:
    assert grammar.read(answer, CODES) == "positive"
    assert grammar.read_reasoned(f"It is said so.\n{answer}", CODES) == ("It is said so.", "positive")


@pytest.mark.parametrize(
    ("answer", "codes", "code"),
    [
        ("no", ("No", "no"), "no"),
        ("NO", ("No", "no"), None),
        ("no.", ("No.", "No"), "No."),
        ("'a'", ("a", "'a'"), "'a'"),
        ("'A'", ("a", "'a'"), "'a'"),
        ("**", ("*", "**"), "**"),
        ("etc", ("etc.",), None),
    ],
)
def test_where_codes_differ_by_that_alone_the_least_change_tells_or_nothing(
    answer: str, codes: tuple[str, ...], code: str | None
) -> None:
    assert grammar.read(answer, codes) == code


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " ",
        "negativ",
        "negative..",
        "negative!",
        "*negative",
        "negative, positive",
        "negatives",
        "positive negative",
        "The label is positive",
        "not  sure",
        '""',
        "**",
        '{"label": "neutral"}',
        '{"label": 1}',
        '{"label": ["positive"]}',
        '{"label": null}',
        '{"Label": "positive"}',
        '{"label": "positive"',
        '["positive"]',
        "{}",
        "null",
        '{"label":' * 5000,
    ],
)
def test_nothing_is_bent_to_the_nearest_label(answer: str) -> None:
    assert grammar.read(answer, CODES) is None


@given(st.lists(WORD, min_size=1, max_size=5, unique=True), st.text('ab{}"\\:, é', max_size=8))
def test_exactly_the_codes_are_accepted(codes: list[str], other: str) -> None:
    for code in codes:
        assert grammar.read(code, codes) == code
        assert grammar.read(json.dumps({"label": code}), codes) == code
    read = grammar.read(other, codes)
    assert read == other.strip() or read is None or f'"{read}"' in other


@settings(max_examples=30)
@given(st.lists(WORD, min_size=1, max_size=5, unique=True), WORD)
def test_the_grammar_that_is_sent_accepts_what_is_read(codes: list[str], other: str) -> None:
    text = grammar.llguidance(codes)
    assert all(accepts(text, code) for code in codes)
    assert accepts(text, other) == (other in codes)


def test_the_json_schema_lists_the_codes_and_allows_nothing_else() -> None:
    schema = json.loads(grammar.json_schema(CODES))
    assert schema["properties"]["label"]["enum"] == list(CODES)
    assert schema["required"] == ["label"]
    assert schema["additionalProperties"] is False


def test_two_hundred_codes_are_told_apart() -> None:
    codes = [f"label {i}" for i in range(200)]
    assert [grammar.read(code, codes) for code in codes] == codes
