"""Two models: what the student is not sure of goes to a stronger LLM.

`Prompt.escalate_below` is the student's least confidence that is kept, as the LLM gave it, before any calibration: 0
keeps all, above 1 (`ALWAYS`) asks the stronger LLM alone.
"""

from dataclasses import replace

from backend.labeling.answers import TaskAnswers
from backend.labeling.prompt import Prompt

ALWAYS = 2.0
_ESCALATED = "by the stronger LLM"


def is_strong(prompt: Prompt) -> bool:
    """Whether the stronger LLM labels alone."""
    return prompt.escalate_below >= ALWAYS


def alone(prompt: Prompt) -> tuple[Prompt, ...]:
    """Of a cascade each model's own prompt, the student's first; of any other the very same prompt."""
    if not 0 < prompt.escalate_below < ALWAYS:
        return (prompt,)
    return replace(prompt, escalate_below=0.0), replace(prompt, escalate_below=ALWAYS)


def confidence(answers: TaskAnswers) -> float:
    """In [0, 1]: the likeliest label's probability, the least of all questions'; 0 where nothing was usable."""
    return min((max(each.probabilities) for each in answers.distributions.values()), default=0.0)


def escalated(answers: TaskAnswers, before: TaskAnswers | None = None) -> TaskAnswers:
    """What the stronger LLM said, at the price of both. `before` is what the student said: no distributions where none
    was usable, None where it was not asked."""
    if before is None:
        return replace(answers, escalated=True)
    usage, calls = before.usage + answers.usage, before.calls + answers.calls
    return replace(answers, escalated=True, usage=usage, calls=calls)


def key(question: str, answers: TaskAnswers) -> str:
    """Under which a question's calibration is kept: the two models are not calibrated alike."""
    return f"{question} ({_ESCALATED})" if answers.escalated else question
