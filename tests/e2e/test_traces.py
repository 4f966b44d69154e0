"""One trace from the caller's program over the goal, the plan, the governor and the host to the exit of the process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import override

from orquanta.gameday.fleet import Fleet, free_port
from orquanta.tracing import TraceContext
from tests.e2e.conftest import output

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(120)]

CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


class Collector(TraceServiceServicer):
    """A collector of traces over the real protocol."""

    def __init__(self) -> None:
        self.spans: dict[str, dict[str, Span]] = defaultdict(dict)
        self.services: set[str] = set()
        self.received = asyncio.Event()

    @override
    async def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:
        for resource in request.resource_spans:
            named = [one.value.string_value for one in resource.resource.attributes if one.key == "service.name"]
            self.services.update(named)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.trace_id.hex()][span.span_id.hex()] = span
        self.received.set()
        return ExportTraceServiceResponse()

    async def until(self, trace_id: str, names: set[str]) -> dict[str, Span]:
        """Wait until a trace has spans of these names."""
        async with asyncio.timeout(30):
            while not names <= {span.name for span in self.spans[trace_id].values()}:
                self.received.clear()
                await self.received.wait()
        return self.spans[trace_id]


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call] # it is generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def scraped(address: str, *, until: str) -> list[str]:
    """Return the figures as Prometheus gets them, once a line is among them."""
    async with asyncio.timeout(30):
        while True:
            reader, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            page = (await reader.read()).decode()
            writer.close()
            if until in page.splitlines():
                assert list(text_string_to_metric_families(page.partition("\r\n\r\n")[2]))
                return page.splitlines()
            await asyncio.sleep(0.2)


async def test_a_goal_is_one_trace_from_its_caller_to_the_exit_of_its_process(
    quick_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    async with (
        collecting() as (collector, endpoint),
        quick_fleet(otlp_endpoint=endpoint, metrics_address=metrics) as fleet,
    ):
        admin = await fleet.client()
        await fleet.add_host(admin, "traced", "1xH100")
        monkeypatch.setenv("TRACEPARENT", CALLER.traceparent())
        goal = await admin.goals.create("Run `echo $TRACEPARENT; exit 3` on 1 H100 for 5 minutes")
        monkeypatch.delenv("TRACEPARENT")
        (job,) = (await admin.goals.get(goal.id)).jobs
        await admin.jobs.wait(job.id)
        handed_on = TraceContext.parse((await output(admin, job.id, follow=True)).decode())
        names = {"GoalService/CreateGoal", "goal", "governor launch_jobs", "job", "queue", "governor place_job"}
        spans = await collector.until(CALLER.trace_id, {*names, "attempt", "run on host"})
        samples = await scraped(metrics, until='orquanta_jobs{state="failed"} 1.0')
    by_name = {span.name: span for span in spans.values()}
    assert collector.services == {"orquanta-server"}
    assert by_name["GoalService/CreateGoal"].parent_span_id.hex() == CALLER.span_id
    above = {
        name: spans[span.parent_span_id.hex()].name
        for name, span in by_name.items()
        if name != "GoalService/CreateGoal"
    }
    assert (
        above.items()
        >= {
            "goal": "GoalService/CreateGoal",
            "governor launch_jobs": "goal",
            "job": "goal",
            "queue": "job",
            "governor place_job": "job",
            "attempt": "job",
            "run on host": "attempt",
        }.items()
    )
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in spans.values())
    exits = {one.key: one.value.int_value for one in by_name["run on host"].attributes}
    assert exits["process.exit.code"] == 3
    assert handed_on is not None
    assert (handed_on.trace_id, handed_on.span_id) == (CALLER.trace_id, by_name["run on host"].span_id.hex())
    assert "orquanta_links 1.0" in samples
    assert 'orquanta_call_seconds_count{method="orquanta.v1.GoalService/CreateGoal"} 1.0' in samples
    assert "orquanta_job_wait_seconds_count 1.0" in samples
    assert 'orquanta_agent_events_total{agent="scheduler_agent",what="placements"} 1.0' in samples
    # Calls without a context, or with one that makes no sense, have traces of their own.
    alone = [found for trace, found in collector.spans.items() if trace != CALLER.trace_id]
    others = {span.name for found in alone for span in found.values()}
    assert "GoalService/GetGoal" in others
    assert "0" * 32 not in collector.spans
