"""`nvmlDeviceGetFieldValues` without the work that pynvml has with it.

pynvml's structures convert every attribute that is set and read in Python; with some 250 fields a second on a host of 8
GPUs that was a third of the probe's processor time. Here the request is laid out once for each set of fields, and the
answer is unpacked as a whole.
"""

import ctypes
import math
import struct
from typing import Any, Final

import pynvml

Field = int | tuple[int, int]
"""A field's id (NVML_FI_DEV_*), or that and its scope, such as the number of an NVLink."""

_MAXIMUM_REQUESTS: Final = 64
"""Sets of fields that are kept laid out: one for each number of links, and a few more."""
_SYMBOL: Final = "nvmlDeviceGetFieldValues"
_ENTRY: Final = struct.Struct("=IIqqII8s")
_UNSIGNED: Final = struct.Struct("=Q")
_MEMBERS: Final = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: struct.Struct("=d"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: struct.Struct("=I4x"),
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: struct.Struct("=i4x"),
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: struct.Struct("=q"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: struct.Struct("=H6x"),
}
"""Where the members of the union differ from an unsigned number of 64 bits."""


class _Value(ctypes.Union):
    _fields_ = (("dVal", ctypes.c_double), ("ullVal", ctypes.c_ulonglong))


class _FieldValue(ctypes.Structure):
    """nvmlFieldValue_t of nvml.h, with its names."""

    _fields_ = (
        ("fieldId", ctypes.c_uint32),
        ("scopeId", ctypes.c_uint32),
        ("timestamp", ctypes.c_int64),
        ("latencyUsec", ctypes.c_int64),
        ("valueType", ctypes.c_uint32),
        ("nvmlReturn", ctypes.c_uint32),
        ("value", _Value),
    )


assert ctypes.sizeof(_FieldValue) == _ENTRY.size

# Any: an array type of ctypes, which has no name, and a device handle.
_requests: dict[tuple[Field, ...], tuple[Any, bytes]] = {}


def get_field_values(handle: Any, fields: tuple[Field, ...]) -> list[tuple[int, int, int, int | None]]:
    """Return field, scope, NVML status and, where that is success, value of each field. Raises pynvml.NVMLError.

    All fields that the daemon asks for are whole numbers; one that a driver gives as another is cut, or None.
    """
    request = _requests.get(fields)
    if request is None:
        if len(_requests) >= _MAXIMUM_REQUESTS:
            _requests.clear()
        request = _requests[fields] = _laid_out(fields)
    kind, memory = request
    values = kind.from_buffer_copy(memory)
    call = pynvml._nvmlGetFunctionPointer(_SYMBOL)  # noqa: SLF001 - pynvml's own way to the driver, and to virtual GPUs
    status = call(handle, ctypes.c_int32(len(fields)), ctypes.byref(values))
    pynvml._nvmlCheckReturn(status)  # noqa: SLF001 - as every call of pynvml does
    success = pynvml.NVML_SUCCESS
    return [
        (field, scope, status, _number(kind, value) if status == success else None)
        for field, scope, _at, _latency, kind, status, value in _ENTRY.iter_unpack(values)
    ]


get_field_values.__name__ = _SYMBOL  # what the daemon shows while the call hangs, and in a failure


def _laid_out(fields: tuple[Field, ...]) -> tuple[Any, bytes]:
    kind = _FieldValue * len(fields)
    values = kind()
    for entry, field in zip(values, fields, strict=True):
        entry.fieldId, entry.scopeId = field if isinstance(field, tuple) else (field, 0)
    return kind, bytes(values)


def _number(kind: int, value: bytes) -> int | None:
    (number,) = _MEMBERS.get(kind, _UNSIGNED).unpack(value)
    return int(number) if math.isfinite(number) else None
