"""What an optimization run leaves behind, as Redis keeps it and the CLI, the API and the report show it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

Decision = Literal[
    "published",  # the challenger is the active version now
    "awaiting_approval",  # it would be: a person must activate it
    "kept",  # the gain is not sure enough; the challenger is remembered
    "no_headroom",  # nothing tried is better
    "too_few_labels",
    "overtaken",  # another published, or labels' configuration changed, meanwhile
    "rolled_back",  # the active version did worse on new labels than the one before, which serves again
    "out_of_budget",
    "failed",
]
# On labels in folds that the search did not see, on the holdout, or on labels that came after the challenger was made.
EstimateKind = Literal["cross-fitted", "holdout", "prequential"]
RunState = Literal["queued", "running", "done", "canceled"]


@dataclass(frozen=True, slots=True)
class Spend:
    """`usd` is None where a price is unknown: tokens are counted all the same."""

    student_calls: int = 0
    teacher_calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None
    seconds: float = 0.0
    from_cache: int = 0  # evaluations that were paid for before
    embedding_calls: int = 0

    @property
    def calls(self) -> int:
        return self.student_calls + self.teacher_calls + self.embedding_calls


@dataclass(frozen=True, slots=True)
class Effort:
    """What one task takes, on average. `cached` are those of the `prompt_tokens` that a prefix cache held."""

    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The challenger against the active version on the same `n` examples, none of which chose it.

    `gain` is the difference of accuracies with its 90 % credible interval [`low`, `high`]; `p_better` the probability
    that it is above 0; `wins` and `losses` count the examples that only the challenger, only the active got right.
    `active_effort` and `challenger_effort` are of examples that both answered, None where there are none.
    """

    kind: EstimateKind
    n: int
    active_accuracy: float
    challenger_accuracy: float
    gain: float
    low: float
    high: float
    p_better: float
    wins: int
    losses: int
    active_effort: Effort | None = None
    challenger_effort: Effort | None = None


TRIAL = "trial"  # the trigger of a run that holds one instruction against the active prompt, and searches nothing


@dataclass(frozen=True, slots=True)
class RunRecord:
    """`words` is the verdict for people, one paragraph an entry. `fixes` and `breaks` are ids of tasks whose prediction
    the challenger turns right, or wrong. `stage` says what a run under way does, `progress` in [0, 1] how far it is,
    `candidates` how many prompts are still alive, `best` the best accuracy among them so far."""

    id: str
    project: str
    state: RunState
    started_at: datetime
    labels: int
    active: str
    trigger: str
    decision: Decision | None = None
    words: tuple[str, ...] = ()
    challenger: str | None = None
    estimate: Estimate | None = None
    fixes: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    spend: Spend = field(default_factory=Spend)
    stage: str = ""
    progress: float = 0.0
    candidates: int = 0
    best: float | None = None
    ended_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        return self.state in {"done", "canceled"}

    def canceled(self, at: datetime) -> "RunRecord":
        words = ("Canceled before its end. Nothing was changed.",)
        return replace(self, state="canceled", words=words, stage="", ended_at=at)

    def to_json(self) -> str:
        return _RUN.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "RunRecord":
        return _RUN.validate_json(text)


_RUN = TypeAdapter(RunRecord)
