"""The problem that a run has to solve: the project's labels, its active version, and what is to be tried beside it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from backend.labeling.fields import plain
from backend.labeling.prompt import Prompt, PromptVersion
from backend.projects.pushing import Target
from backend.prompts.succession import SEED
from backend.service import Service
from backend.settings import Settings
from backend.storage.run_store import MOST_RUNS
from backend.storage.runs import TRIAL, RunRecord
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example
from worker.labels.used import Used
from worker.optimizer.optimize import Problem
from worker.optimizer.prequential import Waiting
from worker.optimizer.propose import uncalibrated
from worker.runs import abilities

_MOST_CHALLENGERS = 3
_UNCAPPED = 5000  # calls that the search is sized for where nothing caps them


def posed(
    service: Service, settings: Settings, to: Target, examples: tuple[Example, ...], instruction: str = ""
) -> Problem:
    """`settings` are the run's own. `examples` in the order in which they were decided. With an `instruction` it alone
    is tried, in the active prompt in place of all that is said there; its demonstrations and its format stay."""
    challengers, able = _challengers(service, to), service.engine.capabilities
    used = AnnotationStore(service.redis).used(to.record.key, to.current.schema.config_hash)
    runs = service.runs.runs(to.record.key, MOST_RUNS)
    return Problem(
        schema=to.current.schema,
        active=to.current.version.prompt,
        examples=examples,
        seeds=_seeds(settings, to, challengers),
        waiting=tuple(_waiting(version, examples, used) for version in challengers),
        guideline=_guideline(to),
        styles=abilities.styles(settings, able),
        seed=len(examples),
        rounds=settings.optimize_rounds,
        calls=settings.run_max_calls or _UNCAPPED,
        teacher_sees_texts=settings.teacher_sees == "examples",
        techniques=abilities.techniques(settings, able),
        samples=settings.rationale_samples,
        fixed=service.fixed.of(to.current.schema),
        cached_token=abilities.cached_token(settings),
        fresh=_fresh(_last_look(service, to, runs), examples, used),
        looks_before=_looks_before(to, runs, len(examples) + bool(instruction)),
        written=_written(to.current.version.prompt, instruction) if instruction else None,
    )


def _written(active: Prompt, instruction: str) -> Prompt:
    return replace(uncalibrated(active), instruction=instruction, definitions={}, rules=())


def _challengers(service: Service, to: Target) -> list[PromptVersion]:
    """What was learned for this labeling configuration and is not active, the latest first."""
    active = to.current.version
    return [
        version
        for version in service.store.all_versions(to.record.key)
        if version.config_hash == active.config_hash and version.name != active.name and version.origin != SEED
    ][:_MOST_CHALLENGERS]


def _seeds(settings: Settings, to: Target, challengers: Sequence[PromptVersion]) -> tuple[Prompt, ...]:
    """The guideline as people wrote it, and what was learned before."""
    text = _guideline(to)
    style = settings.prompt_style
    guided = [Prompt(text, style=style)] if text and text != to.current.version.prompt.instruction else []
    return (*guided, *(version.prompt for version in challengers))


def _waiting(version: PromptVersion, examples: Sequence[Example], used: Used) -> Waiting:
    later = frozenset(example.id for example in examples if used.is_later(example, version.created_at))
    return Waiting(version.prompt, version.origin, later)


def _guideline(to: Target) -> str:
    return plain(to.record.expert_instruction).strip()


def _last_look(service: Service, to: Target, runs: Sequence[RunRecord]) -> datetime | None:
    """When the last run ended that looked at the holdout, for this labeling configuration; None where none has."""
    key, schema = to.record.key, to.current.schema
    same = {each.name for each in service.store.all_versions(key) if each.config_hash == schema.config_hash}
    looks = (
        run.ended_at or run.started_at
        for run in runs
        if run.estimate and run.estimate.kind == "holdout" and run.active in same
    )
    return next(looks, None)


def _fresh(last: datetime | None, examples: Sequence[Example], used: Used) -> int | None:
    """Holdout examples that came since the `last` look."""
    if last is None:
        return None
    return sum(example.split == "holdout" and used.is_later(example, last) for example in examples)


def _looks_before(to: Target, runs: Sequence[RunRecord], until: int) -> int:
    """How often runs have compared the active version with others by cross-fitting, on fewer labels than `until`. A
    search on the same labels finds the same, and is no further chance; somebody's instruction always is one."""
    compared = [run for run in runs if run.estimate and run.estimate.kind == "cross-fitted"]
    against = [run for run in compared if run.active == to.current.version.name]
    searched = {run.labels for run in against if run.trigger != TRIAL and run.labels < until}
    return len(searched) + sum(run.trigger == TRIAL for run in against)
