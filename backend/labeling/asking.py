"""One task's questions put to an LLM: what it says of each label, uncalibrated, and what that took."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from backend.labeling import consistency, grammar, many_labels, reading, verbalizer
from backend.labeling.answers import Distribution, Question
from backend.labeling.engines.base import Completion, Engine, Request, Step, Usage
from backend.labeling.errors import AnswerError, EngineAnswerError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, Rendered, render
from backend.labeling.reading import Reading

# Alternatives to ask of servers that return any number of them.
_ALTERNATIVES = 200
_VOTE_TEMPERATURE = 0.7
_RATIONALE_TOKENS, _RATIONALE_CHARACTERS = 96, 600


@dataclass(frozen=True, slots=True)
class Limits:
    """`min_label_mass`: less probability than this on all labels together, and the answer is no answer."""

    max_task_tokens: int = 1500
    min_label_mass: float = 0.01
    votes: int = 5
    thinking_tokens: int = 2048


@dataclass(slots=True)
class Asker:
    """Of one task under one prompt. `rationales` are what was reasoned so far, by control; `told` is the one to show.
    `calls` are counted before they are answered.

    Raises the engine's errors.
    """

    engine: Engine
    limits: Limits
    prompt: Prompt
    values: Sequence[Value]
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    rationales: dict[str, list[str]] = field(default_factory=dict)
    told: str = ""

    def __post_init__(self) -> None:
        if self.prompt.rationale and self.engine.capabilities.thinking == "always":  # it reasons by itself
            self.prompt = replace(self.prompt, rationale=False)

    def distribution(self, question: Question) -> Distribution:
        if self.prompt.backwards and question.about is None:
            found = self._usable(replace(question, labels=question.labels[::-1]))
            return replace(found, labels=found.labels[::-1], probabilities=found.probabilities[::-1])
        return self._usable(question)

    def _usable(self, question: Question) -> Distribution:
        prompt = self.prompt
        reasons = prompt.rationale and self._is_scored(prompt) and len(question.labels) > 1
        found = self._reasoned(prompt, question) if reasons else self._asked(prompt, question)
        if found.label_mass < self.limits.min_label_mass:
            raise AnswerError(
                f'the labels of "{question.control}" hold {found.label_mass:.2%} of the probability, less than '
                f"LLM_MIN_LABEL_MASS ({self.limits.min_label_mass:.2%}): the model answers something else"
            )
        return found

    def _is_scored(self, prompt: Prompt) -> bool:
        """Whether log-probs tell the distribution."""
        able = self.engine.capabilities
        return bool(able.logprobs_for(prompt.style)) and (able.thinking != "always" or prompt.style == "text")

    # -- reasons before the label

    def _reasoned(self, prompt: Prompt, question: Question) -> Distribution:
        """The mean over sampled rationales, of as many as it takes. Two calls each: asking for the alternatives to
        every token of a rationale would cost more than the second call, most of whose prompt is cached."""
        found: list[Distribution] = []
        while not found or not consistency.is_settled(found, prompt.samples):
            reason = self._reason(prompt, question, len(found))
            found.append(self._asked(prompt, question, reason))
        merged = consistency.mean(found)
        self.told = self.told or next(
            reason
            for reason, each in zip(self.rationales[question.control], found, strict=False)
            if each.best == merged.best or each is found[-1]
        )
        return merged

    def _reason(self, prompt: Prompt, question: Question, number: int) -> str:
        """A control's yes-or-no questions share their rationales."""
        known = self.rationales.setdefault(question.control, [])
        if number == len(known):
            codes = self._codes(prompt, question) or [label.text for label in question.labels]
            rendered = render(prompt, question, self.values, codes, None)
            known.append(_line(self._complete(_thought(rendered, prompt.samples, number)).text))
        return known[number]

    # -- one distribution

    def _asked(self, prompt: Prompt, question: Question, reason: str = "") -> Distribution:
        if len(question.labels) == 1:
            return Distribution((question.labels[0].value,), (1.0,))
        if self._is_scored(prompt):
            return self._from_logprobs(prompt, question, reason)
        return self._from_votes(prompt, question)

    def _from_logprobs(self, prompt: Prompt, question: Question, reason: str) -> Distribution:
        codes = self._codes(prompt, question)
        if codes is None:
            return self._of_many(prompt, question, reason)
        return many_labels.distribution(question.labels, self._read(prompt, question, codes, reason))

    def _read(self, prompt: Prompt, question: Question, codes: Sequence[str], reason: str) -> Reading:
        rendered, width = render(prompt, question, self.values, codes, reason), self._width(prompt)

        def ask(prefix: str, tokens: int) -> Sequence[Step]:
            text = f"{rendered.text}{prefix}" if rendered.text else ""
            return self._steps(Request(text, rendered.messages, max_tokens=tokens, top_logprobs=width))

        return reading.read(ask, codes, continues=prompt.style == "text", least=self.limits.min_label_mass)

    def _codes(self, prompt: Prompt, question: Question) -> tuple[str, ...] | None:
        """None where there are more labels than one question can tell apart."""
        continues, width = prompt.style == "text", self._width(prompt)
        texts = [label.text for label in question.labels]
        kind = prompt.codes if question.about is None else "words"
        descends = continues and verbalizer.kind_of(kind, texts, continues=continues, width=width) == "words"
        if not descends and len(texts) > many_labels.most(width):
            return None
        return verbalizer.codes(kind, texts, continues=continues, width=width)

    def _width(self, prompt: Prompt) -> int:
        """How many alternatives to ask for."""
        return min(self.engine.capabilities.logprobs_for(prompt.style), _ALTERNATIVES)

    def _steps(self, request: Request) -> Sequence[Step]:
        completion = self._complete(request)
        if not completion.steps:
            raise EngineAnswerError("the answer came without log-probs, which this endpoint gave before")
        return completion.steps

    def _of_many(self, prompt: Prompt, question: Question, reason: str) -> Distribution:
        """As words, whose likeliest continuation one call reads to its end; in groups where words do not do, without
        definitions and demonstrations in the question for a group, which are the labels' own."""

        def ask(inner: Question) -> Distribution:
            return self._asked(prompt, inner, reason)

        texts = [label.text for label in question.labels]
        if many_labels.go_as_words(prompt, texts):
            found = self._read(prompt, question, texts, reason)
            alike = any(len(members) == len(texts) for members, _ in found.open)
            if found.label_mass >= self.limits.min_label_mass and not alike:
                return many_labels.told_apart(question, found, ask)
        lettered = replace(prompt, codes="letters", definitions={}, demonstrations=())
        return many_labels.in_groups(
            question, self._width(prompt), lambda outer: self._asked(lettered, outer, reason), ask
        )

    def _from_votes(self, prompt: Prompt, question: Question) -> Distribution:
        """Shares of sampled answers, smoothed by one vote spread evenly over the labels (Perks 1947).

        With a rationale each answer begins with its own. Answers outside the set count as no vote; once half of all are
        outside, the task fails.
        """
        texts = tuple(label.text for label in question.labels)
        counts = dict.fromkeys(texts, 0)
        votes = max(self.limits.votes, prompt.samples)
        request = self._vote(prompt, question, texts)
        outside = 0
        for seed in range(votes):
            completion = self._complete(replace(request, seed=seed))
            rationale, code = _voted(completion.text, texts, prompt)
            if code is not None:
                counts[code] += 1
                self.told = self.told or rationale
                continue
            outside += 1
            if 2 * outside >= votes:
                raise AnswerError(_outside(question, outside, seed + 1, self.limits, cut=not completion.finished))
        valid = votes - outside
        shares = tuple((count + 1 / len(texts)) / (valid + 1) for count in counts.values())
        return Distribution(tuple(label.value for label in question.labels), shares, valid / votes, score_kind="votes")

    def _vote(self, prompt: Prompt, question: Question, texts: tuple[str, ...]) -> Request:
        rendered = render(prompt, question, self.values, texts, None if prompt.rationale else "")
        thinks = rendered.messages and self.engine.capabilities.thinking == "always"
        thinking = self.limits.thinking_tokens if thinks else _RATIONALE_TOKENS if prompt.rationale else 0
        longest = max(len(text.encode()) for text in texts)
        return Request(
            rendered.text,
            rendered.messages,
            max_tokens=thinking + longest + 16,
            temperature=_VOTE_TEMPERATURE,
            grammar=grammar.llguidance(texts, reasoned=prompt.rationale),
            json_schema=grammar.json_schema(texts, reasoned=prompt.rationale),
        )

    def _complete(self, request: Request) -> Completion:
        self.calls += 1
        completion = self.engine.complete(request)
        self.usage += completion.usage
        return completion


def _thought(rendered: Rendered, samples: int, number: int) -> Request:
    """One line; of several each with a seed of its own, so that asking again draws the same."""
    request = Request(rendered.text, rendered.messages, max_tokens=_RATIONALE_TOKENS, stop="\n")
    return request if samples == 1 else replace(request, temperature=_VOTE_TEMPERATURE, seed=number)


def _line(text: str) -> str:
    """The first line that says something, cut."""
    said = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join(said.split())[:_RATIONALE_CHARACTERS]


def _voted(text: str, texts: Sequence[str], prompt: Prompt) -> tuple[str, str | None]:
    if prompt.rationale:
        return grammar.read_reasoned(text, texts) or ("", None)
    return "", grammar.read(text, texts)


def _outside(question: Question, outside: int, asked: int, limits: Limits, *, cut: bool) -> str:
    found = f'{outside} of {asked} answers for "{question.control}" are outside the label set'
    thought = f"; the last was cut off before its label: is LLM_THINKING_TOKENS ({limits.thinking_tokens}) too few?"
    return found + (thought if cut else "")
