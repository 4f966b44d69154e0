"""Reads what the GPUs are from NVML. In the probe's process only: it calls the driver."""

import re
from typing import Any, Final

import pynvml

from node_agent.probe.model_name import UNKNOWN_MODEL, short_model_name
from node_agent.probe.nvml import UNREADABLE, GpuSlot, Nvml, Reader
from node_agent.probe.nvml_inventory import GpuInventory, MigDevice, NvmlInventory
from node_agent.probe.samples import ReadFailure

_NUMA_WORDS: Final = 4  # 256 NUMA nodes, 64 to a word
_MIG_PROFILE: Final = re.compile(r"\sMIG\s+(\S+)$")


def read_inventory(nvml: Nvml, *, virtual: bool, nvml_error: str | None = None) -> NvmlInventory:
    """Read the inventory; a bad GPU is listed with its failures and nothing is raised for it.

    If `nvml` is not open, there are no GPUs, and `nvml_error` (the `error` of the `NvmlUnavailable` that `open` raised)
    says why.
    """
    slots = nvml.slots() if nvml.is_open else ()
    peers = _nvlink_peers(nvml, slots)
    return NvmlInventory(
        driver_version=nvml.text(pynvml.nvmlSystemGetDriverVersion),
        cuda_driver_version=_cuda_version(nvml.text(pynvml.nvmlSystemGetCudaDriverVersion_v2)),
        nvml_version=nvml.text(pynvml.nvmlSystemGetNVMLVersion),
        nvml_error=None if nvml.is_open else nvml_error or "UNINITIALIZED",
        virtual=virtual,
        gpus=tuple(_read_gpu(nvml.reader(slot), slot, peers.get(slot.index, ())) for slot in slots),
    )


def _cuda_version(number: str | None) -> str | None:
    """Turn NVML's 12080 into `12.8`."""
    if number is None:
        return None
    return f"{int(number) // 1000}.{int(number) % 1000 // 10}"


def _read_gpu(reader: Reader, slot: GpuSlot, nvlink_peers: tuple[str, ...]) -> GpuInventory:
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
        probe = reader.again()
        state = probe.read(pynvml.nvmlDeviceGetNvLinkState, link)
        if state is None:
            break
        active += state == pynvml.NVML_FEATURE_ENABLED
    return active


def _nvlink_peers(nvml: Nvml, slots: tuple[GpuSlot, ...]) -> dict[int, tuple[str, ...]]:
    """Ask the driver for each pair, which is right with NVSwitch and with direct links alike."""
    reachable = [slot for slot in slots if slot.handle is not None and slot.uuid]
    peers: dict[int, list[str]] = {slot.index: [] for slot in reachable}
    for position, first in enumerate(reachable):
        for second in reachable[position + 1 :]:
            status = nvml.reader(first).read(
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
        handle = reader.again().read(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, number)
        if handle is None:
            continue
        device = Reader(handle, reader.uuid, reader.doing)
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
