"""What the LLM said of one task under one prompt, kept in Redis: a re-run pays only for what is new."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from redis import Redis

from backend.labeling.answers import Distribution, Label, Question, TaskAnswers
from backend.labeling.calibration import Calibration
from backend.labeling.engines.base import Spent, Usage
from backend.labeling.fields import Value
from backend.labeling.labeler import Limits
from backend.labeling.prompt import Prompt, content_hash, render
from backend.storage.redis_client import as_text, translated
from worker.calls import scripts
from worker.optimizer.outcomes import Outcome

MOST = 200_000

_BY_AGE = "whetstone:evaluations"
_KEY_DIGITS, _SHAPE_DIGITS = 32, 12
# Rendered with each prompt, so that another wording of the templates makes other keys.
_LABELS = (Label("a", "A"), Label("b", "B", "a hint"))
_SAMPLES = (Question("control", _LABELS), Question("control", _LABELS, about=_LABELS[1]))
_SEVERAL = (Question("control", _LABELS, about=_LABELS[1], among=True),)
_SAMPLE_VALUES = (Value("text", "text"),)


def prompt_key(
    prompt: Prompt,
    config_hash: str,
    model: str,
    fingerprint: str,
    limits: Limits,
    selection: str = "",
    *,
    several: bool = False,
) -> str:
    """Names all that an answer depends on but the task. Calibration is not among it: it is applied afterwards.
    `several`: whether a control of the configuration is asked yes or no label by label.

    `fingerprint` is the endpoint's, from its capabilities: under the same name other weights are another model.
    `selection` is `selection.rule`'s: what decides which demonstrations a task sees.
    """
    asked = replace(prompt, calibration=Calibration(), definitions=dict(sorted(prompt.definitions.items())))
    digest = hashlib.sha256(content_hash(asked, config_hash, model).encode())
    reasons = ("", None, "a reason") if prompt.rationale else ("",)
    samples = [
        asdict(render(asked, question, _SAMPLE_VALUES, ("A", "B"), reason))
        for reason in reasons
        for question in (_SAMPLES + _SEVERAL if several else _SAMPLES)
    ]
    digest.update(json.dumps([samples, fingerprint, asdict(limits)], sort_keys=True).encode())
    if selection:
        digest.update(selection.encode())
    return digest.hexdigest()[:_KEY_DIGITS]


class EvaluationCache:
    """At most `most` evaluations over all prompts and projects, the oldest dropped first. Raises `StoreError` only."""

    def __init__(self, client: Redis, most: int = MOST) -> None:
        self._client = client
        self._most = most
        self._keep = client.register_script(scripts.KEEP_EVALUATIONS)

    @translated()
    def get(self, prompt_key: str, data_hashes: Sequence[str]) -> list[Outcome | None]:
        """In the order asked, None where none is kept. Exactly what was kept, to the last digit."""
        if not data_hashes:
            return []
        with self._client.pipeline() as pipe:
            pipe.hmget(_evaluations(prompt_key), list(data_hashes))
            pipe.hgetall(_shapes(prompt_key))
            rows, stored = pipe.execute()
        shapes = {as_text(name): json.loads(shape) for name, shape in stored.items()}
        return [None if row is None else _decoded(json.loads(row), shapes) for row in rows]

    @translated()
    def keep(self, prompt_key: str, outcomes: Mapping[str, Outcome]) -> None:
        """`outcomes` by data hash. One round trip; all of them are kept, or none."""
        if not outcomes:
            return
        shapes: dict[str, str] = {}
        rows = {data_hash: _encoded(outcome, shapes) for data_hash, outcome in outcomes.items()}
        parts = [part for table in (shapes, rows) for pair in table.items() for part in pair]
        keys = [_evaluations(prompt_key), _shapes(prompt_key), _BY_AGE]
        self._keep(keys=keys, args=[self._most, prompt_key, len(shapes), *parts])


def _encoded(outcome: Outcome, shapes: dict[str, str]) -> str:
    """What is the same for most tasks, a question with its labels, goes into `shapes` once and is referred to."""
    answers = outcome.answers
    if answers is None:
        return _compact({"failure": outcome.failure, "spent": _spent(outcome)})
    rows = []
    for key, distribution in answers.distributions.items():
        shape = _compact([key, distribution.labels, distribution.score_kind])
        name = hashlib.sha256(shape.encode()).hexdigest()[:_SHAPE_DIGITS]
        shapes[name] = shape
        censored = [distribution.labels.index(label) for label in distribution.censored]
        rows.append([name, distribution.probabilities, distribution.label_mass, censored])
    flags = {"escalated": True} if answers.escalated else {}
    return _compact({"answers": rows, "cut": answers.cut, "spent": _spent(outcome), **flags})


def _spent(outcome: Outcome) -> list[int]:
    usage = outcome.spent.usage
    return [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, outcome.spent.calls]


def _decoded(row: Mapping[str, Any], shapes: Mapping[str, Any]) -> Outcome:
    *tokens, calls = row.get("spent", (0, 0, 0, 0))
    if "failure" in row:
        return Outcome(None, row["failure"], Spent(calls, Usage(*tokens)))
    distributions = {}
    for name, probabilities, label_mass, censored in row["answers"]:
        key, labels, score_kind = shapes[name]
        flagged = tuple(labels[i] for i in censored)
        distributions[key] = Distribution(tuple(labels), tuple(probabilities), label_mass, flagged, score_kind)
    escalated = row.get("escalated", False)
    return Outcome(TaskAnswers(distributions, row["cut"], Usage(*tokens), calls, escalated=escalated))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _evaluations(prompt_key: str) -> str:
    return f"{_BY_AGE}:{prompt_key}"


def _shapes(prompt_key: str) -> str:
    return f"{_BY_AGE}:{prompt_key}:shapes"
