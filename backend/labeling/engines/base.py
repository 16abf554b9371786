"""What reaches an LLM: a request in, a completion with log-probs out."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]
Constraint = Literal["llguidance", "structured_outputs", "json_schema", "none"]
Thinking = Literal["none", "template_off", "effort_off", "always"]
Effort = Literal["", "minimal", "low"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One call. Either `text` (one plain completion) or `messages` (chat turns) is set.

    `top_logprobs` is how many alternatives to return for each generated token, 0 for none. `grammar` is llguidance
    text and `json_schema` the same constraint for servers without grammars; the engine sends what its server honours.
    `stop` ends a plain completion before it; chat turns end by themselves.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    max_tokens: int = 1
    temperature: float = 0.0
    top_logprobs: int = 0
    seed: int | None = None
    grammar: str = ""
    json_schema: str = ""
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """`logprob` is the natural-log probability before any grammar mask, in (-inf, 0]. `raw` is what it stands for:
    `text`, but for a token that ends inside a letter, whose text is cut or spoilt."""

    text: str
    logprob: float
    raw: bytes = b""

    def __post_init__(self) -> None:
        if not self.raw:
            object.__setattr__(self, "raw", self.text.encode())


@dataclass(frozen=True, slots=True)
class Step:
    """One generated position: the bytes `written`, and the likeliest tokens there, likeliest first."""

    written: bytes
    alternatives: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; `cached_tokens` of `prompt_tokens` came from the server's prefix cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls, those that were refused too, and the tokens of those that were answered."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.calls + other.calls, self.usage + other.usage)


@dataclass(frozen=True, slots=True)
class Completion:
    """`steps` are the generated positions; empty without log-probs."""

    text: str
    steps: tuple[Step, ...] = ()
    usage: Usage = field(default_factory=Usage)
    reasoning: str = ""
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint was seen to do (see `probe`); a pure value, kept in Redis for all processes.

    `chat_logprobs`, `text_logprobs`: most alternatives a token on either route, 0 where log-probs are refused.
    `continues`: a plain completion goes on from the prompt's last character (the `/completions` route works).
    `token_limit`: the name of the parameter. `system_role`: chat turns may begin with a system message. `effort`: the
    least that a model takes which always thinks, "" where it takes none or need not be told. `found_at`: seconds since
    the epoch, 0 for long ago.
    """

    server: str = "unknown"
    continues: bool = False
    chat_logprobs: int = 0
    text_logprobs: int = 0
    constraint: Constraint = "none"
    thinking: Thinking = "none"
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    context_tokens: int | None = None
    fingerprint: str = ""
    system_role: bool = True
    seed: bool = True
    effort: Effort = ""
    found_at: float = 0.0

    def logprobs_for(self, style: Literal["chat", "text"]) -> int:
        return self.chat_logprobs if style == "chat" else self.text_logprobs


class Engine(Protocol):
    """An LLM endpoint. `complete` is thread-safe and raises `EngineError` only."""

    @property
    def model(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities:
        """Probed on first use, then remembered for a day; raises `EngineError` when the endpoint cannot be tried."""

    def complete(self, request: Request, *, timeout_s: float | None = None) -> Completion:
        """`timeout_s` shortens the engine's own limit, never lengthens it."""
