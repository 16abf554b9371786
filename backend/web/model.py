"""The class that makes this a Label Studio backend. It works under label-studio-ml 1.0.9 and its upstream main, whose
constructors and calls differ; our own routes and either of their servers can drive it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend import logs, settings
from backend.service import Service
from backend.settings import Settings
from backend.web import events


class WhetstoneModel(LabelStudioMLBase):  # type: ignore[misc] # the base class has no types
    """`project` is Label Studio's "id.created"; without it the numeric id of the first task stands in."""

    def __init__(
        self, *args: Any, service: Service | None = None, project: str = "", config: str = "", **kwargs: Any
    ) -> None:
        self._service = service or _service_of(settings.load())
        self._project = project
        self._config = config
        super().__init__(*args, **kwargs)

    def setup(self) -> None:
        """Upstream's constructor ends with this, and its server's `/setup` answers what is set here."""
        if self.label_config:
            current = self._service.current(self._project or self.project_id or "0", self._config or self.label_config)
            self.set("model_version", current.version.name)

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """`context` (a region an annotator drew) and the login in `kwargs` are not needed to label text."""
        del context, kwargs
        if not tasks:
            return []
        project = self._project or str(tasks[0].get("project") or "0")
        return self._service.predict(project, self._config or self.label_config, tasks)

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Called as `fit(event, data)` upstream and `fit((), event=, data=)` in 1.0.9; answers at once."""
        named = dict(zip(("event", "data"), args, strict=False)) | kwargs
        payload = named.get("data") or {}
        return events.receive(self._service, {**payload, "action": named.get("event")})


@lru_cache(maxsize=1)
def _service_of(configured: Settings) -> Service:
    logs.configure(configured)
    return Service(configured, serves=True)
