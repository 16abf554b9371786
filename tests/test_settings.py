from pathlib import Path

import pytest

from backend import settings
from backend.labeling.errors import SettingsError
from backend.settings import Settings

SECRETS = (
    "LABEL_STUDIO_API_KEY",
    "OPENAI_API_KEY",
    "BASIC_AUTH_PASS",
    "WEBHOOK_SECRET",
    "TEACHER_API_KEY",
    "EMBEDDINGS_API_KEY",
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def mistakes(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_nothing_needs_to_be_set() -> None:
    loaded = settings.load()
    assert (loaded.port, loaded.backend_url, loaded.redis_address) == (
        9090,
        "http://localhost:9090",
        "redis://127.0.0.1:6379/0",
    )
    assert not loaded.can_push


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert settings.load().port == 9090
    assert settings.load().uses_local_llm


@pytest.mark.parametrize(
    ("processors", "configured", "most"), [(1, 8, 2), (2, 8, 2), (6, 8, 6), (64, 8, 8), (64, 1, 1)]
)
def test_the_local_llm_has_as_many_calls_at_once_as_it_has_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int, configured: int, most: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(processors))
    assert Settings(llm_concurrency=configured).concurrency == most
    assert Settings(llm_concurrency=configured, openai_api_key="key").concurrency == configured  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "http", "PORT: Input should be a valid integer, unable to parse string as an integer (it is 'http')"),
        ("PORT", "70000", "PORT: Input should be less than or equal to 65535 (it is '70000')"),
        ("LLM_CONCURRENCY", "0", "LLM_CONCURRENCY: Input should be greater than or equal to 1 (it is '0')"),
        ("LLM_TIMEOUT_S", "nan", "LLM_TIMEOUT_S: Input should be less than or equal to 600 (it is 'nan')"),
        ("PREDICT_DEADLINE_S", "100", "PREDICT_DEADLINE_S: Input should be less than or equal to 95 (it is '100')"),
        ("LABEL_STUDIO_URL", "ls:8080", "LABEL_STUDIO_URL: must be an http:// or https:// address (it is 'ls:8080')"),
        ("PUBLIC_URL", "https://", "PUBLIC_URL: must be an http:// or https:// address (it is 'https://')"),
        (
            "OPENAI_BASE_URL",
            "http://llm:port/v1",
            "OPENAI_BASE_URL: Port could not be cast to integer value as 'port' (it is 'http://llm:port/v1')",
        ),
        ("LABEL_STUDIO_URL", "http://[::1", "LABEL_STUDIO_URL: Invalid IPv6 URL (it is 'http://[::1')"),
        ("LABEL_STUDIO_URL", "ftp://u:pw@ls", "LABEL_STUDIO_URL: must be an http:// or https:// address"),
        ("BLIND_SHARE", "10", "BLIND_SHARE: Input should be less than or equal to 1 (it is '10')"),
        ("LEARN_AFTER_LABELS", "0", "LEARN_AFTER_LABELS: Input should be greater than or equal to 1 (it is '0')"),
        ("MONTH_MAX_USD", "nan", "MONTH_MAX_USD: Input should be a finite number (it is 'nan')"),
        ("TEACHER_SEES", "all", "TEACHER_SEES: Input should be 'examples' or 'summary' (it is 'all')"),
        ("REDIS_URL", "localhost", "REDIS_URL: must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "http://:hunter2@redis", "REDIS_URL: must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "hunter2", "REDIS_URL: must begin with redis://, rediss:// or unix://"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: Input should be 'console' or 'json' (it is 'xml')"),
        (
            "EMBEDDINGS_BASE_URL",
            "http://here/v1",
            "EMBEDDINGS_BASE_URL needs EMBEDDINGS_MODEL: name the model that it is to use",
        ),
        ("BASIC_AUTH_USER", "me", "BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither"),
        ("BASIC_AUTH_PASS", "hunter2", "BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither"),
    ],
)
def test_a_mistake_is_told_in_one_line(name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mistakes(monkeypatch, **{name: value}) == [line]


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = mistakes(monkeypatch, PORT="x", LOG_LEVEL="LOUD", REDIS_URL="here", LLM_VOTES="0")
    assert sorted(line.split(":")[0] for line in lines) == ["LLM_VOTES", "LOG_LEVEL", "PORT", "REDIS_URL"]


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"hunter2-{name}")
    monkeypatch.setenv("BASIC_AUTH_USER", "me")
    loaded = settings.load()
    assert "hunter2" not in repr(loaded) + str(loaded) + str(loaded.model_dump())
    assert loaded.openai_api_key.get_secret_value() == "hunter2-OPENAI_API_KEY"
    assert "hunter2" not in "\n".join(mistakes(monkeypatch, PORT="x"))


def test_trailing_slashes_of_addresses_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://ls.example.com/sub/")
    assert settings.load().label_studio_url == "https://ls.example.com/sub"


@pytest.mark.parametrize(
    ("environment", "base_url", "style"),
    [
        ({}, "http://127.0.0.1:9091/v1", "text"),
        ({"LOCAL_LLM_PORT": "7000"}, "http://127.0.0.1:7000/v1", "text"),
        ({"OPENAI_API_KEY": "sk-x"}, "https://api.openai.com/v1", "chat"),
        ({"OPENAI_BASE_URL": "http://vllm:8000/v1"}, "http://vllm:8000/v1", "chat"),
        ({"OPENAI_BASE_URL": "http://vllm:8000/v1", "LLM_PROMPT_STYLE": "text"}, "http://vllm:8000/v1", "text"),
        ({"LLM_PROMPT_STYLE": "chat"}, "http://127.0.0.1:9091/v1", "chat"),
    ],
)
def test_the_endpoint_and_the_form_of_prompts_follow_from_what_is_set(
    environment: dict[str, str], base_url: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    loaded = settings.load()
    assert (loaded.llm_base_url, loaded.prompt_style) == (base_url, style)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "smollm2-135m"),
        ({"LOCAL_MODEL": "/models/big.gguf"}, "big.gguf"),
        ({"OPENAI_API_KEY": "sk-x"}, "default"),
        ({"OPENAI_API_KEY": "sk-x", "LLM_MODEL": "gpt-x"}, "gpt-x"),
    ],
)
def test_a_version_names_the_model_it_was_made_for(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert settings.load().model_name == name


def test_equal_settings_are_equal_and_count_as_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process keeps one service for its settings."""
    monkeypatch.setenv("WHETSTONE_HOME", str(Path("/somewhere")))
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    first, again = settings.load(), settings.load()
    monkeypatch.setenv("OPENAI_API_KEY", "two")
    assert len({first, again, settings.load()}) == 2
