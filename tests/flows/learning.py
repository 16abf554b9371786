"""A world to learn in: texts that people like or dislike, and LLMs that see it only when asked in the right way."""

import hashlib
import json
from collections.abc import Callable, Mapping

from tests.scripted_llm import ScriptedLLM
from tests.scripted_llm.answers import frame_and_task, keyword_label

LIKED = ("I love this great kettle", "An excellent, wonderful lamp", "Great sound, I love it")
DISLIKED = ("A terrible kettle, broken on arrival", "Awful lamp, I hate it", "Bad sound, it was broken")
COIN = (
    {"positive": 0.8, "negative": 0.15, "neutral": 0.05},
    {"positive": 0.15, "negative": 0.8, "neutral": 0.05},
)


def texts(count: int) -> list[str]:
    return [f"{(LIKED, DISLIKED)[i % 2][i // 2 % 3]}. No {i}." for i in range(count)]


def truth(index: int) -> str:
    return ("positive", "negative")[index % 2]


def chance(text: str) -> Mapping[str, float]:
    """A coin, which falls the same way each time."""
    return COIN[hashlib.sha256(text.encode()).digest()[0] % 2]


def muddled(prompt: str) -> Mapping[str, float]:
    """Right where the prompt shows what is meant, by four texts with their labels; a coin else."""
    frame, text = frame_and_task(prompt)
    shown = sum(frame.count(f"sentiment: {label}") for label in ("positive", "negative", "neutral"))
    return keyword_label(prompt) if shown >= 4 else chance(text)


def particular(prompt: str) -> Mapping[str, float]:
    """Right under the shortest of the templates, which a single round tries; a coin else."""
    frame, text = frame_and_task(prompt)
    return keyword_label(prompt) if "sentiment of the text" in frame else chance(text)


def turned(prompt: str) -> Mapping[str, float]:
    """What `particular` was right under is wrong, and all else right."""
    frame, _ = frame_and_task(prompt)
    right = keyword_label(prompt)
    swapped = {"positive": right["negative"], "negative": right["positive"], "neutral": right["neutral"]}
    return swapped if "sentiment of the text" in frame else right


def questions(llm: ScriptedLLM) -> int:
    """How many different ones the LLM was asked about the texts, however often."""
    asked = {json.dumps(each.body) for each in llm.requests if "completions" in each.path}
    return sum(". No " in body for body in asked)


def at_call(llm: ScriptedLLM, number: int, act: Callable[[], object]) -> None:
    """`act` happens once, when from now on that call comes, before it is answered."""
    due = [llm.calls + number]

    def fault(count: int, *_: object) -> None:
        if due and count >= due[0]:
            due.clear()
            act()

    llm.change(faults=fault)
