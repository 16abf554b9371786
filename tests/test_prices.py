import pytest

from backend.labeling.engines.base import Usage
from worker.calls.prices import price_usd

OPENAI = "https://api.openai.com/v1"
USAGE = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)


def test_prompt_cached_and_completion_tokens_have_their_own_price() -> None:
    # gpt-4o-mini, dollars a million: 0.15 prompt, 0.075 cached prompt, 0.60 completion
    # 0.6 * 0.15 + 0.4 * 0.075 + 0.1 * 0.60 = 0.18
    assert price_usd("gpt-4o-mini", OPENAI, USAGE) == pytest.approx(0.18)


def test_a_batch_is_priced_as_its_calls_not_as_one_long_one() -> None:
    # gemini-2.5-pro, dollars a million prompt tokens: 1.25 in calls up to 200 000 tokens, 2.50 in longer ones
    google, usage = "https://generativelanguage.googleapis.com/v1beta/openai", Usage(prompt_tokens=1_000_000)
    assert price_usd("gemini-2.5-pro", google, usage, calls=100) == pytest.approx(1.25)
    assert price_usd("gemini-2.5-pro", google, usage, calls=1) == pytest.approx(2.50)


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("default", OPENAI),
        ("gpt-4o-mini", "https://llm.example.com/v1"),
        ("smollm2-135m", "http://vllm:8000/v1"),
        ("", ""),
    ],
)
def test_a_price_that_nobody_lists_is_unknown_and_not_zero(model: str, base_url: str) -> None:
    assert price_usd(model, base_url, USAGE) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_model_on_this_machine_costs_nothing(host: str) -> None:
    assert price_usd("smollm2-135m", f"http://{host}:9091/v1", USAGE) == 0.0


def test_a_proxy_on_this_machine_to_a_sold_model_costs_what_the_model_costs() -> None:
    assert price_usd("gpt-4o-mini", "http://127.0.0.1:4000/v1", USAGE) == price_usd("gpt-4o-mini", OPENAI, USAGE)


@pytest.mark.parametrize("usage", [Usage(), Usage(prompt_tokens=10, cached_tokens=99)], ids=["nothing", "more cached"])
def test_odd_usage_has_a_price_too(usage: Usage) -> None:
    price = price_usd("gpt-4o-mini", OPENAI, usage)
    assert price is not None
    assert 0 <= price < 1e-5
