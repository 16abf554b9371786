from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.label_studio.identity import IdentityError, checked, from_payload, project_key

moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - the strategy adds the zone
zones = st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def test_a_webhook_names_the_project_that_setup_and_predict_name(captured: Callable[[str], Any]) -> None:
    key = captured("setup_request")["body"]["project"]
    assert key == captured("predict_request")["body"]["project"]
    assert from_payload(captured("webhook_tasks_created")["body"]["project"]) == key


@given(moments, zones, st.integers(0, 10**12))
def test_the_key_does_not_depend_on_the_zone_the_time_is_written_in(
    moment: datetime, zone: timezone, project_id: int
) -> None:
    utc = moment.replace(tzinfo=UTC)
    keys = {project_key(project_id, at.isoformat()) for at in (utc, utc.astimezone(zone))}
    keys.add(project_key(project_id, moment.isoformat()))
    assert keys == {f"{project_id}.{int(utc.timestamp())}"}
    assert checked(keys.pop())


def test_a_bare_id_is_a_key_too() -> None:
    assert checked("12") == "12"


@pytest.mark.parametrize(
    "key",
    [None, 1, 1.5, "", "x", "1.", ".1", "1.2.3", "-1.2", "1.2\n", " 1.2", "1:2", "\u0661.\u0662", "1" * 19, ["1"]],
)
def test_what_is_no_key_is_refused_by_its_value(key: Any) -> None:
    with pytest.raises(IdentityError, match="names no project") as caught:
        checked(key)
    assert repr(key) in str(caught.value)
    assert "id.created" in caught.value.hint


@pytest.mark.parametrize(
    "project",
    [
        {},
        {"id": 1},
        {"id": None, "created_at": "2026-11-22T11:19:44Z"},
        {"id": 1, "created_at": None},
        {"id": 1, "created_at": "yesterday"},
        {"id": -1, "created_at": "2026-11-22T11:19:44Z"},
    ],
)
def test_a_payload_without_a_usable_id_and_time_is_refused(project: dict[str, Any]) -> None:
    with pytest.raises(IdentityError):
        from_payload(project)
