import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from backend.labeling.engines import probe
from backend.labeling.engines.base import Capabilities
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import (
    EngineAnswerError,
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
)
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import LLAMA_CPP, OPENAI, REASONING, VLLM, Fault, Script, ScriptedLLM

# A wire keeps its connections for as long as it lives; here every test makes one and drops it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

MODEL = "scripted-1"
NO_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _dropped_wires() -> Iterator[None]:
    yield
    gc.collect()


@contextmanager
def wire_to(llm: ScriptedLLM, *, key: str = "") -> Iterator[Wire]:
    with llm:
        yield Wire(llm.base_url, key, timeout_s=30)


def probed(script: Script, **fields: Any) -> Capabilities:
    with wire_to(ScriptedLLM(script, **fields)) as wire:
        return probe.capabilities(wire, MODEL)


def error_of(faults: Callable[[int, str, Any], Fault | None], script: Script = LLAMA_CPP) -> EngineError:
    with wire_to(ScriptedLLM(script, faults=faults)) as wire, pytest.raises(EngineError) as raised:
        probe.capabilities(wire, MODEL)
    return raised.value


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            LLAMA_CPP,
            Capabilities("llama.cpp", True, 200, 200, "llguidance", "none", context_tokens=8192),
        ),
        (VLLM, Capabilities("vllm", True, 20, 20, "structured_outputs", "none", context_tokens=8192)),
        (OPENAI, Capabilities("unknown", False, 20, 0, "json_schema", "none")),
        (
            REASONING,
            Capabilities(
                "unknown",
                False,
                0,
                0,
                "json_schema",
                "always",
                token_limit="max_completion_tokens",
                temperature=False,
                effort="minimal",
            ),
        ),
        (
            Script(rejects=NO_LOGPROBS, honours=frozenset()),
            Capabilities("llama.cpp", True, 0, 0, "none", "none", context_tokens=8192),
        ),
        (
            Script(thinking="always"),
            Capabilities("llama.cpp", True, 0, 200, "llguidance", "always", context_tokens=8192, effort="minimal"),
        ),
    ],
    ids=["llama.cpp", "vllm", "openai", "reasoning", "no log-probs", "thinks in its answer"],
)
def test_each_kind_of_server_is_found_to_do_what_it_does(script: Script, expected: Capabilities) -> None:
    assert replace(probed(script), fingerprint="") == expected


@pytest.mark.parametrize("thinking", ["template_off", "effort_off"])
def test_thinking_is_turned_off_the_way_the_server_allows(thinking: Any) -> None:
    found = probed(VLLM, thinking=thinking, separate_reasoning=True)
    assert (found.thinking, found.chat_logprobs) == (thinking, 20)


@pytest.mark.parametrize(
    ("refused", "effort"),
    [({"none"}, "minimal"), ({"none", "minimal"}, "low"), ({"none", "minimal", "low"}, "")],
)
def test_a_model_that_always_thinks_is_asked_for_the_least_effort_that_it_takes(refused: set[str], effort: str) -> None:
    llm = ScriptedLLM(
        REASONING, faults=lambda _, __, body: Fault(400) if body.get("reasoning_effort") in refused else None
    )
    with wire_to(llm) as wire:
        found = probe.capabilities(wire, MODEL)
    assert (found.thinking, found.effort) == ("always", effort)
    assert effort in found.fingerprint
    assert llm.calls <= 12


@pytest.mark.parametrize(("refused", "able"), [("system", {"system_role": False}), ("seed", {"seed": False})])
@pytest.mark.parametrize("script", [VLLM, OPENAI], ids=["vllm", "openai"])
def test_what_labeling_sends_is_tried_and_done_without_where_it_is_refused(
    script: Script, refused: str, able: dict[str, Any]
) -> None:
    whole = probed(script)
    assert (whole.system_role, whole.seed) == (True, True)
    assert probed(script, rejects=script.rejects | {refused}) == replace(whole, **able)


def test_all_that_can_be_done_without_may_be_refused_at_once() -> None:
    found = probed(OPENAI, rejects=OPENAI.rejects | {"system", "seed", "max_tokens", "temperature"})
    assert (found.system_role, found.seed, found.token_limit, found.temperature) == (
        False,
        False,
        "max_completion_tokens",
        False,
    )
    assert found.chat_logprobs == 20


@pytest.mark.parametrize(
    ("name", "kept"), [("seed", {"seed": False}), ("system", {"seed": False, "system_role": False})]
)
def test_a_refusal_without_a_name_is_tried_without_the_seed_then_without_the_system_message(
    name: str, kept: dict[str, Any]
) -> None:
    found = probed(VLLM, faults=lambda _, __, body: Fault(422) if name in str(body) else None)
    assert found == replace(probed(VLLM), **kept)


def test_a_chat_template_that_fails_over_a_system_message_is_asked_without_one() -> None:
    found = probed(VLLM, faults=lambda _, __, body: Fault(500) if "'system'" in str(body) else None)
    assert found == replace(probed(VLLM), system_role=False)


def test_a_wrong_key_is_tried_once() -> None:
    llm = ScriptedLLM(OPENAI, api_key="right")
    with wire_to(llm, key="wrong") as wire, pytest.raises(EngineRefusedError):
        probe.capabilities(wire, MODEL)
    assert [each.path for each in llm.requests].count(CHAT) == 1


@pytest.mark.parametrize("parameter", ["max_tokens", "temperature"])
def test_a_single_refused_parameter_changes_nothing_else(parameter: str) -> None:
    found = probed(OPENAI, rejects=OPENAI.rejects | {parameter})
    assert found.temperature is (parameter != "temperature")
    assert (found.token_limit == "max_tokens") is (parameter != "max_tokens")
    assert found.chat_logprobs == 20


def test_a_thought_that_the_chat_template_opened_is_known_by_its_end() -> None:
    thought = " ".join(["The words decide which one it is."] * 9) + "</think>\n\n"
    assert probed(VLLM, thinking="template_off", thought=thought).thinking == "template_off"


def test_a_talkative_model_is_not_taken_for_a_thinking_one() -> None:
    talk = " ".join(["Well, that depends on what you mean by wet."] * 9)
    assert probed(VLLM, answer=lambda _: {talk: 1.0}).thinking == "none"


def test_a_thought_longer_than_the_allowance_is_a_thought_though_it_comes_as_a_refusal() -> None:
    refusal = {"error": {"message": "Could not finish the message because max_tokens was reached. Try a higher one."}}
    answers = {"POST /v1/chat/completions": Answer(400, refusal), "GET /v1/models": Answer(200, {"data": []})}
    with LoopbackServer(answers) as server:
        found = probe.capabilities(Wire(f"{server.url}/v1", "", timeout_s=30), MODEL)
    assert (found.thinking, found.effort) == ("always", "minimal")


@pytest.mark.parametrize("script", [LLAMA_CPP, VLLM, OPENAI, REASONING], ids=["llama.cpp", "vllm", "openai", "thinks"])
def test_a_probe_takes_a_dozen_calls_at_most(script: Script) -> None:
    llm = ScriptedLLM(script)
    with wire_to(llm) as wire:
        probe.capabilities(wire, MODEL)
    assert llm.calls <= 12


def test_a_server_without_chat_turns_is_probed_by_plain_completions() -> None:
    found = probed(LLAMA_CPP, faults=lambda _, path, __: Fault(404) if path == CHAT else None)
    assert (found.continues, found.chat_logprobs, found.text_logprobs) == (True, 0, 200)
    assert found.constraint == "llguidance"


def test_a_chat_route_that_failed_once_is_tried_again() -> None:
    found = probed(LLAMA_CPP, faults=[Fault(503)])
    assert found.chat_logprobs == 200


@pytest.mark.parametrize("spoil", ["html", "truncated", "nan", "empty_choices", "drop"])
def test_a_spoilt_answer_to_log_probs_counts_as_none(spoil: Any) -> None:
    found = probed(LLAMA_CPP, faults=lambda _, __, body: Fault(spoil=spoil) if body.get("logprobs") else None)
    assert (found.chat_logprobs, found.text_logprobs, found.constraint) == (0, 0, "llguidance")


def test_a_server_that_crashes_over_a_grammar_does_not_honour_it() -> None:
    found = probed(LLAMA_CPP, faults=lambda _, __, body: Fault(500) if "grammar" in body else None)
    assert found.constraint == "json_schema"


@pytest.mark.parametrize("calls", range(5))
def test_a_rate_limit_is_no_finding_whenever_it_comes(calls: int) -> None:
    assert isinstance(error_of(lambda index, _, __: Fault(429) if index >= calls else None), EngineBusyError)


@pytest.mark.parametrize("calls", range(5))
def test_an_outage_is_no_finding_whenever_it_begins(calls: int) -> None:
    assert isinstance(error_of(lambda index, _, __: Fault(503) if index >= calls else None), EngineUnreachableError)


def test_nobody_listening_is_an_outage() -> None:
    llm = ScriptedLLM()
    with llm:
        pass
    with pytest.raises(EngineUnreachableError):
        probe.capabilities(Wire(llm.base_url, "", timeout_s=30), MODEL)


def test_a_wrong_key_is_a_refusal_that_does_not_show_it() -> None:
    with wire_to(ScriptedLLM(api_key="right"), key="wrong-5ecret") as wire, pytest.raises(EngineRefusedError) as raised:
        probe.capabilities(wire, MODEL)
    assert "401" in str(raised.value)
    assert "5ecret" not in str(raised.value)


def test_a_web_page_is_no_endpoint() -> None:
    page = Answer(200, "<html>Welcome</html>")
    with LoopbackServer({f"POST {CHAT}": page, "POST /v1/completions": page}) as server:
        wire = Wire(f"{server.url}/v1", "", timeout_s=30)
        with pytest.raises(EngineAnswerError):
            probe.capabilities(wire, MODEL)


@pytest.mark.parametrize("listing", [{"data": None}, {"data": 7}, {"data": ["x", {"name": "y"}]}, {}])
def test_an_odd_list_of_models_is_an_empty_one(listing: Any) -> None:
    with LoopbackServer({"GET /v1/models": Answer(200, listing)}) as server:
        assert probe.models(Wire(f"{server.url}/v1", "", timeout_s=30)) == ()


def test_without_a_list_the_first_model_is_asked_for() -> None:
    with LoopbackServer({"GET /v1/models": Answer(200, {"data": []})}) as server:
        wire = Wire(f"{server.url}/v1", "", timeout_s=30)
        with pytest.raises(EngineRefusedError) as raised:
            probe.first_model(wire)
    assert raised.value.hint == "Set LLM_MODEL."


def test_other_weights_have_another_fingerprint() -> None:
    one, same = probed(VLLM), probed(VLLM)
    other = probed(VLLM, off_label=0.3)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.fingerprint
