"""`whetstone simulate` on real reviews, as a user runs it, from file to figures, with an LLM that can be mended."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demo.reviews import CONFIG, DATA
from tests.scripted_llm import ScriptedLLM
from tests.scripted_llm.answers import frame_and_task
from worker.cli.simulate import simulate

TRAIN, TEST = 80, 60
ROWS = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
PRAISES = [row["text"] for i, row in enumerate(ROWS) if row["label"] == "positive" and i % 6]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """The first clear sentences of each half, neutral ones among them, which the configuration does not know."""
    chosen = [row for row in ROWS if row["split"] == "train"][:TRAIN]
    chosen += [row for row in ROWS if row["split"] == "test"][:TEST]
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return path


def grumpy(prompt: str) -> Mapping[str, float]:
    """Tells the sides of most reviews apart, and calls all negative until that bias is removed."""
    _, text = frame_and_task(prompt)
    praises = any(praise in text for praise in PRAISES)
    return {"negative": 0.55, "positive": 0.45} if praises else {"negative": 0.95, "positive": 0.05}


def run(llm: ScriptedLLM, reviews: Path, *arguments: str) -> Result:
    llm.change(label=grumpy)
    config = reviews.with_name("labels.xml")
    config.write_text(CONFIG, encoding="utf-8")
    environment = {"OPENAI_BASE_URL": llm.base_url, "LLM_PROMPT_STYLE": "text", "LLM_CONCURRENCY": "16"}
    options = ["--config", str(config), "--labels", "15,50", "--budget", "400", *arguments]
    return CliRunner().invoke(simulate, [str(reviews), *options], env=environment)


def test_labels_of_real_reviews_mend_a_biased_model(scripted_llm: ScriptedLLM, reviews: Path) -> None:
    document = json.loads(run(scripted_llm, reviews, "--json").stdout)
    last = document["by_labels"][-1]
    assert last["labels"] == 50
    assert last["accuracy"] >= document["naive"]["accuracy"] + 0.1
    assert last["macro_f1"] > document["naive"]["macro_f1"]
    assert last["version"].startswith("p0002-")
    assert [each["labels"] for each in document["classic"]] == [15, 50]


def test_figures_verdicts_and_what_was_left_out_are_shown(scripted_llm: ScriptedLLM, reviews: Path) -> None:
    result = run(scripted_llm, reviews)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    for told in ("naive", "15 labels", "50 labels", "The run saw 50 labels.", "has no label 'neutral'"):
        assert told in shown
