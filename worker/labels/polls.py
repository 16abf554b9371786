"""Each question that people were asked, with all their votes on it and what these amount to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.labeling.answers import Question
from backend.labeling.controls import Control
from worker.labels.votes import Answers
from worker.statistics.consensus import Consensus, Method, Vote, consensus


@dataclass(frozen=True, slots=True)
class Poll:
    """`votes` name each item by `Example.id`, also those that stay undecided. Of a multiple choice there is a poll a
    label, `about` it, in which people say "yes" or "no". `settled` are items that one annotation, flagged as ground
    truth, decides."""

    key: str
    control: str
    about: str | None
    votes: tuple[Vote, ...]
    consensus: Consensus
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """One item's answers to a control: `all` that people gave, and those that count for its truth, which are fewer
    where one is flagged as ground truth. `questions` are what the control asks of this item."""

    item: str
    questions: tuple[Question, ...]
    all: Answers
    counted: Answers
    flagged: bool


def polls(control: Control, asked: Sequence[Asked], method: Method) -> Iterable[Poll]:
    """None for a multiple choice whose options differ from task to task: each label is a question of its own there.
    Where a single choice's options do, nobody's confusions can be told: the majority decides."""
    if control.options_key and control.multiple:
        return
    questions = control.questions({}) if not control.options_key else (Question(control.name, ()),)
    for question in (each for each in questions if each.is_answer):
        votes = tuple(vote for each in asked for vote in each.all.votes(each.item, question))
        known = _known(asked, question)
        labels = [label.value for label in question.labels]
        found = consensus(votes, labels, method="majority" if control.options_key else method, known=known)
        about = question.about.value if question.about else None
        yield Poll(question.key, control.name, about, votes, found, frozenset(known))


def _known(asked: Iterable[Asked], question: Question) -> Mapping[str, str]:
    return {vote.item: vote.label for each in asked if each.flagged for vote in each.counted.votes(each.item, question)}
