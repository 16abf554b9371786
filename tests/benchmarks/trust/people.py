"""`python -m tests.benchmarks.trust.people`: several people's labels on real data. Needs no LLM.

How far people agree, who is unreliable, how far a person agrees with the others, and majority against Dawid and Skene's
model with few annotators a row. Both are judged by the data's own gold label.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import click
from rich.console import Console

from tests.benchmarks.figures import Row, Section, machine
from worker.labels.polls import Poll
from worker.optimizer.outcomes import Graded
from worker.report import annotators as people
from worker.statistics import agreement
from worker.statistics.agreement import Agreement
from worker.statistics.consensus import Method, Vote, consensus
from worker.statistics.intervals import Average

ROOT = Path(__file__).parents[3]
WIDTH = 180  # of tables in a file
_EACH = (2, 3, 5)
_METHODS: tuple[Method, ...] = ("majority", "dawid-skene", "auto")


@dataclass(frozen=True)
class Data:
    """A file of rows with a label and `annotations`, each {"annotator", "label"}. `known`: the same annotator is the
    same person from row to row."""

    name: str
    source: str
    known: bool

    @property
    def path(self) -> Path | None:
        """`BENCH_DATA`, or the folder beside the checkout; None where the data is not there."""
        folders = [os.environ.get("BENCH_DATA", ""), ROOT.parent / "shared" / "datasets"]
        found = [Path(folder) / f"{self.name}.jsonl" for folder in folders if folder]
        return next((path for path in found if path.exists()), None)

    @property
    def how_to_get(self) -> str:
        return (
            f'{self.name} needs {self.name}.jsonl, one {{"id", "text", "label", "annotations": [{{"annotator", '
            f'"label"}}]}} a line: make it from {self.source} and set BENCH_DATA to its folder'
        )

    def rows(self) -> tuple[list[Vote], dict[str, str]]:
        """All votes, and the gold label of each item. Of people who are not known each vote is somebody else's."""
        if self.path is None:
            raise FileNotFoundError(self.how_to_get)
        rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        votes = [
            Vote(row["id"], each["annotator"] if self.known else "", each["label"])
            for row in rows
            for each in row["annotations"]
        ]
        return votes, {row["id"]: row["label"] for row in rows}


DATA = (
    Data("convincing_pairs", "acl2016-convincing-arguments (Habernal and Gurevych 2016, CC BY 4.0)", known=True),
    Data("amazon_20raters", "vaderSentiment 3.3.2 (Hutto and Gilbert 2014, MIT)", known=False),
)


def drawn(votes: Sequence[Vote], each: int, seed: int) -> list[Vote]:
    """So many of each item's votes; items with fewer keep all."""
    by_item: dict[str, list[Vote]] = {}
    for vote in votes:
        by_item.setdefault(vote.item, []).append(vote)
    rng = random.Random(seed)
    return [vote for cast in by_item.values() for vote in rng.sample(cast, min(each, len(cast)))]


def with_a_guesser(votes: Sequence[Vote], share: float, seed: int) -> list[Vote]:
    """One more person, who labels that share of the items at random."""
    rng = random.Random(seed)
    labels = sorted({vote.label for vote in votes})
    items = dict.fromkeys(vote.item for vote in votes)
    return [*votes, *(Vote(item, "guesser", rng.choice(labels)) for item in items if rng.random() < share)]


def agreed(name: str, votes: Sequence[Vote], gold: dict[str, str]) -> Section:
    labels = sorted(set(gold.values()))
    found = consensus(votes, labels)
    ceiling = people.ceiling([Poll("label", "label", None, tuple(votes), found)], _as_if_gold_was_said(gold))
    kappas = [pair.kappa for pair in agreement.pairs(votes) if pair.kappa is not None]
    rows: list[Row] = [
        {"what": "items, votes", "value": f"{len(gold)}, {len(votes)}"},
        {"what": "Krippendorff's alpha", "value": _interval(agreement.alpha(votes))},
        {"what": "Cohen's kappa, mean over pairs", "value": _interval(agreement.kappa(votes))},
        {"what": "pairs of people with 10 items in common", "value": _pairs(kappas)},
        {"what": "a person agrees with the others", "value": _average(ceiling.people)},
        {"what": "the gold label agrees with the same others", "value": _average(ceiling.llm)},
        {"what": "unreliable annotators found", "value": ", ".join(sorted(found.at_random)) or "none"},
    ]
    return Section(f"{name}: how far people agree", rows)


def _as_if_gold_was_said(gold: dict[str, str]) -> dict[str, Graded]:
    return {item: Graded(right=True, margin=1.0, score=1.0, values={"label": (label,)}) for item, label in gold.items()}


def compared(data: Data, votes: Sequence[Vote], gold: dict[str, str], seeds: int) -> Section:
    """Medians over draws of each row's annotators; where people are known, also beside one who guesses."""
    rows: list[Row] = []
    for each in _EACH:
        draws = [drawn(votes, each, seed) for seed in range(seeds)]
        rows += _medians(str(each), draws, gold)
        if data.known and each > 2:
            guessed = [with_a_guesser(cast, 0.5, seed) for seed, cast in enumerate(draws)]
            rows += _medians(f"{each}, and one who guesses half of the rows", guessed, gold)
    return Section(f"{data.name}: consensus against the gold label", rows, notes=_caught(data, votes, seeds))


def _caught(data: Data, votes: Sequence[Vote], seeds: int) -> tuple[str, ...]:
    if not data.known:
        return ()
    labels = sorted({vote.label for vote in votes})
    found = [consensus(with_a_guesser(votes, 0.5, seed), labels).at_random for seed in range(seeds)]
    caught, wrong = sum("guesser" in names for names in found), sum(bool(names - {"guesser"}) for names in found)
    return (f"Beside all votes, one who guesses is found in {caught} of {seeds} draws, another accused in {wrong}.",)


def _medians(name: str, draws: Sequence[Sequence[Vote]], gold: dict[str, str]) -> list[Row]:
    """An undecided row counts as wrong in `accuracy`; `where decided` leaves it out."""
    labels = sorted(set(gold.values()))
    rows: list[Row] = []
    for method in _METHODS:
        found = [consensus(votes, labels, method=method).decided for votes in draws]
        right = [sum(decided.get(item) == label for item, label in gold.items()) for decided in found]
        rows.append(
            {
                "annotators a row": name,
                "method": method,
                "accuracy": f"{median(r / len(gold) for r in right):.3f}",
                "decided": f"{median(len(decided) / len(gold) for decided in found):.3f}",
                "where decided": f"{median(r / len(decided) for r, decided in zip(right, found, strict=True)):.3f}",
            }
        )
    return rows


def _interval(found: Agreement) -> str:
    return found.why if found.value is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _average(found: Average) -> str:
    return "-" if found.value is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _pairs(kappas: Sequence[float]) -> str:
    if not kappas:
        return "none"
    return f"{len(kappas)}: kappa {min(kappas):.2f} to {max(kappas):.2f}, mean {mean(kappas):.2f}"


def run(seeds: int) -> Iterator[Section]:
    for data in DATA:
        if data.path is None:
            yield Section(data.name, [], notes=(data.how_to_get,))
            continue
        votes, gold = data.rows()
        yield agreed(data.name, votes, gold)
        yield compared(data, votes, gold, seeds)


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=11, show_default=True, help="Draws of annotators.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there too.")
def main(seeds: int, json_path: Path | None) -> None:
    """Measure agreement and consensus on real annotators. In amazon_20raters nobody is known by name."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    found = []
    for section in run(seeds):
        section.show(console)
        found.append(section)
    if json_path:
        json_path.write_text(json.dumps({"machine": machine(), "sections": [s.to_json() for s in found]}, indent=1))


if __name__ == "__main__":
    main()
