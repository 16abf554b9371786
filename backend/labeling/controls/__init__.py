"""One file a control tag. To label another tag, add its file and its line in `CONTROLS`."""

from collections.abc import Callable, Mapping

from backend.labeling.controls import choices, pairwise, rating, taxonomy
from backend.labeling.controls.closed_set import ClosedSet
from backend.labeling.controls.tags import Declared as Declared
from backend.labeling.controls.tags import LeftAloneError as LeftAloneError

# What `schema` and `labeler` need of any control; a tag whose answers are no closed set makes it a union.
Control = ClosedSet

# A control, with remarks for the operator, or `LeftAloneError`.
CONTROLS: Mapping[str, Callable[[Declared], tuple[Control, list[str]]]] = {
    "Choices": choices.parse,
    "Pairwise": pairwise.parse,
    "Rating": rating.parse,
    "Taxonomy": taxonomy.parse,
}
