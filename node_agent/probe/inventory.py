"""What the host and its GPUs are: read once at the start, and again after a repair."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pynvml

from node_agent.probe import host
from node_agent.probe.model_name import UNKNOWN_MODEL, short_model_name
from node_agent.probe.nvml import UNREADABLE, GpuSlot, Nvml, Reader
from node_agent.probe.samples import ReadFailure

_NUMA_WORDS: Final = 4  # 256 NUMA nodes, 64 to a word
_MIG_PROFILE: Final = re.compile(r"\sMIG\s+(\S+)$")


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
class HostInventory:
    """The host and its GPUs, in index order."""

    hostname: str
    machine_id: str | None
    boot_id: str | None
    """Changes with each boot."""
    os: str | None
    kernel: str
    cpu_model: str | None
    cpu_count: int
    """Logical processors."""
    memory_bytes: int | None
    driver_version: str | None
    cuda_driver_version: str | None
    """The newest CUDA that the driver runs, such as `13.0`."""
    nvml_version: str | None
    nvml_error: str | None
    """Why there are no GPUs to list, such as `LIBRARY_NOT_FOUND`; None when NVML is open."""
    virtual: bool
    """Whether the GPUs are virtual."""
    gpus: tuple[GpuInventory, ...]


def read_inventory(nvml: Nvml, *, nvml_error: str | None = None, root: Path = Path("/")) -> HostInventory:
    """Read the inventory; a bad GPU is listed with its failures and nothing is raised for it.

    If `nvml` is not open, there are no GPUs, and `nvml_error` (the `error` of the `NvmlUnavailable` that `open` raised)
    says why. `root` is `/` outside tests.
    """
    slots = nvml.slots() if nvml.is_open else ()
    peers = _nvlink_peers(slots)
    return HostInventory(
        hostname=host.hostname(),
        machine_id=host.read_line(root / "etc/machine-id"),
        boot_id=host.read_line(root / "proc/sys/kernel/random/boot_id"),
        os=host.os_name(root),
        kernel=host.kernel(),
        cpu_model=host.cpu_model(root),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=host.memory_bytes(root).get("MemTotal"),
        driver_version=nvml.text(pynvml.nvmlSystemGetDriverVersion),
        cuda_driver_version=_cuda_version(nvml.text(pynvml.nvmlSystemGetCudaDriverVersion_v2)),
        nvml_version=nvml.text(pynvml.nvmlSystemGetNVMLVersion),
        nvml_error=None if nvml.is_open else nvml_error or "UNINITIALIZED",
        virtual=nvml.virtual,
        gpus=tuple(_read_gpu(slot, peers.get(slot.index, ())) for slot in slots),
    )


def _cuda_version(number: str | None) -> str | None:
    """Turn NVML's 12080 into `12.8`."""
    if number is None:
        return None
    return f"{int(number) // 1000}.{int(number) % 1000 // 10}"


def _read_gpu(slot: GpuSlot, nvlink_peers: tuple[str, ...]) -> GpuInventory:
    reader = Reader(slot.handle)
    if slot.handle is None:
        reader.gone = True
        reader.failures.extend([slot.failure] if slot.failure else ())
    name = reader.read(pynvml.nvmlDeviceGetName)
    memory = reader.read(pynvml.nvmlDeviceGetMemoryInfo)
    power_limit_milliwatts = reader.read(pynvml.nvmlDeviceGetEnforcedPowerLimit)
    mig_mode = reader.read(pynvml.nvmlDeviceGetMigMode)
    mig_enabled = None if mig_mode is None else mig_mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    return GpuInventory(
        index=slot.index,
        uuid=slot.uuid,
        model=short_model_name(name) if name else UNKNOWN_MODEL,
        name=name,
        memory_bytes=None if memory is None else int(memory.total),
        pci_bus_id=_pci_bus_id(reader),
        serial=reader.read(pynvml.nvmlDeviceGetSerial),
        minor_number=reader.read(pynvml.nvmlDeviceGetMinorNumber),
        numa_node=_numa_node(reader),
        compute_capability=reader.read(pynvml.nvmlDeviceGetCudaComputeCapability),
        power_limit_watts=None if power_limit_milliwatts is None else power_limit_milliwatts / 1000,
        nvlink_count=_nvlink_count(reader),
        nvlink_peers=nvlink_peers,
        mig_enabled=mig_enabled,
        mig_devices=_mig_devices(reader) if mig_enabled else (),
        failures=tuple(reader.failures),
    )


def _pci_bus_id(reader: Reader) -> str | None:
    pci = reader.read(pynvml.nvmlDeviceGetPciInfo)
    try:
        bus_id = None if pci is None else pci.busId  # decoded here by pynvml, and as bytes by its older versions
        return bus_id.decode() if isinstance(bus_id, bytes) else bus_id
    except UnicodeDecodeError:
        reader.failures.append(ReadFailure("nvmlDeviceGetPciInfo", UNREADABLE))
        return None


def _numa_node(reader: Reader) -> int | None:
    node_set = reader.read(pynvml.nvmlDeviceGetMemoryAffinity, _NUMA_WORDS, pynvml.NVML_AFFINITY_SCOPE_NODE)
    for word, bits in enumerate(node_set if node_set is not None else ()):
        if bits:
            return word * 64 + (int(bits) & -int(bits)).bit_length() - 1
    return None


def _nvlink_count(reader: Reader) -> int:
    """Count the links that are up; links above what the model has are refused as an invalid argument."""
    active = 0
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        probe = Reader(reader.handle)
        probe.gone = reader.gone
        state = probe.read(pynvml.nvmlDeviceGetNvLinkState, link)
        if state is None:
            break
        active += state == pynvml.NVML_FEATURE_ENABLED
    return active


def _nvlink_peers(slots: tuple[GpuSlot, ...]) -> dict[int, tuple[str, ...]]:
    """Ask the driver for each pair, which is right with NVSwitch and with direct links alike."""
    reachable = [slot for slot in slots if slot.handle is not None and slot.uuid]
    peers: dict[int, list[str]] = {slot.index: [] for slot in reachable}
    for position, first in enumerate(reachable):
        for second in reachable[position + 1 :]:
            status = Reader(first.handle).read(
                pynvml.nvmlDeviceGetP2PStatus, second.handle, pynvml.NVML_P2P_CAPS_INDEX_NVLINK
            )
            if status == pynvml.NVML_P2P_STATUS_OK:
                peers[first.index].append(second.uuid)
                peers[second.index].append(first.uuid)
    order = {slot.uuid: slot.index for slot in reachable}
    return {index: tuple(sorted(uuids, key=order.__getitem__)) for index, uuids in peers.items()}


def _mig_devices(reader: Reader) -> tuple[MigDevice, ...]:
    devices: list[MigDevice] = []
    for number in range(reader.read(pynvml.nvmlDeviceGetMaxMigDeviceCount) or 0):
        # A reader of its own: an empty place answers NOT_FOUND, which is no failure of the GPU.
        handle = Reader(reader.handle).read(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, number)
        if handle is None:
            continue
        device = Reader(handle)
        uuid = device.read(pynvml.nvmlDeviceGetUUID)
        if uuid:
            devices.append(_mig_device(device, uuid))
        reader.failures.extend(device.failures)
    return tuple(devices)


def _mig_device(device: Reader, uuid: str) -> MigDevice:
    profile = _MIG_PROFILE.search(device.read(pynvml.nvmlDeviceGetName) or "")
    memory: Any = device.read(pynvml.nvmlDeviceGetMemoryInfo)
    return MigDevice(
        uuid=uuid,
        profile=profile[1] if profile else None,
        memory_bytes=None if memory is None else int(memory.total),
        gpu_instance_id=device.read(pynvml.nvmlDeviceGetGpuInstanceId),
        compute_instance_id=device.read(pynvml.nvmlDeviceGetComputeInstanceId),
    )
