"""The fleet in figures."""

from datetime import datetime

from orquanta.convert.metrics import read_fleet_metrics, read_node_telemetry, read_rollup
from orquanta.convert.scalars import write_time
from orquanta.transport import Transport
from orquanta.types.metrics import FleetMetrics, NodeTelemetry, TelemetryRollup
from orquanta.v1 import metrics_pb2 as pb
from orquanta.v1.metrics_pb2_grpc import MetricsServiceStub


class AsyncMetrics:
    """Read figures and telemetry."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = MetricsServiceStub(transport.channel)

    async def fleet(self) -> FleetMetrics:
        """The fleet's figures now."""
        response = await self._transport.call(self._stub.GetFleetMetrics, pb.GetFleetMetricsRequest())
        return read_fleet_metrics(response)

    async def telemetry(self, node_id: str = "") -> tuple[NodeTelemetry, ...]:
        """The newest telemetry of one node, by id or name, or of all."""
        response = await self._transport.call(self._stub.GetTelemetry, pb.GetTelemetryRequest(node_id=node_id))
        return tuple(read_node_telemetry(entry) for entry in response.nodes)

    async def rollups(self, node_id: str, *, since: datetime | None = None) -> tuple[TelemetryRollup, ...]:
        """The minutes in which a node could not send raw samples, oldest first, at most 1,440.

        Without `since` those of the last week.
        """
        begin = None if since is None else write_time(since)
        request = pb.GetTelemetryRollupsRequest(node_id=node_id, since=begin)
        response = await self._transport.call(self._stub.GetTelemetryRollups, request)
        return tuple(read_rollup(entry) for entry in response.rollups)
