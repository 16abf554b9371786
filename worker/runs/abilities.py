"""What a search may try, given what the endpoint can do."""

from backend.labeling.engines.base import Capabilities
from backend.labeling.engines.weights import CARRIED
from backend.labeling.prompt import Style
from backend.settings import Settings
from worker.optimizer.comparison import CACHED
from worker.optimizer.techniques import FORMATS, REASONING, Technique


def styles(settings: Settings, able: Capabilities) -> tuple[Style, ...]:
    """Those that give log-probs, the configured one first; that one alone where none does."""
    preferred = settings.prompt_style
    every: tuple[Style, ...] = ("chat", "text")
    scored = [style for style in every if able.logprobs_for(style) and (style == "chat" or able.continues)]
    return tuple(sorted(scored, key=lambda style: style != preferred)) or (preferred,)


def techniques(settings: Settings, able: Capabilities) -> tuple[Technique, ...]:
    """No rationales from a model that thinks anyway, nor from one of the small ones that come along, which write poorly
    and slowly."""
    found: tuple[Technique, ...] = (*FORMATS, "cascade") if settings.stronger else FORMATS
    if able.thinking == "always" or (settings.uses_local_llm and settings.local_model in CARRIED):
        return found
    return (*found, *(REASONING if settings.rationale_samples > 1 else REASONING[:1]))


def cached_token(settings: Settings) -> float:
    """What a token that the prefix cache held counts, of one that is read anew: with the local LLM, where the price is
    time, nothing."""
    return 0.0 if settings.uses_local_llm else CACHED
