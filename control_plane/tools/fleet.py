"""The tool that tells the fleet in figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from control_plane.model.goal import GoalState
from control_plane.model.identity import Principal
from control_plane.model.incident import IncidentState
from control_plane.model.job import JobState
from control_plane.model.node import NodeState
from control_plane.store import actions, goals, incidents, jobs, nodes
from control_plane.store.database import Tx
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.fleet_gpus import FleetCount, FleetGpus
from control_plane.tools.output import Moment, Number, Output, Part, Token, Usd
from control_plane.tools.references import GpuType

UTILIZATION_SECONDS: Final = 30.0
"""The period over which utilisation is averaged."""


class FleetSummary(Input):
    """Of which GPU model; without one, of all."""

    gpu_type: GpuType | None = None


class GpuTypeOut(Part):
    """GPUs of one model. Of those `held` a job has something, of `partly_held` not all is taken; `used` counts parts.

    `idle` could run a job now; `utilization_percent` is the mean of those that run one.
    """

    gpu_type: Token
    total: int
    held: int
    partly_held: int
    used: Number
    idle: int
    unwell: int
    utilization_percent: Number | None
    usd_per_gpu_hour: Usd


class FleetOut(Output):
    """The fleet now. `stopped` says that the kill switch is engaged: nothing is carried out."""

    gpu_types: tuple[GpuTypeOut, ...]
    gpus: int
    gpus_held: int
    gpus_partly_held: int
    gpus_used: Number
    gpus_idle: int
    nodes_by_state: dict[str, int]
    jobs_by_state: dict[str, int]
    goals_by_state: dict[str, int]
    incidents_by_state: dict[str, int]
    stopped: bool
    measured_at: Moment


@dataclass(frozen=True, slots=True)
class _Figures:
    """What one transaction says."""

    gpus: FleetCount
    by_state: Mapping[str, dict[str, int]]
    stopped: bool
    measured_at: datetime


def _figures(tx: Tx, gpus: FleetGpus) -> _Figures:
    return _Figures(
        gpus=gpus.count(tx),
        by_state={
            "nodes": _named(nodes.count_by_state(tx)),
            "jobs": _named(jobs.count_by_state(tx)),
            "goals": _named(goals.count_by_state(tx)),
            "incidents": _named(incidents.count_by_state(tx)),
        },
        stopped=actions.kill_switch(tx).engaged,
        measured_at=tx.now,
    )


async def _read(sources: Sources, _principal: Principal, wanted: FleetSummary) -> Found[FleetOut]:
    figures = await sources.store.read(partial(_figures, gpus=sources.gpus))
    counts = figures.gpus.models
    if wanted.gpu_type is not None:
        counts = {name: count for name, count in counts.items() if name.lower() == wanted.gpu_type.lower()}
    busy = _busy(figures, sources.telemetry)
    output = FleetOut(
        gpu_types=tuple(
            GpuTypeOut(
                gpu_type=gpu_type,
                total=count.total,
                held=count.held,
                partly_held=count.partly,
                used=count.used,
                idle=count.idle,
                unwell=count.unwell,
                utilization_percent=_mean(busy.get(gpu_type, [])),
                usd_per_gpu_hour=sources.prices.usd_per_gpu_hour(gpu_type),
            )
            for gpu_type, count in sorted(counts.items())
        ),
        gpus=sum(count.total for count in counts.values()),
        gpus_held=sum(count.held for count in counts.values()),
        gpus_partly_held=sum(count.partly for count in counts.values()),
        gpus_used=sum(count.used for count in counts.values()),
        gpus_idle=sum(count.idle for count in counts.values()),
        nodes_by_state=figures.by_state["nodes"],
        jobs_by_state=figures.by_state["jobs"],
        goals_by_state=figures.by_state["goals"],
        incidents_by_state=figures.by_state["incidents"],
        stopped=figures.stopped,
        measured_at=figures.measured_at,
    )
    return Found(output, "fleet", empty=not output.gpu_types)


def _busy(figures: _Figures, telemetry: TelemetryWindows) -> dict[str, list[float]]:
    """Return the utilisation of each GPU that runs a job, by model."""
    found: dict[str, list[float]] = {}
    for node_id, held in figures.gpus.held.items():
        percents = telemetry.utilizations(node_id, UTILIZATION_SECONDS)
        for gpu_uuid, gpu_type in held.items():
            if gpu_uuid in percents:
                found.setdefault(gpu_type, []).append(percents[gpu_uuid])
    return found


def _named(
    counts: Mapping[NodeState, int] | Mapping[JobState, int] | Mapping[GoalState, int] | Mapping[IncidentState, int],
) -> dict[str, int]:
    return {str(state.value): number for state, number in counts.items() if number}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


FLEET_SUMMARY = ReadTool(
    name="fleet_summary",
    description="Counts the GPUs of each model: in total, held by jobs (wholly or in part), used (parts as parts), "
    "idle now, unwell; with price, utilisation and how many nodes, jobs and incidents are in which state. Answers "
    '"how many H100 are idle?".',
    arguments=FleetSummary,
    result=FleetOut,
    read=_read,
    untrusted=False,
)
