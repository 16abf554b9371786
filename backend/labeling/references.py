"""What `$path` in a labeling configuration stands for in a task's data, by Label Studio's rule: its editor's
`parseValue`, which resolves a path as lodash's `get` does."""

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$([\w[\].{}]+)")
# "items[0].text" is items, 0, text; nothing between two dots, or after the last, is a step without a name.
_STEP = re.compile(r"[^.[\]]+|(?=(?:\.|\[\])(?:\.|\[\]|$))")


def paths(value: str) -> tuple[str, ...]:
    """Of all references in a `value` attribute, each once: one in "$path", any number in "Title: $title"."""
    return tuple(dict.fromkeys(_REFERENCE.findall(value)))


def keys(path: str) -> tuple[str, ...]:
    """Of a task's data, under which what the path stands for may lie."""
    return tuple(dict.fromkeys((path, *_STEP.findall(path)[:1])))


def get(data: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """A key that is the very path comes before the place where it leads; `default` where there is neither."""
    if path in data:
        return data[path]
    found: Any = data
    for step in (steps := _STEP.findall(path)):
        children = _children(found)
        if step not in children:
            return default
        found = children[step]
    return found if steps else default


def filled(value: str, found: Mapping[str, str]) -> str:
    """`value` with what its references stand for, by path."""
    return _REFERENCE.sub(lambda match: found[match[1]], value)


def _children(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {str(place): each for place, each in enumerate(value)} if isinstance(value, list) else {}
