"""What only shows when a request is made twice: the prefix cache, and whether a seed repeats."""

from collections.abc import Sequence
from dataclasses import replace

from backend.diagnosis.abilities import Found
from backend.diagnosis.check import Check
from backend.diagnosis.faults import way_out
from backend.labeling.engines import dialect, probe
from backend.labeling.engines.base import Capabilities, Completion, Message, Request, Token
from backend.labeling.errors import EngineError
from backend.settings import Settings

GREETING = "Say hello."
_ANIMAL = "Name any animal, and say in one sentence why it is interesting.\nAnswer:"
# OpenAI caches prompts from 1,024 tokens on; servers of one's own cache short ones too, and may run on a slow machine.
_LINES = 80
_LINES_OF_ONES_OWN = 12
_OWN_SERVERS = {"llama.cpp", "vllm", "ollama"}
_TOKENS_A_LINE = 20
_SAMPLED_TOKENS = 16
_SEED = 11
_DIFFER = "Scores may differ a little when a task is labelled again."
# Nats by which log-probs of one prompt may differ before scores can be said to move.
_DRIFT = 0.05
# Less of a shared beginning from the cache than this, and something defeats it.
_CACHED_SHARE = 0.5


def short(text: str, able: Capabilities, settings: Settings) -> Request:
    """One token by the route that prompts take, and the allowance to think where there is no way around it."""
    if settings.prompt_style == "text":
        return Request(text=text)
    allowance = settings.llm_thinking_tokens if able.thinking == "always" else 0
    return Request(messages=(Message("user", text),), max_tokens=1 + allowance)


def prefix_cache(found: Found, settings: Settings) -> Check:
    """Two prompts with one long beginning: how much of the second came from the cache?"""
    try:
        _usage(found, settings, "How many lines are there?")
        usage = _usage(found, settings, "What was weighed last?")
    except EngineError as error:
        return _untried("prefix cache", error, settings)
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt = usage.get("prompt_tokens")
    if not isinstance(cached, int) or not isinstance(prompt, int) or not prompt:
        hint = "vLLM tells it with --enable-prompt-tokens-details." if found.able.server == "vllm" else ""
        return Check("prefix cache", "skipped", "the server does not report its hits", hint)
    share = cached / prompt
    shown = f"{share:.0%} of a repeated beginning of {prompt} tokens came from the cache"
    if share >= _CACHED_SHARE:
        return Check("prefix cache", "ok", shown)
    hint = "Switch the server's prefix cache on: the instruction is the same for every task."
    return Check("prefix cache", "warning", shown, hint)


def _usage(found: Found, settings: Settings, question: str) -> dict[str, object]:
    """As the server wrote it: whether hits were reported matters here."""
    request = short(f"{_beginning(found.able)}\n\n{question}", found.able, settings)
    reply = found.wire.post(dialect.path(request), dialect.body(request, found.model, found.able))
    usage = reply.document.get("usage")
    return usage if isinstance(usage, dict) else {}


def _beginning(able: Capabilities) -> str:
    most = ((able.context_tokens or 100_000) - 200) // _TOKENS_A_LINE
    wanted = _LINES_OF_ONES_OWN if able.server in _OWN_SERVERS else _LINES
    lines = range(1, min(wanted, max(1, most)) + 1)
    return "\n".join(f"Line {i}: parcel {i} arrived on day {i} and weighed {i} pounds." for i in lines)


def seed(found: Found, settings: Settings) -> Check:
    """The same request twice: is it the same text, and are the log-probs of its first token the same?"""
    if not found.able.seed:
        return Check("seed", "warning", "refused, and left out", _DIFFER)
    request = replace(short(_ANIMAL, found.able, settings), temperature=1.0, seed=_SEED, top_logprobs=5)
    request = replace(request, max_tokens=request.max_tokens + _SAMPLED_TOKENS)
    try:
        first, second = (probe.ask(found.wire, found.model, request, found.able) for _ in range(2))
    except EngineError as error:
        return _untried("seed", error, settings)
    same = first.text == second.text
    drift = _drift(first, second)
    shown = "the same text twice" if same else "two texts from one seed"
    if drift is not None:
        shown += f", log-probs within {drift:.4f}"
    if not same or (drift or 0.0) > _DRIFT:
        return Check("seed", "warning", shown, _DIFFER)
    return Check("seed", "ok", shown)


def _drift(first: Completion, second: Completion) -> float | None:
    """The most by which a token's log-prob differs at the first place, in nats; None without log-probs."""
    if not first.steps or not second.steps:
        return None
    ours, theirs = _by_text(first.steps[0].alternatives), _by_text(second.steps[0].alternatives)
    return max((abs(ours[text] - theirs[text]) for text in ours.keys() & theirs.keys()), default=None)


def _by_text(tokens: Sequence[Token]) -> dict[str, float]:
    return {token.text: token.logprob for token in tokens}


def _untried(name: str, error: EngineError, settings: Settings) -> Check:
    return Check(name, "warning", f"could not be tried: {error}", way_out(error, settings))
