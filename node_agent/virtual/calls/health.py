"""Functions that tell a sound GPU from a failing one: ECC, throttling, rows and pages put aside, NVLink."""

from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import (
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    CallTable,
    put,
    target_of,
    value_of,
)
from node_agent.virtual.device import NvLink, VirtualGpu
from node_agent.virtual.gpu_model import PageRepair, Wiring
from node_agent.virtual.topology import SWITCH

HEALTH_CALLS: Final = CallTable()
_RETIRED_PAGE_BASE: Final = 0x1000
_BANKS: Final = 2560  # banks with spare rows, as nvidia-smi shows them for an H100
_HOPPER: Final = 9


@HEALTH_CALLS.named("nvmlDeviceGetEccMode")
def _ecc_mode(_gpu: VirtualGpu, current: Any, pending: Any) -> int:
    put(current, pynvml.NVML_FEATURE_ENABLED)
    return put(pending, pynvml.NVML_FEATURE_ENABLED)


@HEALTH_CALLS.named("nvmlDeviceGetTotalEccErrors")
def _total_ecc_errors(gpu: VirtualGpu, error_type: Any, counter: Any, count: Any) -> int:
    counts = _ecc_counts(gpu, value_of(counter))
    kind = value_of(error_type)
    if counts is None or not 0 <= kind < pynvml.NVML_MEMORY_ERROR_TYPE_COUNT:
        return INVALID_ARGUMENT
    return put(count, sum(number for (of_type, _), number in counts.items() if of_type == kind))


@HEALTH_CALLS.named("nvmlDeviceGetMemoryErrorCounter")
def _memory_error_counter(gpu: VirtualGpu, error_type: Any, counter: Any, location: Any, count: Any) -> int:
    counts = _ecc_counts(gpu, value_of(counter))
    if counts is None or not 0 <= value_of(location) < pynvml.NVML_MEMORY_LOCATION_COUNT:
        return INVALID_ARGUMENT
    return put(count, counts.get((value_of(error_type), value_of(location)), 0))


def _ecc_counts(gpu: VirtualGpu, counter: int) -> dict[tuple[int, int], int] | None:
    if counter == pynvml.NVML_VOLATILE_ECC:
        return gpu.memory_errors.volatile
    return gpu.memory_errors.aggregate if counter == pynvml.NVML_AGGREGATE_ECC else None


@HEALTH_CALLS.named("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
def _clocks_event_reasons(gpu: VirtualGpu, reasons: Any) -> int:
    return put(reasons, gpu.state().throttle_reasons)


@HEALTH_CALLS.named("nvmlDeviceGetRemappedRows")
def _remapped_rows(gpu: VirtualGpu, correctable: Any, uncorrectable: Any, pending: Any, failed: Any) -> int:
    if gpu.model.page_repair is not PageRepair.ROW_REMAP:
        return NOT_SUPPORTED
    put(correctable, gpu.repairs.correctable)
    put(uncorrectable, gpu.repairs.uncorrectable)
    put(pending, int(gpu.repairs.pending))
    return put(failed, int(gpu.repairs.failed))


@HEALTH_CALLS.named("nvmlDeviceGetRowRemapperHistogram")
def _row_remapper_histogram(gpu: VirtualGpu, histogram: Any) -> int:
    if gpu.model.page_repair is not PageRepair.ROW_REMAP:
        return NOT_SUPPORTED
    values = target_of(histogram)
    values.none = int(gpu.repairs.failed)
    values.partial = values.low = 0
    values.high = min(_BANKS - values.none, gpu.repairs.uncorrectable)
    values.max = _BANKS - values.none - values.high
    return SUCCESS


@HEALTH_CALLS.named("nvmlDeviceGetGpuFabricInfoV")
def _fabric_info(gpu: VirtualGpu, info: Any) -> int:
    fabric = target_of(info)
    if gpu.model.wiring is not Wiring.SWITCH or gpu.model.architecture < _HOPPER:
        fabric.state = pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED
        return SUCCESS
    fabric.state, fabric.status = pynvml.NVML_GPU_FABRIC_STATE_COMPLETED, SUCCESS
    fabric.healthMask = sum(
        no << shift
        for no, shift in (
            (
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_FALSE,
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_DEGRADED_BW,
            ),
            (
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_ROUTE_RECOVERY_FALSE,
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_RECOVERY,
            ),
            (
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_ROUTE_UNHEALTHY_FALSE,
                pynvml.NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_UNHEALTHY,
            ),
        )
    )
    return SUCCESS


@HEALTH_CALLS.named("nvmlDeviceGetRetiredPages")
def _retired_pages(gpu: VirtualGpu, cause: Any, count: Any, pages: Any) -> int:
    if gpu.model.page_repair is not PageRepair.PAGE_RETIREMENT:
        return NOT_SUPPORTED
    single_bit = value_of(cause) == pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS
    retired = gpu.repairs.correctable if single_bit else gpu.repairs.uncorrectable
    room = value_of(target_of(count))
    put(count, retired)
    if pages is None or room < retired:
        return INSUFFICIENT_SIZE if retired else SUCCESS
    for page in range(retired):
        pages[page] = _RETIRED_PAGE_BASE * (page + 1)
    return SUCCESS


@HEALTH_CALLS.named("nvmlDeviceGetRetiredPagesPendingStatus")
def _retired_pages_pending(gpu: VirtualGpu, pending: Any) -> int:
    if gpu.model.page_repair is not PageRepair.PAGE_RETIREMENT:
        return NOT_SUPPORTED
    return put(pending, int(gpu.repairs.pending))


def _link(gpu: VirtualGpu, number: Any) -> NvLink | None:
    index = value_of(number)
    return gpu.links[index] if 0 <= index < len(gpu.links) else None


def _no_link(gpu: VirtualGpu) -> int:
    return INVALID_ARGUMENT if gpu.links else NOT_SUPPORTED


@HEALTH_CALLS.named("nvmlDeviceGetNvLinkState")
def _nvlink_state(gpu: VirtualGpu, number: Any, active: Any) -> int:
    link = _link(gpu, number)
    return _no_link(gpu) if link is None else put(active, int(link.active))


@HEALTH_CALLS.named("nvmlDeviceGetNvLinkVersion")
def _nvlink_version(gpu: VirtualGpu, number: Any, version: Any) -> int:
    return _no_link(gpu) if _link(gpu, number) is None else put(version, gpu.model.nvlink_version)


@HEALTH_CALLS.named("nvmlDeviceGetNvLinkRemoteDeviceType")
def _nvlink_remote_type(gpu: VirtualGpu, number: Any, kind: Any) -> int:
    link = _link(gpu, number)
    if link is None:
        return _no_link(gpu)
    to_switch = link.far_end == SWITCH
    return put(kind, pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH if to_switch else pynvml.NVML_NVLINK_DEVICE_TYPE_GPU)


@HEALTH_CALLS.named("nvmlDeviceGetNvLinkErrorCounter")
def _nvlink_errors(gpu: VirtualGpu, number: Any, counter: Any, count: Any) -> int:
    link = _link(gpu, number)
    return _no_link(gpu) if link is None else put(count, link.errors.get(value_of(counter), 0))
