"""What the local model said, kept so that the comparison is replayed without it: one JSON array a line, gzipped.

`[key, [[log-probs, label mass, censored labels' places] a question], [prompt, cached, generated tokens, calls]]`, or
`[key, "failure"]`. The key names all that the answer depends on, so a prompt whose rendering changed is asked anew.
"""

import gzip
import json
import math
import threading
from pathlib import Path
from typing import Any

from backend.labeling.answers import Distribution, TaskAnswers
from backend.labeling.calibration import LEAST, softmax
from backend.labeling.engines.base import Usage
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome

_FLUSH_AFTER = 200


class Recording:
    """Grows by appending whole gzip members, so that what was recorded survives a kill but for the last few calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unsaved: list[str] = []
        self._rows: dict[str, Any] = {}
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                self._rows = {row[0]: row[1:] for row in map(json.loads, lines)}

    def __len__(self) -> int:
        return len(self._rows)

    def outcome(self, key: str, schema: LabelingSchema, example: Example) -> Outcome | None:
        row = self._rows.get(key)
        return None if row is None else _decoded(row, schema, example)

    def keep(self, key: str, outcome: Outcome) -> None:
        """What is read back is what was kept, rounded: cold and replayed runs see the same numbers."""
        row = _encoded(outcome)
        with self._lock:
            self._rows[key] = row
            self._unsaved.append(json.dumps([key, *row], separators=(",", ":")))
            full = len(self._unsaved) >= _FLUSH_AFTER
        if full:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            if not self._unsaved:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(self._path, "at", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in self._unsaved)
            self._unsaved.clear()


def _encoded(outcome: Outcome) -> list[Any]:
    if outcome.answers is None:
        return [outcome.failure]
    questions = []
    for found in outcome.answers.distributions.values():
        logps = [round(math.log(max(p, LEAST)), 3) for p in found.probabilities]
        questions.append([logps, round(found.label_mass, 4), [found.labels.index(label) for label in found.censored]])
    usage = outcome.answers.usage
    spent = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, outcome.answers.calls]
    return [questions, spent]


def _decoded(row: list[Any], schema: LabelingSchema, example: Example) -> Outcome:
    if len(row) == 1:
        return Outcome(None, row[0])
    distributions = {}
    asked = [question for control in schema.controls for question in control.questions(example.data)]
    for question, (logps, mass, censored) in zip(asked, row[0], strict=True):
        labels = tuple(label.value for label in question.labels)
        flagged = tuple(labels[i] for i in censored)
        distributions[question.key] = Distribution(labels, softmax(list(logps)), mass, flagged)
    *tokens, calls = row[1]
    return Outcome(TaskAnswers(distributions, usage=Usage(*tokens), calls=calls))
