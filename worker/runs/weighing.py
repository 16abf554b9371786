"""How many of the project's tasks each label stands for, told to whoever decides by labels."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance import served
from worker.labels.examples import Example
from worker.optimizer.evaluate import Label, fair, graded
from worker.optimizer.meter import Meter
from worker.optimizer.outcomes import Graded
from worker.optimizer.propose import without_own
from worker.predictions import scored
from worker.predictions.frame import Frame, frame


def weighed(
    service: Service, to: Target, examples: tuple[Example, ...], label: Label, *, calls: int
) -> tuple[Example, ...]:
    """As they are before the first prediction. By the scores that predictions have, which cost nothing; asked anew, for
    about `calls` at most, are those that saw their own answer, then those that have none."""
    schema, versions = to.current.schema, served.versions(service, to)
    known = scored.scores(service, to, [version.name for version in versions])
    if known is None:
        return examples
    prompt = next(version.prompt for version in versions if version.name == known.version)
    own = [each for each in examples if without_own(schema, prompt, each) is not prompt]
    lacking = [each for each in examples if schema.data_hash(each.data) not in known.by_data]
    asked = {each.id: each for each in (*own, *lacking)}
    found = _asked(schema, prompt, list(asked.values()), label, calls)
    return by_frame(examples, frame(schema, examples, known, found))


def _asked(
    schema: LabelingSchema, prompt: Prompt, examples: Sequence[Example], label: Label, calls: int
) -> dict[str, Graded]:
    """As many of the first as the calls pay for, at what the very first one took."""
    meter = Meter(label)
    fairly = fair(schema, meter.label)
    found: dict[str, Graded] = {}
    with suppress(BudgetError):
        found |= graded(schema, prompt, examples[:1], fairly)
        found |= graded(schema, prompt, examples[1 : calls // max(1, meter.calls)], fairly)
    return found


def by_frame(examples: Sequence[Example], framed: Frame) -> tuple[Example, ...]:
    """One without a score counts as drawn by lot."""
    sample = framed.sample({example.id for example in examples})
    weights = sample.weights * (len(framed.examples) / max(1, len(framed.scores)))
    found = dict(zip((example.id for example in framed.of(sample)), weights.tolist(), strict=True))
    return tuple(replace(example, weight=found.get(example.id, 1.0)) for example in examples)
