"""How many of the project's tasks each label stands for, told to whoever decides by labels."""

from collections.abc import Sequence
from dataclasses import replace

from backend.labeling.errors import BudgetError
from backend.pushing import Target
from backend.service import Service
from worker import scored, served
from worker.evaluate import Label, fair, graded
from worker.examples import Example
from worker.frame import Frame, frame


def weighed(service: Service, to: Target, examples: tuple[Example, ...], label: Label) -> tuple[Example, ...]:
    """As they are before the first prediction, or where no budget is left to score them."""
    schema, versions = to.current.schema, served.versions(service, to)
    known = scored.scores(service, to, [version.name for version in versions])
    if known is None:
        return examples
    prompt = next(version.prompt for version in versions if version.name == known.version)
    try:
        found = graded(schema, prompt, examples, fair(schema, label))
    except BudgetError:
        return examples
    return by_frame(examples, frame(schema, examples, known, found))


def by_frame(examples: Sequence[Example], framed: Frame) -> tuple[Example, ...]:
    """One without a score counts as drawn by lot."""
    sample = framed.sample({example.id for example in examples})
    weights = sample.weights * (len(framed.examples) / max(1, len(framed.scores)))
    found = dict(zip((example.id for example in framed.of(sample)), weights.tolist(), strict=True))
    return tuple(replace(example, weight=found.get(example.id, 1.0)) for example in examples)
