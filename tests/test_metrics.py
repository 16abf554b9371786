from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from backend.labeling.errors import StoreError
from backend.service import Seen, Service
from backend.settings import Settings
from backend.storage.alarms import Alarm, AlarmStore, Raised
from backend.storage.counters import Count
from backend.web import metrics

CONFIG = """<View><Text name="t" value="$t"/><Choices name="c" toName="t">
<Choice value="a"/><Choice value="b"/></Choices></View>"""
PROJECT = "1.1795346384"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def service(redis_url: str) -> Service:
    return Service(Settings(redis_url=redis_url, openai_base_url="http://127.0.0.1:1/v1"))


def scraped(service: Service) -> Samples:
    """What Prometheus itself reads."""
    return dict(_samples(metrics.render(service).decode()))


def _samples(text: str) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value


def test_every_counter_is_there_from_the_first_scrape_on(service: Service) -> None:
    found = scraped(service)
    for name in ("requests", "llm_calls", "llm_prompt_tokens", "prediction_cache_hits", "predictions", "events"):
        assert found[f"whetstone_{name}_total", ()] == 0
    assert found["whetstone_queue_length", (("queue", "label"),)] == 0
    assert found["whetstone_queue_length", (("queue", "optimize"),)] == 0


def test_counts_add_up_over_processes(service: Service, redis_url: str) -> None:
    other = Service(service.settings)
    for each in (service, other):
        each.counters.count_many(
            [Count("requests", {"route": "/predict", "status": "200"}), Count("llm_calls", value=3)]
        )
    found = scraped(service)
    assert found["whetstone_requests_total", (("route", "/predict"), ("status", "200"))] == 2
    assert found["whetstone_llm_calls_total", ()] == 6


def test_durations_are_a_histogram(service: Service) -> None:
    service.counters.observe("request_seconds", 0.003, 0.02, 200.0)
    found = scraped(service)
    assert found["whetstone_request_seconds_bucket", (("le", "0.005"),)] == 1
    assert found["whetstone_request_seconds_bucket", (("le", "0.025"),)] == 2
    assert found["whetstone_request_seconds_bucket", (("le", "+Inf"),)] == 3
    assert found["whetstone_request_seconds_count", ()] == 3
    assert found["whetstone_request_seconds_sum", ()] == pytest.approx(200.023)


def test_the_active_version_of_each_project_is_told(service: Service) -> None:
    name = service.current_after_seeing(PROJECT, Seen(CONFIG)).version.name
    assert scraped(service)["whetstone_active_version", (("project", PROJECT), ("version", name))] == 1


def test_alarms_count_for_the_version_they_were_raised_under(service: Service) -> None:
    name = service.current_after_seeing(PROJECT, Seen(CONFIG)).version.name
    store = AlarmStore(service.redis)
    for version, kind in ((name, "labels"), (name, "labels"), ("p0000-0000", "model")):
        store.add(PROJECT, Raised(Alarm(kind, "words", 1.0), version, datetime(2026, 3, 1, tzinfo=UTC)))
    found = scraped(service)
    assert found["whetstone_drift_alarms", (("kind", "labels"), ("project", PROJECT))] == 2
    assert found["whetstone_drift_alarms", (("kind", "model"), ("project", PROJECT))] == 0


def test_jobs_that_wait_are_counted(service: Service) -> None:
    service.dispatch.label_tasks(PROJECT, range(5), chunk=2)
    assert scraped(service)["whetstone_queue_length", (("queue", "label"),)] == 3


def test_without_redis_there_are_no_figures(redis_client: Redis) -> None:
    away = Service(Settings(redis_url="redis://127.0.0.1:1/0", openai_base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(StoreError):
        metrics.render(away)
