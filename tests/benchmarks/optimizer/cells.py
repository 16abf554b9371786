"""Which data with which model: rows to learn from, rows to test on, a pool of instructions, demonstration sets."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from backend.calls.embedding import make_embedder
from backend.labeling import schema as schemas
from backend.labeling import templates
from backend.labeling.prompt import Prompt, Style
from backend.labeling.schema import LabelingSchema
from backend.labeling.verbalizer import CodeKind
from backend.settings import load
from worker.labels.examples import Example
from worker.optimizer.demonstration_sets import Draw, drawn
from worker.optimizer.demonstrations import DemonstrationSet
from worker.simulation import replay_data

ROOT = Path(__file__).parents[3]
POOLS = Path(__file__).parent / "pools"
STYLE: Style = "text"
_SEED = 0
_PUBLIC = {
    "subj_movies": "nltk_data's corpora/subjectivity (Pang and Lee 2004, CC BY 4.0)",
    "banking77": "task-specific-datasets' banking_data (Casanueva et al. 2020, CC BY 4.0)",
}


@dataclass(frozen=True)
class Cell:
    """One data set with one local model. `learn` and `test` are how many rows of the train and the test half are used;
    the first `shown` of `learn` are those that demonstrations come from, in every seed, so that all arms and seeds
    share what was recorded; `sets_drawn` sets are made of them, and `pooled` instructions of the pool are used.

    Without `labels` every so many of those that the file has, in their alphabet. `least` is the accuracy that is asked
    of ours, 0 for none. `part` passes over the rows of so many cells like it: what was chosen with those in view is
    judged on others.
    """

    name: str
    model: str
    file: str
    control: str
    labels: tuple[str, ...]
    pool_name: str
    learn: int
    test: int
    shown: int = 24
    least: float = 0.0
    codes: CodeKind = "auto"
    every: int = 1
    pooled: int = 16
    sets_drawn: int = 8
    part: int = 0

    @property
    def key(self) -> str:
        """Names the cell on the command line, and its recording."""
        return f"{self.pool_name}_{self.part}" if self.part else self.pool_name

    @cached_property
    def schema(self) -> LabelingSchema:
        choices = "".join(f'<Choice value="{label}"/>' for label in self._labels())
        control = f'<Choices name="{self.control}" toName="text">{choices}</Choices>'
        return schemas.parse(f'<View><Text name="text" value="$text"/>{control}</View>')

    @cached_property
    def path(self) -> Path | None:
        """`BENCH_DATA`, the folder beside the checkout, or what the demo carries; None where the data is not there."""
        folders = [os.environ.get("BENCH_DATA", ""), ROOT.parent / "shared" / "datasets", ROOT / "demo" / "data"]
        found = [Path(folder) / self.file for folder in folders if folder]
        return next((path for path in found if path.exists()), None)

    @property
    def how_to_get(self) -> str:
        source = _PUBLIC.get(self.file.removesuffix(".jsonl"), "what is named in demo/data/NOTICE.md")
        return (
            f'{self.name} needs {self.file}, one {{"id", "text", "label", "split"}} a line, split train or test: '
            f"make it from {source} and set BENCH_DATA to its folder"
        )

    def naive(self) -> Prompt:
        return Prompt(templates.initial_instruction(self.schema), style=STYLE, codes=self.codes)

    @cached_property
    def pool(self) -> tuple[Prompt, ...]:
        document = json.loads((POOLS / f"{self.pool_name}.json").read_text(encoding="utf-8"))
        texts = [entry["text"] for entry in document["instructions"][: self.pooled]]
        return tuple(Prompt(text, style=STYLE, codes=self.codes) for text in texts)

    @cached_property
    def rows(self) -> tuple[Example, ...]:
        """Those that demonstrations come from first; they all are train rows to the optimizer too."""
        left = _shuffled(self._data.rows)
        for _ in range(self.part):
            used = self._first_of(left)
            left = [row for row in left if row not in used]
        return self._first_of(left)

    @cached_property
    def tests(self) -> tuple[Example, ...]:
        before = self.part * self.test
        return tuple(_evenly(_shuffled(self._data.test), before + self.test)[before:])

    @cached_property
    def everything(self) -> tuple[Example, ...]:
        """All rows with one of the labels, of both halves, in seeded order."""
        return tuple(_shuffled([*self._data.rows, *self._data.test]))

    @cached_property
    def sets(self) -> tuple[DemonstrationSet, ...]:
        """Drawn once, by the optimizer's own rule, from the first rows."""
        draw = Draw(self.schema, self.rows[: self.shown], (), embed=make_embedder(load()).embed)
        return drawn(draw, self.sets_drawn, _SEED)

    def labelled(self, count: int, seed: int) -> tuple[Example, ...]:
        """The rows that demonstrations come from, and a seeded draw of the others."""
        rest = random.Random(seed).sample(self.rows[self.shown :], count - self.shown)
        return (*self.rows[: self.shown], *rest)

    def _first_of(self, rows: Sequence[Example]) -> tuple[Example, ...]:
        shown = _evenly([row for row in rows if row.split == "train"], self.shown)
        rest = [row for row in rows if row not in shown]
        return (*shown, *rest[: self.learn - len(shown)])

    def _labels(self) -> tuple[str, ...]:
        if self.labels or self.path is None:
            return self.labels
        with self.path.open(encoding="utf-8") as lines:
            return tuple(sorted({json.loads(line)["label"] for line in lines}))[:: self.every]

    @cached_property
    def _data(self) -> replay_data.ReplayData:
        if self.path is None:
            raise FileNotFoundError(self.how_to_get)
        return replay_data.read(self.path, self.schema)


def _shuffled(rows: Sequence[Example]) -> list[Example]:
    return random.Random(_SEED).sample(rows, len(rows))


def _evenly(rows: list[Example], count: int) -> list[Example]:
    """Label by label in turn, in the order given."""
    stacks: dict[str, list[Example]] = {}
    for row in rows:
        stacks.setdefault(repr(row.truth), []).append(row)
    turns = max(map(len, stacks.values()), default=0)
    dealt = [stack[i] for i in range(turns) for stack in stacks.values() if i < len(stack)]
    return dealt[:count]


_FILM = Cell(
    name="subjective/objective film sentences",
    model="smollm2-135m",
    file="subj_movies.jsonl",
    control="kind",
    labels=("objective", "subjective"),
    pool_name="subj_movies",
    learn=120,
    test=150,
    pooled=8,
    sets_drawn=16,
)
CELLS = (
    Cell(
        name="negative/positive Amazon sentences",
        model="gemma3-270m",
        file="amazon_20raters.jsonl",
        control="sentiment",
        labels=("negative", "positive"),
        pool_name="amazon_sentiment",
        learn=120,
        test=150,
        least=0.85,
    ),
    _FILM,
    replace(_FILM, name="other film sentences", part=1),
    replace(_FILM, name="yet other film sentences", part=2),
    Cell(
        name="20 of 77 intents of bank customers",
        model="smollm2-135m",
        file="banking77.jsonl",
        control="intent",
        labels=(),
        pool_name="banking77",
        learn=110,
        test=100,
        shown=40,
        codes="letters",  # one call each; as words they take up to 24
        every=4,
        pooled=6,
    ),
)
