"""Prompt versions side by side, each on the labels that had no part in making it, and on all. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.labeling.prompt import PromptVersion
from backend.labeling.schema import LabelingSchema
from backend.storage.versions import Activation
from worker import wording
from worker.labels.examples import Example
from worker.labels.unseen import Unseen
from worker.optimizer.outcomes import Graded
from worker.report.document import PairedJson, ShareJson, VersionJson
from worker.report.figures import figures


@dataclass(frozen=True, slots=True)
class Judged:
    """A version and its graded predictions by `Example.id`; those that lack are not counted."""

    version: PromptVersion
    graded: Mapping[str, Graded] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that versions are compared on."""

    schema: LabelingSchema
    examples: Sequence[Example]
    activations: Sequence[Activation]
    unseen: Unseen

    def of(self, judged: Judged, active: Judged) -> VersionJson:
        version = judged.version
        unseen = [example for example in self.examples if self.unseen.by(version, example)]
        on_unseen = figures(self.schema, unseen, judged.graded)
        on_all = figures(self.schema, self.examples, judged.graded)
        is_active = version.name == active.version.name
        return {
            "version": version.name,
            "origin": version.origin,
            "created_at": version.created_at.isoformat(),
            "active": is_active,
            "activated": sorted(each.at.isoformat() for each in self.activations if each.version == version.name),
            "calibrated_on": version.prompt.calibration.fitted_on,
            "basis": "unseen" if on_unseen["labels"] >= wording.FEW else "all",
            "unseen": on_unseen,
            "all": on_all,
            "against_active": None if is_active else self._paired(judged, active),
            "words": _words(version.name, on_unseen["accuracy"], on_all["accuracy"]),
        }

    def _paired(self, judged: Judged, active: Judged) -> PairedJson:
        both = [
            (judged.graded[each.id].right, active.graded[each.id].right)
            for each in self.examples
            if each.id in judged.graded
            and each.id in active.graded
            and self.unseen.by(judged.version, each)
            and self.unseen.by(active.version, each)
        ]
        found: PairedJson = {
            "labels": len(both),
            "right": sum(this for this, _ in both),
            "active_right": sum(that for _, that in both),
            "only_this": sum(this and not that for this, that in both),
            "only_active": sum(that and not this for this, that in both),
            "words": "",
        }
        found["words"] = _paired_words(found, judged.version.name, active.version.name)
        return found


def _words(name: str, unseen: ShareJson, everything: ShareJson) -> str:
    if not everything["n"]:
        return f"{name} has not been compared with any label yet."
    if unseen["n"] == everything["n"]:
        return f"{name} is right on {unseen['words']}; none of these labels had a part in making it."
    flattered = f"on all labels, which flatter it, it is right on {everything['words']}"
    if not unseen["n"]:
        return f"{name} has not met a label yet that had no part in making it; {flattered}."
    return f"On labels that had no part in making it, {name} is right on {unseen['words']}; {flattered}."


def _paired_words(found: PairedJson, this: str, active: str) -> str:
    if not found["labels"]:
        return f"There is no label yet that neither {this} nor {active} has seen."
    few = " Too few to tell which is better." if found["only_this"] + found["only_active"] < wording.FEW else ""
    return (
        f"On the {wording.counted(found['labels'], 'label')} that neither has seen, {active} is right on "
        f"{found['active_right']}, {this} on {found['right']}; {active} alone on {found['only_active']}, "
        f"{this} alone on {found['only_this']}.{few}"
    )
