"""The local LLMs, zero-shot, with Whetstone's own prompt, in both styles."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from backend.labeling.engines.base import Usage
from backend.labeling.engines.weights import CARRIED, WeightsError, weights
from backend.labeling.prompt import Style
from backend.settings import load
from demo.reviews import DATA
from tests.benchmarks.figures import Row, Section
from tests.benchmarks.labelling import LABELS, Labelled, label, mean
from tests.benchmarks.neighbours import Endpoint, local_llm

ROWS, ROWS_QUICK = 240, 12
STYLES: tuple[Style, ...] = ("text", "chat")


@dataclass(frozen=True, slots=True)
class Model:
    """`local_model` is what LOCAL_MODEL would hold."""

    name: str
    local_model: str
    licence: str


MODELS = (
    Model("SmolLM2-135M-Instruct, Q4_0", "smollm2-135m", "Apache-2.0"),
    Model("Gemma-3-270m (base), Q4_K_M", "gemma3-270m", "Gemma"),
)


def run(say: Callable[[str], None], *, quick: bool, files: Sequence[Path] = ()) -> list[Section]:
    """`files` are GGUF files to measure too."""
    rows, notes = [], []
    for model in (*_as_carried(), *MODELS, *(Model(path.name, str(path), "its own") for path in files)):
        try:
            path = weights(model.local_model, load().whetstone_home / "models")
        except WeightsError as error:
            notes.append(f"{model.name} is left out: {error}")
            continue
        with local_llm(str(path)) as endpoint:
            for style in STYLES:
                say(f"models: {model.name}, {style}")
                rows.append(
                    {"model": model.name, **_row(endpoint, style, ROWS_QUICK if quick else ROWS), **_file(model, path)}
                )
    return [Section("Local LLMs, zero-shot, negative or positive Amazon sentences (train half)", rows, notes=notes)]


def _as_carried() -> list[Model]:
    """The default's weights before they are requantized."""
    package, file = CARRIED["smollm2-135m"].parts[0]
    path = metadata.distribution(package).locate_file(file)
    return [Model("SmolLM2-135M-Instruct, Q4_1 as carried", str(path), "Apache-2.0")]


def _file(model: Model, path: Path) -> Row:
    return {"MB": path.stat().st_size / 1e6, "licence": model.licence}


def _row(endpoint: Endpoint, style: Style, count: int) -> Row:
    texts, humans = _rows(count)
    engine = endpoint.engine()
    label(engine, texts[:8], style=style)
    began = time.monotonic()
    found = label(engine, texts, style=style)
    seconds = time.monotonic() - began
    scored = [(one, human) for one, human in zip(found, humans, strict=True) if one.positive is not None]
    return {
        "style": style,
        "accuracy": mean(one.label == human for one, human in zip(found, humans, strict=True)),
        "bias removed": _at_the_median(scored, len(found)),
        "AUROC": _auroc(scored),
        "label mass": mean(one.prediction.result[0]["whetstone"]["label_mass"] for one, _ in scored if one.prediction),
        "calls a task": mean(one.prediction.calls for one, _ in scored if one.prediction),
        "cached": _cached_share(found),
        "tasks a second": count / seconds,
    }


def _cached_share(found: Sequence[Labelled]) -> float:
    """Of all prompt tokens."""
    used = sum((one.prediction.usage for one in found if one.prediction), Usage())
    return used.cached_tokens / max(1, used.prompt_tokens)


def _rows(count: int) -> tuple[list[str], list[str]]:
    with DATA.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if row["split"] == "train" and row["label"] in LABELS][:count]
    return [row["text"] for row in kept], [row["label"] for row in kept]


def _at_the_median(scored: Sequence[tuple[Labelled, str]], count: int) -> float:
    """Accuracy when the median task is the border: what removing the class bias would give at most on even classes."""
    if not scored:
        return 0.0
    border = sorted(one.positive or 0.0 for one, _ in scored)[len(scored) // 2]
    return sum(LABELS[(one.positive or 0.0) >= border] == human for one, human in scored) / count


def _auroc(scored: Sequence[tuple[Labelled, str]]) -> float:
    """Share of (positive, negative) pairs in the right order, ties counting one half."""
    high = [one.positive or 0.0 for one, human in scored if human == LABELS[1]]
    low = [one.positive or 0.0 for one, human in scored if human == LABELS[0]]
    return mean((a > b) + 0.5 * (a == b) for a in high for b in low)
