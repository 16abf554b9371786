"""What annotators decided since the last run, and whether it is enough to learn from."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from backend.label_studio import LabelStudioClient
from backend.projects.pushing import Target
from backend.queue.kinds import Request
from backend.service import Service
from backend.settings import Settings
from worker.labels import annotated
from worker.labels.annotation_store import AnnotationStore, Learned
from worker.labels.examples import Example
from worker.optimizer.optimize import LEAST_LABELS
from worker.runs import retreat


@dataclass(frozen=True, slots=True)
class News:
    """Since the last run: examples that are new or were decided anew, and how many of them decide otherwise than the
    prediction that was shown. `examples` are all there are."""

    labels: int
    errors: int
    examples: int

    def trigger(self, settings: Settings) -> str:
        """Why a run is due, "" when none is."""
        if self.examples < LEAST_LABELS:
            return ""
        if self.labels >= settings.learn_after_labels:
            return "labels"
        return "errors" if self.errors >= settings.learn_after_errors else ""


def follow(service: Service, client: LabelStudioClient, to: Target, *, whole: bool) -> News:
    """Reads what is new in Label Studio and asks for a run when it is enough, or for a test of the version that a run
    published. Raises `LabelStudioError`."""
    annotated.refresh(service, client, to, whole=whole)
    store, examples = AnnotationStore(service.redis), annotated.truth(service, to).examples
    found = _news(service, store, to, examples)
    service.store.update_project(to.record.key, labels=found.examples, new_labels=found.labels)
    trigger = found.trigger(service.settings) or _watch(service, store, to, examples)
    if trigger:
        service.dispatch.touch(to.record.key, "optimize", trigger=trigger)
    return found


def _watch(service: Service, store: AnnotationStore, to: Target, examples: Sequence[Example]) -> str:
    """Here nothing is asked of an LLM: others wait in this queue."""
    found = retreat.watched(service, to, examples) if service.settings.auto_rollback else None
    return "watch" if found and found.is_due(store.watched(to.record.key)) else ""


def _news(service: Service, store: AnnotationStore, to: Target, examples: Sequence[Example]) -> News:
    """Of what was pulled so far. Under another labeling configuration than the last run's everything is new."""
    key, schema = to.record.key, to.current.schema
    latest = service.runs.latest(key)
    learned_for = service.store.version(key, latest.active) if latest else None
    same = learned_for is not None and learned_for.config_hash == schema.config_hash
    return count(examples, store.learned(key) if same else Learned())


def count(examples: Sequence[Example], known: Learned) -> News:
    """`examples` in the order in which they were decided: an edited one is decided when it was edited.

    New are those decided after the last that a run knew, and at least as many of the latest as there are more than it
    knew: what becomes visible late bears an earlier time.
    """
    decided = [example.annotated_at for example in examples]
    seen = bisect_right(decided, known.until) if known.until else len(decided)
    new = examples[min(seen, known.labels) :]
    return News(len(new), sum(_is_error(example) for example in new), len(examples))


def _is_error(example: Example) -> bool:
    """A blind label says nothing of the prompt before a run has asked it, nor does one on which people split."""
    if example.shown is None or example.disputed:
        return False
    shown = example.shown.values
    return any(set(shown[control]) != set(true) for control, true in example.truth.items() if control in shown)


def is_due(service: Service, to: Target, asked: Request) -> bool:
    """Whether a run that was asked for is still to be made: another may have learned from these labels meanwhile, or
    somebody canceled it. One that was interrupted is, if only to be ended, and so is one that somebody asked for."""
    latest = service.runs.latest(to.record.key)
    if latest and latest.state == "running":
        return True
    if asked.revision <= service.dispatch.canceled_up_to(to.record.key):
        return False
    if asked.trigger in {"", "forced"}:
        return True
    store = AnnotationStore(service.redis)
    found = _news(service, store, to, annotated.truth(service, to).examples)
    if asked.trigger in {"drift", "guideline", "model"}:
        return found.examples > 0
    return bool(found.trigger(service.settings))
