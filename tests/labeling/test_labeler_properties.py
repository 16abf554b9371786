import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labeling.engines.base import Capabilities
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.errors import EngineError, WhetstoneError
from backend.labeling.labeler import Limits
from tests.labeling.building import (
    HOSTED,
    LIKED,
    LOCAL,
    MUTE,
    SENTIMENT,
    TOPICS,
    choices,
    complaints,
    connected,
    label,
)
from tests.scripted_llm import Fault, Script, ScriptedLLM

GARBAGE = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.floats(0.01, 1),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(
    GARBAGE
    | st.sampled_from([{"positively": 1.0}, {"POSITIVE!": 1.0}, {"pos": 1.0}, {"": 1.0}, {'{"label": "x"}': 1.0}]),
    st.sampled_from([LOCAL, HOSTED, MUTE]),
    st.sampled_from([Fault(), Fault(spoil="empty_choices"), Fault(spoil="nan"), Fault(spoil="no_logprobs")]),
)
def test_whatever_the_llm_says_a_label_of_the_set_comes_out_or_the_task_fails(
    llm: ScriptedLLM, answers: dict[str, float], able: Capabilities, fault: Fault
) -> None:
    llm.script = Script(
        answer=lambda _: answers, honours=frozenset(), faults=lambda *_: fault if fault != Fault() else None
    )
    with connected(llm, able) as engine:
        for config in (SENTIMENT, TOPICS):
            try:
                made = label(engine, config, LIKED, style="text" if able.continues else "chat")
            except EngineError:
                continue
            assert complaints(config, made) == []


VALUE = st.text("abcdeXYé -'&<\"я", min_size=1, max_size=8).filter(str.strip)
CONFIGS = st.builds(
    lambda values, multiple: choices(
        *(value.replace("<", "x", 1) if value.startswith("<") else value for value in values),
        attributes=f'choice="{multiple}"',
    ),
    st.lists(VALUE, min_size=1, max_size=30, unique_by=str.strip),
    st.sampled_from(["single", "multiple", "single-radio"]),
)


@settings(max_examples=30)
@given(CONFIGS, st.sampled_from([LOCAL, HOSTED, MUTE]), st.integers(0, 100))
def test_label_studio_takes_every_prediction(llm: ScriptedLLM, config: str, able: Capabilities, seed: int) -> None:
    llm.script = Script(answer=lambda prompt: some_code(prompt, seed), off_label=0.3)
    with connected(llm, able) as engine:
        made = label(engine, config, LIKED, Limits(min_label_mass=0), style="text" if able.continues else "chat")
    assert complaints(config, made) == []
    assert 0 <= made.score <= 1
    assert json_safe(made.to_json())


def some_code(prompt: str, seed: int) -> dict[str, float]:
    """A line of the legend, or what a yes-or-no question asks for."""
    if "(yes or no)" in prompt:
        return {"yes": random.Random(f"{seed}{prompt}").random(), "no": 0.5}
    legend = prompt.partition("is one of:")[2].strip().split("\n\n")[0]
    lines = legend.splitlines() if "\n" in legend else legend.split(", ")
    return {random.Random(seed).choice(lines).partition(":")[0] or "x": 1.0}


def json_safe(document: object) -> bool:
    return json.loads(json.dumps(document, allow_nan=False)) == document


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_no_data_breaks_the_labeler(llm: ScriptedLLM, local: OpenAIEngine, raw: Any) -> None:
    config = choices("positive", objects='<HyperText name="text" value="$text"/>', attributes='value="$options"')
    try:
        made = label(local, config, {"text": raw, "options": [raw, "negative"]}, Limits(min_label_mass=0))
    except WhetstoneError:
        return
    assert len(made.result) == 1
