"""What `whetstone doctor` finds out, by trying: settings, Redis, the LLM, Label Studio, a project's labels."""

from collections.abc import Callable
from dataclasses import replace

from backend.calls import engine
from backend.diagnosis import endpoint, environment, label_studio, labels, redis_server
from backend.diagnosis.check import Check, Report, Section, Status
from backend.diagnosis.label_studio import Seen
from backend.diagnosis.labels import Wanted
from backend.labeling.errors import StoreError
from backend.labeling.prompt import PromptVersion
from backend.settings import Settings
from backend.storage.redis_client import connect
from backend.storage.store import Store

__all__ = ["Check", "Report", "Section", "Status", "diagnose"]


def diagnose(
    settings: Settings,
    *,
    config: str = "",
    project_id: int | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Report:
    """`announce` hears what is being tried. Labels are tried for a labeling configuration or a project.

    What the endpoint can do replaces what the service remembers of it.
    """
    announce("Redis")
    redis = redis_server.examine(settings)
    store = Store(connect(settings.redis_address), max_predictions=0) if redis.ok else None
    announce("the LLM")
    llm, found = endpoint.examine(settings)
    if store and found:
        engine.memory(settings, store).save(found.able)
    announce("Label Studio")
    studio, seen = label_studio.examine(settings, project_id)
    sections = [environment.examine(settings), llm, *_stronger(settings, store, announce), redis, studio]
    wanted = _wanted(config, seen, store)
    if wanted:
        announce("the labels")
        sections.append(labels.examine(wanted, found, settings))
    return Report(tuple(sections))


def _stronger(settings: Settings, store: Store | None, announce: Callable[[str], None]) -> list[Section]:
    """The second LLM of a cascade, where there is one. Without it labeling fails for what is handed on alone."""
    theirs = settings.stronger
    if theirs is None:
        return []
    announce("the stronger LLM")
    section, found = endpoint.examine(theirs)
    if store and found:
        engine.memory(theirs, store).save(found.able)
    return [Section("stronger LLM", tuple(_renamed(check) for check in section.checks))]


def _renamed(check: Check) -> Check:
    """The hints name the settings of the LLM that labels."""
    hint = check.hint
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "LLM_MODEL"):
        hint = hint.replace(name, f"STRONG_{name.partition('_')[2]}")
    return replace(check, hint=hint)


def _wanted(config: str, seen: Seen | None, store: Store | None) -> Wanted | None:
    if config:
        return Wanted(config)
    if seen is None:
        return None
    project = seen.project
    return Wanted(project.config, seen.data, project.expert_instruction, _active(store, project.key))


def _active(store: Store | None, key: str) -> PromptVersion | None:
    try:
        return store.active(key) if store else None
    except StoreError:
        return None
