import time
from collections.abc import Sequence

import pytest
from redis import Redis

from backend.calls.limiter import Limiter
from backend.calls.patience import Deadline, Hurry, PatientEngine, Silence
from backend.labeling.engines.base import Capabilities, Completion, Request
from backend.labeling.errors import (
    ContentFilterError,
    EngineAnswerError,
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
)

DOWN, GARBLED, REFUSED = EngineUnreachableError("down"), EngineAnswerError("garbled"), EngineRefusedError("no")
BUSY, BUSY_9 = EngineBusyError("busy"), EngineBusyError("busy", retry_after_s=9.0)
DONE = Completion("positive")
REQUEST = Request(text="x")


class Scripted:
    """An engine that does one thing after the other."""

    model = "scripted"
    capabilities = Capabilities()

    def __init__(self, outcomes: Sequence[EngineError | Completion]) -> None:
        self.left = list(outcomes)

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:  # noqa: ARG002
        outcome = self.left.pop(0)
        if isinstance(outcome, EngineError):
            raise outcome
        return outcome


class Patience:
    """What a patient engine does with these outcomes; `waits` are the pauses it would have made."""

    def __init__(self, limiter: Limiter, outcomes: Sequence[EngineError | Completion], *, left_s: float = 1000) -> None:
        self.waits: list[float] = []
        self.scripted = Scripted(outcomes)
        self.engine = PatientEngine(self.scripted, limiter, Deadline.after(left_s), sleep=self.waits.append)

    def ask(self) -> Completion | EngineError:
        try:
            return self.engine.complete(REQUEST)
        except EngineError as error:
            return error


@pytest.fixture
def limiter(redis_client: Redis) -> Limiter:
    return Limiter(redis_client, name="llm", most=4)


@pytest.mark.parametrize(
    ("outcomes", "result", "waits"),
    [
        ([DONE], DONE, []),
        ([DOWN, DONE], DONE, [0.2]),
        ([GARBLED, DOWN, DONE], DONE, [0.2, 0.4]),
        ([DOWN, DOWN, DOWN, DONE], DONE, [0.2, 0.4, 0.8]),
        ([DOWN, DOWN, DOWN, GARBLED, DONE], GARBLED, [0.2, 0.4, 0.8]),
        ([BUSY, DONE], DONE, [0.2]),
        ([BUSY_9, BUSY, DONE], DONE, [9.0, 0.4]),
        ([REFUSED, DONE], REFUSED, []),
        ([DOWN, REFUSED, DONE], REFUSED, [0.2]),
    ],
)
def test_what_may_pass_is_waited_for(
    outcomes: list[EngineError | Completion], result: object, waits: list[float], limiter: Limiter
) -> None:
    patience = Patience(limiter, outcomes)
    assert patience.ask() is result
    assert patience.waits == waits


def test_a_pause_beyond_the_deadline_is_not_begun(limiter: Limiter) -> None:
    patience = Patience(limiter, [BUSY_9, DONE], left_s=5)
    assert (patience.ask(), patience.waits) == (BUSY_9, [])


def test_no_call_begins_after_the_deadline(limiter: Limiter) -> None:
    patience = Patience(limiter, [DONE], left_s=0)
    assert "time was up" in str(patience.ask())
    assert patience.scripted.left == [DONE]


def test_after_three_calls_in_a_row_that_no_try_saved_each_gets_one_try(limiter: Limiter) -> None:
    patience = Patience(limiter, [DOWN] * 13 + [DONE, DOWN, DONE])
    assert [patience.ask() for _ in range(4)] == [DOWN] * 4
    assert len(patience.waits) == 9
    assert patience.ask() is DONE
    assert patience.ask() is DONE
    assert len(patience.waits) == 10


def hurried(outcomes: Sequence[EngineError | Completion], limiter: Limiter, silence: Silence) -> Patience:
    patience = Patience(limiter, outcomes)
    now = time.monotonic()
    patience.engine.deadline, patience.engine.silence = Hurry(now + 1000, now, 1000, [silence]), silence
    return patience


def silent() -> Silence:
    """Somebody waited for three seconds in vain."""
    silence = Silence()
    silence.failed(time.monotonic() - 3)
    return silence


def test_who_is_in_a_hurry_does_not_ask_an_llm_that_let_somebody_wait(limiter: Limiter) -> None:
    silence = silent()
    patience = hurried([DONE], limiter, silence)
    assert "let somebody wait" in str(patience.ask())
    assert patience.scripted.left == [DONE]
    silence.answered()
    assert patience.ask() is DONE


def test_who_is_in_no_hurry_asks_and_its_answer_is_known_to_all(limiter: Limiter) -> None:
    silence = silent()
    patience = Patience(limiter, [DONE])
    patience.engine.silence = silence
    assert patience.ask() is DONE
    assert hurried([DONE], limiter, silence).ask() is DONE


def test_failures_that_cost_no_time_or_came_while_others_were_answered_are_no_silence(limiter: Limiter) -> None:
    silence = Silence()
    began = time.monotonic() - 3
    silence.answered()
    silence.failed(began)
    assert hurried([DOWN, DOWN, DONE], limiter, silence).ask() is DONE


@pytest.mark.parametrize(("since_s", "answered", "is_over"), [(0, False, False), (99, False, True), (99, True, False)])
def test_a_hurry_is_over_when_nobody_was_answered_for_so_long(since_s: float, answered: bool, is_over: bool) -> None:
    now, silences = time.monotonic(), [Silence(), Silence()]
    if answered:
        silences[1].answered()
    assert (Hurry(now + 1000, now - since_s, 60, silences).left_s <= 0) is is_over
    assert Hurry(now, now - since_s, 60, silences).left_s <= 0


def test_an_endpoint_that_is_merely_busy_is_not_given_up(limiter: Limiter) -> None:
    patience = Patience(limiter, [BUSY] * 20 + [DOWN, DONE])
    assert [patience.ask() for _ in range(5)] == [BUSY] * 5
    assert patience.ask() is DONE


def test_texts_that_are_declined_say_nothing_of_the_endpoint(limiter: Limiter) -> None:
    declined = ContentFilterError("flagged")
    patience = Patience(limiter, [declined] * 3 + [DOWN, DONE])
    assert [patience.ask() for _ in range(4)] == [declined] * 3 + [DONE]


def test_a_busy_endpoint_pauses_everyone(limiter: Limiter, redis_client: Redis) -> None:
    Patience(limiter, [BUSY_9, DONE]).ask()
    pace = redis_client.hgetall("whetstone:limiter:llm:pace")
    assert float(pace[b"limit"]) < 4
    seconds, microseconds = redis_client.time()
    assert float(pace[b"paused_until_us"]) > seconds * 1e6 + microseconds


def test_calls_and_errors_are_noted_for_the_figures(limiter: Limiter) -> None:
    patience = Patience(limiter, [DOWN, BUSY, DONE, DONE])
    patience.ask()
    patience.ask()
    assert len(patience.engine.durations_s) == 2
    assert patience.engine.errors == ["EngineUnreachableError", "EngineBusyError"]


def test_a_batch_sees_the_same_capabilities_from_its_first_look_on(limiter: Limiter) -> None:
    patience = Patience(limiter, [])
    before = patience.engine.capabilities
    patience.scripted.capabilities = Capabilities(chat_logprobs=20)
    assert patience.engine.capabilities is before


def test_the_rest_of_the_engine_shows_through(limiter: Limiter) -> None:
    patience = Patience(limiter, [])
    assert patience.engine.model == "scripted"
    assert patience.engine.capabilities is patience.scripted.capabilities
