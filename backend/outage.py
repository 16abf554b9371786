"""What a process remembers of a neighbour that failed, so that not everyone has to find out anew."""

import time
from typing import Self


class Outage:
    """From each failure on it lasts `for_s`."""

    def __init__(self, for_s: float) -> None:
        self._for_s, self._until = for_s, 0.0

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def failed(self) -> bool:
        """True for the first failure since it `passed`."""
        is_first, self._until = not self._until, time.monotonic() + self._for_s
        return is_first

    def passed(self) -> None:
        self._until = 0.0

    def lets_try(self) -> bool:
        """Not while it is on, and then one try each `for_s` until it `passed`."""
        if self.is_on:
            return False
        if self._until:
            self.failed()
        return True

    def __deepcopy__(self, _memo: object) -> Self:
        """redis-py gives each connection a copy of its client's retry: they all share this."""
        return self
