"""The jobs that RQ runs, each in a process of its own. Arguments and results are JSON."""

from datetime import UTC, datetime
from functools import lru_cache

import structlog
from rq import Retry, get_current_job

from backend import settings
from backend.calls.patience import Deadline
from backend.labeling.errors import BudgetError, EngineError, EngineUnreachableError, SchemaError
from backend.projects import pushing
from backend.projects.pushing import ProjectGoneError
from backend.queue.run_lock import RunningError
from backend.service import Service
from backend.settings import Settings
from backend.storage.alarms import Alarm
from worker.predictions import explain as explaining
from worker.predictions import relabel
from worker.runs import follow as following
from worker.runs import learn
from worker.watching import watch as watching

_log = structlog.get_logger(__name__)
_MOST_WAITS, _WAIT_S = 1000, 60
_EXPLAINING_S = 30.0  # new tasks wait no longer for their labels


def label_project(project: str) -> int:
    """Splits what lacks a prediction of the active version into chunks for all workers, what is likeliest to change
    first; returns how many tasks."""
    service = _service()
    seen = service.dispatch.request(project, "label_project").revision
    client = pushing.make_client(service.settings)
    to = pushing.target(service, client, _id(project), key=project)
    ids = relabel.in_order(service, client, to)
    if ids:
        service.store.begin_bulk(project, to.current.version.name, len(ids))
        service.dispatch.label_tasks(project, ids, chunk=service.settings.chunk_tasks)
    else:
        pushing.settle_title(service, client, to)
        service.dispatch.touch(project, "prune")
        service.explain_labels(project)
    service.dispatch.settle(project, "label_project", seen)
    return len(ids)


def prune(project: str) -> bool:
    """Deletes predictions of older versions, a part at a time, so that other work comes in between."""
    service = _service()
    seen = service.dispatch.request(project, "prune").revision
    client = pushing.make_client(service.settings)
    to = pushing.target(service, client, _id(project), key=project)
    more = relabel.prune(service, client, to)
    if more:
        service.dispatch.touch(project, "prune")
    service.dispatch.settle(project, "prune", seen)
    return more


def explain(project: str) -> bool:
    """Reasons for the labels of open tasks that score low, a part at a time, so that other work comes in between."""
    service = _service()
    seen = service.dispatch.request(project, "explain").revision
    client = pushing.make_client(service.settings)
    to = pushing.target(service, client, _id(project), key=project)
    deadline = Deadline.after(_EXPLAINING_S)
    more = explaining.explain(service, client, to, below=service.settings.explain_below, deadline=deadline)
    if more:
        service.dispatch.touch(project, "explain")
    service.dispatch.settle(project, "explain", seen)
    return more


def follow(project: str) -> dict[str, int]:
    """Reads what annotators decided, and asks for a run when it is enough; now and then also which tasks no event told
    of. A project that is gone, or that cannot be labelled, is no failure: trying again would not help."""
    service = _service()
    request = service.dispatch.request(project, "follow")
    client = pushing.make_client(service.settings)
    found = None
    try:
        to = pushing.target(service, client, _id(project), key=project)
        whole = request.trigger == "reconcile"
        found = following.follow(service, client, to, whole=whole)
        if whole:
            relabel.catch_up(service, client, to)
    except (ProjectGoneError, SchemaError) as error:
        _log.warning("annotations are not read", project=project, reason=str(error))
    service.dispatch.settle(project, "follow", request.revision)
    return {"labels": found.labels, "errors": found.errors} if found else {}


def watch(project: str) -> list[str]:
    """Looks for drift; returns the kinds of alarms. An endpoint that is away is asked again later, then tomorrow; so is
    one that nobody pays for this month."""
    service = _service()
    seen = service.dispatch.request(project, "watch").revision
    found: tuple[Alarm, ...] = ()
    try:
        client = pushing.make_client(service.settings)
        to = pushing.target(service, client, _id(project), key=project)
        found = watching.watch(service, client, to, datetime.now(UTC))
    except (BudgetError, EngineError, ProjectGoneError, SchemaError) as error:
        if error.retryable and not _is_last_try():
            raise
        _log.warning("drift may go unseen today", project=project, reason=str(error))
    service.dispatch.settle(project, "watch", seen)
    return [alarm.kind for alarm in found]


def optimize(project: str) -> dict[str, str | None] | Retry:
    """A run, unless another has learned from these labels meanwhile, or just a test of what a run published; it waits
    for a run that is under way. What may pass by itself raises, so that RQ tries again, the last time with a record
    that says so; a project that is gone or cannot be labelled is no failure."""
    service = _service()
    request = service.dispatch.request(project, "optimize")
    ended = None
    try:
        to = pushing.target(service, pushing.make_client(service.settings), _id(project), key=project)
        if following.is_due(service, to, request):
            options = learn.Options(**request.options)
            ended = learn.run(service, project, trigger=request.trigger, options=options, revision=request.revision)
        elif request.trigger == "watch":
            ended = learn.watch(service, project, revision=request.revision)
    except (ProjectGoneError, SchemaError) as error:
        _log.warning("nothing is learned", project=project, reason=str(error))
    except RunningError:  # of a worker that died and left its process behind, or of `whetstone optimize --here`
        return Retry(max=_MOST_WAITS, interval=_WAIT_S)
    except Exception as error:
        if _is_last_try():
            learn.give_up(service, project, error)
        raise
    service.dispatch.settle(project, "optimize", request.revision)
    return {"run": ended.id, "decision": ended.decision} if ended else {}


def label_chunk(project: str, task_ids: list[int]) -> dict[str, int]:
    """Labels and pushes; raises when some must wait, so that RQ tries them again later."""
    service = _service()
    service.dispatch.taken(project, task_ids)
    try:
        client = pushing.make_client(service.settings)
        to = pushing.target(service, client, _id(project), key=project)
        outcome = pushing.push(service, client, to, task_ids)
    except Exception:
        _count_lost(service, project, len(task_ids))
        raise
    done = len(task_ids) - outcome.failed - len(outcome.waiting)
    lost = len(outcome.waiting) if _is_last_try() else 0
    _count(service, project, to.current.version.name, done=done, failed=outcome.failed + lost)
    if done:
        pushing.settle_title(service, client, to)
    if outcome.pushed and not _is_bulk(service, project, to.current.version.name):
        service.explain_labels(project)
    if outcome.waiting:
        raise EngineUnreachableError(f"{len(outcome.waiting)} tasks have no prediction yet: {outcome.reason}")
    return {"pushed": outcome.pushed, "failed": outcome.failed}


def _count_lost(service: Service, project: str, asked: int) -> None:
    """The chunk failed as a whole: after its last try all that no earlier one pushed has failed."""
    active = service.store.active(project)
    if active and _is_last_try():
        done, _ = _counted(active.name)
        _count(service, project, active.name, done=done, failed=asked - done)


def _count(service: Service, project: str, version: str, *, done: int, failed: int) -> None:
    """`done` and `failed` are of the whole chunk: what an earlier try counted is not counted again. A task that needed
    no prediction is done."""
    done_before, failed_before = _counted(version)
    progress = service.store.advance_bulk(project, version, done=done - done_before, failed=failed - failed_before)
    if progress and progress.finished:
        _log.info("bulk labeling finished", project=project, version=version, failed=progress.failed)
        service.dispatch.touch(project, "prune")
        service.explain_labels(project)
    job = get_current_job()
    if job:
        job.meta["counted"] = [version, done, failed]
        job.save_meta()  # type: ignore[no-untyped-call] # rq leaves it untyped


def _is_bulk(service: Service, project: str, version: str) -> bool:
    """Whether more of a bulk labeling is to come, whose end has reasons given."""
    progress = service.store.bulk(project, version)
    return progress is not None and not progress.finished


def _counted(version: str) -> tuple[int, int]:
    """Done and failed in this job's earlier tries."""
    job = get_current_job()
    counted_for, done, failed = (job.meta.get("counted") if job else None) or ("", 0, 0)
    return (done, failed) if counted_for == version else (0, 0)


def _is_last_try() -> bool:
    job = get_current_job()
    return job is None or not job.retries_left


def _service() -> Service:
    """One a process: RQ forks before it runs a job, so no thread or connection crosses."""
    return _service_of(settings.load())


@lru_cache(maxsize=1)
def _service_of(configured: Settings) -> Service:
    return Service(configured)


def _id(project: str) -> int:
    return int(project.partition(".")[0])
