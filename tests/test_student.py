import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from backend.calls.embedding import RememberingEmbedder
from backend.calls.embedding_sources import Bill, Embedded, Pay
from backend.labeling.errors import BudgetError, EngineUnreachableError
from backend.labeling.prompt import Demonstration, Prompt
from tests.labeling.building import LOCAL, NOW, connected
from tests.labeling.vectors import Angles, at, values
from tests.replaying import student
from tests.scripted_llm import Script, ScriptedLLM
from tests.scripted_llm.script import Fault
from worker.labels.examples import Example
from worker.simulation.purse import MeteredEmbedder
from worker.simulation.student import Account, MeteredEngine, Prices, Teacher

NAIVE = Prompt("Say which fits the text.", style="text")


def examples(*texts: str) -> list[Example]:
    return [Example(text, {"text": text}, {"sentiment": ("positive",)}, NOW) for text in texts]


def nothing(*_: object) -> float:
    return 0.0


FREE = Prices(nothing, nothing, nothing)


def test_answers_come_in_the_order_asked(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        found = asked.label(NAIVE, examples("I love it", "I hate it", "great"))
    best = [outcome.answers.distributions["sentiment"].best for outcome in found if outcome.answers]
    assert best == ["positive", "negative", "positive"]


def test_what_was_asked_before_costs_nothing_under_the_same_prompt(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        asked.label(NAIVE, examples("I love it", "I hate it"))
        before = asked.meter.calls
        asked.label(NAIVE, examples("I hate it", "I love it"))
        assert asked.meter.calls == before > 0
        asked.label(Prompt("Another.", style="text"), examples("I hate it"))
        assert asked.meter.calls > before


def test_a_budget_is_kept_to_the_call_and_what_was_paid_for_is_remembered(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        asked.label(NAIVE, examples("warm"))
        account = Account(asked, 5, FREE)
        before = scripted_llm.calls
        with pytest.raises(BudgetError):
            account.label(NAIVE, examples(*(f"text {i}" for i in range(20))))
        assert scripted_llm.calls - before == 5 == account.spend().student_calls
        account.begin_run()
        account.label(NAIVE, examples(*(f"text {i}" for i in range(10))))
        assert account.spend().student_calls == 10


def test_measuring_is_beside_the_budget_and_costs_the_runs_nothing(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        account = Account(asked, 1, FREE)
        account.measure(NAIVE, examples("a", "b", "c"))
        assert account.spend().student_calls == 0
        account.label(NAIVE, examples("a", "b", "c", "d"))
        assert account.spend().student_calls == 1


def test_an_answer_outside_the_label_set_is_an_outcome(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        scripted_llm.script = Script(answer=lambda _: {"maybe": 1.0})
        (outcome,) = asked.label(NAIVE, examples("x"))
    assert outcome.answers is None
    assert "label" in outcome.failure


@pytest.mark.parametrize("trouble", [{"moderated": "odd"}, {"context_tokens": 90}], ids=["moderated", "too long"])
def test_one_example_that_cannot_be_asked_is_an_outcome_and_the_others_go_on(
    scripted_llm: ScriptedLLM, trouble: dict[str, Any]
) -> None:
    with student(scripted_llm) as asked:
        asked.label(NAIVE, examples("warm"))
        scripted_llm.change(**trouble)
        outcomes = asked.label(NAIVE, examples("I love it", "odd " * 80, "I hate it"))
    assert [outcome.answers is None for outcome in outcomes] == [False, True, False]
    assert "content filter" in outcomes[1].failure or "context length" in outcomes[1].failure


def test_calls_that_fail_for_a_moment_are_made_again_and_count_once(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        asked.label(NAIVE, examples("warm"))
        calls = asked.meter.calls
        failed = scripted_llm.calls
        scripted_llm.change(faults=lambda index, *_: Fault(status=503) if index < failed + 2 else None)
        (outcome,) = asked.label(NAIVE, examples("x"))
        assert outcome.answers is not None
        assert asked.meter.calls == calls + 1


def test_an_endpoint_that_stays_away_ends_it(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked:
        asked.label(NAIVE, examples("warm"))
        scripted_llm.change(faults=lambda *_: Fault(status=503))
        with pytest.raises(EngineUnreachableError):
            asked.label(NAIVE, examples("x", "y", "z"))


def test_the_teacher_is_paid_from_the_same_budget(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.script = Script(answer=lambda _: {"Be brief.": 1.0})
    with student(scripted_llm) as asked, connected(scripted_llm, LOCAL) as engine:
        account = Account(asked, 2, FREE, Teacher(MeteredEngine(engine), thinking_tokens=0))
        assert account.ask
        assert account.ask("How should it be put?") == "Be brief."
        account.label(NAIVE, examples("a"))
        with pytest.raises(BudgetError):
            account.ask("And else?")
    assert (account.spend().student_calls, account.spend().teacher_calls) == (1, 1)


def test_an_unknown_price_of_either_makes_the_cost_unknown(scripted_llm: ScriptedLLM) -> None:
    with student(scripted_llm) as asked, connected(scripted_llm, LOCAL) as engine:
        account = Account(
            asked, 9, replace(FREE, teacher=lambda *_: None), Teacher(MeteredEngine(engine), thinking_tokens=0)
        )
        assert account.spend().usd == 0.0
        assert account.ask
        account.ask("How?")
    assert account.spend().usd is None


class Priced:
    """An endpoint that embeds by the number in a text: a call and ten tokens each."""

    def embed(self, texts: Sequence[str], _pay: Pay, /) -> Embedded:
        first = [text.split()[0] for text in texts]
        return Embedded("angles 2", [at(float(word) if word.isdigit() else 0.0) for word in first], self.quote(texts))

    def quote(self, texts: Sequence[str]) -> Bill:
        return Bill(len(texts), 10 * len(texts))


def likely(*angles: int) -> Prompt:
    given = tuple(Demonstration(values(f"{angle} degrees"), {"sentiment": ("positive",)}) for angle in angles)
    return replace(NAIVE, demonstrations=given, shown=1)


def test_embeddings_from_an_endpoint_are_paid_from_the_same_budget(scripted_llm: ScriptedLLM) -> None:
    embedder = MeteredEmbedder(RememberingEmbedder(Priced()))
    prices = replace(FREE, embeddings=lambda usage, calls: usage.prompt_tokens + calls / 100)
    with student(scripted_llm, embedder=embedder) as asked:
        account = Account(asked, 7, prices, embedder=embedder)
        account.measure(likely(0, 90), examples("10 great"))
        assert (embedder.bill.calls, account.spend().calls) == (3, 0)
        account.embed(["10 great", "90 degrees", "180 degrees"])
        assert account.spend().embedding_calls == 1
        account.label(likely(0, 90, 180), examples("20 great", "30 great"))
        spent = account.spend()
        assert (spent.student_calls, spent.embedding_calls, spent.usd) == (2, 3, pytest.approx(30.03))
        with pytest.raises(BudgetError):
            account.embed(["200", "210", "220"])
        assert account.spend().calls == spent.calls


def test_each_example_is_asked_with_demonstrations_of_its_own(scripted_llm: ScriptedLLM) -> None:
    given = tuple(Demonstration(values(f"{i * 90} degrees"), {"sentiment": ("positive",)}) for i in range(4))
    with student(scripted_llm, embedder=Angles()) as asked:
        asked.label(replace(NAIVE, demonstrations=given, shown=1), examples("110 great", "200 great"))
    sent = [each.body["prompt"] for each in scripted_llm.requests if "great" in each.body.get("prompt", "")]
    shown = {text.split(" great")[0].rsplit("\n", 1)[-1]: re.findall(r"\d+ degrees", text) for text in sent}
    assert shown == {"110": ["90 degrees"], "200": ["180 degrees"]}
