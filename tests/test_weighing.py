"""How many tasks each label stands for is known without asking the LLM about each."""

import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import pytest

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.errors import BudgetError
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt
from backend.projects.pushing import Target
from backend.service import Service
from backend.settings import Settings
from tests.flows.payloads import PROJECT
from tests.histories import AT, History
from tests.scripted_llm import ScriptedLLM
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome
from worker.runs.weighing import weighed

# The HTTP clients of a service live as long as its process; here every test makes some and drops them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SAID = Distribution(("positive", "negative", "neutral"), (0.8, 0.1, 0.1))
LABELLED = tuple(Example(str(n), {"text": f"text {n}"}, {"sentiment": ("positive",)}, AT) for n in range(40))


@dataclass
class Project:
    """Of 100 tasks. `asked` are the ids that the LLM was asked about, each for two calls."""

    service: Service
    budget: int = 1000
    asked: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        record = self.service.store.project(PROJECT)
        assert record
        return Target(record, self.service.current(PROJECT, record.config), 0.0, 100)

    def predict(self, numbers: Sequence[int]) -> None:
        to = self.target
        rows = {
            to.current.schema.data_hash({"text": f"text {n}"}): json.dumps(
                {"result": [], "score": n * 37 % 100 / 100}
            ).encode()
            for n in numbers
        }
        self.service.store.keep_predictions(PROJECT, to.current.version.name, rows)

    def show(self, *numbers: int) -> None:
        """The active prompt shows these labelled texts."""
        active = self.target.current.version
        shown = tuple(Demonstration((Value("text", f"text {n}"),), {"sentiment": ("positive",)}) for n in numbers)
        version = replace(active, name="p0009-aaaa", prompt=replace(active.prompt, demonstrations=shown), origin="test")
        assert self.service.store.publish(PROJECT, version, active.name, by="a person")

    def weigh(self, calls: int = 100) -> list[float]:
        return [each.weight for each in weighed(self.service, self.target, LABELLED, self.label, calls=calls)]

    def label(self, _prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        if len(self.asked) + len(examples) > self.budget:
            raise BudgetError("used up")
        self.asked += [example.id for example in examples]
        return [Outcome(TaskAnswers({"sentiment": SAID}, calls=2)) for _ in examples]


@pytest.fixture
def project(redis_url: str, scripted_llm: ScriptedLLM) -> Iterator[Project]:
    made = History(Service(Settings(redis_url=redis_url, openai_base_url=scripted_llm.base_url)))
    yield Project(made.service)
    gc.collect()


def test_before_the_first_prediction_labels_stand_as_they_are(project: Project) -> None:
    assert project.weigh() == [1.0] * 40
    assert project.asked == []


def test_by_scores_that_are_known_nothing_is_asked(project: Project) -> None:
    project.predict(range(100))
    weights = project.weigh()
    assert project.asked == []
    assert fmean(weights) == pytest.approx(1)


def test_labels_that_saw_their_own_answer_are_asked_anew(project: Project) -> None:
    project.show(3, 5)
    project.predict(range(100))
    project.weigh()
    assert project.asked == ["3", "5"]


def test_of_those_without_a_score_as_many_are_asked_as_the_calls_pay_for(project: Project) -> None:
    project.show(39)
    project.predict(range(10, 100))
    project.weigh(calls=12)
    assert project.asked == ["39", "0", "1", "2", "3", "4"]


def test_where_no_budget_is_left_known_scores_decide_and_what_has_none_counts_as_drawn_by_lot(project: Project) -> None:
    project.predict(range(10, 100))
    project.budget = 0
    lacking, known = (weights := project.weigh())[:10], weights[10:]
    assert fmean(known) == pytest.approx(1)
    assert lacking == [1.0] * 10
