"""Reasons after the labels: open tasks whose label scores low get one, so that labelling itself stays fast."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from backend.calls.lanes import Failure
from backend.calls.patience import Deadline
from backend.label_studio import LabelStudioClient, TaskRow
from backend.labeling import reasons
from backend.labeling.errors import EngineUnreachableError
from backend.labeling.schema import TextArea
from backend.predictions.batch import Explaining
from backend.projects.pushing import Target
from backend.service import Service

_log = structlog.get_logger(__name__)

_PAGE = 500
_BATCH = 16
_CALL_S = 30.0

Stored = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Due:
    """A prediction as it is in Label Studio, with its task."""

    id: int
    row: TaskRow
    data_hash: str
    prediction: Mapping[str, Any]


def explain(service: Service, client: LabelStudioClient, to: Target, *, below: float, deadline: Deadline) -> bool:
    """Gives open tasks whose prediction of the active version scores less than `below` a reason, the lowest first; True
    when the time was up before all had theirs.

    A prediction keeps its id and its labels: people see no second one. What an annotation may have been started from
    stays as it is. Raises `LabelStudioError`, and `EngineUnreachableError` when some must wait; what was explained
    until then is done.
    """
    area = service.rationale_area(to.current.schema)
    if area is None:
        control = service.settings.rationale_control
        _log.warning("no reasons: the configuration has no TextArea for them", project=to.record.key, control=control)
        return False
    explainer = _Explainer(service, client, to, area, below)
    groups, given, waiting, begun = explainer.lacking(), 0, "", 0
    while begun < len(groups) and (not begun or deadline.left_s > 0):  # looking for them may take all the time
        more_given, reason = explainer.give([task_id for group in groups[begun : begun + _BATCH] for task_id in group])
        given, waiting, begun = given + more_given, waiting or reason, begun + _BATCH
    _log.info("reasons given", project=to.record.key, version=to.current.version.name, predictions=given)
    if waiting:
        raise EngineUnreachableError(f"some labels have no reason yet: {waiting}")
    return begun < len(groups) and given > 0  # an LLM that gives none is not asked on and on


@dataclass(frozen=True, slots=True)
class _Explainer:
    service: Service
    client: LabelStudioClient
    to: Target
    area: TextArea
    below: float

    def lacking(self) -> list[list[int]]:
        """Ids of open tasks whose prediction lacks a reason, as far as the store knows; those with equal data together,
        by rising score. What the store does not know comes last."""
        scores: dict[str, float] = {}
        ids: dict[str, list[int]] = defaultdict(list)
        for task_id, data_hash, stored in self._open():
            score = stored["score"] if stored else 1.0
            if not stored or (score < self.below and "rationale" not in stored):
                scores[data_hash] = score
                ids[data_hash].append(task_id)
        return [ids[data_hash] for data_hash in sorted(ids, key=lambda each: (scores[each], ids[each]))]

    def _open(self) -> Iterator[tuple[int, str, Stored | None]]:
        """With no more than a page of tasks in memory."""
        tasks = self.client.tasks(self.to.project_id, page_size=_PAGE)
        while page := list(islice(tasks, _PAGE)):
            wanted = [task for task in page if not task.labelled and self._version in task.versions]
            hashes = [self.to.current.schema.data_hash(task.data) for task in wanted]
            stored = self._stored(hashes)
            for task, data_hash in zip(wanted, hashes, strict=True):
                yield task.id, data_hash, stored.get(data_hash)

    def give(self, task_ids: Sequence[int]) -> tuple[int, str]:
        """How many predictions have got a reason, and why one has to wait, "" where none does.

        A reason is stored once Label Studio has it: until then the prediction counts as not explained. One for which
        there is no reason is not asked for again.
        """
        due = [each for row in self.client.task_rows(self.to.project_id, task_ids) for each in self._due(row)]
        kept = self._stored([each.data_hash for each in due])
        predictions = {each.data_hash: kept.get(each.data_hash) or _storable(each.prediction) for each in due}
        found = self._reasons(predictions, {each.data_hash: each.row.data for each in due})
        waiting = {key: each for key, each in found.items() if isinstance(each, Failure) and each.retryable}
        said = {key: "" if isinstance(each, Failure) else each for key, each in found.items() if key not in waiting}
        given = sum(self._show(each, said[each.data_hash]) for each in due if said.get(each.data_hash))
        rows = {key: json.dumps({**predictions[key], "rationale": reason}).encode() for key, reason in said.items()}
        self.service.store.keep_predictions(self.to.record.key, self._version, rows)
        return given, next((each.reason for each in waiting.values()), "")

    def _due(self, row: TaskRow) -> Iterator[_Due]:
        """None where somebody has annotated the task."""
        for each in () if row.annotations else row.predictions:
            result, score = each.get("result"), each.get("score")
            if each.get("model_version") != self._version or not isinstance(result, list) or score is None:
                continue
            if score < self.below and not any(reasons.is_of(item, self.area.name) for item in result):
                yield _Due(int(each["id"]), row, self.to.current.schema.data_hash(row.data), each)

    def _reasons(
        self, predictions: Mapping[str, Stored], tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, str | Failure]:
        """All by data hash: what is stored, else what the LLM says."""
        known = {key: str(each["rationale"]) for key, each in predictions.items() if "rationale" in each}
        asked = {key: data for key, data in tasks.items() if key not in known}
        deadline = Deadline.after(_CALL_S * max(4, len(asked)))
        explaining = Explaining(self.to.current.version, self.to.current.schema, predictions, deadline)
        return {**known, **self.service.batches.explain(explaining, asked)}

    def _show(self, due: _Due, rationale: str) -> bool:
        prediction = {**_storable(due.prediction), "rationale": rationale}
        return self.client.set_result(due.id, due.row.id, reasons.shown(prediction, self.area, due.data_hash)["result"])

    def _stored(self, hashes: Sequence[str]) -> dict[str, Stored]:
        found = self.service.store.predictions(self.to.record.key, self._version, hashes)
        return {key: json.loads(text) for key, text in zip(hashes, found, strict=True) if text}

    @property
    def _version(self) -> str:
        return self.to.current.version.name


def _storable(prediction: Mapping[str, Any]) -> Stored:
    return {name: prediction[name] for name in ("result", "score", "model_version")}
