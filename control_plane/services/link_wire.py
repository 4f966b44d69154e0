"""The link's messages as values and back. A host is a stranger until checked: nothing here trusts it."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from sys import intern
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.errors import InvalidArgument
from control_plane.fleet.executors import HOSTS, is_known
from control_plane.fleet.signals import CHECKPOINT_SIGNALS
from control_plane.governor.books import Assignment
from control_plane.model.ids import ALLOCATION, JOB, parse_id
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.node import GpuInventory, HostInventory, MigDevice
from control_plane.model.report import MemberReport
from orquanta.tracing import VARIABLE
from orquanta.v1 import job_pb2, node_link_pb2, node_pb2

GPUS_MAX: Final = 64
MESSAGE_CHARACTERS_MAX: Final = 2000

_TEXT_MAX: Final = 200
_UUID: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._:/-]{0,95}")
_ADDRESS: Final = re.compile("[A-Za-z0-9:]([A-Za-z0-9._:%-]{0,252})")
_GPU_TYPE: Final = re.compile("[A-Za-z0-9][A-Za-z0-9 ._+-]{0,62}")
_BYTES_MAX: Final = 2**50
_CPUS_MAX: Final = 65_536
_WATTS_MAX: Final = 100_000.0
_EPOCH_MAX: Final = 1_000_000
_RANK_MAX: Final = 65_535
_SIGNALS: Final = range(1, 65)
_EXIT_CODES: Final = range(-255, 256)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_MIG_PROFILE: Final = re.compile("[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
_MIG_DEVICES_MAX: Final = 16
_LIMITS: Final = frozenset({"memory", "cpu", "pids", "gpu_share"})
_YEAR_9999_SECONDS: Final = 253_402_300_799
_SECOND_NANOS: Final = 1_000_000_000

_STATES: Final[Mapping[int, AllocationState]] = {
    job_pb2.AllocationState.Value(f"ALLOCATION_STATE_{state.name}"): state for state in AllocationState
}
_EXIT_REASONS: Final[Mapping[int, ExitReason]] = {
    job_pb2.ExitReason.Value(f"EXIT_REASON_{reason.name}"): reason for reason in ExitReason
}


def read_inventory(wire: node_pb2.HostInventory) -> HostInventory:
    """Return what a host says it is made of, with texts cut and cleaned.

    Raises InvalidArgument (INVENTORY_INVALID) for what cannot be: two GPUs with one UUID, a figure out of range.
    """
    if len(wire.gpus) > GPUS_MAX:
        raise _inventory_invalid(f"{len(wire.gpus)} GPUs; at most {GPUS_MAX} are taken")
    gpus = tuple(_read_gpu(gpu) for gpu in wire.gpus)
    uuids = [uuid for gpu in gpus for uuid in (gpu.uuid, *(device.uuid for device in gpu.mig_devices))]
    if len(set(uuids)) != len(uuids):
        raise _inventory_invalid("two GPUs or MIG devices have one UUID")
    if not wire.boot_id or wire.cpu_count > _CPUS_MAX or wire.memory_bytes > _BYTES_MAX:
        raise _inventory_invalid("no boot id, or CPUs or memory out of range")
    return HostInventory(
        hostname=clean(wire.hostname),
        boot_id=clean(wire.boot_id),
        agent_version=_shared(wire.agent_version),
        gpus=tuple(sorted(gpus, key=lambda gpu: gpu.index)),
        kernel=_shared(wire.kernel),
        operating_system=_shared(wire.operating_system),
        cpu_model=_shared(wire.cpu_model),
        cpu_count=wire.cpu_count,
        memory_bytes=wire.memory_bytes,
        driver_version=_shared(wire.driver_version),
        cuda_version=_shared(wire.cuda_version),
        virtual_gpus=wire.virtual_gpus,
        container_engine=_shared(wire.container_engine),
        enforceable_limits=tuple(sorted(_LIMITS.intersection(wire.enforceable_limits))),
        address=wire.address if _ADDRESS.fullmatch(wire.address) else "",
        executor=_executor(wire.executor),
    )


def _executor(name: str) -> str:
    """Return the engine that a host hands its jobs to. Raises InvalidArgument for one that is not known here."""
    if not is_known(name) or name == HOSTS:
        raise _inventory_invalid("its executor is none that this control plane knows; upgrade the control plane")
    return name


def _read_gpu(wire: node_pb2.GpuInventory) -> GpuInventory:
    if not _UUID.fullmatch(wire.uuid):
        raise _inventory_invalid(f"a GPU has the UUID {wire.uuid[:96]!a}")
    if wire.memory_bytes > _BYTES_MAX or not 0 <= wire.power_limit_watts <= _WATTS_MAX:
        raise _inventory_invalid(f"memory or power of GPU {wire.uuid} is out of range")
    known_type = _GPU_TYPE.fullmatch(wire.gpu_type)
    return GpuInventory(
        index=wire.index,
        uuid=intern(wire.uuid),
        gpu_type=intern(wire.gpu_type) if known_type else "unknown",
        product_name=_shared(wire.product_name),
        memory_bytes=wire.memory_bytes,
        pci_bus_id=_shared(wire.pci_bus_id),
        serial=clean(wire.serial),
        nvlink_peer_uuids=_uuids(wire.nvlink_peer_uuids),
        mig_enabled=wire.mig_enabled,
        mig_device_uuids=_uuids(wire.mig_device_uuids),
        compute_capability=_shared(wire.compute_capability),
        power_limit_watts=wire.power_limit_watts,
        error=clean(wire.error) if known_type or wire.error else "its driver names no model",
        mig_devices=tuple(_read_mig_device(wire.uuid, device) for device in wire.mig_devices[:_MIG_DEVICES_MAX]),
    )


def _read_mig_device(gpu_uuid: str, wire: node_pb2.MigDevice) -> MigDevice:
    if not _UUID.fullmatch(wire.uuid) or not _MIG_PROFILE.fullmatch(wire.profile):
        raise _inventory_invalid(f"GPU {gpu_uuid} has a MIG device {wire.uuid[:96]!a} {wire.profile[:32]!a}")
    if wire.memory_bytes > _BYTES_MAX:
        raise _inventory_invalid(f"memory of the MIG device {wire.uuid} is out of range")
    return MigDevice(wire.uuid, wire.profile.lower(), wire.memory_bytes)


def _uuids(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(intern(text) for text in list(texts)[:GPUS_MAX] if _UUID.fullmatch(text))


def _shared(text: str) -> str:
    """Return a text that many GPUs and hosts have in common, cleaned: it is kept once for all of them."""
    return intern(clean(text))


def _inventory_invalid(why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the host's inventory makes no sense: {why}; look at `orquanta-node inventory` there",
        reason="INVENTORY_INVALID",
    )


def read_report(wire: node_link_pb2.MemberReport, now: datetime) -> MemberReport:
    """Return what a host says about a member. Times that have not come yet are set to `now`.

    Raises InvalidArgument (REPORT_INVALID or ID_INVALID).
    """
    state = _STATES.get(wire.state)
    reason = _EXIT_REASONS.get(wire.exit_reason)
    if state is None or state is AllocationState.PENDING:
        raise _report_invalid(f"state {wire.state}")
    if (state is AllocationState.ENDED) != (reason is not None):
        raise _report_invalid(f"state {state.value} with exit reason {wire.exit_reason}")
    if not 1 <= wire.epoch <= _EPOCH_MAX or wire.rank > _RANK_MAX:
        raise _report_invalid(f"epoch {wire.epoch}, rank {wire.rank}")
    if not math.isfinite(wire.gpu_seconds) or wire.gpu_seconds < 0 or wire.peak_memory_bytes > _BYTES_MAX:
        raise _report_invalid(f"{wire.gpu_seconds} GPU-seconds, {wire.peak_memory_bytes} bytes at the peak")
    started_at = read_past(wire.started_at, now) if wire.HasField("started_at") else None
    ended_at = read_past(wire.ended_at, now) if wire.HasField("ended_at") else None
    if started_at and ended_at:
        ended_at = max(started_at, ended_at)
    return MemberReport(
        allocation_id=parse_id(ALLOCATION, wire.allocation_id),
        job_id=parse_id(JOB, wire.job_id),
        epoch=wire.epoch,
        rank=wire.rank,
        state=state,
        exit_reason=reason,
        exit_code=wire.exit_code if wire.HasField("exit_code") and wire.exit_code in _EXIT_CODES else None,
        signal=wire.signal if wire.HasField("signal") and wire.signal in _SIGNALS else None,
        message=clean(wire.message, MESSAGE_CHARACTERS_MAX, lines=True),
        peak_memory_bytes=wire.peak_memory_bytes,
        gpu_seconds=wire.gpu_seconds,
        started_at=started_at,
        ended_at=ended_at or (now if state is AllocationState.ENDED else None),
        gpu_uuids=_uuids(wire.gpu_uuids),
    )


def _report_invalid(what: str) -> InvalidArgument:
    return InvalidArgument(f"a member report makes no sense: {what}", reason="REPORT_INVALID")


def read_past(wire: Timestamp, now: datetime) -> datetime:
    """Return a host's time of what has happened. Its clock may be off: no later than now, no earlier than could be."""
    return min(max(read_time(wire) or now, _OLDEST), now)


def read_time(wire: Timestamp) -> datetime | None:
    """Return a host's time, or None if it is none."""
    if not 0 < wire.seconds < _YEAR_9999_SECONDS or not 0 <= wire.nanos < _SECOND_NANOS:
        return None
    return _EPOCH + timedelta(seconds=wire.seconds, microseconds=wire.nanos // 1_000)


def clean(text: str, limit: int = _TEXT_MAX, *, lines: bool = False) -> str:
    """Return a stranger's text cut to `limit` characters, without control characters but, with `lines`, line breaks."""
    if len(text) <= limit and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or (lines and character == "\n") else "\ufffd"
        for character in text[:limit]
    )


def assignment(wanted: Assignment, traceparent: str = "") -> node_link_pb2.MemberAssignment:
    """Return one wanted member as its host gets it; `traceparent` is the trace that its processes may go on with."""
    spec, allocation, member = wanted.job.spec, wanted.allocation, wanted.member
    made = node_link_pb2.MemberAssignment(
        allocation_id=allocation.id,
        job_id=wanted.job.id,
        epoch=allocation.epoch,
        rank=member.rank,
        world_size=len(allocation.members),
        gpu_uuids=member.gpu_uuids,
        command=spec.command,
        image=spec.image,
        template=spec.template if not spec.command and not spec.image else "",
        environment={**({VARIABLE: traceparent} if traceparent else {}), **dict(spec.environment)},
        cpu_milli=spec.resources.cpu_milli,
        memory_bytes=spec.resources.memory_bytes,
        master_address=allocation.master_address,
        master_port=allocation.master_port,
        gpu_milli=spec.resources.gpu_milli,
        share_memory_bytes=spec.resources.share_memory_bytes,
        checkpoint_signal=CHECKPOINT_SIGNALS.get(spec.checkpoint_signal, 0),
    )
    made.max_runtime.FromTimedelta(timedelta(seconds=allocation.max_runtime_seconds))
    made.stop_grace.FromTimedelta(timedelta(seconds=spec.stop_grace_seconds))
    if made.checkpoint_signal:
        made.checkpoint_time.FromTimedelta(timedelta(seconds=spec.checkpoint_seconds))
    return made
