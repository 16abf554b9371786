"""Asking the recorded model: from the recording, else from the local LLM, which is started when it is first needed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from backend.calls.embedding import make_embedder
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.engines.weights import CARRIED, WeightsError, join_parts, weights
from backend.labeling.errors import AnswerError, BudgetError, TaskError
from backend.labeling.labeler import Labeler, Limits
from backend.labeling.prompt import Prompt
from backend.settings import Settings, load
from tests.benchmarks.neighbours import local_llm
from tests.benchmarks.optimizer.cells import ROOT, Cell
from tests.benchmarks.optimizer.recording import Recording
from worker.calls.evaluations import prompt_key
from worker.calls.teacher import make_wire, request_for
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome

LIMITS = Limits()
THREADS = 2  # with more the local LLM does less in a second: each reads a new prompt's static part once
PEERS = ROOT / ".bench" / "peers"
RECORDINGS = Path(__file__).parent / "recordings"
_KEY_DIGITS = 10

Teacher = Callable[[str], str]


class NotRecordedError(RuntimeError):
    """Something was asked that stands in no recording, and the model may not be asked."""


class Model:
    """One cell's local model behind its recording. With a `teacher` each arm writes its own instructions, else all draw
    from the pool. `cold` are the evaluations that the model itself made, and the
    seconds that they took."""

    def __init__(self, cell: Cell, recording: Recording, *, live: bool, teacher: Teacher | None = None) -> None:
        self.cell = cell
        self.recording = recording
        self.teacher = teacher
        self.cold, self.cold_s = 0, 0.0
        self._live = live
        self._running = ExitStack()
        self._labeler: Labeler | None = None
        self._pool = ThreadPoolExecutor(THREADS)

    def close(self) -> None:
        self.recording.flush()
        self._pool.shutdown()
        self._running.close()

    def keys(self, prompt: Prompt, examples: Sequence[Example]) -> list[str]:
        name = prompt_key(prompt, self.cell.schema.config_hash, self.cell.model, "", LIMITS)[:_KEY_DIGITS]
        return [f"{name}{self.cell.schema.data_hash(example.data)[:_KEY_DIGITS]}" for example in examples]

    def ask(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        keys = self.keys(prompt, examples)
        found = [self.recording.outcome(key, self.cell.schema, e) for key, e in zip(keys, examples, strict=True)]
        missing = {key: e for key, e, known in zip(keys, examples, found, strict=True) if known is None}
        if missing:
            self._record(prompt, missing)
            found = [self.recording.outcome(key, self.cell.schema, e) for key, e in zip(keys, examples, strict=True)]
        return [outcome for outcome in found if outcome is not None]

    def _record(self, prompt: Prompt, missing: dict[str, Example]) -> None:
        labeler = self._started()
        began = time.monotonic()

        def record(key: str, example: Example) -> None:
            self.recording.keep(key, _answered(labeler, self.cell, prompt, example))

        list(self._pool.map(record, missing.keys(), missing.values()))
        self.cold += len(missing)
        self.cold_s += time.monotonic() - began

    def _started(self) -> Labeler:
        if not self._live:
            raise NotRecordedError(
                f"{self.cell.name}: the recording lacks an answer; run without --replay to record it"
            )
        if self._labeler is None:
            endpoint = self._running.enter_context(local_llm(str(weights_of(self.cell.model))))
            self._labeler = Labeler(endpoint.engine(), LIMITS, embedder=make_embedder(load()))
        return self._labeler


def recorded(cell: Cell, *, live: bool, folder: Path = RECORDINGS, teacher: Teacher | None = None) -> Model:
    """With the cell's own recording of the `folder`."""
    return Model(cell, Recording(folder / f"{cell.key}.{cell.model}.jsonl.gz"), live=live, teacher=teacher)


def _answered(labeler: Labeler, cell: Cell, prompt: Prompt, example: Example) -> Outcome:
    try:
        return Outcome(labeler.ask(prompt, cell.schema, example.data))
    except (AnswerError, TaskError) as error:
        return Outcome(None, str(error))


def teacher_of(settings: Settings) -> Teacher | None:
    """Only one that is named: what else is configured would be the student in service."""
    if not settings.teacher_model and not settings.teacher_base_url:
        return None
    engine = OpenAIEngine(make_wire(settings), settings.teacher_model)
    return lambda text: engine.complete(request_for(text, engine.capabilities, settings.llm_thinking_tokens)).text


def weights_of(model: str) -> Path:
    """As `LOCAL_MODEL` finds them, else in the peers' environment. Raises `WeightsError`."""
    folder = load().whetstone_home / "models"
    try:
        return weights(model, folder)
    except WeightsError:
        places = [str(path) for path in PEERS.glob("lib/python*/site-packages")]
        found = {one.name: one for one in metadata.distributions(path=places)}
        parts = [
            Path(str(found[package].locate_file(file))) for package, file in CARRIED[model].parts if package in found
        ]
        if len(parts) < len(CARRIED[model].parts):
            raise
        target = PEERS / f"{model}.gguf"
        if not target.exists():
            join_parts(parts, target.with_suffix(".unfinished"), lambda _share: None)
            target.with_suffix(".unfinished").replace(target)
        return target


@dataclass(slots=True)
class Run:
    """One arm's run: what it asks is paid from `budget`, in LLM calls; asking again what it asked before is free."""

    model: Model
    budget: int
    spent: int = 0
    _seen: dict[str, Outcome] = field(default_factory=dict)

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """Raises `BudgetError`."""
        keys = self.model.keys(prompt, examples)
        fresh = {key: e for key, e in zip(keys, examples, strict=True) if key not in self._seen}
        affordable = list(fresh.items())[: max(0, self.budget - self.spent)]
        for (key, _), outcome in zip(affordable, self.model.ask(prompt, [e for _, e in affordable]), strict=True):
            self._seen[key] = outcome
            self.spent += max(1, outcome.answers.calls) if outcome.answers else 1
        if len(affordable) < len(fresh):
            raise BudgetError(f"the budget of {self.budget} calls is used up")
        return [self._seen[key] for key in keys]
