"""What a search may try, given what the endpoint can do."""

from backend.labeling.engines.base import Capabilities
from backend.labeling.prompt import Style
from backend.settings import Settings
from worker.techniques import FORMATS, REASONING, Technique


def styles(settings: Settings, able: Capabilities) -> tuple[Style, ...]:
    """Those that give log-probs, the configured one first; that one alone where none does."""
    preferred = settings.prompt_style
    every: tuple[Style, ...] = ("chat", "text")
    scored = [style for style in every if able.logprobs_for(style) and (style == "chat" or able.continues)]
    return tuple(sorted(scored, key=lambda style: style != preferred)) or (preferred,)


def techniques(settings: Settings, able: Capabilities) -> tuple[Technique, ...]:
    """No rationales from a model that thinks anyway, nor from the small local one, which writes poorly and slowly."""
    found: tuple[Technique, ...] = (*FORMATS, "cascade") if settings.stronger else FORMATS
    if able.thinking == "always" or settings.uses_local_llm:
        return found
    return (*found, *(REASONING if settings.rationale_samples > 1 else REASONING[:1]))


def shared_only(settings: Settings) -> bool:
    """On a small machine most of a prompt's time is what the prefix cache saves: demonstrations of each task's own make
    the local LLM several times as slow."""
    return settings.uses_local_llm
