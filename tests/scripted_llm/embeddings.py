"""`/v1/embeddings`: texts that share words are alike, the same on every machine."""

import zlib
from http import HTTPStatus

from tests.scripted_llm import payloads, refusals
from tests.scripted_llm.script import Json, Script


def embeddings(script: Script, body: Json) -> Json:
    """In reverse order, as a server may: `index` tells which text each is of."""
    texts = _texts(body)
    rows = [
        {"object": "embedding", "index": index, "embedding": _counted(text, script.dimensions)}
        for index, text in enumerate(texts)
    ]
    used = sum(payloads.count_tokens(text) for text in texts)
    return {
        "object": "list",
        "data": rows[::-1],
        "model": body.get("model", script.models[0]),
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def refused(body: Json, script: Script) -> tuple[HTTPStatus, Json] | None:
    if not body.get("input"):
        return HTTPStatus.BAD_REQUEST, payloads.error("'input' must not be empty", param="input")
    found = refusals.of_texts(script, _texts(body))
    return (found.status, found.body) if found else None


def _texts(body: Json) -> list[str]:
    return body["input"] if isinstance(body.get("input"), list) else [body.get("input", "")]


def _counted(text: str, dimensions: int) -> list[float]:
    """How often words fall into each of the dimensions, by their checksum."""
    counts = [0.0] * dimensions
    for word in text.lower().split():
        counts[zlib.crc32(word.encode()) % dimensions] += 1.0
    return counts
