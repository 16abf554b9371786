"""One task's questions put to an LLM: what it says of each label, uncalibrated, and what that took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from backend.labeling import consistency, grammar, reading, verbalizer
from backend.labeling.answers import Distribution, Label, Question
from backend.labeling.engines.base import Completion, Engine, Request, Step, Usage
from backend.labeling.errors import AnswerError, EngineAnswerError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt, Rendered, render
from backend.labeling.reading import Reading

# More labels than this in one question have no letter each.
_GROUP = 20
# Groups are opened until less than this share is left in the others.
_LEFT_OUT = 0.02
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
        return _distribution(question.labels, self._read(prompt, question, codes, reason))

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
        if not descends and len(texts) > _most(width):
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
        """More labels than letters. As words, whose likeliest continuation one call reads to its end; labels that begin
        alike and are not on that way are told apart by questions of their own. In groups where words do not do."""
        texts = [label.text for label in question.labels]
        if prompt.codes == "letters" or prompt.style == "text" or not verbalizer.is_latin(texts):
            return self._in_groups(prompt, question, reason)
        found = self._read(prompt, question, texts, reason)
        if found.label_mass < self.limits.min_label_mass or any(
            len(members) == len(texts) for members, _ in found.open
        ):
            return self._in_groups(prompt, question, reason)
        return self._told_apart(prompt, question, found, reason)

    def _told_apart(self, prompt: Prompt, question: Question, found: Reading, reason: str) -> Distribution:
        """The heaviest beginnings first, until what is left is negligible."""
        masses, censored = list(found.masses), set(found.censored)
        beginnings = sorted(found.open, key=lambda each: -each[1])
        left = sum(mass for _, mass in beginnings)
        for members, mass in beginnings:
            if left <= reading.NEGLIGIBLE * found.label_mass:
                break
            labels = tuple(question.labels[i] for i in members)
            inner = self._asked(prompt, replace(question, labels=labels), reason)
            for i, p in zip(members, inner.probabilities, strict=True):
                masses[i] = max(0.0, masses[i] + mass * (p - 1 / len(members)))
            censored -= {i for i in members if question.labels[i].value not in inner.censored}
            left -= mass
        return _distribution(question.labels, replace(found, masses=tuple(masses), censored=frozenset(censored)))

    def _in_groups(self, prompt: Prompt, question: Question, reason: str) -> Distribution:
        """p(label) = p(group) p(label | group): a tree of letters, two levels for up to 400 labels.

        Definitions and demonstrations are the labels' own and stay out of the question for the group.
        """
        most = _most(self._width(prompt))
        groups = _groups(question.labels, most)
        names = tuple(Label(str(i), "; ".join(label.text for label in group)) for i, group in enumerate(groups))
        lettered = replace(prompt, codes="letters", definitions={}, demonstrations=())
        outer = self._asked(lettered, replace(question, labels=names), reason)
        left, mass, censored = 1.0, 0.0, set[str]()
        chances = dict.fromkeys((label.value for label in question.labels), 0.0)
        for index in sorted(range(len(groups)), key=lambda i: -outer.probabilities[i]):
            share, members = outer.probabilities[index], groups[index]
            if left < _LEFT_OUT:
                inner = _even(members)
            else:
                inner = self._asked(prompt, replace(question, labels=members), reason)
            left -= share
            mass += share * inner.label_mass
            chances.update({value: share * p for value, p in zip(inner.labels, inner.probabilities, strict=True)})
            censored.update(inner.labels if str(index) in outer.censored else inner.censored)
        flagged = tuple(value for value in chances if value in censored)
        return Distribution(tuple(chances), tuple(chances.values()), outer.label_mass * mass, flagged)

    def _from_votes(self, prompt: Prompt, question: Question) -> Distribution:
        """Shares of sampled answers, smoothed by one vote spread evenly over the labels (Perks 1947).

        With a rationale each answer begins with its own. Answers outside the set count as no vote; with half of them or
        more outside, the task fails.
        """
        texts = tuple(label.text for label in question.labels)
        counts = dict.fromkeys(texts, 0)
        votes = max(self.limits.votes, prompt.samples)
        request = self._vote(prompt, question, texts)
        for seed in range(votes):
            rationale, code = _voted(self._complete(replace(request, seed=seed)).text, texts, prompt)
            if code is not None:
                counts[code] += 1
                self.told = self.told or rationale
        valid = sum(counts.values())
        if 2 * valid <= votes:
            raise AnswerError(f'{votes - valid} of {votes} answers for "{question.control}" are outside the label set')
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
        completion = self.engine.complete(request)
        self.usage += completion.usage
        self.calls += 1
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


def _most(width: int) -> int:
    """As many labels are told apart in one chat question."""
    return min(_GROUP, max(2, width))


def _groups(labels: tuple[Label, ...], most: int) -> list[tuple[Label, ...]]:
    """As few groups as `most` letters allow, evenly filled."""
    size = max(2, math.ceil(len(labels) / min(most, math.ceil(math.sqrt(len(labels))))))
    return [labels[i : i + size] for i in range(0, len(labels), size)]


def _even(labels: Sequence[Label]) -> Distribution:
    """Of labels that were not asked for: each has at most the share of all."""
    values = tuple(label.value for label in labels)
    return Distribution(values, (1 / len(values),) * len(values), censored=values)


def _distribution(labels: Sequence[Label], found: Reading) -> Distribution:
    """Even where nothing was seen: its label mass is then 0."""
    total = sum(found.masses)
    return Distribution(
        labels=tuple(label.value for label in labels),
        probabilities=tuple(mass / total if total else 1 / len(labels) for mass in found.masses),
        label_mass=found.label_mass,
        censored=tuple(labels[i].value for i in sorted(found.censored)),
    )
