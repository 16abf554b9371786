"""Versions change under traffic: two gunicorn processes answer while others publish and roll back."""

import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from backend.labeling import schema
from backend.labeling.prompt import Prompt, PromptVersion
from backend.storage.store import Store
from tests.flows.conftest import until
from tests.flows.gunicorn_server import GunicornServer
from tests.flows.payloads import CONFIG, LOVED, PROJECT, label, predict_body, setup_body, task
from tests.scripted_llm import ScriptedLLM

SWAPS = 20
ANSWERS_A_SWAP = 20  # at one swap a second, 20 requests a second; the clients make as many as the machine can
CLIENTS = 8
LABELS = ("positive", "negative", "neutral")
MODEL = "scripted-1"


def made(number: int) -> PromptVersion:
    """Its instruction says its number, from which the scripted LLM takes what it answers."""
    return PromptVersion.of(
        number,
        Prompt(f"Number {number}. Label it."),
        config_hash=schema.parse(CONFIG).config_hash,
        model=MODEL,
        origin="test",
        created_at=datetime.now(UTC),
    )


def meant(number: int) -> tuple[str, float]:
    """The label and the score that version `number` gives, another score for each."""
    return LABELS[number % len(LABELS)], 0.4 + number / 100


def answer(prompt: str) -> Mapping[str, float]:
    numbered = re.search(r"Number (\d+)\.", prompt)
    if not numbered:
        return dict.fromkeys(LABELS, 1 / len(LABELS))
    chosen, share = meant(int(numbered[1]))
    return {each: share if each == chosen else (1 - share) / 2 for each in LABELS}


@dataclass(frozen=True, slots=True)
class Answer:
    """`published` is how many publications had returned before the request was sent."""

    published: int
    status: int
    results: list[dict[str, Any]]


@dataclass
class Traffic:
    """Clients without a pause. `published` are the names of active versions, in order, each added once the call that
    made it active had returned."""

    server: GunicornServer
    published: list[str]
    answers: list[Answer] = field(default_factory=list)
    clients: list[Future[None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def wait(self, more: int) -> None:
        wanted = len(self.answers) + more
        until(lambda: len(self.answers) >= wanted or any(client.done() for client in self.clients))
        for client in self.clients:
            assert not client.done() or client.result() is None

    def run(self, first: int) -> None:
        with self.server.client() as client:
            for number in count(first, CLIENTS):
                if self.over.is_set():
                    return
                self.answers.append(self._ask(client, number))

    def _ask(self, client: httpx.Client, number: int) -> Answer:
        """One task that each version is asked for again and again, one of a few, and a new one."""
        rows = [task(1, LOVED), task(2, f"{LOVED} {number % 5}"), task(3, f"{LOVED} Number of mine: {number}")]
        published = len(self.published)
        response = client.post("/predict", json=predict_body(rows))
        return Answer(published, response.status_code, response.json().get("results", []))


@pytest.fixture
def store(redis_client: Redis) -> Store:
    return Store(redis_client, max_predictions=10_000)


@pytest.fixture
def traffic(redis_url: str, store: Store, scripted_llm: ScriptedLLM, tmp_path: Path) -> Iterator[Traffic]:
    scripted_llm.change(label=answer)
    settings = {
        "REDIS_URL": redis_url,
        "OPENAI_BASE_URL": scripted_llm.base_url,
        "BLIND_SHARE": "0",
        "LLM_MODEL": MODEL,
    }
    with GunicornServer(settings, tmp_path / "log") as server:
        with server.client() as client:
            seed = client.post("/setup", json=setup_body()).json()["model_version"]
        assert store.publish(PROJECT, made(2), seed, by="test")
        with ThreadPoolExecutor(CLIENTS) as threads:
            traffic = Traffic(server, [made(2).name])
            traffic.clients = [threads.submit(traffic.run, first) for first in range(CLIENTS)]
            try:
                yield traffic
            finally:
                traffic.over.set()


@pytest.fixture
def publishers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def compete(store: Store, publishers: ThreadPoolExecutor, first: int) -> str:
    """Two publish on what both saw; the name of the one that won."""
    active = store.active(PROJECT)
    assert active
    rivals = [made(first), made(first + 1)]
    won = list(publishers.map(lambda rival: store.publish(PROJECT, rival, active.name, by="a rival"), rivals))
    assert sorted(won) == [False, True]
    return rivals[won.index(True)].name


def roll_back(store: Store) -> str:
    active, previous = store.active(PROJECT), store.previous(PROJECT)
    assert active
    assert previous
    assert store.activate(PROJECT, previous, expected=active.name, by="a person")
    return previous


def test_versions_are_swapped_under_traffic(traffic: Traffic, store: Store, publishers: ThreadPoolExecutor) -> None:
    for number in range(1, SWAPS + 1):
        traffic.wait(ANSWERS_A_SWAP)
        traffic.published.append(compete(store, publishers, 1 + 2 * number) if number % 4 else roll_back(store))
    traffic.wait(ANSWERS_A_SWAP)

    assert [each.version for each in store.activations(PROJECT)][:-1] == traffic.published[::-1]
    assert [answer for answer in traffic.answers if answer.status != httpx.codes.OK or not all(answer.results)] == []
    assert [answer for answer in traffic.answers if len(versions(answer)) != 1] == []
    assert [answer for answer in traffic.answers if is_stale(answer, traffic.published)] == []
    assert [answer for answer in traffic.answers if not all(map(is_whole, answer.results))] == []
    assert set().union(*map(versions, traffic.answers)) == set(traffic.published)


def versions(answer: Answer) -> set[str]:
    return {result["model_version"] for result in answer.results}


def is_stale(answer: Answer, published: list[str]) -> bool:
    """Neither of the version that was active when the request was sent, nor of a later one."""
    return not versions(answer) <= set(published[answer.published - 1 :])


def is_whole(result: Mapping[str, Any]) -> bool:
    """The version's name and what its prompt makes of the task belong together."""
    expected, score = meant(int(result["model_version"][1:5]))
    return label(result) == expected and result["score"] == pytest.approx(score, abs=0.004)
