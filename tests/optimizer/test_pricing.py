"""What an answer takes, asked before a search is planned."""

import pytest

from backend.labeling.prompt import Prompt
from tests.optimizer.world import ACTIVE, PAIR, examples
from worker.optimizer import demonstrations
from worker.optimizer.demonstrations import by_hand
from worker.optimizer.pricing import Price, Prices, priced
from worker.optimizer.propose import Candidate

OWN = Candidate(ACTIVE, "the instruction at hand")
SHOWN = demonstrations.demonstration(PAIR, examples(count=1)[0])
assert SHOWN
SETS = (by_hand((SHOWN,)),)

Calls = dict[tuple[str, bool], float]


def found(calls: Calls, *, unusable: float = 0.0, active: Prompt = ACTIVE) -> tuple[Prices, int]:
    """And how many prompts were asked. `calls` by codes and whether a demonstration is shown; `unusable` of letters."""
    asked: set[str] = set()

    def price(prompt: Prompt) -> Price:
        asked.add(repr(prompt))
        key = (prompt.codes, bool(prompt.demonstrations))
        return Price(calls[key], unusable if prompt.codes == "letters" else 0.0)

    return priced(OWN, SETS, active, price), len(asked)


WORDS: Calls = {("auto", False): 24, ("auto", True): 20}


@pytest.mark.parametrize(
    ("calls", "prices"),
    [
        ({("auto", False): 1, ("auto", True): 1}, Prices("auto", 1, 1, 1)),
        ({("auto", False): 3.7, ("auto", True): 1}, Prices("auto", 3.7, 1, 3.7)),
        (WORDS | {("letters", False): 1, ("letters", True): 1}, Prices("letters", 1, 1, 24)),
        (WORDS | {("letters", False): 13, ("letters", True): 12}, Prices("auto", 24, 20, 24)),
    ],
)
def test_letters_are_searched_where_they_spare_half_of_the_calls(calls: Calls, prices: Prices) -> None:
    assert found(calls)[0] == prices


def test_letters_are_asked_only_where_words_are_dear() -> None:
    assert found({("auto", False): 1, ("auto", True): 1.9})[1] == 2


@pytest.mark.parametrize(("unusable", "codes"), [(0.06, "letters"), (0.25, "auto")])
def test_letters_that_the_model_does_not_answer_with_are_not(unusable: float, codes: str) -> None:
    prices, _ = found(WORDS | {("letters", False): 1, ("letters", True): 1}, unusable=unusable)
    assert prices.codes == codes


def test_without_demonstrations_an_answer_with_them_counts_as_one_without() -> None:
    prices = priced(OWN, (), ACTIVE, lambda _: Price(1.5, 0))
    assert prices == Prices("auto", 1.5, 1.5, 1.5)
