"""A tree of labels is asked from the top: what lies below a label that is all but excluded is not asked."""

from collections.abc import Mapping

from backend.labeling.answers import Distribution, Question

# Less likely than this, and nothing below a label is asked. Above what five votes give where all say no, which is
# .5 / 6 = .083; far below 1/2, since an LLM's own probabilities may be off.
OPEN = 0.1


def bound(question: Question, found: Mapping[str, Distribution]) -> Distribution | None:
    """In place of an answer, where the one above (of those `found` by `Question.key`) needs none: yes is at most as
    likely as there, and both labels are censored. None where the question is to be asked."""
    above = found.get(question.above)
    if above is None or above.probability("yes") >= OPEN:
        return None
    return Distribution(above.labels, above.probabilities, censored=above.labels, score_kind=above.score_kind)


def is_bound(question: Question, answer: Distribution) -> bool:
    """Whether the question was not asked."""
    return bool(question.above) and len(answer.censored) == len(answer.labels)
