import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.voting import LABELS, simulated, votes
from worker.statistics.confusions import fit
from worker.statistics.consensus import Judgement, Vote, consensus, plurality


def accuracy(cast: list[Vote], truth: dict[str, str], method: str) -> float:
    decided = consensus(cast, LABELS, method=method).decided  # type: ignore[arg-type] # the two are methods
    return sum(decided.get(item) == true for item, true in truth.items()) / len(truth)


@pytest.mark.parametrize(
    ("said", "expected"), [("", None), ("a", "a"), ("ab", None), ("aab", "a"), ("aabb", None), ("abc", None)]
)
def test_a_plurality_decides_and_a_tie_does_not(said: str, expected: str | None) -> None:
    assert plurality(said) == expected
    cast = votes(*[("1", str(i), label) for i, label in enumerate(said)])
    assert consensus(cast, LABELS).decided.get("1") == expected


def test_by_majority_the_posterior_is_the_share_of_votes() -> None:
    found = consensus(votes(("1", "x", "a"), ("1", "y", "a"), ("1", "z", "b"), ("2", "x", "c")), LABELS)
    assert found.method == "majority"
    assert found.posterior == {"1": {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}, "2": {"c": 1.0}}


def test_the_posterior_is_prevalence_times_the_likelihood_of_each_vote() -> None:
    cast = [(v.item, v.annotator, v.label) for v in sorted(simulated([0.9, 0.7, 0.5], 60)[0], key=lambda v: v.item)]
    found = fit(cast, LABELS, {}, modelled=True)
    item = cast[0][0]
    weights = [
        found.prevalence[c]
        * math.prod(found.confusion(name)[c][LABELS.index(label)] for other, name, label in cast if other == item)
        for c in range(3)
    ]
    expected = {label: weight / sum(weights) for label, weight in zip(LABELS, weights, strict=True)}
    assert found.posterior(item) == pytest.approx(expected, abs=1e-3)


def test_who_is_how_reliable_comes_out_of_the_votes_alone() -> None:
    accuracies = [0.95, 0.85, 0.7, 0.5, 0.34]
    found = consensus(simulated(accuracies, 400)[0], LABELS, method="dawid-skene")
    assert [found.annotators[f"p{i}"].accuracy for i in range(5)] == pytest.approx(accuracies, abs=0.08)
    assert found.at_random == {"p4"}
    assert all(sum(row) == pytest.approx(1) for each in found.annotators.values() for row in each.confusion)


def test_who_answers_at_random_loses_weight() -> None:
    worlds = [simulated([0.95, 0.85, 0.7, 0.5, 1 / 3], 100, seed=seed) for seed in range(11)]
    gains = [accuracy(*world, "dawid-skene") - accuracy(*world, "majority") for world in worlds]
    assert median(gains) > 0.01
    assert min(gains) >= 0


def test_people_who_are_all_alike_lose_nothing_to_the_model() -> None:
    worlds = [simulated([0.75] * 5, 100, seed=seed) for seed in range(11)]
    gains = [accuracy(*world, "dawid-skene") - accuracy(*world, "majority") for world in worlds]
    assert abs(median(gains)) <= 0.02


def test_many_people_with_a_handful_of_items_each_do_not_blow_up() -> None:
    worlds = [simulated([0.4 + 0.01 * i for i in range(50)], 100, seed=seed) for seed in range(7)]
    gains = [accuracy(*world, "dawid-skene") - accuracy(*world, "majority") for world in worlds]
    assert median(gains) >= 0
    assert min(gains) > -0.05


@pytest.mark.parametrize(
    ("people", "items", "expected"),
    [(3, 60, "dawid-skene"), (2, 60, "majority"), (3, 40, "majority"), (1, 200, "majority")],
)
def test_the_model_is_used_where_it_can_help(people: int, items: int, expected: str) -> None:
    cast, _ = simulated([0.8] * people, items, each=min(people, 3))
    assert consensus(cast, LABELS).method == expected
    assert consensus(cast, LABELS, method="majority").method == "majority"


def test_two_who_differ_leave_a_tie_whatever_the_method() -> None:
    cast = [vote for i in range(80) for vote in votes((str(i), "x", "a"), (str(i), "y", "ab"[i % 2]))]
    found = consensus(cast, ("a", "b"), method="dawid-skene")
    assert set(found.decided) == {str(i) for i in range(0, 80, 2)}
    assert not found.at_random


def test_the_model_decides_a_tie_between_a_reliable_person_and_one_at_random() -> None:
    cast, _ = simulated([0.95, 0.95, 0.9, 1 / 3], 200)
    tie = votes(("tie", "p0", "a"), ("tie", "p3", "b"))
    assert "tie" not in consensus([*cast, *tie], LABELS, method="majority").decided
    assert consensus([*cast, *tie], LABELS, method="dawid-skene").decided["tie"] == "a"


def test_what_all_who_voted_say_stays() -> None:
    cast, _ = simulated([0.95, 0.95, 0.9, 1 / 3], 200)
    alone = votes(("alone", "p3", "b"))
    found = consensus([*cast, *alone], LABELS)
    assert (found.method, found.decided["alone"], found.posterior["alone"]) == ("dawid-skene", "b", {"b": 1.0})


@pytest.mark.parametrize("method", ["majority", "dawid-skene"])
def test_a_settled_item_stays_as_it_is(method: str) -> None:
    cast = votes(("1", "x", "a"), ("1", "y", "a"), ("1", "z", "b"))
    found = consensus(cast, LABELS, method=method, known={"1": "b"})  # type: ignore[arg-type] # one of the methods
    assert (found.decided, found.posterior) == ({"1": "b"}, {"1": {"b": 1.0}})


def test_a_person_is_judged_by_the_others_where_they_decide() -> None:
    cast = votes(("1", "x", "a"), ("1", "y", "b"), ("1", "z", "b"), ("2", "x", "a"), ("2", "x", "b"), ("3", "x", "a"))
    # y's others are x and z, who differ; z's are x and y; x contradicts himself on 2; nobody else labelled 3.
    assert consensus(cast, LABELS).judgements == (Judgement("1", "x", "a", "b"),)


def test_of_three_of_whom_two_answer_at_random_none_is_accused() -> None:
    cast, _ = simulated([0.9, 1 / 3, 1 / 3], 300)
    assert not consensus(cast, LABELS).at_random


def test_one_at_random_does_not_make_people_split() -> None:
    cast, _ = simulated([0.95, 0.95, 0.9, 1 / 3], 200)
    found = consensus(cast, LABELS)
    assert found.at_random == {"p3"}
    for says in (found.differ, found.disputed):
        assert not says(votes(("1", "p0", "a"), ("1", "p3", "b")))
        assert says(votes(("1", "p0", "a"), ("1", "p1", "b")))
        assert not says(votes(("1", "p3", "b")))


any_votes = st.lists(
    st.builds(Vote, st.sampled_from("1234"), st.sampled_from(["", "x", "y", "z"]), st.sampled_from(LABELS)), max_size=30
)


@pytest.mark.parametrize("method", ["auto", "majority", "dawid-skene"])
@given(any_votes, st.randoms())
def test_any_votes_have_a_consensus_whatever_their_order(method: str, cast: list[Vote], rng: object) -> None:
    found = consensus(cast, LABELS, method=method)  # type: ignore[arg-type] # one of the methods
    assert found.posterior.keys() == {vote.item for vote in cast}
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-4) for each in found.posterior.values())
    mixed = list(cast)
    rng.shuffle(mixed)  # type: ignore[attr-defined] # a random.Random
    assert consensus(mixed, LABELS, method=method) == found  # type: ignore[arg-type] # one of the methods
