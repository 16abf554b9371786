"""Two models: what the student is not sure of goes to a stronger LLM.

`Prompt.escalate_below` is the student's least confidence that is kept, as the LLM gave it, before any calibration: 0
keeps all, above 1 (`ALWAYS`) asks the stronger LLM alone.
"""

from dataclasses import replace

from backend.labeling.answers import TaskAnswers

ALWAYS = 2.0
_ESCALATED = "by the stronger LLM"


def confidence(answers: TaskAnswers) -> float:
    """In (0, 1]: the likeliest label's probability, the least of all questions'."""
    return min((max(each.probabilities) for each in answers.distributions.values()), default=1.0)


def escalated(answers: TaskAnswers, before: TaskAnswers | None = None) -> TaskAnswers:
    """What the stronger LLM said, at the price of both."""
    if before is None:
        return replace(answers, escalated=True)
    usage, calls = before.usage + answers.usage, before.calls + answers.calls
    return replace(answers, escalated=True, usage=usage, calls=calls)


def key(question: str, answers: TaskAnswers) -> str:
    """Under which a question's calibration is kept: the two models are not calibrated alike."""
    return f"{question} ({_ESCALATED})" if answers.escalated else question
