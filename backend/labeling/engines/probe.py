"""What can this endpoint do? Found out by trying, with six to a dozen calls of a few tokens.

A refusal is a finding. An outage, a timeout or a 429 is none: it is raised, so that nothing wrong is remembered.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.labeling import grammar
from backend.labeling.engines import dialect
from backend.labeling.engines.base import Capabilities, Completion, Constraint, Effort, Message, Request, Thinking
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import EngineAnswerError, EngineError, EngineRefusedError, EngineUnreachableError

# Tried from the most useful down; servers cap the number (OpenAI 20, older completions 5, llama.cpp not at all).
_ALTERNATIVES = (200, 20, 5)
# Enough for a model that answers at once, and for the JSON that a constraint forces.
_SHORT = 24
_THOUGHT = 2048
_USER = Message("user", "Is water wet? Answer yes or no.")
# All that labeling sends: a system message first, and votes a seed.
_QUESTION = Request(messages=(Message("system", "You answer in one word."), _USER), max_tokens=_SHORT, seed=1)
# What the fingerprint is taken of stays as it is: another question would look like another model.
_FINGERPRINTED = Request(messages=(_USER,))
_TEXT = Request(text="Question: Is water wet?\nAnswer (yes or no):")
# Words no model answers by itself: only a constraint brings them out.
_FORCED = ("zebra-7", "quartz-9")
# What OpenAI says, as a refusal, when the thought alone was longer than the allowance.
_STILL_THINKING = re.compile("could not finish|output limit was reached", re.IGNORECASE)
_ROLES = re.compile(r"\broles?\b|system|developer instruction", re.IGNORECASE)
# Of a request's form: not of a key or a model.
_FORM = re.compile(r"400|422")
# One for each thing that we could do without, and one more.
_MOST_TRIES = 5


def first_model(wire: Wire) -> str:
    """Raises `EngineRefusedError` when the endpoint lists none."""
    listed = models(wire)
    if not listed:
        raise EngineRefusedError(f"the LLM at {wire.base_url} lists no model", hint="Set LLM_MODEL.")
    return listed[0]


def models(wire: Wire) -> tuple[str, ...]:
    return tuple(str(entry["id"]) for entry in _listed(wire) if "id" in entry)


def capabilities(wire: Wire, model: str) -> Capabilities:
    """Raises the engine's errors when not even a plain answer comes."""
    server, properties = _server(wire)
    context_tokens = _context(wire, model, properties)
    known = Capabilities(server=server, context_tokens=context_tokens)
    found = _chat(wire, model, known)
    continues = _continues(wire, model, found.able, chats=found.refusal is None)
    # It may have been an outage that is over, or a chat template that fails over a system message.
    for hopeful in (known, replace(known, system_role=False)):
        if isinstance(found.refusal, EngineUnreachableError) and continues:
            found = _chat(wire, model, hopeful)
    if found.refusal is not None and not continues:
        raise found.refusal
    able = replace(found.able, continues=continues)
    route = _Route(wire, model, _TEXT if found.refusal else _QUESTION)
    if found.answer is not None:
        able = _with_thinking(route, able, found.answer)
    return _with_fingerprint(route, _with_constraint(route, able), chats=found.refusal is None)


def ask(wire: Wire, model: str, request: Request, able: Capabilities) -> Completion:
    return dialect.completion(wire.post(dialect.path(request), dialect.body(request, model, able)).document)


def _asked(wire: Wire, model: str, request: Request, able: Capabilities) -> Completion:
    """A thought that used the allowance up is an answer that is not finished, also where it comes as a refusal."""
    try:
        return ask(wire, model, request, able)
    except EngineRefusedError as refusal:
        if _STILL_THINKING.search(str(refusal)):
            return Completion("", finished=False)
        raise


@dataclass(frozen=True, slots=True)
class _Route:
    """`plain` is a question that this endpoint was seen to answer."""

    wire: Wire
    model: str
    plain: Request

    def attempt(self, request: Request, able: Capabilities) -> Completion | None:
        """None for what the endpoint does not take.

        Servers also fail with a 5xx, or hang, over a parameter they do not know. That counts as not taken if the
        plain question is answered meanwhile; else the outage is raised.
        """
        try:
            return _asked(self.wire, self.model, request, able)
        except (EngineRefusedError, EngineAnswerError):
            return None
        except EngineUnreachableError:
            self.check(able)
            return None

    def check(self, able: Capabilities) -> None:
        """Raises `EngineError` in an outage; a refusal or an odd answer is no outage."""
        try:
            ask(self.wire, self.model, self.plain, able)
        except (EngineRefusedError, EngineAnswerError):
            return


@dataclass(frozen=True, slots=True)
class _Chat:
    """With a `refusal` there are no chat turns, and the answer is None."""

    able: Capabilities
    answer: Completion | None
    refusal: EngineError | None = None


def _listed(wire: Wire) -> list[dict[str, Any]]:
    entries = wire.get("/models").document.get("data")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _server(wire: Wire) -> tuple[str, Mapping[str, Any]]:
    """By what stands beside the API: llama.cpp answers /props, vLLM /version, Ollama /api/version. With that page."""
    if "api.openai.com" in wire.base_url:
        return "openai", {}
    root = re.sub(r"/v1/?$", "", wire.base_url)
    for address, key, name in (
        ("/props", "default_generation_settings", "llama.cpp"),
        ("/version", "version", "vllm"),
        ("/api/version", "version", "ollama"),
    ):
        try:
            page = wire.get(root + address, timeout_s=2).document
        except EngineError:
            continue
        if key in page:
            return name, page
    return "unknown", {}


def _context(wire: Wire, model: str, properties: Mapping[str, Any]) -> int | None:
    """Tokens of prompt and answer together, where the server tells."""
    try:
        if "default_generation_settings" in properties:
            return int(properties["default_generation_settings"]["n_ctx"]) or None
        own = [entry for entry in _listed(wire) if entry.get("id") == model]
        return next((int(entry["max_model_len"]) for entry in own if entry.get("max_model_len")), None)
    except (EngineError, KeyError, TypeError, ValueError):
        return None


def _chat(wire: Wire, model: str, able: Capabilities) -> _Chat:
    """Renames or leaves out the parameters that refusals name, until an answer comes."""
    error: EngineError = EngineRefusedError(f"the LLM at {wire.base_url} refuses every form of a chat request")
    for _ in range(_MOST_TRIES):
        try:
            return _Chat(able, _asked(wire, model, _QUESTION, able))
        except EngineRefusedError as refusal:
            changed = _without_refused(able, str(refusal).partition(" refused (")[2])
            if changed == able:
                return _Chat(able, None, refusal)
            able, error = changed, refusal
        except (EngineAnswerError, EngineUnreachableError) as failure:
            return _Chat(able, None, failure)
    return _Chat(able, None, error)


def _without_refused(able: Capabilities, refusal: str) -> Capabilities:
    """What the refusal names, which begins with its status; where it names nothing, the seed, then the system message.
    The same where there is nothing that we could do without."""
    if "max_tokens" in refusal and able.token_limit == "max_tokens":
        return replace(able, token_limit="max_completion_tokens")  # noqa: S106 - a parameter's name
    if "temperature" in refusal and able.temperature:
        return replace(able, temperature=False)
    if "seed" in refusal and able.seed:
        return replace(able, seed=False)
    if _ROLES.search(refusal) and able.system_role:
        return replace(able, system_role=False)
    if _FORM.match(refusal):
        return replace(able, seed=False) if able.seed else replace(able, system_role=False)
    return able


def _continues(wire: Wire, model: str, able: Capabilities, *, chats: bool) -> bool:
    """Whether the route for plain completions works. Without chat turns, what fails there is the outage."""
    if chats:
        return _Route(wire, model, _QUESTION).attempt(_TEXT, able) is not None
    try:
        ask(wire, model, _TEXT, able)
    except (EngineRefusedError, EngineAnswerError):
        return False
    return True


def _with_thinking(route: _Route, able: Capabilities, first: Completion) -> Capabilities:
    """None for a model that answers at once; how to turn thinking off where that works; else always, with the least
    effort that it takes: an easy question answered at once says nothing about a hard one."""
    if _answers_at_once(route, able, first):
        return able
    options: tuple[Thinking, ...] = ("template_off", "effort_off")
    for option in options:
        hopeful = replace(able, thinking=option)
        answer = route.attempt(_QUESTION, hopeful)
        if answer is not None and _answers_at_once(route, hopeful, answer):
            return hopeful
    always = replace(able, thinking="always")
    efforts: tuple[Effort, ...] = ("minimal", "low")
    tried = (replace(always, effort=effort) for effort in efforts)
    return next((hopeful for hopeful in tried if route.attempt(_QUESTION, hopeful) is not None), always)


def _answers_at_once(route: _Route, able: Capabilities, answer: Completion) -> bool:
    """An empty answer that ended by itself is no thought either.

    A long one may be a thought that the chat template opened: only its end tells. llama.cpp cuts those out itself.
    """
    if answer.reasoning or answer.finished:
        return not answer.reasoning
    if able.server == "llama.cpp" or not answer.text.strip():
        return bool(answer.text.strip())
    whole = route.attempt(replace(_QUESTION, max_tokens=_THOUGHT), able)
    return whole is None or not whole.reasoning


def _with_constraint(route: _Route, able: Capabilities) -> Capabilities:
    """The first form that really forces an answer which the model would never give by itself."""
    options: tuple[Constraint, ...] = ("llguidance", "structured_outputs", "json_schema")
    request = replace(
        route.plain,
        max_tokens=_SHORT + (_THOUGHT if able.thinking == "always" else 0),
        grammar=grammar.llguidance(_FORCED),
        json_schema=grammar.json_schema(_FORCED),
    )
    for option in options:
        hopeful = replace(able, constraint=option)
        answer = route.attempt(request, hopeful)
        if answer is not None and grammar.read(answer.text, _FORCED):
            return hopeful
    return able


def _with_fingerprint(route: _Route, able: Capabilities, *, chats: bool) -> Capabilities:
    """Also the most alternatives on either route; a model that always thinks has none of use in chat turns.

    The fingerprint is the log-probs of one fixed prompt, rounded to a hundredth nat: other weights give another one. So
    does another effort.
    """
    text = _alternatives(route, able, _TEXT) if able.continues else ()
    chat = _alternatives(route, able, _FINGERPRINTED) if _scores_chat(able, chats=chats) else ()
    parts = [f"{text.strip()}:{math.floor(logprob * 100) / 100}" for text, logprob in (text or chat)[:3]]
    parts += [f"effort {able.effort}"] if able.effort else []
    return replace(able, text_logprobs=len(text), chat_logprobs=len(chat), fingerprint=" ".join(parts))


def _scores_chat(able: Capabilities, *, chats: bool) -> bool:
    return chats and able.thinking != "always"


def _alternatives(route: _Route, able: Capabilities, request: Request) -> tuple[tuple[str, float], ...]:
    """The first token's, the most that can be had; a single one says nothing about the others and counts as none."""
    for wanted in _ALTERNATIVES:
        hopeful = replace(able, chat_logprobs=wanted, text_logprobs=wanted)
        answer = route.attempt(replace(request, top_logprobs=wanted), hopeful)
        if answer is not None and answer.steps and len(answer.steps[0].alternatives) > 1:
            return tuple((token.text, token.logprob) for token in answer.steps[0].alternatives)
    return ()
