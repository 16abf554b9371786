"""The scripted server in a process of its own; the first line it prints is its base URL."""

import argparse
import asyncio
import contextlib
import signal
import sys

from tests.scripted_llm.script import LLAMA_CPP, OPENAI, VLLM, Script
from tests.scripted_llm.server import listen, serve
from tests.scripted_llm.service import Service

PRESETS = {"llama.cpp": LLAMA_CPP, "vllm": VLLM, "openai": OPENAI}


def main() -> None:
    options = _options()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(_script(options), options.port))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_llm", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=0, help="milliseconds before every answer")
    parser.add_argument("--per-token-ms", type=float, default=0, help="milliseconds for each token")
    parser.add_argument("--slots", type=int, help="most generations at once, others wait")
    parser.add_argument("--dialect", choices=sorted(PRESETS), default="llama.cpp")
    parser.add_argument("--split-words", action="store_true", help="tokens of at most four characters")
    parser.add_argument("--model", default="scripted-1", help="the name that /v1/models lists")
    return parser.parse_args()


def _script(options: argparse.Namespace) -> Script:
    preset = PRESETS[options.dialect]
    return Script(
        dialect=preset.dialect,
        honours=preset.honours,
        rejects=preset.rejects,
        models=(options.model,),
        whole_words=not options.split_words,
        latency_s=options.latency_ms / 1000,
        per_token_s=options.per_token_ms / 1000,
        slots=options.slots,
    )


async def _serve(script: Script, port: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    listener = listen(port)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await serve(Service(script, record=False), listener, stopped)


if __name__ == "__main__":
    main()
