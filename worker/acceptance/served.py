"""The predictions that a version has served, as the store keeps them: what acceptance goes by."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from backend.label_studio import LabelStudioClient, Task
from backend.labeling.prompt import PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.predictions.audit import is_audit
from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance.acceptable import Checked, Scored
from worker.labels.annotation_store import AnnotationStore
from worker.labels.examples import Example

_CHUNK = 500
_PAGE = 2000
_MOST_VERSIONS = 4


@dataclass(frozen=True, slots=True)
class Served:
    """`values` by control, none of them for "no label applies"."""

    scored: Scored
    values: Mapping[str, tuple[str, ...]] = field(repr=False)

    def agrees(self, truth: Mapping[str, tuple[str, ...]]) -> bool:
        return all(set(self.values[control]) == set(values) for control, values in truth.items())


def parse(schema: LabelingSchema, text: bytes) -> Served:
    stored: Mapping[str, Any] = json.loads(text)
    result = stored["result"]
    kinds = {item.get("whetstone", {}).get("score_kind") for item in result} - {None}
    values = {control.name: control.from_result(result) or () for control in schema.controls}
    return Served(Scored(float(stored["score"]), "votes" if "votes" in kinds else next(iter(kinds), None)), values)


def versions(service: Service, to: Target) -> list[PromptVersion]:
    """The active one first, then those active before it under the same labeling configuration, each once."""
    project = to.record.key
    active = service.store.active(project) or to.current.version
    names = dict.fromkeys([active.name, *(each.version for each in service.store.activations(project))])
    found = [service.store.version(project, name) for name in names]
    same = [version for version in found if version and version.config_hash == active.config_hash]
    return same[:_MOST_VERSIONS]


def audited(service: Service, project: str, examples: Iterable[Example]) -> frozenset[str]:
    """Ids of those in the audit slice."""
    share = service.settings.audit_share
    return frozenset(each.id for each in examples if is_audit(project, each.id, share))


def of(
    service: Service, project: str, version: str, schema: LabelingSchema, data: Sequence[Mapping[str, Any]]
) -> list[Served | None]:
    """In the order of `data`; None where none is kept."""
    hashes = [schema.data_hash(each) for each in data]
    found: list[Served | None] = []
    for start in range(0, len(hashes), _CHUNK):
        texts = service.store.predictions(project, version, hashes[start : start + _CHUNK])
        found += [parse(schema, text) if text is not None else None for text in texts]
    return found


def untouched(service: Service, client: LabelStudioClient, to: Target) -> Iterator[tuple[Task, Served | None]]:
    """The tasks that nobody has annotated or skipped, each with its prediction of the active version. With no more than
    a page of tasks' data in memory."""
    tasks = client.untouched(to.project_id, page_size=_PAGE)
    while page := list(islice(tasks, _PAGE)):
        data = [task.data for task in page]
        found = of(service, to.record.key, to.current.version.name, to.current.schema, data)
        yield from zip(page, found, strict=True)


def checked(examples: Sequence[Example], found: Sequence[Served | None], schema: LabelingSchema) -> list[Checked]:
    """Of the examples that have a prediction, and a truth for all that its score is about."""
    names = {control.name for control in schema.controls}
    return [
        Checked(each.scored, each.agrees(example.truth), blind=example.shown is None)
        for example, each in zip(examples, found, strict=True)
        if each and names <= example.truth.keys()
    ]


def open_scores(service: Service, project: str, version: str, schema: LabelingSchema) -> list[Scored]:
    """Of all data predicted by `version` that no annotation is about, without asking Label Studio: tasks that were
    deleted there count on, tasks with the same data are one, and right after a swap there are few."""
    labelled = {schema.data_hash(task.data) for task in AnnotationStore(service.redis).tasks(project)}
    found = dict(kept(service, project, version))
    return [parse(schema, text).scored for key, text in found.items() if key not in labelled]


def kept(service: Service, project: str, version: str) -> Iterator[tuple[str, bytes]]:
    cursor, begun = 0, False
    while cursor or not begun:
        cursor, page = service.store.scan_predictions(project, version, cursor)
        begun = True
        yield from page.items()
