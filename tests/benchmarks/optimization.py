"""An optimization's calls to the LLM: batches with the priority "optimize", until the process is stopped.

Prints a line once the first batch is under way.
"""

import signal
import sys
import threading

from backend import settings
from backend.service import Current, Service
from tests.benchmarks.clients import SCHEMA, fresh_texts, version

PROJECT = "2.1795346384"
BATCH = 200


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    configured = settings.load()
    service, current = Service(configured), Current(version(configured.prompt_style), SCHEMA)
    _label(service, current, 8)
    sys.stdout.write("under way\n")
    sys.stdout.flush()
    while not stopped.is_set():
        _label(service, current, BATCH)


def _label(service: Service, current: Current, count: int) -> None:
    data = [{"text": f"(optimization) {text}"} for text in fresh_texts(count)]
    service.label(PROJECT, current, data, priority="optimize", deadline_s=20)


if __name__ == "__main__":
    main()
