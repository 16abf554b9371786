"""Teachers that write nonsense, refuse or go down; and what a teacher, and the log, get to see of tasks and keys."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import cycle

import pytest

from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration
from tests.flows.conftest import Learner, Logs
from tests.flows.label_studio_stub import KEY
from tests.flows.learning import texts
from tests.flows.payloads import PROJECT
from tests.scripted_llm import Fault, ScriptedLLM

LABELS = 60  # from which on a teacher is asked
STUDENTS_KEY, TEACHERS_KEY = "sk-student-5261", "sk-teacher-9034"

NONSENSE = [
    "",
    "I am sorry, I cannot help with that.",
    "Sure! {instruction: decide} and then {",
    "{" * 5000,
    json.dumps({"instruction": "", "definition": "", "rules": ["", " "]}),
    json.dumps({"instruction": 7, "definition": ["x"], "rules": "be good"}),
    json.dumps({"instruction": "word" * 12_500, "definition": "word" * 12_500, "rules": ["word" * 12_500]}),
    json.dumps({"instruction": "\ud800 {broken} %s", "definition": "\ud800", "rules": ["\ud800"]}),
    json.dumps({"instruction": "\0\x1b[31m", "definition": "\0", "rules": ["\0"]}),
    json.dumps({"instruction": "Antworte auf Deutsch: gut?", "definition": "gut", "rules": ["Immer positiv."]}),
    json.dumps({"instruction": "Say positive.", "definition": "all", "rules": ["negative does not exist"]}),
    json.dumps({"instruction": texts(2)[1], "definition": texts(2)[1], "rules": [texts(2)[1]]}),
]


@pytest.fixture
def teacher() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(answer=lambda _: {json.dumps({"rules": ["Decide by the tone."]}): 1.0}) as llm:
        yield llm


@pytest.fixture
def learn_settings(
    learn_settings: dict[str, str], teacher: ScriptedLLM, request: pytest.FixtureRequest
) -> dict[str, str]:
    """Parameters are more settings."""
    more: dict[str, str] = getattr(request, "param", {})
    keys = {"openai_api_key": STUDENTS_KEY, "teacher_api_key": TEACHERS_KEY}
    calls = {"run_max_calls": "1000"}  # room for the templates beside what the teacher writes
    return {**learn_settings, **keys, **calls, "teacher_base_url": teacher.base_url, **more}


def asked(teacher: ScriptedLLM) -> list[str]:
    """The requests that are the runs' own, whole."""
    return [
        json.dumps(each.body) for each in teacher.requests if "You improve the instruction" in json.dumps(each.body)
    ]


def answering(llm: ScriptedLLM, answers: list[str]) -> None:
    """One after the other, whatever is asked."""
    turn = cycle(answers)
    given: dict[str, str] = {}

    def answer(prompt: str) -> Mapping[str, float]:
        return {given.setdefault(prompt, next(turn)): 1.0}

    llm.change(answer=answer, off_label=0.0)


@pytest.mark.parametrize("first", [0, 6])
def test_a_teacher_that_writes_nonsense_breaks_no_run(learn: Learner, teacher: ScriptedLLM, first: int) -> None:
    answering(teacher, NONSENSE[first:])
    run = learn(LABELS)
    assert (run.state, run.decision) == ("done", "published")
    assert run.spend.teacher_calls == len(asked(teacher)) >= 5
    active = learn.service.store.active(PROJECT)
    assert active
    assert "sentiment of the text" in active.prompt.instruction


@pytest.mark.parametrize("fault", [Fault(401), Fault(spoil="drop"), Fault(spoil="html")], ids=str)
def test_a_teacher_that_gives_no_answer_breaks_no_run(learn: Learner, teacher: ScriptedLLM, fault: Fault) -> None:
    teacher.change(faults=lambda *_: fault)
    run = learn(LABELS)
    assert (run.state, run.decision) == ("done", "published")


@pytest.mark.parametrize("learn_settings", [{"teacher_sees": "summary"}], indirect=True)
def test_a_teacher_that_sees_a_summary_sees_no_text(learn: Learner, teacher: ScriptedLLM) -> None:
    show_texts(learn)
    learn(LABELS)
    requests = asked(teacher)
    assert len(requests) >= 5
    assert leaks(requests) == []


def test_a_teacher_that_sees_examples_sees_texts(learn: Learner, teacher: ScriptedLLM) -> None:
    learn(LABELS)
    assert leaks(asked(teacher))


def test_no_key_and_no_text_is_logged(learn: Learner, teacher: ScriptedLLM, logged: Logs) -> None:
    answering(teacher, NONSENSE)
    run = learn(LABELS)
    assert run.spend.teacher_calls
    lines = [json.dumps(line, default=str) for line in logged() if line["level"] != "debug"]
    assert len(lines) >= 5
    assert leaks(lines) == []
    keys = (KEY, STUDENTS_KEY, TEACHERS_KEY, *tokens(learn.webhook))
    assert [line for line in lines for key in keys if key in line] == []


def tokens(webhook: object) -> list[str]:
    """What a recorded event holds under such a name."""
    if isinstance(webhook, dict):
        named = [value for name, value in webhook.items() if "token" in name and isinstance(value, str) and value]
        return [*named, *(found for value in webhook.values() for found in tokens(value))]
    return []


def leaks(lines: list[str]) -> list[str]:
    """Those that quote four words or more of a text in a row, or its number."""
    marks = [" ".join(text.split()[:4]) for text in texts(6)] + [f"No {number}." for number in range(140)]
    return [line for line in lines if any(mark in line for mark in marks)]


def show_texts(learn: Learner) -> None:
    """The active prompt shows labelled texts."""
    active = learn.service.store.active(PROJECT)
    assert active
    shown = tuple(
        Demonstration((Value("text", text),), {"sentiment": (("positive", "negative")[number % 2],)})
        for number, text in enumerate(texts(4))
    )
    prompt = replace(active.prompt, demonstrations=shown)
    version = replace(active, name="p0009-aaaa", prompt=prompt, origin="test")
    assert learn.service.store.publish(PROJECT, version, active.name, by="a person")
