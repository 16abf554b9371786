"""What a person does in Label Studio before a model comes: make a project and import tasks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from label_studio_sdk import LabelStudio

from demo.reviews import CONFIG, Review


@dataclass(frozen=True, slots=True)
class Prediction:
    task: int
    label: str
    score: float
    version: str


class ReviewProject:
    """The project of that title, made when it is not there."""

    def __init__(self, url: str, token: str, title: str) -> None:
        self._sdk = LabelStudio(base_url=url, api_key=token)
        found = [project for project in self._sdk.projects.list() if project.title == title]
        project = found[0] if found else self._sdk.projects.create(title=title, label_config=CONFIG)
        self.id = int(project.id or 0)

    def import_reviews(self, rows: Sequence[Review]) -> dict[str, int]:
        """Those that are not there yet; task ids by review id. The human labels stay outside."""
        there = self._tasks()
        missing = [{"text": row.text, "review": row.id} for row in rows if row.id not in there]
        if missing:
            self._sdk.projects.import_tasks(self.id, request=missing)
        return self._tasks() if missing else there

    def _tasks(self) -> dict[str, int]:
        listed = self._sdk.tasks.list(project=self.id, page_size=500)
        return {str(task.data["review"]): int(task.id) for task in listed}

    def annotated(self) -> set[int]:
        """Ids of the tasks that have an annotation."""
        listed = self._sdk.tasks.list(project=self.id, page_size=500)
        return {int(task.id) for task in listed if task.total_annotations}

    def annotate(self, task: int, label: str) -> None:
        """As a person who reads the task and decides."""
        item = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        self._sdk.annotations.create(id=task, result=[item], lead_time=4.0)

    def predictions(self, version: str) -> Iterator[Prediction]:
        for row in self._sdk.predictions.list(project=self.id):
            if row.model_version == version and row.result:
                label = row.result[0]["value"]["choices"][0]
                yield Prediction(int(row.task), label, float(row.score or 0), version)
