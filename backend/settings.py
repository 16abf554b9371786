"""The environment, read once and checked at start: one line for each mistake."""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.labeling.errors import SettingsError


def _http_url(value: str) -> str:
    """Without the trailing slash; empty stays empty."""
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0):
        raise ValueError("must be an http:// or https:// address")
    return value.rstrip("/")


def _redis_url(value: str) -> str:
    if value and urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return value


RATIONALE_CONTROL = "rationale"

HttpUrl = Annotated[str, AfterValidator(_http_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]


class Settings(BaseSettings):
    """Each field's description is its row in docs/reference.md's table; a test holds the two together."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)

    label_studio_url: HttpUrl = Field("", description="Label Studio's address")
    label_studio_api_key: SecretStr = Field(SecretStr(""), description="its API key, legacy or personal")
    openai_base_url: HttpUrl = Field("", description="an OpenAI-compatible endpoint; empty: OpenAI, or the local LLM")
    openai_api_key: SecretStr = Field(SecretStr(""), description="its key; with no key and no address, the local LLM")
    llm_model: str = Field("", description="the model that labels; empty: the first that the endpoint lists")
    llm_prompt_style: Literal["auto", "chat", "text"] = Field(
        "auto", description="chat turns or one plain text; auto: text for the local LLM, chat elsewhere"
    )
    llm_concurrency: int = Field(
        8,
        ge=1,
        le=1000,
        description="most calls under way at once, over all processes; local LLM: one a processor",
    )
    llm_timeout_s: float = Field(30, gt=0, le=600, description="seconds that one call may take")
    llm_max_task_tokens: int = Field(1500, ge=16, description="tokens of a task's text that enter the prompt")
    llm_min_label_mass: float = Field(
        0.01, ge=0, le=1, description="least share of probability on the labels for an answer to count"
    )
    llm_votes: int = Field(5, ge=1, le=100, description="samples a task where the endpoint gives no log-probs")
    llm_thinking_tokens: int = Field(2048, ge=1, description="tokens for a model that cannot answer without thinking")
    rationale_samples: int = Field(
        5, ge=1, le=50, description="most rationales a task that self-consistency draws; 1: it is not tried"
    )
    rationale_control: str = Field(
        RATIONALE_CONTROL,
        description="the TextArea of the labeling configuration that reasons go into, if there is one",
    )
    explain_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="score below which a label gets a reason afterwards, in the background; 0: none does",
    )
    local_model: str = Field("smollm2-135m", description="smollm2-135m, gemma3-270m, or the path of a GGUF file")
    local_llm_port: int = Field(9091, ge=1, le=65535, description="the local LLM's port")
    instruction: str = Field("", description="the initial instruction; empty: the project's, else its configuration's")
    demonstrations: FilePath | None = Field(
        None, description="a JSONL file of labelled tasks that the initial prompt shows; empty: it shows none"
    )
    embeddings_model: str = Field(
        "", description="the model that finds similar demonstrations; empty: a small one on this machine"
    )
    embeddings_base_url: HttpUrl = Field("", description="its endpoint; empty: the one that labels")
    embeddings_api_key: SecretStr = Field(
        SecretStr(""), description="its key; empty: OPENAI_API_KEY on the same endpoint"
    )
    redis_url: RedisUrl = Field("", description="Redis; empty: `up` starts one, others use redis://127.0.0.1:6379/0")
    host: str = Field("127.0.0.1", description="the address the service listens on")
    port: int = Field(9090, ge=1, le=65535, description="the service's port")
    public_url: HttpUrl = Field(
        "",
        description="the service's address as Label Studio, and who opens its pages, sees it; "
        "empty: http://localhost:PORT",
    )
    web_processes: int = Field(2, ge=1, le=64, description="gunicorn's processes")
    web_threads: int = Field(8, ge=2, le=256, description="threads of each process")
    basic_auth_user: str = Field("", description="with BASIC_AUTH_PASS: basic auth on everything but /health")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="its password")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="what the webhook's header X-Whetstone-Secret must hold"
    )
    predict_deadline_s: float = Field(
        80,
        gt=0,
        le=95,
        description="seconds for one /predict; what is left is queued, "
        "of up to 3 tasks once the LLM answered nobody for LLM_TIMEOUT_S",
    )
    max_body_mb: int = Field(64, ge=1, le=1024, description="largest request body")
    chunk_tasks: int = Field(50, ge=1, le=5000, description="tasks of one bulk labeling job")
    max_cached_predictions: int = Field(200_000, ge=0, description="predictions kept in Redis, oldest dropped first")
    learn_after_labels: int = Field(20, ge=1, description="new labels after which a run improves the prompt")
    learn_after_errors: int = Field(8, ge=1, description="new labels that differ from their prediction, likewise")
    blind_share: float = Field(
        0.1, ge=0, le=1, description="share of tasks without a prediction until they are annotated, to measure by"
    )
    consensus: Literal["auto", "majority", "dawid-skene"] = Field(
        "auto", description="how several people's labels become one; auto: weighed by who is reliable, where that shows"
    )
    audit_share: float = Field(
        0.2, ge=0, le=1, description="share of tasks drawn by lot, whose labels speak for all of them"
    )
    require_approval: bool = Field(False, description="a better prompt waits until somebody activates it")
    auto_rollback: bool = Field(True, description="a prompt that new labels show to be worse is taken back")
    reconcile_s: int = Field(900, ge=10, description="seconds after which labels are read without an event")
    canary_s: int = Field(
        86_400,
        ge=0,
        description="seconds after which 20 frozen tasks are asked again and drift is looked for; 0: never",
    )
    teacher_model: str = Field("", description="the model that writes instructions; empty: the one that labels")
    teacher_base_url: HttpUrl = Field("", description="its endpoint; empty: the one that labels")
    teacher_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: OPENAI_API_KEY on the same endpoint")
    strong_model: str = Field("", description="a stronger model for tasks that the one that labels is not sure of")
    strong_base_url: HttpUrl = Field("", description="its endpoint; empty: the one that labels")
    strong_api_key: SecretStr = Field(SecretStr(""), description="its key; empty: OPENAI_API_KEY on the same endpoint")
    teacher_sees: Literal["examples", "summary"] = Field(
        "examples", description="summary: no task's text reaches it, only the confusion table and counts"
    )
    optimize_rounds: int = Field(3, ge=1, le=50, description="rounds of proposals in one run")
    run_max_calls: int = Field(
        3000, ge=0, description="calls to LLMs, and for embeddings, that one run may make; 0: no cap"
    )
    run_max_tokens: int = Field(0, ge=0, description="tokens that one run may use; 0: no cap")
    run_max_usd: float = Field(0.0, ge=0, allow_inf_nan=False, description="dollars that one run may cost; 0: no cap")
    month_max_calls: int = Field(0, ge=0, description="calls of all runs in a calendar month (UTC); 0: no cap")
    month_max_tokens: int = Field(0, ge=0, description="tokens of all runs in a month; 0: no cap")
    month_max_usd: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="dollars of all runs in a month; 0: no cap"
    )
    max_cached_evaluations: int = Field(
        200_000, ge=0, description="answers of optimizations kept in Redis, oldest dropped first"
    )
    whetstone_home: Path = Field(
        Path(platformdirs.user_data_dir("whetstone")), description="where `up` keeps Redis's data and local weights"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_format: Literal["console", "json"] = Field("console", description="for people or for machines")

    @model_validator(mode="after")
    def _auth_is_whole(self) -> "Settings":
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass.get_secret_value()):
            raise ValueError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both or neither")
        return self

    @model_validator(mode="after")
    def _embeddings_have_a_model(self) -> "Settings":
        if self.embeddings_base_url and not self.embeddings_model:
            raise ValueError("EMBEDDINGS_BASE_URL needs EMBEDDINGS_MODEL: name the model that it is to use")
        return self

    @property
    def uses_local_llm(self) -> bool:
        return not self.openai_base_url and not self.openai_api_key.get_secret_value()

    @property
    def concurrency(self) -> int:
        """Calls under way at once. With more than there are processors the local LLM does no more in a second, and a
        person's call has to share them with all; with one, that would wait for another's end."""
        most = max(2, len(os.sched_getaffinity(0))) if self.uses_local_llm else self.llm_concurrency
        return min(most, self.llm_concurrency)

    @property
    def llm_base_url(self) -> str:
        """The endpoint the engine talks to."""
        if self.uses_local_llm:
            return f"http://127.0.0.1:{self.local_llm_port}/v1"
        return self.openai_base_url or "https://api.openai.com/v1"

    @property
    def prompt_style(self) -> Literal["chat", "text"]:
        if self.llm_prompt_style == "auto":
            return "text" if self.uses_local_llm else "chat"
        return self.llm_prompt_style

    @property
    def model_name(self) -> str:
        """What a prompt version says it was made for; "default" when the endpoint chooses."""
        return self.llm_model or (Path(self.local_model).name if self.uses_local_llm else "default")

    @property
    def stronger(self) -> "Settings | None":
        """As if the stronger model labelled; None where there is none."""
        if not self.strong_model and not self.strong_base_url:
            return None
        base_url = self.strong_base_url or self.llm_base_url
        own = self.strong_api_key if self.strong_api_key.get_secret_value() else None
        same = self.openai_api_key if base_url == self.llm_base_url else SecretStr("")
        return self.model_copy(
            update={"openai_base_url": base_url, "openai_api_key": own or same, "llm_model": self.strong_model}
        )

    @property
    def can_push(self) -> bool:
        """Whether predictions can be written into Label Studio."""
        return bool(self.label_studio_url and self.label_studio_api_key.get_secret_value())

    @property
    def redis_address(self) -> str:
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def backend_url(self) -> str:
        return self.public_url or f"http://localhost:{self.port}"


def load() -> Settings:
    """Raises `SettingsError`, one line a mistake, no value shown of a secret."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(dict(mistake)) for mistake in error.errors())) from None


def _line(mistake: dict[str, object]) -> str:
    location = mistake["loc"]
    name = str(location[0]).upper() if isinstance(location, tuple) and location else ""
    message = str(mistake["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    value = repr(mistake["input"])
    secret = "SECRET" in name or name.endswith(("_KEY", "_PASS")) or name == "REDIS_URL" or "@" in value
    shown = "" if secret else f" (it is {value})"
    return f"{name}: {message}{shown}"
