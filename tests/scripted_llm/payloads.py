"""Generations and refusals as the bodies that llama.cpp, vLLM and OpenAI send."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tests.scripted_llm.generation import Generation, Step
from tests.scripted_llm.script import Json, Script

CHARACTERS_PER_TOKEN = 4
CREATED = 1_760_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a payload is made of. `with_logprobs` says that they were asked for; `prefix_chars` is the cached start."""

    body: Json
    prompt: str
    generations: tuple[Generation, ...]
    number: int
    prefix_chars: int
    with_logprobs: bool


def chat(script: Script, answer: Answer) -> Json:
    choices = []
    for index, generation in enumerate(answer.generations):
        logprobs = {"content": [_content(script, step) for step in generation.steps], "refusal": None}
        choices.append(
            {
                "index": index,
                "message": {"role": "assistant", **_parts(script, generation.text)},
                "logprobs": logprobs if answer.with_logprobs else None,
                "finish_reason": generation.finish,
            }
        )
    return _envelope(script, answer, choices, "chat.completion")


def completion(script: Script, answer: Answer) -> Json:
    choices = [
        {
            "text": generation.text,
            "index": index,
            "logprobs": _text_logprobs(script, answer, generation.steps) if answer.with_logprobs else None,
            "finish_reason": generation.finish,
        }
        for index, generation in enumerate(answer.generations)
    ]
    return _envelope(script, answer, choices, "text_completion")


def _envelope(script: Script, answer: Answer, choices: Sequence[Json], kind: str) -> Json:
    return {
        "choices": list(choices),
        "created": CREATED,
        "model": answer.body.get("model") or script.models[0],
        "system_fingerprint": "b0-unknown" if script.dialect == "llama.cpp" else "fp_scripted",
        "object": kind,
        "usage": usage(script, answer),
        "id": f"chatcmpl-{answer.number}",
    }


def _parts(script: Script, text: str) -> Json:
    """The thought in a field of its own, where the server does that."""
    if not script.separate_reasoning or not text.startswith("<think>"):
        return {"content": text}
    thought, _, content = text.removeprefix("<think>").partition("</think>")
    return {"content": content.strip(), "reasoning_content": thought.strip()}


def _content(script: Script, step: Step) -> Json:
    with_id = script.dialect == "llama.cpp"
    alternatives = [_token(*other, with_id=with_id) for other in step.top]
    return {**_token(step.token, step.logprob, with_id=with_id), "top_logprobs": alternatives}


@lru_cache(maxsize=65536)
def _token(token: str, logprob: float, *, with_id: bool) -> Json:
    """Shared between answers: not to be changed."""
    shape: Json = {"token": token, "logprob": logprob, "bytes": list(token.encode())}
    return {"id": token_id(token), **shape} if with_id else shape


def _text_logprobs(script: Script, answer: Answer, steps: Sequence[Step]) -> Json:
    """llama.cpp answers plain completions in the chat's shape, the others in the older one."""
    if script.dialect == "llama.cpp":
        return {"content": [_content(script, step) for step in steps]}
    offsets, at = [], len(answer.prompt)
    for step in steps:
        offsets.append(at)
        at += len(step.token)
    return {
        "tokens": [step.token for step in steps],
        "token_logprobs": [step.logprob for step in steps],
        "top_logprobs": [dict([*step.top, (step.token, step.logprob)]) for step in steps],
        "text_offset": offsets,
    }


def usage(script: Script, answer: Answer) -> Json:
    """Four characters are a token; the last one of a prompt is never cached."""
    prompt_tokens = count_tokens(answer.prompt)
    completion_tokens = sum(max(1, len(generation.steps)) for generation in answer.generations)
    cached = min(answer.prefix_chars // CHARACTERS_PER_TOKEN, prompt_tokens - 1)
    return {
        "completion_tokens": completion_tokens,
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def count_tokens(text: str) -> int:
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def token_id(token: str) -> int:
    return zlib.crc32(token.encode()) % 50_000


def error(message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: object = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
