"""Simulations between the wire and Python."""

from orquanta.convert.jobs import write_resources
from orquanta.convert.scalars import read_usd, write_enum
from orquanta.types.simulations import (
    SimulatedJob,
    SimulatedNodes,
    SimulationOutcome,
    SimulationPoint,
    SimulationResult,
)
from orquanta.v1 import job_pb2
from orquanta.v1 import queue_pb2 as pb


def write_job(job: SimulatedJob) -> pb.SimulatedJob:
    """A job of a simulation, for the wire."""
    return pb.SimulatedJob(
        name=job.name,
        arrives_seconds=job.arrives_seconds,
        runs_seconds=job.runs_seconds,
        resources=write_resources(job.resources),
        priority=write_enum(job_pb2.JobPriority, job.priority),
        team=job.team,
    )


def write_nodes(nodes: SimulatedNodes) -> pb.SimulatedNodes:
    """Hosts of a simulation, for the wire."""
    return pb.SimulatedNodes(
        count=nodes.count,
        gpu_type=nodes.gpu_type,
        gpu_count=nodes.gpu_count,
        cpu_milli=nodes.cpu_milli,
        memory_bytes=nodes.memory_bytes,
        gpu_memory_bytes=nodes.gpu_memory_bytes,
        labels=nodes.labels,
    )


def read_outcome(message: pb.SimulateResponse) -> SimulationOutcome:
    """What came of a simulation."""
    baseline = _read_result(message.baseline) if message.HasField("baseline") else None
    return SimulationOutcome(_read_result(message.result), baseline)


def _read_result(message: pb.SimulationResult) -> SimulationResult:
    return SimulationResult(
        jobs_finished=message.jobs_finished,
        jobs_unsatisfiable=message.jobs_unsatisfiable,
        makespan_seconds=message.makespan_seconds,
        utilization=message.utilization,
        wait_mean_seconds=message.wait_mean_seconds,
        wait_p50_seconds=message.wait_p50_seconds,
        wait_p95_seconds=message.wait_p95_seconds,
        wait_max_seconds=message.wait_max_seconds,
        cost_usd=read_usd(message.cost_usd_micros),
        preemptions=message.preemptions,
        lost_gpu_seconds=message.lost_gpu_seconds,
        points=tuple(
            SimulationPoint(one.at_seconds, one.gpus_used, one.gpus_total, one.jobs_waiting) for one in message.points
        ),
    )
