"""Which examples the teacher reads. All of them are kept from the search and the decision. Pure."""

from collections.abc import Mapping, Sequence

from backend.labeling.errors import TaskError
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.optimizer.reflect import Seen, is_error

_MOST_SHOWN, _LEAST_READ = 12, 24


def read(train: Sequence[Example], active: Mapping[str, Graded]) -> list[Example]:
    """Train up to the twelfth error, but no more than half of it, or 24. Not the errors alone: without them the active
    prompt would look better than it is."""
    errors = [i for i, example in enumerate(train) if is_error(example, active[example.id])]
    enough = errors[_MOST_SHOWN - 1] + 1 if len(errors) >= _MOST_SHOWN else len(train)
    return list(train[: min(enough, max(_LEAST_READ, len(train) // 2))])


def seen(schema: LabelingSchema, examples: Sequence[Example], active: Mapping[str, Graded]) -> list[Seen]:
    """Twelve errors of what is read, and as many that are right."""
    wrong = [example for example in examples if is_error(example, active[example.id])]
    right = [example for example in examples if active[example.id].right]
    return [
        Seen(example, text, active[example.id])
        for alike in (wrong, right)
        for example in alike[:_MOST_SHOWN]
        if (text := _text(schema, example))
    ]


def _text(schema: LabelingSchema, example: Example) -> str:
    """Empty for data that cannot be read."""
    try:
        return " / ".join(value.text for value in schema.values(example.data))
    except TaskError:
        return ""
