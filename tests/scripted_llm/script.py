"""What the scripted server says and how it misbehaves; swapped whole, so a change is never half seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.scripted_llm.answers import keyword_label

Dialect = Literal["llama.cpp", "vllm", "openai"]
Thinking = Literal["none", "template_off", "effort_off", "always"]
Spoil = Literal["", "html", "truncated", "nan", "empty_choices", "no_logprobs", "withheld", "drop"]
Answers = Callable[[str], Mapping[str, float]]
Json = dict[str, Any]

THOUGHT = "<think>\nThe words of the text decide which one it is.\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """A status from 400 on answers at once; a spoiled answer is generated first; `delay_s` comes before either."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    spoil: Spoil = ""
    delay_s: float = 0.0


Faults = Callable[[int, str, Json], Fault | None] | Sequence[Fault | None]


@dataclass(frozen=True, slots=True)
class Script:
    """`label` gives each label's probability for a prompt; legends of letters and yes-or-no questions translate it.

    `answer`, when set, gives the answer strings' probabilities directly. `off_label` is the mass on filler tokens.
    `whole_words=False` cuts words into tokens of `piece_chars` characters. `honours` names the constraint parameters
    that are kept (others are ignored), `rejects` the parameters answered 400, `name>N` for values above N,
    "completions" for a server without that route, "system" for a chat template without that role. `faults` is asked
    with the count of completion requests so far, the path and the body; as a sequence it holds one entry a request for
    completions. `dimensions` are those of embeddings. `slots` is the most generations at once. Prompts that hold
    `moderated` are refused as Azure's filter refuses them, and so are requests for embeddings, as a whole.
    """

    label: Answers = keyword_label
    answer: Answers | None = None
    dialect: Dialect = "llama.cpp"
    models: tuple[str, ...] = ("scripted-1",)
    api_key: str = field(default="", repr=False)
    honours: frozenset[str] = frozenset({"grammar", "response_format"})
    rejects: frozenset[str] = frozenset()
    whole_words: bool = True
    piece_chars: int = 4
    off_label: float = 0.05
    thinking: Thinking = "none"
    thought: str = THOUGHT
    separate_reasoning: bool = False
    honours_seed: bool = True
    cached_prompts: int = 16
    context_tokens: int = 8192
    faults: Faults = ()
    latency_s: float = 0.0
    per_token_s: float = 0.0
    slots: int | None = None
    dimensions: int = 256
    moderated: str = ""

    def fault(self, index: int, path: str, body: Json) -> Fault | None:
        if callable(self.faults):
            return self.faults(index, path, body)
        return self.faults[index] if index < len(self.faults) else None

    def thinks(self, body: Json) -> bool:
        """Chat turns only: a plain completion has no template that could open a thought."""
        if self.thinking == "template_off":
            return (body.get("chat_template_kwargs") or {}).get("enable_thinking") is not False
        if self.thinking == "effort_off":
            return body.get("reasoning_effort") not in {"none", "minimal"}
        return self.thinking == "always"


LLAMA_CPP = Script()
VLLM = Script(
    dialect="vllm",
    honours=frozenset({"structured_outputs", "guided_choice", "response_format"}),
    rejects=frozenset({"top_logprobs>20", "logprobs>20"}),
)
OPENAI = Script(
    dialect="openai",
    honours=frozenset({"response_format"}),
    rejects=frozenset(
        {"completions", "top_logprobs>20", "grammar", "structured_outputs", "guided_choice", "chat_template_kwargs"}
    ),
)
REASONING = Script(
    dialect="openai",
    honours=frozenset({"response_format"}),
    rejects=OPENAI.rejects | {"max_tokens", "temperature", "logprobs", "top_logprobs"},
    thinking="always",
    separate_reasoning=True,
)
