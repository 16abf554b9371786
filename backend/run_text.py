"""An optimization run as people read it: the verdict, the gain with its interval, and what it cost."""

from collections.abc import Iterator

from backend.runs import Decision, Estimate, RunRecord, Spend

_SHOWN_IDS = 12
_DECISIONS: dict[Decision, str] = {
    "published": "published: it labels from now on",
    "awaiting_approval": "better, and waits for approval",
    "kept": "not published: the gain is not sure enough",
    "no_headroom": "not published: no headroom",
    "too_few_labels": "not published: too few labels",
    "overtaken": "not published: another version, or other labels, came in between",
    "out_of_budget": "not published: out of budget",
    "failed": "failed",
}


def headline(run: RunRecord) -> str:
    """What became of it, in a few words."""
    if run.state == "queued":
        return "waits for a worker"
    if run.state == "running":
        return f"under way: {run.stage or 'beginning'}, {run.progress:.0%}"
    if run.state == "canceled":
        return "canceled"
    return _DECISIONS[run.decision] if run.decision else "done"


def verdict(run: RunRecord) -> str:
    """Several paragraphs."""
    return "\n\n".join([_first(run), *run.words, *_figures(run)])


def gain(estimate: Estimate) -> str:
    before, after = estimate.active_accuracy, estimate.challenger_accuracy
    return (
        f"{before:.1%} → {after:.1%} on {estimate.n} labels ({estimate.kind}): "
        f"{100 * estimate.gain:+.1f} points, 90 % interval {100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}; "
        f"better with probability {estimate.p_better:.2f}"
    )


def spend(spent: Spend) -> str:
    tokens = spent.prompt_tokens + spent.completion_tokens
    teacher = f" and {spent.teacher_calls} to the teacher" if spent.teacher_calls else ""
    cached = f", {spent.from_cache} evaluations were known" if spent.from_cache else ""
    price = "price unknown" if spent.usd is None else f"${spent.usd:.2f}"
    return (
        f"{spent.student_calls} calls to the student{teacher}, {tokens} tokens, {price}, {spent.seconds:.0f} s{cached}"
    )


def _first(run: RunRecord) -> str:
    challenger = f"{run.challenger} is " if run.challenger and run.decision != "failed" else ""
    return f"Run {run.id} ({run.trigger}, {run.labels} labels, against {run.active}): {challenger}{headline(run)}."


def _figures(run: RunRecord) -> Iterator[str]:
    lines = []
    if run.estimate:
        lines.append(f"Accuracy  {gain(run.estimate)}")
    if run.fixes or run.breaks:
        lines.append(f"Turns right  {_ids(run.fixes)}")
        lines.append(f"Turns wrong  {_ids(run.breaks)}")
    if run.state != "queued":
        lines.append(f"Spent  {spend(run.spend)}")
    if lines:
        yield "\n".join(lines)


def _ids(ids: tuple[str, ...]) -> str:
    shown = ", ".join(ids[:_SHOWN_IDS]) or "none"
    more = len(ids) - _SHOWN_IDS
    return f"{len(ids)} tasks: {shown}{f' and {more} more' if more > 0 else ''}" if ids else "no task"
