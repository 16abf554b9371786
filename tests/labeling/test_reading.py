import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labeling import reading
from backend.labeling.engines.base import Step, Token
from tests.labeling.toy_model import ToyModel

SHARED = [
    ("skill", "skirt"),
    ("us", "usa", "uk"),
    ("card", "card lost", "card payment", "cash"),
    ("Spam", "spam"),
    ("a", "A", "b"),
    ("négatif", "négligeable", "élevé"),
    ("no", "not sure", "nothing"),
    ("label 1", "label 2", "label 10", "label 11"),
]
WORD = st.text("abcé ", min_size=1, max_size=9).map(str.strip).filter(bool)
LABELS = st.one_of(st.sampled_from(SHARED), st.lists(WORD, min_size=2, max_size=6, unique=True).map(tuple))


def exact(answers: Mapping[str, float], texts: Sequence[str]) -> list[float]:
    """Each answer is the longest code that it begins with, then no letter or digit. Nothing is cut into tokens."""
    fold = str if len({text.casefold() for text in texts}) < len(texts) or max(map(len, texts)) == 1 else str.casefold
    masses = [0.0] * len(texts)
    for answer, p in answers.items():
        said = fold(answer.lstrip())
        given = [i for i, t in enumerate(texts) if said.startswith(fold(t)) and not said[len(t) :][:1].isalnum()]
        if given:
            masses[max(given, key=lambda i: len(texts[i]))] += p
    return masses


def variants(texts: Sequence[str], rng: random.Random, lead: str = "") -> dict[str, float]:
    """Labels in the forms that LLMs give them, and answers that are no label; some begin like one, none goes on after
    one as a longer word does, which counts or not by how it is cut into tokens."""
    folds = len({text.casefold() for text in texts}) == len(texts) and max(map(len, texts)) > 1
    weights: dict[str, float] = {}
    for text in texts:
        for form in sorted({text, text.upper(), text.capitalize()}) if folds else [text]:
            weights[lead + form + rng.choice(["", ".", "\n", " because"])] = rng.random() ** 4 + 1e-4
    for other in ("~ no idea", "~~", *(f"{text[: rng.randint(0, 3)]}~" for text in texts)):
        if not any(other.casefold().startswith(text.casefold()) for text in texts):
            weights[lead + other] = rng.random() ** 2
    return {answer: weight / sum(weights.values()) for answer, weight in weights.items()}


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Total variation after renormalising."""
    return sum(abs(a / sum(one) - b / sum(other)) for a, b in zip(one, other, strict=True)) / 2


def examples(count: int, leads: Sequence[str] = ("",)) -> Iterator[tuple[tuple[str, ...], dict[str, float], int]]:
    """Labels, what an LLM answers, and the seed of how it cuts that into tokens; the labels hold over a hundredth."""
    rng = random.Random(0)
    for seed in range(count):
        texts = rng.choice(SHARED)
        answers = variants(texts, random.Random(seed), rng.choice(leads))
        if sum(exact(answers, texts)) > 0.01:
            yield texts, answers, seed


def test_the_reading_is_near_the_exact_probabilities() -> None:
    distances = []
    for texts, answers, seed in examples(1500, ["", " ", "\n", " \n", '"']):
        found = reading.read(ToyModel(answers, seed).ask, texts, continues=True, max_calls=10_000)
        distances.append(distance(found.masses, exact(answers, texts)))
    assert statistics.median(distances) < 0.01
    assert statistics.quantiles(distances, n=100)[-1] < 0.05
    assert max(distances) < 0.2


def test_label_mass_is_what_the_labels_hold() -> None:
    off = []
    for texts, answers, seed in examples(1500):
        found = reading.read(ToyModel(answers, seed).ask, texts, continues=True, max_calls=10_000)
        off.append(abs(found.label_mass - sum(exact(answers, texts))))
    assert statistics.median(off) < 0.01
    assert max(off) < 0.1


@settings(max_examples=100)
@given(LABELS, st.integers(0, 10_000), st.integers(1, 30), st.booleans())
def test_masses_are_probabilities_whatever_comes_back(
    texts: tuple[str, ...], seed: int, width: int, continues: bool
) -> None:
    answers = variants(texts, random.Random(seed))
    found = reading.read(ToyModel(answers, seed, width=width).ask, texts, continues=continues)
    assert all(0 <= mass <= 1 for mass in found.masses)
    assert 0 <= found.label_mass <= 1
    assert found.censored <= set(range(len(texts)))


def asked(texts: Sequence[str], tree: Mapping[str, Mapping[str, float]], *, continues: bool = True) -> reading.Reading:
    """`tree` maps a prefix to the tokens that follow it; asking for another fails."""

    def ask(prefix: str, tokens: int) -> list[Step]:
        return [Step(b"", tuple(Token(text, math.log(p)) for text, p in tree[prefix].items()))]

    return reading.read(ask, texts, continues=continues)


def test_variants_of_white_space_and_case_add_up_in_one_call() -> None:
    found = asked(
        ["negative", "positive"],
        {"": {" negative": 0.3, "Negative": 0.1, "NEGATIVE": 0.05, "\nnegative": 0.05, " positive": 0.4, " The": 0.1}},
    )
    assert found.masses == pytest.approx((0.5, 0.4))
    assert found.label_mass == pytest.approx(0.9)
    assert not found.censored


def test_a_shared_beginning_is_divided_by_what_follows_it() -> None:
    found = asked(["skill", "skirt"], {"": {" ski": 0.8, "skirt": 0.1, "The": 0.1}, " ski": {"ll": 0.75, "rt": 0.25}})
    # .8 * .75 = .6; .8 * .25 + .1 = .3
    assert found.masses == pytest.approx((0.6, 0.3))


def test_a_code_that_begins_another_ends_where_nothing_of_the_other_follows() -> None:
    found = asked(
        ["us", "usa"],
        {"": {" us": 0.9, " used": 0.1}, " us": {"a": 0.2, "\n": 0.5, "": 0.1, ".": 0.1}},
    )
    # .9 * (.5 + .1 + .1), and the tenth that did not come back, which is no "a"; " used" is neither.
    assert found.masses == pytest.approx((0.72, 0.18))


def test_words_after_a_code_are_told_from_a_longer_code() -> None:
    found = asked(
        ["card", "card lost"],
        {
            "": {" card": 1.0},
            " card": {" lost": 0.5, " loan": 0.2, " lo": 0.2, "\n": 0.1},
            " card lo": {"st": 0.5, "w": 0.5},
        },
    )
    assert found.masses == pytest.approx((0.2 + 0.1 + 0.1, 0.5 + 0.1))


def test_white_space_before_the_answer_is_looked_into_where_it_outweighs_the_codes() -> None:
    after = {"positive": 0.6, "negative": 0.4}
    assert asked(["negative", "positive"], {"": {"\n": 0.9, " positive": 0.1}, "\n": after}).masses == pytest.approx(
        (0.36, 0.64)
    )
    assert asked(["negative", "positive"], {"": {"\n": 0.4, " positive": 0.5, " negative": 0.1}}).masses == (
        pytest.approx((0.1, 0.5))
    )


def test_codes_that_differ_only_by_case_are_told_by_it() -> None:
    found = asked(["Spam", "spam"], {"": {" Spam": 0.7, "spam": 0.2, "SPAM": 0.1}})
    assert found.masses == pytest.approx((0.7, 0.2))


def test_a_letter_is_no_word_in_lower_case() -> None:
    found = asked(["A", "B"], {"": {"A": 0.3, " B": 0.2, " a": 0.4, "An": 0.1}})
    assert found.masses == pytest.approx((0.3, 0.2))


def test_a_telling_beginning_counts_without_another_call_where_the_answer_goes_there() -> None:
    found = asked(["depression", "joy"], {"": {" depr": 0.6, " joy": 0.38}})
    assert found.masses == pytest.approx((0.6, 0.38))


def test_a_beginning_that_other_words_share_is_looked_into() -> None:
    tree = {"": {" comp": 0.08, " praise": 0.42, " The": 0.5}, " comp": {"laint": 0.25, "any": 0.75}}
    assert asked(["complaint", "praise"], tree).masses == pytest.approx((0.02, 0.42))


def test_half_of_what_is_not_looked_into_counts_and_it_is_at_most_a_twentieth() -> None:
    tree = {"": {" negative": 0.5, " positive": 0.46, " n": 0.02, " p": 0.02}}
    assert asked(["negative", "positive"], tree).masses == pytest.approx((0.51, 0.47))


def test_beginnings_of_one_code_count_by_what_became_of_those_that_were_looked_into() -> None:
    labels = [f"{letter}{letter}{letter}{letter}" for letter in "abcdefgh"]
    root = {label[:2]: 0.11 for label in labels} | {"aa": 0.23}
    looked = {label[:2]: {label[2:]: 0.9, "~": 0.1} for label in labels}
    asked_for: list[str] = []

    def ask(prefix: str, tokens: int) -> list[Step]:
        asked_for.append(prefix)
        following = looked[prefix] if prefix else root
        return [Step(b"", tuple(Token(text, math.log(p)) for text, p in following.items()))]

    found = reading.read(ask, labels, continues=True)
    rest = [mass for mass, label in zip(found.masses, labels, strict=True) if label[:2] not in asked_for]
    # .1 of what was looked into was lost, and half of a prior weight of two fifths.
    looked_into = 0.23 + 0.11 * (len(asked_for) - 2)
    loss = (0.1 * looked_into + 0.5 * 0.4) / (looked_into + 0.4)
    assert rest
    assert rest == pytest.approx([0.11 * (1 - loss)] * len(rest))


def test_one_call_is_read_along_what_it_wrote() -> None:
    def ask(prefix: str, tokens: int) -> list[Step]:
        assert (prefix, tokens > 2) == ("", True)
        steps = [{" card": 0.9, " cash": 0.1}, {" lost": 0.8, " payment": 0.2}, {"\n": 1.0}]
        written = [b" card", b" lost", b"\n"]
        return [
            Step(raw, tuple(Token(text, math.log(p)) for text, p in step.items()))
            for raw, step in zip(written, steps, strict=True)
        ]

    for continues in (True, False):
        found = reading.read(ask, ["card lost", "card payment", "cash"], continues=continues)
        assert found.masses == pytest.approx((0.72, 0.18, 0.1))
        assert not found.censored


def test_tokens_that_end_inside_a_letter_are_beginnings_too() -> None:
    texts = ["\u015fikayet", "\u00f6vg\u00fc", "soru"]
    steps = [Token("", math.log(0.5), b" \xc5"), Token("", math.log(0.3), b" \xc3"), Token(" soru", math.log(0.2))]
    found = reading.read(lambda *_: [Step(b" \xc5", tuple(steps))], texts, continues=False)
    assert found.masses == pytest.approx((0.5, 0.3, 0.2))


def test_a_beginning_inside_a_letter_is_told_by_what_is_written_after_it() -> None:
    texts = ["Lob", "\u00c4rger", "\u00dcbung"]
    root = (Token(" Lob", math.log(0.4)), Token(" ", math.log(0.6), b" \xc3"))
    after = (Token("", math.log(0.75), b"\x84"), Token("", math.log(0.25), b"\x9c"))

    def ask(prefix: str, tokens: int) -> list[Step]:
        if prefix:
            ending = {" \u00c4": "rger", " \u00dc": "bung"}[prefix]
            return [Step(ending.encode(), (Token(ending, 0.0),))]
        return [Step(b" \xc3", root), Step(b"\x84", after)][:tokens]

    for continues in (True, False):
        found = reading.read(ask, texts, continues=continues)
        assert found.masses == pytest.approx((0.4, 0.45, 0.15), abs=0.03)  # the last is not looked into


@pytest.mark.parametrize("wrapped", ["\n", '"', "**", " `"])
def test_what_an_answer_is_wrapped_in_is_looked_through(wrapped: str) -> None:
    def ask(prefix: str, tokens: int) -> list[Step]:
        root = Step(wrapped.encode(), (Token(wrapped, math.log(0.9)), Token("positive", math.log(0.05))))
        after = (Token("positive", math.log(0.8)), Token("negative", math.log(0.2)))
        return [Step(b"positive", after)] if prefix else [root, Step(b"positive", after)][:tokens]

    for continues in (True, False):
        found = reading.read(ask, ["negative", "positive"], continues=continues)
        assert found.masses == pytest.approx((0.18, 0.77))
        assert found.label_mass == pytest.approx(0.95)


def test_labels_that_did_not_come_back_share_what_is_left() -> None:
    labels = [f"{letter}{letter}{letter}" for letter in "abcdefghij"]
    found = asked(labels, {"": {"aaa": 0.5, "bbb": 0.3, "ccc": 0.11}})
    assert found.masses == pytest.approx((0.5, 0.3, 0.11, *[0.09 / 7] * 7))
    assert found.censored == set(range(3, 10))


def test_many_small_beginnings_are_looked_into_when_they_hold_more_together() -> None:
    followed = {f" {letter}": {"x": 1.0} for letter in "np"}
    tree = {"": {" negative": 0.5, " positive": 0.4, " n": 0.05, " p": 0.05}, **followed}
    assert asked(["negative", "positive"], tree).masses == pytest.approx((0.5, 0.4))


def test_a_label_that_did_not_come_back_gets_the_smallest_probability_that_did() -> None:
    found = asked(["good", "bad", "ugly"], {"": {"good": 0.5, "bad": 0.3, "The": 0.01}})
    assert found.masses == pytest.approx((0.5, 0.3, 0.01))
    assert (found.label_mass, found.censored) == (pytest.approx(0.8), {2})


def test_a_label_that_did_not_come_back_gets_no_more_than_is_left() -> None:
    found = asked(["good", "bad"], {"": {"bad": 0.9}})
    assert found.masses == pytest.approx((0.1, 0.9))
    assert found.censored == {0}


def test_a_label_that_may_hide_in_a_small_beginning_gets_half_of_it() -> None:
    found = asked(["good", "bad"], {"": {"good": 0.9, "b": 0.03, "The": 0.001}})
    assert found.masses == pytest.approx((0.9, 0.015))
    assert found.censored == {1}


def test_nothing_that_came_back_leaves_no_label_mass() -> None:
    found = asked(["good", "bad"], {"": {"The": 0.6, "I": 0.4}})
    assert found.label_mass == 0
    assert found.censored == {0, 1}


def test_no_tokens_at_all_leave_no_label_mass() -> None:
    assert asked(["good", "bad"], {"": {}}).label_mass == 0


def test_a_model_that_never_answers_is_not_asked_for_ever() -> None:
    calls: list[str] = []

    def ask(prefix: str, tokens: int) -> list[Step]:
        calls.append(prefix)
        return [Step(b" ", (Token(" ", math.log(0.9)), Token("\n", math.log(0.1))))]

    found = reading.read(ask, ["good", "bad"], continues=True)
    assert len(calls) == 24
    assert found.label_mass == 0


def test_what_cannot_come_to_the_least_mass_is_not_looked_into() -> None:
    found = reading.read(
        lambda *_: [Step(b"The", (Token("The", math.log(0.9)), Token("go", math.log(0.006))))],
        ["good", "gold"],
        continues=True,
        least=0.01,
    )
    assert found.label_mass < 0.01


def test_codes_that_could_not_be_told_apart_in_time_are_flagged() -> None:
    def ask(prefix: str, tokens: int) -> list[Step]:
        return [Step(b"x", (Token("x", math.log(1.0)),))] * tokens

    found = reading.read(ask, ["x" * 900 + "a", "x" * 900 + "b"], continues=True)
    assert found.censored == {0, 1}


def test_without_continuation_a_shared_beginning_is_split_evenly_and_flagged() -> None:
    tree = {"": {"ne": 0.6, "neutral": 0.1, "positive": 0.3}}
    found = asked(["negative", "neutral", "positive"], tree, continues=False)
    assert found.masses == pytest.approx((0.3, 0.4, 0.3))
    assert found.censored == {0, 1}


def test_without_continuation_a_short_beginning_counts_and_is_flagged() -> None:
    found = asked(["inquiry", "complaint"], {"": {"In": 0.7, "Com": 0.3}}, continues=False)
    assert found.masses == pytest.approx((0.7, 0.3))
    assert found.censored == {0}


def test_without_continuation_the_beginning_of_a_sentence_is_no_label() -> None:
    found = asked(["inquiry", "abuse"], {"": {"I": 0.5, "A": 0.2, " inquiry": 0.2, "abuse": 0.1}}, continues=False)
    assert found.masses == pytest.approx((0.2, 0.1))
