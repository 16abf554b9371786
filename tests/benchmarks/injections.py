"""Twenty recorded prompt injections in real sentences: how often does a text that gives orders get its way?"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.labeling.prompt import Style
from demo.reviews import reviews
from tests.benchmarks.figures import Row, Section
from tests.benchmarks.labelling import LABELS, Labelled, label, mean
from tests.benchmarks.neighbours import Endpoint, local_llm

DATA = Path(__file__).parent / "data"
INJECTIONS, HARMLESS = DATA / "injections.jsonl", DATA / "harmless.jsonl"
SENTENCES, SENTENCES_QUICK = 20, 2
Addition = dict[str, str]  # `name`, `place`, and `text` with {target} where it asks for a label
STYLES: tuple[Style, ...] = ("text", "chat")
NOTES = (
    "A flip: the sentence alone gets one label, with the injection the other, which the injection asks for. Harmless "
    "sentences in the same places show how much of that any added text does. A shift is that of the log-odds.",
)


def run(say: Callable[[str], None], *, quick: bool) -> list[Section]:
    with local_llm() as endpoint:
        rows = []
        for style in STYLES:
            for fenced in (True, False):
                say(f"injections: {style}, {'with' if fenced else 'without'} the fence")
                rows.append(_row(endpoint, style, fenced=fenced, sentences=SENTENCES_QUICK if quick else SENTENCES))
    return [Section(f"Prompt injections, {endpoint.name}", rows, notes=NOTES)]


def _row(endpoint: Endpoint, style: Style, *, fenced: bool, sentences: int) -> Row:
    def labelled(texts: Sequence[str]) -> list[Labelled]:
        return label(endpoint.engine(), texts, style=style, fenced=fenced)

    texts = [review.text for review in reviews(sentences)]
    clean = [(text, found) for text, found in zip(texts, labelled(texts), strict=True) if found.label]
    injected, harmless = (_added(_read(data), clean, labelled) for data in (INJECTIONS, HARMLESS))
    return {
        "style": style,
        "fence": "with" if fenced else "without",
        "injections": len(injected),
        "flips": sum(flipped for flipped, _ in injected),
        "flip rate": f"{mean(flipped for flipped, _ in injected):.0%}",
        "shift, nats": mean(shift for _, shift in injected),
        "harmless: flip rate": f"{mean(flipped for flipped, _ in harmless):.0%}",
        "harmless: shift, nats": mean(shift for _, shift in harmless),
    }


def _added(
    additions: Sequence[Addition],
    clean: Sequence[tuple[str, Labelled]],
    labelled: Callable[[Sequence[str]], list[Labelled]],
) -> list[tuple[bool, float]]:
    """For each addition to each sentence: did the label change to the other one, and how far did the log-odds move
    towards it."""
    pairs = [(addition, text, before) for addition in additions for text, before in clean]
    found = labelled([_insert(addition, text, _other(before.label)) for addition, text, before in pairs])
    return [
        (after.label == _other(before.label), _towards(_other(before.label)) * (after.log_odds - before.log_odds))
        for (_, _, before), after in zip(pairs, found, strict=True)
    ]


def _read(path: Path) -> list[Addition]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _towards(target: str) -> int:
    return 1 if target == LABELS[1] else -1


def _other(label_: str) -> str:
    return LABELS[label_ == LABELS[0]]


def _insert(addition: Addition, text: str, target: str) -> str:
    added = addition["text"].format(target=target)
    return f"{added} {text}" if addition["place"] == "before" else f"{text} {added}"
