"""How a process is stopped that has started others."""

import signal
from types import FrameType
from typing import NoReturn


def interrupt_on_sigterm() -> None:
    """SIGTERM raises `KeyboardInterrupt`, as Ctrl-C does, so that what was started is stopped. For the main thread."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
