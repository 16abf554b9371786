import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from backend.calls.lanes import Failure
from backend.calls.limiter import Limiter
from backend.calls.patience import Deadline
from backend.labeling import schema as schemas
from backend.labeling.engines.base import Capabilities, Completion, Request, Step, Token, Usage
from backend.labeling.errors import EngineUnreachableError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Prompt, PromptVersion
from backend.predictions.batch import Batch, BatchLabeler, Outcome
from backend.storage.counters import Counters
from backend.storage.store import Store
from backend.storage.windows import Windows

PROJECT = "1.1795346384"
SCHEMA = schemas.parse(
    '<View><Text name="text" value="$text"/><Choices name="mood" toName="text">'
    '<Choice value="happy"/><Choice value="angry"/></Choices></View>'
)
VERSION = PromptVersion.of(
    1,
    Prompt("Label.", style="text"),
    config_hash=SCHEMA.config_hash,
    model="m",
    origin="seed",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
LIMIT_S = 60.0


class Engine:
    """Finds every text happy, except where `trouble` raises for its prompt; notes how many calls ran at once."""

    model = "m"
    capabilities = Capabilities(continues=True, text_logprobs=5)

    def __init__(self) -> None:
        self.calls = self.running = self.most = 0
        self.trouble: Callable[[str], Any] = lambda _: None
        self._lock = threading.Lock()

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:  # noqa: ARG002
        with self._lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.trouble(request.text)
        finally:
            with self._lock:
                self.running -= 1
        return Completion("happy", (Step(b"happy", (Token("happy", -0.1), Token("angry", -2.5))),), Usage(10, 8, 1))


class Bench:
    """A batch labeler with its neighbours."""

    def __init__(self, client: Redis, *, slots: int = 4, threads: int = 4, patience_s: float = 1000) -> None:
        self.engine = Engine()
        self.client = client
        self.store = Store(client, max_predictions=1000)
        self.limiter = Limiter(client, name="llm", most=slots)
        self.counters = Counters(client)
        self.windows = Windows(client)
        self.labeler = BatchLabeler(
            Labeler(self.engine),
            self.store,
            self.limiter,
            self.counters,
            self.windows,
            threads=threads,
            patience_s=patience_s,
        )

    def label(self, *texts: Any, left_s: float = LIMIT_S) -> list[Outcome]:
        data = [{"text": text} for text in texts]
        return self.labeler.label(Batch(PROJECT, VERSION, SCHEMA, data, "live", Deadline.after(left_s)))

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        return {tuple(c.labels.values()): c.value for c in self.counters.counts() if c.name == name}


@pytest.fixture
def bench(redis_client: Redis) -> Bench:
    return Bench(redis_client)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def moods(outcomes: list[Outcome]) -> list[str]:
    return ["failed" if isinstance(each, Failure) else each["result"][0]["value"]["choices"][0] for each in outcomes]


def test_outcomes_come_in_order_and_bad_tasks_keep_their_places(bench: Bench) -> None:
    outcomes = bench.label("a", "", "b", None, "a")
    assert moods(outcomes) == ["happy", "failed", "happy", "failed", "happy"]
    assert outcomes[1] == Failure('the field "text" is empty', retryable=False, of_task=True)


def test_equal_data_is_labelled_once_and_kept(bench: Bench) -> None:
    bench.label("a", "b", "a")
    bench.label("b", "a", "c")
    assert bench.engine.calls == 3
    assert bench.counted("prediction_cache_hits") == {(): 2}


def test_no_tasks_ask_nobody(bench: Bench) -> None:
    assert bench.label() == []
    assert bench.engine.calls == 0


def test_no_more_calls_run_at_once_than_the_limiter_allows(redis_client: Redis, gate: threading.Event) -> None:
    bench = Bench(redis_client, slots=3, threads=16)
    bench.engine.trouble = lambda _: gate.wait(0.005)
    assert moods(bench.label(*map(str, range(40)))) == ["happy"] * 40
    assert bench.engine.most <= 3


def test_a_fault_of_ours_in_one_task_does_not_take_its_neighbours_along(bench: Bench) -> None:
    def trouble(prompt: str) -> None:
        if "odd" in prompt:
            raise KeyError("surprise")

    bench.engine.trouble = trouble
    outcomes = bench.label("a", "odd", "b")
    assert outcomes[1] == Failure("an internal error, see the log", retryable=False)
    assert moods(outcomes) == ["happy", "failed", "happy"]


def test_a_batch_whose_time_is_up_asks_for_nothing_new(bench: Bench) -> None:
    bench.label("a")
    known, fresh = bench.label("a", "b", left_s=0)
    assert moods([known]) == ["happy"]
    assert isinstance(fresh, Failure)
    assert fresh.retryable
    assert bench.engine.calls == 1


def test_a_batch_that_gets_no_slot_in_its_time_says_so(bench: Bench) -> None:
    with bench.limiter.slots("live", 4):
        (outcome,) = bench.label("a", left_s=0.2)
    assert isinstance(outcome, Failure)
    assert outcome.retryable
    assert "no slot" in outcome.reason


def test_a_batch_goes_on_after_everyone_had_to_pause(bench: Bench) -> None:
    bench.engine.trouble = lambda prompt: bench.limiter.backoff(0.3) if "pause" in prompt else None
    assert moods(bench.label(*"abcdef", "pause", *"ghijkl")) == ["happy"] * 13


def test_a_pause_longer_than_the_batch_may_last_ends_it(bench: Bench) -> None:
    """Calls take long enough here for the limiter to be looked at in between."""

    def trouble(prompt: str) -> None:
        if "pause" in prompt:
            bench.limiter.backoff(600)
        threading.Event().wait(0.1)

    bench.engine.trouble = trouble
    outcomes = bench.label("pause", *map(str, range(100)), left_s=2)
    assert moods(outcomes)[0] == "happy"
    assert "failed" in moods(outcomes)


def test_an_answer_that_comes_late_is_kept_and_takes_no_slot(redis_client: Redis, gate: threading.Event) -> None:
    bench = Bench(redis_client, threads=1)
    bench.engine.trouble = lambda prompt: gate.wait(LIMIT_S) if "late" in prompt else None
    (outcome,) = bench.label("late", left_s=1)
    assert isinstance(outcome, Failure)
    assert "time was up" in outcome.reason
    gate.set()
    bench.label("next")  # in the pool's only thread, after the late one
    assert redis_client.hgetall("whetstone:limiter:llm:entries") == {}
    assert moods(bench.label("late")) == ["happy"]
    assert bench.engine.calls == 2


def test_figures_tell_calls_tokens_errors_and_outcomes(bench: Bench) -> None:
    failing = iter([True])

    def trouble(prompt: str) -> None:
        if "odd" in prompt and next(failing, False):
            raise EngineUnreachableError("down")

    bench.engine.trouble = trouble
    bench.label("a", "odd", "")
    assert bench.counted("predictions") == {("labelled",): 2, ("failed",): 1}
    assert bench.counted("llm_calls") == {(): 2}
    assert bench.counted("llm_errors") == {("EngineUnreachableError",): 1}
    assert [bench.counted(f"llm_{kind}_tokens")[()] for kind in ("prompt", "cached", "completion")] == [20, 16, 2]


def test_batches_at_the_same_time_share_the_threads(bench: Bench) -> None:
    done: list[list[str]] = []
    batches = [
        threading.Thread(target=lambda n=number: done.append(moods(bench.label(*(f"{n} {i}" for i in range(20))))))
        for number in range(6)
    ]
    for batch in batches:
        batch.start()
    for batch in batches:
        batch.join(LIMIT_S)
    assert done == [["happy"] * 20] * 6
    assert bench.engine.most <= 4


def test_what_was_made_is_counted_for_drift_and_what_was_known_is_not(bench: Bench) -> None:
    bench.label("a", "b", "")
    bench.label("a", "c")
    today = datetime.now(UTC).date()
    days = bench.windows.days(PROJECT, VERSION.name, today - timedelta(days=1), today)
    assert sum(day.n for day in days) == 3
    assert days[0].labels["mood"].keys() == {"happy"}


def test_somebody_who_opened_a_task_does_not_wait_for_the_deadline_of_many(redis_client: Redis) -> None:
    bench, opened = Bench(redis_client, patience_s=0.5), threading.Event()
    bench.engine.trouble = lambda _: opened.wait(LIMIT_S)
    began = time.monotonic()
    (outcome,) = bench.label("a", left_s=LIMIT_S)
    assert isinstance(outcome, Failure)
    assert (outcome.retryable, time.monotonic() - began < LIMIT_S / 2) == (True, True)
    opened.set()
