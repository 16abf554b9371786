import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.diagnosis import Check, abilities, endpoint, labels
from backend.diagnosis.labels import Wanted
from backend.labeling.engines.base import Capabilities
from backend.settings import Settings
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import LLAMA_CPP, OPENAI, REASONING, VLLM, Fault, Script, ScriptedLLM

# The HTTP clients of a diagnosis live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

URL = "http://localhost:9090"
CHOICES = '<View><Text name="text" value="$text"/><Choices name="label" toName="text"{}>{}</Choices>{}</View>'
MULTIPLE, DYNAMIC, THIRTY = ' choice="multiple"', ' value="$options"', tuple(f"topic {i}" for i in range(30))
TEXT = {"llm_prompt_style": "text"}
NO_LOGPROBS = frozenset({"logprobs", "top_logprobs"})


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    gc.collect()


def config(*choices: str, attributes: str = "", more: str = "") -> str:
    return CHOICES.format(attributes, "".join(f'<Choice value="{choice}"/>' for choice in choices), more)


def examined(script: Script, **settings: Any) -> dict[str, Check]:
    with ScriptedLLM(script) as llm:
        section, _ = endpoint.examine(Settings(openai_base_url=llm.base_url, **settings))
    return {check.name: check for check in section.checks}


def tried(text: str, script: Script = LLAMA_CPP, data: Any = None, **settings: Any) -> list[Check]:
    with ScriptedLLM(script) as llm:
        chosen = Settings(openai_base_url=llm.base_url, **settings)
        _, found = endpoint.examine(chosen)
        return list(labels.examine(Wanted(text, data), found, chosen).checks)


@pytest.mark.parametrize(
    ("script", "name", "status", "says"),
    [
        (LLAMA_CPP, "constraint", "ok", "grammars"),
        (LLAMA_CPP, "prefix cache", "ok", "from the cache"),
        (LLAMA_CPP, "context", "ok", "8192"),
        (VLLM, "constraint", "ok", "structured_outputs"),
        (VLLM, "log-probs", "ok", "20 alternatives a token in chat turns"),
        (OPENAI, "constraint", "ok", "JSON schemas"),
        (OPENAI, "context", "skipped", "does not tell"),
        (REASONING, "thinking", "warning", "always, asked for minimal effort: 5 samples"),
        (REASONING, "parameters", "ok", "max_completion_tokens; temperature is refused"),
        (REASONING, "log-probs", "warning", "votes of 5 samples"),
        (replace(VLLM, thinking="template_off"), "thinking", "ok", "chat_template_kwargs"),
        (replace(VLLM, thinking="effort_off"), "thinking", "ok", "reasoning_effort"),
        (Script(rejects=NO_LOGPROBS, honours=frozenset()), "constraint", "warning", "is no vote"),
        (replace(LLAMA_CPP, honours=frozenset()), "constraint", "ok", "not needed"),
        (replace(LLAMA_CPP, cached_prompts=0), "prefix cache", "warning", "0%"),
        (replace(LLAMA_CPP, context_tokens=1024), "context", "warning", "1024"),
        (LLAMA_CPP, "seed", "ok", "the same text twice, log-probs within"),
        (replace(VLLM, rejects=VLLM.rejects | {"seed"}), "seed", "warning", "refused, and left out"),
        (replace(VLLM, rejects=VLLM.rejects | {"seed"}), "parameters", "ok", "seed is refused"),
        (replace(VLLM, rejects=VLLM.rejects | {"system"}), "parameters", "ok", "begins the first user turn"),
    ],
)
def test_what_an_endpoint_does_is_told_as_it_is(script: Script, name: str, status: str, says: str) -> None:
    check = examined(script)[name]
    assert (check.status, says in check.found) == (status, True), check


def test_a_seed_that_does_not_repeat_is_a_warning() -> None:
    animals = {f"animal{i}": 1 / 500 for i in range(500)}
    found = examined(replace(LLAMA_CPP, honours_seed=False, answer=lambda _: animals))["seed"]
    assert (found.status, "two texts" in found.found) == ("warning", True)


def test_every_diagnosis_of_an_endpoint_has_the_same_rows() -> None:
    names = [list(examined(script)) for script in (LLAMA_CPP, REASONING, replace(OPENAI, api_key="other"))]
    assert names[0] == names[1] == names[2]


def test_a_model_that_is_not_listed_is_named_with_those_that_are() -> None:
    check = examined(OPENAI, llm_model="gpt-9")
    assert (check["model"].status, check["answer"].status) == ("warning", "failed")
    assert "scripted-1" in check["model"].found


def test_the_first_of_several_models_is_taken_with_a_warning() -> None:
    check = examined(replace(OPENAI, models=("one", "two")))["model"]
    assert (check.status, check.hint) == ("warning", "Set LLM_MODEL to the one you mean.")


def test_plain_text_needs_the_route_for_completions() -> None:
    check = examined(OPENAI, llm_prompt_style="text")["answer"]
    assert (check.status, check.needed, check.hint) == ("failed", True, "Set LLM_PROMPT_STYLE=chat.")


def test_a_trial_that_fails_leaves_the_rest_standing() -> None:
    fails = replace(LLAMA_CPP, faults=lambda _, __, body: Fault(500) if "Line 1" in str(body) else None)
    found = examined(fails)
    assert (found["prefix cache"].status, found["seed"].status) == ("warning", "ok")


def test_a_server_that_does_not_report_its_cache_is_not_blamed() -> None:
    chat = {"choices": [{"message": {"content": "Yes"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
    answers = {"GET /v1/models": Answer(200, {"data": [{"id": "m"}]}), "POST /v1/chat/completions": Answer(200, chat)}
    with LoopbackServer(answers) as server:
        section, _ = endpoint.examine(Settings(openai_base_url=f"{server.url}/v1"))
    assert next(check for check in section.checks if check.name == "prefix cache").status == "skipped"


@pytest.mark.parametrize(
    ("url", "model", "status", "says"),
    [
        ("https://api.openai.com/v1", "gpt-4.1-mini", "ok", "$0.4 a million tokens of prompt, $1.6 of answer"),
        ("https://api.openai.com/v1", "gpt-0-unheard-of", "warning", "unknown: tokens are counted"),
        ("https://llm.example.com/v1", "gpt-4.1-mini", "warning", "unknown"),
        ("http://10.0.0.7:8000/v1", "gpt-4.1-mini", "ok", "free"),
        ("http://llm:8000/v1", "qwen", "ok", "free"),
        ("", "smollm2-135m", "ok", "free"),
    ],
)
def test_a_price_is_that_of_whoever_serves_the_model(url: str, model: str, status: str, says: str) -> None:
    check = abilities.price(model, Settings(openai_base_url=url))
    assert (check.status, says in check.found) == (status, True), check


def test_votes_point_at_the_style_that_has_log_probs() -> None:
    able = Capabilities(continues=True, text_logprobs=5, thinking="always")
    assert abilities.log_probs(able, Settings(openai_base_url=URL)).hint == "LLM_PROMPT_STYLE=text has them."


@pytest.mark.parametrize(
    ("text", "answer", "settings", "status", "says"),
    [
        (config("happy", "sad"), {"happy": 0.7, "sad": 0.3}, {}, "ok", "words, 1 call a task; the labels hold 95%"),
        (config("good mood", "good tone"), {"A": 0.7, "B": 0.3}, {}, "ok", "2 labels as letters, 1 call a task"),
        (config("a", "b", attributes=MULTIPLE), {"yes": 0.7, "no": 0.3}, {}, "ok", "2 yes-or-no questions as words"),
        (config(*THIRTY), {THIRTY[3]: 0.9, THIRTY[4]: 0.1}, {}, "warning", "30 labels as words, 1 call a task"),
        (config(*THIRTY), {"A": 0.9, "B": 0.1}, {}, "warning", "30 labels in several questions, 4 calls"),
        (
            config("good mood", "good tone"),
            {"good mood": 0.7, "good tone": 0.3},
            TEXT,
            "ok",
            "2 labels as words, 1 call",
        ),
        (config("happy"), {"happy": 1.0}, {}, "ok", "nothing to ask"),
        (config(attributes=DYNAMIC), {"first": 0.5, "second": 0.3, "third": 0.2}, {}, "ok", "3 labels as words"),
    ],
)
def test_a_configuration_is_tried_with_the_plan_that_serves(
    text: str, answer: dict[str, float], settings: dict[str, Any], status: str, says: str
) -> None:
    check = tried(text, replace(LLAMA_CPP, answer=lambda _: answer), **settings)[-1]
    assert (check.name, check.status, says in check.found) == ("label", status, True), check


def test_of_a_tree_what_is_not_asked_is_no_label_that_did_not_come_back() -> None:
    def answer(prompt: str) -> dict[str, float]:
        return {"yes": 0.9, "no": 0.1} if 'does "A' in prompt else {"yes": 0.01, "no": 0.99}

    places = "".join(f'<Choice value="{top}"><Choice value="{top}1"/></Choice>' for top in "ABC")
    text = f'<View><Text name="text" value="$text"/><Taxonomy name="label" toName="text">{places}</Taxonomy></View>'
    check = tried(text, replace(LLAMA_CPP, answer=answer))[-1]
    assert (check.status, check.found.partition(";")[0]) == (
        "ok",
        "6 yes-or-no questions as words, 4 calls for this task",
    )


def test_without_log_probs_labels_are_votes() -> None:
    check = tried(config("positive", "negative"), Script(rejects=NO_LOGPROBS))[-1]
    assert (check.status, "2 labels by votes, 5 calls a task" in check.found) == ("ok", True), check


def test_labels_that_the_model_hardly_thinks_of_are_a_warning() -> None:
    check = tried(config("positive", "negative"), replace(LLAMA_CPP, off_label=0.8))[-1]
    assert (check.status, "20% of the probability" in check.found) == ("warning", True), check


def test_labels_that_the_model_never_thinks_of_fail() -> None:
    check = tried(config("positive", "negative"), replace(LLAMA_CPP, answer=lambda _: {"banana": 1.0}))[-1]
    assert (check.status, check.needed) == ("failed", True), check


def test_a_control_that_is_left_alone_is_named_once() -> None:
    checks = tried(config("positive", "negative", more='<TextArea name="why" toName="text"/>'))
    notes = [check.found for check in checks if check.name == "note"]
    assert notes == ['TextArea "why" is left alone: controls of type TextArea are not labelled yet']


def test_the_text_area_of_reasons_is_in_use_and_one_that_is_missing_is_a_warning() -> None:
    text = config("positive", "negative", more='<TextArea name="why" toName="text"/>')
    used = {check.name: check for check in tried(text, rationale_control="why")}
    assert used["rationale"].status == "ok"
    assert "note" not in used
    missed = {check.name: check for check in tried(text, rationale_control="reason")}
    assert (missed["rationale"].status, "(it has: why)" in missed["rationale"].found) == ("warning", True)
    assert "--with-rationale" in missed["rationale"].hint
    assert "rationale" not in {check.name for check in tried(text)}


def test_a_configuration_with_nothing_to_label_fails() -> None:
    (check,) = tried("<View><Text name='text' value='$text'/></View>")
    assert (check.name, check.status, check.needed) == ("configuration", "failed", True)


def test_a_task_without_its_field_is_a_warning() -> None:
    check = tried(config("positive", "negative"), data={"body": "x"})[-1]
    assert (check.status, '"text"' in check.found) == ("warning", True)


def test_labels_are_not_tried_at_an_endpoint_that_is_away() -> None:
    section = labels.examine(Wanted(config("positive", "negative")), None, Settings(openai_base_url=URL))
    assert section.checks[-1].status == "skipped"
    assert section.ok


def test_fixed_demonstrations_that_the_labels_do_not_fit_are_told_and_hinder_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shown.jsonl"
    path.write_text('{"text": "x", "label": "happy"}\n{"text": "x", "label": "angry"}\n')
    script = replace(LLAMA_CPP, answer=lambda _: {"happy": 0.7, "sad": 0.3})
    checks = {check.name: check for check in tried(config("happy", "sad"), script, demonstrations=path)}
    assert (checks["demonstrations"].status, checks["label"].status) == ("warning", "ok")
    assert "line 2: the labeling configuration has no label 'angry'" in checks["demonstrations"].found
