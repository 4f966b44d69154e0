"""GPU performance monitoring: snapshots of counters, and means between two of them. Hopper and later have it."""

import ctypes
from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, CallTable, target_of
from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.physics import memory_utilization_percent

GPM_CALLS: Final = CallTable()
"""On a GPU."""
_HOPPER: Final = 9
_TENSOR_SHARE: Final = 0.7
_LINK_MIB_PER_PERCENT: Final = 400.0
_PCIE_MIB_PER_PERCENT: Final = 20.0


class _Snapshot(ctypes.Structure):
    _fields_ = (("sm_percent", ctypes.c_double), ("memory_percent", ctypes.c_double))


@GPM_CALLS.named("nvmlGpmQueryDeviceSupport")
def _support(gpu: VirtualGpu, support: Any) -> int:
    target_of(support).isSupportedDevice = int(gpu.model.architecture >= _HOPPER)
    return SUCCESS


@GPM_CALLS.named("nvmlGpmSampleGet")
def _sample(gpu: VirtualGpu, sample: Any) -> int:
    if gpu.model.architecture < _HOPPER:
        return NOT_SUPPORTED
    address = ctypes.cast(sample, ctypes.c_void_p).value
    if address is None:
        return INVALID_ARGUMENT
    utilization = gpu.state().load.utilization_percent
    snapshot = _Snapshot.from_address(address)
    snapshot.sm_percent = utilization
    snapshot.memory_percent = memory_utilization_percent(utilization)
    return SUCCESS


class GpmCalls:
    """The functions that are about no GPU. Any: ctypes arguments, see `calls.table`."""

    def __init__(self) -> None:
        self._snapshots: dict[int, _Snapshot] = {}

    def allocate(self, sample: Any) -> int:
        """Make room for a snapshot."""
        snapshot = _Snapshot()
        address = ctypes.addressof(snapshot)
        self._snapshots[address] = snapshot
        ctypes.c_void_p.from_buffer(target_of(sample)).value = address
        return SUCCESS

    def free(self, sample: Any) -> int:
        """Give up a snapshot."""
        return SUCCESS if self._snapshots.pop(_address(sample), None) is not None else INVALID_ARGUMENT

    def metrics(self, request: Any) -> int:
        """Fill in the means between two snapshots."""
        asked = target_of(request)
        before = self._snapshots.get(_address(asked.sample1))
        after = self._snapshots.get(_address(asked.sample2))
        if before is None or after is None:
            return INVALID_ARGUMENT
        sm_percent = (before.sm_percent + after.sm_percent) / 2
        values = {
            pynvml.NVML_GPM_METRIC_SM_UTIL: sm_percent,
            pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: sm_percent * _TENSOR_SHARE,
            pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL: (before.memory_percent + after.memory_percent) / 2,
            pynvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC: sm_percent * _PCIE_MIB_PER_PERCENT,
            pynvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC: sm_percent * _PCIE_MIB_PER_PERCENT,
            pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC: sm_percent * _LINK_MIB_PER_PERCENT,
            pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC: sm_percent * _LINK_MIB_PER_PERCENT,
        }
        for place in range(asked.numMetrics):
            metric = asked.metrics[place]
            value = values.get(metric.metricId)
            metric.nvmlReturn = NOT_SUPPORTED if value is None else SUCCESS
            metric.value = value or 0.0
        return SUCCESS


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
