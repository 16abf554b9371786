"""`whetstone try`: an instruction that a person wrote, against the active prompt, to a verdict and under a name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt, PromptVersion
from backend.service import Service
from tests.commanding import Run, runner
from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.learning import particular, questions, texts, truth
from tests.flows.payloads import CONFIG, PROJECT, tasks
from tests.scripted_llm import ScriptedLLM

GOOD, USELESS = "Name the sentiment of the text.", "Guess."


@pytest.fixture
def whetstone(
    redis_url: str, scripted_llm: ScriptedLLM, label_studio: LabelStudioStub, pushes: dict[str, str], service: Service
) -> Run:
    scripted_llm.change(answer=particular)
    settings = {"REDIS_URL": redis_url, "OPENAI_BASE_URL": scripted_llm.base_url, "LLM_MODEL": "scripted-1"}
    return runner(**settings, **{k.upper(): v for k, v in pushes.items()}, BLIND_SHARE="0", LOG_LEVEL="WARNING")


@pytest.fixture
def annotated(label_studio: LabelStudioStub) -> Callable[[int], None]:
    def annotate(number: int) -> None:
        label_studio.add(*tasks(texts(number)))
        for index in range(number):
            label_studio.annotate(index + 1, truth(index))

    return annotate


def tried(whetstone: Run, *arguments: str) -> dict[str, object]:
    result = whetstone("try", "1", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)["run"]
    return found


def test_a_better_one_awaits_whoever_wrote_it(
    whetstone: Run, annotated: Callable[[int], None], service: Service
) -> None:
    annotated(40)
    before = service.current(PROJECT, CONFIG).version.name
    run = tried(whetstone, "--instruction", GOOD)
    assert (run["decision"], run["trigger"], run["active"]) == ("awaiting_approval", "trial", before)
    assert service.current(PROJECT, CONFIG).version.name == before
    assert whetstone("prompts", "activate", "1", str(run["challenger"])).exit_code == 0
    active = service.current(PROJECT, CONFIG).version
    assert (active.prompt.instruction, active.origin) == (GOOD, "an instruction written by hand")


def test_it_is_published_where_that_is_asked_for(
    whetstone: Run, annotated: Callable[[int], None], service: Service, tmp_path: Path
) -> None:
    annotated(40)
    (file := tmp_path / "mine.txt").write_text(f"\ufeff{GOOD}\n", encoding="utf-8")
    assert tried(whetstone, "--file", str(file), "--publish")["decision"] == "published"
    assert service.current(PROJECT, CONFIG).version.prompt.instruction == GOOD


def test_one_that_is_no_better_is_kept_and_may_be_used_all_the_same(
    whetstone: Run, annotated: Callable[[int], None], scripted_llm: ScriptedLLM
) -> None:
    annotated(30)
    result = whetstone("try", "1", "--instruction", USELESS)
    assert result.exit_code == 0, result.output
    assert "Not published" in result.stdout
    assert "no gain" in result.stdout
    assert "`whetstone prompts activate 1 p0" in result.stdout
    assert questions(scripted_llm) == 2 * 30


def test_demonstrations_stay_and_what_else_was_learned_in_words_goes(
    whetstone: Run, annotated: Callable[[int], None], service: Service
) -> None:
    annotated(30)
    active = service.current(PROJECT, CONFIG).version
    shown = (Demonstration((Value("text", "So good"),), {"sentiment": ("positive",)}),)
    learned = Prompt(
        "Label.", definitions={"positive": "likes it"}, rules=("Irony is negative.",), demonstrations=shown
    )
    version = PromptVersion.of(
        9, learned, config_hash=active.config_hash, model=active.model, origin="test", created_at=active.created_at
    )
    assert service.store.publish(PROJECT, version, active.name, by="a person")
    name = str(tried(whetstone, "--instruction", GOOD)["challenger"])
    made = service.store.version(PROJECT, name)
    assert made
    assert (made.prompt.instruction, made.prompt.demonstrations) == (GOOD, shown)
    assert (made.prompt.definitions, made.prompt.rules, made.parent) == ({}, (), version.name)


def test_each_trial_raises_what_the_next_gain_has_to_be_sure_of(
    whetstone: Run, annotated: Callable[[int], None]
) -> None:
    annotated(30)
    first, second = (whetstone("try", "1", "--instruction", text).stdout for text in ("Guess.", "Guess again."))
    assert "90% is asked for" in first
    assert "93% is asked for at the 2nd comparison" in second


def test_a_trial_takes_no_label_from_the_next_run(
    whetstone: Run, annotated: Callable[[int], None], service: Service
) -> None:
    annotated(30)
    tried(whetstone, "--instruction", USELESS)
    record = service.store.project(PROJECT)
    assert record
    assert record.labels is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "by --instruction or by --file, one of them"),
        (("--instruction", " "), "the instruction is empty"),
        (("--instruction", "x" * 20_001), "has 20,001 characters"),
        (("--file", "nowhere.txt"), "does not exist"),
    ],
)
def test_what_is_no_instruction_is_refused(whetstone: Run, arguments: tuple[str, ...], message: str) -> None:
    result = whetstone("try", "1", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_with_few_labels_the_verdict_says_so(whetstone: Run, annotated: Callable[[int], None]) -> None:
    annotated(4)
    result = whetstone("try", "1", "--instruction", GOOD)
    assert (result.exit_code, "Too few labels" in result.stdout) == (0, True), result.output
