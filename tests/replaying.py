"""What the tests of replays are made of: rows in a file, a student on the scripted server whose answers lean."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from backend.labeling import schema as schemas
from backend.labeling.embedding import Embedder
from backend.labeling.labeler import Limits
from tests.labeling.building import SENTIMENT, connected
from tests.scripted_llm import ScriptedLLM
from tests.scripted_llm.answers import frame_and_task
from worker.simulation.student import MeteredEngine, Student

SCHEMA = schemas.parse(SENTIMENT)
LIKED = ("love", "great", "good", "excellent")
DISLIKED = ("hate", "bad", "terrible", "awful")


def row(number: int, label: str, *, split: str = "train") -> dict[str, Any]:
    """A text with a word of its label among many that tell nothing."""
    rng = random.Random(number)
    told = {"positive": rng.choice(LIKED), "negative": rng.choice(DISLIKED), "neutral": "box"}[label]
    filler = " ".join(rng.choice(("it", "was", "the", "phone", "case", "today", "again")) for _ in range(5))
    return {"id": f"{split}-{number}", "text": f"{filler} {told} number {number}", "label": label, "split": split}


def rows(count: int, *, test: int = 0, labels: Sequence[str] = ("positive", "negative")) -> list[dict[str, Any]]:
    """Labels in turn; the test rows come last."""
    train = [row(i, labels[i % len(labels)]) for i in range(count)]
    return train + [row(1000 + i, labels[i % len(labels)], split="test") for i in range(test)]


def write(path: Path, items: Sequence[Mapping[str, Any] | str]) -> Path:
    """A string stands as it is."""
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def leaning(prompt: str) -> dict[str, float]:
    """Knows what it reads, but leans to negative so hard that it says nothing else: taking the bias away mends it."""
    _, task = frame_and_task(prompt)
    if any(word in task for word in LIKED):
        return {"negative": 0.6, "positive": 0.35, "neutral": 0.05}
    return {"negative": 0.9, "positive": 0.05, "neutral": 0.05}


@contextmanager
def student(llm: ScriptedLLM, config: str = SENTIMENT, embedder: Embedder | None = None) -> Iterator[Student]:
    with connected(llm) as engine:
        meter = MeteredEngine(engine, sleep=lambda _: None)
        with closing(Student(meter, schemas.parse(config), Limits(), threads=4, embedder=embedder)) as made:
            yield made
