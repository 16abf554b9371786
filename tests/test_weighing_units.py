"""How many tasks labels stand for, in units of what each would if all were drawn by lot."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.optimizer.world import examples
from worker.predictions.frame import Frame
from worker.runs.weighing import by_frame

SCORES = np.random.default_rng(0).random(2000)
ITEMS = examples(count=100)


def weights(labelled: Sequence[int], *, chosen: int = 0) -> list[float]:
    """Of 100 labels among 2000 tasks, the first of which a queue chose for their score."""
    others = np.setdiff1d(np.arange(2000), labelled)
    framed = Frame(ITEMS, SCORES[[*labelled, *others]], np.arange(2000) < chosen)
    return [each.weight for each in by_frame(ITEMS, framed)]


def test_labels_in_any_order_but_that_of_scores_stand_for_all_tasks() -> None:
    found = weights(np.random.default_rng(1).permutation(2000)[:100].tolist())
    assert np.mean(found) == pytest.approx(1.0)
    assert 0.5 < min(found) < max(found) < 2


@pytest.mark.parametrize("chosen", [0, 100])
def test_the_least_certain_tasks_stand_for_themselves_whether_a_queue_chose_them_or_a_tab(chosen: int) -> None:
    assert weights(np.argsort(SCORES)[:100].tolist(), chosen=chosen) == pytest.approx([0.05] * 100)


def test_a_few_drawn_by_lot_among_them_stand_for_all_others() -> None:
    drawn = np.random.default_rng(1).permutation(2000)[:20].tolist()
    picked = [task for task in np.argsort(SCORES).tolist() if task not in drawn][:80]
    found = weights([*picked, *drawn], chosen=80)
    assert found[:80] == pytest.approx([0.05] * 80)
    assert np.mean(found) == pytest.approx(1.0)
