"""Which prompt version serves a project, and which one follows when its configuration, model or settings are others."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from backend.labeling import templates
from backend.labeling.calibration import Calibration
from backend.labeling.fields import plain
from backend.labeling.prompt import Prompt, PromptVersion, content_hash
from backend.labeling.schema import LabelingSchema
from backend.prompts.fixed_demonstrations import FixedDemonstrations
from backend.settings import Settings
from backend.storage.store import Store
from backend.storage.versions import Claim

# Who or what makes a version the active one, besides people and runs.
SEED = "seed"
MODEL = "model changed"
CONFIGURATION = "configuration restored"

_ATTEMPTS = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """`by` is why it took another's place just now, "" where it did not; `before` is the name of that one, None for a
    project's first."""

    version: PromptVersion
    by: str = ""
    before: str | None = None


class Succession:
    """The active version stays while it is of the project's configuration and of this process's model, and is no
    initial prompt that the settings or the guideline would make otherwise.

    Else the first of these follows: what was learned, or chosen by a person, for this configuration and model; the same
    for another model, its calibration reset; the initial prompt.

    Of processes with different settings those of the web service go before all others, and of equals those of the one
    that started last: whatever its own settings are, a process leaves a version of this configuration to those that go
    before it, and warns once. So settings take effect with a restart, and no two processes replace each other's version
    time and again.
    """

    def __init__(self, store: Store, settings: Settings, fixed: FixedDemonstrations, *, leads: bool) -> None:
        self._store, self._settings, self._fixed, self._leads = store, settings, fixed, leads
        self._started = time.time()
        self._claimed: set[str] = set()
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def serving(self, key: str, schema: LabelingSchema) -> Serving:
        """Its version is always of this configuration: where others are quicker for a second time, as when two
        configurations of a project are asked for at once, it is an initial prompt that is not stored. Raises
        `StoreError`."""
        if self._leads and self._is_first(self._claimed, key):
            self._claim(key)
        for _ in range(_ATTEMPTS):
            active = self._store.active(key)
            if active and self._stays(key, active, schema):
                return Serving(active)
            version, by = self._successor(key, active, schema)
            if put(self._store, key, version, active.name if active else None, by=by):
                self._store.active(key)  # remembered, in case Redis goes away
                return Serving(version, by, active.name if active else None)
        active = self._store.active(key)
        return Serving(active if active and active.config_hash == schema.config_hash else version)

    def seed(self, number: int, schema: LabelingSchema, *, expert_instruction: str) -> PromptVersion:
        """The setting, else the project's own instruction for annotators, else what the configuration says."""
        text = self._settings.instruction or plain(expert_instruction).strip() or templates.initial_instruction(schema)
        prompt = Prompt(text, demonstrations=self._fixed.of(schema), style=self._settings.prompt_style)
        return PromptVersion.of(
            number,
            prompt,
            config_hash=schema.config_hash,
            model=self._settings.model_name,
            origin=SEED,
            created_at=datetime.now(UTC),
        )

    def _stays(self, key: str, active: PromptVersion, schema: LabelingSchema) -> bool:
        if active.config_hash != schema.config_hash:
            return False
        if active.model == self._settings.model_name and (
            active.origin != SEED
            or _content(active) == _content(self._fresh(key, schema))
            or self._is_chosen(key, active)
        ):
            return True
        return not self._claim(key)

    def _is_chosen(self, key: str, active: PromptVersion) -> bool:
        """What was learned; of initial prompts those to which a person, or the rollback test, returned."""
        if active.origin != SEED:
            return True
        latest = next(iter(self._store.activations(key)), None)
        return latest is not None and latest.version == active.name and latest.by != SEED

    def _successor(self, key: str, active: PromptVersion | None, schema: LabelingSchema) -> tuple[PromptVersion, str]:
        """With what is to be recorded with it."""
        fits = active is not None and active.config_hash == schema.config_hash
        if active and (not fits or self._is_chosen(key, active)):
            chosen = self._chosen(key, schema)
            if chosen:
                version = under_model(self._store, key, chosen, self._settings.model_name)
                return version, MODEL if fits else CONFIGURATION
        return stored_or(self._store, key, self._fresh(key, schema), origin=SEED), SEED

    def _chosen(self, key: str, schema: LabelingSchema) -> PromptVersion | None:
        """The latest for this configuration that was learned or chosen, of this process's model before others."""
        stored = {each.name: each for each in self._store.all_versions(key) if each.config_hash == schema.config_hash}
        found = [(stored[each.version], each.by) for each in self._store.activations(key) if each.version in stored]
        chosen = [version for version, by in found if version.origin != SEED or by != SEED]
        same = [version for version in chosen if version.model == self._settings.model_name]
        return next(iter(same or chosen), None)

    def _fresh(self, key: str, schema: LabelingSchema) -> PromptVersion:
        record = self._store.project(key)
        return self.seed(1, schema, expert_instruction=record.expert_instruction if record else "")

    def _claim(self, key: str) -> bool:
        """Whether this process's settings are those that the project goes by, now or from now on."""
        digest, written_at = self._fixed.stamp()
        settings = self._seed_settings() | {"DEMONSTRATIONS": digest}
        since = max(self._started, written_at)
        held = self._store.claim(key, Claim(json.dumps(settings, sort_keys=True), int(self._leads), since))
        if held is None:
            return True
        if self._is_first(self._warned, key):
            theirs = json.loads(held)
            _log.warning(
                "settings of this process differ from the service's: its prompt version stays",
                project=key,
                settings=[name for name, value in settings.items() if theirs.get(name) != value],
            )
        return False

    def _seed_settings(self) -> dict[str, str]:
        """What an initial prompt is made from, by the settings' names, the text as a digest; the file aside."""
        settings = self._settings
        return {
            "LLM_MODEL": settings.model_name,
            "LLM_PROMPT_STYLE": settings.prompt_style,
            "INSTRUCTION": hashlib.sha256(settings.instruction.encode()).hexdigest()[:16],
        }

    def _is_first(self, seen: set[str], key: str) -> bool:
        with self._lock:
            if key in seen:
                return False
            seen.add(key)
            return True


def under_model(store: Store, key: str, version: PromptVersion, model: str) -> PromptVersion:
    """Itself where it is of this model, else its prompt for this one: no score is calibrated for it yet."""
    if version.model == model:
        return version
    prompt = replace(version.prompt, calibration=Calibration())
    made = PromptVersion.of(
        1, prompt, config_hash=version.config_hash, model=model, origin=version.origin, created_at=datetime.now(UTC)
    )
    return stored_or(store, key, replace(made, parent=version.name))


def put(store: Store, key: str, version: PromptVersion, expected: str | None, *, by: str) -> bool:
    """`Store.publish` for one that may be stored already, perhaps by an older release in other words."""
    if store.version(key, version.name) is None:
        return store.publish(key, version, expected, by=by)
    return store.activate(key, version.name, expected=expected, by=by)


def stored_or(store: Store, key: str, made: PromptVersion, *, origin: str = "") -> PromptVersion:
    """The version that is stored with this content, of this origin where one is named; else `made` under the next
    number."""
    wanted = _content(made)
    for version in store.all_versions(key):
        if _content(version) == wanted and origin in ("", version.origin):
            return version
    numbered = PromptVersion.of(
        store.next_number(key),
        made.prompt,
        config_hash=made.config_hash,
        model=made.model,
        origin=made.origin,
        created_at=made.created_at,
    )
    return replace(numbered, parent=made.parent)


def _content(version: PromptVersion) -> str:
    return content_hash(version.prompt, version.config_hash, version.model)
