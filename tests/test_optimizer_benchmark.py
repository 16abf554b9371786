"""The parts of the optimizer's benchmark that its figures rest on."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.engines.base import Usage
from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from tests.benchmarks.optimizer.arms import Result
from tests.benchmarks.optimizer.asking import Model, NotRecordedError, Run
from tests.benchmarks.optimizer.cells import CELLS, Cell
from tests.benchmarks.optimizer.peers import at
from tests.benchmarks.optimizer.recording import Recording
from tests.benchmarks.optimizer.scoring import Measured, paired_interval, upper_bound
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome
from worker.optimizer.reflect import quotes

AMAZON = CELLS[0]  # its data comes with the demo


def answered(p: float) -> Outcome:
    found = Distribution(("negative", "positive"), (1 - p, p), 0.75, ("negative",))
    return Outcome(TaskAnswers({"sentiment": found}, usage=Usage(90, 60, 1), calls=2))


def example(name: str) -> Example:
    return Example(name, {"text": name}, {"sentiment": ("positive",)}, datetime(2026, 1, 1, tzinfo=UTC))


def recorded(path: Path, prompt: Prompt, examples: list[Example]) -> Model:
    model = Model(AMAZON, Recording(path), live=False)
    for key, p in zip(model.keys(prompt, examples), (0.2, 0.7, 0.9, 0.4), strict=False):
        model.recording.keep(key, answered(p))
    return model


def test_a_recording_gives_back_what_was_kept_in_a_later_process_too(tmp_path: Path) -> None:
    path, prompt, rows = tmp_path / "a.jsonl.gz", AMAZON.naive(), [example("a"), example("b")]
    recorded(path, prompt, rows).recording.flush()
    first, second = Model(AMAZON, Recording(path), live=False).ask(prompt, rows)
    assert first.answers
    assert second.answers
    found = first.answers.distributions["sentiment"]
    assert found.probabilities == pytest.approx((0.8, 0.2), abs=1e-3)
    assert (found.label_mass, found.censored, first.answers.usage, first.answers.calls) == (
        *(0.75, ("negative",), Usage(90, 60, 1), 2),
    )
    assert second.answers.distributions["sentiment"].best == "positive"


def test_failures_are_recorded_too(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.jsonl.gz")
    recording.keep("k", Outcome(None, "no label"))
    recording.flush()
    assert Recording(tmp_path / "a.jsonl.gz").outcome("k", AMAZON.schema, example("a")) == Outcome(None, "no label")


def test_replaying_never_asks_the_model(tmp_path: Path) -> None:
    model = recorded(tmp_path / "a.jsonl.gz", AMAZON.naive(), [example("a")])
    with pytest.raises(NotRecordedError, match="run without --replay"):
        model.ask(AMAZON.naive(), [example("new")])


def test_a_run_pays_once_for_an_evaluation_in_calls_and_stops_at_its_budget(tmp_path: Path) -> None:
    rows = [example(name) for name in "abcd"]
    run = Run(recorded(tmp_path / "a.jsonl.gz", AMAZON.naive(), rows), budget=4)
    run.label(AMAZON.naive(), rows[:2])
    run.label(AMAZON.naive(), rows[:2])
    assert run.spent == 4  # two evaluations of two calls each
    with pytest.raises(BudgetError):
        run.label(AMAZON.naive(), rows)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.key)
def test_the_pool_is_distinct_and_quotes_no_row(cell: Cell) -> None:
    if cell.path is None:
        pytest.skip(cell.how_to_get)
    texts = [prompt.instruction for prompt in cell.pool]
    assert len(set(texts)) == len(texts)
    rows = [row.data["text"] for row in (*cell.rows, *cell.tests)]
    assert not any(quotes(text, rows) for text in texts)


def test_amazon_needs_nothing_that_is_not_in_the_repository() -> None:
    carried = Path(__file__).parents[1] / "demo" / "data" / AMAZON.file
    assert carried.exists()
    assert len(AMAZON.pool) == 16


def test_rows_for_demonstrations_are_in_every_seed_and_train_rows_and_no_row_is_tested_on() -> None:
    one, other = AMAZON.labelled(100, 0), AMAZON.labelled(100, 1)
    shown = AMAZON.rows[: AMAZON.shown]
    assert one[: AMAZON.shown] == other[: AMAZON.shown] == shown
    assert all(row.split == "train" for row in shown)
    assert len({row.id for row in one}) == 100
    assert {row.id for row in one} != {row.id for row in other}
    assert {row.id for row in AMAZON.rows}.isdisjoint(row.id for row in AMAZON.tests)


def test_parts_of_a_data_set_share_no_row() -> None:
    parts = [replace(AMAZON, part=part, learn=60, test=40) for part in range(3)]
    used = [row.id for cell in parts for row in (*cell.rows, *cell.tests)]
    assert len(set(used)) == len(used) == 3 * 100
    assert [cell.key for cell in parts] == ["amazon_sentiment", "amazon_sentiment_1", "amazon_sentiment_2"]


def test_what_a_peer_had_at_so_many_calls_is_the_last_that_it_found_by_then() -> None:
    naive, first, second = (Result(Prompt(text), calls) for text, calls in (("n", 0), ("a", 200), ("b", 700)))
    found = [naive, first, second]
    assert [at(found, calls).prompt.instruction for calls in (100, 200, 699, 5000)] == ["n", "a", "a", "b"]


@pytest.mark.parametrize(
    ("count", "n", "bound"),
    [
        (0, 59, 1 - 0.05 ** (1 / 59)),  # solves (1 - p)^59 = .05
        (0, 1, 0.95),
        (3, 3, 1.0),
        (1, 2, math.sqrt(0.95)),  # P(at most 1 of 2) = 1 - p^2 = .05
    ],
)
def test_the_upper_bound_is_clopper_and_pearsons(count: int, n: int, bound: float) -> None:
    assert upper_bound(count, n) == pytest.approx(bound)


def test_a_paired_interval_of_equal_answers_is_zero_and_of_always_better_ones_above_it() -> None:
    ours = [Measured((True, False, True, False), 0.1)] * 3
    assert paired_interval(ours, ours) == (0.0, 0.0)
    low, high = paired_interval(ours, [Measured((True, True, True, True), 0.1)] * 3)
    assert 0 <= low < 0.5 < high <= 1  # two of the four rows are better, on every seed
