"""Annotations as ground truth needs them, out of any shape in which Label Studio tells of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.labeling import reasons
from backend.labeling.schema import LabelingSchema, TextArea

Item = Mapping[str, Any]

# Label Studio sets both times of a new row some microseconds apart.
_EDITED = timedelta(seconds=1)
_MOST_RATIONALE = 2000
_ACCEPTED, _CHANGED = "prediction", "prediction-changed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is kept of a result: the values of these `controls`, or of all (None), and what stands in the TextArea
    `rationale`, which is no answer."""

    controls: frozenset[str] | None = None
    rationale: str = ""

    @classmethod
    def of(cls, schema: LabelingSchema, rationale: TextArea | None) -> "Wanted":
        return cls(frozenset(control.name for control in schema.controls), rationale.name if rationale else "")


_ALL = Wanted()


@dataclass(frozen=True, slots=True)
class ShownPrediction:
    """What the annotator started from. `version` is "" where only that something was shown is still known; `result`
    then holds what was accepted as it was."""

    version: str
    result: tuple[Item, ...] = field(repr=False)
    score: float | None = None
    rationale: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Annotation:
    """`result` holds nothing but name, type and value of each item; `origins` says of each control where its answer
    comes from (manual, prediction, prediction-changed), as far as Label Studio does.

    `copied`: the items are as a prediction has them, each with a score and no origin. `seen` names the content of the
    task's data at the last change. `shown` is None where no prediction was there to be seen. `rationale` is what stands
    in the rationale's TextArea, whoever wrote it.
    """

    unique_id: str
    task_id: int
    result: tuple[Item, ...] = field(repr=False)
    was_cancelled: bool
    ground_truth: bool
    completed_by: int | None
    created_at: datetime
    updated_at: datetime
    lead_time: float | None
    parent_prediction: int | None
    copied: bool
    origins: Mapping[str, str]
    shown: ShownPrediction | None
    seen: str = ""
    rationale: str = field(default="", repr=False)

    @property
    def reason(self) -> str:
        """The rationale where the annotator wrote or corrected it, "" where it is the prediction's."""
        return "" if self.shown and self.shown.rationale == self.rationale else self.rationale

    @property
    def unseen(self) -> bool:
        """A prediction that was made an annotation in bulk. An edit or a ground-truth flag is a person's doing."""
        made = self.parent_prediction is not None or self.copied
        edited = self.updated_at - self.created_at > _EDITED
        return made and self.lead_time is None and not edited and not self.ground_truth

    def remembering(self, before: "Annotation") -> "Annotation":
        """With what an earlier look saw and Label Studio forgets: deleting a prediction empties `parent_prediction`."""
        first = before.shown
        return replace(
            self,
            parent_prediction=self.parent_prediction or before.parent_prediction,
            shown=(self.shown or first) if first and not first.version else first,
            seen=before.seen if before.updated_at == self.updated_at else self.seen,
        )


@dataclass(frozen=True, slots=True)
class AnnotatedTask:
    """`data` holds the schema's keys only. An equal `stamp` means that nothing has changed."""

    id: int
    data: Mapping[str, Any] = field(repr=False)
    stamp: str
    annotations: tuple[Annotation, ...]

    def remembering(self, before: "AnnotatedTask | None") -> "AnnotatedTask":
        """An id that another task had before has other annotations, of which nothing is known."""
        known = {each.unique_id: each for each in before.annotations} if before else {}
        annotations = (
            each.remembering(known[each.unique_id]) if each.unique_id in known else each for each in self.annotations
        )
        return replace(self, annotations=tuple(annotations))


def parse(row: Mapping[str, Any], predictions: Iterable[Any] = (), wanted: Wanted = _ALL) -> Annotation:
    """From an export, a task list, `/api/tasks/ID` or a webhook. `predictions` are the task's, where the row comes with
    them; values of other than the wanted controls are emptied.

    Only exports and webhooks name a `unique_id`; for all others the task, the id and the time of creation take its
    place, since an id alone is given again after a deletion.
    """
    created_at, items = _moment(row["created_at"]), _dicts(row.get("result"))
    author = row.get("completed_by")
    return Annotation(
        unique_id=str(row.get("unique_id") or f"{row['task']}/{row['id']}@{row['created_at']}"),
        task_id=int(row["task"]),
        result=_result(items, wanted),
        was_cancelled=bool(row.get("was_cancelled")),
        ground_truth=bool(row.get("ground_truth")),
        completed_by=author.get("id") if isinstance(author, Mapping) else author,
        created_at=created_at,
        updated_at=_moment(row["updated_at"]),
        lead_time=row.get("lead_time"),
        parent_prediction=row.get("parent_prediction"),
        copied=_is_copied(items),
        origins={
            item["from_name"]: item["origin"] for item in items if _is_answer(item, wanted) and item.get("origin")
        },
        shown=_shown(row, items, _dicts(predictions), wanted),
        rationale=_rationale(items, wanted),
    )


def _is_copied(items: Sequence[Item]) -> bool:
    """A predicted rationale has no score of its own."""
    scored = [item for item in items if item.get("type") != "textarea"]
    return bool(scored) and all("score" in item for item in scored) and not any("origin" in item for item in items)


def scope(schema: LabelingSchema, rationale: TextArea | None = None) -> str:
    """Names what of tasks and annotations is kept; under another scope all must be read again."""
    told = ["|", rationale.name] if rationale else []
    return _short([*schema.keys, "|", *(control.name for control in schema.controls), *told])


def fingerprint(schema: LabelingSchema, data: Mapping[str, Any]) -> str:
    """Of what an annotator decides on: the keys, then their content."""
    return f"{_short(schema.keys)}-{schema.data_hash(data)}"


def _shown(row: Item, items: Sequence[Item], predictions: Sequence[Item], wanted: Wanted) -> ShownPrediction | None:
    """The prediction that the annotation was started from, else the one that Label Studio noted, else the last one
    before it: whoever opens such a task may see it, so its label must not pass for blind."""
    accepted = [item for item in items if item.get("origin") == _ACCEPTED]
    taken_over = _rationale(accepted, wanted)
    found = _started_from(row, predictions)
    if found is not None:
        result = _dicts(found.get("result"))
        told = _rationale(result, wanted) or taken_over
        return ShownPrediction(str(found.get("model_version") or ""), _result(result, wanted), found.get("score"), told)
    if row.get("parent_prediction") is None and not any(item.get("origin") in {_ACCEPTED, _CHANGED} for item in items):
        return None
    return ShownPrediction("", _result(accepted, wanted), rationale=taken_over)


def _started_from(row: Item, predictions: Sequence[Item]) -> Item | None:
    created_at, noted = _moment(row["created_at"]), row.get("prediction")
    earlier = [each for each in predictions if _moment(each["created_at"]) < created_at]
    found = next((each for each in predictions if each["id"] == row.get("parent_prediction")), None)
    found = found or (noted if isinstance(noted, Mapping) and noted else None)
    return found or max(earlier, key=lambda each: _moment(each["created_at"]), default=None)


def _rationale(items: Sequence[Item], wanted: Wanted) -> str:
    return reasons.read(items, wanted.rationale)[:_MOST_RATIONALE]


def _is_answer(item: Item, wanted: Wanted) -> bool:
    return not reasons.is_of(item, wanted.rationale)


def _result(items: Iterable[Item], wanted: Wanted) -> tuple[Item, ...]:
    """Items of other controls stay, without their values: that they are there tells that the result is not empty. That
    holds for no rationale, which comes with predictions of no label too."""
    return tuple(
        {
            "from_name": item["from_name"],
            "type": item.get("type"),
            "value": item["value"] if wanted.controls is None or item["from_name"] in wanted.controls else {},
        }
        for item in items
        if "from_name" in item and isinstance(item.get("value"), Mapping) and _is_answer(item, wanted)
    )


def _dicts(raw: Any) -> list[Item]:
    """An export lists predictions by id, and an API client may store any JSON as a result."""
    return [each for each in raw if isinstance(each, Mapping)] if isinstance(raw, (list, tuple)) else []


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _short(names: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:8]
