"""What all runs together cost. Pure."""

from collections.abc import Sequence

from backend.storage.runs import Spend
from worker import wording
from worker.report.document import SpendJson


def total(spends: Sequence[Spend]) -> SpendJson:
    """A run that called no model has no price to know."""
    paid = [each for each in spends if each.calls]
    prices = [each.usd for each in paid if each.usd is not None]
    added = Spend(
        student_calls=sum(each.student_calls for each in spends),
        teacher_calls=sum(each.teacher_calls for each in spends),
        embedding_calls=sum(each.embedding_calls for each in spends),
        prompt_tokens=sum(each.prompt_tokens for each in spends),
        cached_tokens=sum(each.cached_tokens for each in spends),
        completion_tokens=sum(each.completion_tokens for each in spends),
        usd=sum(prices) if prices or not paid else None,
        seconds=sum(each.seconds for each in spends),
        from_cache=sum(each.from_cache for each in spends),
    )
    unpriced = len(paid) - len(prices)
    return {
        "runs": len(spends),
        "student_calls": added.student_calls,
        "teacher_calls": added.teacher_calls,
        "embedding_calls": added.embedding_calls,
        "prompt_tokens": added.prompt_tokens,
        "cached_tokens": added.cached_tokens,
        "completion_tokens": added.completion_tokens,
        "usd": added.usd,
        "unpriced_runs": unpriced,
        "seconds": added.seconds,
        "from_cache": added.from_cache,
        "words": _words(added, len(spends), unpriced),
    }


def _words(added: Spend, runs: int, unpriced: int) -> str:
    if not runs:
        return "No run yet, so nothing was spent on improving the prompt."
    partly = f" The price of {wording.counted(unpriced, 'run')} is unknown and not in it." if unpriced else ""
    known = partly if added.usd is not None else ""
    return f"{wording.counted(runs, 'run')} so far. {wording.cost(added)}{known}"
