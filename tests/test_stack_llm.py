import pytest

from backend.settings import Settings
from backend.stack.llm import local_llm
from backend.stack.supervisor import StartError
from tests.benchmarks.neighbours import free_port
from tests.scripted_llm import ScriptedLLM

UNUSABLE = {"LOCAL_MODEL": "no-such-model"}  # started with this, it ends at once


def waited_for(settings: Settings) -> list[str]:
    """What was started."""
    names: list[str] = []
    with local_llm(settings, UNUSABLE, write=lambda *_: None, on_wait=names.append):
        return names


def test_a_local_llm_that_serves_already_is_left_as_it_is(scripted_llm: ScriptedLLM) -> None:
    assert waited_for(Settings(local_llm_port=scripted_llm.port)) == []


def test_with_an_endpoint_configured_none_is_started(scripted_llm: ScriptedLLM) -> None:
    assert waited_for(Settings(openai_base_url=scripted_llm.base_url, local_llm_port=free_port())) == []


def test_one_that_cannot_start_says_why() -> None:
    port = free_port()
    with pytest.raises(StartError, match="no weights called 'no-such-model'"):
        waited_for(Settings(local_llm_port=port))
