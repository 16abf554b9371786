import math
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backend.labeling import verbalizer
from backend.labeling.engines.base import Token
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


@settings(max_examples=150)
@given(LABELS, st.integers(0, 10_000), st.sampled_from(["", " ", "\n", " \n"]))
def test_the_reading_is_within_its_bound_of_the_exact_probabilities(
    texts: tuple[str, ...], seed: int, lead: str
) -> None:
    answers = variants(texts, random.Random(seed), lead)
    expected = exact(answers, texts)
    assume(sum(expected) > 0.01)
    found = verbalizer.read(ToyModel(answers, seed).ask, texts, continues=True, max_calls=10_000)
    # Labels that were not returned count with at most 1e-4 each.
    assert distance(found.masses, expected) <= 0.05 + 1e-4 * len(texts) / sum(expected)


@settings(max_examples=1000)
@given(LABELS, st.integers(0, 10_000))
def test_label_mass_is_what_the_labels_hold(texts: tuple[str, ...], seed: int) -> None:
    answers = variants(texts, random.Random(seed))
    assume(sum(exact(answers, texts)) > 0.01)
    found = verbalizer.read(ToyModel(answers, seed).ask, texts, continues=True, max_calls=10_000)
    assert found.label_mass <= sum(exact(answers, texts)) + 1e-9
    assert found.label_mass >= sum(exact(answers, texts)) - 0.06


@settings(max_examples=100)
@given(LABELS, st.integers(0, 10_000), st.integers(1, 30), st.booleans())
def test_masses_are_probabilities_whatever_comes_back(
    texts: tuple[str, ...], seed: int, width: int, continues: bool
) -> None:
    answers = variants(texts, random.Random(seed))
    found = verbalizer.read(ToyModel(answers, seed, width=width).ask, texts, continues=continues)
    assert all(0 <= mass <= 1 for mass in found.masses)
    assert 0 <= found.label_mass <= 1
    assert found.censored <= set(range(len(texts)))


def asked(
    texts: Sequence[str], tree: Mapping[str, Mapping[str, float]], *, continues: bool = True
) -> verbalizer.Reading:
    """`tree` maps a prefix to the tokens that follow it; asking for another fails."""

    def ask(prefix: str) -> list[Token]:
        return [Token(text, math.log(p)) for text, p in tree[prefix].items()]

    return verbalizer.read(ask, texts, continues=continues)


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
    found = asked(["depression", "joy"], {"": {" dep": 0.02, " depr": 0.6, " joy": 0.38}})
    assert found.masses == pytest.approx((0.6, 0.38))


def test_a_beginning_that_other_words_share_is_looked_into() -> None:
    tree = {"": {" comp": 0.08, " praise": 0.42, " The": 0.5}, " comp": {"laint": 0.25, "any": 0.75}}
    assert asked(["complaint", "praise"], tree).masses == pytest.approx((0.02, 0.42))


def test_what_is_left_out_is_at_most_a_twentieth() -> None:
    tree = {"": {" negative": 0.5, " positive": 0.46, " n": 0.02, " p": 0.02}}
    assert asked(["negative", "positive"], tree).masses == pytest.approx((0.5, 0.46))


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


def test_a_label_that_may_hide_in_a_small_beginning_gets_that_as_its_bound() -> None:
    found = asked(["good", "bad"], {"": {"good": 0.9, "b": 0.03, "The": 0.001}})
    assert found.masses == pytest.approx((0.9, 0.03))
    assert found.censored == {1}


def test_nothing_that_came_back_leaves_no_label_mass() -> None:
    found = asked(["good", "bad"], {"": {"The": 0.6, "I": 0.4}})
    assert found.label_mass == 0
    assert found.censored == {0, 1}


def test_no_tokens_at_all_leave_no_label_mass() -> None:
    assert asked(["good", "bad"], {"": {}}).label_mass == 0


def test_a_model_that_never_answers_is_not_asked_for_ever() -> None:
    calls: list[str] = []

    def ask(prefix: str) -> list[Token]:
        calls.append(prefix)
        return [Token(" ", math.log(0.9)), Token("\n", math.log(0.1))]

    found = verbalizer.read(ask, ["good", "bad"], continues=True)
    assert len(calls) == 24
    assert found.label_mass == 0


def test_codes_that_could_not_be_told_apart_in_time_are_flagged() -> None:
    def ask(prefix: str) -> list[Token]:
        return (
            [Token("x", math.log(1.0))] if len(prefix) < 30 else [Token("a", math.log(0.5)), Token("b", math.log(0.5))]
        )

    found = verbalizer.read(ask, ["x" * 30 + "a", "x" * 30 + "b"], continues=True)
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


@pytest.mark.parametrize(
    ("texts", "continues", "width", "expected"),
    [
        (("negative", "positive"), False, 20, "words"),
        (("negative", "neutral", "positive"), False, 20, "words"),
        (("positive", "possible"), False, 20, "letters"),
        (("us", "usa"), False, 20, "letters"),
        (("Spam", "spam"), False, 20, "letters"),
        (("good", "bad"), False, 1, "letters"),
        (("theft", "fraud"), False, 20, "letters"),
        (("positive", "possible"), True, 5, "words"),
        (("Spam", "spam"), True, 200, "words"),
        (tuple(f"label {i}" for i in range(200)), True, 200, "words"),
        (("хорошо", "плохо"), True, 200, "letters"),
        (("good 👍", "bad"), True, 200, "letters"),
        (("très bon", "élevé"), True, 200, "words"),
    ],
)
def test_words_stand_for_labels_where_they_can_be_told_apart(
    texts: tuple[str, ...],
    continues: bool,
    width: int,
    expected: str,
) -> None:
    assert verbalizer.kind_of("auto", texts, continues=continues, width=width) == expected


@pytest.mark.parametrize("kind", ["words", "letters"])
def test_codes_are_what_they_are_told_to_be(kind: verbalizer.CodeKind) -> None:
    found = verbalizer.codes(kind, ("us", "usa"), continues=False, width=20)
    assert found == (("us", "usa") if kind == "words" else ("A", "B"))


def test_letters_leave_out_the_one_that_begins_a_refusal() -> None:
    found = verbalizer.codes("letters", [str(i) for i in range(25)], continues=False, width=20)
    assert len(set(found)) == 25
    assert "I" not in found


def test_more_labels_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="26 labels, 25 letters"):
        verbalizer.codes("letters", [str(i) for i in range(26)], continues=False, width=20)
