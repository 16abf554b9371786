"""Windows of simulated predictions: quiet ones that must not alarm, and drifted ones that must."""

from collections import Counter
from datetime import date

import numpy as np
import pytest

from backend.storage.alarms import Alarm
from backend.storage.windows import Window, margin_cell, off_label_cell
from worker.statistics import intervals
from worker.watching import drift, promise

CONTROLS = ("mood", "topic")
LABELS = {"mood": ("happy", "angry", "calm"), "topic": ("a", "b")}
THEN, TODAY = date(2026, 1, 1), date(2026, 1, 9)


def window(
    seed: int, n: int = 250, *, happy: float = 0.5, sharpness: float = 2.0, off: float = 0.05, day: date = THEN
) -> Window:
    """Two controls; the arguments drift the first one."""
    rng = np.random.default_rng(seed)
    shares = {"mood": (happy, 0.9 - happy, 0.1), "topic": (0.7, 0.3)}
    labels, margins, masses = {}, {}, {}
    for number, control in enumerate(CONTROLS):
        labels[control] = dict(Counter(rng.choice(LABELS[control], size=n, p=shares[control]).tolist()))
        nats = rng.gamma(2.0, (1.0 if number else sharpness) / 2, size=n)
        margins[control] = dict(Counter(margin_cell(float(m)) for m in np.tanh(nats / 2)))
        outside = rng.beta(1.0, 19.0 if number else (1 - off) / off, size=n)
        masses[control] = dict(Counter(off_label_cell(float(1 - o)) for o in outside))
    return Window(n, day, day, labels, margins, masses)


def kinds(found: tuple[Alarm, ...]) -> list[str]:
    return [alarm.kind for alarm in found]


def test_of_quiet_windows_at_most_one_percent_alarm() -> None:
    """All tests together, accuracy on ten labels a window too; 200 predictions against 250, two controls."""
    alarmed = 0
    for seed in range(600):
        alarmed += bool(drift.alarms(window(2 * seed), window(2 * seed + 1, 200)))
        rights = np.random.default_rng(seed).random(10) < 0.8
        alarmed += promise.watch(rights, intervals.share(48, 60)).is_broken
    assert alarmed / 600 <= 0.01


@pytest.mark.parametrize(
    ("drifted", "kind"),
    [({"happy": 0.75}, "labels"), ({"sharpness": 1.0}, "margins"), ({"off": 0.15}, "label_mass")],
    ids=["labels", "margins", "label mass"],
)
def test_a_real_shift_is_found_by_its_own_test(drifted: dict[str, float], kind: str) -> None:
    found = [kinds(drift.alarms(window(seed), window(seed + 100, **drifted))) for seed in range(20)]  # type: ignore[arg-type]
    assert sum(kind in each for each in found) >= 19
    assert sum(each == [kind] for each in found) >= 18


def test_a_change_that_is_sure_but_too_small_to_matter_is_no_alarm() -> None:
    assert drift.alarms(window(1, 20_000), window(2, 20_000, happy=0.54, off=0.055)) == ()


def test_few_predictions_alarm_nobody() -> None:
    assert drift.alarms(window(1), window(2, 199, happy=0.9)) == ()
    assert drift.alarms(window(1, 199), window(2, happy=0.9)) == ()


def test_windows_without_controls_in_common_are_not_compared() -> None:
    assert drift.alarms(Window(300, THEN, THEN), Window(300, TODAY, TODAY)) == ()


def test_an_alarm_says_what_changed_and_when() -> None:
    (alarm,) = drift.alarms(
        Window(200, THEN, THEN, {"mood": {"happy": 100, "angry": 100}}),
        Window(300, TODAY, TODAY, {"mood": {"happy": 240, "angry": 60}}),
    )
    assert alarm.words == (
        'Label shares of "mood": "happy" went from 50 % to 80 % of the predictions '
        "(200 predictions from 2026-01-01 to 2026-01-01 against 300 from 2026-01-09 to 2026-01-09)."
    )
    assert alarm.strength > 1


def test_margins_and_masses_are_told_in_nats_and_shares() -> None:
    cells = {"mood": {margin_cell(0.82): 300}}, {"mood": {off_label_cell(0.99): 300}}
    changed = {"mood": {margin_cell(0.5): 300}}, {"mood": {off_label_cell(0.6): 300}}
    margins, mass = drift.alarms(Window(300, THEN, THEN, {}, *cells), Window(300, TODAY, TODAY, {}, *changed))
    # log(1.82 / .18) = 2.31 and log(1.5 / .5) = 1.10; the middles of their cells are 2.35 and 1.05.
    assert "less sure" in margins.words
    assert "from 2.4 to 1.1 nats" in margins.words
    assert "from 1 % to 42 % on average" in mass.words  # the cell of .4 is .398 to .437


def test_of_many_questions_the_one_that_changed_most_is_named() -> None:
    before = {f"q{number}": {"yes": 100, "no": 100} for number in range(12)}
    (alarm,) = drift.alarms(
        Window(200, THEN, THEN, before),
        Window(200, TODAY, TODAY, {**before, "q3": {"yes": 150, "no": 50}, "q7": {"yes": 190, "no": 10}}),
    )
    assert '"q7"' in alarm.words


def test_a_promise_that_is_not_kept_is_told_with_its_figures() -> None:
    found = promise.watch([True, False] * 60, intervals.share(54, 60))
    alarm = drift.accuracy(found, intervals.share(54, 60), "p0002-abcd")
    assert alarm
    assert "p0002-abcd are right on 60 of the 120 labels" in alarm.words
    assert "90 % (82 to 95 %)" in alarm.words
    assert alarm.strength >= 1


def test_a_promise_that_is_kept_is_no_alarm() -> None:
    assert drift.accuracy(promise.watch([True] * 100, intervals.share(54, 60)), intervals.share(54, 60), "p") is None
