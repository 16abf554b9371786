"""Votes of simulated people, whose true labels and accuracies are known."""

import random
from collections.abc import Sequence

from worker.statistics.consensus import Vote

LABELS = ("a", "b", "c")


def votes(*rows: tuple[str, str, str]) -> list[Vote]:
    """Each row is (item, annotator, label)."""
    return [Vote(*row) for row in rows]


def simulated(
    accuracies: Sequence[float], items: int, *, each: int = 3, labels: Sequence[str] = LABELS, seed: int = 0
) -> tuple[list[Vote], dict[str, str]]:
    """`each` of the people p0, p1... vote on every item; who is wrong says any other label. With the true labels."""
    rng = random.Random(seed)
    truth = {f"i{n}": rng.choice(labels) for n in range(items)}
    found = []
    for item, true in truth.items():
        for person in rng.sample(range(len(accuracies)), each):
            right = rng.random() < accuracies[person]
            said = true if right else rng.choice([label for label in labels if label != true])
            found.append(Vote(item, f"p{person}", said))
    return found, truth
