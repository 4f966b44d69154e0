"""Whether the control plane's own figures are served, as the settings say."""

from collections.abc import Awaitable, Callable

from control_plane.bus.client import Bus
from control_plane.exposition.exposing import Exposing
from control_plane.exposition.registry import ProcessFigures, ServerMetrics
from control_plane.services.call_traces import Called
from control_plane.settings import Settings
from control_plane.store.database import Store
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tracing.outbox import Outbox


class Exposition:
    """The figures of this process. `called` counts calls; None, and nothing runs, unless an address is set."""

    def __init__(
        self, settings: Settings, store: Store, bus: Bus, telemetry: TelemetryWindows, spans: Outbox | None
    ) -> None:
        self._address = settings.metrics_address
        self._store = store
        self._bus = bus
        self._telemetry = telemetry
        self._spans = spans
        self._links: Callable[[], int] = lambda: 0
        self._metrics = ServerMetrics(self._process) if self._address else None
        self.called: Called | None = None if self._metrics is None else self._metrics.called

    def loops(self, links: Callable[[], int], leads: Callable[[], bool]) -> list[Callable[[], Awaitable[None]]]:
        """Serve, and return what keeps the figures fresh. Raises PreconditionFailed when the port is taken.

        `leads` tells whether this control plane leads: what has happened once is counted by the one that does.
        """
        self._links = links
        if self._metrics is None:
            return []
        return [Exposing(self._store, self._metrics, leads).serve(self._address).run]

    def _process(self) -> ProcessFigures:
        counts = self._telemetry.counts
        return ProcessFigures(
            links=self._links(),
            bus_connected=self._bus.healthy,
            bus_reconnects=self._bus.reconnects,
            telemetry={
                "kept": counts.batches,
                "garbage": counts.garbage,
                "no_room": counts.no_room,
                "shed": counts.shed,
            },
            spans_waiting=0 if self._spans is None else len(self._spans),
            spans_lost=0 if self._spans is None else self._spans.lost,
        )
