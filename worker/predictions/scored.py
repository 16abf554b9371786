"""The scores of all of a project's tasks, and why people were asked for some of their labels, as Redis has them."""

from collections.abc import Sequence

from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance import served
from worker.predictions.frame import ProjectScores
from worker.queue.store import QueueStore

_NEARLY_ALL = 0.9


def scores(service: Service, to: Target, versions: Sequence[str]) -> ProjectScores | None:
    """`versions` are names, the active one first. None before the first prediction. Label Studio is not asked: tasks
    that were deleted there count on."""
    project, schema = to.record.key, to.current.schema
    name = _predicted_most(service, project, versions)
    if not name:
        return None
    texts = dict(served.kept(service, project, name))
    drawn = QueueStore(service.redis).drawn(project)
    return ProjectScores(
        version=name,
        by_data={data_hash: served.parse(schema, text).scored.score for data_hash, text in texts.items()},
        tasks=max(to.task_number, len(texts)),
        blind_share=service.settings.blind_share,
        chosen=frozenset(task for task, each in drawn.items() if each.chosen),
    )


def _predicted_most(service: Service, project: str, versions: Sequence[str]) -> str:
    """The first that nearly as many tasks have a prediction of as of any: right after a swap that is not the active one
    yet, and for telling hard tasks from easy ones any will do. Empty where there is none."""
    kept = {name: service.store.predictions_kept(project, name) for name in versions}
    most = max(kept.values(), default=0)
    return next((name for name in versions if kept[name] > _NEARLY_ALL * most), "")
