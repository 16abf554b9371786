"""What each technique is worth by itself, and what the loop makes of them: accuracy and cost on test rows."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from backend.calls.embedding import make_embedder
from backend.labeling.cascade import ALWAYS
from backend.labeling.prompt import Prompt
from backend.settings import load
from tests.benchmarks.figures import Row, Section
from tests.benchmarks.optimizer.asking import Model, Run
from tests.benchmarks.optimizer.cells import STYLE
from worker.labels.examples import Example
from worker.optimizer import cascade, demonstrations, evaluate, fitting, likeness
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.optimize import Problem, Tools, optimize
from worker.optimizer.outcomes import Label, Outcome, grade
from worker.optimizer.techniques import FORMATS
from worker.statistics.intervals import share
from worker.statistics.reliability import ece

LABELS, SAMPLES, BUDGET = 100, 5, 1200
# Of labels and test rows, for what reasons: the local models write some tens of tokens a second.
REASONED = (30, 60)
_SEED = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """`rows` are the labels: demonstrations come from the first `cell.shown` of them, calibrations are fitted on all
    (none is scored under a prompt that shows it)."""

    model: Model
    label: Label
    rows: tuple[Example, ...]


def section(model: Model, strong: Model | None = None) -> Section:
    """With a `strong` model the cascade is measured too."""
    cell = model.cell
    bench = Bench(model, _label(model, strong), cell.labelled(LABELS, _SEED))
    rows = [_row(bench, name, prompt) for name, prompt in _alone(bench).items()]
    if strong:
        rows += _cascades(bench)
    return Section(
        f"Techniques alone, {cell.name}, {cell.model}: {LABELS} labels, {len(cell.tests)} test rows",
        [*rows, _chosen(bench)],
    )


def _label(model: Model, strong: Model | None) -> Label:
    """Either model by `escalate_below`, as the evaluator asks them."""

    def labelled(prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        if prompt.escalate_below < ALWAYS or strong is None:
            return model.ask(prompt, examples)
        found = strong.ask(replace(prompt, escalate_below=0.0), examples)
        return [
            replace(each, answers=replace(each.answers, escalated=True)) if each.answers else each for each in found
        ]

    return evaluate.fair(model.cell.schema, labelled)


def _alone(bench: Bench) -> dict[str, Prompt]:
    """Each on the first prompt; order and rationale on the demonstrations as well."""
    cell, naive = bench.model.cell, bench.model.cell.naive()
    pool = bench.rows[: cell.shown]
    rng = random.Random(_SEED)
    random_set = demonstrations.random_sets(cell.schema, pool, (), 1, rng)[0]
    wrong = [
        e for e, o in zip(pool, bench.label(naive, pool), strict=True) if not grade(cell.schema, naive, e, o).right
    ]
    errors = demonstrations.random_sets(cell.schema, pool, wrong, 3, random.Random(_SEED))[2]
    alike = likeness.sets(cell.schema, pool, make_embedder(load()).embed, random.Random(_SEED))
    shown: Callable[[DemonstrationSet], Prompt] = lambda each: replace(  # noqa: E731
        naive, demonstrations=each.demonstrations, shown=each.shown, packs=each.packs
    )
    return {
        "zero-shot": naive,
        "labels in reverse order": replace(naive, backwards=True),
        "letters for labels": replace(naive, codes="letters"),
        random_set.origin: shown(random_set),
        "the same in reverse order": replace(naive, demonstrations=random_set.demonstrations[::-1]),
        errors.origin: shown(errors),
        **{each.origin: shown(each) for each in alike},
        "rationale": replace(naive, rationale=True),
        f"self-consistency, up to {SAMPLES}": replace(naive, rationale=True, samples=SAMPLES),
    }


def _row(bench: Bench, name: str, prompt: Prompt) -> Row:
    schema = bench.model.cell.schema
    most = REASONED if prompt.rationale else (None, None)
    rows, tests = bench.rows[-most[0] :] if most[0] else bench.rows, bench.model.cell.tests[: most[1]]
    fitted = replace(prompt, calibration=fitting.fit(schema, rows, bench.label(prompt, rows)))
    outcomes = bench.label(prompt, tests)
    raw = [grade(schema, prompt, e, o) for e, o in zip(tests, outcomes, strict=True)]
    grades = [grade(schema, fitted, e, o) for e, o in zip(tests, outcomes, strict=True)]
    right = share(sum(each.right for each in grades), len(grades))
    answered = [o.answers for o in outcomes if o.answers]
    return {
        "technique": name,
        "test rows": len(tests),
        "accuracy, uncalibrated": fmean(each.right for each in raw),
        "accuracy": fmean(each.right for each in grades),
        "90 % interval": f"{right.low:.2f} to {right.high:.2f}",
        "ECE": ece([each.score for each in grades], [each.right for each in grades]) or 0.0,
        "calls a task": fmean(each.calls for each in answered),
        "prompt tokens a task": fmean(each.usage.prompt_tokens for each in answered),
        "generated tokens a task": fmean(each.usage.completion_tokens for each in answered),
    }


def _cascades(bench: Bench) -> list[Row]:
    """The stronger model alone, then what the student's risk curve hands on."""
    schema, naive = bench.model.cell.schema, bench.model.cell.naive()
    outcomes = bench.label(naive, bench.rows)
    fitted = replace(naive, calibration=fitting.fit(schema, bench.rows, outcomes))
    right = [grade(schema, fitted, e, o).right for e, o in zip(bench.rows, outcomes, strict=True)]
    found = cascade.thresholds(outcomes, right)
    return [
        _row(bench, "the stronger model alone", replace(naive, escalate_below=ALWAYS)),
        *(_row(bench, f"cascade below {each:.2f}", replace(naive, escalate_below=each)) for each in found),
    ]


def _chosen(bench: Bench) -> Row:
    """What the loop publishes, or keeps, of all of them, from the same labels."""
    cell = bench.model.cell
    run = Run(bench.model, BUDGET)
    problem = Problem(
        schema=cell.schema,
        active=cell.naive(),
        examples=bench.rows,
        guideline=cell.naive().instruction,
        styles=(STYLE,),
        seed=_SEED,
        calls=BUDGET,
        techniques=FORMATS,
    )
    finding = optimize(problem, Tools(run.label, embed=make_embedder(load()).embed))
    if finding.challenger is None:
        return _row(bench, f"the loop ({finding.decision})", cell.naive())
    bare = replace(finding.challenger, calibration=cell.naive().calibration)
    return _row(bench, f"the loop ({finding.decision}): {finding.origin}", bare)
