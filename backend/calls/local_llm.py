"""The local LLM's server: llama.cpp, speaking OpenAI's protocol, in a process of its own."""

import importlib
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from backend.labeling.errors import WhetstoneError

if TYPE_CHECKING:
    import xllamacpp

_log = structlog.get_logger(__name__)

SILENT = 1  # of llama.cpp's verbosities, the one that writes errors only

# How often a thread of llama.cpp looks whether the others are done before it sleeps. They wait for one another many
# times a token: if they look for as long as OpenMP has it, a machine with anything else to do gets a fifth done.
_SPINS = "10000"


class LocalLlmError(WhetstoneError):
    """The server cannot start."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class LocalLlm:
    """`name` is what /v1/models lists. `context_tokens` are shared by all slots: one long prompt may take them all.
    Prompts under way that do not fit together are all answered 500, which the engine reads as busy."""

    path: Path
    name: str
    host: str = "127.0.0.1"
    port: int = 9091
    slots: int = 4
    threads: int = 0  # 0: one for each processor that this process may use
    context_tokens: int = 16_384
    cache_mib: int = 256


def serve(llm: LocalLlm) -> None:
    """Blocks until SIGTERM or SIGINT; requests under way are dropped then. Raises `LocalLlmError`."""
    _refuse_taken(llm)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    llama = _loaded()
    try:
        server = llama.Server(_parameters(llama.CommonParams(), llm))
    except RuntimeError as error:
        raise LocalLlmError(
            f"llama.cpp cannot serve {llm.path}: {error}", hint="Is it a whole GGUF file, and is there memory for it?"
        ) from None
    _log.info("local LLM is up", model=llm.name, address=server.listening_address, slots=llm.slots)
    stopped.wait()


def _refuse_taken(llm: LocalLlm) -> None:
    """llama.cpp itself would load the weights and then not say what is wrong."""
    family = socket.AF_INET6 if ":" in llm.host else socket.AF_INET
    try:
        socket.create_server((llm.host, llm.port), family=family).close()
    except OSError as error:
        raise LocalLlmError(
            f"the local LLM cannot listen on {llm.host}:{llm.port}: {error.strerror}",
            hint="Set LOCAL_LLM_PORT to a free port.",
        ) from None


def _loaded() -> Any:
    """llama.cpp, whose OpenMP reads the environment when it is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    return importlib.import_module("xllamacpp")


def _parameters(parameters: "xllamacpp.CommonParams", llm: LocalLlm) -> "xllamacpp.CommonParams":
    parameters.model.path = str(llm.path)
    parameters.model_alias = {llm.name}
    parameters.hostnames = [llm.host]
    parameters.port = llm.port
    parameters.n_parallel = llm.slots
    parameters.n_ctx = llm.context_tokens
    parameters.kv_unified = True
    parameters.swa_full = True  # a sliding window (Gemma's) otherwise forgets the prefix that prompts share
    parameters.cache_ram_mib = llm.cache_mib
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = llm.threads or _processors()
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = False
    parameters.ui = False
    parameters.verbosity = SILENT
    return parameters


def _processors() -> int:
    return len(os.sched_getaffinity(0))
