"""Techniques as candidates: each is one step away from a prompt at hand, and the race and the gate judge it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from backend.labeling.cascade import confidence
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.optimizer import cascade
from worker.optimizer.outcomes import Outcome
from worker.optimizer.propose import Candidate

Technique = Literal["backwards", "undescribed", "inline", "rationale", "self-consistency", "cascade"]

FORMATS: tuple[Technique, ...] = ("backwards", "undescribed", "inline")
REASONING: tuple[Technique, ...] = ("rationale", "self-consistency")
_CALLS: dict[Technique, int] = {"rationale": 2}  # what both thresholds of a cascade ask is less than one


def variants(
    schema: LabelingSchema, parent: Candidate, techniques: Sequence[Technique], samples: int
) -> list[Candidate]:
    """Those of `techniques` that make another prompt of the parent. Sampling comes once reasoning has won: it costs
    `samples` times as much, and does nothing for a prompt without a rationale."""
    made = ((each, _with(schema, parent.prompt, each, samples)) for each in techniques)
    return [
        Candidate(prompt, f"{parent.origin}, {_words(each, samples)}") for each, prompt in made if prompt is not None
    ]


def cascades(parent: Candidate, outcomes: Sequence[Outcome], right: Sequence[bool]) -> list[Candidate]:
    """`outcomes` are the parent's, `right` says which of them are; thresholds come from its risk curve."""
    shares = [
        (each, sum(o.answers is None or confidence(o.answers) < each for o in outcomes) / len(outcomes))
        for each in (cascade.thresholds(outcomes, right) if parent.prompt.escalate_below == 0 else ())
    ]
    return [
        Candidate(replace(parent.prompt, escalate_below=each), f"{parent.origin}, {share:.0%} by the stronger LLM")
        for each, share in shares
    ]


def calls(techniques: Sequence[Technique], samples: int) -> int:
    """About how many evaluations of a plain prompt one example costs under all variants of it together."""
    return sum(2 * samples if each == "self-consistency" else _CALLS.get(each, 1) for each in techniques)


def worth_trying(active: Prompt, techniques: Sequence[Technique]) -> tuple[Technique, ...]:
    """Without sampling, unless the active prompt reasons already."""
    return tuple(each for each in techniques if each != "self-consistency" or active.rationale)


def _with(schema: LabelingSchema, prompt: Prompt, technique: Technique, samples: int) -> Prompt | None:
    match technique:
        case "backwards" if any(len(control.labels) > 1 and not control.multiple for control in schema.controls):
            return replace(prompt, backwards=not prompt.backwards)
        case "undescribed" if prompt.definitions or _has_hints(schema):
            return replace(prompt, described=not prompt.described)
        case "inline" if prompt.style == "chat" and prompt.demonstrations:
            return replace(prompt, turns=not prompt.turns)
        case "rationale" if not prompt.rationale:
            return replace(prompt, rationale=True)
        case "self-consistency" if prompt.rationale and prompt.samples < samples:
            return replace(prompt, samples=samples)
        case _:
            return None


def _has_hints(schema: LabelingSchema) -> bool:
    return any(label.hint for control in schema.controls for label in control.labels)


def _words(technique: Technique, samples: int) -> str:
    return {
        "backwards": "labels in reverse order",
        "undescribed": "with or without label definitions",
        "inline": "demonstrations as text or as turns",
        "rationale": "with a rationale before the label",
        "self-consistency": f"the mean of up to {samples} rationales",
    }[technique]
