import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import Calibration, softmax
from backend.labeling.schema import LabelingSchema
from tests.optimizer.world import ACTIVE, BROUGHT, DAY, FOUR, MANY, PAIR, World, examples, level
from worker.labels.examples import Example
from worker.optimizer import fitting
from worker.optimizer.fitting import Floats, fit
from worker.optimizer.outcomes import Outcome, grade

NO_BIAS = np.zeros(2)


def sheet(probabilities: Sequence[Sequence[float]], gold: Sequence[int]) -> fitting._Sheet:
    labels = tuple(f"label {i}" for i in range(len(probabilities[0])))
    return fitting._Sheet("q", labels, np.log(np.array(probabilities)), np.array(gold))


def answered(schema: LabelingSchema, logits: Floats, gold: Sequence[int]) -> tuple[list[Example], list[Outcome]]:
    """Examples of the schema's only question, with what the LLM said of each."""
    control = schema.controls[0]
    labels = tuple(label.value for label in control.labels)
    found = [Distribution(labels, softmax(list(row))) for row in logits]
    items = [Example(str(i), {"text": f"t{i}"}, {control.name: (labels[y],)}, DAY) for i, y in enumerate(gold)]
    return items, [Outcome(TaskAnswers({control.name: each})) for each in found]


def test_the_loss_is_that_of_arithmetic() -> None:
    # p = (.8, .2), the second is true, temperature 1 (log 0), strength 0, no offsets: -log .2 = 1.609438.
    # The prior: ((0 - log 1.5) / .7)² / 2 = .167758, ((0 - .5) / .35)² / 2 = 1.020408. In all 2.797604.
    loss, _ = fitting._loss(np.zeros(4), [sheet([[0.8, 0.2]], [1])], [NO_BIAS])
    assert loss == pytest.approx(2.797604, abs=1e-6)


def test_the_pull_is_that_of_batch_calibration_less_the_labels_shares() -> None:
    # Mean log p: (log .8 + log .5) / 2 = -.458145, (log .2 + log .5) / 2 = -1.151293. Shares (2 + 2) / 6 and 2 / 6:
    # log -.405465, -1.098612. Less these: -.052680, -.052680: it says the labels as often as they are true.
    assert fitting._batch_bias(sheet([[0.8, 0.2], [0.5, 0.5]], [0, 0])) == pytest.approx([0, 0], abs=1e-6)
    # Were both labels true once, shares 1/2: -.458145 + .693147 = .235002, -.458145; centred +-.346574 = log(2) / 2.
    assert fitting._batch_bias(sheet([[0.8, 0.2], [0.5, 0.5]], [0, 1])) == pytest.approx(
        [0.346574, -0.346574], abs=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_the_loss_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sheets = [sheet(rng.dirichlet(np.ones(k), 12), rng.integers(0, k, 12)) for k in (2, 5)]
    pulls = [fitting._batch_bias(each) for each in sheets]
    x = np.concatenate([[rng.normal(0.4, 0.5), rng.uniform(0, 1)], rng.normal(size=7)])
    numeric = approx_fprime(x, lambda at: fitting._loss(at, sheets, pulls)[0], 1e-7)
    assert fitting._loss(x, sheets, pulls)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("temperature", "bias"), [(1.0, (0, 0, 0, 0)), (2.5, (1.5, -0.5, -0.5, -0.5)), (0.6, (0, 2, -2, 0))]
)
def test_a_known_bias_and_temperature_are_found_again(temperature: float, bias: tuple[float, ...]) -> None:
    """Labels are drawn from softmax(z); the LLM says softmax(T z + bias)."""
    rng = np.random.default_rng(4)
    z = rng.normal(0, 2, (2000, 4))
    gold = [int(rng.choice(4, p=softmax(list(row)))) for row in z]
    found = fit(FOUR, *answered(FOUR, temperature * z + np.array(bias), gold))
    assert found.temperature == pytest.approx(temperature, rel=0.07)
    assert list(found.bias["side"].values()) == pytest.approx(list(bias), abs=0.25)
    assert found.fitted_on == 2000


def accuracy(world: World, calibration: Calibration, *, after: int) -> float:
    """On the items after those that it was fitted on."""
    prompt = replace(ACTIVE, calibration=calibration)
    rest = zip(world.items[after:], world.label(ACTIVE, world.items[after:]), strict=True)
    return float(np.mean([grade(world.schema, prompt, item, outcome).right for item, outcome in rest]))


@pytest.mark.parametrize(("schema", "count", "lean"), [(PAIR, 30, {"yes": 6.0}), (MANY, 154, {"intent 5": 6.0})])
def test_few_labels_mend_a_model_that_leans(schema: LabelingSchema, count: int, lean: dict[str, float]) -> None:
    """Of 77 labels two rows each."""
    world = World(examples(schema, 600), level(0.8), schema, lean=lean)
    learned = fit(schema, world.items[:count], world.label(ACTIVE, world.items[:count]))
    assert accuracy(world, Calibration(), after=count) < 0.7
    assert accuracy(world, learned, after=count) > 0.75


def test_a_single_lean_is_taken_away_but_what_the_model_is_sure_of_stays() -> None:
    """Thirty labels, all "yes", tell that "yes" is frequent, not that there is no "no"."""
    rng = np.random.default_rng(1)
    found = fit(PAIR, *answered(PAIR, np.column_stack([rng.normal(2, 1, 30), np.zeros(30)]), [0] * 30))
    assert found.apply("relevant", Distribution(("yes", "no"), (0.001, 0.999))).best == "no"


def test_nothing_answered_is_the_identity() -> None:
    assert fit(PAIR, [], []) == Calibration()
    assert fit(PAIR, examples(count=3), [Outcome(None, "nonsense")] * 3) == Calibration()


def test_options_that_differ_from_task_to_task_get_no_bias() -> None:
    world = World(examples(BROUGHT, 20), level(0.8), BROUGHT)
    assert fit(BROUGHT, world.items, world.label(ACTIVE, world.items)).bias == {}


@pytest.mark.parametrize(("schema", "count"), [(PAIR, 1), (PAIR, 2), (FOUR, 3), (MANY, 10), (MANY, 77)])
def test_few_labels_are_no_reason_for_a_wild_calibration(schema: LabelingSchema, count: int) -> None:
    world = World(examples(schema, count), level(0.6), schema)
    found = fit(schema, world.items, world.label(ACTIVE, world.items))
    assert 0.4 < found.temperature < 4
    biases = found.bias[schema.controls[0].name]
    assert list(biases) == [label.value for label in schema.controls[0].labels]
    assert max(map(abs, biases.values())) < 1.5
    assert sum(biases.values()) == pytest.approx(0, abs=1e-4)


def test_where_nothing_leans_77_labels_cost_next_to_no_accuracy() -> None:
    world = World(examples(MANY, 1000), level(0.7), MANY)
    learned = fit(MANY, world.items[:100], world.label(ACTIVE, world.items[:100]))
    assert accuracy(world, learned, after=100) > accuracy(world, Calibration(), after=100) - 0.025


def test_answers_without_any_doubt_are_no_overflow() -> None:
    logits = np.array([[1000.0, 0.0], [0.0, 1000.0], [1000.0, 0.0]])
    found = fit(PAIR, *answered(PAIR, logits, [0, 1, 1]))
    assert math.isfinite(found.temperature)
    assert all(map(math.isfinite, found.bias["relevant"].values()))


def test_a_question_with_one_label_has_nothing_to_fit() -> None:
    item = Example("1", {"text": "t"}, {"relevant": ("yes",)}, DAY)
    assert fit(PAIR, [item], [Outcome(TaskAnswers({"relevant": Distribution(("yes",), (1.0,))}))]) == Calibration()
