"""One guidance grammar both constrains a generated answer and reads it back."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from guidance import gen, select

_KEY = "label"
_RATIONALE = "rationale"
# One line, of no more characters: a model that rambles comes to its answer all the same.
_LINE = r"[^\n]{1,400}"
# What models put around a label without changing it: each opening mark with its closing ones.
_AROUND = {
    '"': '"',
    "'": "'",
    "`": "`",
    "*": "*",
    "\u201c": "\u201d",
    "\u2018": "\u2019",
    "\u201e": "\u201c\u201d",
    "«": "»",
}
_FULL_STOPS = (".", "\u3002")


@lru_cache(maxsize=512)
def _grammar(codes: tuple[str, ...]) -> Any:
    return select(list(codes), name=_KEY)


@lru_cache(maxsize=512)
def _reasoned(codes: tuple[str, ...]) -> Any:
    return gen(_RATIONALE, regex=_LINE) + "\n" + select(list(codes), name=_KEY)


def llguidance(codes: Sequence[str], *, reasoned: bool = False) -> str:
    """llguidance text, as llama.cpp's `grammar` and vLLM's `structured_outputs` take it; `reasoned`: a line of
    rationale, then the code on the next."""
    made = _reasoned(tuple(codes)) if reasoned else _grammar(tuple(codes))
    return str(made.ll_grammar())


@lru_cache(maxsize=1)
def a_line() -> str:
    """llguidance text of a line of rationale alone."""
    return str(gen(_RATIONALE, regex=_LINE).ll_grammar())


def json_schema(codes: Sequence[str], *, reasoned: bool = False) -> str:
    """The same set for servers that take only JSON schemas: an object with one enumerated string, after the rationale
    where one is asked for."""
    properties: dict[str, Any] = {_RATIONALE: {"type": "string"}} if reasoned else {}
    properties[_KEY] = {"type": "string", "enum": list(codes)}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return json.dumps(schema, ensure_ascii=False)


def read_reasoned(text: str, codes: Sequence[str]) -> tuple[str, str] | None:
    """Rationale and code: of the JSON object, else the last line is the code and what stands before it the rationale.
    None where no code ends the answer."""
    answer = text.strip()
    document = _object(answer)
    if document is not None:
        code, rationale = read(answer, codes), document.get(_RATIONALE)
        return (rationale.strip() if isinstance(rationale, str) else "", code) if code else None
    before, _, last = answer.rpartition("\n")
    code = read(last, codes)
    return (" ".join(before.split()), code) if code else None


def read(text: str, codes: Sequence[str]) -> str | None:
    """The code that the answer is, bare or as the JSON object; None for anything else. Nothing is guessed.

    Quotes, asterisks and backticks around it, one full stop after it, and capitals make no other code, unless codes
    differ by just these: then the one that takes the least change, or none where that is several.
    """
    answer = text.strip()
    return _match(answer, codes) or _match(_from_json(answer), codes)


def _match(answer: str, codes: Sequence[str]) -> str | None:
    for bare in _bared(answer):
        if match := _grammar(tuple(codes)).match(bare):
            return str(match.captures[_KEY])
        alike = [code for code in codes if code.casefold() == bare.casefold()]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None


def _bared(answer: str) -> Iterator[str]:
    """The answer as it is, then with ever less around it."""
    stopped = False
    while answer:
        yield answer
        if len(answer) > 1 and answer[-1] in _AROUND.get(answer[0], ""):
            answer = answer[1:-1].strip()
        elif not stopped and answer.endswith(_FULL_STOPS):
            answer, stopped = answer[:-1].rstrip(), True
        else:
            return


def _from_json(text: str) -> str:
    value = (_object(text) or {}).get(_KEY)
    return value.strip() if isinstance(value, str) else ""


def _object(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text) if text.startswith("{") else None
    except (json.JSONDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
