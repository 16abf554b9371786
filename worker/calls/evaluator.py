"""A prompt asked of examples at the run's cost: cached, paid from its budget, in turn behind live and bulk labeling."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from backend.calls.engine import endpoint_key, weights_key
from backend.calls.lanes import Failure
from backend.calls.patience import Deadline
from backend.labeling import selection
from backend.labeling.answers import TaskAnswers
from backend.labeling.cascade import is_strong
from backend.labeling.engines.base import Spent
from backend.labeling.errors import BudgetError, EngineError, EngineUnreachableError, StoreError, TaskError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from backend.labeling.shortening import most_tokens
from backend.predictions.batch import Inquiry
from backend.service import Service
from worker.calls.evaluations import EvaluationCache, prompt_key
from worker.calls.ledger import Purpose, Reservation, RunLedger
from worker.calls.paid_embedding import PaidEmbedding
from worker.labels.examples import Example
from worker.optimizer.outcomes import Outcome

_log = structlog.get_logger(__name__)

_CHUNK = 64  # examples between two looks at whether the run may go on
_EXAMPLE_S = 60.0  # that a chunk waits for each of its examples, behind whatever else is labelled
_ROUNDS = 3
_FRAME_TOKENS = 80

Tasks = Mapping[str, Mapping[str, Any]]
_Manner = tuple[object, ...]


class EndpointRefusedError(EngineError):
    """The endpoint refuses every call: the run cannot go on."""

    hint = "Check OPENAI_API_KEY and LLM_MODEL; `whetstone doctor` tries them."


class Evaluator:
    """`check` is called between parts and raises when the run must stop. With `fresh` nothing is looked up or kept."""

    def __init__(
        self,
        service: Service,
        schema: LabelingSchema,
        ledger: RunLedger,
        check: Callable[[], None],
        *,
        fresh: bool = False,
    ) -> None:
        self._service = service
        self._schema = schema
        self._ledger = ledger
        self._embedding = PaidEmbedding(service.embedder, ledger)
        self._check = check
        self._fresh = fresh
        self._cache = EvaluationCache(service.redis, service.settings.max_cached_evaluations)
        self._seen: dict[tuple[str, str], Outcome] = {}
        self._dearest: dict[_Manner, float] = {}

    def label(self, prompt: Prompt, examples: Sequence[Example]) -> list[Outcome]:
        """One outcome an example, in order; equal data is asked once. Raises `BudgetError` before a call that nobody
        pays for, `EngineError` when the endpoint does not answer after three rounds, and what `check` raises. A budget
        that does not pay for all of them is used up first: a later run finds these answers in the cache."""
        if self._fresh:
            self._seen.clear()
        name = self._name(prompt)
        hashes = [self._schema.data_hash(example.data) for example in examples]
        tasks = {key: e.data for key, e in zip(hashes, examples, strict=True) if (name, key) not in self._seen}
        if tasks:
            self._fetch(name, prompt, tasks)
        return [self._seen[name, key] for key in hashes]

    def _fetch(self, name: str, prompt: Prompt, tasks: Tasks) -> None:
        """From other runs' evaluations, else from the LLM; folds that ask again find them here."""
        self._check()
        found = self._known(name, tasks)
        self._remember(name, found)
        self._note_calls(prompt, tasks, {key: outcome.answers for key, outcome in found.items() if outcome.answers})
        missing = [(key, data) for key, data in tasks.items() if key not in found]
        while missing:
            size = _CHUNK if _manner(prompt) in self._dearest else 1
            self._remember(name, self._asked(name, prompt, dict(missing[:size])))
            del missing[:size]
            self._check()

    def _remember(self, name: str, found: Mapping[str, Outcome]) -> None:
        self._seen.update({(name, key): outcome for key, outcome in found.items()})

    def _name(self, prompt: Prompt) -> str:
        """Read anew each time: once a model is found to be another one, nothing that was kept before decides."""
        service = self._service
        engine, settings = service.engine, service.settings
        if is_strong(prompt) and service.strong and settings.stronger:
            engine, settings = service.strong, settings.stronger
        epoch = service.store.model_epoch(endpoint_key(service.settings, model=service.settings.llm_model))
        fingerprint = weights_key(settings, engine.capabilities) + (f" epoch {epoch}" if epoch else "")
        chosen_by = selection.rule(prompt, service.embedder)
        return prompt_key(
            prompt,
            self._schema.config_hash,
            engine.model,
            fingerprint,
            service.limits,
            chosen_by,
            several=self._schema.asks_each_label,
        )

    def _known(self, name: str, tasks: Tasks) -> dict[str, Outcome]:
        if self._fresh:
            return {}
        kept = self._cache.get(name, list(tasks))
        found = {key: outcome for key, outcome in zip(tasks, kept, strict=True) if outcome is not None}
        if found:
            self._ledger.count_cached(len(found))
        return found

    def _asked(self, name: str, prompt: Prompt, tasks: Tasks) -> dict[str, Outcome]:
        """What fails for a reason that may pass is asked again; what lies in the task is its outcome."""
        found: dict[str, Outcome] = {}
        left, reason = dict(tasks), ""
        for _ in range(_ROUNDS):
            if self._name(prompt) != name:
                raise EngineUnreachableError("the LLM, or what its endpoint can do, is another one than a moment ago")
            answers = self._paid(name, prompt, left)
            failed = {key: failure for key, failure in answers.items() if isinstance(failure, Failure)}
            found |= {key: Outcome(made) for key, made in answers.items() if not isinstance(made, Failure)}
            own = {
                key: Outcome(None, failure.reason, failure.spent) for key, failure in failed.items() if failure.of_task
            }
            self._keep(name, own)
            found |= own
            left = {key: data for key, data in left.items() if key not in found}
            reason = next((failed[key].reason for key in left), "")
            refused = next((failed[key].reason for key in left if not failed[key].retryable), "")
            if refused:
                raise EndpointRefusedError(refused)
            if not left:
                return found
            self._check()
        raise EngineUnreachableError(f"{len(left)} examples have no answer after {_ROUNDS} rounds: {reason}")

    def _paid(self, name: str, prompt: Prompt, tasks: Tasks) -> dict[str, TaskAnswers | Failure]:
        """In ever smaller parts where the budget does not pay for all at once: what is reserved is seldom used up."""
        calls = self._calls(prompt, tasks)
        payee: Purpose = "strong" if is_strong(prompt) else "student"
        try:
            self._embed(prompt, tasks)
            reservation = self._ledger.reserve(payee, calls, math.ceil(_tokens(prompt, tasks) * calls / len(tasks)))
        except BudgetError:
            if len(tasks) == 1:
                raise
            keys = list(tasks)
            halves = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
            first, second = ({key: tasks[key] for key in half} for half in halves)
            return self._paid(name, prompt, first) | self._paid(name, prompt, second)
        return self._settled(name, prompt, tasks, reservation)

    def _embed(self, prompt: Prompt, tasks: Tasks) -> None:
        """What choosing demonstrations for these tasks takes, in few requests that the run pays for: labeling finds it
        remembered. Where that fails, labeling fails of the same and says so."""
        if not selection.selects(prompt):
            return
        usable: list[tuple[Value, ...]] = []
        for data in tasks.values():
            with suppress(TaskError):  # it cannot be labelled
                usable.append(self._schema.values(data))
        with suppress(EngineError):
            self._embedding.embed(selection.embedded(prompt, usable))

    def _settled(
        self, name: str, prompt: Prompt, tasks: Tasks, reservation: Reservation
    ) -> dict[str, TaskAnswers | Failure]:
        inquiry = Inquiry(
            prompt,
            self._schema,
            Deadline.after(_EXAMPLE_S * max(4, len(tasks))),
            lambda made: self._keep(name, _as_outcomes(made)),
        )
        answers = self._service.batches.ask(inquiry, tasks)
        made = {key: answer for key, answer in answers.items() if not isinstance(answer, Failure)}
        wasted = [each.spent for each in answers.values() if isinstance(each, Failure) and each.of_task]
        self._note_calls(prompt, tasks, made)
        spent = sum((Spent(answer.calls, answer.usage) for answer in made.values()), sum(wasted, Spent()))
        self._ledger.settle(reservation, spent.usage, calls=spent.calls)
        return answers

    def _calls(self, prompt: Prompt, tasks: Tasks) -> int:
        """As many a question as the dearest example took that was asked in this manner; before there is one, one or as
        many as there are votes. Where labels' words begin alike, or labels are asked for in groups, it is several."""
        scored = self._service.engine.capabilities.logprobs_for(prompt.style)
        each = self._dearest.get(_manner(prompt), 1 if scored else self._service.limits.votes)
        return math.ceil(each * sum(self._questions(data) for data in tasks.values()))

    def _note_calls(self, prompt: Prompt, tasks: Tasks, made: Mapping[str, TaskAnswers]) -> None:
        dearest = max((each.calls / max(1, self._questions(tasks[key])) for key, each in made.items()), default=0.0)
        if dearest:
            self._dearest[_manner(prompt)] = max(dearest, self._dearest.get(_manner(prompt), 0.0))

    def _questions(self, data: Mapping[str, Any]) -> int:
        return sum(len(control.questions(data)) for control in self._schema.controls)

    def _keep(self, name: str, outcomes: Mapping[str, Outcome]) -> None:
        if self._fresh:
            return
        try:
            self._cache.keep(name, outcomes)
        except StoreError as error:
            _log.warning("evaluations are not kept: they will be paid for again", reason=str(error))


def _manner(prompt: Prompt) -> _Manner:
    """What of a prompt the number of its calls depends on; the rest is the labels' and the model's."""
    return prompt.style, prompt.codes, prompt.rationale, prompt.samples, is_strong(prompt)


def _as_outcomes(made: Mapping[str, TaskAnswers]) -> dict[str, Outcome]:
    return {key: Outcome(answers) for key, answers in made.items()}


def _tokens(prompt: Prompt, tasks: Tasks) -> int:
    """About what one question to each task takes, rather too many."""
    static = sum(map(most_tokens, (prompt.instruction, *prompt.definitions.values(), *prompt.rules)))
    shown = sum(most_tokens(value.text) for each in prompt.demonstrations for value in each.values)
    static += shown * selection.most_shown(prompt) // max(1, len(prompt.demonstrations))
    texts = sum(most_tokens(value) for data in tasks.values() for value in data.values() if isinstance(value, str))
    return (static + _FRAME_TOKENS) * len(tasks) + texts
