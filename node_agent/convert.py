"""Between what the daemon works with and what is on the wire; the only place that knows both."""

import math
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from node_agent.jobs.spec import InvalidSpecError, MemberSpec
from node_agent.jobs.status import MemberState, MemberStatus, Outcome
from node_agent.probe.inventory import GpuInventory, HostInventory
from node_agent.probe.samples import GpuSample, TelemetryBatch
from node_agent.templates import TEMPLATES, command_line
from orquanta.v1 import event_pb2, job_pb2, node_link_pb2, node_pb2

_MAX_MESSAGE_CHARACTERS = 2000  # the contract's bound

_STATES = {
    MemberState.STARTING: job_pb2.ALLOCATION_STATE_STARTING,
    MemberState.RUNNING: job_pb2.ALLOCATION_STATE_RUNNING,
    MemberState.STOPPING: job_pb2.ALLOCATION_STATE_STOPPING,
    MemberState.ENDED: job_pb2.ALLOCATION_STATE_ENDED,
}

_EXIT_REASONS = {
    Outcome.EXITED: job_pb2.EXIT_REASON_EXITED,
    Outcome.SIGNALED: job_pb2.EXIT_REASON_SIGNALED,
    Outcome.OOM_KILLED: job_pb2.EXIT_REASON_OOM_KILLED,
    Outcome.STOPPED: job_pb2.EXIT_REASON_STOPPED,
    Outcome.TIMED_OUT: job_pb2.EXIT_REASON_TIMED_OUT,
    Outcome.FENCED: job_pb2.EXIT_REASON_FENCED,
    Outcome.START_FAILED: job_pb2.EXIT_REASON_START_FAILED,
    Outcome.SUPERVISOR_LOST: job_pb2.EXIT_REASON_SUPERVISOR_LOST,
}


def timestamp(moment: datetime) -> Timestamp:
    """Return an aware time for the wire."""
    return Timestamp(seconds=math.floor(moment.timestamp()), nanos=moment.microsecond * 1000)


def to_spec(assignment: node_link_pb2.MemberAssignment, *, images: bool = True) -> MemberSpec:
    """Return what to run; without `images`, none may be named. Raises InvalidSpecError for what this host refuses."""
    if assignment.image and not images:
        raise InvalidSpecError("this host is set to run no containers; name a command instead of an image")
    grace_seconds = assignment.stop_grace.ToTimedelta().total_seconds()
    return MemberSpec(
        allocation_id=assignment.allocation_id,
        job_id=assignment.job_id,
        epoch=assignment.epoch,
        rank=assignment.rank,
        world=assignment.world_size,
        command=_command(assignment),
        gpu_uuids=tuple(assignment.gpu_uuids),
        gpus_per_node=len(assignment.gpu_uuids),
        env=dict(assignment.environment),
        image=assignment.image or None,
        max_runtime_seconds=assignment.max_runtime.ToTimedelta().total_seconds() or None,
        stop_grace_seconds=grace_seconds if assignment.HasField("stop_grace") else 30.0,
        memory_limit_bytes=assignment.memory_bytes or None,
        cpu_limit_milli=assignment.cpu_milli or None,
        pids_limit=assignment.pids or None,
        master_addr=assignment.master_address or "127.0.0.1",
        master_port=assignment.master_port or 29500,
        gpu_milli=assignment.gpu_milli,
        share_memory_bytes=assignment.share_memory_bytes,
        checkpoint_signal=assignment.checkpoint_signal,
        checkpoint_seconds=assignment.checkpoint_time.ToTimedelta().total_seconds(),
    )


def _command(assignment: node_link_pb2.MemberAssignment) -> str | tuple[str, ...]:
    if assignment.template:
        command = command_line(assignment.template, assignment.arguments)
        if command is None:
            raise InvalidSpecError(
                f"this daemon has no template {assignment.template!r}, only {', '.join(TEMPLATES)}; upgrade it"
            )
        return command
    return assignment.command or tuple(assignment.arguments)


def to_report(status: MemberStatus) -> node_link_pb2.MemberReport:
    """Return a member's state for the wire."""
    report = node_link_pb2.MemberReport(
        allocation_id=status.key.allocation_id,
        job_id=status.job_id,
        epoch=status.epoch,
        rank=status.key.rank,
        state=_STATES[status.state],
        exit_code=status.exit_code,
        signal=status.signal,
        message=status.message[:_MAX_MESSAGE_CHARACTERS],
        peak_memory_bytes=status.peak_memory_bytes or 0,
        gpu_seconds=status.gpu_seconds,
        gpu_uuids=status.gpu_uuids,
    )
    # While it is being stopped the supervisor knows the outcome already, but it has not ended.
    if status.ended and status.outcome is not None:
        report.exit_reason = _EXIT_REASONS[status.outcome]
    if status.started_at is not None:
        report.started_at.FromDatetime(status.started_at)
    if status.ended_at is not None:
        report.ended_at.FromDatetime(status.ended_at)
    return report


def to_inventory(
    inventory: HostInventory,
    *,
    agent_version: str,
    address: str,
    container_engine: str,
    enforceable_limits: tuple[str, ...],
) -> node_pb2.HostInventory:
    """Return the host for the wire."""
    return node_pb2.HostInventory(
        hostname=inventory.hostname,
        kernel=inventory.kernel,
        operating_system=inventory.os or "",
        cpu_model=inventory.cpu_model or "",
        cpu_count=inventory.cpu_count,
        memory_bytes=inventory.memory_bytes or 0,
        driver_version=inventory.driver_version or "",
        cuda_version=inventory.cuda_driver_version or "",
        virtual_gpus=inventory.virtual,
        gpus=[_to_gpu(gpu) for gpu in inventory.gpus],
        boot_id=inventory.boot_id or "",
        agent_version=agent_version,
        container_engine=container_engine,
        enforceable_limits=enforceable_limits,
        address=address,
    )


def _to_gpu(gpu: GpuInventory) -> node_pb2.GpuInventory:
    capability = gpu.compute_capability
    return node_pb2.GpuInventory(
        index=gpu.index,
        uuid=gpu.uuid,
        gpu_type=gpu.model,
        product_name=gpu.name or "",
        memory_bytes=gpu.memory_bytes or 0,
        pci_bus_id=gpu.pci_bus_id or "",
        serial=gpu.serial or "",
        nvlink_peer_uuids=gpu.nvlink_peers,
        mig_enabled=bool(gpu.mig_enabled),
        mig_device_uuids=[device.uuid for device in gpu.mig_devices],
        mig_devices=[
            node_pb2.MigDevice(uuid=device.uuid, profile=device.profile or "", memory_bytes=device.memory_bytes or 0)
            for device in gpu.mig_devices
        ],
        compute_capability="" if capability is None else f"{capability[0]}.{capability[1]}",
        power_limit_watts=gpu.power_limit_watts or 0.0,
        error=_unreadable(gpu),
    )


def _unreadable(gpu: GpuInventory) -> str:
    """Return why a GPU cannot be used; a driver that lacks one optional value is no reason."""
    return gpu.error or "NO_UUID" if not gpu.uuid or gpu.memory_bytes is None else ""


def to_telemetry(batch: TelemetryBatch) -> event_pb2.TelemetryBatch:
    """Return one sample of the host for the wire."""
    host = batch.host
    used_bytes = None
    if host.memory_total_bytes is not None and host.memory_available_bytes is not None:
        used_bytes = max(0, host.memory_total_bytes - host.memory_available_bytes)
    return event_pb2.TelemetryBatch(
        sampled_at=timestamp(batch.sampled_at),
        gpus=[_to_gpu_sample(gpu) for gpu in batch.gpus],
        host=event_pb2.HostSample(cpu_percent=host.cpu_percent, memory_used_bytes=used_bytes, load_1m=host.load_1m),
    )


def _to_gpu_sample(gpu: GpuSample) -> event_pb2.GpuSample:
    return event_pb2.GpuSample(
        uuid=gpu.uuid,
        utilization_percent=gpu.utilization_percent,
        memory_used_bytes=gpu.memory_used_bytes,
        memory_total_bytes=gpu.memory_total_bytes,
        temperature_celsius=gpu.temperature_celsius,
        power_watts=gpu.power_watts,
        sm_clock_mhz=gpu.sm_clock_mhz,
        memory_clock_mhz=gpu.memory_clock_mhz,
        clock_event_reasons=None if gpu.throttle_reasons is None else int(gpu.throttle_reasons),
        ecc_corrected=gpu.ecc.corrected_volatile,
        ecc_uncorrected=gpu.ecc.uncorrected_volatile,
        pcie_replays=gpu.pcie.replays,
        error=gpu.error or "",
        memory_temperature_celsius=gpu.memory_temperature_celsius,
        remapped_rows_uncorrectable=None if gpu.remapped_rows is None else gpu.remapped_rows.uncorrectable,
        nvlinks_active=gpu.nvlinks_active,
        temperature_margin_celsius=gpu.temperature_margin_celsius,
    )
