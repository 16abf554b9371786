"""How much of the static part of a prompt the LLM server takes from its prefix cache."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.labeling.engines.base import Request
from tests.benchmarks.clients import fresh_texts, requests
from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.neighbours import Endpoint

LEAST_SHARE = 0.9


def measure(endpoint: Endpoint, *, count: int) -> Section:
    """As many calls as go at once warm as many slots; then `count` prompts go at that concurrency. Of a prompt's cached
    tokens at most the static ones count, so that chance hits in the texts add nothing."""
    engine, slots = endpoint.engine(), endpoint.concurrency
    asked = requests(fresh_texts(slots + count), endpoint.style, engine.capabilities)
    static = endpoint.count_tokens(static_part(asked))
    with ThreadPoolExecutor(slots) as pool:
        warm_up = list(pool.map(engine.complete, asked[:slots]))
        found = list(pool.map(engine.complete, asked[slots:]))
    cached = [completion.usage.cached_tokens for completion in found]
    share = sum(min(tokens, static) for tokens in cached) / (static * len(cached))
    row = {
        "static tokens": static,
        "prompt tokens (mean)": sum(completion.usage.prompt_tokens for completion in found) / len(found),
        "cached at warm-up (mean)": sum(completion.usage.cached_tokens for completion in warm_up) / len(warm_up),
        "cached after it (mean)": sum(cached) / len(cached),
        "of the static part": share,
    }
    bar = Bar("static part served from the prefix cache", share, LEAST_SHARE, "%", at_least=True)
    return Section(f"Prefix cache, {endpoint.name}, {len(found)} prompts after {slots} to warm up", [row], [bar])


def static_part(asked: Sequence[Request]) -> str:
    """What all prompts begin with."""
    return os.path.commonprefix([request.text for request in asked])  # noqa: RUF071 - character by character it is
