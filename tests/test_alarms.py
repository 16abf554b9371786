from datetime import UTC, datetime, timedelta

from redis import Redis

from backend.storage.alarms import MOST, Alarm, AlarmStore, Raised
from backend.storage.store import Store

PROJECT = "1.1795346384"


def raised(number: int) -> Raised:
    at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number)
    return Raised(Alarm("labels", f"«{number}»", 1.5), "p0001-abcd", at)


def test_the_last_twenty_alarms_are_kept_the_latest_first(redis_client: Redis) -> None:
    store = AlarmStore(redis_client)
    for number in range(25):
        store.add(PROJECT, raised(number))
    assert store.alarms(PROJECT) == [raised(number) for number in range(24, 24 - MOST, -1)]


def test_a_forgotten_project_has_no_alarms(redis_client: Redis) -> None:
    AlarmStore(redis_client).add(PROJECT, raised(1))
    Store(redis_client, max_predictions=10).forget_project(PROJECT)
    assert AlarmStore(redis_client).alarms(PROJECT) == []
