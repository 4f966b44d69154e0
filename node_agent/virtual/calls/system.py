"""Functions of the driver as a whole, and the error texts."""

from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import SUCCESS, CallTable, put, put_text
from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.host import CUDA_DRIVER_VERSION, DRIVER_VERSION, NVML_VERSION, VirtualHost

SYSTEM_CALLS: Final = CallTable()

_ERROR_TEXTS: Final = {
    getattr(pynvml, name): name.removeprefix("NVML_ERROR_").replace("_", " ").capitalize()
    for name in dir(pynvml)
    if name.startswith("NVML_ERROR_")
}


def error_text(status: int) -> bytes:
    """Return the text of a status, as `nvmlErrorString` does."""
    if status == SUCCESS:
        return b"Success"
    return _ERROR_TEXTS.get(status, f"Unknown error {status}").encode()


@SYSTEM_CALLS.named("nvmlSystemGetDriverVersion")
def _driver_version(_host: VirtualHost, text: Any, length: Any) -> int:
    return put_text(text, length, DRIVER_VERSION)


@SYSTEM_CALLS.named("nvmlSystemGetNVMLVersion")
def _nvml_version(_host: VirtualHost, text: Any, length: Any) -> int:
    return put_text(text, length, NVML_VERSION)


@SYSTEM_CALLS.named("nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2")
def _cuda_driver_version(_host: VirtualHost, version: Any) -> int:
    return put(version, CUDA_DRIVER_VERSION)


@SYSTEM_CALLS.named("nvmlDeviceGetCount", "nvmlDeviceGetCount_v2")
def _count(host: VirtualHost, count: Any) -> int:
    return put(count, len(host.gpus))


PAIR_CALLS: Final = CallTable()
"""Functions of two GPUs: the handler takes the host, both GPUs and the other C arguments."""


@PAIR_CALLS.named("nvmlDeviceGetP2PStatus")
def _p2p_status(host: VirtualHost, first: VirtualGpu, second: VirtualGpu, index: Any, status: Any) -> int:
    # pynvml numbers the first capability with a tuple by mistake; every real caller passes an int.
    over_nvlink = index == pynvml.NVML_P2P_CAPS_INDEX_NVLINK
    reachable = host.nvlinked(first, second) if over_nvlink else first is not second
    return put(status, pynvml.NVML_P2P_STATUS_OK if reachable else pynvml.NVML_P2P_STATUS_NOT_SUPPORTED)


@PAIR_CALLS.named("nvmlDeviceGetTopologyCommonAncestor")
def _common_ancestor(_host: VirtualHost, first: VirtualGpu, second: VirtualGpu, level: Any) -> int:
    if first is second:
        return put(level, pynvml.NVML_TOPOLOGY_INTERNAL)
    same_node = first.identity.numa_node == second.identity.numa_node
    return put(level, pynvml.NVML_TOPOLOGY_NODE if same_node else pynvml.NVML_TOPOLOGY_SYSTEM)
