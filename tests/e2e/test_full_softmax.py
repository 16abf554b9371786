"""The label distribution read from a few alternatives, against the one that the whole vocabulary gives."""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from backend.labeling import reading, schema, templates
from backend.labeling.engines.base import Request, Step, Token
from backend.labeling.engines.openai import Memory, OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, render
from demo.reviews import reviews
from tests.e2e.test_local_llm import Running, start
from tests.labeling.building import LOCAL, choices

VOCABULARY = 49_152  # SmolLM2's
# What begins with less is asked for its likeliest tokens only, or not at all; both together are far below the bound.
LITTLE, HARDLY_ANY = 0.3, 1e-3
FEWER = 2_000
SENTENCES = 6  # a whole vocabulary is megabytes of JSON

# With the calls a task that they may take. The model's answers to the last are mostly other words.
SETS = {
    "distinct first tokens": (("negative", "neutral", "positive"), 1.5),
    "a shared first token": (("very negative", "very positive"), 3),
    "several shared beginnings": (("dissatisfied", "disappointed", "delighted"), 12),
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("home"))
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def engine(llm: Running) -> Iterator[OpenAIEngine]:
    able = replace(LOCAL, text_logprobs=VOCABULARY)
    with closing(Wire(f"{llm.url}/v1", "", timeout_s=300)) as wire:
        yield OpenAIEngine(wire, "smollm2-135m", Memory(load=lambda: able))


def prompts(labels: Sequence[str]) -> list[str]:
    parsed = schema.parse(choices(*labels))
    prompt = Prompt(templates.initial_instruction(parsed), style="text")
    (question,) = parsed.controls[0].questions({})
    return [render(prompt, question, (Value("text", review.text),), labels).text for review in reviews(SENTENCES)]


def alternatives(engine: OpenAIEngine, text: str, count: int) -> Sequence[Token]:
    found = steps(engine, text, 1, count)[0].alternatives
    assert len(found) == count
    return found


def steps(engine: OpenAIEngine, text: str, tokens: int, count: int) -> Sequence[Step]:
    return engine.complete(Request(text, max_tokens=tokens, top_logprobs=count)).steps


def exact(engine: OpenAIEngine, prompt: str, labels: Sequence[str], *, blanks: bool) -> list[float]:
    """Every beginning of a label followed to its end, in all its tokens; with `blanks` also after a line break or other
    token of white space alone, which `reading.read` looks into where they outweigh the labels."""
    masses, beginnings = dict.fromkeys(labels, 0.0), [("", 1.0)]
    while beginnings:
        begun, share = beginnings.pop()
        for token in alternatives(engine, prompt + begun, VOCABULARY if share > LITTLE else FEWER):
            said, mass = (begun + token.text).lstrip().lower(), share * math.exp(token.logprob)
            if said in masses:
                masses[said] += mass
            elif (said or (blanks and token.text)) and mass > HARDLY_ANY and any(x.startswith(said) for x in labels):
                beginnings.append((begun + token.text, mass))
    return [mass / sum(masses.values()) for mass in masses.values()]


@pytest.mark.parametrize(("labels", "most_calls"), SETS.values(), ids=SETS)
def test_two_hundred_alternatives_give_the_distribution_of_the_whole_vocabulary(
    engine: OpenAIEngine, labels: tuple[str, ...], most_calls: float
) -> None:
    calls, distances = [], []
    for prompt in prompts(labels):
        asked: list[str] = []

        def ask(prefix: str, tokens: int, prompt: str = prompt, asked: list[str] = asked) -> Sequence[Step]:
            asked.append(prefix)
            return steps(engine, prompt + prefix, tokens, 200)

        found = reading.read(ask, labels, continues=True)
        shares = [mass / sum(found.masses) for mass in found.masses]
        wanted = exact(engine, prompt, labels, blanks=any(prefix and not prefix.strip() for prefix in asked))
        distances.append(sum(abs(a - b) for a, b in zip(shares, wanted, strict=True)) / 2)
        calls.append(len(asked))
    # Of labels that share beginnings, one that is begun and then not finished counts as that label: .06 was measured.
    alike = len({label[:2] for label in labels}) < len(labels)
    assert max(distances) <= (0.1 if alike else 0.05)
    assert sum(calls) / len(calls) <= most_calls
