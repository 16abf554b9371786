import numpy as np
import pytest

from worker.statistics import selective
from worker.statistics.selective import Point

SCORES = [0.9, 0.8, 0.8, 0.6, 0.5]
RIGHT = [True, True, False, False, True]


def test_a_point_counts_all_answers_at_or_above_its_score() -> None:
    # 1 answer, right; 3 answers, one wrong; 4, two wrong; 5, two wrong.
    assert selective.curve(SCORES, RIGHT) == (
        Point(0.9, 0.2, 0.0),
        Point(0.8, 0.6, pytest.approx(1 / 3)),
        Point(0.6, 0.8, 0.5),
        Point(0.5, 1.0, 0.4),
    )


def test_the_area_is_the_mean_risk_and_ties_are_shared() -> None:
    # Wrong among the first n: 0, .5, 1, 2, 2; over n: 0, .25, 1/3, .5, .4.
    assert selective.aurc(SCORES, RIGHT) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5 + 0.4) / 5)


@pytest.mark.parametrize(("precision", "coverage"), [(0.6, 1.0), (0.65, 0.6), (0.9, 0.2), (1.0, 0.2)])
def test_the_widest_point_keeps_the_precision(precision: float, coverage: float) -> None:
    found = selective.widest(selective.curve(SCORES, RIGHT), precision)
    assert found is not None
    assert found.coverage == coverage


def test_where_the_surest_are_wrong_a_high_precision_is_nowhere() -> None:
    assert selective.widest(selective.curve([0.9, 0.1], [False, True]), 0.8) is None


def test_scores_that_say_nothing_have_the_area_of_all_mistakes() -> None:
    assert selective.aurc([0.5] * 10, [True] * 7 + [False] * 3) == pytest.approx(0.3)


def test_better_ordered_scores_have_a_smaller_area() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    right = list(rng.random(500) < p)
    ordered, shuffled = selective.aurc(list(p), right), selective.aurc(list(rng.permutation(p)), right)
    assert ordered is not None
    assert shuffled is not None
    assert ordered < shuffled - 0.1


def test_no_answer_has_no_curve() -> None:
    assert (selective.curve([], []), selective.aurc([], []), selective.widest((), 0.9)) == ((), None, None)
