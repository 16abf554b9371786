"""What a server tells about itself: models, properties, tokens, counters."""

from collections.abc import Callable, Mapping

from tests.scripted_llm import payloads
from tests.scripted_llm.generation import tokenize
from tests.scripted_llm.script import Json, Script

Route = Callable[[Script, Json], Json]


def find(script: Script, method: str, path: str) -> Route | None:
    return ROUTES.get((method, path)) or ROUTES_OF[script.dialect].get((method, path))


def metrics(values: Mapping[str, int]) -> str:
    return "".join(f"llamacpp:{name} {value}\n" for name, value in values.items())


def _models(script: Script, body: Json) -> Json:
    shape: Json = {"object": "model", "created": payloads.CREATED, "owned_by": script.dialect.replace(".", "")}
    if script.dialect == "llama.cpp":
        shape["meta"] = {"n_ctx_train": script.context_tokens, "n_vocab": 49_152}
    if script.dialect == "vllm":
        shape["max_model_len"] = script.context_tokens
    return {"object": "list", "data": [{"id": name, **shape} for name in script.models]}


def _health(script: Script, body: Json) -> Json:
    return {"status": "ok"}


def _version(script: Script, body: Json) -> Json:
    return {"version": "0.11"}


def _props(script: Script, body: Json) -> Json:
    return {
        "default_generation_settings": {
            "n_ctx": script.context_tokens,
            "params": {"seed": 4294967295, "n_predict": -1},
        },
        "total_slots": script.slots or 4,
        "model_path": f"{script.models[0]}.gguf",
        "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
        "build_info": "b0-unknown",
    }


def _tokens(script: Script, body: Json) -> Json:
    pieces = tokenize(body.get("content", ""), script)
    if body.get("with_pieces"):
        return {"tokens": [{"id": payloads.token_id(piece), "piece": piece} for piece in pieces]}
    return {"tokens": [payloads.token_id(piece) for piece in pieces]}


def _vllm_tokens(script: Script, body: Json) -> Json:
    pieces = tokenize(body.get("prompt", ""), script)
    ids = [payloads.token_id(piece) for piece in pieces]
    return {"count": len(ids), "max_model_len": script.context_tokens, "tokens": ids, "token_strs": pieces}


ROUTES: Mapping[tuple[str, str], Route] = {("GET", "/v1/models"): _models, ("GET", "/health"): _health}
ROUTES_OF: Mapping[str, Mapping[tuple[str, str], Route]] = {
    "llama.cpp": {("GET", "/props"): _props, ("POST", "/tokenize"): _tokens},
    "vllm": {("GET", "/version"): _version, ("POST", "/tokenize"): _vllm_tokens},
    "openai": {},
}
