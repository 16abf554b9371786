"""Tasks a second through `/predict`, side by side with the limit (a bare client) and with a serial client."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.clients import BareClient, LabelStudio, Run, fresh_texts
from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.neighbours import Endpoint

LEAST_OF_LIMIT = 0.9
LEAST_OF_SERIAL = 5.0
MOST_CPU_MS = 3.0
BATCHES_WITH_A_BAR = (20, 200)


@dataclass(frozen=True, slots=True)
class Plan:
    """`tasks` maps a batch size to how many tasks a pair sends in such batches."""

    pairs: int
    tasks: Mapping[int, int]
    serial: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, one right after the other, with equal texts but for the number before each."""

    service: Run
    bare: Run

    @property
    def ratio(self) -> float:
        return self.service.rate / self.bare.rate

    @property
    def extra_cpu_ms(self) -> float:
        return self.service.cpu_ms - self.bare.cpu_ms


def measure(endpoint: Endpoint, label_studio: LabelStudio, plan: Plan, say: Callable[[str], None]) -> Section:
    bare = BareClient(endpoint)
    _warm_up(label_studio, bare)
    pairs: dict[int, list[Pair]] = {batch: [] for batch in plan.tasks}
    serial: list[Run] = []
    for number in range(plan.pairs):
        say(f"{endpoint.name}: pair {number + 1} of {plan.pairs}")
        serial.append(bare.run_serially(fresh_texts(plan.serial)))
        for batch, count in plan.tasks.items():
            pairs[batch].append(_pair(label_studio, bare, batch, count, service_first=number % 2 == 0))
    return _section(endpoint, pairs, serial)


def _warm_up(label_studio: LabelStudio, bare: BareClient) -> None:
    """Connections, threads and imports on both sides; several batches, so that every gunicorn process has had one."""
    for _ in range(4):
        label_studio.run(fresh_texts(16), 16)
    bare.run(fresh_texts(16), 16)
    bare.run_serially(fresh_texts(2))


def _pair(label_studio: LabelStudio, bare: BareClient, batch: int, count: int, *, service_first: bool) -> Pair:
    if service_first:
        service = label_studio.run(fresh_texts(count), batch)
        return Pair(service, bare.run(fresh_texts(count), batch))
    limit = bare.run(fresh_texts(count), batch)
    return Pair(label_studio.run(fresh_texts(count), batch), limit)


def _section(endpoint: Endpoint, pairs: Mapping[int, Sequence[Pair]], serial: Sequence[Run]) -> Section:
    rows = [_row(batch, found, serial) for batch, found in pairs.items()]
    at_once = endpoint.concurrency
    return Section(
        f"Tasks a second, {endpoint.name}",
        rows,
        _bars(endpoint, pairs, serial),
        notes=(
            f"{len(serial)} interleaved pairs, {at_once} calls at once, {endpoint.style} prompts; rates are "
            "medians, ratios medians of each pair's ratio. The limit sends the same batches: of 20 tasks with "
            f"{at_once} at once, the last round is not full for it either.",
        ),
    )


def _row(batch: int, pairs: Sequence[Pair], serial: Sequence[Run]) -> dict[str, float | str]:
    return {
        "batch": batch,
        "/predict, tasks/s": median(pair.service.rate for pair in pairs),
        "limit, tasks/s": median(pair.bare.rate for pair in pairs),
        "of the limit": median(pair.ratio for pair in pairs),
        "serial, tasks/s": median(run.rate for run in serial),
        "× serial": _over_serial(pairs, serial),
        "service CPU, ms/task": median(pair.service.cpu_ms for pair in pairs),
        "bare CPU, ms/task": median(pair.bare.cpu_ms for pair in pairs),
        "CPU beyond, ms/task": median(pair.extra_cpu_ms for pair in pairs),
    }


def _over_serial(pairs: Sequence[Pair], serial: Sequence[Run]) -> float:
    return median(pair.service.rate / run.rate for pair, run in zip(pairs, serial, strict=True))


def _bars(endpoint: Endpoint, pairs: Mapping[int, Sequence[Pair]], serial: Sequence[Run]) -> list[Bar]:
    barred = {batch: found for batch, found in pairs.items() if batch in BATCHES_WITH_A_BAR}
    bars = []
    for batch, found in barred.items():
        ratio = median(pair.ratio for pair in found)
        bars.append(Bar(f"of the limit, batches of {batch}", ratio, LEAST_OF_LIMIT, at_least=True))
    if endpoint.style == "chat":
        for batch, found in barred.items():
            times = _over_serial(found, serial)
            bars.append(Bar(f"times the serial client, batches of {batch}", times, LEAST_OF_SERIAL, at_least=True))
    for batch, found in barred.items():
        extra = median(pair.extra_cpu_ms for pair in found)
        bars.append(Bar(f"CPU beyond the client's own, batches of {batch}", extra, MOST_CPU_MS, "ms/task"))
    return bars
