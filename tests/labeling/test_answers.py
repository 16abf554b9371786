import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.answers import Distribution, TaskPrediction

WEIGHTS = st.lists(st.floats(0.001, 1), min_size=1, max_size=8)


def distribution(*probabilities: float) -> Distribution:
    return Distribution(tuple("abcdefgh"[: len(probabilities)]), probabilities)


@pytest.mark.parametrize(
    ("probabilities", "best", "margin", "entropy"),
    [
        ((1.0,), "a", 1.0, 0.0),
        ((0.2, 0.5, 0.3), "b", 0.2, -(0.2 * math.log(0.2) + 0.5 * math.log(0.5) + 0.3 * math.log(0.3))),
        ((0.5, 0.5), "a", 0.0, math.log(2)),
        ((0.0, 1.0), "b", 1.0, 0.0),
        ((0.25, 0.25, 0.25, 0.25), "a", 0.0, math.log(4)),
    ],
)
def test_best_margin_and_entropy_are_those_of_arithmetic(
    probabilities: tuple[float, ...], best: str, margin: float, entropy: float
) -> None:
    found = distribution(*probabilities)
    assert found.best == best
    assert found.margin == pytest.approx(margin)
    assert found.entropy == pytest.approx(entropy)
    assert found.probability(best) == max(probabilities)


@given(WEIGHTS)
def test_entropy_and_margin_keep_their_bounds(weights: list[float]) -> None:
    found = distribution(*(weight / sum(weights) for weight in weights))
    assert -1e-9 <= found.entropy <= math.log(len(weights)) + 1e-9
    assert 0 <= found.margin <= 1


def test_a_prediction_is_sent_without_its_bookkeeping() -> None:
    prediction = TaskPrediction(({"id": "x"},), 0.5, "p0001-abcd", cut=True, calls=3)
    assert prediction.to_json() == {"result": [{"id": "x"}], "score": 0.5, "model_version": "p0001-abcd"}
