"""Requests as Label Studio makes them, and what it needs of the answers."""

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from label_studio_sdk.label_interface import LabelInterface

from tests.scripted_llm import ScriptedLLM

Json = dict[str, Any]

PROJECT = "1.1795346384"
CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="sentiment" toName="text" choice="single">
    <Choice value="positive"/><Choice value="negative"/><Choice value="neutral"/>
  </Choices>
</View>"""
OTHER_CONFIG = CONFIG.replace('<Choice value="neutral"/>', "")
LOVED, HATED = "I love this great kettle.", "A terrible kettle, broken on arrival."


def task(task_id: int, text: str, **fields: Any) -> Json:
    data = {"text": text, "ticket": task_id}
    return {"id": task_id, "data": data, "project": 1, "annotations": [], "predictions": [], **fields}


def tasks(texts: Iterable[str]) -> list[Json]:
    return [task(number, text) for number, text in enumerate(texts, start=1)]


def predict_body(rows: Sequence[Json], *, config: str = CONFIG, project: str = PROJECT) -> Json:
    params = {"login": None, "password": None, "context": None}
    return {"tasks": list(rows), "project": project, "label_config": config, "params": params}


def setup_body(*, config: str = CONFIG, project: str = PROJECT, **fields: Any) -> Json:
    plain = {"hostname": "http://localhost:8081", "access_token": "HANDED-OVER-TOKEN", "extra_params": None}
    return {"project": project, "schema": config, **plain, **fields}


def event(
    action: str, captured: Mapping[str, Any], *, config: str = CONFIG, instruction: str = "", **fields: Any
) -> Json:
    """`captured` is a recorded webhook, whose project is taken over with its tokens."""
    recorded = copy.deepcopy(captured["body"]["project"])
    project = {**recorded, "label_config": config, "expert_instruction": instruction}
    return {"action": action, "project": project, **fields}


def label(result: Mapping[str, Any]) -> str:
    """The one choice of a prediction's only item."""
    (item,) = result["result"]
    (choice,) = item["value"]["choices"]
    return str(choice)


def complaints(config: str, results: Iterable[Mapping[str, Any]], version: str) -> list[str]:
    """What Label Studio, validating strictly, would have against these predictions."""
    interface = LabelInterface(config)
    found = []
    for result in results:
        found += interface.validate_prediction(dict(result), return_errors=True)
        if result["model_version"] != version:
            found.append(f"{result['model_version']} is not {version}")
        scores = [result["score"], *(item["score"] for item in result["result"])]
        found += [f"score {score!r}" for score in scores if not (isinstance(score, float) and math.isfinite(score))]
    return found


def sent_to(llm: ScriptedLLM) -> str:
    """All that an LLM was told so far."""
    return json.dumps([request.body for request in llm.requests], ensure_ascii=False)
