from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import Calibration
from backend.labeling.engines.base import Spent, Usage
from backend.labeling.errors import StoreError
from backend.labeling.labeler import Limits
from backend.labeling.prompt import Demonstration, Prompt
from backend.labeling.selection import rule
from backend.storage.redis_client import connect
from tests.labeling.vectors import Angles, shown
from worker.calls.evaluations import EvaluationCache, prompt_key
from worker.optimizer.outcomes import Outcome

PROMPT = Prompt("Label it.", definitions={"a": "first", "b": "second"})
LIMITS = Limits()
KEYED = ("config", "model", "print", LIMITS)
KEY = prompt_key(PROMPT, *KEYED)


@pytest.fixture
def cache(redis_client: Redis) -> EvaluationCache:
    return EvaluationCache(redis_client)


def outcome(probability: float = 0.75, labels: tuple[str, ...] = ("yes", "no")) -> Outcome:
    distribution = Distribution(labels, (probability, 1 - probability), 0.9, (labels[1],))
    return Outcome(TaskAnswers({"about: a": distribution}, cut=True, usage=Usage(100, 40, 1), calls=1))


FAILED = Outcome(None, "the answer is outside the label set", Spent(5, Usage(100, 40, 5)))

labels = st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True).map(tuple)
shares = st.floats(0, 1, allow_subnormal=True)
distributions = labels.flatmap(
    lambda names: st.builds(
        Distribution,
        st.just(names),
        st.tuples(*(shares for _ in names)),
        shares,
        st.sets(st.sampled_from(names)).map(lambda some: tuple(name for name in names if name in some)),
        st.sampled_from(["logprob", "votes"]),
    )
)
usages = st.builds(Usage, *[st.integers(0, 10**6)] * 3)
answered = st.builds(
    TaskAnswers,
    st.dictionaries(st.text(max_size=8), distributions, max_size=3),
    st.booleans(),
    usages,
    st.integers(0, 99),
)
spent = st.builds(Spent, st.integers(0, 99), usages)
reasons = st.text(st.characters())  # with halves of surrogate pairs, as broken tasks hold them
outcomes = st.one_of(st.builds(Outcome, answered), st.builds(Outcome, st.none(), reasons, spent))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text("0123456789abcdef", min_size=1), outcomes, max_size=4))
def test_outcomes_come_back_to_the_last_digit(redis_client: Redis, kept: dict[str, Outcome]) -> None:
    redis_client.flushdb()
    cache = EvaluationCache(redis_client)
    cache.keep(KEY, kept)
    assert cache.get(KEY, list(kept)) == list(kept.values())


def test_outcomes_come_in_the_order_asked(cache: EvaluationCache) -> None:
    cache.keep(KEY, {"1": outcome(), "2": FAILED})
    assert cache.get(KEY, ["2", "none", "1"]) == [FAILED, None, outcome()]
    assert cache.get(KEY, []) == []


def test_another_process_finds_what_was_kept(redis_client: Redis, cache: EvaluationCache) -> None:
    cache.keep(KEY, {"1": outcome()})
    assert EvaluationCache(redis_client).get(KEY, ["1"]) == [outcome()]


def test_prompts_share_nothing(cache: EvaluationCache) -> None:
    cache.keep(KEY, {"1": outcome()})
    assert cache.get("other", ["1"]) == [None]


def test_what_is_kept_again_replaces_what_was(cache: EvaluationCache) -> None:
    cache.keep(KEY, {"1": outcome(0.25)})
    cache.keep(KEY, {"1": outcome(0.5, ("p", "q"))})
    assert cache.get(KEY, ["1"]) == [outcome(0.5, ("p", "q"))]


def test_the_oldest_of_all_prompts_goes_first(redis_client: Redis) -> None:
    cache = EvaluationCache(redis_client, most=2)
    for data_hash in ("1", "2", "1"):
        cache.keep("p", {data_hash: outcome()})
    cache.keep("q", {"3": outcome()})
    assert cache.get("p", ["1", "2"]) == [outcome(), None]
    assert cache.get("q", ["3"]) == [outcome()]


def test_a_prompt_without_evaluations_leaves_nothing(redis_client: Redis) -> None:
    cache = EvaluationCache(redis_client, most=1)
    cache.keep("p", {"1": outcome()})
    cache.keep("q", {"2": outcome()})
    assert list(redis_client.scan_iter("*:p*")) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("pq"), st.sets(st.sampled_from("abcdef")))))
def test_never_more_are_kept_than_allowed(redis_client: Redis, kept: list[tuple[str, set[str]]]) -> None:
    redis_client.flushdb()
    cache = EvaluationCache(redis_client, most=3)
    for prompt, hashes in kept:
        cache.keep(prompt, dict.fromkeys(hashes, outcome()))
    found = [each for prompt in "pq" for each in cache.get(prompt, "abcdef")]
    distinct = {(prompt, data_hash) for prompt, hashes in kept for data_hash in hashes}
    assert sum(each is not None for each in found) == min(3, len(distinct))


def test_labels_are_stored_once_a_prompt(redis_client: Redis, cache: EvaluationCache) -> None:
    long = ("a label with a rather long name", "another label with a rather long name")
    cache.keep(KEY, {str(number): outcome(number / 100, long) for number in range(100)})
    rows = redis_client.hvals(f"whetstone:evaluations:{KEY}")
    assert len(rows) == 100
    assert not any(b"rather long" in row for row in rows)


@pytest.mark.parametrize(
    "prompt",
    [
        replace(PROMPT, calibration=Calibration({"sentiment": {"a": 1.0}}, 2.0, 40)),
        replace(PROMPT, definitions={"b": "second", "a": "first"}),
    ],
    ids=["calibration", "order of definitions"],
)
def test_what_no_answer_depends_on_keeps_the_key(prompt: Prompt) -> None:
    assert prompt_key(prompt, "config", "model", "print", LIMITS) == KEY


@pytest.mark.parametrize(
    "key",
    [
        prompt_key(replace(PROMPT, instruction="Label it!"), "config", "model", "print", LIMITS),
        prompt_key(replace(PROMPT, rules=("In doubt, b.",)), "config", "model", "print", LIMITS),
        prompt_key(replace(PROMPT, demonstrations=(Demonstration((), {}),)), "config", "model", "print", LIMITS),
        prompt_key(replace(PROMPT, style="text"), "config", "model", "print", LIMITS),
        prompt_key(PROMPT, "other", "model", "print", LIMITS),
        prompt_key(PROMPT, "config", "other", "print", LIMITS),
        prompt_key(PROMPT, "config", "model", "other", LIMITS),
        prompt_key(PROMPT, "config", "model", "print", replace(LIMITS, votes=9)),
        prompt_key(PROMPT, *KEYED, several=True),
    ],
    ids=["instruction", "rules", "demonstrations", "style", "config", "model", "fingerprint", "limits", "several"],
)
def test_what_an_answer_depends_on_makes_another_key(key: str) -> None:
    assert key != KEY


def test_a_key_from_before_stays() -> None:
    """Recordings and stores are full of them."""
    assert KEY == "9c71457082798fd2a1c5394aa4b98be5"


def test_what_selects_demonstrations_is_part_of_the_key_of_prompts_that_select_alone() -> None:
    static = replace(PROMPT, demonstrations=(shown("1 a"), shown("2 b")))
    selecting = replace(static, shown=1)
    one, other = Angles(), Angles()
    other.fingerprint = "angles 3"

    def key(prompt: Prompt, embedder: Angles | None) -> str:
        return prompt_key(prompt, "config", "model", "print", LIMITS, rule(prompt, embedder))

    assert key(static, one) == key(static, other) == key(static, None) == prompt_key(static, *KEYED)
    assert len({key(selecting, one), key(selecting, other), prompt_key(selecting, *KEYED), key(static, one)}) == 4


@pytest.mark.parametrize(
    "call", [lambda cache: cache.get(KEY, ["1"]), lambda cache: cache.keep(KEY, {"1": outcome()})], ids=["get", "keep"]
)
def test_a_redis_that_is_down_is_a_store_error(call: Callable[[EvaluationCache], object]) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        call(EvaluationCache(connect("redis://127.0.0.1:1/0")))
