"""Jobs and allocations on the wire."""

from typing import Final

from control_plane.model.job import (
    Allocation,
    AllocationMember,
    AllocationState,
    ExitReason,
    Job,
    JobPriority,
    JobSpec,
    JobState,
    ResourceRequest,
    TopologyDomain,
)
from control_plane.model.money import to_micros
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import job_pb2

JOB_STATE: Final = wire_enum(JobState, job_pb2.JobState.Value, "JOB_STATE")
PRIORITY: Final = wire_enum(JobPriority, job_pb2.JobPriority.Value, "JOB_PRIORITY")
TOPOLOGY: Final = {
    domain: job_pb2.TopologyDomain.Value(
        "TOPOLOGY_DOMAIN_UNSPECIFIED" if domain is TopologyDomain.ANY else f"TOPOLOGY_DOMAIN_{domain.name}"
    )
    for domain in TopologyDomain
}
_ALLOCATION_STATE: Final = wire_enum(AllocationState, job_pb2.AllocationState.Value, "ALLOCATION_STATE")
_EXIT_REASON: Final = wire_enum(ExitReason, job_pb2.ExitReason.Value, "EXIT_REASON")


def job(value: Job, *, newest_only: bool = False) -> job_pb2.Job:
    """Return a job with its attempts, or with the newest one alone."""
    allocations = value.allocations[-1:] if newest_only else value.allocations
    return job_pb2.Job(
        id=value.id,
        goal_id=value.goal_id or "",
        user_id=value.user_id,
        user_email=value.user_email,
        spec=spec(value.spec),
        state=JOB_STATE[value.state],
        status_reason=value.status_reason,
        epoch=value.epoch,
        allocations=[_allocation(attempt) for attempt in allocations],
        provider=value.provider,
        cost_usd_micros=to_micros(value.cost_usd),
        reserved_usd_micros=to_micros(value.reserved_usd),
        exit_code=value.exit_code,
        created_at=timestamp(value.created_at),
        started_at=timestamp(value.started_at),
        finished_at=timestamp(value.finished_at),
        version=value.version,
        team=value.team,
    )


def spec(value: JobSpec) -> job_pb2.JobSpec:
    """Return what a job runs and needs."""
    return job_pb2.JobSpec(
        name=value.name,
        resources=resources(value.resources),
        command=value.command,
        image=value.image,
        template=value.template,
        environment=dict(value.environment),
        max_runtime_seconds=value.max_runtime_seconds,
        stop_grace_seconds=value.stop_grace_seconds,
        priority=PRIORITY[value.priority],
        depends_on=value.depends_on,
        max_attempts=value.max_attempts,
        checkpoint_signal=value.checkpoint_signal,
        checkpoint_seconds=value.checkpoint_seconds,
        executor=value.executor,
    )


def resources(value: ResourceRequest) -> job_pb2.ResourceRequest:
    """Return what a job needs."""
    return job_pb2.ResourceRequest(
        gpu_types=value.gpu_types,
        gpu_count=value.gpu_count,
        node_count=value.node_count,
        min_gpu_memory_bytes=value.min_gpu_memory_bytes,
        exclude_gpu_types=value.exclude_gpu_types,
        cpu_milli=value.cpu_milli,
        memory_bytes=value.memory_bytes,
        gpu_milli=value.gpu_milli,
        share_memory_bytes=value.share_memory_bytes,
        mig_profile=value.mig_profile,
        node_labels=dict(value.node_labels),
        exclude_nodes=value.exclude_nodes,
        anti_affinity=value.anti_affinity,
        exclusive_nodes=value.exclusive_nodes,
        topology=TOPOLOGY[value.topology],
    )


def _allocation(value: Allocation) -> job_pb2.Allocation:
    return job_pb2.Allocation(
        id=value.id,
        job_id=value.job_id,
        epoch=value.epoch,
        state=_ALLOCATION_STATE[value.state],
        members=[_member(member) for member in value.members],
        gpu_type=value.gpu_type,
        price_usd_micros_per_gpu_hour=to_micros(value.price_usd_per_gpu_hour),
        cost_usd_micros=to_micros(value.cost_usd),
        placement_reason=value.placement_reason,
        created_at=timestamp(value.created_at),
        ended_at=timestamp(value.ended_at),
    )


def _member(value: AllocationMember) -> job_pb2.AllocationMember:
    return job_pb2.AllocationMember(
        rank=value.rank,
        node_id=value.node_id,
        node_name=value.node_name,
        gpu_uuids=value.gpu_uuids,
        state=_ALLOCATION_STATE[value.state],
        exit_reason=(job_pb2.EXIT_REASON_UNSPECIFIED if value.exit_reason is None else _EXIT_REASON[value.exit_reason]),
        exit_code=value.exit_code,
        signal=value.signal,
        message=value.message,
        peak_memory_bytes=value.peak_memory_bytes,
        gpu_seconds=value.gpu_seconds,
        started_at=timestamp(value.started_at),
        ended_at=timestamp(value.ended_at),
    )
