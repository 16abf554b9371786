"""Tasks in order of score, cut into strata within which the labelled ones count as drawn by lot. Pure.

Only where the labels lie decides on the cuts, never whether predictions are right there.
"""

import numpy as np
from numpy.typing import NDArray

# Least gain in log-likelihood for a cut, in nats: the best of all cuts of a random sample gains as much in about one of
# 100 projects, the end of "least certain first" tens of times as much.
_LEAST_GAIN = 8.0
_LABELS_A_STRATUM = 20
_MOST_STRATA = 10


def strata(scores: NDArray[np.float64], labelled: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The stratum of each task, numbered by rising score; -1 where a whole range of scores has no label.

    First the range is cut wherever the share of labelled tasks changes: people who label the least certain first leave
    a range that is all labelled, and one where labels are rare. Each of these parts is cut into equal numbers of tasks,
    about 20 labels in each. Equal scores are never parted by the first kind of cut.
    """
    order = np.argsort(scores, kind="stable")
    found = np.full(len(scores), -1, dtype=np.intp)
    stratum = 0
    for start, end in _parts(scores[order], labelled[order].astype(np.intp), 0):
        for low, high in _slices(labelled[order], start, end):
            found[order[low:high]] = stratum
            stratum += 1
    return found


def are_even(scores: NDArray[np.float64], labelled: NDArray[np.bool_]) -> bool:
    """Whether tasks of all scores are labelled equally often, as far as can be told: so are those drawn by lot."""
    order = np.argsort(scores, kind="stable")
    return _cut(scores[order], labelled[order].astype(np.intp)) is None


def _parts(scores: NDArray[np.float64], labelled: NDArray[np.intp], offset: int) -> list[tuple[int, int]]:
    """Half-open ranges, each of one share of labelled tasks as far as can be told."""
    cut = _cut(scores, labelled)
    if cut is None:
        return [(offset, offset + len(scores))]
    return _parts(scores[:cut], labelled[:cut], offset) + _parts(scores[cut:], labelled[cut:], offset + cut)


def _cut(scores: NDArray[np.float64], labelled: NDArray[np.intp]) -> int | None:
    """Before which task the share changes most: where two binomial likelihoods gain most over one."""
    if len(scores) <= 1:
        return None
    total, n = labelled.sum(), len(scores)
    below, tasks = np.cumsum(labelled)[:-1], np.arange(1, n)
    gain = _likelihood(below, tasks) + _likelihood(total - below, n - tasks) - _likelihood(total, np.intp(n))
    gain = np.where(scores[1:] > scores[:-1], gain, 0.0)
    best = int(np.argmax(gain))
    return best + 1 if gain[best] >= _LEAST_GAIN else None


def _likelihood(count: NDArray[np.intp] | np.intp, n: NDArray[np.intp] | np.intp) -> NDArray[np.float64]:
    """The largest log-likelihood of `count` of `n`: k log(k/n) + (n-k) log((n-k)/n), with 0 log 0 = 0."""
    return _times_log(count, n) + _times_log(n - count, n)


def _times_log(count: NDArray[np.intp] | np.intp, n: NDArray[np.intp] | np.intp) -> NDArray[np.float64]:
    return np.asarray(count * np.log(np.maximum(count, 1) / n), dtype=np.float64)


def _slices(labelled: NDArray[np.bool_], start: int, end: int) -> list[tuple[int, int]]:
    """Of one part, each with a label; none where it has no label at all."""
    count = int(labelled[start:end].sum())
    if not count:
        return []
    wanted = min(max(count // _LABELS_A_STRATUM, 1), _MOST_STRATA)
    found: list[tuple[int, int]] = []
    low = start
    for high in np.linspace(start, end, wanted + 1).round().astype(int)[1:]:
        if labelled[low:high].any():
            found.append((low, int(high)))
            low = int(high)
    return [*found[:-1], (found[-1][0], end)]
