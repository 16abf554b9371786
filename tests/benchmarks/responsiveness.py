"""What people wait for: stored predictions, small routes under load, a task beside an optimization."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from demo.reviews import CONFIG
from tests.benchmarks.clients import PROJECT, LabelStudio, fresh_texts, latency_s, tasks
from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.neighbours import Endpoint, Served, environment_for, running

STORED = 1000
BATCH = 200
MOST_STORED_S = 1.0
MOST_MEMORY_MB = 350.0
MOST_P99_S = {"/health": 0.05, "/setup": 0.15, "/webhook": 0.05}
MOST_TIMES_IDLE = 2.0
SETUP = json.dumps(
    {"project": PROJECT, "schema": CONFIG, "hostname": "http://localhost:8080", "extra_params": {}}
).encode()
_CAPTURED = Path(__file__).parents[1] / "data" / "label_studio" / "webhook_annotation_created.json"
EVENT = json.dumps(json.loads(_CAPTURED.read_text())["body"]).encode()


def stored_and_memory(served: Served, *, repeats: int = 5) -> Section:
    """The first round labels, the others find everything stored; then every process has its memory measured."""
    label_studio, texts = LabelStudio(served), fresh_texts(STORED)
    for start in range(0, STORED, BATCH):
        label_studio.predict(texts[start : start + BATCH])
    seconds = [label_studio.run(texts, STORED).seconds for _ in range(repeats)]
    memory = served.processes.pss_mb
    return Section(
        f"{STORED} predicted tasks asked for again; memory after that",
        [
            {
                "answered in, s (median)": median(seconds),
                "slowest, s": max(seconds),
                "PSS of each process, MB": _list(memory),
            }
        ],
        [
            Bar(f"{STORED} stored predictions", max(seconds), MOST_STORED_S, "s"),
            Bar("memory of the largest process", max(memory), MOST_MEMORY_MB, "MB"),
        ],
    )  # fmt: skip


def under_load(served: Served, *, count: int) -> Section:
    """`/health`, `/setup` and `/webhook` in turn while two batches of 200 are under way at any time."""
    found: dict[str, list[float]] = {path: [] for path in MOST_P99_S}
    with _batches(served, at_once=2):
        for _ in range(count):
            found["/health"].append(latency_s(served.url, "/health"))
            found["/setup"].append(latency_s(served.url, "/setup", SETUP))
            found["/webhook"].append(latency_s(served.url, "/webhook", EVENT))
    return Section(
        f"Latencies while batches of {BATCH} run",
        [{"route": path, "requests": len(seconds), **_spread(seconds)} for path, seconds in found.items()],
        [
            Bar(f"{path} p99", 1000 * _percentile(seconds, 99), 1000 * MOST_P99_S[path], "ms")
            for path, seconds in found.items()
        ],
    )


def during_optimization(endpoint: Endpoint, served: Served, redis_url: str, *, count: int, rounds: int) -> Section:
    """One-task `/predict`s, idle and beside a process that labels with the priority "optimize"; interleaved."""
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(rounds):
        idle += _one_by_one(served, count // rounds)
        with running(["-m", "tests.benchmarks.optimization"], environment_for(endpoint, redis_url)):
            busy += _one_by_one(served, count // rounds)
    times = _percentile(busy, 95) / _percentile(idle, 95)
    return Section(
        f"One-task /predict, {endpoint.name}",
        [
            {"beside": "nothing", "requests": len(idle), **_spread(idle)},
            {"beside": "an optimization", "requests": len(busy), **_spread(busy)},
        ],
        [Bar("p95 beside an optimization, times idle", times, MOST_TIMES_IDLE)],
    )


def _one_by_one(served: Served, count: int) -> list[float]:
    bodies = [
        json.dumps({"tasks": tasks([text]), "project": PROJECT, "label_config": CONFIG}).encode()
        for text in fresh_texts(count)
    ]
    return [latency_s(served.url, "/predict", body) for body in bodies]


@contextmanager
def _batches(served: Served, *, at_once: int) -> Iterator[None]:
    over = threading.Event()

    def send() -> None:
        label_studio = LabelStudio(served)
        while not over.is_set():
            label_studio.predict(fresh_texts(BATCH))

    with ThreadPoolExecutor(at_once) as pool:
        senders = [pool.submit(send) for _ in range(at_once)]
        try:
            yield
        finally:
            over.set()
        for sender in senders:
            sender.result()


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}, ms": 1000 * _percentile(seconds, percent) for percent in (50, 95, 99)}


def _percentile(values: Sequence[float], percent: int) -> float:
    """Interpolated between the two values around it."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)
