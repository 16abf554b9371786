"""Examples asked at a run's cost, where an example takes several calls."""

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from backend.calls.engine import endpoint_key
from backend.labeling import schema as schemas
from backend.labeling.errors import BudgetError, EngineUnreachableError
from backend.labeling.prompt import Demonstration, Prompt
from backend.service import Service
from backend.settings import Settings
from backend.storage.store import Store
from tests.labeling.building import choices
from tests.labeling.test_labeler_groups import NAMES, letter_of
from tests.labeling.vectors import values
from tests.scripted_llm import Fault, Script, ScriptedLLM
from worker.calls.evaluator import Evaluator
from worker.calls.ledger import Ledger, RunLedger
from worker.labels.examples import Example

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

DAY = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = schemas.parse(choices(*NAMES))
EXAMPLES = [Example(str(i), {"text": f"Number {i}."}, {"label": (NAMES[i],)}, DAY) for i in range(90)]
Make = Callable[..., tuple[Evaluator, RunLedger]]


@pytest.fixture
def make(redis_url: str, scripted_llm: ScriptedLLM) -> Iterator[Make]:
    """An evaluator with caps as asked, of an LLM that is asked for a hundred labels in groups: two calls an example."""
    scripted_llm.script = Script(answer=lambda prompt: letter_of(prompt, NAMES[7]))

    def made(**changes: Any) -> tuple[Evaluator, RunLedger]:
        settings = Settings(**{"redis_url": redis_url, "openai_base_url": scripted_llm.base_url, **changes})
        service = Service(settings)
        assert service.engine.capabilities  # probed by now
        ledger = Ledger(service.redis, settings, models={"student": "scripted-1"}).open("1.1795346384", "run-1")
        return Evaluator(service, SCHEMA, ledger, lambda: None), ledger

    yield made
    gc.collect()


@pytest.mark.parametrize("cap", [1, 2, 3, 37, 100, 179])
def test_a_cap_on_calls_holds_though_an_example_takes_two(make: Make, scripted_llm: ScriptedLLM, cap: int) -> None:
    evaluator, ledger = make(run_max_calls=cap)
    before = scripted_llm.calls
    with pytest.raises(BudgetError, match="RUN_MAX_CALLS"):
        evaluator.label(Prompt("Which?", codes="letters"), EXAMPLES)
    asked = scripted_llm.calls - before
    assert asked == ledger.spend().student_calls
    assert asked <= max(cap, 2)  # the first example tells what one takes


def test_a_budget_that_is_not_enough_is_used_up_all_the_same(make: Make) -> None:
    evaluator, ledger = make(run_max_calls=100)
    with pytest.raises(BudgetError):
        evaluator.label(Prompt("Which?", codes="letters"), EXAMPLES)
    assert ledger.spend().student_calls == 100


def test_a_cap_on_tokens_holds_for_texts_of_many_tokens_a_character(make: Make, scripted_llm: ScriptedLLM) -> None:
    """300 Chinese characters take some 600 tokens, where as many Latin ones take 90."""
    evaluator, _ = make(run_max_tokens=600)
    before = scripted_llm.calls
    with pytest.raises(BudgetError, match="RUN_MAX_TOKENS"):
        evaluator.label(Prompt("Which?"), [Example("zh", {"text": "包裹晚到了" * 60}, {"label": (NAMES[0],)}, DAY)])
    assert scripted_llm.calls == before
    assert evaluator.label(Prompt("Which?"), [Example("en", {"text": "late. " * 50}, {"label": (NAMES[0],)}, DAY)])


def test_a_budget_that_is_just_enough_pays_for_all(make: Make) -> None:
    evaluator, ledger = make(run_max_calls=180)
    assert all(outcome.answers for outcome in evaluator.label(Prompt("Which?", codes="letters"), EXAMPLES))
    assert ledger.spend().student_calls == 180


def test_what_a_budget_paid_for_is_not_paid_again(make: Make) -> None:
    with pytest.raises(BudgetError):
        make(run_max_calls=100)[0].label(Prompt("Which?", codes="letters"), EXAMPLES)
    evaluator, ledger = make()
    evaluator.label(Prompt("Which?", codes="letters"), EXAMPLES)
    assert (ledger.spend().student_calls, ledger.spend().from_cache) == (180, 50)


@pytest.mark.parametrize(("rejects", "shared"), [({"logprobs"}, 0), (set(), 2)], ids=["votes", "log-probs"])
def test_two_endpoints_share_answers_only_where_log_probs_tell_that_they_serve_one_model(
    make: Make, scripted_llm: ScriptedLLM, rejects: set[str], shared: int
) -> None:
    script = Script(answer=lambda _: {NAMES[7]: 1.0}, rejects=frozenset(rejects))
    with ScriptedLLM(script) as other:
        scripted_llm.script = script
        for address in (scripted_llm.base_url, other.base_url):
            evaluator, ledger = make(openai_base_url=address)
            evaluator.label(Prompt("Which?"), EXAMPLES[:2])
        assert ledger.spend().from_cache == shared


def test_another_key_or_query_in_an_endpoint_s_address_makes_no_other_model(
    make: Make, scripted_llm: ScriptedLLM
) -> None:
    scripted_llm.change(rejects=frozenset({"logprobs"}))
    for address in (scripted_llm.base_url, scripted_llm.base_url.replace("//", "//me:secret@") + "?api-version=2"):
        evaluator, ledger = make(openai_base_url=address)
        evaluator.label(Prompt("Which?"), EXAMPLES[:2])
    assert ledger.spend().from_cache == 2


ALIKE = Prompt(
    "Which?",
    demonstrations=tuple(Demonstration(values(t), {"label": (NAMES[0],)}) for t in "abcd"),
    codes="letters",
    shown=1,
)


def embedded(llm: ScriptedLLM) -> list[list[str]]:
    """The texts of each request for embeddings, but for the one that asks which model answers."""
    asked = [request.body["input"] for request in llm.requests if "input" in request.body]
    return [texts for texts in asked if texts != ["text"]]


def test_embeddings_are_asked_for_many_texts_at_once_and_paid_for(make: Make, scripted_llm: ScriptedLLM) -> None:
    """A first example by itself, which tells what one takes; then 64, then 25: one, two and one request."""
    evaluator, ledger = make(embeddings_model="embed-1")
    assert all(outcome.answers for outcome in evaluator.label(ALIKE, EXAMPLES))
    assert [len(texts) for texts in embedded(scripted_llm)] == [5, 32, 32, 25]
    assert (ledger.spend().embedding_calls, ledger.spend().student_calls) == (4, 180)
    assert ledger.spend().calls == 184


@pytest.mark.parametrize("cap", [1, 4, 37, 100, 183])
def test_a_cap_on_calls_holds_for_labels_and_embeddings_together(
    make: Make, scripted_llm: ScriptedLLM, cap: int
) -> None:
    evaluator, ledger = make(embeddings_model="embed-1", run_max_calls=cap)
    assert evaluator  # its model is probed by now
    with pytest.raises(BudgetError, match="RUN_MAX_CALLS"):
        evaluator.label(ALIKE, EXAMPLES)
    assert len(embedded(scripted_llm)) == ledger.spend().embedding_calls
    assert ledger.spend().calls <= max(cap, 3)  # the first example tells what one takes


def test_embeddings_on_this_machine_cost_the_run_nothing(make: Make) -> None:
    evaluator, ledger = make()
    evaluator.label(ALIKE, EXAMPLES[:3])
    assert (ledger.spend().embedding_calls, ledger.spend().student_calls) == (0, 6)


def test_an_example_without_text_has_no_embedding_and_does_not_keep_the_others_from_theirs(
    make: Make, scripted_llm: ScriptedLLM
) -> None:
    evaluator, _ = make(embeddings_model="embed-1")
    blank = Example("blank", {"other": "?"}, {"label": (NAMES[0],)}, DAY)
    outcomes = evaluator.label(ALIKE, [EXAMPLES[0], blank, *EXAMPLES[1:9]])
    assert [outcome.answers is None for outcome in outcomes] == [False, True, *[False] * 8]
    assert [len(texts) for texts in embedded(scripted_llm)] == [5, 8]


@pytest.mark.parametrize(
    "trouble",
    [
        {"moderated": "Number 3."},
        {"faults": lambda _, __, body: Fault(spoil="withheld") if "Number 3." in str(body) else None},
    ],
    ids=["refused", "withheld"],
)
def test_a_text_that_moderation_stops_has_no_answer_and_the_others_do(
    make: Make, scripted_llm: ScriptedLLM, trouble: dict[str, Any]
) -> None:
    evaluator, _ = make()
    scripted_llm.change(**trouble)
    before = scripted_llm.calls
    outcomes = evaluator.label(Prompt("Which?"), EXAMPLES[:8])
    assert [outcome.answers is None for outcome in outcomes] == [index == 3 for index in range(8)]
    assert "content filter" in outcomes[3].failure
    assert scripted_llm.calls - before == 8


@pytest.mark.parametrize("cap", [4, 8, 12, 1000])
def test_a_text_that_has_no_embedding_is_labelled_all_the_same_and_finding_it_is_paid_for(
    make: Make, scripted_llm: ScriptedLLM, cap: int
) -> None:
    """The labelling endpoint is another: its moderation lets the text pass."""
    with ScriptedLLM(moderated="Number 3.") as embeddings:
        evaluator, ledger = make(embeddings_model="embed-1", embeddings_base_url=embeddings.base_url, run_max_calls=cap)
        with nullcontext() if cap == 1000 else pytest.raises(BudgetError):
            assert all(outcome.answers for outcome in evaluator.label(ALIKE, EXAMPLES[:8]))
        assert len(embedded(embeddings)) == ledger.spend().embedding_calls
        assert ledger.spend().calls <= max(cap, 3)


def test_answers_outside_the_label_set_are_paid_to_the_token(make: Make, scripted_llm: ScriptedLLM) -> None:
    """And what an earlier run wasted is known to a later one."""
    evaluator, ledger = make()
    scripted_llm.script = Script(answer=lambda _: {"maybe": 1.0})
    before = scripted_llm.calls
    (outcome,) = evaluator.label(Prompt("Which?"), EXAMPLES[:1])
    assert outcome.answers is None
    assert outcome.wasted.calls == ledger.spend().student_calls == scripted_llm.calls - before
    assert outcome.wasted.usage.prompt_tokens == ledger.spend().prompt_tokens > 0
    assert make()[0].label(Prompt("Which?"), EXAMPLES[:1]) == [outcome]


def test_answers_of_an_endpoint_that_changed_meanwhile_are_not_kept_as_if_it_had_not(
    make: Make, scripted_llm: ScriptedLLM, redis_client: Redis
) -> None:
    """Its log-probs, found long ago, are gone; from then on labels are votes, which are other answers."""
    settings = Settings(openai_base_url=scripted_llm.base_url)
    kept = '{"chat_logprobs": 20, "fingerprint": "A:-0.1"}'
    Store(redis_client, max_predictions=1).keep_capabilities(endpoint_key(settings), kept, 60)
    evaluator, ledger = make()
    scripted_llm.script = Script(answer=lambda _: {NAMES[7]: 1.0}, faults=lambda *_: Fault(spoil="no_logprobs"))
    with pytest.raises(EngineUnreachableError, match="another one than a moment ago"):
        evaluator.label(Prompt("Which?"), EXAMPLES[:4])
    outcomes = evaluator.label(Prompt("Which?"), EXAMPLES[:4])
    found = [answers for outcome in outcomes if (answers := outcome.answers)]
    assert [each.score_kind for answers in found for each in answers.distributions.values()] == ["votes"] * 4
    assert ledger.spend().from_cache == 0


def test_while_embeddings_are_away_nothing_is_answered_in_another_way(make: Make, scripted_llm: ScriptedLLM) -> None:
    evaluator, ledger = make(embeddings_model="embed-1")
    evaluator.label(ALIKE, EXAMPLES[:1])
    scripted_llm.change(faults=lambda _, path, __: Fault(status=503) if "embeddings" in path else None)
    with pytest.raises(EngineUnreachableError, match="EMBEDDINGS_BASE_URL"):
        evaluator.label(ALIKE, EXAMPLES[1:5])
    assert ledger.spend().student_calls == 2
