"""Whether and where traces are told, as the settings say."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from control_plane.agents.tracer import Exporter, TraceSender
from control_plane.errors import PreconditionFailed
from control_plane.settings import Settings
from control_plane.tracing.outbox import Outbox
from orquanta import __version__

_SERVICE = "orquanta-server"
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go; both are None unless a collector is set."""

    outbox: Outbox | None = None
    exporter: Exporter | None = None

    def loops(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what sends them."""
        if self.outbox is None or self.exporter is None:
            return []
        return [TraceSender(self.exporter, self.outbox).run]


def opened(stack: AsyncExitStack, settings: Settings) -> Tracing:
    """Open the way to the collector. Raises PreconditionFailed without OpenTelemetry's SDK."""
    if not settings.otlp_endpoint:
        return Tracing()
    try:
        from control_plane.tracing.otlp import OtlpExporter  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError as error:
        raise PreconditionFailed(
            f"otlp_endpoint needs {error.name}; run: pip install 'orquanta[tracing]'", reason="NOT_INSTALLED"
        ) from error
    exporter = OtlpExporter(
        settings.otlp_endpoint, service=_SERVICE, version=__version__, timeout_seconds=_TIMEOUT_SECONDS
    )
    stack.callback(exporter.close)
    return Tracing(Outbox(), exporter)
