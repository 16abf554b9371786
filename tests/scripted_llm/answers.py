"""What the scripted LLM thinks of a prompt: keyword rules on the last task text, in the form the prompt asks for."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

LIKED = re.compile(r"\b(love[ds]?|great|good|excellent|amazing|perfect|thank you|thanks)\b", re.IGNORECASE)
DISLIKED = re.compile(r"\b(hate[ds]?|bad|terrible|awful|broken|broke|waiting|worst|poor)\b", re.IGNORECASE)
FENCES = (
    re.compile(r"<([A-Za-z][\w:-]*)(?:\s[^<>]*)?>.*?</\1>", re.DOTALL),
    re.compile(r"```.*?```", re.DOTALL),
    re.compile(r'""".*?"""', re.DOTALL),
    re.compile(r"<<<.*?>>>", re.DOTALL),
)
NEXT_FIELD = re.compile(r"[ \t]*\n(?:\w[\w .-]*:[ \t]*)?")
CUE_LINE = re.compile(r"(\n+)[^\n]{0,200}:[ \t]*(\"?[\w-]{0,20})\s*\Z")
LONGEST_CUE = 300
LEGEND_LINE = re.compile(r"^[ \t]*(?:[-*] )?\(?([A-Z]{1,3})[).:=]+[ \t]+(.+)$", re.MULTILINE)
LEGEND_END = re.compile(r" \(|: | - | — ")
YES_OR_NO = re.compile(r"\b(yes)(?: or |/)(no)\b", re.IGNORECASE)
QUOTED = re.compile(r"[\"“‘'`]([^\"“”‘’'`\n]{1,80})[\"”’'`]")
QUOTES = "\"“”‘’'` \t"
ELSEWHERE = 1e-4


def answers(prompt: str, label: Callable[[str], Mapping[str, float]]) -> Mapping[str, float]:
    """Yes and no when the prompt asks that, letters when it holds a legend of them, else the labels."""
    labels = label(prompt)
    frame, _ = frame_and_task(prompt)
    return _yes_or_no(frame, labels) or _letters(frame, labels) or labels


def keyword_label(prompt: str) -> dict[str, float]:
    """Of positive, negative and neutral those that the prompt names, in its spelling; all three unless it names two."""
    frame, task = frame_and_task(prompt)
    liked, disliked = len(LIKED.findall(task)), len(DISLIKED.findall(task))
    if liked == disliked:
        ranked = ("neutral", "negative", "positive")
    else:
        ranked = ("positive", "neutral", "negative") if liked > disliked else ("negative", "neutral", "positive")
    sure = 0.6 if liked == disliked else 1 - 0.2 / abs(liked - disliked)
    distribution = dict(zip(ranked, (sure, 0.7 * (1 - sure), 0.3 * (1 - sure)), strict=True))
    return _as_spelled(distribution, frame)


@lru_cache(maxsize=64)
def frame_and_task(prompt: str) -> tuple[str, str]:
    """The last fenced text, if near the end, with other data fields right before it; else the last paragraph."""
    start, end = _last_fence(prompt) or _last_paragraph(prompt)
    return prompt[:start] + prompt[end:], prompt[start:end]


def _last_fence(prompt: str) -> tuple[int, int] | None:
    found = sorted((match.span() for fence in FENCES for match in fence.finditer(prompt)), key=lambda span: span[1])
    if not found or len(prompt) - found[-1][1] > LONGEST_CUE:
        return None
    start, end = found.pop()
    for other_start, other_end in reversed(found):
        if other_end > start or NEXT_FIELD.fullmatch(prompt, other_end, start):
            start = min(start, other_start)
        else:
            break
    return start, end


def _last_paragraph(prompt: str) -> tuple[int, int]:
    """Without the cue after it, such as "Label:" or "Label: posi"."""
    cue = CUE_LINE.search(prompt)
    is_cue = cue and (not cue.group(2) or cue.group(1) == "\n")
    end = cue.start() if cue and is_cue else len(prompt)
    end = len(prompt[:end].rstrip())
    return prompt.rfind("\n\n", 0, end) + 1, end


def _as_spelled(distribution: Mapping[str, float], frame: str) -> dict[str, float]:
    spelled = {}
    for label, probability in distribution.items():
        named = re.search(rf"\b{label}\b", frame, re.IGNORECASE)
        if named:
            spelled[named.group()] = probability
    if len(spelled) == 1:
        spelled = {
            next((name for name in spelled if name.lower() == label), label): p for label, p in distribution.items()
        }
    total = sum(spelled.values())
    return {label: probability / total for label, probability in spelled.items()} if spelled else dict(distribution)


def _yes_or_no(frame: str, labels: Mapping[str, float]) -> dict[str, float] | None:
    """About the last quoted label, else the last quoted text."""
    asked = YES_OR_NO.search(frame)
    quoted = [text.strip() for text in QUOTED.findall(frame)]
    if not asked or not quoted:
        return None
    by_name = {label.lower(): probability for label, probability in labels.items()}
    about = next((text for text in reversed(quoted) if text.lower() in by_name), quoted[-1])
    probability = min(max(by_name.get(about.lower(), 0.0), 0.02), 0.98)
    return {asked.group(1): probability, asked.group(2): 1 - probability}


def _letters(frame: str, labels: Mapping[str, float]) -> dict[str, float] | None:
    """Only if the legend names two labels; its other letters get next to nothing."""
    legend: dict[str, str] = {}
    for letter, text in LEGEND_LINE.findall(frame):
        legend.setdefault(letter, LEGEND_END.split(text)[0].strip(QUOTES).lower())
    by_name = {label.lower(): probability for label, probability in labels.items()}
    if sum(text in by_name for text in legend.values()) < 2:
        return None
    weights = {letter: by_name.get(text, ELSEWHERE) for letter, text in legend.items()}
    return {letter: weight / sum(weights.values()) for letter, weight in weights.items()}
