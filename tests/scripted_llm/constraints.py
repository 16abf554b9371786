"""Which strings a request allows: its grammar, choices or JSON schema, where the script honours them."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from tests.scripted_llm.script import Json, Script

LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')
BYTES = LLTokenizer("byte")
SEPARATORS = ((",", ":"), (", ", ": "))
ELSEWHERE = 1e-6


class RefusedConstraintError(ValueError):
    """A grammar or schema that the server cannot read: answered 400."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One of the fields is set. `schema` admits the documents of `documents`."""

    grammar: str = ""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    schema: Json | None = None

    def candidates(self, answers: Mapping[str, float]) -> dict[str, float]:
        """What can be said beside `answers`: documents of the schema, literals of the grammar."""
        if self.schema is not None:
            return dict(documents(self.schema, answers))
        if "%json" in self.grammar:
            return dict(documents(_embedded_schema(self.grammar), answers))
        literals = [json.loads(literal) for literal in LITERAL.findall(self.grammar)]
        texts = [*self.choices, *literals, *(f" {literal}" for literal in literals)]
        return {text: max(answers.get(text.strip(), 0.0), ELSEWHERE) for text in texts}

    def allows(self, text: str) -> bool:
        if self.grammar:
            return accepts(self.grammar, text)
        if self.pattern:
            return re.fullmatch(self.pattern, text) is not None
        return text in self.choices if self.choices else _is_json(text)


def constraint_of(body: Json, script: Script) -> Constraint | None:
    found = _constraint({name: body[name] for name in script.honours if body.get(name) is not None})
    if found and found.grammar:
        _check_grammar(found.grammar)
    return found


def _constraint(honoured: Json) -> Constraint | None:
    outputs = honoured.get("structured_outputs") or {}
    if grammar := honoured.get("grammar") or outputs.get("grammar"):
        return Constraint(grammar=grammar)
    if choices := honoured.get("guided_choice") or outputs.get("choice"):
        return Constraint(choices=tuple(choices))
    if pattern := outputs.get("regex"):
        return Constraint(pattern=pattern)
    if outputs.get("json"):
        return Constraint(schema=outputs["json"])
    response_format = honoured.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        return Constraint(schema=response_format["json_schema"]["schema"])
    return None


@lru_cache(maxsize=4096)
def accepts(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar)
    tokens = BYTES.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@lru_cache(maxsize=256)
def _check_grammar(grammar: str) -> None:
    if not grammar.startswith("%llguidance"):
        raise RefusedConstraintError("failed to parse grammar: only llguidance is spoken here")
    problem = LLMatcher(BYTES, grammar).get_error()
    if problem:
        raise RefusedConstraintError(f"failed to parse grammar: {problem}")


def documents(schema: Json, answers: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """One document, in both usual spacings, for each value of the first closed set; other fields hold their likeliest.

    A value that is no answer weighs next to nothing.
    """
    pivot = _first_enum(schema)
    values = pivot or [None]
    weights = [max(answers.get(str(value), 0.0), ELSEWHERE) for value in values]
    for value, weight in zip(values, weights, strict=True):
        document = _document(schema, answers, pivot, value)
        for separators in SEPARATORS:
            text = json.dumps(document, ensure_ascii=False, separators=separators)
            yield text, weight / sum(weights)


def _first_enum(schema: Json) -> list[Any] | None:
    if "enum" in schema:
        values: list[Any] = schema["enum"]
        return values
    inner = [schema["items"]] if "items" in schema else list(schema.get("properties", {}).values())
    return next((found for found in map(_first_enum, inner) if found is not None), None)


def _document(schema: Json, answers: Mapping[str, float], pivot: list[Any] | None, value: Any) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return value if schema["enum"] is pivot else max(schema["enum"], key=lambda v: answers.get(str(v), 0.0))
    if "properties" in schema:
        return {name: _document(inner, answers, pivot, value) for name, inner in schema["properties"].items()}
    if "items" in schema:
        return [_document(schema["items"], answers, pivot, value)]
    return {"string": "because", "integer": 1, "number": 0.5, "boolean": True}.get(schema.get("type", ""))


def _embedded_schema(grammar: str) -> Json:
    schema: Json = json.JSONDecoder().raw_decode(grammar, grammar.index("{", grammar.index("%json")))[0]
    return schema


def _is_json(text: str) -> bool:
    """A document of this schema begins with a brace, a bracket or a quote; a bare label does not."""
    return text[:1] in {"{", "[", '"'}
