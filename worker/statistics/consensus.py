"""What several people's votes amount to: by majority, or by Dawid and Skene's model of who can be trusted with what.

Dawid and Skene, Applied Statistics 28 (1979): each annotator has a confusion matrix, the true labels are hidden, and
EM finds both. Here the matrices have a Dirichlet prior, so that who voted little is taken for an ordinary annotator and
not for a perfect one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from worker.statistics.confusions import Fitted, fit
from worker.statistics.intervals import share

Method = Literal["auto", "majority", "dawid-skene"]
Used = Literal["majority", "dawid-skene"]

# Below these Dawid and Skene's model cannot help: it tells two people who differ apart by nothing, and few items less.
LEAST_ANNOTATORS, LEAST_ITEMS = 3, 50
_LEAST_EACH = 10  # items shared with others for an annotator to count among the three
# What it needs to decide a tie, or to overrule the votes. It is surer than it should be: on real annotators (3 and 5 a
# row) .8 was right in 67 % of ties and .9 in 72 %, where a guess is right in a third to a half.
_SURE = 0.9
_MOST = 0.75
# An annotator is said to answer at random when kappa against the others is below this, as far as it can be told.
_CHANCE, _LEAST_TO_ACCUSE = 0.2, 20


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's answer to one question on one item. `annotator` is "" for anyone whom Label Studio has forgotten:
    then each vote may be another person's."""

    item: str
    annotator: str
    label: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one person said of an item, and what the others of those who voted on it amount to without that person."""

    item: str
    annotator: str
    said: str
    others: str

    @property
    def agrees(self) -> bool:
        return self.said == self.others


@dataclass(frozen=True, slots=True)
class Annotator:
    """`confusion` has a row for each true label and a column for each label said, in `Consensus.labels`' order, each
    row summing to 1; `accuracy` is its diagonal weighted by how frequent the labels are. `items` are those shared with
    others, on which both rest."""

    items: int
    accuracy: float
    confusion: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Consensus:
    """`posterior` holds, of each item, the labels with a probability worth naming; by majority it is the share of
    votes. `judgements` are only of items that the others decide. `at_random` are annotators who seem to answer so."""

    labels: tuple[str, ...] = ()
    method: Used = "majority"
    posterior: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    decided: Mapping[str, str] = field(default_factory=dict)
    annotators: Mapping[str, Annotator] = field(default_factory=dict)
    judgements: tuple[Judgement, ...] = ()
    at_random: frozenset[str] = frozenset()

    def heard(self, votes: Sequence[Vote]) -> list[str]:
        """What people say of one item, those who answer at random aside where there are others."""
        reliable = [vote.label for vote in votes if vote.annotator not in self.at_random]
        return reliable or [vote.label for vote in votes]

    def differ(self, votes: Sequence[Vote]) -> bool:
        return len(set(self.heard(votes))) > 1

    def disputed(self, votes: Sequence[Vote]) -> bool:
        """Fewer than three in four say the same: one of many who dissents splits nobody."""
        heard = self.heard(votes)
        return max(Counter(heard).values(), default=0) < _MOST * len(heard)


def consensus(
    votes: Sequence[Vote],
    labels: Sequence[str],
    *,
    method: Method = "auto",
    known: Mapping[str, str] | None = None,
) -> Consensus:
    """`known` are items whose label is settled, however people voted: it stays, and tells of the annotators.

    A plurality decides an item, a tie does not; Dawid and Skene's model decides a tie, or otherwise than the plurality,
    where it is sure enough (.9). Items on which all votes agree are never touched. The same votes in any order give the
    same consensus. The model needs three annotators who share ten items each; `auto` takes it from 50 items with
    several votes on.
    """
    votes = sorted(votes, key=lambda vote: (vote.item, vote.annotator, vote.label))
    known = known or {}
    by_item = _by_item(votes)
    shared = {item: cast for item, cast in by_item.items() if len(cast) > 1}
    counted = [vote for cast in shared.values() for vote in cast]
    used = _method(method, shared)
    fitted = fit([(v.item, v.annotator, v.label) for v in counted], labels, known, modelled=used == "dawid-skene")
    judgements = tuple(_judged(shared, fitted))
    posterior = {item: _named(cast, fitted, known.get(item)) for item, cast in by_item.items()}
    return Consensus(
        labels=fitted.labels,
        method=used,
        posterior=posterior,
        decided=_decided(by_item, posterior, known),
        annotators=_annotators(shared, fitted),
        judgements=judgements,
        at_random=_at_random(judgements),
    )


def plurality(labels: Iterable[str]) -> str | None:
    """The most frequent; None for a tie, or of none."""
    ranked = Counter(labels).most_common(2)
    if not ranked:
        return None
    return ranked[0][0] if len(ranked) == 1 or ranked[0][1] > ranked[1][1] else None


def _by_item(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.item].append(vote)
    return found


def _method(asked: Method, shared: Mapping[str, Sequence[Vote]]) -> Used:
    items = Counter(name for cast in shared.values() for name in {vote.annotator for vote in cast} if name)
    if asked == "majority" or sum(count >= _LEAST_EACH for count in items.values()) < LEAST_ANNOTATORS:
        return "majority"
    return "dawid-skene" if asked == "dawid-skene" or len(shared) >= LEAST_ITEMS else "majority"


def _named(cast: Sequence[Vote], fitted: Fitted, known: str | None) -> dict[str, float]:
    if known is not None:
        return {known: 1.0}
    labels = {vote.label for vote in cast}
    return {labels.pop(): 1.0} if len(labels) == 1 else fitted.posterior(cast[0].item)


def _decided(
    by_item: Mapping[str, Sequence[Vote]], posterior: Mapping[str, Mapping[str, float]], known: Mapping[str, str]
) -> dict[str, str]:
    found = {item: _decide([vote.label for vote in cast], posterior[item]) for item, cast in by_item.items()}
    return {item: label for item, label in found.items() if label is not None} | dict(known)


def _decide(said: Sequence[str], posterior: Mapping[str, float]) -> str | None:
    """By the votes, unless the posterior is sure enough of another label, or of one of a tie. One that is the share of
    votes never is."""
    voted = plurality(said)
    likeliest = max(posterior, key=lambda label: (posterior[label], label))
    if likeliest == voted:
        return voted
    return likeliest if posterior[likeliest] >= _SURE else voted


def _judged(shared: Mapping[str, Sequence[Vote]], fitted: Fitted) -> Iterable[Judgement]:
    """Once for each person and item; one who contradicts himself there is not judged."""
    for item, cast in shared.items():
        for number, vote in enumerate(cast):
            own = [number] if not vote.annotator else [i for i, v in enumerate(cast) if v.annotator == vote.annotator]
            others = [other.label for i, other in enumerate(cast) if i not in own]
            if number != own[0] or not others or len({cast[i].label for i in own}) > 1:
                continue
            left = _decide(others, fitted.without(item, own))
            if left is not None:
                yield Judgement(item, vote.annotator, vote.label, left)


def _annotators(shared: Mapping[str, Sequence[Vote]], fitted: Fitted) -> dict[str, Annotator]:
    items = Counter(name for cast in shared.values() for name in {vote.annotator for vote in cast})
    return {
        name: Annotator(count, fitted.accuracy(name), fitted.confusion(name))
        for name, count in sorted(items.items())
        if name
    }


def _at_random(judgements: Sequence[Judgement]) -> frozenset[str]:
    """Those whose kappa against the others is surely (95 %) below .2, from 20 items on. At most the smaller half of
    three or more: else nobody can tell who of them is to be believed."""
    by_name: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        if each.annotator:
            by_name[each.annotator].append(each)
    judged = {name: each for name, each in by_name.items() if len(each) >= _LEAST_TO_ACCUSE}
    found = frozenset(name for name, each in judged.items() if _highest_kappa(each) < _CHANCE)
    return found if len(judged) >= LEAST_ANNOTATORS and 2 * len(found) < len(judged) else frozenset()


def _highest_kappa(judged: Sequence[Judgement]) -> float:
    """(po - pe) / (1 - pe) at the upper end of po's interval; 1 where chance alone would agree always."""
    n = len(judged)
    said, others = Counter(each.said for each in judged), Counter(each.others for each in judged)
    by_chance = sum(said[label] * others[label] for label in said) / n**2
    high = share(sum(each.agrees for each in judged), n).high
    return (high - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0
