"""One file a control tag. To label another tag, add its file and its line in `CONTROLS`."""

from collections.abc import Callable, Mapping
from typing import Any

from backend.labeling.controls.choices import Choices, parse_choices

# The seam: what `schema` and `labeler` need of any control is what `Choices` offers; a second tag makes it a union.
Control = Choices

# A tag of the SDK's LabelInterface becomes a control and remarks for the operator.
CONTROLS: Mapping[str, Callable[[Any], tuple[Control, list[str]]]] = {"Choices": parse_choices}
