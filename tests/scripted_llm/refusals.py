"""What a server answers instead of a completion."""

from dataclasses import dataclass, field
from http import HTTPStatus

from tests.scripted_llm import payloads
from tests.scripted_llm.script import Json, Script

MESSAGES = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support {value} with this model. "
    "Only the default (1) value is supported.",
    "logprobs": "You are not allowed to request logprobs from this model.",
    "top_logprobs": "You are not allowed to request logprobs from this model.",
}
CODES = {"temperature": "unsupported_value", "max_tokens": "unsupported_parameter"}


@dataclass(frozen=True, slots=True)
class Refusal:
    status: HTTPStatus
    body: Json = field(default_factory=dict)


def refusal(script: Script, route: str, body: Json, prompt: object) -> Refusal | None:
    """The first that applies, in the order in which servers look."""
    return (
        _of_route(script, route)
        or _of_model(script, body)
        or _of_parameters(script, body)
        or _of_prompt(script, prompt)
    )


def _of_route(script: Script, route: str) -> Refusal | None:
    if route == "completions" and "completions" in script.rejects:
        return Refusal(HTTPStatus.NOT_FOUND, payloads.error("Not Found: this server has no /completions"))
    return None


def _of_model(script: Script, body: Json) -> Refusal | None:
    """llama.cpp serves its one model under any name."""
    if script.dialect == "llama.cpp" or body.get("model") in script.models:
        return None
    message = f"The model `{body.get('model')}` does not exist or you do not have access to it."
    return Refusal(HTTPStatus.NOT_FOUND, payloads.error(message, param="model", code="model_not_found"))


def _of_parameters(script: Script, body: Json) -> Refusal | None:
    if body.get("stream"):
        return _refused("stream", "The scripted server does not stream.")
    for rule in sorted(script.rejects):
        name, _, most = rule.partition(">")
        value = body.get(name)
        if name == "system" and any(turn.get("role") == "system" for turn in body.get("messages") or ()):
            return _refused("messages", "System role not supported")
        if most and isinstance(value, int) and value > int(most):
            return _refused(name, f"Invalid value for '{name}': must be less than or equal to {most}.")
        if not most and value not in _defaults(name):
            message = MESSAGES.get(name, "Unsupported parameter: '{name}' is not supported with this model.")
            return _refused(name, message.format(name=name, value=value))
    return None


def _defaults(name: str) -> tuple[object, ...]:
    """Values that are the same as leaving the parameter out."""
    return (None, 1) if name == "temperature" else (None, False)


def _refused(name: str, message: str) -> Refusal:
    body = payloads.error(message, param=name, code=CODES.get(name, "unsupported_parameter"))
    return Refusal(HTTPStatus.BAD_REQUEST, body)


def of_texts(script: Script, texts: list[str]) -> Refusal | None:
    """One that is refused is a refusal of all; each has the whole context."""
    return next((refused for text in texts if (refused := _of_prompt(script, text))), None)


def _of_prompt(script: Script, prompt: object) -> Refusal | None:
    if not isinstance(prompt, str):
        return _refused("prompt", "The scripted server takes one prompt, as text.")
    if script.moderated and script.moderated in prompt:
        message = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        body = payloads.error(message, param="prompt", code="content_filter")
        body["error"]["innererror"] = {"code": "ResponsibleAIPolicyViolation"}
        return Refusal(HTTPStatus.BAD_REQUEST, body)
    tokens = payloads.count_tokens(prompt)
    if tokens <= script.context_tokens:
        return None
    message = (
        f"This model's maximum context length is {script.context_tokens} tokens. "
        f"However, your messages resulted in {tokens} tokens."
    )
    body = payloads.error(message, param="messages", code="context_length_exceeded")
    return Refusal(HTTPStatus.BAD_REQUEST, body)
