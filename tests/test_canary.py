from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pytest

from backend.labeling import schema as schemas
from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import Calibration
from backend.labeling.cascade import ALWAYS, alone, escalated
from backend.labeling.prompt import Prompt
from worker.optimizer.outcomes import Outcome
from worker.watching import canary
from worker.watching.canary import Answers, Baseline, Comparison, Said, choose, compare, said

AT = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = schemas.parse(
    '<View><Text name="text" value="$text"/><Choices name="mood" toName="text">'
    '<Choice value="happy"/><Choice value="angry"/></Choices></View>'
)


def answers(happy: Mapping[int, float | None]) -> Answers:
    return {
        str(task): None if p is None else {"mood": Said({"happy": p, "angry": 1 - p}, "happy" if p >= 0.5 else "angry")}
        for task, p in happy.items()
    }


def baseline(first: Answers, again: Answers | None = None) -> Baseline:
    return Baseline("v", 0, AT, first, again if again is not None else first)


class Model:
    """Log-odds of 20 tasks; each call adds noise of its own to them."""

    def __init__(self, seed: int, *, noise: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.log_odds = self.rng.normal(0, 2, size=20)

    def asked(self, *, drifted: float = 0.0) -> Answers:
        log_odds = (
            self.log_odds + drifted + self.rng.normal(0, self.noise, size=20)
            if self.noise
            else (self.log_odds + drifted)
        )
        return answers({i: float(1 / (1 + np.exp(-x))) for i, x in enumerate(log_odds)})


def alarmed(seed: int, *, noise: float, drifted: float = 0.0) -> bool:
    model = Model(seed, noise=noise)
    before = baseline(model.asked(), model.asked())
    return compare(before, model.asked(drifted=drifted)).alarms


def test_a_comparison_is_that_of_arithmetic() -> None:
    # Task 0 stays .5; task 1 goes from .8 to .4: |log .8 - log .4| = .6931, |log .2 - log .6| = 1.0986, mean .8959.
    # Over the two tasks .4479. Between the first two runs only task 0 moved, .5 to .6: (.1823 + .2231) / 2 = .2027, so
    # noise .1014. Task 0 is nearer than that now, task 1 farther.
    before = baseline(answers({0: 0.5, 1: 0.8}), answers({0: 0.6, 1: 0.8}))
    found = compare(before, answers({0: 0.5, 1: 0.4}))
    assert (found.tasks, found.changed, found.farther, found.nearer) == (2, 1, 1, 1)
    assert found.moved == pytest.approx(0.4479, abs=1e-4)
    assert found.noise == pytest.approx(0.1014, abs=1e-4)


def test_the_same_model_is_no_alarm() -> None:
    same = Model(1, noise=0).asked()
    assert not compare(baseline(same), same).alarms


def test_a_server_that_batches_in_another_way_today_is_no_alarm() -> None:
    """The first two calls agreed to the last digit, today's differ by hundredths."""
    model = Model(2, noise=0)
    first = model.asked()
    model.noise = 0.05
    assert not compare(baseline(first), model.asked()).alarms


@pytest.mark.parametrize("noise", [0.02, 0.3, 1.0])
def test_noise_is_no_alarm(noise: float) -> None:
    assert np.mean([alarmed(seed, noise=noise) for seed in range(1000)]) <= 0.004


@pytest.mark.parametrize(("noise", "drifted"), [(0.0, 0.3), (0.05, 0.5), (0.3, 2.0)])
def test_another_model_is_found_beyond_the_noise(noise: float, drifted: float) -> None:
    assert np.mean([alarmed(seed, noise=noise, drifted=drifted) for seed in range(100)]) >= 0.95


def test_a_model_that_changed_on_half_of_the_tasks_is_found() -> None:
    first = answers(dict.fromkeys(range(20), 0.7))
    assert compare(baseline(first), answers({i: 0.7 if i % 2 else 0.4 for i in range(20)})).alarms


def test_a_few_tasks_that_moved_do_not_prove_another_model() -> None:
    first = answers(dict.fromkeys(range(20), 0.7))
    assert not compare(baseline(first), answers({i: 0.7 if i > 7 else 0.2 for i in range(20)})).alarms


def test_a_model_that_gives_no_usable_answer_any_more_is_another_one() -> None:
    first = answers(dict.fromkeys(range(20), 0.7))
    assert compare(baseline(first), answers(dict.fromkeys(range(20)))).alarms


def test_tasks_that_were_never_answered_say_nothing() -> None:
    none = answers(dict.fromkeys(range(20)))
    assert compare(baseline(none), none) == Comparison(20, 0, 0, 0, 0.0, 0.0)
    assert not compare(baseline(none), none).alarms


def test_without_tasks_nothing_is_known() -> None:
    assert not compare(baseline({}), {}).alarms


def test_probabilities_that_are_next_to_nothing_do_not_count() -> None:
    first, now = answers(dict.fromkeys(range(20), 1 - 1e-09)), answers(dict.fromkeys(range(20), 1 - 1e-05))
    assert not compare(baseline(first), now).alarms


def test_the_alarm_says_what_changed_and_what_becomes_of_predictions() -> None:
    first = answers(dict.fromkeys(range(20), 0.7))
    before = baseline(first)
    alarm = canary.alarm(compare(before, answers(dict.fromkeys(range(20), 0.4))), before, ["gpt"], "p0002-abcd")
    assert alarm
    assert alarm.kind == "model"
    # (|log .7 - log .4| + |log .3 - log .6|) / 2 = (.5596 + .6931) / 2 = .626
    assert 'behind "gpt" seems to be another one since 2026-03-01' in alarm.words
    assert "of 20 tasks that are asked again and again 20 have another label" in alarm.words
    assert "moved by 0.63 nats on average, where the endpoint's own noise is 0.00" in alarm.words
    assert "Predictions of p0002-abcd made until now are the former model's" in alarm.words
    assert alarm.strength == pytest.approx(6.26, abs=0.01)


def test_no_alarm_has_no_words() -> None:
    first = answers(dict.fromkeys(range(20), 0.7))
    assert canary.alarm(compare(baseline(first), first), baseline(first), ["gpt"], "p") is None


def test_the_label_is_the_calibrated_one_and_the_probabilities_are_not() -> None:
    outcome = Outcome(TaskAnswers({"mood": Distribution(("happy", "angry"), (0.6, 0.4))}))
    prompt = Prompt("Label.", calibration=Calibration({"mood": {"happy": 1.0}}))
    assert said(prompt, [{"x": outcome, "y": Outcome(None, "no")}]) == {
        "x": {"mood": Said({"happy": 0.6, "angry": 0.4}, "angry")},
        "y": None,
    }


def test_each_model_of_a_cascade_is_asked_and_kept_by_itself() -> None:
    prompt = Prompt("Label.", escalate_below=0.8)
    assert [each.escalate_below for each in alone(prompt)] == [0.0, ALWAYS]
    own = TaskAnswers({"mood": Distribution(("happy", "angry"), (0.6, 0.4))})
    strong = escalated(TaskAnswers({"mood": Distribution(("happy", "angry"), (0.1, 0.9))}))
    found = said(prompt, [{"x": Outcome(own), "y": Outcome(None)}, {"x": Outcome(strong), "y": Outcome(strong)}])
    assert found["x"] == {
        "mood": Said({"happy": 0.6, "angry": 0.4}, "happy"),
        "mood (by the stronger LLM)": Said({"happy": 0.1, "angry": 0.9}, "angry"),
    }
    assert found["y"] == {"mood (by the stronger LLM)": Said({"happy": 0.1, "angry": 0.9}, "angry")}


@pytest.mark.parametrize("threshold", [0.0, ALWAYS])
def test_a_prompt_of_one_model_is_asked_as_it_is(threshold: float) -> None:
    prompt = Prompt("Label.", escalate_below=threshold)
    assert alone(prompt) == (prompt,)


def test_twenty_tasks_are_drawn_by_lot_and_the_same_again() -> None:
    data = [{"text": f"Text {i}", "ticket": i} for i in range(60)]
    chosen = choose(SCHEMA, "1.5", data)
    assert chosen
    assert len(chosen.tasks) == 20
    assert choose(SCHEMA, "1.5", reversed(data)) == chosen
    other = choose(SCHEMA, "2.5", data)
    assert other
    assert other.tasks.keys() != chosen.tasks.keys()


def test_only_what_a_prediction_depends_on_is_kept_of_a_task() -> None:
    chosen = choose(SCHEMA, "1.5", [{"text": f"Text {i}", "secret": "x"} for i in range(20)])
    assert chosen
    assert {key for data in chosen.tasks.values() for key in data} == {"text"}


def test_tasks_that_cannot_be_labelled_are_not_drawn() -> None:
    usable = [{"text": f"Text {i}"} for i in range(19)]
    assert choose(SCHEMA, "1.5", [*usable, {"text": ""}, {"other": "x"}, {"text": "Text 1"}]) is None
    assert choose(SCHEMA, "1.5", [*usable, {"text": "Text 19"}])
