"""`nvmlDeviceGetFieldValues`: many values in one call, each with its own status."""

from collections.abc import Callable
from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import (
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    CallTable,
    target_of,
    value_of,
)
from node_agent.virtual.device import EFFECTIVE_ERRORS, VirtualGpu
from node_agent.virtual.gpu_model import PageRepair

FIELD_CALLS: Final = CallTable()

Reader = Callable[[VirtualGpu], int | None]
"""Returns the value of one field, or None where the model does not have it."""


def _remap(value: Callable[[VirtualGpu], int]) -> Reader:
    return lambda gpu: value(gpu) if gpu.model.page_repair is PageRepair.ROW_REMAP else None


def _retire(value: Callable[[VirtualGpu], int]) -> Reader:
    return lambda gpu: value(gpu) if gpu.model.page_repair is PageRepair.PAGE_RETIREMENT else None


def _memory_temperature(gpu: VirtualGpu) -> int | None:
    return round(gpu.state().memory_celsius) if gpu.model.memory_temperature else None


def _link_errors(counter: int) -> Reader:
    return lambda gpu: sum(link.errors.get(counter, 0) for link in gpu.links) if gpu.links else None


_LONG: Final[int] = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
_INT: Final[int] = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT

_FIELDS: Final[dict[int, tuple[int, Reader]]] = {
    pynvml.NVML_FI_DEV_MEMORY_TEMP: (_INT, _memory_temperature),
    pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION: (_LONG, lambda gpu: round(gpu.state().energy_joules * 1000)),
    pynvml.NVML_FI_DEV_POWER_INSTANT: (_INT, lambda gpu: round(gpu.state().power_watts * 1000)),
    pynvml.NVML_FI_DEV_POWER_AVERAGE: (_INT, lambda gpu: round(gpu.state().power_watts * 1000)),
    pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER: (_LONG, lambda gpu: gpu.pcie_replays),
    pynvml.NVML_FI_DEV_REMAPPED_COR: (_INT, _remap(lambda gpu: gpu.repairs.correctable)),
    pynvml.NVML_FI_DEV_REMAPPED_UNC: (_INT, _remap(lambda gpu: gpu.repairs.uncorrectable)),
    pynvml.NVML_FI_DEV_REMAPPED_PENDING: (_INT, _remap(lambda gpu: int(gpu.repairs.pending))),
    pynvml.NVML_FI_DEV_REMAPPED_FAILURE: (_INT, _remap(lambda gpu: int(gpu.repairs.failed))),
    pynvml.NVML_FI_DEV_RETIRED_SBE: (_LONG, _retire(lambda gpu: gpu.repairs.correctable)),
    pynvml.NVML_FI_DEV_RETIRED_DBE: (_LONG, _retire(lambda gpu: gpu.repairs.uncorrectable)),
    pynvml.NVML_FI_DEV_RETIRED_PENDING: (_LONG, _retire(lambda gpu: int(gpu.repairs.pending))),
    pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT: (_INT, lambda gpu: len(gpu.links)),
    pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL: (
        _LONG,
        _link_errors(pynvml.NVML_NVLINK_ERROR_DL_REPLAY),
    ),
    pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL: (
        _LONG,
        _link_errors(pynvml.NVML_NVLINK_ERROR_DL_RECOVERY),
    ),
    pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL: (
        _LONG,
        _link_errors(pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT),
    ),
    pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL: (
        _LONG,
        _link_errors(pynvml.NVML_NVLINK_ERROR_DL_CRC_DATA),
    ),
    pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: (_INT, lambda gpu: gpu.recovery_action),
}
_UNKNOWN: Final[tuple[int, Reader]] = (_INT, lambda _gpu: None)

_NVLINK_5: Final = 5
_LINK_STATE: Final = -2
# Fields of one link, whose number is the scope; the counter in `NvLink.errors`, and whether NVLink 5 has it.
_LINK_FIELDS: Final[dict[int, tuple[int, bool | None]]] = {
    pynvml.NVML_FI_DEV_NVLINK_GET_STATE: (_LINK_STATE, None),
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY: (pynvml.NVML_NVLINK_ERROR_DL_REPLAY, False),
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY: (pynvml.NVML_NVLINK_ERROR_DL_RECOVERY, False),
    pynvml.NVML_FI_DEV_NVLINK_ERROR_DL_CRC: (pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT, False),
    pynvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS: (pynvml.NVML_NVLINK_ERROR_DL_RECOVERY, True),
    pynvml.NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS: (EFFECTIVE_ERRORS, True),
}


def _link_value(gpu: VirtualGpu, field: int, number: int) -> int | None:
    counter, fifth_generation = _LINK_FIELDS[field]
    if number >= len(gpu.links):
        return None
    if fifth_generation is None:
        return int(gpu.links[number].active)
    if fifth_generation is not (gpu.model.nvlink_version >= _NVLINK_5):
        return None
    return gpu.links[number].errors.get(counter, 0)


@FIELD_CALLS.named("nvmlDeviceGetFieldValues")
def _field_values(gpu: VirtualGpu, count: Any, values: Any) -> int:
    if value_of(count) < 1:
        return INVALID_ARGUMENT
    for entry in target_of(values):
        identifier = entry.fieldId
        if identifier in _LINK_FIELDS:
            value_type, value = _LONG, _link_value(gpu, identifier, entry.scopeId)
        else:
            value_type, read = _FIELDS.get(identifier, _UNKNOWN)
            value = read(gpu)
        if value is None:
            entry.nvmlReturn = NOT_SUPPORTED
            continue
        entry.nvmlReturn = SUCCESS
        entry.valueType = value_type
        entry.value.ullVal = value  # little-endian union: the narrower members read the same number
    return SUCCESS
