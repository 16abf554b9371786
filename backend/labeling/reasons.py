"""Rationales as people read them: cut to what is read in a moment, in a TextArea of Label Studio's result."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from backend.labeling.schema import TextArea

_MOST = 600
# Also after a closing quote or bracket; scripts that put no space between words have full stops of their own.
_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"'”’)\]]*(?=\s|\Z)|[。！？]|\Z)", re.DOTALL)  # noqa: RUF001 - ideographic stops


def shorten(text: str, most: int = _MOST) -> str:
    """On one line of at most `most` characters: the sentences that fit, else the words that do, with an ellipsis."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    ends = [found.end() for found in _SENTENCE.finditer(line) if found.end() <= most]
    if ends:
        return line[: ends[-1]]
    space = line.rfind(" ", 0, most)
    return f"{line[: space if space > 0 else most - 1]}…"


def sentences(text: str, most: int) -> str:
    """The first of them, on one line. One that is not finished goes, unless it is the only one."""
    found = [each.group().strip() for each in _SENTENCE.finditer(" ".join(text.split()))]
    whole = [each for each in found if not each[-1:].isalnum()] or found
    return " ".join(whole[:most])


def shown(prediction: Mapping[str, Any], area: TextArea | None, data_hash: str) -> dict[str, Any]:
    """A stored prediction as Label Studio gets it: its rationale stands in the TextArea, if there are both."""
    kept = {name: value for name, value in prediction.items() if name != "rationale"}
    rationale = shorten(str(prediction.get("rationale") or ""))
    if area is None or not rationale:
        return kept
    return kept | {
        "result": [*prediction["result"], _item(rationale, area, str(prediction["model_version"]), data_hash)]
    }


def _item(rationale: str, area: TextArea, version: str, data_hash: str) -> dict[str, Any]:
    """The id follows from version, control and data, as those of labels do."""
    digest = hashlib.sha256(f"{version}\0{area.name}\0{data_hash}".encode())
    return {
        "id": digest.hexdigest()[:10],
        "from_name": area.name,
        "to_name": area.to_name,
        "type": "textarea",
        "value": {"text": [rationale]},
    }


def read(result: Sequence[Mapping[str, Any]], control: str) -> str:
    """What stands in the TextArea of that name, on one line; "" where nothing does."""
    return " ".join(text for item in result if is_of(item, control) for text in _texts(item))


def is_of(item: Mapping[str, Any], control: str) -> bool:
    return item.get("from_name") == control and item.get("type") == "textarea"


def _texts(item: Mapping[str, Any]) -> list[str]:
    """Label Studio stores a list, an API client may send a string."""
    value = item.get("value")
    text = value.get("text") if isinstance(value, Mapping) else None
    texts = [text] if isinstance(text, str) else text if isinstance(text, list) else []
    return [" ".join(each.split()) for each in texts if isinstance(each, str) and each.strip()]
