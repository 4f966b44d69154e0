"""Names and types of the figures, by Prometheus's own client."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from control_plane.exposition.figures import BookFigures

_CALL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """What this process knows by itself."""

    links: int
    bus_connected: bool
    bus_reconnects: int
    telemetry: dict[str, int]
    spans_waiting: int
    spans_lost: int


class ServerMetrics:
    """Everything that is exposed. `books` is replaced as often as the books are looked at; None before the first."""

    def __init__(self, process: Callable[[], ProcessFigures]) -> None:
        self.registry = CollectorRegistry()
        self.books: BookFigures | None = None
        self.calls = Histogram(
            "orquanta_call_seconds",
            "Time that calls took, streams left out",
            ["method"],
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.failures = Counter(
            "orquanta_calls_failed", "Calls that failed, by reason", ["method", "reason"], registry=self.registry
        )
        self.waits = Histogram(
            "orquanta_job_wait_seconds",
            "Time from a job's submission to its first start; counted by the control plane that leads",
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self.reads = Histogram(
            "orquanta_store_read_seconds",
            "Time that this look at the books took",
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "orquanta_loop_lag_seconds",
            "How late the event loop was for a timer",
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Collector(self, process))

    def called(self, method: str, seconds: float, failure: str) -> None:
        """Count a call."""
        name = method.lstrip("/")
        self.calls.labels(name).observe(seconds)
        if failure:
            self.failures.labels(name, failure).inc()


class _Collector(Collector):
    """Turns the latest figures into metrics when they are asked for; asks nobody itself."""

    def __init__(self, metrics: ServerMetrics, process: Callable[[], ProcessFigures]) -> None:
        self._metrics = metrics
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Yield what there is."""
        yield from _of_process(self._process())
        if self._metrics.books is not None:
            yield from _of_books(self._metrics.books)


def _of_process(figures: ProcessFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily("orquanta_links", "Hosts whose link this control plane holds", figures.links)
    yield GaugeMetricFamily("orquanta_bus_connected", "1 while the broker is reached", int(figures.bus_connected))
    yield CounterMetricFamily(
        "orquanta_bus_reconnects", "Times that the broker was found again", figures.bus_reconnects
    )
    batches = CounterMetricFamily(
        "orquanta_telemetry_batches", "Batches of telemetry, by what became of them", labels=["fate"]
    )
    for fate, count in figures.telemetry.items():
        batches.add_metric([fate], count)
    yield batches
    yield GaugeMetricFamily("orquanta_trace_spans_waiting", "Spans that wait for the collector", figures.spans_waiting)
    yield CounterMetricFamily("orquanta_trace_spans_lost", "Spans given up", figures.spans_lost)


def _of_books(figures: BookFigures) -> Iterator[Metric]:
    for name, counts in (
        ("jobs", figures.jobs),
        ("goals", figures.goals),
        ("nodes", figures.nodes),
        ("incidents", figures.incidents),
    ):
        family = GaugeMetricFamily(f"orquanta_{name}", f"{name.capitalize()}, by state", labels=["state"])
        for state, count in counts.items():
            family.add_metric([state], count)
        yield family
    kinds = GaugeMetricFamily("orquanta_conditions", "What is wrong with hosts and GPUs, by kind", labels=["kind"])
    for kind, count in figures.conditions.items():
        kinds.add_metric([kind], count)
    yield kinds
    for name, about, found in (
        ("orquanta_gpus_held", "GPUs that jobs hold; parts and MIG devices count as parts", figures.held_gpus),
        ("orquanta_gpus_occupied", "GPUs of which jobs hold anything, be it a part", figures.occupied_gpus),
    ):
        family = GaugeMetricFamily(name, about, labels=["gpu_type"])
        for gpu_type, gpus in found.items():
            family.add_metric([gpu_type], gpus)
        yield family
    yield GaugeMetricFamily(
        "orquanta_queue_oldest_wait_seconds", "For how long the oldest job waits", figures.oldest_wait_seconds
    )
    yield GaugeMetricFamily(
        "orquanta_nodes_out_of_service", "Hosts that are lost, drained, repaired or quarantined", figures.out_of_service
    )
    yield GaugeMetricFamily(
        "orquanta_nodes_out_of_service_allowed", "How many the fleet's bound allows", figures.out_of_service_allowed
    )
    yield GaugeMetricFamily(
        "orquanta_actions_awaiting_approval", "Actions that wait for people", figures.actions_awaiting
    )
    yield GaugeMetricFamily("orquanta_stopped", "1 while everything is stopped", int(figures.stopped))
    yield GaugeMetricFamily("orquanta_control_epoch", "Epoch of this control plane; 0 without one", figures.epoch)
    paused = GaugeMetricFamily("orquanta_agent_paused", "1 while an agent is paused", labels=["agent"])
    counters = CounterMetricFamily("orquanta_agent_events", "What agents have counted", labels=["agent", "what"])
    for agent in figures.agents:
        paused.add_metric([agent.name], int(agent.paused))
        for what, times in agent.metrics.items():
            counters.add_metric([agent.name, what], times)
    yield paused
    yield counters
