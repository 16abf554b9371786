"""What the tests of labeling are made of: configurations, prompt versions, an engine on the scripted server."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import quoteattr

from label_studio_sdk.label_interface import LabelInterface

from backend.labeling import schema
from backend.labeling.answers import TaskPrediction
from backend.labeling.engines.base import Capabilities, Engine
from backend.labeling.engines.openai import Memory, OpenAIEngine
from backend.labeling.engines.wire import Wire
from backend.labeling.labeler import Labeler, Limits
from backend.labeling.prompt import Prompt, PromptVersion
from tests.scripted_llm import Script, ScriptedLLM

TEXT = '<Text name="text" value="$text"/>'
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

LOCAL = Capabilities("llama.cpp", True, 200, 200, "llguidance")
HOSTED = Capabilities("openai", False, 20, 0, "json_schema")
MUTE = Capabilities("unknown", False, 0, 0, "json_schema")

STYLES = ["text", "chat"]


def choices(*values: str, attributes: str = "", objects: str = TEXT, name: str = "sentiment") -> str:
    """A configuration with one Choices; a value that begins with "<" stands as it is."""
    inside = "".join(value if value.startswith("<") else f"<Choice value={quoteattr(value)}/>" for value in values)
    return f'<View>{objects}<Choices name="{name}" toName="text" {attributes}>{inside}</Choices></View>'


def version(config: str, **prompt: Any) -> PromptVersion:
    fields = {"instruction": "Say which fits the text.", **prompt}
    config_hash = schema.parse(config).config_hash
    return PromptVersion.of(1, Prompt(**fields), config_hash=config_hash, model="m", origin="seed", created_at=NOW)


@contextmanager
def connected(llm: ScriptedLLM, able: Capabilities | None = None) -> Iterator[OpenAIEngine]:
    """An engine that probes the server, or takes it to do what `able` says."""
    with closing(Wire(llm.base_url, "", timeout_s=30)) as wire:
        yield OpenAIEngine(wire, "scripted-1", Memory(load=lambda: able))


def label(
    engine: Engine, config: str, data: Mapping[str, Any], limits: Limits | None = None, **prompt: Any
) -> TaskPrediction:
    return Labeler(engine, limits or Limits()).label(version(config, **prompt), schema.parse(config), data)


def details(prediction: TaskPrediction, item: int = 0) -> dict[str, Any]:
    """What is kept beside Label Studio's own fields."""
    kept: dict[str, Any] = prediction.result[item]["whetstone"]
    return kept


def chosen(prediction: TaskPrediction, item: int = 0) -> list[str]:
    values: list[str] = prediction.result[item]["value"]["choices"]
    return values


def complaints(config: str, prediction: TaskPrediction) -> list[str]:
    """Of Label Studio's own validator."""
    found: list[str] = LabelInterface(config).validate_prediction(prediction.to_json(), return_errors=True)
    return found


def says(llm: ScriptedLLM, answers: Mapping[str, float], **fields: Any) -> None:
    llm.script = Script(answer=lambda _: answers, **fields)


SENTIMENT = choices("positive", "negative", "neutral")
TOPICS = choices("Price", "Screen", "Sound", attributes='choice="multiple"', name="topics")
LIKED = {"text": "I love it, great"}
