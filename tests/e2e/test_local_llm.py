"""The real local LLM: its weights prepared as on a fresh machine, served, asked, stopped."""

import hashlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.labeling.engines.weights import CARRIED
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import EngineBusyError, EngineError
from backend.stack import free_port
from tests.labeling.building import SENTIMENT
from tests.replaying import rows, write

START_S = 600
STATIC = "Decide whether the review is negative or positive.\n\nnegative: unhappy.\npositive: happy.\n\n" * 3


@dataclass(frozen=True, slots=True)
class Running:
    process: "subprocess.Popen[str]"
    url: str
    log: Path
    home: Path

    def complete(self, prompt: str, **more: Any) -> httpx.Response:
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 100, **more}
        return httpx.post(f"{self.url}/v1/completions", json=body, timeout=300)


def start(home: Path, *arguments: str) -> Running:
    """Returns once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "backend.cli", "llm", "--port", str(port), *arguments]
    with (home / "log").open("w") as log:
        environment = {**os.environ, "WHETSTONE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True)
    running = Running(process, f"http://127.0.0.1:{port}", home / "log", home)
    await_llm(process, running.url, running.log)
    return running


def await_llm(process: "subprocess.Popen[Any]", url: str, log: Path) -> None:
    """Until it serves at `url`, as long as the process that is to bring it about runs."""
    deadline = time.monotonic() + START_S
    while not serves(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("home"))
    yield running
    running.process.kill()
    running.process.wait()


def test_the_first_start_tells_how_far_it_is_and_makes_the_very_weights_that_were_measured(llm: Running) -> None:
    assert "preparing smollm2-135m" in llm.log.read_text()
    made = (llm.home / "models" / "smollm2-135m.gguf").read_bytes()
    assert hashlib.sha256(made).hexdigest() == CARRIED["smollm2-135m"].made


def test_it_is_listed_under_the_name_it_was_asked_for(llm: Running) -> None:
    models = httpx.get(f"{llm.url}/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["smollm2-135m"]


def test_a_hundred_alternatives_come_with_their_log_probs(llm: Running) -> None:
    answer = llm.complete("The capital of France is").json()
    alternatives = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert len(alternatives) == 100
    assert " Paris" in [one["token"] for one in alternatives]
    assert 0.3 < sum(math.exp(one["logprob"]) for one in alternatives) <= 1.001


def test_after_one_prompt_for_each_slot_the_static_part_comes_from_the_prefix_cache(llm: Running) -> None:
    def cached(number: int) -> float:
        usage = llm.complete(f"{STATIC}Review: {number} things broke\nLabel:").json()["usage"]
        return float(usage["prompt_tokens_details"]["cached_tokens"])

    static = llm.complete(STATIC.rstrip()).json()["usage"]["prompt_tokens"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cached, range(8)))
        shares = [tokens / static for tokens in pool.map(cached, range(8, 40))]
    assert sum(shares) / len(shares) > 0.9


def test_it_writes_no_prompt_to_its_log(llm: Running) -> None:
    llm.complete("the very secret review")
    assert "very secret" not in llm.log.read_text()


def test_the_second_start_prepares_nothing_and_sigterm_ends_it_with_exit_code_0(llm: Running) -> None:
    made = (llm.home / "models" / "smollm2-135m.gguf").stat().st_mtime_ns
    second = start(llm.home)
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(60) == 0
    assert (llm.home / "models" / "smollm2-135m.gguf").stat().st_mtime_ns == made


def test_a_simulation_that_is_terminated_stops_the_local_llm_that_it_started(llm: Running, tmp_path: Path) -> None:
    data, config, written = (
        write(tmp_path / "data.jsonl", rows(200, test=200)),
        tmp_path / "labels.xml",
        tmp_path / "log",
    )
    config.write_text(SENTIMENT)
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**os.environ, "WHETSTONE_HOME": str(llm.home), "LOCAL_LLM_PORT": str(port)}
    command = [sys.executable, "-m", "backend.cli", "simulate", str(data), "--config", str(config)]
    with written.open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    await_llm(process, url, written)
    process.terminate()
    assert process.wait(START_S) == 1
    assert not serves(url)


@pytest.fixture
def own(llm: Running, tmp_path: Path) -> Iterator[Running]:
    """A file of one's own, with little room for prompts."""
    (tmp_path / "mine.gguf").symlink_to(llm.home / "models" / "smollm2-135m.gguf")
    running = start(tmp_path, "--model", str(tmp_path / "mine.gguf"), "--slots", "4", "--context", "512")
    yield running
    running.process.kill()
    running.process.wait()


def test_a_file_of_ones_own_is_served_under_its_name(own: Running) -> None:
    assert httpx.get(f"{own.url}/v1/models").json()["data"][0]["id"] == "mine"


def test_long_prompts_that_do_not_fit_together_are_busy_at_worst_and_answered_one_by_one(own: Running) -> None:
    prompts = [f"{number} " + "word " * 300 for number in range(8)]
    with closing(Wire(f"{own.url}/v1", "", timeout_s=300)) as wire:

        def ask(prompt: str) -> EngineError | None:
            try:
                wire.post("/completions", {"prompt": prompt, "max_tokens": 1})
            except EngineError as error:
                return error
            return None

        with ThreadPoolExecutor(8) as pool:
            errors = [error for error in pool.map(ask, prompts) if error]
        assert {type(error) for error in errors} <= {EngineBusyError}
        assert [ask(prompt) for prompt in prompts] == [None] * 8


def test_a_file_that_is_cut_short_is_refused_with_a_reason(llm: Running, tmp_path: Path) -> None:
    whole = (llm.home / "models" / "smollm2-135m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:1_000_000])
    command = [sys.executable, "-m", "backend.cli", "llm", "--model", str(tmp_path / "cut.gguf")]
    result = subprocess.run(
        [*command, "--port", str(free_port())], capture_output=True, text=True, check=False, timeout=START_S
    )
    assert result.returncode == 3
    assert "llama.cpp cannot serve" in result.stderr


def test_a_port_that_is_taken_is_named(llm: Running) -> None:
    port = llm.url.rpartition(":")[2]
    command = [sys.executable, "-m", "backend.cli", "llm", "--model", str(llm.home / "models" / "smollm2-135m.gguf")]
    result = subprocess.run([*command, "--port", port], capture_output=True, text=True, check=False, timeout=START_S)
    assert result.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
