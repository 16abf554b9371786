"""Which of a prompt's demonstrations a task sees: all, those most similar to it, or the nearest pack."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from backend.labeling import shortening
from backend.labeling.embedding import Embedder, Vector, dot, mean
from backend.labeling.errors import EmbeddingRefusedError
from backend.labeling.fields import Value
from backend.labeling.prompt import Prompt

# A demonstration's text takes no more of the prompt than this.
DEMONSTRATION_TOKENS = 120
# The cosine from which on a demonstration counts as the task itself in other words.
NEAR_COPY = 0.97
# So much farther than the one whose place it takes may a demonstration be, to bring in a second label.
FARTHER = 1.5


def selects(prompt: Prompt) -> bool:
    """Whether tasks see different demonstrations."""
    return bool(prompt.demonstrations) and (prompt.shown > 0 or bool(prompt.packs))


def most_shown(prompt: Prompt) -> int:
    """As many demonstrations one task sees at most."""
    if prompt.packs:
        return max(map(len, prompt.packs))
    return min(prompt.shown or len(prompt.demonstrations), len(prompt.demonstrations))


def rule(prompt: Prompt, embedder: Embedder | None) -> str:
    """Names what the choice depends on beside the prompt and the task, "" where nothing is chosen. Raises as
    `for_task`."""
    if not selects(prompt):
        return ""
    return f"{_needed(embedder).fingerprint} {NEAR_COPY} {FARTHER}"


def for_task(prompt: Prompt, values: Sequence[Value], embedder: Embedder | None) -> Prompt:
    """The prompt as the task with these values (uncut) sees it; the very same one where all is shown to all and none of
    it is the task, in the same words.

    Of the most similar the last is the most similar. Where all of them have one label, the least similar gives way to
    the nearest demonstration with another, unless that is more than 1.5 times as far away. The nearest pack is the one
    whose centroid (the mean of its vectors) is nearest; its order is kept. In either case the task itself, and near
    copies of it (a cosine of .97, or the same words), are left out.

    Raises `EmbeddingRefusedError` without an embedder, and what that raises.
    """
    if not selects(prompt):
        return without_copies(prompt, values)
    *texts, task = embedded(prompt, [values])
    *vectors, own = _needed(embedder).embed([*texts, task])
    likeness = [dot(own, vector) for vector in vectors]
    itself = _itself(values)
    usable = [
        i for i, text in enumerate(texts) if likeness[i] < NEAR_COPY and normalised(text) not in itself
    ]  # fmt: skip
    if prompt.packs:
        pack = _nearest_pack(prompt.packs, vectors, own)
        places = [place for place in pack if place in usable]
    else:
        places = _most_similar(prompt, likeness, usable)
    return replace(prompt, demonstrations=tuple(prompt.demonstrations[i] for i in places), shown=0, packs=())


def without_copies(prompt: Prompt, values: Sequence[Value]) -> Prompt:
    """Without the demonstrations that have the task's very words; the very same prompt where none has. Not for prompts
    that choose them for each task."""
    if not prompt.demonstrations:
        return prompt
    itself = _itself(values)
    kept = tuple(each for each in prompt.demonstrations if normalised(text_of(each.values)) not in itself)
    return prompt if len(kept) == len(prompt.demonstrations) else replace(prompt, demonstrations=kept)


def _itself(values: Sequence[Value]) -> set[str]:
    """The task as a demonstration would show it, and uncut."""
    return {normalised(text_of(shortened(values))), normalised(text_of(values))}


def embedded(prompt: Prompt, tasks: Iterable[Sequence[Value]]) -> list[str]:
    """The texts that `for_task` has embedded for these tasks' values: the demonstrations', then the tasks'."""
    shown = [text_of(each.values) for each in prompt.demonstrations]
    return [*shown, *(text_of(shortened(values)) for values in tasks)]


def shortened(values: Sequence[Value]) -> tuple[Value, ...]:
    """As demonstrations show them."""
    return shortening.shorten(values, DEMONSTRATION_TOKENS)[0]


def text_of(values: Sequence[Value]) -> str:
    """What is embedded."""
    return "\n".join(value.text for value in values)


def normalised(text: str) -> str:
    """Equal for texts that differ in case, white space or the form of their characters alone."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _needed(embedder: Embedder | None) -> Embedder:
    if embedder is None:
        raise EmbeddingRefusedError("this prompt shows each task demonstrations like it, and no embeddings are at hand")
    return embedder


def _most_similar(prompt: Prompt, likeness: Sequence[float], usable: Sequence[int]) -> list[int]:
    """Places of demonstrations, the most similar last; of equals the first is the more similar."""
    ranked = sorted(usable, key=lambda i: -likeness[i])
    chosen, rest = ranked[: prompt.shown], ranked[prompt.shown :]
    labels = [prompt.demonstrations[i].labels for i in chosen]
    if len(chosen) > 1 and all(each == labels[0] for each in labels):
        other = next((i for i in rest if prompt.demonstrations[i].labels != labels[0]), None)
        if other is not None and 1 - likeness[other] <= FARTHER * (1 - likeness[chosen[-1]]):
            chosen[-1] = other
    return chosen[::-1]


def _nearest_pack(packs: Sequence[tuple[int, ...]], vectors: Sequence[Vector], own: Vector) -> tuple[int, ...]:
    """By Euclidean distance: |own - c|² = 1 - 2 own·c + |c|². Of equals the first."""

    def distance(pack: tuple[int, ...]) -> float:
        centroid = mean([vectors[place] for place in pack])
        return dot(centroid, centroid) - 2 * dot(own, centroid)

    return min(packs, key=distance)
