"""A run's verdict in words: what was decided and why, how sure the gain is, what changes in the prompt, what it cost.

The sentences name labels and the prompt's own text, never a task's: demonstrations are counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from backend.labeling import selection
from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Demonstration, Prompt
from backend.storage.runs import Decision, Estimate, EstimateKind, Spend
from worker import wording
from worker.optimizer.rollback import Watch

_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")
_MOST_QUOTED = 400
_MOST_NAMED = 6
_NOTICEABLE_NATS = 0.2

# The reasons stand in place of {why}, where there are any.
_DECIDED: Mapping[Decision, tuple[str, str]] = {
    "published": ("Published: the new prompt labels from now on.", ""),
    "awaiting_approval": ("Better, but not in use yet: a person must activate the new prompt.", ""),
    "kept": (
        "Not published: {why}. The active prompt stays; the new one is kept and tried again with more labels.",
        "the gain is not sure enough",
    ),
    "no_headroom": (
        "Nothing that was tried beats the active prompt. Collect labels, or clarify the guideline.",
        "",
    ),
    "too_few_labels": ("Too few labels: {why}. Go on annotating.", "prompts cannot be compared yet"),
    "overtaken": (
        "Dropped: {why} while this run was under way.",
        "another prompt became active, or the labeling configuration changed,",
    ),
    "rolled_back": (
        "Rolled back: {why}. The prompt before labels again.",
        "the active prompt does worse on new labels",
    ),
    "out_of_budget": (
        "Stopped: {why}. The active prompt stays; what was paid for is remembered: the next run goes on from there.",
        "the budget is used up",
    ),
    "failed": ("Failed: {why}. The active prompt stays.", "the run could not go on"),
}  # fmt: skip


def words(
    decision: Decision,
    estimate: Estimate | None,
    changes: Sequence[str],
    origin: str,
    spend: Spend,
    labels: int,
    *,
    objections: Sequence[str] = (),
) -> tuple[str, ...]:
    """A paragraph an entry: the decision, the evidence, what it mends and breaks, what changes, what it cost.

    `changes` and `origin` are of the challenger; `objections` are why it was not published, in words without a stop.
    """
    paragraphs = [
        _decided(decision, objections),
        *(_evidence(estimate) if estimate else ()),
        _changed(decision, changes, origin),
        f"The run saw {wording.counted(labels, 'label')}. {wording.cost(spend)}",
    ]
    return tuple(paragraph for paragraph in paragraphs if paragraph)


def _decided(decision: Decision, objections: Sequence[str]) -> str:
    sentence, otherwise = _DECIDED[decision]
    return sentence.format(why="; ".join(objections).rstrip(".") or otherwise)


_SEEN: Mapping[EstimateKind, tuple[str, str]] = {
    "holdout": ("that it had not seen", ""),
    "prequential": ("that came after it was found", ""),
    "cross-fitted": ("each answered by a prompt chosen without it", ","),
}


def _evidence(estimate: Estimate) -> Iterator[str]:
    if not estimate.n:
        yield "No label was left to compare the two prompts on."
        return
    seen, comma = _SEEN[estimate.kind]
    yield (
        f"On {wording.counted(estimate.n, 'label')}{comma} {seen}, the new prompt was right on "
        f"{round(estimate.challenger_accuracy * estimate.n)}, the old on "
        f"{round(estimate.active_accuracy * estimate.n)}; {_gain(estimate)}. "
        f"It is {wording.certainty(estimate.p_better)} (chance of being better: {wording.percent(estimate.p_better)})."
    )
    yield _mended(estimate)
    if estimate.active_effort and estimate.challenger_effort:
        yield (
            f"A task takes {wording.effort(estimate.challenger_effort)} with the new prompt, "
            f"{wording.effort(estimate.active_effort)} with the old."
        )


def _gain(estimate: Estimate) -> str:
    interval = f"90 % interval {_signed(estimate.low)} to {_signed(estimate.high)}"
    if not estimate.gain:
        return f"no gain ({interval} points)"
    return f"the {'gain' if estimate.gain > 0 else 'loss'} is {wording.points(estimate.gain)} ({interval})"


def _signed(change: float) -> str:
    """Whole points; a loss is negative."""
    return f"{round(100 * change):d}"


def _mended(estimate: Estimate) -> str:
    if not estimate.wins and not estimate.losses:
        return "The two prompts were right and wrong on the same labels."
    return (
        f"It mends {wording.counted(estimate.wins, 'wrong answer')} "
        f"and spoils {wording.counted(estimate.losses, 'right one')}."
    )


def _changed(decision: Decision, changes: Sequence[str], origin: str) -> str:
    if not changes:
        return ""
    served = decision in ("published", "awaiting_approval")
    head = "What changes" if served else "The best prompt that was tried would have changed this"
    source = f" It came from: {origin}." if origin else ""
    return f"{head}: {' '.join(changes)}{source}"


def rolled_back(watch: Watch, active: str, previous: str) -> str:
    """`active` and `previous` are names of versions."""
    return (
        f"On {wording.counted(watch.labels, 'label')} of tasks drawn by lot that arrived after {active} was published, "
        f"it alone was right on {watch.better}, {previous} alone on {watch.worse}. Chance would show so clear a loss "
        f"in fewer than one of ten projects: {previous} labels again."
    )


def changes(before: Prompt, after: Prompt) -> tuple[str, ...]:
    """A sentence a change, in the order in which the prompt is read."""
    return tuple(_differences(before, after)) or ("Nothing in the prompt changed.",)


def _differences(before: Prompt, after: Prompt) -> Iterator[str]:
    yield from _instruction(before.instruction, after.instruction)
    yield from _definitions(before.definitions, after.definitions)
    yield from _rules(before.rules, after.rules)
    if selection.selects(before) or selection.selects(after):
        yield from _selection(before, after)
    else:
        yield from _demonstrations(before.demonstrations, after.demonstrations)
    yield from _format(before, after)
    yield from _calibration(before.calibration, after.calibration)


def _instruction(before: str, after: str) -> Iterator[str]:
    """What was added and dropped where a sentence stayed, else the new text."""
    old, new = _sentences(before), _sentences(after)
    if old == new:
        return
    added, dropped = [s for s in new if s not in old], [s for s in old if s not in new]
    if not set(old) & set(new):
        yield f"The instruction is new: {_closing(after)}"
        return
    if added:
        yield f"The instruction says in addition: {_closing(' '.join(added))}"
    if dropped:
        yield f"The instruction no longer says: {_closing(' '.join(dropped))}"
    if not added and not dropped:
        yield "The instruction's sentences stand in another order."


def _sentences(text: str) -> list[str]:
    return [" ".join(part.split()) for part in _SENTENCE.split(text.strip()) if part.strip()]


def _quoted(text: str) -> str:
    return f'"{wording.clipped(text, _MOST_QUOTED)}"'


def _closing(text: str) -> str:
    """Quoted at the end of a sentence, which the text's own stop may end."""
    quoted = _quoted(text)
    return quoted if quoted[-2] in ".!?…" else f"{quoted}."


def _definitions(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for label, meaning in after.items():
        if label not in before:
            yield f"{_quoted(label)} is now defined: {_closing(meaning)}"
        elif before[label] != meaning:
            yield f"{_quoted(label)} is defined anew: {_quoted(meaning)}, before {_closing(before[label])}"
    dropped = [_quoted(label) for label in before if label not in after]
    if dropped:
        yield f"No longer defined: {wording.listed(dropped)}."


def _rules(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    added, dropped = [rule for rule in after if rule not in before], [rule for rule in before if rule not in after]
    yield from (f"New rule: {_closing(rule)}" for rule in added)
    yield from (f"Dropped rule: {_closing(rule)}" for rule in dropped)
    if not added and not dropped and list(before) != list(after):
        yield "The rules stand in another order."


def _demonstrations(before: Sequence[Demonstration], after: Sequence[Demonstration]) -> Iterator[str]:
    if list(before) == list(after):
        return
    if not after:
        yield f"It shows no examples any more, before {len(before)}."
        return
    kept = sum(one in before for one in after)
    if kept == len(before) == len(after):
        yield "Its examples stand in another order."
        return
    fresh = "" if not before else f", {len(after) - kept} of them new; before it showed {len(before)}"
    yield f"It shows {wording.counted(len(after), 'example')} with the right answer ({_of_labels(after)}){fresh}."


def _selection(before: Prompt, after: Prompt) -> Iterator[str]:
    """Of prompts one of which at least shows each task examples of its own."""
    old, new = _shown(before), _shown(after)
    if old != new:
        yield f"It shows {new}; before it showed {old}."
    elif any(one not in before.demonstrations for one in after.demonstrations):
        yield f"It shows {new}, some of them new."
    elif (before.demonstrations, before.packs) != (after.demonstrations, after.packs):
        yield "Its examples stand in another order."
    if after.shown and not before.shown:
        yield "As the prompt differs from task to task, a server's cache holds less of it."


def _shown(prompt: Prompt) -> str:
    count = len(prompt.demonstrations)
    if not count:
        return "no examples"
    labels = f"with the right answer ({_of_labels(prompt.demonstrations)})"
    if prompt.packs:
        most = selection.most_shown(prompt)
        return f"each task the nearest of {len(prompt.packs)} packs of {most}, from {count} examples {labels}"
    if prompt.shown:
        return f"each task the {prompt.shown} most similar of {count} examples {labels}"
    return f"all tasks the same {wording.counted(count, 'example')} {labels}"


def _of_labels(shown: Sequence[Demonstration]) -> str:
    """ "2 positive, 2 negative", the commonest first."""
    counts = Counter(", ".join(values) or "none" for one in shown for values in one.labels.values())
    named = [f"{count} {label}" for label, count in counts.most_common(_MOST_NAMED)]
    left = len(counts) - len(named)
    return ", ".join([*named, *([f"{left} other labels"] if left else [])])


def _format(before: Prompt, after: Prompt) -> Iterator[str]:
    if before.style != after.style:
        yield f"It is sent as {'chat turns' if after.style == 'chat' else 'one plain text'}."
    if before.codes != after.codes:
        yield {
            "auto": "The model answers with the labels' words where it can tell them apart, else with letters.",
            "words": "The model answers with the labels' words.",
            "letters": "The model answers with letters that stand for the labels.",
        }[after.codes]
    if before.fenced != after.fenced:
        yield f"A task's text stands {'between tags' if after.fenced else 'bare, without tags'}."


def _calibration(before: Calibration, after: Calibration) -> Iterator[str]:
    if before.bias == after.bias and before.temperature == after.temperature:
        return
    if not after.bias and after.temperature == 1:
        yield "Its scores are no longer calibrated."
        return
    several = len(after.bias) > 1
    leaning = [
        _quoted(f"{question} = {label}" if several else label)
        for question, bias in after.bias.items()
        for label in _favoured(bias)
    ][:_MOST_NAMED]
    leans = f": its leaning to {wording.listed(leaning)} is taken away" if leaning else ""
    yield f"Its scores are calibrated on {wording.counted(after.fitted_on, 'label')}{leans}."


def _favoured(bias: Mapping[str, float]) -> list[str]:
    """Labels whose bias lies noticeably above the mean of all, the most favoured first."""
    mean = sum(bias.values()) / len(bias) if bias else 0.0
    found = [label for label, nats in bias.items() if nats - mean > _NOTICEABLE_NATS]
    return sorted(found, key=lambda label: -bias[label])
