"""What a repair needs from the other parts of the daemon."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from node_agent.health.model import Condition, GpuIdentity
from node_agent.probe.samples import GpuSample


@dataclass(frozen=True, slots=True)
class RepairGpu:
    """A GPU of this host as a repair must know it; remembered from before it was lost."""

    identity: GpuIdentity
    minor_number: int | None
    """The number in `/dev/nvidiaN`."""
    nvlink_peers: frozenset[str] = frozenset()
    """UUIDs of the GPUs that it reaches over NVLink."""
    compute_capability: tuple[int, int] | None = None

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return self.identity.uuid


@dataclass(frozen=True, slots=True)
class NvlinkReading:
    """One NVLink of a GPU at one moment."""

    link: int
    active: bool
    errors: int | None
    """CRC, replay and recovery errors together since the driver was loaded; None if the driver does not say."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment, read afresh. `nvlinks` is None where links cannot be read."""

    sample: GpuSample
    nvlinks: tuple[NvlinkReading, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All GPUs at one moment. `nvml_error` says why there are none."""

    nvml_error: str | None
    gpus: Mapping[str, GpuReading] = field(default_factory=dict)
    """By UUID."""


class VirtualGpus(Protocol):
    """Carries out on virtual GPUs what the tools do to real ones. Each call returns what it did, for a person."""

    async def reset(self, gpu_uuids: Collection[str]) -> str:
        """Reset GPUs: pending row remaps are done, volatile counters are zero, GPUs that can come back do."""
        ...

    async def reload_driver(self) -> str:
        """Do what unloading and loading the driver does: a reset of all GPUs."""
        ...

    async def restart_service(self, service: str) -> str:
        """Do what restarting a service of the host does."""
        ...

    async def reboot(self) -> str:
        """Do what a reboot does to the GPUs, and return the id of the boot that follows."""
        ...


class HardwareControl(Protocol):
    """The host's GPUs and the daemon's own hold on them."""

    @property
    def virtual(self) -> VirtualGpus | None:
        """The virtual GPUs; None on a host with real ones or without any."""
        ...

    def gpus(self) -> Sequence[RepairGpu]:
        """Return the host's GPUs by index, those that were lost too."""
        ...

    def own_process_ids(self) -> frozenset[int]:
        """Return the daemon's own processes: itself and its probes."""
        ...

    async def release(self) -> None:
        """Let go of every handle of the daemon's own probes; returns when no own process has a GPU open."""
        ...

    async def reacquire(self) -> None:
        """Start probing again; harmless if probes run."""
        ...

    async def read(self) -> Reading:
        """Read all GPUs afresh, now. Takes no longer than the probe's own deadline, then says why in `nvml_error`."""
        ...


@dataclass(frozen=True, slots=True)
class HostJob:
    """A job that runs, starts or stops on this host. `gpu_uuids` is empty for one that uses the processors alone."""

    job_id: str
    allocation_id: str
    gpu_uuids: tuple[str, ...]
    process_ids: frozenset[int] = frozenset()
    """Its processes that are known, without its supervisor."""


class JobControl(Protocol):
    """The jobs of this host."""

    def jobs(self) -> Sequence[HostJob]:
        """Return the jobs that have not ended."""
        ...

    def protected_process_ids(self) -> frozenset[int]:
        """Return the processes that no repair may signal: supervisors of jobs."""
        ...

    def hold(self, gpu_uuids: Collection[str]) -> None:
        """Take no jobs on these GPUs, or none at all if empty, until `let_go`. Not kept over a restart."""
        ...

    def let_go(self) -> None:
        """End the hold."""
        ...

    async def stop(self, jobs: Sequence[HostJob], reason: str) -> None:
        """Stop jobs as their owner would, with their grace; returns when they have ended. The caller has a deadline."""
        ...


class HealthView(Protocol):
    """What is wrong now."""

    def conditions(self) -> Sequence[Condition]:
        """Return the conditions of now, worst first."""
        ...
