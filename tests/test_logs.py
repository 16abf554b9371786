"""What reaches stderr: one line an event, in one form, with no secret in it."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from backend import logs
from backend.settings import Settings

KEY = "sk-very-secret"
Lines = Callable[[], list[dict[str, Any]]]
_TOUCHED = ("", "gunicorn.error", "rq.worker", "httpx")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = [(log, log.level, log.handlers[:], log.propagate) for log in map(logging.getLogger, _TOUCHED)]
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    for log, level, handlers, propagate in before:
        log.setLevel(level)
        log.handlers, log.propagate = handlers, propagate


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def configure(**changes: Any) -> None:
    logs.configure(Settings(**({"log_format": "json", "openai_api_key": KEY} | changes)))


def test_an_event_carries_its_level_its_time_and_what_is_bound_to_the_request(lines: Lines) -> None:
    configure()
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("backend.api").info("answered", tasks=2)
    line = lines()[0]
    assert (line["event"], line["level"], line["request_id"], line["tasks"]) == ("answered", "info", "r1", 2)
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("name", ["rq.worker", "gunicorn.error", "anything"])
def test_the_standard_librarys_loggers_write_in_the_same_form(name: str, lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1")
    logging.getLogger(name).propagate = False
    configure()
    if name == "anything":
        logs.adopt(name)
    logging.getLogger(name).warning("lost %s", "Redis")
    assert [(line["event"], line["logger"], line["request_id"]) for line in lines()] == [("lost Redis", name, "r1")]


@pytest.mark.parametrize(
    "key", ["token", "access_token", "password", "Authorization", "X-Whetstone-Secret", "api_key", "OPENAI_API_KEY"]
)
def test_a_value_under_a_secrets_name_is_masked_at_any_depth(key: str, lines: Lines) -> None:
    configure()
    structlog.get_logger().info("setup", body={"project": [{key: "hunter2"}]}, **{key: "hunter2"})
    line = lines()[0]
    assert line[key] == "***"
    assert line["body"] == {"project": [{key: "***"}]}


@pytest.mark.parametrize("key", ["prompt_tokens", "max_tokens", "tokens", "secretary", "bypass"])
def test_a_value_under_an_ordinary_name_stays(key: str, lines: Lines) -> None:
    configure()
    structlog.get_logger().info("used", **{key: "value"})
    assert lines()[0][key] == "value"


def test_a_secret_setting_is_masked_in_any_text_even_in_a_traceback(lines: Lines) -> None:
    configure(redis_url="redis://:pass-of-redis@localhost:1/0")
    try:
        raise ValueError(f"refused Bearer {KEY}")
    except ValueError:
        structlog.get_logger().exception("could not reach redis://:pass-of-redis@localhost:1/0", error=ValueError(KEY))
    text = json.dumps(lines())
    assert "Traceback" in text
    assert KEY not in text
    assert "pass-of-redis" not in text


def test_a_secret_of_three_letters_is_not_looked_for_in_texts() -> None:
    assert logs.secrets_of(Settings(webhook_secret="abc", openai_api_key=KEY)) == {KEY}


def test_an_http_clients_line_for_each_request_is_for_debug_only(lines: Lines) -> None:
    configure()
    logging.getLogger("httpx").info("HTTP Request: POST")
    configure(log_level="DEBUG")
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert [line["event"] for line in lines()] == ["HTTP Request: GET"]


def test_less_than_the_level_is_not_logged(lines: Lines) -> None:
    logging.getLogger("rq.worker").setLevel(logging.INFO)
    configure(log_level="WARNING")
    structlog.get_logger().info("quiet")
    logging.getLogger("rq.worker").info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines()] == ["loud"]


def test_for_people_an_event_is_one_line_without_colours_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console")
    configure(log_format="console")
    structlog.get_logger("backend.api").info("answered", tasks=2, token="hunter2")
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "answered" in error
    assert "tasks=2" in error
    assert "hunter2" not in error
    assert "\x1b" not in error
