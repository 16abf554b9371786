"""/metrics: what all processes counted, in Prometheus's text format."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.service import Service
from backend.storage.alarms import KINDS, AlarmStore
from backend.storage.counters import Count
from backend.storage.store import ProjectRecord

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "requests": "HTTP requests answered",
    "events": "webhook events received",
    "predictions": "tasks labelled, by outcome",
    "prediction_cache_hits": "tasks answered from stored predictions",
    "llm_calls": "calls to the LLM that gave a completion",
    "llm_errors": "calls to the LLM that failed, retried ones too",
    "llm_prompt_tokens": "prompt tokens, cached ones included",
    "llm_cached_tokens": "prompt tokens that came from the server's prefix cache",
    "llm_completion_tokens": "generated tokens",
}


def render(service: Service) -> bytes:
    """Raises `StoreError`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._service)
        for histogram in self._service.counters.histograms():
            family = HistogramMetricFamily(f"whetstone_{histogram.name}", "seconds")
            family.add_metric([], buckets=list(histogram.buckets), sum_value=histogram.sum_s)
            yield family
        queues = GaugeMetricFamily("whetstone_queue_length", "jobs that wait", labels=["queue"])
        for queue, length in self._service.dispatch.queue_lengths().items():
            queues.add_metric([queue], length)
        yield queues
        yield _active(self._service)
        yield _drift(self._service)


def _counters(service: Service) -> Iterator[Metric]:
    """Every name is there from the first scrape on, so that rates begin at 0."""
    found: dict[str, list[Count]] = defaultdict(list)
    for count in service.counters.counts():
        found[count.name].append(count)
    for name, text in _HELP.items():
        labels: Mapping[str, str] = found[name][0].labels if found[name] else {}
        family = CounterMetricFamily(f"whetstone_{name}", text, labels=list(labels))
        for count in found[name] or [Count(name, {}, 0.0)]:
            family.add_metric(list(count.labels.values()), count.value)
        yield family


def _active(service: Service) -> Metric:
    family = GaugeMetricFamily("whetstone_active_version", "1 for the version served", labels=["project", "version"])
    for record in _there(service):
        active = service.store.active(record.key)
        if active:
            family.add_metric([record.key, active.name], 1)
    return family


def _drift(service: Service) -> Metric:
    """Each kind is there from the first scrape on; another version begins at 0."""
    family = GaugeMetricFamily(
        "whetstone_drift_alarms", "alarms since the active version is served", labels=["project", "kind"]
    )
    for record in _there(service):
        active = service.store.active(record.key)
        raised = AlarmStore(service.redis).alarms(record.key) if active else []
        counts = Counter(each.alarm.kind for each in raised if active and each.version == active.name)
        for kind in KINDS if active else ():
            family.add_metric([record.key, kind], counts[kind])
    return family


def _there(service: Service) -> Iterator[ProjectRecord]:
    """Without projects that Label Studio has no more."""
    return (record for record in service.store.projects() if not record.gone)
