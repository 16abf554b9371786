"""Which labels runs have searched or decided on, each since when: the others are untouched. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from worker.labels.examples import Example


@dataclass(frozen=True, slots=True)
class Used:
    """`since`, by the example's id, is when the first run began that read it. From `begun` on runs note what they
    read; None where none has."""

    since: Mapping[str, datetime] = field(default_factory=dict, repr=False)
    begun: datetime | None = None

    @classmethod
    def of(cls, since: Mapping[str, datetime]) -> "Used":
        return cls(since, min(since.values(), default=None))

    def is_later(self, example: Example, at: datetime) -> bool:
        """Whether no run that began until `at` read it. By its id: a label that was saved again, or agreed to by
        another person, is no new one. Where no run had noted any by then, what was decided after `at` is later."""
        if self.begun is None or at < self.begun:
            return example.annotated_at > at
        first = self.since.get(example.id)
        return first is None or first > at


NONE = Used()
