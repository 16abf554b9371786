"""An optimization run as people read it: the verdict, the gain with its interval, and what it cost."""

from collections.abc import Iterator
from datetime import UTC, datetime

from backend.storage.runs import TRIAL, Decision, Estimate, EstimateKind, RunRecord, Spend

_SHOWN_IDS = 12
_TRIGGERS = {
    "watch": "new labels of a published prompt",
    "labels": "new labels",
    "errors": "new errors",
    "drift": "a drift alarm",
    "guideline": "a changed guideline",
    "model": "a changed model",
    "reconcile": "labels found late",
    "forced": "asked for",
    TRIAL: "one instruction on trial",
}
DECISIONS: dict[Decision, str] = {
    "published": "published",
    "awaiting_approval": "better, awaits approval",
    "kept": "not published: the gain is not sure enough",
    "no_headroom": "not published: nothing tried was better",
    "too_few_labels": "not published: too few labels",
    "overtaken": "not published: another version, or other labels, came in between",
    "rolled_back": "rolled back: new labels show the active prompt to be worse than the one before",
    "out_of_budget": "not published: out of budget",
    "failed": "failed",
}
_LABELS: dict[EstimateKind, str] = {
    "cross-fitted": "labels, each answered by a prompt chosen without it",
    "holdout": "labels that the search did not see",
    "prequential": "later labels",
}


def when(at: datetime) -> str:
    """To the minute, in UTC, whatever the zone of who asks."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def headline(run: RunRecord) -> str:
    """What became of it, in a few words."""
    if run.state == "queued":
        return "waits for a worker"
    if run.state == "running":
        return f"under way: {run.stage or 'beginning'}, {run.progress:.0%}"
    if run.state == "canceled":
        return "canceled"
    return DECISIONS[run.decision] if run.decision else "done"


def verdict(run: RunRecord) -> str:
    """Several paragraphs: the run's own words, or as long as there are none its figures."""
    return "\n\n".join([_first(run), *(run.words or _figures(run)), *_tasks(run)])


def gain(estimate: Estimate) -> str:
    before, after = estimate.active_accuracy, estimate.challenger_accuracy
    return (
        f"{before:.1%} → {after:.1%} on {estimate.n} {_LABELS[estimate.kind]}: "
        f"{100 * estimate.gain:+.1f} points, 90 % interval {100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}; "
        f"better with probability {estimate.p_better:.2f}"
    )


def spend(spent: Spend) -> str:
    tokens = spent.prompt_tokens + spent.completion_tokens
    teacher = f" and {spent.teacher_calls} to the teacher" if spent.teacher_calls else ""
    cached = f", {spent.from_cache:,} evaluations were known" if spent.from_cache else ""
    price = "price unknown" if spent.usd is None else f"${spent.usd:.2f}"
    embeddings = f" and {spent.embedding_calls} for embeddings" if spent.embedding_calls else ""
    calls = f"{spent.student_calls:,} calls to the student{teacher}{embeddings}"
    return f"{calls}, {tokens:,} tokens, {price}, {spent.seconds:.0f} s{cached}"


def _first(run: RunRecord) -> str:
    compared = f"{run.challenger} against {run.active}" if run.challenger else f"against {run.active}"
    began = f"begun {when(run.started_at)} ({_TRIGGERS.get(run.trigger, run.trigger)})"
    return f"Run {run.id}, {began}: {compared}, {run.labels} labels; {headline(run)}."


def _figures(run: RunRecord) -> Iterator[str]:
    if run.estimate:
        yield f"Accuracy {gain(run.estimate)}."
    if run.state != "queued":
        yield f"So far {spend(run.spend)}." if run.state == "running" else f"Spent: {spend(run.spend)}."


def _tasks(run: RunRecord) -> Iterator[str]:
    """Their ids, to look at them in Label Studio."""
    if run.fixes or run.breaks:
        yield f"It turns right {_ids(run.fixes)}\nIt turns wrong {_ids(run.breaks)}"


def _ids(ids: tuple[str, ...]) -> str:
    if not ids:
        return "no task"
    more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
    return f"{len(ids)} task{'s' if len(ids) > 1 else ''}: {', '.join(ids[:_SHOWN_IDS])}{more}"
