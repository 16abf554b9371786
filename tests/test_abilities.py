"""What a search may try with which endpoint."""

from dataclasses import replace
from typing import Any

import pytest

from backend.labeling.engines.base import Capabilities
from backend.settings import Settings
from worker.optimizer.techniques import FORMATS, REASONING
from worker.runs import abilities

ABLE = Capabilities(continues=True, text_logprobs=5)


def settings(**environment: Any) -> Settings:
    return Settings(_env_file=None, **environment)


@pytest.mark.parametrize(
    ("environment", "reasons"),
    [
        ({}, False),
        ({"local_model": "gemma3-270m"}, False),
        ({"local_model": "/models/qwen3-8b.gguf"}, True),
        ({"openai_base_url": "http://llm.example.com/v1"}, True),
    ],
)
def test_rationales_are_tried_but_with_the_small_models_that_come_along(
    environment: dict[str, str], reasons: bool
) -> None:
    found = abilities.techniques(settings(**environment), ABLE)
    assert found == ((*FORMATS, *REASONING) if reasons else FORMATS)


def test_a_model_that_thinks_anyway_is_asked_for_no_rationale() -> None:
    assert (
        abilities.techniques(settings(local_model="/models/thinks.gguf"), replace(ABLE, thinking="always")) == FORMATS
    )


def test_where_the_price_is_time_cached_tokens_are_free() -> None:
    assert abilities.cached_token(settings()) == 0
    assert 0 < abilities.cached_token(settings(openai_base_url="http://llm.example.com/v1")) < 1
