"""What the GPUs are, as the driver says."""

from dataclasses import dataclass

from node_agent.probe.samples import ReadFailure


@dataclass(frozen=True, slots=True)
class MigDevice:
    """One MIG device of a GPU; `profile` is such as `1g.10gb`."""

    uuid: str
    profile: str | None
    memory_bytes: int | None
    gpu_instance_id: int | None
    compute_instance_id: int | None


@dataclass(frozen=True, slots=True)
class GpuInventory:
    """One GPU. None means that the driver does not have the value, or failed to give it (see `failures`)."""

    index: int
    uuid: str
    """Empty if the GPU has been out of reach since the daemon started."""
    model: str
    """The short name, such as `H100`; `GPU` if the driver gave no name."""
    name: str | None
    """NVML's name, such as `NVIDIA H100 80GB HBM3`."""
    memory_bytes: int | None
    pci_bus_id: str | None
    """Such as `00000000:1B:00.0`."""
    serial: str | None
    minor_number: int | None
    """The number in `/dev/nvidiaN`."""
    numa_node: int | None
    compute_capability: tuple[int, int] | None
    power_limit_watts: float | None
    nvlink_count: int
    """Links that are up."""
    nvlink_peers: tuple[str, ...]
    """UUIDs of the GPUs that this one reaches over NVLink, in index order."""
    mig_enabled: bool | None
    """None if the model has no MIG."""
    mig_devices: tuple[MigDevice, ...]
    failures: tuple[ReadFailure, ...]

    @property
    def error(self) -> str | None:
        """NVML's name of the first failure, such as `GPU_IS_LOST`; None when every call answered."""
        return self.failures[0].error if self.failures else None


@dataclass(frozen=True, slots=True)
class NvmlInventory:
    """What the driver says, GPUs in index order; see `HostInventory`."""

    driver_version: str | None
    cuda_driver_version: str | None
    nvml_version: str | None
    nvml_error: str | None
    virtual: bool
    gpus: tuple[GpuInventory, ...]
