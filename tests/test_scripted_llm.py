"""The scripted server against the real client: what it says must be the protocol."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import guidance
import httpx2
import openai
import pytest

from tests.scripted_llm import LLAMA_CPP, OPENAI, REASONING, VLLM, Fault, Script, ScriptedLLM

LABELS = "sentiment is one of: positive, negative, neutral"
LOVED = "<text>\nI love it, great value.\n</text>"
HATED = "<text>\nTerrible, and broken.\n</text>"
LABEL_SCHEMA = {"type": "object", "properties": {"label": {"enum": ["negative", "positive"]}}, "required": ["label"]}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": LABEL_SCHEMA}}


@pytest.fixture
def client(scripted_llm: ScriptedLLM) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=scripted_llm.base_url, api_key="key", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, text: str = LOVED, **options: Any) -> Any:
    messages = [{"role": "system", "content": LABELS}, {"role": "user", "content": f"{text}\n\nsentiment:"}]
    given = {"model": "scripted-1", "messages": messages, "max_tokens": 1, "temperature": 0, **options}
    return client.chat.completions.create(**{k: v for k, v in given.items() if v is not None})


def complete(client: openai.OpenAI, prompt: str, **options: Any) -> Any:
    given = {"model": "scripted-1", "prompt": prompt, "max_tokens": 1, "temperature": 0, **options}
    return client.completions.create(**given)


def continued(client: openai.OpenAI, tail: str) -> dict[str, float]:
    """Probabilities of what follows the prompt and the start of an answer, from llama.cpp's shape."""
    answer = complete(client, f"{LABELS}\n\n{LOVED}\nsentiment:{tail}", logprobs=40)
    alternatives = answer.choices[0].logprobs.model_extra["content"][0]["top_logprobs"]
    return {token["token"]: math.exp(token["logprob"]) for token in alternatives}


@pytest.mark.parametrize(("text", "label"), [(LOVED, "positive"), (HATED, "negative"), ("A chair.", "neutral")])
def test_the_words_of_the_task_decide_the_label(client: openai.OpenAI, text: str, label: str) -> None:
    assert chat(client, text).choices[0].message.content == label
    assert complete(client, f"{LABELS}\n\n{text}\nsentiment:").choices[0].text == f" {label}"
    assert complete(client, f"{LABELS.title()}\n\n{text}\nlabel:").choices[0].text == f" {label.title()}"


def test_demonstrations_do_not_decide_the_label(client: openai.OpenAI) -> None:
    fields = "<title>\nAwful\n</title>\n<text>\nA chair.\n</text>"
    fenced = f"{LABELS}\n\n{LOVED}\nsentiment: positive\n\n{fields}\nsentiment:"
    unfenced = f"{LABELS}\n\nI love it.\nsentiment: positive\n\nIt came broken.\nsentiment:"
    assert [complete(client, prompt).choices[0].text for prompt in (fenced, unfenced)] == [" negative"] * 2


def test_a_legend_moves_the_answer_to_its_letters(client: openai.OpenAI) -> None:
    prompt = f"sentiment is one of:\nA: positive\nB: negative (a complaint)\nC: neutral\n\n{HATED}\nsentiment:"
    assert complete(client, prompt).choices[0].text == " B"


def test_a_question_about_one_label_is_answered_yes_or_no(client: openai.OpenAI) -> None:
    prompt = f'{LABELS}\n\n{LOVED}\nsentiment: does "{{}}" apply? (yes or no):'
    asked = [complete(client, prompt.format(label)).choices[0].text for label in ("positive", "negative")]
    assert asked == [" yes", " no"]


def test_chat_logprobs_hold_the_alternatives_before_the_mask(client: openai.OpenAI) -> None:
    content = chat(client, logprobs=True, top_logprobs=30).choices[0].logprobs.content
    probabilities = {other.token: math.exp(other.logprob) for other in content[0].top_logprobs}
    assert len(probabilities) == 30
    assert probabilities["positive"] == pytest.approx(0.95 * 0.9)
    assert 0.97 < sum(probabilities.values()) < 1


def test_llama_cpp_answers_plain_completions_in_the_shape_of_chat(client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(
        model="any", prompt=LOVED, max_tokens=1, logprobs=5, temperature=0
    )
    [token] = json.loads(raw.content)["choices"][0]["logprobs"]["content"]
    assert raw.headers["Server"] == "llama.cpp"
    assert token.keys() == {"id", "token", "bytes", "logprob", "top_logprobs"}
    assert len(token["top_logprobs"]) == 5


def test_vllm_answers_plain_completions_in_the_older_shape(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.script = VLLM
    prompt = f"{LABELS}\n\n{LOVED}\nsentiment:"
    logprobs = complete(client, prompt, logprobs=5).choices[0].logprobs
    assert logprobs.tokens == [" positive"]
    assert logprobs.text_offset == [len(prompt)]
    assert logprobs.token_logprobs[0] == logprobs.top_logprobs[0][" positive"]


def test_a_started_answer_goes_on_conditionally(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(whole_words=False, answer=lambda _: {"neutral": 0.5, "negative": 0.3, "neat": 0.2})
    assert continued(client, "")[" neut"] == pytest.approx(0.95 * 0.5)
    assert continued(client, " neut")["ral"] == pytest.approx(0.95)
    assert continued(client, " ne")["at"] == pytest.approx(0.95 * 0.2)
    assert continued(client, " neat")["\n"] == pytest.approx(0.95)


def test_words_of_several_tokens_are_generated_whole(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(whole_words=False)
    choice = chat(client, max_tokens=20, logprobs=True).choices[0]
    assert [token.token for token in choice.logprobs.content] == ["posi", "tive"]
    assert (choice.message.content, choice.finish_reason) == ("positive", "stop")


def test_samples_repeat_under_one_seed_and_differ_between_seeds(client: openai.OpenAI) -> None:
    def sampled(seed: int) -> list[str]:
        return [choice.message.content for choice in chat(client, n=8, seed=seed, temperature=2).choices]

    assert sampled(1) == sampled(1)
    assert len({tuple(sampled(seed)) for seed in range(5)}) > 1


def test_a_guidance_grammar_masks_the_text_but_not_the_logprobs(client: openai.OpenAI) -> None:
    grammar = guidance.select(["negative", "neutral"]).ll_grammar()
    choice = chat(client, max_tokens=20, logprobs=True, top_logprobs=3, extra_body={"grammar": grammar}).choices[0]
    assert choice.message.content == "neutral"
    assert choice.logprobs.content[0].top_logprobs[0].token == "positive"
    prompt = f"{LABELS}\n\n{HATED}\nsentiment:"
    assert complete(client, prompt, max_tokens=9, extra_body={"grammar": grammar}).choices[0].text == "negative"


def test_a_grammar_may_ask_for_words_that_the_script_does_not_know(client: openai.OpenAI) -> None:
    grammar = guidance.select(["alpha", "beta"]).ll_grammar()
    assert chat(client, max_tokens=20, extra_body={"grammar": grammar}).choices[0].message.content == "alpha"
    with pytest.raises(openai.BadRequestError, match="failed to parse grammar"):
        chat(client, extra_body={"grammar": "%llguidance {}\nstart: ("})


def test_a_json_schema_is_answered_by_a_document(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=50, response_format=RESPONSE_FORMAT).choices[0].message.content
    assert json.loads(answer) == {"label": "positive"}
    grammar = guidance.json(schema=LABEL_SCHEMA).ll_grammar()
    answer = chat(client, HATED, max_tokens=50, extra_body={"grammar": grammar}).choices[0].message.content
    assert json.loads(answer) == {"label": "negative"}


def test_a_constraint_that_is_not_honoured_changes_nothing(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    constraint = {"structured_outputs": {"choice": ["negative", "neutral"]}}
    assert chat(client, extra_body=constraint).choices[0].message.content == "positive"
    scripted_llm.script = VLLM
    assert chat(client, extra_body=constraint).choices[0].message.content == "neutral"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Use 'max_completion_tokens' instead"),
        ({"max_tokens": None, "max_completion_tokens": 5}, "'temperature' does not support 0"),
        ({"max_tokens": None, "temperature": None, "logprobs": True}, "not allowed to request logprobs"),
    ],
)
def test_rejected_parameters_are_named(
    client: openai.OpenAI, scripted_llm: ScriptedLLM, options: dict[str, Any], message: str
) -> None:
    scripted_llm.script = REASONING
    with pytest.raises(openai.BadRequestError, match=message):
        chat(client, **options)


def test_routes_models_lengths_and_keys_are_refused(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.script = OPENAI
    with pytest.raises(openai.NotFoundError):
        complete(client, "x")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        chat(client, model="other")
    with pytest.raises(openai.BadRequestError, match="less than or equal to 20"):
        chat(client, logprobs=True, top_logprobs=21)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        chat(client, "x" * 40_000)
    scripted_llm.change(api_key="another")
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize(
    ("thinking", "off"),
    [
        ("template_off", {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}),
        ("effort_off", {"reasoning_effort": "minimal"}),
    ],
)
def test_thoughts_come_first_unless_turned_off(
    client: openai.OpenAI, scripted_llm: ScriptedLLM, thinking: str, off: dict[str, Any]
) -> None:
    scripted_llm.change(thinking=thinking)
    assert chat(client).choices[0].message.content == "<think>"
    assert chat(client, max_tokens=99).choices[0].message.content.endswith("</think>\n\npositive")
    assert chat(client, **off).choices[0].message.content == "positive"


def test_thoughts_can_have_a_field_of_their_own(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(thinking="always", separate_reasoning=True)
    message = chat(client, max_tokens=99).choices[0].message
    assert message.content == "positive"
    assert message.model_extra["reasoning_content"].startswith("The words")


def test_faults_come_in_their_order(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(faults=[Fault(429, {"Retry-After": "7"}), Fault(500), Fault(spoil="drop"), None])
    with pytest.raises(openai.RateLimitError) as busy:
        chat(client)
    assert busy.value.response.headers["Retry-After"] == "7"
    with pytest.raises(openai.InternalServerError):
        chat(client)
    with pytest.raises(openai.APIConnectionError):
        chat(client)
    assert chat(client).choices[0].message.content == "positive"
    assert scripted_llm.calls == 4


@pytest.mark.parametrize(
    ("spoil", "pattern"),
    [
        ("html", r"\A<!DOCTYPE html>"),
        ("truncated", r"\A{.*[^}]\Z"),
        ("nan", r'"logprob": NaN'),
        ("empty_choices", r'"choices": \[\]'),
        ("no_logprobs", r'"logprobs": null'),
    ],
)
def test_answers_can_be_spoiled(scripted_llm: ScriptedLLM, spoil: Any, pattern: str) -> None:
    scripted_llm.change(faults=lambda *_: Fault(spoil=spoil))
    body = {"messages": [{"role": "user", "content": LOVED}], "max_tokens": 1, "logprobs": True, "top_logprobs": 2}
    text = httpx2.post(f"{scripted_llm.base_url}/chat/completions", json=body).text
    assert re.search(pattern, text, re.DOTALL)


def test_the_start_of_a_repeated_prompt_counts_as_cached(client: openai.OpenAI) -> None:
    usages = [chat(client, text).usage for text in (LOVED, HATED)]
    cached = [usage.prompt_tokens_details.cached_tokens for usage in usages]
    assert cached == [0, (len(LABELS) + len("\n\n<text>\n")) // 4]


def test_requests_are_recorded_with_path_and_headers(client: openai.OpenAI, scripted_llm: ScriptedLLM) -> None:
    chat(client, seed=3)
    [request] = scripted_llm.requests
    assert (request.path, request.body["seed"]) == ("/v1/chat/completions", 3)
    assert request.headers["authorization"] == "Bearer key"


@pytest.mark.parametrize(
    ("script", "found"), [(LLAMA_CPP, {"/props", "/metrics"}), (VLLM, {"/version"}), (OPENAI, set())]
)
def test_servers_are_told_apart_by_their_routes(scripted_llm: ScriptedLLM, script: Script, found: set[str]) -> None:
    scripted_llm.script = script
    root = scripted_llm.base_url.removesuffix("/v1")
    assert {path for path in ("/props", "/metrics", "/version") if httpx2.get(root + path).is_success} == found


def test_no_more_generations_run_at_once_than_there_are_slots(scripted_llm: ScriptedLLM, client: openai.OpenAI) -> None:
    scripted_llm.change(slots=2, latency_s=0.1)
    start = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: chat(client), range(6)))
    assert len(answers) == 6
    assert time.monotonic() - start >= 0.29


def test_it_comes_back_on_the_same_port_after_an_outage(scripted_llm: ScriptedLLM, client: openai.OpenAI) -> None:
    scripted_llm.stop()
    with pytest.raises(openai.APIConnectionError):
        chat(client)
    scripted_llm.start()
    assert chat(client).choices[0].message.content == "positive"


def test_stopping_cuts_requests_under_way(scripted_llm: ScriptedLLM, client: openai.OpenAI) -> None:
    scripted_llm.change(faults=[Fault(delay_s=3600)])
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(chat, client)
        while not scripted_llm.calls:
            time.sleep(0.01)
        scripted_llm.stop()
        assert isinstance(pending.exception(), openai.APIConnectionError)


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.scripted_llm", "--latency-ms", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout
        models = httpx2.get(f"{process.stdout.readline().strip()}/models").json()
        process.send_signal(signal.SIGTERM)
    assert models["data"][0]["id"] == "scripted-1"
    assert process.returncode == 0
