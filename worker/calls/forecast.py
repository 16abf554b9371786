"""What a run may cost, before it begins. Pure."""

from dataclasses import dataclass

from backend.labeling.engines.base import Usage
from backend.settings import Settings
from backend.storage.runs import Spend
from worker.calls.prices import price_usd
from worker.calls.teacher import is_capable

ANSWER_TOKENS = 1  # of the student: the one that is scored


@dataclass(frozen=True, slots=True)
class Forecast:
    """`calls` is the cap, `tokens` what so many calls take at `tokens_per_call`; None where nothing caps the calls.
    `guessed` tells that no call has been measured, and a task's longest text was counted. `usd` is the student's, None
    where the price or the calls are unknown; `taught` says that some calls are the teacher's, at its own price.
    What was paid for before is not paid again, so that a run mostly takes less."""

    calls: int | None
    tokens_per_call: int
    tokens: int | None
    usd: float | None
    guessed: bool = False
    taught: bool = False

    def words(self) -> str:
        about = "at most" if self.guessed else "about"
        if self.calls is None or self.tokens is None:
            return f"no cap on calls (RUN_MAX_CALLS), {about} {self.tokens_per_call:,} tokens each"
        cost = "price unknown" if self.usd is None else "free" if self.usd == 0 else f"{about} ${self.usd:.2f}"
        teacher = (
            ", at the labelling model's price: the teacher's calls may cost more" if self.taught and self.usd else ""
        )
        return f"at most {self.calls:,} calls, {about} {self.tokens:,} tokens, {cost}{teacher}"


def forecast(settings: Settings, known: Spend | None, *, budget: int | None = None) -> Forecast:
    """`known` is what calls took so far, best those of the project's last run: the guess for this one's is their
    average, and without any as many tokens as a task may have at most."""
    calls = budget or settings.run_max_calls or None
    measured = _tokens_per_call(known)
    each = measured or settings.llm_max_task_tokens
    if calls is None:
        return Forecast(None, each, None, None, guessed=not measured, taught=is_capable(settings))
    usage = Usage(prompt_tokens=calls * (each - ANSWER_TOKENS), completion_tokens=calls * ANSWER_TOKENS)
    usd = price_usd(settings.model_name, settings.llm_base_url, usage, calls=calls)
    return Forecast(calls, each, calls * each, usd, guessed=not measured, taught=is_capable(settings))


def _tokens_per_call(spend: Spend | None) -> int:
    """0 where nothing was called."""
    if not spend or not spend.calls:
        return 0
    return max(1 + ANSWER_TOKENS, round((spend.prompt_tokens + spend.completion_tokens) / spend.calls))
