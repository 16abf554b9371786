"""The engine that the settings name, with what was found out about it kept in Redis."""

import hashlib
from urllib.parse import urlsplit

import structlog
from pydantic import TypeAdapter, ValidationError

from backend.labeling.engines.base import Capabilities
from backend.labeling.engines.openai import REMEMBER_S, Memory, OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import StoreError
from backend.labeling.labeler import Limits
from backend.settings import Settings
from backend.storage.store import Store

_CAPABILITIES = TypeAdapter(Capabilities)
_log = structlog.get_logger(__name__)


def make_wire(settings: Settings) -> Wire:
    return Wire(
        settings.llm_base_url,
        settings.openai_api_key.get_secret_value(),
        timeout_s=settings.llm_timeout_s,
        connections=settings.llm_concurrency,
    )


def make_engine(settings: Settings, wire: Wire, store: Store) -> OpenAIEngine:
    return OpenAIEngine(wire, settings.llm_model, memory(settings, store))


def limits(settings: Settings) -> Limits:
    return Limits(
        max_task_tokens=settings.llm_max_task_tokens,
        min_label_mass=settings.llm_min_label_mass,
        votes=settings.llm_votes,
        thinking_tokens=settings.llm_thinking_tokens,
    )


def endpoint_key(settings: Settings, *, model: str = "") -> str:
    """Names an endpoint, or one model of it, in Redis: the address itself may hold a password."""
    return hashlib.sha256(f"{settings.llm_base_url}\0{model}".encode()).hexdigest()[:16]


def weights_key(settings: Settings, able: Capabilities) -> str:
    """Names the weights behind a model's name: by their log-probs, wherever they are, else by the address, without
    credentials and query."""
    if able.chat_logprobs or able.text_logprobs:
        return able.fingerprint
    address = urlsplit(settings.llm_base_url)
    return f"{able.fingerprint} at {address.netloc.rpartition('@')[2]}{address.path.rstrip('/')}"


def memory(settings: Settings, store: Store) -> Memory:
    endpoint = endpoint_key(settings, model=settings.llm_model)

    def load() -> Capabilities | None:
        try:
            text = store.capabilities(endpoint)
            return _CAPABILITIES.validate_json(text) if text else None
        except (StoreError, ValidationError):
            return None

    def save(found: Capabilities) -> None:
        try:
            store.keep_capabilities(endpoint, _CAPABILITIES.dump_json(found).decode(), REMEMBER_S)
        except StoreError as error:
            _log.warning("what the endpoint can do is not kept for other processes", reason=str(error))

    return Memory(load, save)
