"""Sends spans to a collector by OTLP over gRPC, with OpenTelemetry's own SDK. Loaded only where tracing is set up."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from control_plane.tracing.span import Span

log = structlog.get_logger()

_NANO = 1_000_000_000
_SCOPE = InstrumentationScope("orquanta")


class OtlpExporter:
    """A collector. Calls block, and are made in a thread."""

    def __init__(self, endpoint: str, *, service: str, version: str, timeout_seconds: float) -> None:
        """`endpoint` is `http://host:port` for plain text or `https://host:port`."""
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=timeout_seconds
        )
        self._resource = Resource.create({"service.name": service, "service.version": version})

    def send(self, spans: Sequence[Span]) -> bool:
        """Send spans; return whether the collector has them."""
        try:
            return self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever ails a collector must not ail the fleet
            log.warning("tracing.failed", error=f"{type(error).__name__}: {error}")
            return False

    def close(self) -> None:
        """Let go of the connection."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> ReadableSpan:
        trace_id = int(span.context.trace_id, 16)
        parent = None
        if span.parent_span_id:
            parent = SpanContext(trace_id, int(span.parent_span_id, 16), is_remote=True)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(
                trace_id, int(span.context.span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
            ),
            parent=parent,
            resource=self._resource,
            attributes=dict(span.attributes),
            kind=SpanKind.SERVER if span.serves else SpanKind.INTERNAL,
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.started_at),
            end_time=_nanoseconds(span.ended_at),
        )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * _NANO)
