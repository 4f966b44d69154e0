"""MetricsService: the fleet in figures."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Final

from typing_extensions import override

from control_plane.fleet.prices import PriceTable
from control_plane.model.goal import GoalState
from control_plane.model.incident import IncidentState
from control_plane.model.job import JobState
from control_plane.model.money import to_micros
from control_plane.model.node import NodeState
from control_plane.model.telemetry import Rollup
from control_plane.services.convert.scalars import timestamp
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import moment, node_reference
from control_plane.store import conditions, goals, incidents, jobs, nodes, rollups, users
from control_plane.store.database import Store, Tx
from control_plane.telemetry.windows import TelemetryCounts, TelemetryWindows
from control_plane.tools.fleet_gpus import FleetCount, FleetGpus
from orquanta.v1 import event_pb2, metrics_pb2
from orquanta.v1.metrics_pb2_grpc import MetricsServiceServicer

UTILIZATION_SECONDS: Final = 30.0
"""The period over which utilisation is averaged."""

_NODES_AT_A_STRETCH: Final = 50
"""Nodes whose windows are looked at, a millisecond's work or two, before everything else has its turn."""

_ROLLUPS_SHOWN: Final = timedelta(days=7)
_ROLLUPS_MAX: Final = 1_440


@dataclass(frozen=True, slots=True)
class _Figures:
    """What one transaction says about the fleet."""

    gpus: FleetCount
    nodes_by_state: Mapping[NodeState, int]
    jobs_by_state: Mapping[JobState, int]
    goals_by_state: Mapping[GoalState, int]
    incidents_by_state: Mapping[IncidentState, int]
    conditions_by_kind: Mapping[str, int]
    spent_usd: Decimal
    reserved_usd: Decimal
    measured_at: datetime


class Metrics(MetricsServiceServicer):
    """Serves figures."""

    def __init__(self, *, store: Store, telemetry: TelemetryWindows, prices: PriceTable, gpus: FleetGpus) -> None:
        self._store = store
        self._telemetry = telemetry
        self._prices = prices
        self._gpus = gpus

    @override
    async def GetFleetMetrics(
        self, request: metrics_pb2.GetFleetMetricsRequest, context: object
    ) -> metrics_pb2.GetFleetMetricsResponse:
        figures = await self._store.read(self._figures)
        return metrics_pb2.GetFleetMetricsResponse(
            gpu_types=await self._gpu_types(figures.gpus),
            nodes_by_state=_by_state(figures.nodes_by_state),
            jobs_by_state=_by_state(figures.jobs_by_state),
            goals_by_state=_by_state(figures.goals_by_state),
            incidents_by_state=_by_state(figures.incidents_by_state),
            conditions_by_kind=figures.conditions_by_kind,
            spent_usd_micros=to_micros(figures.spent_usd),
            reserved_usd_micros=to_micros(figures.reserved_usd),
            measured_at=timestamp(figures.measured_at),
            telemetry=_intake(self._telemetry.counts),
        )

    @override
    async def GetTelemetry(
        self, request: metrics_pb2.GetTelemetryRequest, context: object
    ) -> metrics_pb2.GetTelemetryResponse:
        wanted = self._telemetry.nodes()
        if request.node_id:
            fields = Fields()
            reference = node_reference(fields, "node_id", request.node_id)
            fields.check()
            node = await self._store.read(lambda tx: nodes.resolve(tx, reference))
            wanted = tuple(node_id for node_id in wanted if node_id == node.id)
        found: list[metrics_pb2.NodeTelemetry] = []
        for number, node_id in enumerate(wanted, 1):
            found.append(
                metrics_pb2.NodeTelemetry(
                    node_id=node_id,
                    newest=self._telemetry.newest(node_id),
                    batches=self._telemetry.batches(node_id),
                    received_at=timestamp(self._telemetry.received_at(node_id)),
                )
            )
            if not number % _NODES_AT_A_STRETCH:
                await asyncio.sleep(0)
        return metrics_pb2.GetTelemetryResponse(nodes=found)

    @override
    async def GetTelemetryRollups(
        self, request: metrics_pb2.GetTelemetryRollupsRequest, context: object
    ) -> metrics_pb2.GetTelemetryRollupsResponse:
        fields = Fields()
        reference = node_reference(fields, "node_id", request.node_id)
        begin = moment(fields, "since", request.since) if request.HasField("since") else None
        fields.check()

        def read(tx: Tx) -> tuple[Rollup, ...]:
            node = nodes.resolve(tx, reference)
            return rollups.of_node(tx, node.id, since=begin or tx.now - _ROLLUPS_SHOWN, limit=_ROLLUPS_MAX)

        found = await self._store.read(read)
        return metrics_pb2.GetTelemetryRollupsResponse(rollups=[_rollup(one) for one in found])

    def _figures(self, tx: Tx) -> _Figures:
        spent, reserved = users.totals(tx)
        return _Figures(
            gpus=self._gpus.count(tx),
            nodes_by_state=nodes.count_by_state(tx),
            jobs_by_state=jobs.count_by_state(tx),
            goals_by_state=goals.count_by_state(tx),
            incidents_by_state=incidents.count_by_state(tx),
            conditions_by_kind=conditions.count_by_kind(tx),
            spent_usd=spent,
            reserved_usd=reserved,
            measured_at=tx.now,
        )

    async def _gpu_types(self, count: FleetCount) -> list[metrics_pb2.GpuTypeMetrics]:
        busy: defaultdict[str, list[float]] = defaultdict(list)
        for number, (node_id, held) in enumerate(count.held.items(), 1):
            percents = self._telemetry.utilizations(node_id, UTILIZATION_SECONDS)
            for gpu_uuid, gpu_type in held.items():
                if gpu_uuid in percents:
                    busy[gpu_type].append(percents[gpu_uuid])
            if not number % _NODES_AT_A_STRETCH:
                await asyncio.sleep(0)
        return [
            metrics_pb2.GpuTypeMetrics(
                gpu_type=gpu_type,
                total=model.total,
                allocated=model.held,
                used_milli=model.used_milli,
                partly_allocated=model.partly,
                free=model.idle,
                utilization_percent=sum(busy[gpu_type]) / len(busy[gpu_type]) if busy[gpu_type] else None,
                price_usd_micros_per_gpu_hour=to_micros(self._prices.usd_per_gpu_hour(gpu_type)),
            )
            for gpu_type, model in sorted(count.models.items())
        ]


def _intake(counts: TelemetryCounts) -> metrics_pb2.TelemetryIntake:
    return metrics_pb2.TelemetryIntake(
        batches=counts.batches, refused=counts.garbage + counts.no_room, shed=counts.shed, pauses=counts.pauses
    )


def _rollup(value: Rollup) -> event_pb2.TelemetryRollup:
    return event_pb2.TelemetryRollup(
        started_at=timestamp(value.started_at),
        samples=value.samples,
        gpus=[
            event_pb2.GpuRollup(
                uuid=gpu.uuid,
                utilization_percent=gpu.utilization_percent,
                memory_used_bytes_max=gpu.memory_used_bytes_max,
                temperature_celsius_max=gpu.temperature_celsius_max,
                power_watts=gpu.power_watts,
            )
            for gpu in value.gpus
        ],
    )


def _by_state(
    counts: Mapping[NodeState, int] | Mapping[JobState, int] | Mapping[GoalState, int] | Mapping[IncidentState, int],
) -> dict[str, int]:
    return {_name(state): count for state, count in counts.items()}


def _name(state: Enum) -> str:
    return str(state.value)
