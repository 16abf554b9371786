"""A certificate in words: what may be accepted unseen, how sure that is, and what is missing. Pure."""

from collections.abc import Iterator

from worker import wording
from worker.acceptance.certify import Certificate, MoreChecks


def words(found: Certificate) -> str:
    return " ".join(_met(found) if found.threshold is not None else _unmet(found))


def _met(found: Certificate) -> Iterator[str]:
    yield (
        f"{_exact(found.target)} right, {_exact(found.sure)} sure: "
        f"{_tasks(found)} with a score of {threshold(found)} or more."
    )
    wrong = f"{found.errors} of them wrong" if found.errors else "none of them wrong"
    yield f"{wording.counted(found.checked, 'label')} with such a score {_were(found.checked)} checked, {wrong}."
    if found.more_checks and _any(found.more_checks):
        yield f"{_more(found.more_checks)} would certify more tasks."


def _unmet(found: Certificate) -> Iterator[str]:
    yield f"{_exact(found.target)} right, {_exact(found.sure)} sure: from no score on, so far."
    wrong = f", {found.errors} of them wrong" if found.checked else ""
    yield f"{wording.counted(found.checked, 'label')} drawn by lot {_were(found.checked)} checked{wrong}."
    if found.reachable is not None:
        yield f"{_exact(found.reachable)} right can be promised now."
    if found.more_checks and _any(found.more_checks):
        yield f"{_more(found.more_checks)} would do."
    else:
        yield "There are not enough tasks left to check for it."


def threshold(found: Certificate) -> str:
    """Never rounded up: what is shown lets in all that is certified."""
    digits = 4
    return f"{int((found.threshold or 0.0) * 10**digits) / 10**digits:.{digits}f}"


def _exact(share: float) -> str:
    """As it was asked for: "99.5 %"."""
    return f"{100 * share:g} %"


def _tasks(found: Certificate) -> str:
    if found.coverage is None:
        return "tasks"
    return f"{wording.counted(found.tasks, 'open task')}, {wording.percent(found.coverage)} of all,"


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def _any(more: MoreChecks) -> bool:
    return more.clean is not None


def _more(more: MoreChecks) -> str:
    """About: what the next checks will show is not known."""
    clean = f"About {wording.counted(more.clean or 0, 'more check')} of tasks drawn by lot without a mistake"
    if more.as_before is None:
        return f"{clean} (no number of them if mistakes stay as frequent)"
    return f"{clean} (about {more.as_before:,} if mistakes stay as frequent)"
