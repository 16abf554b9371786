"""What an answer takes before a search is planned: LLM calls an example, and whether letters for labels spare most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backend.labeling.prompt import Prompt
from backend.labeling.verbalizer import CodeKind
from worker.optimizer.demonstrations import DemonstrationSet
from worker.optimizer.propose import Candidate, with_demonstrations

# So many times the calls are worth doing without.
DEAR = 2.0
_MOST_UNUSABLE = 0.1


@dataclass(frozen=True, slots=True)
class Price:
    """LLM calls an example takes under one prompt, and the share of examples without a usable answer."""

    calls: float
    unusable: float


@dataclass(frozen=True, slots=True)
class Prices:
    """LLM calls an example takes: `bare` zero-shot and `shown` with demonstrations, both with labels as `codes`, and
    `active` under the active prompt."""

    codes: CodeKind
    bare: float
    shown: float
    active: float

    @property
    def dearest(self) -> float:
        return max(self.bare, self.shown, self.active)


def priced(
    own: Candidate, sets: Sequence[DemonstrationSet], active: Prompt, price: Callable[[Prompt], Price]
) -> Prices:
    """Of the instruction at hand. Where labels' words begin alike and a model is unsure among them, telling them apart
    takes up to 24 calls, with letters one: these are searched where they spare half and the model answers so."""
    bare = price(own.prompt)
    shown = _shown(own, sets, price) or bare
    if shown.calls >= DEAR:
        lettered = replace(own, prompt=replace(own.prompt, codes="letters"))
        found = _shown(lettered, sets, price)
        if found and found.unusable <= _MOST_UNUSABLE and DEAR * found.calls <= shown.calls:
            return Prices("letters", price(lettered.prompt).calls, found.calls, price(active).calls)
    return Prices(own.prompt.codes, bare.calls, shown.calls, price(active).calls)


def _shown(own: Candidate, sets: Sequence[DemonstrationSet], price: Callable[[Prompt], Price]) -> Price | None:
    return price(with_demonstrations(own, sets[0]).prompt) if sets else None
