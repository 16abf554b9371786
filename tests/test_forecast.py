from typing import Any

import pytest

from backend.settings import Settings
from backend.storage.runs import Spend
from worker.calls.forecast import Forecast, forecast

LOCAL = Settings(run_max_calls=2000, llm_max_task_tokens=1500)
# 100,000 tokens of 500 calls are 200 a call.
LAST = Spend(student_calls=480, teacher_calls=20, prompt_tokens=99_000, completion_tokens=1_000)


def sold(**changes: Any) -> Settings:
    return Settings(openai_base_url="https://api.openai.com/v1", openai_api_key="k", run_max_calls=2000, **changes)


@pytest.mark.parametrize(
    ("last", "budget", "expected"),
    [
        (LAST, None, Forecast(2000, 200, 400_000, 0.0)),
        (LAST, 500, Forecast(500, 200, 100_000, 0.0)),
        (None, None, Forecast(2000, 1500, 3_000_000, 0.0, guessed=True)),
        (Spend(from_cache=9), None, Forecast(2000, 1500, 3_000_000, 0.0, guessed=True)),
    ],
)
def test_a_run_takes_at_most_its_calls_each_as_long_as_those_of_the_last_run(
    last: Spend | None, budget: int | None, expected: Forecast
) -> None:
    assert forecast(LOCAL, last, budget=budget) == expected


def test_where_nothing_caps_the_calls_no_sum_is_made_up() -> None:
    found = forecast(Settings(run_max_calls=0), LAST)
    assert found == Forecast(None, 200, None, None)
    assert found.words() == "no cap on calls (RUN_MAX_CALLS), about 200 tokens each"


def test_the_price_is_that_of_the_list() -> None:
    """gpt-4.1-mini: $0.40 a million prompt tokens, $1.60 a million completion tokens: 398,000 x 0.4 + 2,000 x 1.6."""
    found = forecast(sold(llm_model="gpt-4.1-mini"), LAST)
    assert found.usd == pytest.approx(0.1592 + 0.0032)
    assert found.words() == (
        "at most 2,000 calls, about 400,000 tokens, about $0.16, "
        "at the labelling model's price: the teacher's calls may cost more"
    )


def test_a_price_that_is_not_known_is_said_not_to_be() -> None:
    assert (
        forecast(sold(llm_model="my-own"), LAST).words() == "at most 2,000 calls, about 400,000 tokens, price unknown"
    )


def test_the_local_llm_is_free() -> None:
    assert forecast(LOCAL, LAST).words() == "at most 2,000 calls, about 400,000 tokens, free"


def test_what_was_not_measured_is_said_to_be_the_most() -> None:
    assert forecast(LOCAL, None).words() == "at most 2,000 calls, at most 3,000,000 tokens, free"
