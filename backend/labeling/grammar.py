"""One guidance grammar both constrains a generated answer and reads it back."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from guidance import select

_KEY = "label"


@lru_cache(maxsize=512)
def _grammar(codes: tuple[str, ...]) -> Any:
    return select(list(codes), name=_KEY)


def llguidance(codes: Sequence[str]) -> str:
    """llguidance text, as llama.cpp's `grammar` and vLLM's `structured_outputs` take it."""
    return str(_grammar(tuple(codes)).ll_grammar())


def json_schema(codes: Sequence[str]) -> str:
    """The same set for servers that take only JSON schemas: an object with one enumerated string."""
    schema = {
        "type": "object",
        "properties": {_KEY: {"type": "string", "enum": list(codes)}},
        "required": [_KEY],
        "additionalProperties": False,
    }
    return json.dumps(schema, ensure_ascii=False)


def read(text: str, codes: Sequence[str]) -> str | None:
    """The code that the answer is, bare or as the JSON object; None for anything else. Nothing is guessed."""
    answer = text.strip()
    return _match(answer, codes) or _match(_from_json(answer), codes)


def _match(answer: str, codes: Sequence[str]) -> str | None:
    match = _grammar(tuple(codes)).match(answer) if answer else None
    return str(match.captures[_KEY]) if match else None


def _from_json(text: str) -> str:
    try:
        document = json.loads(text) if text.startswith("{") else None
    except (json.JSONDecodeError, RecursionError):
        return ""
    value = document.get(_KEY) if isinstance(document, dict) else None
    return value.strip() if isinstance(value, str) else ""
