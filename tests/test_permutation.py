import numpy as np
import pytest
from scipy.stats import ks_2samp

from worker.statistics.permutation import Counts, differs, ks, mean_change, psi

LEVEL = 0.05


def counts(*cells: int) -> Counts:
    return np.array(cells, dtype=np.int64)


def test_the_stability_index_is_that_of_arithmetic() -> None:
    # Half a count added: 50.5 and 50.5 of 101, 70.5 and 30.5 of 101, so p = (.5, .5), q = (.698, .302).
    # (.5 - .698) log(.5 / .698) + (.5 - .302) log(.5 / .302) = .0661 + .0998 = .1659.
    assert psi(counts(50, 50), counts(70, 30)) == pytest.approx(0.1659, abs=1e-4)


def test_a_label_that_was_never_predicted_before_leaves_the_index_finite() -> None:
    assert 1 < psi(counts(100, 0), counts(50, 50)) < 4


def test_equal_shares_are_no_change() -> None:
    assert psi(counts(10, 30), counts(10, 30)) == 0
    assert ks(counts(1, 2, 3), counts(10, 20, 30)) == pytest.approx(0)


def test_the_distance_is_that_of_scipy() -> None:
    first, second = counts(5, 0, 7, 20, 3), counts(1, 9, 4, 4, 30)
    cells = np.arange(5)
    assert ks(first, second) == pytest.approx(ks_2samp(np.repeat(cells, first), np.repeat(cells, second)).statistic)


def test_the_change_of_a_mean_is_that_of_arithmetic() -> None:
    # (3 * 1 + 1 * 5) / 4 = 2 against (1 * 1 + 3 * 5) / 4 = 4.
    assert mean_change(np.array([1.0, 5.0]))(counts(3, 1), counts(1, 3)) == pytest.approx(2.0)


@pytest.mark.parametrize("statistic", [psi, ks], ids=["psi", "ks"])
def test_windows_of_one_distribution_differ_as_seldom_as_promised(statistic: object) -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(8))
    drawn = [(rng.multinomial(60, shares), rng.multinomial(40, shares)) for _ in range(400)]
    found = [differs(first, second, statistic, level=LEVEL) for first, second in drawn]  # type: ignore[arg-type]
    assert np.mean(found) <= LEVEL + 0.025  # 2.3 standard errors


def test_a_skewed_mean_alarms_no_more_often() -> None:
    """Nearly all tasks with next to no mass outside the labels, a few with much: where a t-test fails."""
    rng = np.random.default_rng(2)
    values = np.array([0.001, 0.9])
    drawn = [(rng.multinomial(200, (0.99, 0.01)), rng.multinomial(60, (0.99, 0.01))) for _ in range(300)]
    found = [differs(first, second, mean_change(values), level=LEVEL) for first, second in drawn]
    assert np.mean(found) <= LEVEL + 0.03


def test_a_real_difference_is_found() -> None:
    assert differs(counts(150, 50), counts(100, 100), psi, level=0.003)


def test_windows_of_one_kind_of_prediction_do_not_differ() -> None:
    assert not differs(counts(200), counts(200), psi, level=LEVEL)
