import pytest
from scipy.stats import beta

from backend.labeling.answers import Distribution
from backend.labeling.consistency import _probability_ahead, is_settled, mean


def said(*probabilities: float, **fields: object) -> Distribution:
    return Distribution(tuple("abcdef"[: len(probabilities)]), probabilities, **fields)  # type: ignore[arg-type]


def test_distributions_are_averaged_and_not_their_best_labels() -> None:
    merged = mean([said(0.6, 0.4), said(0.6, 0.4), said(0.1, 0.9)])
    assert merged.probabilities == pytest.approx((1.3 / 3, 1.7 / 3))
    assert merged.best == "b"


def test_the_mean_keeps_what_was_censored_anywhere_and_the_mean_label_mass() -> None:
    merged = mean([said(0.6, 0.4, label_mass=0.5), said(0.6, 0.4, label_mass=0.7, censored=("b",))])
    assert (merged.label_mass, merged.censored) == (pytest.approx(0.6), ("b",))


def test_one_distribution_is_its_own_mean() -> None:
    one = said(0.6, 0.4)
    assert mean([one]) is one


@pytest.mark.parametrize(("first", "second"), [(4.0, 0.0), (2.2, 0.8), (7.5, 2.5), (50.0, 40.0)])
def test_the_chance_of_staying_ahead_is_that_of_a_beta(first: float, second: float) -> None:
    assert _probability_ahead(first, second) == pytest.approx(beta.sf(0.5, first + 1, second + 1), abs=0.002)


def test_four_samples_that_agree_are_enough_and_three_are_not() -> None:
    assert not is_settled([said(1.0, 0.0)] * 3, most=10)
    assert is_settled([said(1.0, 0.0)] * 4, most=10)


def test_a_lead_that_the_rest_cannot_take_back_settles_it() -> None:
    assert is_settled([said(0.9, 0.1)] * 2, most=3)
    assert not is_settled([said(0.7, 0.3)] * 2, most=3)


def test_the_last_sample_settles_it_whatever_it_says() -> None:
    assert is_settled([said(0.5, 0.5)] * 3, most=3)


def test_a_single_label_is_settled_at_once() -> None:
    assert is_settled([said(1.0)], most=1)
