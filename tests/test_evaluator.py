"""Examples asked at a run's cost, where an example takes several calls."""

import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from backend.labeling import schema as schemas
from backend.labeling.errors import BudgetError
from backend.labeling.prompt import Prompt
from backend.service import Service
from backend.settings import Settings
from tests.labeling.building import choices
from tests.labeling.test_labeler_groups import NAMES, letter_of
from tests.scripted_llm import Script, ScriptedLLM
from worker.evaluator import Evaluator
from worker.examples import Example
from worker.ledger import Ledger, RunLedger

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

    def made(**caps: int) -> tuple[Evaluator, RunLedger]:
        settings = Settings(redis_url=redis_url, openai_base_url=scripted_llm.base_url, **caps)  # type: ignore[arg-type]
        service = Service(settings)
        assert service.engine.capabilities.chat_logprobs  # probed by now
        ledger = Ledger(service.redis, settings, models={"student": "scripted-1"}).open("1.1795346384", "run-1")
        return Evaluator(service, SCHEMA, ledger, lambda: None), ledger

    yield made
    gc.collect()


@pytest.mark.parametrize("cap", [1, 2, 3, 37, 100, 179])
def test_a_cap_on_calls_holds_though_an_example_takes_two(make: Make, scripted_llm: ScriptedLLM, cap: int) -> None:
    evaluator, ledger = make(run_max_calls=cap)
    before = scripted_llm.calls
    with pytest.raises(BudgetError, match="RUN_MAX_CALLS"):
        evaluator.label(Prompt("Which?"), EXAMPLES)
    asked = scripted_llm.calls - before
    assert asked == ledger.spend().student_calls
    assert asked <= max(cap, 2)  # the first example tells what one takes


def test_a_budget_that_is_not_enough_is_used_up_all_the_same(make: Make) -> None:
    evaluator, ledger = make(run_max_calls=100)
    with pytest.raises(BudgetError):
        evaluator.label(Prompt("Which?"), EXAMPLES)
    assert ledger.spend().student_calls == 100


def test_a_budget_that_is_just_enough_pays_for_all(make: Make) -> None:
    evaluator, ledger = make(run_max_calls=180)
    assert all(outcome.answers for outcome in evaluator.label(Prompt("Which?"), EXAMPLES))
    assert ledger.spend().student_calls == 180


def test_what_a_budget_paid_for_is_not_paid_again(make: Make) -> None:
    with pytest.raises(BudgetError):
        make(run_max_calls=100)[0].label(Prompt("Which?"), EXAMPLES)
    evaluator, ledger = make()
    evaluator.label(Prompt("Which?"), EXAMPLES)
    assert (ledger.spend().student_calls, ledger.spend().from_cache) == (180, 50)
