"""What is logged and how: one line an event, for people or for machines, with no secret in it."""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from backend.settings import Settings

MASK = "***"

_SECRET_KEY = re.compile(r"(^|[_-])(token|password|passwd|pass|secret|api[_-]?key|authorization)$", re.IGNORECASE)
_LEAST_SECRET = 4  # a shorter one would be found in ordinary words
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "urllib3", "asyncio", "gguf")
_OWN_HANDLERS = ("gunicorn.error", "gunicorn.access", "rq.worker", "rq.job", "rq.scheduler")


def configure(settings: Settings) -> None:
    """For the whole process, again and again if need be: our events and the standard library's go to stderr in one
    form. What is bound in structlog's contextvars, a request's id say, is on every line."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    shared = _shared(Mask(secrets_of(settings)))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings.log_format)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    _route(level)


def _shared(mask: "Mask") -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]


def _renderer(log_format: str) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _route(level: int) -> None:
    """HTTP clients' one line a request is for DEBUG only."""
    adopt(*_OWN_HANDLERS)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == logging.DEBUG else logging.WARNING)


def adopt(*names: str) -> None:
    """Loggers that brought handlers and a level of their own write as all others do."""
    for name in names:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()
        logger.propagate = True


def secrets_of(settings: Settings) -> frozenset[str]:
    """The values of secret settings, and the passwords inside addresses."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    secrets = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    passwords = {_password(value) for value in values if isinstance(value, str) and "://" in value}
    return frozenset(secret for secret in secrets | passwords if len(secret) >= _LEAST_SECRET)


def _password(address: str) -> str:
    return urlsplit(address).password or ""


class Mask:
    """A structlog processor. Hides what stands under a name such as `token` or `api_key`, at any depth, and the given
    secrets wherever they stand in a text; a number under such a name is a count and stays."""

    def __init__(self, secrets: Iterable[str]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: value if key.startswith("_") else self._masked(key, value) for key, value in event.items()}

    def _masked(self, key: str, value: Any) -> Any:
        if _SECRET_KEY.search(key) and value is not None and not isinstance(value, bool | int | float):
            return MASK
        return self._without_secrets(value)

    def _without_secrets(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._secret.sub(MASK, value) if self._secret else value
        if isinstance(value, Mapping):
            return {key: self._masked(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._without_secrets(inner) for inner in value]
        if value is None or isinstance(value, bool | int | float | SecretStr):
            return value
        return self._without_secrets(str(value))
