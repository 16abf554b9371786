"""What must be done though no event tells of it: annotations are read again, and work that was lost is taken up."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from backend.labeling.errors import StoreError
from backend.queue.dispatch import Dispatch
from backend.queue.kinds import KINDS
from backend.settings import Settings
from backend.storage.redis_client import connect
from backend.storage.store import Store

_log = structlog.get_logger(__name__)
_EVERY_S = 30.0


class Sweep:
    """Of all workers one sweeps at a time, each `every_s`, over the projects that are not gone. Reaches Redis only."""

    def __init__(self, settings: Settings, *, every_s: float = _EVERY_S) -> None:
        client = connect(settings.redis_address)
        self._settings = settings
        self._every_s = every_s
        self._store = Store(client, max_predictions=settings.max_cached_predictions)
        self._dispatch = Dispatch(client)

    def once(self) -> bool:
        """False when it was another worker's turn. Raises `StoreError`."""
        if not self._dispatch.turn("sweep", ttl_s=self._every_s):
            return False
        self._dispatch.free_abandoned()
        for record in self._store.projects():
            if record.gone:
                continue
            self._take_up(record.key)
            self._reconcile(record.key)
            self._watch(record.key)
        return True

    def until(self, over: threading.Event) -> None:
        while not over.wait(self._every_s / 2):
            try:
                self.once()
            except StoreError as error:
                _log.warning("no sweep", reason=str(error))
            except Exception:  # noqa: BLE001 - the thread's boundary: the next sweep may go well
                _log.exception("a sweep failed unexpectedly")

    def _take_up(self, project: str) -> None:
        for kind in KINDS:
            if self._dispatch.take_up(project, kind):
                _log.warning("work that was lost is taken up again", project=project, kind=kind)

    def _reconcile(self, project: str) -> None:
        """Once in RECONCILE_S all annotations are compared: events get lost, and imports raise none."""
        if self._settings.can_push and self._dispatch.turn(f"reconcile:{project}", ttl_s=self._settings.reconcile_s):
            self._dispatch.touch(project, "follow", trigger="reconcile")

    def _watch(self, project: str) -> None:
        """Once in CANARY_S predictions and model are compared with what they were."""
        settings = self._settings
        if settings.canary_s and settings.can_push and self._dispatch.turn(f"watch:{project}", ttl_s=settings.canary_s):
            self._dispatch.touch(project, "watch")


@contextmanager
def sweeping(settings: Settings, *, every_s: float = _EVERY_S) -> Iterator[None]:
    """In a thread of its own, beside RQ's worker, which is busy for hours while a run is on."""
    over = threading.Event()
    thread = threading.Thread(target=Sweep(settings, every_s=every_s).until, args=(over,), name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=every_s)
