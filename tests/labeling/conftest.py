"""Engines on the scripted server, one of each kind. Properties are checked on the same examples everywhere, however
slow the machine is."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from backend.labeling.engines.openai import OpenAIEngine
from tests.labeling.building import HOSTED, LOCAL, MUTE, connected
from tests.scripted_llm import Script, ScriptedLLM

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("steady")


@pytest.fixture(scope="package")
def _llm() -> Iterator[ScriptedLLM]:
    with ScriptedLLM() as server:
        yield server


@pytest.fixture
def llm(_llm: ScriptedLLM) -> ScriptedLLM:
    """With the script that it has at first."""
    _llm.script = Script()
    return _llm


@pytest.fixture
def local(llm: ScriptedLLM) -> Iterator[OpenAIEngine]:
    """Continues text, has 200 alternatives."""
    with connected(llm, LOCAL) as engine:
        yield engine


@pytest.fixture
def hosted(llm: ScriptedLLM) -> Iterator[OpenAIEngine]:
    """Chats only, has 20 alternatives."""
    with connected(llm, HOSTED) as engine:
        yield engine


@pytest.fixture
def mute(llm: ScriptedLLM) -> Iterator[OpenAIEngine]:
    """Gives no log-probs."""
    with connected(llm, MUTE) as engine:
        yield engine
