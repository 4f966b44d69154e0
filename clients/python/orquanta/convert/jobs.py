"""Jobs, allocations and logs between the wire and Python."""

from orquanta.convert.scalars import read_enum, read_set_enum, read_time, read_usd, write_enum
from orquanta.types.jobs import (
    Allocation,
    AllocationMember,
    AllocationState,
    ExitReason,
    Job,
    JobPriority,
    JobSpec,
    JobState,
    JobTemplate,
    LogChunk,
    LogStream,
    ResourceRequest,
    TopologyDomain,
)
from orquanta.v1 import job_pb2 as pb


def read_job(message: pb.Job) -> Job:
    """A job."""
    return Job(
        id=message.id,
        goal_id=message.goal_id,
        user_id=message.user_id,
        user_email=message.user_email,
        spec=read_spec(message.spec),
        state=read_enum(JobState, pb.JobState, message.state),
        status_reason=message.status_reason,
        epoch=message.epoch,
        allocations=tuple(_read_allocation(allocation) for allocation in message.allocations),
        provider=message.provider,
        cost_usd=read_usd(message.cost_usd_micros),
        reserved_usd=read_usd(message.reserved_usd_micros),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        created_at=read_time(message.created_at),
        started_at=read_time(message.started_at),
        finished_at=read_time(message.finished_at),
        version=message.version,
        team=message.team,
    )


def read_spec(message: pb.JobSpec) -> JobSpec:
    """What a job runs and needs; an unspecified priority is the normal one."""
    return JobSpec(
        name=message.name,
        resources=read_resources(message.resources),
        command=message.command,
        image=message.image,
        template=message.template,
        environment=dict(message.environment),
        max_runtime_seconds=message.max_runtime_seconds,
        stop_grace_seconds=message.stop_grace_seconds,
        priority=read_set_enum(JobPriority, pb.JobPriority, message.priority) or JobPriority.NORMAL,
        depends_on=tuple(message.depends_on),
        max_attempts=message.max_attempts,
        checkpoint_signal=message.checkpoint_signal,
        checkpoint_seconds=message.checkpoint_seconds,
        executor=message.executor,
    )


def write_spec(spec: JobSpec) -> pb.JobSpec:
    """What a job runs and needs, for the wire. Raises ValueError for a number that the wire cannot carry."""
    return pb.JobSpec(
        name=spec.name,
        resources=write_resources(spec.resources),
        command=spec.command,
        image=spec.image,
        template=spec.template,
        environment=spec.environment,
        max_runtime_seconds=spec.max_runtime_seconds,
        stop_grace_seconds=spec.stop_grace_seconds,
        priority=write_enum(pb.JobPriority, spec.priority),
        depends_on=spec.depends_on,
        max_attempts=spec.max_attempts,
        checkpoint_signal=spec.checkpoint_signal,
        checkpoint_seconds=spec.checkpoint_seconds,
        executor=spec.executor,
    )


def read_resources(message: pb.ResourceRequest) -> ResourceRequest:
    """What a job needs."""
    return ResourceRequest(
        gpu_count=message.gpu_count,
        gpu_types=tuple(message.gpu_types),
        node_count=message.node_count,
        min_gpu_memory_bytes=message.min_gpu_memory_bytes,
        exclude_gpu_types=tuple(message.exclude_gpu_types),
        cpu_milli=message.cpu_milli,
        memory_bytes=message.memory_bytes,
        gpu_milli=message.gpu_milli,
        share_memory_bytes=message.share_memory_bytes,
        mig_profile=message.mig_profile,
        node_labels=dict(message.node_labels),
        exclude_nodes=tuple(message.exclude_nodes),
        anti_affinity=message.anti_affinity,
        exclusive_nodes=message.exclusive_nodes,
        topology=read_set_enum(TopologyDomain, pb.TopologyDomain, message.topology) or TopologyDomain.ANY,
    )


def write_resources(resources: ResourceRequest) -> pb.ResourceRequest:
    """What a job needs, for the wire. Raises ValueError for a number that the wire cannot carry."""
    return pb.ResourceRequest(
        gpu_count=resources.gpu_count,
        gpu_types=resources.gpu_types,
        node_count=resources.node_count,
        min_gpu_memory_bytes=resources.min_gpu_memory_bytes,
        exclude_gpu_types=resources.exclude_gpu_types,
        cpu_milli=resources.cpu_milli,
        memory_bytes=resources.memory_bytes,
        gpu_milli=resources.gpu_milli,
        share_memory_bytes=resources.share_memory_bytes,
        mig_profile=resources.mig_profile,
        node_labels=resources.node_labels,
        exclude_nodes=resources.exclude_nodes,
        anti_affinity=resources.anti_affinity,
        exclusive_nodes=resources.exclusive_nodes,
        topology=(
            pb.TOPOLOGY_DOMAIN_UNSPECIFIED
            if resources.topology is TopologyDomain.ANY
            else write_enum(pb.TopologyDomain, resources.topology)
        ),
    )


def _read_allocation(message: pb.Allocation) -> Allocation:
    return Allocation(
        id=message.id,
        job_id=message.job_id,
        epoch=message.epoch,
        state=read_enum(AllocationState, pb.AllocationState, message.state),
        members=tuple(_read_member(member) for member in message.members),
        gpu_type=message.gpu_type,
        price_usd_per_gpu_hour=read_usd(message.price_usd_micros_per_gpu_hour),
        cost_usd=read_usd(message.cost_usd_micros),
        placement_reason=message.placement_reason,
        created_at=read_time(message.created_at),
        ended_at=read_time(message.ended_at),
    )


def _read_member(message: pb.AllocationMember) -> AllocationMember:
    return AllocationMember(
        rank=message.rank,
        node_id=message.node_id,
        node_name=message.node_name,
        gpu_uuids=tuple(message.gpu_uuids),
        state=read_enum(AllocationState, pb.AllocationState, message.state),
        exit_reason=read_set_enum(ExitReason, pb.ExitReason, message.exit_reason),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        message=message.message,
        peak_memory_bytes=message.peak_memory_bytes,
        gpu_seconds=message.gpu_seconds,
        started_at=read_time(message.started_at),
        ended_at=read_time(message.ended_at),
    )


def read_log_chunk(message: pb.ReadLogsResponse) -> LogChunk:
    """A piece of a job's output."""
    return LogChunk(
        epoch=message.epoch,
        rank=message.rank,
        stream=read_enum(LogStream, pb.LogStream, message.stream),
        data=message.data,
        read_at=read_time(message.read_at),
        lost_bytes=message.lost_bytes,
    )


def read_template(message: pb.JobTemplate) -> JobTemplate:
    """A job template."""
    return JobTemplate(
        name=message.name,
        description=message.description,
        intent=message.intent,
        default_max_runtime_seconds=message.default_max_runtime_seconds,
    )
