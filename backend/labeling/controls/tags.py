"""What a control tag's file is given of the labeling configuration, and how it says that it cannot label a control."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree


class LeftAloneError(Exception):
    """A control that is not labelled. The message is the reason; the rest of the configuration works."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A control in the configuration: the SDK's `tag`, its XML `element`, and the names of the objects that are read
    as text."""

    tag: Any
    element: etree._Element
    readable: Collection[str]

    @property
    def name(self) -> str:
        return str(self.tag.name)

    @property
    def to_names(self) -> tuple[str, ...]:
        return tuple(self.tag.to_name)

    @property
    def attributes(self) -> Mapping[str, str]:
        """By name in lower case."""
        return {key.lower(): value for key, value in self.tag.attr.items()}

    @property
    def required(self) -> bool:
        return self.attributes.get("required", "").lower() == "true"
