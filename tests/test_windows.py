import math
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from backend.labeling import schema as schemas
from backend.labeling.answers import ControlPrediction, TaskPrediction
from backend.storage.redis_client import connect
from backend.storage.windows import (
    KEPT_DAYS,
    OTHER,
    Window,
    Windows,
    margin_cell,
    margin_of,
    merged,
    off_label_cell,
    off_label_mass,
)

PROJECT, VERSION = "1.1795346384", "p0001-abcd"
SCHEMA = schemas.parse(
    """<View><Text name="text" value="$text"/>
    <Choices name="mood" toName="text"><Choice value="happy"/><Choice value="angry"/></Choices>
    <Choices name="topics" toName="text" choice="multiple"><Choice value="tea"/><Choice value="war"/></Choices>
    </View>"""
)
DAY = date(2026, 3, 1)


def answered(control: str, *values: str, margin: float = 0.5, mass: float = 0.9) -> ControlPrediction:
    return ControlPrediction(control, values, 0.7, "logprob", {}, margin, 0.3, mass)


def prediction(*controls: ControlPrediction) -> TaskPrediction:
    return TaskPrediction((), 0.5, VERSION, controls=controls)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def windows(redis_client: Redis, clock: Clock) -> Windows:
    return Windows(redis_client, now=clock)


def test_what_was_predicted_is_counted_by_question(windows: Windows) -> None:
    some = prediction(answered("mood", "happy"), answered("topics", "tea", margin=0.0, mass=1.0))
    windows.note(PROJECT, VERSION, SCHEMA, [some, prediction(answered("mood", "angry"), answered("topics"))])
    (day,) = windows.days(PROJECT, VERSION, DAY, DAY)
    assert (day.n, day.since, day.until) == (2, DAY, DAY)
    assert day.labels == {
        "mood": {"happy": 1, "angry": 1},
        "topics: tea": {"yes": 1, "no": 1},
        "topics: war": {"no": 2},
    }
    assert day.margins == {"mood": {10: 2}, "topics": {0: 1, 10: 1}}  # log(1.5 / .5) = 1.0986 nats
    assert day.off_label == {"mood": {-25: 2}, "topics": {-150: 1, -25: 1}}


def test_options_that_tasks_bring_are_counted_as_one(windows: Windows) -> None:
    windows.note(PROJECT, VERSION, SCHEMA, [prediction(answered("mood", f"option {i}")) for i in range(5)])
    (day,) = windows.days(PROJECT, VERSION, DAY, DAY)
    assert day.labels == {"mood": {OTHER: 5}}


def test_each_day_and_version_counts_for_itself(windows: Windows, clock: Clock) -> None:
    windows.note(PROJECT, VERSION, SCHEMA, [prediction(answered("mood", "happy"))])
    clock.now = datetime(2026, 3, 3, 0, 1, tzinfo=UTC)
    windows.note(PROJECT, VERSION, SCHEMA, [prediction(answered("mood", "angry"))] * 3)
    windows.note(PROJECT, "p0002-abcd", SCHEMA, [prediction(answered("mood", "angry"))])
    days = windows.days(PROJECT, VERSION, DAY, date(2026, 3, 5))
    assert [(day.since.day, day.n) for day in days] == [(1, 1), (3, 3)]


def test_days_are_one_window_when_merged() -> None:
    first = Window(2, DAY, DAY, {"mood": {"happy": 2}}, {"mood": {3: 2}}, {"mood": {-5: 2}})
    second = Window(3, date(2026, 3, 4), date(2026, 3, 4), {"mood": {"happy": 1, "angry": 2}}, {"mood": {3: 1, 4: 2}})
    assert merged([second, first]) == Window(
        5, DAY, date(2026, 3, 4), {"mood": {"happy": 3, "angry": 2}}, {"mood": {3: 3, 4: 2}}, {"mood": {-5: 2}}
    )


def test_counts_are_kept_for_forty_days(windows: Windows, redis_client: Redis) -> None:
    windows.note(PROJECT, VERSION, SCHEMA, [prediction(answered("mood", "happy"))])
    (key,) = redis_client.keys("*window*")
    assert 0 < redis_client.ttl(key) <= KEPT_DAYS * 24 * 3600


def test_with_redis_away_nothing_is_counted_and_nothing_fails() -> None:
    away = Windows(connect("redis://127.0.0.1:1/0"))
    away.note(PROJECT, VERSION, SCHEMA, [prediction(answered("mood", "happy"))])


def test_no_predictions_leave_nothing(windows: Windows, redis_client: Redis) -> None:
    windows.note(PROJECT, VERSION, SCHEMA, [])
    assert redis_client.keys("*window*") == []


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_surer_prediction_has_no_lower_cell(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= margin_cell(low) <= margin_cell(high) <= 300
    assert 0 >= off_label_cell(low) >= off_label_cell(high) >= -150


@given(st.floats(0, 0.999))
def test_a_cell_stands_for_a_margin_a_twentieth_of_a_nat_off_at_most(margin: float) -> None:
    assert margin_of(margin_cell(margin)) == pytest.approx(math.log((1 + margin) / (1 - margin)), abs=0.0501)


@given(st.floats(0, 0.9999))
def test_a_cell_stands_for_a_mass_a_twentieth_off_at_most(label_mass: float) -> None:
    assert off_label_mass(off_label_cell(label_mass)) == pytest.approx(1 - label_mass, rel=0.05)
