"""What people should label next, and why: the tasks that teach most, and a random share by which to measure. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

Reason = Literal["least certain", "disagreement", "audit", "by lot"]
Embed = Callable[[Sequence[str]], NDArray[Any]]

# What is labelled for what it is: it says nothing of other tasks. All else is drawn by lot.
CHOSEN: frozenset[str] = frozenset({"least certain", "disagreement"})

_DISAGREEMENT = 0.2
_AUDIT_EARLY, _AUDIT_LATER = 0.3, 0.2
_ENOUGH_LABELS = 200
_NEAR = 0.9  # cosine from which two texts count as nearly equal
_WINDOW, _LEAST_WINDOW = 4, 300  # times as many uncertain tasks as wanted are compared, and at least so many
_MOST_PIECES = 4096


@dataclass(frozen=True, slots=True)
class Open:
    """A task that nobody has annotated. `score` is of the active version's prediction, None without one, as of blind
    tasks. `audit`: of the audit slice. `disagrees`: whether the waiting challenger answers otherwise; None: not
    asked."""

    id: int
    text: str = field(repr=False)
    score: float | None
    audit: bool
    disagrees: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """`probability` is what the task had of getting into this queue for this reason."""

    task: int
    reason: Reason
    probability: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a queue's places; the rest goes to the least certain tasks, and so do audit
    places when the slice is used up."""

    disagreement: float = _DISAGREEMENT
    audit: float = _AUDIT_LATER

    @classmethod
    def after(cls, labels: int) -> "Shares":
        """While labels are few, more are drawn by lot: 30 % of the places up to 200 labels, 20 % after."""
        return cls(audit=_AUDIT_EARLY if labels < _ENOUGH_LABELS else _AUDIT_LATER)


def order(
    tasks: Sequence[Open], count: int, *, shares: Shares, project: str, embed: Embed | None = None
) -> list[Place]:
    """First to last, `count` of them or as many as are open. Any beginning of it is mixed like the whole.

    The same tasks give the same queue. Least certain means lowest score, without tasks whose texts nearly repeat one
    that is in already; `embed` gives a vector a text, else TF-IDF of its letters does. Where too few tasks have a
    score, the rest is of the audit slice, and when that is used up, drawn by lot among all.
    """
    left = in_lot_order(tasks, project)
    both = _disagreeing(left, round(shares.disagreement * count))
    left, open_places = _without(left, both), count - len(both)
    audit = min(round(shares.audit * count), sum(task.audit for task in left))
    uncertain = [Place(t.id, "least certain", 1.0, t.score) for t in _least_certain(left, open_places - audit, embed)]
    left, open_places = _without(left, uncertain), open_places - len(uncertain)
    lot = _drawn([task for task in left if task.audit][:open_places], "audit", among=len(left))
    left, open_places = _without(left, lot), open_places - len(lot)
    return _mixed([uncertain, lot, both, _drawn(left[:open_places], "by lot", among=len(left))])


def in_lot_order(tasks: Iterable[Open], project: str) -> list[Open]:
    """The first of them are as good as drawn at random."""
    return sorted(tasks, key=lambda task: _lot(project, task.id))


def _lot(project: str, task_id: int) -> bytes:
    """Independent of which tasks are blind or of the audit slice, so that a part of that slice holds both kinds."""
    return hashlib.sha256(f"queue|{project}|{task_id}".encode()).digest()


def _disagreeing(tasks: Sequence[Open], count: int) -> list[Place]:
    """The probability is that of having been asked about, times that of being drawn among those that disagree."""
    asked, found = [t for t in tasks if t.disagrees is not None], [t for t in tasks if t.disagrees]
    taken = found[:count]
    return [Place(t.id, "disagreement", len(asked) / len(tasks) * len(taken) / len(found), t.score) for t in taken]


def _drawn(tasks: Sequence[Open], reason: Reason, *, among: int) -> list[Place]:
    return [Place(task.id, reason, len(tasks) / among, task.score) for task in tasks]


def _without(tasks: Iterable[Open], places: Iterable[Place]) -> list[Open]:
    taken = {place.task for place in places}
    return [task for task in tasks if task.id not in taken]


def _least_certain(tasks: Iterable[Open], count: int, embed: Embed | None) -> list[Open]:
    """The lowest score first; of nearly equal texts the first, and the others only if too few are left."""
    scored = [(task.score, task.id, task) for task in tasks if task.score is not None]
    window = [task for _, _, task in sorted(scored, key=lambda each: each[:2])[: max(_WINDOW * count, _LEAST_WINDOW)]]
    if len(window) <= count:
        return window
    taken = _unlike(_unit((embed or tf_idf)([task.text for task in window])), count)
    spare = sorted(set(range(len(window))) - set(taken))
    return [window[place] for place in sorted([*taken, *spare[: count - len(taken)]])]


def _unlike(vectors: NDArray[np.float64], most: int) -> list[int]:
    """The first that are not near one that was taken before."""
    kept, taken = np.zeros((most, vectors.shape[1])), list[int]()
    for place, vector in enumerate(vectors):
        if len(taken) == most:
            break
        if not (kept[: len(taken)] @ vector > _NEAR).any():
            kept[len(taken)] = vector
            taken.append(place)
    return taken


def tf_idf(texts: Sequence[str]) -> NDArray[np.float64]:
    """A vector a text, of its three-letter pieces; of empty texts zero."""
    if not any(text.strip() for text in texts):
        return np.zeros((len(texts), 1))
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), max_features=_MOST_PIECES)
    found: NDArray[np.float64] = pieces.fit_transform(texts).toarray()
    return found


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)


def _mixed(groups: Sequence[Sequence[Place]]) -> list[Place]:
    """Each group spread evenly over the queue, in its own order."""
    spread = [
        ((place + 0.5) / len(group), number, place)
        for number, group in enumerate(groups)
        for place in range(len(group))
    ]
    return [groups[number][place] for _, number, place in sorted(spread)]
