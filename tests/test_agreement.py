from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tests.voting import LABELS, simulated, votes
from worker.statistics.agreement import FEW_IN_COMMON, NO_OVERLAP, NOBODY, ONE_LABEL, ONE_PERSON, alpha, kappa, pairs
from worker.statistics.consensus import Vote


def of_two(*said: tuple[str, str]) -> list[Vote]:
    return [Vote(str(i), name, label) for i, both in enumerate(said) for name, label in zip("xy", both, strict=True)]


def test_alpha_is_as_by_hand() -> None:
    # aa, ab, bb: 2 differing ordered pairs of 6 votes, 3 of each label: 1 - 5 * 2 / (36 - 9 - 9) = 4/9.
    assert alpha(of_two(("a", "a"), ("a", "b"), ("b", "b"))).value == pytest.approx(4 / 9)


def test_kappa_is_as_by_hand() -> None:
    # po = 35/50, pe = .5 * .6 + .5 * .4 = .5: (.7 - .5) / .5 = .4.
    said = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert kappa(of_two(*said)).value == pytest.approx(0.4)


def test_an_item_with_one_vote_tells_nothing_and_those_with_many_count_by_their_votes() -> None:
    # aaab and bb: the first has 3 differing pairs of 6, so 6 ordered ones, over 3; n = 6, 3 of each label.
    cast = votes(*[("1", p, "a") for p in "xyz"], ("1", "w", "b"), ("2", "x", "b"), ("2", "y", "b"), ("3", "x", "c"))
    found = alpha(cast)
    assert (found.value, found.items) == (pytest.approx(1 - 5 * (6 / 3) / (36 - 9 - 9)), 2)


def test_everybody_at_random_agrees_by_chance_only() -> None:
    cast, _ = simulated([1 / 3] * 6, 300)
    for found in (alpha(cast), kappa(cast)):
        assert found.low < 0 < found.high
        assert abs(found.value or 0.0) < 0.1


def test_full_agreement_is_one() -> None:
    cast, _ = simulated([1.0] * 4, 60)
    for found in (alpha(cast), kappa(cast)):
        assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("cast", "why"),
    [
        ([], NOBODY),
        (votes(("1", "x", "a"), ("2", "x", "b")), ONE_PERSON),
        (votes(("1", "x", "a"), ("1", "x", "b")), ONE_PERSON),  # one person's second thought is no second person
        (votes(("1", "x", "a"), ("2", "y", "b")), NO_OVERLAP),
        (votes(("1", "", "a"), ("2", "", "b")), NO_OVERLAP),  # of whom is forgotten, nobody knows whether it is one
        (of_two(("a", "a"), ("a", "a")), ONE_LABEL),
    ],
)
def test_where_nothing_can_be_told_the_reason_is_given(cast: list[Vote], why: str) -> None:
    for found in (alpha(cast), kappa(cast)):
        assert (found.value, found.low, found.high, found.why) == (None, -1.0, 1.0, why)


def test_kappa_asks_for_ten_items_in_common() -> None:
    assert kappa(of_two(("a", "b"), ("a", "a"))).why == FEW_IN_COMMON
    assert pairs(of_two(*[("a", "b")] * 9)) == []


def test_the_kappa_of_several_is_the_mean_over_pairs_by_what_they_share() -> None:
    cast, _ = simulated([0.9, 0.8, 0.6, 0.5], 120, seed=3)
    said: dict[str, dict[str, str]] = {}
    for vote in cast:
        said.setdefault(vote.annotator, {})[vote.item] = vote.label
    found, sizes = [], []
    for one, other in combinations(sorted(said), 2):
        common = said[one].keys() & said[other].keys()
        found.append(cohen_kappa_score([said[one][i] for i in common], [said[other][i] for i in common]))
        sizes.append(len(common))
    assert [each.kappa for each in pairs(cast)] == pytest.approx(found)
    assert kappa(cast).value == pytest.approx(np.average(found, weights=sizes))


def test_the_interval_of_alpha_holds_the_true_value_in_about_nine_of_ten_cases() -> None:
    # Of two votes each right with .8, else one of two others: P(agree) = .64 + 2 * .1^2 = .66; by chance a third.
    true = 1 - (1 - 0.66) / (1 - 1 / 3)
    found = [alpha(simulated([0.8] * 5, 80, seed=seed)[0], seed=seed) for seed in range(100)]
    assert 82 <= sum(each.low <= true <= each.high for each in found) <= 97


@given(st.lists(st.builds(Vote, st.sampled_from("12345"), st.sampled_from(["", "x", "y"]), st.sampled_from(LABELS))))
def test_any_votes_have_an_agreement_or_a_reason(cast: list[Vote]) -> None:
    for found in (alpha(cast), kappa(cast)):
        assert (found.value is None) == bool(found.why)
        assert -1 <= found.low <= (found.value or 0.0) <= found.high <= 1
