import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labeling.calibration import Calibration
from backend.labeling.engines.openai import OpenAIEngine
from tests.labeling.building import (
    HOSTED,
    LIKED,
    choices,
    chosen,
    connected,
    details,
    label,
    says,
)
from tests.scripted_llm import Script, ScriptedLLM

NAMES = [f"{a}{b}" for a, b in itertools.product(("Red", "Green", "Blue", "Grey", "Black"), "abcdefghijklmnopqrst")]


@pytest.mark.parametrize("name", ["Reda", "Greyk", "Blackt"])
def test_a_hundred_labels_are_found_in_groups_by_letters(llm: ScriptedLLM, hosted: OpenAIEngine, name: str) -> None:
    llm.script = Script(answer=lambda prompt: letter_of(prompt, name))
    made = label(hosted, choices(*NAMES), LIKED, codes="letters")
    assert chosen(made) == [name]
    assert sum(details(made)["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert made.calls == 2


def test_a_hundred_labels_are_found_as_words_in_one_call(llm: ScriptedLLM, hosted: OpenAIEngine) -> None:
    says(llm, {"Greyk": 0.97, "Redb": 0.03}, whole_words=False)
    made = label(hosted, choices(*NAMES), LIKED)
    assert chosen(made) == ["Greyk"]
    assert made.score == pytest.approx(0.97, abs=0.04)
    assert sum(details(made)["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert made.calls == 1


def test_labels_that_begin_alike_are_told_apart_by_a_question_of_their_own(
    llm: ScriptedLLM, hosted: OpenAIEngine
) -> None:
    """Half of the probability is on labels whose beginning the answer does not go on with."""
    labels = [*(f"card {name}" for name in NAMES[:15]), *(f"cash {name}" for name in NAMES[:15])]

    def answer(prompt: str) -> dict[str, float]:
        if "A: " not in prompt:
            return {"card Redb": 0.55, "cash Redc": 0.4, "cash Redd": 0.05}
        assert "card" not in prompt
        return letter_of(prompt, "cash Redc")

    llm.script = Script(answer=answer, whole_words=False)
    made = label(hosted, choices(*labels), LIKED)
    assert chosen(made) == ["card Redb"]
    assert details(made)["probabilities"]["cash Redc"] == pytest.approx(0.445, abs=0.02)
    assert made.calls == 2


def test_groups_are_asked_where_words_bring_no_label(llm: ScriptedLLM, hosted: OpenAIEngine) -> None:
    llm.script = Script(answer=lambda prompt: letter_of(prompt, "Greyk") if "A: " in prompt else {"Sorry": 1.0})
    made = label(hosted, choices(*NAMES), LIKED)
    assert chosen(made) == ["Greyk"]
    assert made.calls == 3


def letter_of(prompt: str, name: str) -> dict[str, float]:
    """Of the legend line that names it, sure by .99; the name itself where the legend has no letters."""
    lines = [line.partition(": ") for line in prompt.splitlines() if line[1:3] == ": "]
    if not lines:
        return {name: 0.99, "none": 0.01}
    return {letter: 0.99 if name in shown.split("; ") else 0.01 / (len(lines) - 1) for letter, _, shown in lines}


@settings(max_examples=15)
@given(st.integers(21, 400), st.integers(0, 1000), st.sampled_from([2, 5, 20]))
def test_groups_of_any_size_sum_to_1_and_find_the_label(llm: ScriptedLLM, count: int, seed: int, width: int) -> None:
    labels = [f"{a}{b}" for a, b in itertools.product("bcdfghjklmnpqrstvwyz", repeat=2)][:count]
    right = random.Random(seed).choice(labels)
    llm.script = Script(answer=lambda prompt: letter_of(prompt, right))
    with connected(llm, replace(HOSTED, chat_logprobs=width)) as engine:
        made = label(engine, choices(*labels), LIKED, codes="letters")
    assert chosen(made) == [right]
    assert sum(details(made)["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert set(details(made)["probabilities"]) == set(labels)


def test_groups_are_calibrated_once_and_by_label(llm: ScriptedLLM, hosted: OpenAIEngine) -> None:
    labels = [str(i) for i in range(40)]
    llm.script = Script(answer=lambda prompt: letter_of(prompt, "7"), off_label=0)
    plain = label(hosted, choices(*labels), LIKED, codes="letters")
    biased = label(
        hosted, choices(*labels), LIKED, codes="letters", calibration=Calibration(bias={"sentiment": {"7": 1.0}})
    )
    before, after = (details(made)["probabilities"]["7"] for made in (plain, biased))
    # A bias of one nat divides the odds by e.
    assert after / (1 - after) == pytest.approx(before / (1 - before) / math.e, rel=1e-3)


def test_two_hundred_labels_are_descended_in_a_plain_text(llm: ScriptedLLM, local: OpenAIEngine) -> None:
    labels = [f"label {i}" for i in range(200)]
    says(llm, {"label 137": 0.9, "label 13": 0.1}, whole_words=False)
    assert chosen(label(local, choices(*labels), LIKED, style="text")) == ["label 137"]


def test_forty_labels_beyond_latin_are_found_by_letters_in_a_plain_text(llm: ScriptedLLM, local: OpenAIEngine) -> None:
    labels = [f"ярлык {chr(0x430 + i // 10)}{i % 10}" for i in range(40)]
    llm.script = Script(answer=lambda prompt: letter_of(prompt, labels[33]))
    assert chosen(label(local, choices(*labels), LIKED, style="text")) == [labels[33]]
