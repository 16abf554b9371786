"""All bars of speed: against the scripted server with 50 ms latency, and against the local LLM."""

from collections.abc import Callable

from tests.benchmarks import prefix_cache, responsiveness, throughput
from tests.benchmarks.clients import LabelStudio
from tests.benchmarks.figures import Section
from tests.benchmarks.neighbours import local_llm, redis, scripted_llm, service
from tests.benchmarks.throughput import Plan

LATENCY_MS = 50
SCRIPTED = Plan(pairs=5, tasks={1: 20, 20: 400, 200: 600}, serial=40)
SCRIPTED_QUICK = Plan(pairs=1, tasks={1: 5, 20: 60, 200: 200}, serial=10)
LOCAL = Plan(pairs=5, tasks={1: 10, 20: 60, 200: 200}, serial=20)
LOCAL_QUICK = Plan(pairs=1, tasks={1: 2, 20: 20}, serial=2)

Say = Callable[[str], None]


def run(say: Say, *, quick: bool) -> list[Section]:
    return [*_against_the_scripted_server(say, quick=quick), *_against_the_local_llm(say, quick=quick)]


def _against_the_scripted_server(say: Say, *, quick: bool) -> list[Section]:
    plan = SCRIPTED_QUICK if quick else SCRIPTED
    with redis() as address, scripted_llm(LATENCY_MS) as endpoint, service(endpoint, address) as served:
        sections = [throughput.measure(endpoint, LabelStudio(served), plan, say)]
        say("stored predictions, memory")
        sections.append(responsiveness.stored_and_memory(served))
        say("/health and /setup under load")
        sections.append(responsiveness.under_load(served, count=50 if quick else 1000))
        say("beside an optimization")
        return [
            *sections,
            responsiveness.during_optimization(
                endpoint, served, address, count=20 if quick else 200, rounds=1 if quick else 5
            ),
        ]


def _against_the_local_llm(say: Say, *, quick: bool) -> list[Section]:
    plan = LOCAL_QUICK if quick else LOCAL
    say("starting the local LLM")
    with redis() as address, local_llm() as endpoint, service(endpoint, address) as served:
        say("prefix cache")
        cache = prefix_cache.measure(endpoint, count=8 if quick else 100)
        sections = [throughput.measure(endpoint, LabelStudio(served), plan, say), cache]
        say("beside an optimization")
        return [
            *sections,
            responsiveness.during_optimization(
                endpoint, served, address, count=8 if quick else 100, rounds=1 if quick else 5
            ),
        ]
