"""A prompt on examples, fairly: no example is scored under a prompt that shows it with its answer."""

from collections.abc import Sequence

from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer import cascade
from worker.optimizer.outcomes import Graded, Outcome, grade
from worker.optimizer.outcomes import Label as Label
from worker.optimizer.propose import without_own


def fair(schema: LabelingSchema, label: Label) -> Label:
    """Leaves an example's own demonstration out of the prompt it is asked under, and asks each model of a cascade by
    itself. One outcome an example, in order."""
    alone = cascade.composed(label)

    def labelled(prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        asked = [without_own(schema, prompt, example) for example in examples]
        whole = [example for example, each in zip(examples, asked, strict=True) if each is prompt]
        found = {e.id: outcome for e, outcome in zip(whole, alone(prompt, whole), strict=True)} if whole else {}
        for example, each in zip(examples, asked, strict=True):
            if each is not prompt:
                found[example.id] = alone(each, [example])[0]
        return [found[example.id] for example in examples]

    return labelled


def graded(schema: LabelingSchema, prompt: Prompt, examples: Sequence[Example], label: Label) -> dict[str, Graded]:
    """By example id, with the prompt's own calibration."""
    outcomes = label(prompt, examples)
    return {e.id: grade(schema, prompt, e, outcome) for e, outcome in zip(examples, outcomes, strict=True)}
