"""`whetstone llm`: the local LLM alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import structlog
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bar

from backend import logs
from backend.calls import local_llm
from backend.labeling.engines.weights import CARRIED, Progress, weights
from backend.settings import load

_log = structlog.get_logger(__name__)


@click.command()
@click.option("--model", help="smollm2-135m, gemma3-270m, or the path of a GGUF file [default: LOCAL_MODEL]")
@click.option("--host", default="127.0.0.1", show_default=True, help="the address to listen on; it asks for no key")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: LOCAL_LLM_PORT]")
@click.option("--slots", type=click.IntRange(1, 64), default=4, show_default=True, help="requests answered at once")
@click.option("--context", type=click.IntRange(min=256), default=16_384, show_default=True, help="tokens they share")
@click.option("--threads", type=click.IntRange(min=1), help="[default: one for each processor]")
def llm(model: str | None, host: str, port: int | None, slots: int, context: int, threads: int | None) -> None:
    """Serve the local LLM, OpenAI-compatible, until Ctrl-C.

    Needs no key and no network: the weights come with the packages of requirements/local.txt (SmolLM2-135M-Instruct)
    and requirements/gemma.txt (Gemma-3-270m, under Gemma's own licence). The first start prepares SmolLM2's once, for
    ten seconds or so, and keeps them under WHETSTONE_HOME.

    `whetstone up` starts this by itself when neither OPENAI_BASE_URL nor OPENAI_API_KEY is set.

    \b
    Settings: LOCAL_MODEL, LOCAL_LLM_PORT, WHETSTONE_HOME.
    Example:  whetstone llm --model ~/models/qwen3-4b.Q4_0.gguf --port 9191
    """
    settings = load()
    logs.configure(settings)
    wanted = model or settings.local_model
    with _shown_progress(f"preparing {wanted}") as progress:
        path = weights(wanted, settings.whetstone_home / "models", progress)
    local_llm.serve(
        local_llm.LocalLlm(
            path=path,
            name=wanted if wanted in CARRIED else Path(wanted).stem,
            host=host,
            port=port or settings.local_llm_port,
            slots=slots,
            threads=threads or 0,
            context_tokens=context,
        )
    )


@contextmanager
def _shown_progress(title: str) -> Iterator[Progress]:
    """A bar on a terminal, else a line for each quarter; nothing at all while nothing has to be done."""
    if not sys.stderr.isatty():
        yield _Quarters(title)
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(title), total=1.0, visible=False)
        yield lambda share: bar.update(task, completed=share, visible=True)


class _Quarters:
    def __init__(self, title: str) -> None:
        self._title = title
        self._told = -1

    def __call__(self, share: float) -> None:
        if int(share * 4) > self._told:
            self._told = int(share * 4)
            _log.info(self._title, done=f"{self._told * 25} %")
