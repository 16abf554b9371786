"""Many tasks at once: lanes take them from one queue, as many lanes as slots are held."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from backend.calls.limiter import Slots
from backend.calls.patience import Deadline
from backend.labeling.engines.base import Spent
from backend.labeling.errors import WhetstoneError

_log = structlog.get_logger(__name__)
_FLUSH_AFTER = 50

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no prediction; `retryable` when trying later may help, `of_task` when it does not lie in the
    endpoint. `spent` is what the LLM took for it all the same."""

    reason: str
    retryable: bool
    of_task: bool = False
    spent: Spent = field(default_factory=Spent)


class Lanes(Generic[Made]):
    """`make` turns one task's data into what is wanted of it and may raise; `keep` stores what was made, a part at a
    time, also what a lane finishes too late for the answer."""

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        make: Callable[[Mapping[str, Any]], Made],
        keep: Callable[[Mapping[str, Made]], None],
        deadline: Deadline,
    ) -> None:
        self._tasks = tasks
        self._make = make
        self._keep = keep
        self._deadline = deadline
        self._waiting = deque(tasks)
        self._done: dict[str, Made | Failure] = {}
        self._unsaved: dict[str, Made] = {}
        self._lanes = 0
        self._over = False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Tasks that no lane has taken."""
        return len(self._waiting)

    def work(self, slots: Slots, pool: ThreadPoolExecutor) -> None:
        """Returns when every task has an outcome, when all slots were given back, or when the deadline has passed."""
        self._open_lanes(slots.count, slots, pool)
        with self._changed:
            while self._lanes and (left_s := self._deadline.left_s) > 0:
                self._changed.wait(left_s)
            if self._waiting and not self._lanes and self._deadline.left_s > 0:
                return
        self.give_up("the batch's time was up")

    def give_up(self, reason: str) -> None:
        """What has no outcome yet fails with `reason`; a lane still under way may yet keep what it makes."""
        with self._changed:
            self._over = True
            self._waiting.clear()
            for key in self._tasks:
                self._done.setdefault(key, Failure(reason, retryable=True))

    def outcomes(self) -> dict[str, Made | Failure]:
        with self._changed:
            return dict(self._done)

    def flush(self) -> None:
        with self._changed:
            unsaved, self._unsaved = self._unsaved, {}
        self._keep(unsaved)

    def _open_lanes(self, count: int, slots: Slots, pool: ThreadPoolExecutor) -> None:
        with self._changed:
            lanes = min(count, len(self._waiting))
            self._lanes += lanes
        for _ in range(lanes):
            pool.submit(copy_context().run, self._lane, slots, pool)  # with the request's id, for the log

    def _lane(self, slots: Slots, pool: ThreadPoolExecutor) -> None:
        try:
            while (key := self._next()) is not None:
                self._settle(key, self._outcome(self._tasks[key]))
                if self._over:  # the slots are no longer ours
                    return
                if slots.should_yield():
                    slots.release()
                    return
                self._open_lanes(slots.grow(len(self._waiting) + self._lanes), slots, pool)
        finally:
            with self._changed:
                self._lanes -= 1
                self._changed.notify_all()

    def _next(self) -> str | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _outcome(self, data: Mapping[str, Any]) -> Made | Failure:
        try:
            return self._make(data)
        except WhetstoneError as error:
            return Failure(str(error), error.retryable, error.of_task, error.spent)
        except Exception:  # noqa: BLE001 - the thread's boundary: one task's fault must not take its neighbours along
            _log.exception("labelling a task failed unexpectedly")
            return Failure("an internal error, see the log", retryable=False)

    def _settle(self, key: str, outcome: Made | Failure) -> None:
        with self._changed:
            late = key in self._done
            self._done.setdefault(key, outcome)
            if not isinstance(outcome, Failure):
                self._unsaved[key] = outcome
            full = len(self._unsaved) >= _FLUSH_AFTER
        if late or full:
            self.flush()
