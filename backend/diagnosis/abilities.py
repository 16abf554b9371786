"""What was found out about an endpoint, in words, and what it means for labeling."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from genai_prices import Usage, calc_price

from backend.diagnosis.check import Check
from backend.labeling.engines.base import Capabilities, Constraint
from backend.labeling.engines.wire import Wire
from backend.settings import Settings

# Tokens of a prompt beside the task's text: instruction, definitions, the chat template.
_AROUND_A_TASK = 500
_SAMPLE_TOKENS = 1000
_FORMS: dict[Constraint, str] = {
    "llguidance": "grammars are honoured",
    "structured_outputs": "grammars are honoured, as structured_outputs",
    "json_schema": "JSON schemas are honoured",
}


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint that gave an answer."""

    wire: Wire
    model: str
    able: Capabilities


def checks(able: Capabilities, settings: Settings) -> tuple[Check, ...]:
    return (
        log_probs(able, settings),
        constraint(able, settings),
        thinking(able, settings),
        parameters(able),
        context(able, settings),
    )


def votes(able: Capabilities, style: Literal["chat", "text"]) -> bool:
    """Whether labels are counted in samples, for want of log-probs."""
    return (able.thinking == "always" and style == "chat") or not able.logprobs_for(style)


def log_probs(able: Capabilities, settings: Settings) -> Check:
    found = f"{_alternatives(able.chat_logprobs)} in chat turns, {_alternatives(able.text_logprobs)} in completions"
    if not votes(able, settings.prompt_style):
        return Check("log-probs", "ok", found)
    other = able.text_logprobs if settings.prompt_style == "chat" else able.chat_logprobs
    style = "text" if settings.prompt_style == "chat" else "chat"
    hint = (
        f"LLM_PROMPT_STYLE={style} has them."
        if other
        else "An endpoint that gives log-probs scores finer, in one call."
    )
    if able.thinking == "always" and settings.prompt_style == "chat":
        found = "of no use: the model thinks before it answers"
    return Check("log-probs", "warning", f"{found}; scores are the votes of {settings.llm_votes} samples", hint)


def constraint(able: Capabilities, settings: Settings) -> Check:
    sent = able.constraint != "none" and not (able.constraint == "json_schema" and settings.prompt_style == "text")
    if sent:
        return Check("constraint", "ok", _FORMS[able.constraint])
    found = "neither grammars nor JSON schemas are honoured"
    if able.constraint != "none":
        found = "JSON schemas are honoured, in chat turns only"
    if not votes(able, settings.prompt_style):
        return Check("constraint", "ok", f"{found}; not needed, since labels are read from log-probs")
    hint = "A server with structured outputs (llama.cpp, vLLM) keeps the model to the label set."
    return Check("constraint", "warning", f"{found}: an answer outside the label set is no vote", hint)


def thinking(able: Capabilities, settings: Settings) -> Check:
    match able.thinking:
        case "none":
            return Check("thinking", "ok", "none: the model answers at once")
        case "template_off":
            return Check("thinking", "ok", "turned off, by chat_template_kwargs")
        case "effort_off":
            return Check("thinking", "ok", "turned off, by reasoning_effort")
        case "always" if settings.prompt_style == "text":
            return Check("thinking", "ok", "in chat turns only, which LLM_PROMPT_STYLE=text does without")
        case "always":
            asked = f", asked for {able.effort} effort" if able.effort else ""
            samples = f"{settings.llm_votes} samples a task, each with {settings.llm_thinking_tokens} tokens to think"
            found = f"always{asked}: {samples}"
            return Check(
                "thinking", "warning", found, "A model that answers at once is faster, cheaper and scores finer."
            )


def parameters(able: Capabilities) -> Check:
    found = [able.token_limit, "temperature" if able.temperature else "temperature is refused and left out"]
    if not able.seed:
        found.append("seed is refused and left out")
    if not able.system_role:
        found.append("a system message is refused and begins the first user turn")
    return Check("parameters", "ok", "; ".join(found))


def context(able: Capabilities, settings: Settings) -> Check:
    if able.context_tokens is None:
        return Check("context", "skipped", "the server does not tell its length")
    room = able.context_tokens - _AROUND_A_TASK
    if room >= settings.llm_max_task_tokens:
        return Check("context", "ok", f"{able.context_tokens} tokens")
    found = f"{able.context_tokens} tokens; a task's text may take {settings.llm_max_task_tokens} of them"
    return Check(
        "context", "warning", found, f"Lower LLM_MAX_TASK_TOKENS to {max(16, room)}, or raise the server's context."
    )


def price(model: str, settings: Settings) -> Check:
    """The list price a million tokens. A model's name alone tells no price: who serves it sets it."""
    if _own_machine(settings.llm_base_url):
        return Check("price", "ok", "free: the LLM runs on this machine or network")
    try:
        prompt, answer = (_usd(model, settings, usage) for usage in ("input_tokens", "output_tokens"))
    except LookupError:
        hint = "A budget in tokens holds; one in money cannot."
        return Check("price", "warning", "unknown: tokens are counted", hint)
    return Check("price", "ok", f"${prompt:.4g} a million tokens of prompt, ${answer:.4g} of answer")


def _usd(model: str, settings: Settings, kind: str) -> float:
    usage = Usage(**{kind: _SAMPLE_TOKENS})
    total = calc_price(usage, model, provider_api_url=settings.llm_base_url).total_price
    return float(total) * 1_000_000 / _SAMPLE_TOKENS


def _own_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".lan"))


def _alternatives(count: int) -> str:
    return f"{count} alternatives a token" if count else "none"
