"""One cell's comparison: every arm on every seed, then many replays of ours; figures and bars from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.figures import Bar, Row, Section
from tests.benchmarks.optimizer import arms, peers
from tests.benchmarks.optimizer.arms import Arm, Result, Task
from tests.benchmarks.optimizer.asking import Model, NotRecordedError
from tests.benchmarks.optimizer.scoring import Measured, measured, paired_interval, spread, upper_bound
from worker.simulation import classic

LABELS = 100
BUDGETS = (300, 600, 1200, 2000)
PEER_BUDGET = 600
_POINT = 0.01
_REPLAY_SEEDS = 1000  # the first
_NEAR_BEST = 0.95
_ORACLE_SHARE = 0.7
_MOST_WORSE = 0.05


@dataclass(slots=True)
class Runs:
    """One arm's, by budget: a result and its test for each seed, in their order."""

    results: dict[int, list[Result]] = field(default_factory=dict)
    tests: dict[int, list[Measured]] = field(default_factory=dict)

    def add(self, budget: int, result: Result, test: Measured) -> None:
        self.results.setdefault(budget, []).append(result)
        self.tests.setdefault(budget, []).append(test)

    def accuracies(self, budget: int) -> list[float]:
        return [test.accuracy for test in self.tests[budget]]


@dataclass(slots=True)
class Comparison:
    """`oracle` is the pool's best member by all test labels; `replays` are ours, each tested."""

    model: Model
    naive: Measured
    oracle: Measured
    classic: list[float]
    runs: dict[str, Runs]
    replays: list[tuple[Result, Measured]]
    notes: list[str] = field(default_factory=list)


def compare(model: Model, *, seeds: int, replays: int, with_peers: bool, say: Callable[[str], None]) -> Comparison:
    """What is worth most comes first, so that a recording that is cut short is of use."""
    cell = model.cell
    say(f"{cell.name}: the pool on the test rows")
    naive = measured(model, cell.naive())
    oracle = max([naive, *(measured(model, prompt) for prompt in cell.pool)], key=lambda test: test.accuracy)
    found = Comparison(model, naive, oracle, [_classic(model, seed) for seed in range(seeds)], {}, [])
    for name, arm in arms.OURS.items():
        say(f"{cell.name}: {name}")
        found.runs[name] = _ours(model, arm, seeds)
    say(f"{cell.name}: {replays} replays")
    found.replays = [each for i in range(replays) if (each := _recorded(_replay, model, _REPLAY_SEEDS + i))]
    if len(found.replays) < replays:
        found.notes.append(f"{replays - len(found.replays)} of {replays} replays are left out: not all is recorded")
    for name in peers.SCRIPT if with_peers else ():
        say(f"{cell.name}: {name}")
        try:
            found.runs[name] = _peer(model, name, seeds)
        except RuntimeError as error:
            found.notes.append(f"{name} is left out: {error}")
    model.recording.flush()
    return found


def _recorded(
    replay: Callable[[Model, int], tuple[Result, Measured]], model: Model, seed: int
) -> tuple[Result, Measured] | None:
    """None where the model may not be asked for what the recording lacks."""
    try:
        return replay(model, seed)
    except NotRecordedError:
        return None


def _task(model: Model, seed: int, budget: int) -> Task:
    return Task(model, model.cell.labelled(min(LABELS, len(model.cell.rows)), seed), seed, budget)


def _ours(model: Model, arm: Arm, seeds: int) -> Runs:
    runs = Runs()
    for budget in BUDGETS:
        for seed in range(seeds):
            result = arm(_task(model, seed, budget))
            runs.add(budget, result, measured(model, result.prompt))
    return runs


def _peer(model: Model, name: str, seeds: int) -> Runs:
    runs = Runs()
    for seed in range(seeds):
        results = peers.trajectory(name, _task(model, seed, PEER_BUDGET))
        for budget in (budget for budget in BUDGETS if budget <= PEER_BUDGET):
            result = peers.at(results, budget)
            runs.add(budget, result, measured(model, result.prompt))
    return runs


def _replay(model: Model, seed: int) -> tuple[Result, Measured]:
    result = arms.ours(_task(model, seed, BUDGETS[-1]))
    return result, measured(model, result.prompt)


def _classic(model: Model, seed: int) -> float:
    cell = model.cell
    said = classic.fit(cell.schema, _task(model, seed, 0).rows).predict(cell.tests)
    return sum(values == row.truth for values, row in zip(said, cell.tests, strict=True)) / len(said)


def sections(found: Comparison) -> Iterator[Section]:
    cell = found.model.cell
    title = f"{cell.name}, {cell.model}: {LABELS} labels, {len(cell.tests)} test rows"
    yield Section(f"{title}, test accuracy by calls", _by_calls(found), notes=found.notes)
    yield Section(f"{title}, each arm at its largest budget", _at_most(found), _bars(found))
    yield Section(f"{title}, theirs less ours at equal calls", _paired(found))
    yield Section(f"{title}, ours again with other labels", _replayed(found))


def _by_calls(found: Comparison) -> list[Row]:
    rows: list[Row] = []
    for name, runs in found.runs.items():
        cells: dict[str, float | str] = {"arm": name}
        for budget in BUDGETS:
            cells[f"{budget} calls"] = _ranged(runs.accuracies(budget)) if budget in runs.tests else ""
        cells["calls to 95 % of the best"] = _calls_to(found, runs)
        rows.append(cells)
    constant: dict[str, float | str] = {f"{budget} calls": "" for budget in BUDGETS}
    oracle = {
        "arm": "the pool's best by the test labels",
        **constant,
        f"{BUDGETS[-1]} calls": f"{found.oracle.accuracy:.3f}",
    }
    plain = {"arm": "TF-IDF, logistic regression", **constant, f"{BUDGETS[-1]} calls": _ranged(found.classic)}
    return [*rows, {**oracle, "calls to 95 % of the best": ""}, {**plain, "calls to 95 % of the best": ""}]


def _replayed(found: Comparison) -> list[Row]:
    """A run that publishes nothing serves the naive prompt on: its gain is 0."""
    gains: dict[str, list[float]] = {}
    for result, test in found.replays:
        gains.setdefault(result.note, []).append(100 * (test.accuracy - found.naive.accuracy))
    return [
        {"verdict": note, "replays": len(each), "gain in points": median(each), "from": min(each), "to": max(each)}
        for note, each in sorted(gains.items())
    ]


def _ranged(values: Sequence[float]) -> str:
    middle, low, high = spread(values)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _calls_to(found: Comparison, runs: Runs) -> str:
    """The smallest budget whose median is at least 95 % of the best median of any arm at any budget."""
    best = max(median(each.accuracies(budget)) for each in found.runs.values() for budget in each.tests)
    enough = [b for b in sorted(runs.tests) if median(runs.accuracies(b)) >= _NEAR_BEST * best]
    if not enough:
        return "never"
    return f"{median(result.calls for result in runs.results[enough[0]]):.0f}"


def _at_most(found: Comparison) -> list[Row]:
    return [_row(found, name, runs) for name, runs in found.runs.items()]


def _row(found: Comparison, name: str, runs: Runs) -> Row:
    budget = max(runs.tests)
    worse = sum(_is_worse(test, found.naive) for test in runs.tests[budget])
    return {
        "arm": name,
        "accuracy": _ranged(runs.accuracies(budget)),
        "gain over naive": median(runs.accuracies(budget)) - found.naive.accuracy,
        "worse than naive": f"{worse} of {len(runs.tests[budget])}",
        "ECE": median(test.ece for test in runs.tests[budget]),
        "calls": median(result.calls for result in runs.results[budget]),
        "verdicts": _verdicts(runs.results[budget]),
    }


def _is_worse(test: Measured, naive: Measured) -> bool:
    """By more than one point."""
    return test.accuracy < naive.accuracy - _POINT


def _verdicts(results: Sequence[Result]) -> str:
    counts: dict[str, int] = {}
    for result in results:
        counts[result.note] = counts.get(result.note, 0) + 1
    return ", ".join(f"{count} {note}" for note, count in sorted(counts.items()) if note)


def _bars(found: Comparison) -> list[Bar]:
    return [*_gain_bars(found), *_replay_bars(found), *_peer_bars(found)]


def _gain_bars(found: Comparison) -> Iterator[Bar]:
    ours = median(found.runs["ours"].accuracies(BUDGETS[-1]))
    gain, possible = ours - found.naive.accuracy, found.oracle.accuracy - found.naive.accuracy
    if possible > 0:
        yield Bar(
            "gain, of what the pool's best by the test labels gains", gain / possible, _ORACLE_SHARE, at_least=True
        )
    cell = found.model.cell
    if cell.least:
        yield Bar(f"accuracy (naive: {found.naive.accuracy:.3f})", ours, cell.least, at_least=True)


def _replay_bars(found: Comparison) -> Iterator[Bar]:
    if found.replays:
        worse, count = sum(_is_worse(test, found.naive) for _, test in found.replays), len(found.replays)
        name = f"more than a point below naive, of {count} replays (95 % upper bound {upper_bound(worse, count):.1%})"
        yield Bar(name, worse / count, _MOST_WORSE, "%")


def _peer_bars(found: Comparison) -> Iterator[Bar]:
    compared = _intervals(found)
    if compared:
        not_above = sum(low <= 0 for _, _, low, _ in compared) / len(compared)
        yield Bar("comparisons in which a peer is not wholly above", not_above, 1.0, "%", at_least=True)


def _paired(found: Comparison) -> list[Row]:
    return [
        {"peer": name, "calls": budget, "from": 100 * low, "to": 100 * high, "": "wholly above" if low > 0 else ""}
        for name, budget, low, high in _intervals(found)
    ]


def _intervals(found: Comparison) -> list[tuple[str, int, float, float]]:
    ours = found.runs["ours"]
    return [
        (name, budget, *paired_interval(ours.tests[budget], runs.tests[budget]))
        for name, runs in found.runs.items()
        if name in peers.SCRIPT
        for budget in sorted(runs.tests)
    ]
