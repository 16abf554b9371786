import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.labeling.prompt import Prompt
from backend.storage.runs import Spend
from tests.labeling.building import SENTIMENT
from tests.optimizer import world
from tests.replaying import SCHEMA, leaning, rows, student, write
from tests.scripted_llm import ScriptedLLM
from tests.scripted_llm.answers import frame_and_task
from tests.scripted_llm.script import Answers
from worker.cli.simulate import simulate as command
from worker.labels.examples import Example
from worker.optimizer.optimize import Tools
from worker.optimizer.outcomes import Outcome, grade
from worker.simulation import replay_data
from worker.simulation.simulate import Plan, Senses, Simulation, simulate
from worker.simulation.student import Account, Prices, Student

NAIVE = Prompt("Say which fits the text.", style="text")
FREE = Prices(*3 * [lambda _usage, _calls: 0.0])


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """60 rows to replay, 40 to test on, learned from at 16 and 40 labels."""
    data = replay_data.read(write(tmp_path / "data.jsonl", rows(60, test=40)), SCHEMA)
    return Plan(SCHEMA, data.rows, data.test, NAIVE, (16, 40), "scripted", styles=("text",), rounds=1, calls=200)


class Watched:
    """What a simulation asked for, by purpose."""

    def __init__(self, asked: Student, plan: Plan) -> None:
        self._account = Account(asked, plan.calls, FREE)
        self.seen: list[list[str]] = []
        self.senses = Senses(self._account.measure, Tools(self._label), self._account.spend, self._arrived)

    def _arrived(self, _count: int) -> None:
        self._account.begin_run()
        self.seen.append([])

    def _label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        self.seen[-1] += [example.id for example in examples]
        return self._account.label(prompt, examples)


def run(plan: Plan, llm: ScriptedLLM, label: Answers = leaning) -> tuple[Simulation, Watched]:
    llm.change(label=label)
    with student(llm) as asked:
        watched = Watched(asked, plan)
        return simulate(plan, watched.senses), watched


def test_labels_mend_a_model_that_leans_to_one_label(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    found, _ = run(plan, scripted_llm)
    assert found.naive.accuracy == 0.5  # it calls everything negative
    last = found.steps[-1]
    assert last.figures.accuracy > 0.9
    assert last.version.startswith("p0002-")
    assert any("published" in step.words[0].lower() for step in found.steps)


def test_what_is_measured_never_reaches_a_run(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    _, watched = run(plan, scripted_llm)
    tested = {example.id for example in plan.test}
    assert len(watched.seen) == 2
    assert all(set(ids).isdisjoint(tested) for ids in watched.seen)


def test_each_run_sees_as_many_labels_as_have_arrived_the_earlier_ones_among_them(
    plan: Plan, scripted_llm: ScriptedLLM
) -> None:
    _, watched = run(plan, scripted_llm)
    first, second = (set(ids) for ids in watched.seen)
    assert (len(first), len(second)) == (16, 40)
    assert first < second


def test_the_same_seed_gives_the_same_figures_and_another_one_other_labels(
    plan: Plan, scripted_llm: ScriptedLLM
) -> None:
    (one, seen), (again, seen_again) = run(plan, scripted_llm), run(plan, scripted_llm)
    _, seen_otherwise = run(replace(plan, seed=1), scripted_llm)
    assert [(s.figures, s.version, s.classic) for s in one.steps] == [
        (s.figures, s.version, s.classic) for s in again.steps
    ]
    assert set(seen.seen[0]) == set(seen_again.seen[0]) != set(seen_otherwise.seen[0])


def unsure(prompt: str) -> dict[str, float]:
    """Of every fourth text, whatever its label."""
    _, task = frame_and_task(prompt)
    number = re.search(r"number (\d+)", task)
    doubtful = bool(number) and int(number.group(1)) // 2 % 4 == 0
    sure = 0.5 if doubtful else 0.9
    return {"positive": sure, "negative": 0.95 - sure, "neutral": 0.05}


def test_least_certain_first_begins_with_the_lowest_scores(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    _, watched = run(replace(plan, order="score", counts=(20,)), scripted_llm, unsure)
    with student(scripted_llm) as asked:
        outcomes = asked.label(NAIVE, plan.rows)
    scores = {e.id: grade(SCHEMA, NAIVE, e, o).score for e, o in zip(plan.rows, outcomes, strict=True)}
    labelled = set(watched.seen[0])
    assert max(scores[one] for one in labelled) <= min(score for one, score in scores.items() if one not in labelled)


def test_a_run_over_its_budget_is_a_step_that_says_so(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    found, _ = run(replace(plan, calls=25, counts=(20,)), scripted_llm)
    (step,) = found.steps
    assert step.decision == "out_of_budget"
    assert step.figures == found.naive
    assert step.spend.student_calls <= 25


def test_where_no_test_row_has_a_label_and_none_is_predicted_f1_is_the_accuracy() -> None:
    items = world.examples(world.SEVERAL, 20)
    test = tuple(replace(item, id=f"test {item.id}", truth={"topics": ()}) for item in items)
    made = world.World((*items, *test), world.level(0.99999), world.SEVERAL)
    plan = Plan(world.SEVERAL, items, test, world.ACTIVE, (8,), "simulated")
    found = simulate(plan, Senses(made.label, made.tools(), Spend))
    assert (found.naive.accuracy, found.naive.macro_f1) == (1.0, 1.0)


def test_candidates_are_tried_in_place_of_the_templates(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    asked = set[str]()

    def remembered(prompt: str) -> dict[str, float]:
        if "number" in prompt:  # a row, not what the engine asks to learn what the endpoint can do
            asked.add(prompt)
        return leaning(prompt)

    own = tuple(Prompt(text, style="text") for text in ("Weigh each word.", "Ask who is pleased."))
    run(replace(plan, candidates=own, counts=(16,)), scripted_llm, remembered)
    begun = [NAIVE.instruction, *(prompt.instruction for prompt in own)]
    used = {next((text for text in begun if text in prompt), "another") for prompt in asked}
    assert used == set(begun)


def test_the_classic_learns_from_the_very_same_labels(plan: Plan, scripted_llm: ScriptedLLM) -> None:
    found, _ = run(plan, scripted_llm)
    few, many = (step.classic for step in found.steps)
    assert 0.4 < few.accuracy <= many.accuracy <= 1
    assert many.ece is None


def invoke(llm: ScriptedLLM, tmp_path: Path, items: Sequence[Any], *arguments: str) -> Result:
    llm.change(label=leaning)
    data = write(tmp_path / "data.jsonl", items)
    config = tmp_path / "labels.xml"
    config.write_text(SENTIMENT)
    environment = {"OPENAI_BASE_URL": llm.base_url, "LLM_PROMPT_STYLE": "text", "OPTIMIZE_ROUNDS": "1"}
    return CliRunner().invoke(command, [str(data), "--config", str(config), *arguments], env=environment)


def test_json_has_the_promised_keys_and_nothing_beside_them(scripted_llm: ScriptedLLM, tmp_path: Path) -> None:
    result = invoke(scripted_llm, tmp_path, rows(40, test=20), "--labels", "20,40", "--json", "--seed", "3")
    document = json.loads(result.stdout)
    assert set(document) == {"naive", "best_of_set", "by_labels", "classic", "dataset_sha256", "model", "seed"}
    assert set(document["by_labels"][0]) == {
        *("labels", "accuracy", "macro_f1", "ece", "calls", "tokens", "seconds", "version", "verdict")
    }
    assert [step["labels"] for step in document["by_labels"]] == [20, 40] == [c["labels"] for c in document["classic"]]
    assert document["dataset_sha256"] == hashlib.sha256((tmp_path / "data.jsonl").read_bytes()).hexdigest()
    assert (document["model"], document["seed"]) == ("scripted-1", 3)


def test_the_table_shows_the_naive_prompt_each_number_of_labels_and_a_verdict(
    scripted_llm: ScriptedLLM, tmp_path: Path
) -> None:
    result = invoke(scripted_llm, tmp_path, rows(30, test=20), "--labels", "20,500", "--budget", "300")
    assert result.exit_code == 0, result.output
    shown = [line.split("  ")[0].strip() for line in result.stdout.splitlines()]
    assert [name for name in shown if name in ("naive", *map(_labels, (20, 30)))] == ["naive", "20 labels", "30 labels"]
    assert "The run saw 20 labels." in " ".join(result.stdout.split())


def _labels(count: int) -> str:
    return f"{count} labels"


@pytest.mark.parametrize("as_json", [False, True])
def test_test_rows_without_a_usable_answer_are_counted_with_the_reason(
    scripted_llm: ScriptedLLM, tmp_path: Path, as_json: bool
) -> None:
    def answer(prompt: str) -> dict[str, float]:
        _, task = frame_and_task(prompt)
        return {"who knows": 1.0} if "box" in task else {"positive": 0.9, "negative": 0.1}

    scripted_llm.change(answer=answer)
    items = [*rows(20), *rows(0, test=12, labels=("positive", "neutral"))]
    result = invoke(scripted_llm, tmp_path, items, "--labels", "12", *(["--json"] if as_json else []))
    assert result.exit_code == 0, result.output
    said = " ".join((result.stderr if as_json else result.stdout).split())
    assert "naive: 6 of 12 test rows got no usable answer and count as wrong, the first because the labels of" in said
    assert said.count("got no usable answer") == 1
    if as_json:
        assert json.loads(result.stdout)["naive"]["accuracy"] == 0.5


def test_rows_that_cannot_be_used_end_it_with_their_line(scripted_llm: ScriptedLLM, tmp_path: Path) -> None:
    result = invoke(scripted_llm, tmp_path, [*rows(2), {"id": "x", "text": "no label"}])
    assert isinstance(result.exception, replay_data.ReplayDataError)
    assert 'line 3: the field "label" is missing' in str(result.exception)


def test_rows_left_out_are_told_beside_the_json(scripted_llm: ScriptedLLM, tmp_path: Path) -> None:
    strange = [{"id": "a", "text": "a", "label": "[/mixed]"}, {**rows(1, test=1)[1], "id": "copy", "split": "train"}]
    result = invoke(scripted_llm, tmp_path, [*rows(20, test=10), *strange], "--labels", "12", "--json")
    assert json.loads(result.stdout)["by_labels"][0]["labels"] == 12
    assert "1 rows are left out: the configuration has no label '[/mixed]'" in result.stderr
    assert "1 rows are left out: they are test rows too" in result.stderr


@pytest.mark.parametrize("labels", ["", "ten", "20,0", "-5"])
def test_a_list_of_numbers_that_is_none_is_wrong_usage(scripted_llm: ScriptedLLM, tmp_path: Path, labels: str) -> None:
    result = invoke(scripted_llm, tmp_path, rows(4), "--labels", labels)
    assert result.exit_code == 2
    assert "is no list of numbers of labels" in result.stderr


@pytest.mark.parametrize("content", ["[]", '["good", 3]', '{"texts": ["a"]}', "Be kind.", '"Be kind."', "null"])
def test_candidates_that_are_no_list_are_wrong_usage(scripted_llm: ScriptedLLM, tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)
    result = invoke(scripted_llm, tmp_path, rows(4), "--candidates", str(tmp_path / "own.json"))
    assert result.exit_code == 2
    assert "is no JSON list of instructions" in " ".join(result.stderr.split())


@pytest.mark.parametrize("content", ['["Weigh it."]', '{"instructions": [{"text": "Weigh it."}]}'])
def test_candidates_come_as_texts_or_as_a_pool(scripted_llm: ScriptedLLM, tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)
    own = str(tmp_path / "own.json")
    result = invoke(scripted_llm, tmp_path, rows(20, test=10), "--labels", "16", "--candidates", own)
    assert result.exit_code == 0, result.output
