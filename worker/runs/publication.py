"""What becomes of a finding: the challenger is published, kept for later, or overtaken; and what the record tells."""

from dataclasses import replace
from datetime import datetime

from backend.labeling.prompt import PromptVersion
from backend.projects.pushing import Target
from backend.prompts.succession import stored_or
from backend.service import Service
from backend.storage.runs import Decision, RunRecord, Spend
from worker.optimizer.optimize import Finding
from worker.runs import verdict


def by_run(run_id: str) -> str:
    """Who made a version the active one."""
    return f"run {run_id}"


def by_rollback(run_id: str) -> str:
    return f"rollback in run {run_id}"


def is_by_run(by: str) -> bool:
    """Neither by a person nor by a rollback."""
    return by.startswith("run ")


def is_carried_out(service: Service, run: RunRecord) -> bool:
    """Whether a run that died had moved the pointer by then: only its report is left to do."""
    authors = (by_run(run.id), by_rollback(run.id))
    decided = run.decision in ("published", "rolled_back")
    return decided and any(each.by in authors for each in service.store.activations(run.project))


def decided(finding: Finding, before: Target, now: Target, *, model: str, require_approval: bool) -> Decision:
    """`before` is what the run began from, `model` what it asked. Where another version is active by `now`, for another
    model, or the labels are others, its challenger is overtaken."""
    if finding.challenger is None or finding.decision not in ("published", "kept"):
        return finding.decision
    if now.current.schema.config_hash != before.current.schema.config_hash:
        return "overtaken"
    if finding.decision == "kept":
        return "kept"
    if now.current.version.model != model:
        return "overtaken"
    if now.current.version.name != before.current.version.name:
        return "overtaken"
    return "awaiting_approval" if require_approval else "published"


def version_of(service: Service, finding: Finding, before: Target, at: datetime) -> PromptVersion | None:
    """The challenger under its name: the one that has this content already, else a new number, made `at`. None for a
    finding that leaves none behind."""
    if finding.challenger is None or finding.decision not in ("published", "kept"):
        return None
    active, project = before.current.version, before.record.key
    made = PromptVersion.of(
        1,
        finding.challenger,
        config_hash=active.config_hash,
        model=service.settings.model_name,
        origin=finding.origin,
        created_at=at,
    )
    return stored_or(service.store, project, replace(made, parent=active.name))


def told(
    record: RunRecord, decision: Decision, finding: Finding, before: Target, version: PromptVersion | None, spend: Spend
) -> RunRecord:
    """The record with the decision, its evidence and its words."""
    changes = verdict.changes(before.current.version.prompt, finding.challenger) if finding.challenger else ()
    words = verdict.words(
        decision,
        finding.estimate,
        changes,
        finding.origin,
        spend,
        record.labels,
        objections=() if decision == "overtaken" else finding.objections,
    )
    return replace(
        record,
        decision=decision,
        words=words,
        challenger=version.name if version else None,
        estimate=finding.estimate,
        fixes=finding.fixes,
        breaks=finding.breaks,
        spend=spend,
    )
