"""Field values as pynvml itself would read them."""

import ctypes
from typing import Any

import pynvml
import pytest

from node_agent.probe.field_values import get_field_values
from node_agent.virtual import virtual_gpus

FIELDS = (
    pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    pynvml.NVML_FI_DEV_MEMORY_TEMP,
    pynvml.NVML_FI_DEV_RETIRED_SBE,
    (pynvml.NVML_FI_DEV_NVLINK_GET_STATE, 17),
    (pynvml.NVML_FI_DEV_NVLINK_GET_STATE, 18),
    9999,
)


def test_the_answer_is_the_one_that_pynvml_gives() -> None:
    with virtual_gpus("1xH100") as host:
        pynvml.nvmlInit()
        host.gpus[0].links[17].active = False
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        theirs = pynvml.nvmlDeviceGetFieldValues(handle, FIELDS)
        ours = get_field_values(handle, FIELDS)
        assert [(entry.fieldId, entry.scopeId, entry.nvmlReturn) for entry in theirs] == [one[:3] for one in ours]
        assert ours[1][3] == theirs[1].value.uiVal
        assert [one[3] for one in ours[2:]] == [None, 0, None, None]
        pynvml.nvmlShutdown()


@pytest.mark.parametrize(
    ("kind", "member", "written", "read"),
    [
        (pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, "uiVal", 2**32 - 1, 2**32 - 1),
        (pynvml.NVML_VALUE_TYPE_SIGNED_INT, "siVal", -7, -7),
        (pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG, "ulVal", 2**64 - 1, 2**64 - 1),
        (pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, "ullVal", 2**63, 2**63),
        (pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG, "sllVal", -(2**63), -(2**63)),
        (pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT, "usVal", 65535, 65535),
        (pynvml.NVML_VALUE_TYPE_DOUBLE, "dVal", 12.75, 12),
        (pynvml.NVML_VALUE_TYPE_DOUBLE, "dVal", float("nan"), None),
        (99, "ullVal", 5, 5),
    ],
)
def test_the_member_that_the_driver_filled_is_read(
    monkeypatch: pytest.MonkeyPatch, kind: int, member: str, written: float, read: int | None
) -> None:
    def driver(_handle: object, count: Any, values: Any) -> int:
        """Fill the memory by pynvml's own description of it, with bits left over beside the member."""
        entries = (pynvml.c_nvmlFieldValue_t * count.value).from_buffer(values._obj)
        assert [(entry.fieldId, entry.scopeId) for entry in entries] == [(5, 0), (6, 3)]
        for entry in entries:
            entry.value.ullVal = 0xAAAA_AAAA_AAAA_AAAA
            setattr(entry.value, member, written)
            entry.valueType, entry.nvmlReturn = kind, pynvml.NVML_SUCCESS
        entries[0].nvmlReturn = pynvml.NVML_ERROR_GPU_IS_LOST
        return int(pynvml.NVML_SUCCESS)

    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", lambda _symbol: driver)
    assert ctypes.sizeof(pynvml.c_nvmlFieldValue_t) == 40
    lost, good = get_field_values(None, (5, (6, 3)))
    assert lost == (5, 0, pynvml.NVML_ERROR_GPU_IS_LOST, None)
    assert good == (6, 3, pynvml.NVML_SUCCESS, read)


def test_a_call_that_fails_raises_as_pynvml_does() -> None:
    with virtual_gpus("1xH100") as host:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        host.gpus[0].faults.lose()
        with pytest.raises(pynvml.NVMLError) as caught:
            get_field_values(handle, FIELDS)
        assert caught.value.value == pynvml.NVML_ERROR_GPU_IS_LOST
        pynvml.nvmlShutdown()
