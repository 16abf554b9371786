"""What a run may cost, before it begins. Pure."""

from dataclasses import dataclass

from backend.labeling.engines.base import Usage
from backend.runs import Spend
from backend.settings import Settings
from worker.prices import price_usd

ANSWER_TOKENS = 1  # of the student: the one that is scored


@dataclass(frozen=True, slots=True)
class Forecast:
    """`calls` is the cap, `tokens` what so many calls take at `tokens_per_call`; None where nothing caps the calls.
    `usd` is None where the price or the calls are unknown. What was paid for before is not paid again, so that a run
    mostly takes less."""

    calls: int | None
    tokens_per_call: int
    tokens: int | None
    usd: float | None

    def words(self) -> str:
        if self.calls is None or self.tokens is None:
            return f"no cap on calls (RUN_MAX_CALLS), about {self.tokens_per_call} tokens each"
        cost = "price unknown" if self.usd is None else "free" if self.usd == 0 else f"about ${self.usd:.2f}"
        return f"at most {self.calls} calls, about {self.tokens} tokens, {cost}"


def forecast(settings: Settings, last: Spend | None, *, budget: int | None = None) -> Forecast:
    """`last` is what the project's last run spent: its tokens a call are the guess for this one's, and without one as
    many as a task may have at most."""
    calls = budget or settings.run_max_calls or None
    each = _tokens_per_call(last) or settings.llm_max_task_tokens
    if calls is None:
        return Forecast(None, each, None, None)
    usage = Usage(prompt_tokens=calls * (each - ANSWER_TOKENS), completion_tokens=calls * ANSWER_TOKENS)
    usd = price_usd(settings.model_name, settings.llm_base_url, usage, calls=calls)
    return Forecast(calls, each, calls * each, usd)


def _tokens_per_call(spend: Spend | None) -> int:
    """0 where nothing was called."""
    calls = spend.student_calls + spend.teacher_calls if spend else 0
    if not spend or not calls:
        return 0
    return max(1 + ANSWER_TOKENS, round((spend.prompt_tokens + spend.completion_tokens) / calls))
