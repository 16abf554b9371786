"""What a diagnosis is made of: checks, by subject."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """`found` is what trying showed, `hint` the way out. A `needed` one that fails fails the whole diagnosis."""

    name: str
    status: Status
    found: str
    hint: str = ""
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    subject: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return not any(check.needed and check.status == "failed" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Report:
    sections: tuple[Section, ...]

    @property
    def ok(self) -> bool:
        return all(section.ok for section in self.sections)

    def count(self, status: Status) -> int:
        return sum(check.status == status for section in self.sections for check in section.checks)

    def as_json(self) -> dict[str, Any]:
        checks = [{"subject": part.subject, **asdict(check)} for part in self.sections for check in part.checks]
        return {"ok": self.ok, "checks": checks}


def skipped(names: Sequence[str], reason: str) -> tuple[Check, ...]:
    """So that every report has the same rows."""
    return tuple(Check(name, "skipped", reason) for name in names)
