import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.answers import Distribution
from backend.labeling.calibration import Calibration, softmax

HALF = Distribution(("a", "b"), (0.8, 0.2), 0.9, ("b",))


def test_without_bias_and_temperature_nothing_changes() -> None:
    assert Calibration().apply("q", HALF) is HALF


def test_a_bias_divides_the_odds() -> None:
    # Odds .8 / .2 = 4; a bias of log 4 on "a" makes them even.
    found = Calibration(bias={"q": {"a": math.log(4)}}).apply("q", HALF)
    assert found.probabilities == pytest.approx((0.5, 0.5))


def test_a_bias_of_another_question_changes_nothing() -> None:
    assert Calibration(bias={"other": {"a": 1.0}}).apply("q", HALF) is HALF


def test_a_temperature_takes_the_root_of_the_odds() -> None:
    # Odds 4, at temperature 2 they are 2.
    assert Calibration(temperature=2).apply("q", HALF).probabilities == pytest.approx((2 / 3, 1 / 3))


def test_what_else_is_known_is_kept() -> None:
    found = Calibration(temperature=2).apply("q", HALF)
    assert (found.labels, found.label_mass, found.censored) == (("a", "b"), 0.9, ("b",))


def test_a_probability_of_0_stays_next_to_nothing() -> None:
    found = Calibration(bias={"q": {"b": -1.0}}).apply("q", Distribution(("a", "b"), (1.0, 0.0)))
    assert found.probabilities == pytest.approx((1.0, 0.0), abs=1e-10)


@given(
    st.lists(st.floats(1e-9, 1), min_size=2, max_size=6),
    st.lists(st.floats(-20, 20), min_size=6, max_size=6),
    st.floats(0.05, 20),
)
def test_calibrated_probabilities_sum_to_1(weights: list[float], biases: list[float], temperature: float) -> None:
    labels = tuple("abcdef"[: len(weights)])
    raw = Distribution(labels, tuple(weight / sum(weights) for weight in weights))
    found = Calibration({"q": dict(zip(labels, biases, strict=False))}, temperature).apply("q", raw)
    assert sum(found.probabilities) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in found.probabilities)


def test_softmax_does_not_overflow() -> None:
    assert softmax([1000.0, 1000.0]) == pytest.approx((0.5, 0.5))
