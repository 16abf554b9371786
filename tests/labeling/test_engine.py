from contextlib import closing
from dataclasses import replace
from threading import Barrier, Thread

import pytest
from redis import Redis

from backend.calls.engine import endpoint_key, memory
from backend.labeling.engines.base import Capabilities, Message, Request, Usage
from backend.labeling.engines.openai import Memory, OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import EngineError, EngineRefusedError, EngineUnreachableError
from backend.settings import Settings
from backend.storage.store import Store
from tests.labeling.building import LOCAL
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import Fault, ScriptedLLM

CHAT = Request(messages=(Message("user", "love it\n\nlabel:"),), top_logprobs=3)


def test_a_chat_and_a_text_are_completed_with_alternatives() -> None:
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1")
        for request in (CHAT, Request(text="love it\n\nlabel:", top_logprobs=3)):
            completion = engine.complete(request)
            assert completion.text.strip() == "positive"
            assert len(completion.steps[0].alternatives) == 3
            assert completion.usage.prompt_tokens > 0


def test_without_a_model_the_first_that_is_listed_is_asked() -> None:
    with (
        ScriptedLLM(models=("first", "second"), dialect="openai") as llm,
        closing(Wire(llm.base_url, "", timeout_s=30)) as wire,
    ):
        engine = OpenAIEngine(wire)
        assert engine.model == "first"
        assert engine.complete(CHAT).text
        assert llm.requests[-1].body["model"] == "first"


def test_an_endpoint_without_models_says_what_to_set() -> None:
    with ScriptedLLM(models=()) as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        with pytest.raises(EngineRefusedError, match="lists no model") as raised:
            _ = OpenAIEngine(wire).model
        assert "LLM_MODEL" in raised.value.hint


def test_what_was_found_is_saved_and_not_asked_again() -> None:
    saved: list[Capabilities] = []
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1", Memory(save=saved.append))
        assert engine.capabilities.text_logprobs == 200
        calls = llm.calls
        assert engine.capabilities == saved[0]
        assert llm.calls == calls


def test_what_another_process_found_is_taken_over_without_a_call() -> None:
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        assert OpenAIEngine(wire, "scripted-1", Memory(load=lambda: LOCAL)).capabilities == LOCAL
        assert llm.requests == []


def test_what_an_earlier_release_kept_is_taken_over(redis_client: Redis) -> None:
    settings, store = Settings(llm_model="m"), Store(redis_client, max_predictions=1)
    store.keep_capabilities(endpoint_key(settings, model="m"), '{"server": "vllm", "thinking": "effort_off"}', 60)
    assert memory(settings, store).load() == Capabilities("vllm", thinking="effort_off")


class Hours:
    """A clock that a test sets, in hours."""

    def __init__(self) -> None:
        self.now = 500_000.0

    def __call__(self) -> float:
        return self.now * 3600


def test_a_running_process_finds_anew_after_a_day() -> None:
    hours = Hours()
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1", clock=hours)
        assert engine.capabilities.text_logprobs == 200
        llm.change(rejects=frozenset({"logprobs", "top_logprobs"}))
        hours.now += 23
        assert engine.capabilities.text_logprobs == 200
        hours.now += 1
        assert engine.capabilities.text_logprobs == 0


def test_an_endpoint_that_gives_log_probs_no_more_is_probed_by_the_next_call() -> None:
    hours, saved = Hours(), list[Capabilities]()
    memory = Memory(lambda: saved[-1] if saved else None, saved.append)
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1", memory, clock=hours)
        engine.complete(CHAT)
        llm.change(faults=lambda *_: Fault(spoil="no_logprobs"))
        engine.complete(CHAT)
        assert engine.capabilities.chat_logprobs == 200  # found a moment ago
        hours.now += 1
        engine.complete(replace(CHAT, top_logprobs=0))
        assert len(saved) == 1
        engine.complete(CHAT)
        assert [engine.capabilities.chat_logprobs, *(each.chat_logprobs for each in saved)] == [0, 200, 0]


def test_an_empty_answer_without_log_probs_is_no_reason_for_doubt() -> None:
    saved: list[Capabilities] = []
    empty = {"choices": [{"message": {"content": ""}, "logprobs": None, "finish_reason": "stop"}]}
    with (
        LoopbackServer({"POST /v1/chat/completions": Answer(200, empty)}) as server,
        closing(Wire(f"{server.url}/v1", "", timeout_s=30)) as wire,
    ):
        engine = OpenAIEngine(wire, "scripted-1", Memory(lambda: LOCAL, saved.append))
        engine.complete(CHAT)
        assert (engine.capabilities, saved) == (LOCAL, [])


def test_threads_that_need_the_capabilities_at_once_probe_once() -> None:
    saved: list[Capabilities] = []
    with ScriptedLLM() as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1", Memory(save=saved.append))
        together = Barrier(8)

        def use() -> None:
            together.wait()
            _ = engine.capabilities

        threads = [Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(saved) == 1


def test_a_probe_that_failed_is_tried_again_by_the_next_call() -> None:
    with ScriptedLLM() as llm:
        address = llm.base_url
    with closing(Wire(address, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1")
        with pytest.raises(EngineUnreachableError):
            _ = engine.capabilities
        llm.start()
        try:
            assert engine.capabilities.continues
        finally:
            llm.stop()


@pytest.mark.parametrize("spoil", ["html", "truncated", "nan", "empty_choices", "drop"])
def test_a_spoiled_answer_raises_the_engines_errors_only(spoil: str) -> None:
    fault = Fault(spoil=spoil)  # type: ignore[arg-type]
    with ScriptedLLM(faults=[fault]) as llm, closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        engine = OpenAIEngine(wire, "scripted-1", Memory(load=lambda: LOCAL))
        with pytest.raises(EngineError):
            engine.complete(CHAT)


def test_usages_add_up() -> None:
    assert Usage(1, 2, 3) + Usage(10, 20, 30) == Usage(11, 22, 33)
