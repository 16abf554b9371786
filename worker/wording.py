"""How figures read: plain words for shares, intervals, certainty and cost."""

from collections.abc import Iterable

from backend.storage.runs import Effort, Spend
from worker.statistics.intervals import Average, Share

FEW = 10  # labels below which a figure is given, and said to mean little
_ROUGH, _VERY_ROUGH = 0.15, 0.3
_SURE = (
    (0.99, "almost certainly better"),
    (0.95, "very likely better"),
    (0.85, "probably better"),
    (0.65, "perhaps better"),
    (0.35, "as likely worse as better"),
    (0.15, "perhaps worse"),
    (0.0, "probably worse"),
)
_MINUTE_S = 60.0


def percent(share: float) -> str:
    """Whole: "83 %". Only all is 100 %, only none 0 %."""
    return f"{_whole(share)} %"


def between(low: float, high: float) -> str:
    return f"{_whole(low)} to {_whole(high)} %"


def _whole(share: float) -> int:
    return min(max(round(100 * share), 0 if share <= 0 else 1), 100 if share >= 1 else 99)


def points(change: float) -> str:
    """Percentage points without a sign: "12 points"; "0.4 points" below one."""
    size = abs(100 * change)
    text = f"{size:.1f}" if 0 < size < 1 else f"{size:.0f}"
    return f"{text} point{'' if text == '1' else 's'}"


def counted(n: int, noun: str) -> str:
    """The noun takes an s."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def ordinal(n: int) -> str:
    """ "1st", "2nd", "11th"."""
    ending = "th" if n % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def listed(items: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


def clipped(text: str, most: int) -> str:
    """On one line, with an ellipsis where it was longer."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def share(found: Share, of: str = "label") -> str:
    """How many, and how far off that may be."""
    if not found.n:
        return f"no {of}s yet"
    value = found.count / found.n
    return f"{found.count:,} of {counted(found.n, of)}, {percent(value)} ({_interval(found.n, found.low, found.high)})"


def average(found: Average, n: int) -> str:
    """Of an average over `n` labels, in [0, 1] and two decimals."""
    if found.value is None:
        return "no labels yet"
    return f"{found.value:.2f} ({sureness(n, found.low, found.high)}: {found.low:.2f} to {found.high:.2f})"


def estimate(value: float | None, low: float, high: float, n: int) -> str:
    """A share that is no count, as sure as `n` labels make it."""
    return "no labels yet" if value is None else f"{percent(value)} ({_interval(n, low, high)})"


def _interval(n: int, low: float, high: float) -> str:
    return f"{sureness(n, low, high)}: {between(low, high)}"


def sureness(n: int, low: float, high: float) -> str:
    """What an interval from `n` labels is worth."""
    if n < FEW:
        return "too few labels to tell"
    if high - low > _VERY_ROUGH:
        return "very rough with so few labels"
    return "rough" if high - low > _ROUGH else "fairly sure"


def certainty(p_better: float) -> str:
    return next(words for least, words in _SURE if p_better >= least)


def cost(spend: Spend) -> str:
    """One or two sentences; an unknown price is said to be unknown."""
    remembered = f" {_remembered(spend.from_cache)}" if spend.from_cache else ""
    if not spend.calls:
        return f"It called no model.{remembered}"
    who = [counted(spend.student_calls, "call") + " of the labelling model"] if spend.student_calls else []
    who += [counted(spend.teacher_calls, "call") + " of the writing model"] if spend.teacher_calls else []
    who += [counted(spend.embedding_calls, "call") + " for embeddings"] if spend.embedding_calls else []
    return f"It took {listed(who)}, {tokens(spend)}, {duration(spend.seconds)}; {price(spend.usd)}.{remembered}"


def _remembered(evaluations: int) -> str:
    verb = "was" if evaluations == 1 else "were"
    return f"{counted(evaluations, 'answer')} {verb} remembered from before and cost nothing."


def tokens(spend: Spend) -> str:
    cached = f" ({spend.cached_tokens:,} of them from the server's cache)" if spend.cached_tokens else ""
    return (
        f"{counted(spend.prompt_tokens, 'prompt token')}{cached}, {counted(spend.completion_tokens, 'generated one')}"
    )


def effort(each: Effort) -> str:
    """Means of a task: "1 call and 340 tokens (310 of them not from the server's cache)"."""
    total = each.prompt_tokens + each.completion_tokens
    anew = f" ({total - each.cached_tokens:,.0f} of them not from the server's cache)" if each.cached_tokens else ""
    calls = f"{each.calls:.1f}".removesuffix(".0")
    return f"{calls} call{'' if calls == '1' else 's'} and {total:,.0f} tokens{anew}"


def price(usd: float | None) -> str:
    if usd is None:
        return "price unknown"
    if not usd:
        return "no money"
    return "less than a cent" if usd < 0.01 else f"{usd:,.2f} US dollars"  # noqa: PLR2004 - a cent


def duration(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return counted(round(seconds), "second")
    minutes = round(seconds / _MINUTE_S)
    return counted(minutes, "minute") if minutes < _MINUTE_S else f"{seconds / _MINUTE_S**2:.1f} hours"
