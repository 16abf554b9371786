"""What optimization may spend and what it did, in Redis: reserved before a call, settled after it.

ledger = Ledger(client, settings).open(project, run_id)
reservation = ledger.reserve("student", calls=50, tokens_estimate=20_000)  # BudgetError: then make no call
...
ledger.settle(reservation, usage)
"""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis

from backend.labeling.engines.base import Usage
from backend.labeling.errors import BudgetError
from backend.settings import Settings
from backend.storage.redis_client import as_text, project_key, translated
from backend.storage.runs import Spend
from worker.calls import scripts
from worker.calls.prices import price_usd

Purpose = Literal["student", "teacher", "strong", "embeddings"]
Amounts = tuple[int, int, int]  # calls, tokens, billionths of a dollar

_TTLS = (30 * 24 * 3600, 400 * 24 * 3600)  # seconds to keep a run's figures, a month's
_LEASE_S = 3600.0
_NANO = 10**9
_BEFORE_SEARCH = "before_search"
_UNITS = ("calls", "tokens", "usd")
# The stronger LLM of a cascade labels at its own price; its calls are counted with the student's.
_COUNTED = {"student": "student", "teacher": "teacher", "strong": "student", "embeddings": "embedding"}


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom calls are paid to."""

    model: str
    base_url: str

    def price_usd(self, usage: Usage, calls: int) -> float | None:
        return price_usd(self.model, self.base_url, usage, calls=calls)


@dataclass(frozen=True, slots=True)
class Reservation:
    """`month` is the one that pays, also when the next has begun by the time the calls end."""

    purpose: Purpose
    calls: int
    month: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Ledger:
    """One for all runs. `models` are the names that the endpoints' models go by where the settings leave them open.
    `lease_s` after a process died, what it had reserved lapses. Raises `StoreError` and `BudgetError` only."""

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        *,
        models: Mapping[Purpose, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease_s: float = _LEASE_S,
    ) -> None:
        self._book = _Book(client, _caps(settings, "run"), _caps(settings, "month"), lease_s)
        self._payees = _payees(settings, models or {})
        self._now = now

    def open(self, project: str, run_id: str) -> "RunLedger":
        """A run that is taken up again goes on from what it spent; what its earlier process had reserved is free."""
        run = project_key(project, f"spend:{run_id}")
        self._book.release_all(run, self._month())
        return RunLedger(self._book, run, self._payees, self._month)

    def month(self) -> Spend:
        """Of all projects' runs in this calendar month (UTC), as far as settled."""
        return self._book.spent(_month_key(self._month()))

    def _month(self) -> str:
        return f"{self._now().astimezone(UTC):%Y-%m}"


class RunLedger:
    """One run's. Safe to use from many threads."""

    def __init__(
        self, book: "_Book", run: str, payees: Mapping[Purpose, Payee], current_month: Callable[[], str]
    ) -> None:
        self._book, self._run, self._payees, self._current_month = book, run, payees, current_month

    def reserve(
        self, purpose: Purpose, calls: int, tokens_estimate: int, *, completion_tokens: int | None = None
    ) -> Reservation:
        """Raises `BudgetError` when a cap of the run or of the month could be passed, and then nothing is reserved.

        A cap holds as far as the estimate is no less than what is used. `completion_tokens` of the estimate are priced
        as such and the rest as prompt; None prices all of it as whichever is dearer.
        """
        reservation = Reservation(purpose, calls, self._current_month())
        payee = self._payees[purpose]
        price = _most_usd(payee, calls, tokens_estimate, completion_tokens)
        if price is None:
            self._book.refuse_unpriced(payee)
        self._book.reserve(self._run, reservation, (calls, tokens_estimate, math.ceil((price or 0.0) * _NANO)))
        return reservation

    def settle(self, reservation: Reservation, usage: Usage, *, calls: int | None = None) -> None:
        """What the calls really took, in place of the reservation; once, however often it is called. `calls` is how
        many were made, where not all that were reserved."""
        made = reservation.calls if calls is None else calls
        price = self._payees[reservation.purpose].price_usd(usage, made) if made else 0.0
        self._book.settle(
            self._run,
            reservation,
            {
                f"{_COUNTED[reservation.purpose]}_calls": made,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "nano_usd": round((price or 0.0) * _NANO),
                "unpriced_calls": made if price is None else 0,
            },
        )

    def count_cached(self, evaluations: int) -> None:
        """Evaluations that were paid for before, and cost nothing now."""
        self._book.count(self._run, self._current_month(), {"from_cache": evaluations})

    def before_search(self) -> int:
        """Calls that were settled when this was asked first, also by an earlier process of the run."""
        return self._book.first_spent(self._run)

    def spend(self) -> Spend:
        """As far as settled. `usd` is None when a call's price was unknown; `seconds` are the run's to tell."""
        return self._book.spent(self._run)


class _Book:
    """The figures in Redis: a run's and its month's move in one step."""

    def __init__(self, client: Redis, run_caps: Amounts, month_caps: Amounts, lease_s: float) -> None:
        self._client = client
        self._caps = {"run": run_caps, "month": month_caps}
        self._lease_us = round(lease_s * 1e6)
        self._run_reserve = client.register_script(scripts.RESERVE)
        self._run_settle = client.register_script(scripts.SETTLE)
        self._run_release_all = client.register_script(scripts.RELEASE_ALL)

    def refuse_unpriced(self, payee: Payee) -> None:
        """A cap in dollars can not be kept where nobody knows the price."""
        capped = [f"{scope.upper()}_MAX_USD" for scope, (_, _, nano_usd) in self._caps.items() if nano_usd]
        if capped:
            hint = "Cap its calls or tokens instead (RUN_MAX_TOKENS, MONTH_MAX_TOKENS)."
            raise BudgetError(
                f"the price of {payee.model!r} is unknown: {' and '.join(capped)} cannot be kept", hint=hint
            )

    @translated()
    def reserve(self, run: str, reservation: Reservation, asked: Amounts) -> None:
        args: list[str | int] = [
            reservation.id,
            *asked,
            *self._caps["run"],
            *self._caps["month"],
            self._lease_us,
            *_TTLS,
        ]
        found = self._run_reserve(keys=_keys(run, reservation.month), args=args)
        if found:
            scope, unit, taken = ("run", "month")[found[0] - 1], found[1] - 1, int(found[2])
            raise _over(scope, unit, taken, asked[unit], self._caps[scope][unit], reservation.month)

    @translated()
    def settle(self, run: str, reservation: Reservation, spent: Mapping[str, int]) -> None:
        self._add(run, reservation.month, reservation.id, spent)

    @translated()
    def count(self, run: str, month: str, spent: Mapping[str, int]) -> None:
        self._add(run, month, "", spent)

    @translated()
    def release_all(self, run: str, month: str) -> None:
        _, of_run, _, of_month = _keys(run, month)
        self._run_release_all(keys=[of_run, of_month])

    @translated()
    def spent(self, key: str) -> Spend:
        stored: Mapping[Any, Any] = self._client.hgetall(key)
        found = {as_text(name): int(amount) for name, amount in stored.items()}
        found.pop(_BEFORE_SEARCH, None)
        nano_usd, unpriced = found.pop("nano_usd", 0), found.pop("unpriced_calls", 0)
        return Spend(usd=None if unpriced else nano_usd / _NANO, **found)

    @translated()
    def first_spent(self, run: str) -> int:
        calls = self.spent(run).calls
        with self._client.pipeline() as pipe:
            pipe.hsetnx(run, _BEFORE_SEARCH, calls)
            pipe.expire(run, _TTLS[0])
            pipe.hget(run, _BEFORE_SEARCH)
            *_, found = pipe.execute()
        return int(found)

    def _add(self, run: str, month: str, reservation_id: str, spent: Mapping[str, int]) -> None:
        parts = [part for pair in spent.items() for part in pair]
        self._run_settle(keys=_keys(run, month), args=[reservation_id, *_TTLS, *parts])


def _keys(run: str, month: str) -> list[str]:
    of_month = _month_key(month)
    return [run, f"{run}:reserved", of_month, f"{of_month}:reserved"]


def _month_key(month: str) -> str:
    return f"whetstone:spend:{month}"


def _caps(settings: Settings, scope: Literal["run", "month"]) -> Amounts:
    calls, tokens, usd = (getattr(settings, f"{scope}_max_{unit}") for unit in _UNITS)
    return calls, tokens, round(usd * _NANO)


def _payees(settings: Settings, models: Mapping[Purpose, str]) -> dict[Purpose, Payee]:
    student = Payee(models.get("student", settings.model_name), settings.llm_base_url)
    named = settings.teacher_model or student.model
    teacher = Payee(models.get("teacher", named), settings.teacher_base_url or student.base_url)
    theirs = settings.stronger
    strong = Payee(models.get("strong", theirs.model_name), theirs.llm_base_url) if theirs else student
    embeddings = Payee(settings.embeddings_model, settings.embeddings_base_url or student.base_url)
    return {"student": student, "teacher": teacher, "strong": strong, "embeddings": embeddings}


def _most_usd(payee: Payee, calls: int, tokens: int, completion_tokens: int | None) -> float | None:
    if completion_tokens is not None:
        usage = Usage(prompt_tokens=tokens - completion_tokens, completion_tokens=completion_tokens)
        return payee.price_usd(usage, calls)
    prices = [
        payee.price_usd(Usage(prompt_tokens=tokens), calls),
        payee.price_usd(Usage(completion_tokens=tokens), calls),
    ]
    known = [price for price in prices if price is not None]
    return max(known) if len(known) == len(prices) else None


def _over(scope: str, unit: int, taken: int, asked: int, cap: int, month: str) -> BudgetError:
    def shown(amount: int) -> str:
        return f"${amount / _NANO:.6g}" if _UNITS[unit] == "usd" else f"{amount} {_UNITS[unit]}"

    name = f"{scope}_max_{_UNITS[unit]}".upper()
    whose = "this run's" if scope == "run" else f"the runs' of {month}"
    return BudgetError(
        f"{shown(asked)} more would pass {name}: {shown(taken)} of {shown(cap)} are spent or reserved as {whose}",
        hint=f"Raise {name}." if scope == "run" else f"Raise {name}, or wait for the next month.",
    )
