"""The challenger that waits, and the tasks on which it disagrees with the active version: there labels decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.labeling.errors import BudgetError, EngineError
from backend.labeling.labeler import predict
from backend.labeling.prompt import PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.projects.pushing import Target
from backend.service import Service
from worker.calls.evaluator import Evaluator
from worker.calls.ledger import Ledger
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome

Values = Mapping[str, tuple[str, ...]]

_RUN = "queue"  # what is spent here is the month's and no run's


@dataclass(frozen=True, slots=True)
class Task:
    """`values` are the active version's, by control."""

    id: int
    data: Mapping[str, object]
    values: Values


@dataclass(frozen=True, slots=True)
class Disagreements:
    """Of each task that was asked, whether the two disagree; `words` say what was done, or why nothing."""

    by_task: Mapping[int, bool]
    words: str


def waiting(service: Service, to: Target) -> PromptVersion | None:
    """What the latest run that left a challenger behind keeps for later, or for a person to activate."""
    for run in service.runs.runs(to.record.key):
        if run.challenger is None:
            continue
        version = service.store.version(to.record.key, run.challenger)
        if run.decision not in ("kept", "awaiting_approval") or version is None:
            return None
        fits = version.config_hash == to.current.schema.config_hash and version.name != to.current.version.name
        return version if fits else None
    return None


def disagreements(service: Service, to: Target, tasks: Sequence[Task], *, calls: int) -> Disagreements:
    """Asks the waiting challenger about `tasks`, which come in random order, with at most so many calls; what is known
    from before costs none. A budget that ends, or an endpoint that fails, leaves those that were answered."""
    challenger = waiting(service, to)
    if challenger is None:
        return Disagreements({}, "No challenger waits, so none is asked where it disagrees.")
    if not tasks or not calls:
        return Disagreements({}, f"{challenger.name} waits, but is asked nothing.")
    examples = [Example(str(task.id), task.data, {}, datetime.now(UTC)) for task in tasks]
    outcomes, stopped = _asked(service, to, challenger, examples, calls)
    found = {
        task.id: differs(to.current.schema, challenger, task, outcome)
        for task, outcome in zip(tasks, outcomes, strict=False)
    }
    words = f"{challenger.name} waits: on {sum(found.values())} of {len(found)} open tasks it disagrees"
    return Disagreements(found, f"{words}{stopped}.")


def _asked(
    service: Service, to: Target, challenger: PromptVersion, examples: Sequence[Example], calls: int
) -> tuple[list[Outcome], str]:
    """The outcomes of as many of the first examples as could be had, and why not of more."""
    settings = service.settings.model_copy(update={"run_max_calls": calls})
    ledger = Ledger(service.redis, settings, models={"student": service.engine.model})
    evaluator = Evaluator(
        service, to.current.schema, ledger.open(to.record.key, f"{_RUN}-{datetime.now(UTC):%Y%m%d%H%M%S%f}"), _go_on
    )
    found: list[Outcome] = []
    for start in range(0, len(examples), _CHUNK):
        try:
            found += evaluator.label(challenger.prompt, examples[start : start + _CHUNK])
        except BudgetError:
            return found, ", as far as its budget went"
        except EngineError as error:
            return found, f", until the LLM failed ({error})"
    return found, ""


def differs(schema: LabelingSchema, challenger: PromptVersion, task: Task, outcome: Outcome) -> bool:
    """In any control. An answer that cannot be used is none, and no disagreement."""
    if outcome.answers is None:
        return False
    answers = predict(challenger.prompt, schema, task.data, outcome.answers)
    return any(set(each.values) != set(task.values.get(each.control, ())) for each in answers)


def _go_on() -> None:
    """Nobody cancels a queue."""


_CHUNK = 16
