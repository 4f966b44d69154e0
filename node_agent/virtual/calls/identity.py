"""Functions that say which GPU this is and how it is set up."""

from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import (
    INSUFFICIENT_SIZE,
    NOT_SUPPORTED,
    SUCCESS,
    CallTable,
    put,
    put_text,
    target_of,
    value_of,
)
from node_agent.virtual.device import VirtualGpu

IDENTITY_CALLS: Final = CallTable()


@IDENTITY_CALLS.named("nvmlDeviceGetName")
def _name(gpu: VirtualGpu, text: Any, length: Any) -> int:
    return put_text(text, length, gpu.model.name)


@IDENTITY_CALLS.named("nvmlDeviceGetUUID")
def _uuid(gpu: VirtualGpu, text: Any, length: Any) -> int:
    return put_text(text, length, gpu.uuid)


@IDENTITY_CALLS.named("nvmlDeviceGetSerial")
def _serial(gpu: VirtualGpu, text: Any, length: Any) -> int:
    return put_text(text, length, gpu.identity.serial)


@IDENTITY_CALLS.named("nvmlDeviceGetIndex", "nvmlDeviceGetMinorNumber")
def _index(gpu: VirtualGpu, index: Any) -> int:
    return put(index, gpu.identity.index)


@IDENTITY_CALLS.named("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2")
def _pci_info(gpu: VirtualGpu, info: Any) -> int:
    pci = target_of(info)
    address = gpu.identity.pci
    pci.busIdLegacy = address.legacy.encode()
    pci.busId = str(address).encode()
    pci.domain, pci.bus, pci.device = address.domain, address.bus, address.device
    pci.pciDeviceId = gpu.model.pci_device_id
    pci.pciSubSystemId = gpu.model.pci_subsystem_id
    return SUCCESS


@IDENTITY_CALLS.named("nvmlDeviceGetCudaComputeCapability")
def _compute_capability(gpu: VirtualGpu, major: Any, minor: Any) -> int:
    put(major, gpu.model.compute_capability[0])
    return put(minor, gpu.model.compute_capability[1])


@IDENTITY_CALLS.named("nvmlDeviceGetArchitecture")
def _architecture(gpu: VirtualGpu, architecture: Any) -> int:
    return put(architecture, gpu.model.architecture)


@IDENTITY_CALLS.named("nvmlDeviceGetBrand")
def _brand(gpu: VirtualGpu, brand: Any) -> int:
    tesla = gpu.model.name.startswith("Tesla")
    return put(brand, pynvml.NVML_BRAND_TESLA if tesla else pynvml.NVML_BRAND_NVIDIA)


@IDENTITY_CALLS.named("nvmlDeviceGetPersistenceMode")
def _persistence_mode(_gpu: VirtualGpu, mode: Any) -> int:
    return put(mode, pynvml.NVML_FEATURE_ENABLED)


@IDENTITY_CALLS.named("nvmlDeviceGetComputeMode")
def _compute_mode(_gpu: VirtualGpu, mode: Any) -> int:
    return put(mode, pynvml.NVML_COMPUTEMODE_DEFAULT)


@IDENTITY_CALLS.named("nvmlDeviceGetMemoryAffinity")
def _memory_affinity(gpu: VirtualGpu, size: Any, nodes: Any, _scope: Any) -> int:
    words = value_of(size)
    if not words:
        return INSUFFICIENT_SIZE
    node_set = target_of(nodes)
    for word in range(words):
        node_set[word] = 0
    node_set[0] = 1 << gpu.identity.numa_node
    return SUCCESS


@IDENTITY_CALLS.named("nvmlDeviceGetFanSpeed")
def _fan_speed(_gpu: VirtualGpu, _speed: Any) -> int:
    return NOT_SUPPORTED  # all catalogued models are cooled by the server's fans
