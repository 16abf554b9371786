"""All of Whetstone on this machine, as `whetstone up` runs it, with a scripted LLM in place of the local one."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.settings import Settings
from backend.stack import Stack, free_port
from demo.label_studio_server import LabelStudioServer
from tests.scripted_llm import ScriptedLLM

WAIT_S = 600


@dataclass(frozen=True, slots=True)
class Whetstone:
    label_studio: LabelStudioServer
    stack: Stack
    llm: ScriptedLLM

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line, with the settings of this Whetstone."""
        return subprocess.run(
            [sys.executable, "-m", "backend.cli", *arguments],
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "160", **self.stack.environment},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )


@contextmanager
def running(label_studio: LabelStudioServer, home: Path, **changes: Any) -> Iterator[Whetstone]:
    """`changes` are of its settings."""
    with ScriptedLLM() as llm:
        settings = Settings(
            label_studio_url=label_studio.url,
            label_studio_api_key=label_studio.personal_token(),
            openai_base_url=llm.base_url,
            webhook_secret="the webhook's own",
            port=free_port(),
            whetstone_home=home,
            blind_share=0,
            **{"canary_s": 0, **changes},
        )
        with Stack(settings) as stack:
            yield Whetstone(label_studio, stack, llm)


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s until {what}"
        time.sleep(0.3)
