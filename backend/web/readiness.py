"""Can this process label now? With reasons where not."""

import re
from typing import Any

from backend.labeling.engines import probe
from backend.labeling.errors import EngineError, StoreError, WhetstoneError
from backend.service import Service

_CREDENTIALS = re.compile(r"//[^\s/]*@")


def check(service: Service) -> dict[str, Any]:
    """Redis and the LLM are each asked once."""
    parts = {"redis": _redis(service), "llm": _llm(service)}
    return {"ready": all(reason is None for reason in parts.values()), **{k: v or "ok" for k, v in parts.items()}}


def _redis(service: Service) -> str | None:
    try:
        service.store.ping()
    except StoreError as error:
        return _reason(error)
    return None


def _llm(service: Service) -> str | None:
    try:
        probe.models(service.wire)
    except EngineError as error:
        return _reason(error)
    return None


def _reason(error: WhetstoneError) -> str:
    """What is wrong and the way out, without a password that stands in an address."""
    text = f"{str(error).rstrip('. ')}. {error.hint}".strip()
    return _CREDENTIALS.sub("//***@", text)
