import pytest

from backend.predictions.audit import is_audit
from backend.predictions.blind import is_blind

PROJECT = "1.1795346384"


def test_the_audit_slice_is_as_large_as_asked() -> None:
    """Of 10,000 within four standard errors, .016."""
    assert sum(is_audit(PROJECT, n, 0.2) for n in range(10_000)) / 10_000 == pytest.approx(0.2, abs=0.016)


def test_every_blind_task_is_an_audit_task_while_their_share_is_no_larger() -> None:
    blind = [n for n in range(1000) if is_blind(PROJECT, n, 0.1)]
    assert all(is_audit(PROJECT, n, 0.2) for n in blind)


def test_a_task_stays_in_the_slice_when_it_grows() -> None:
    assert all(is_audit(PROJECT, n, 0.4) for n in range(1000) if is_audit(PROJECT, n, 0.2))
