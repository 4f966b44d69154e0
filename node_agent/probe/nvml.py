"""A thin typed layer over `pynvml`: sessions, handles, and reads that never raise for a bad GPU.

It is the same for a real driver and for virtual GPUs. pynvml ships no types, so what its calls return is `Any` here and
gets its type where a sample is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from node_agent.probe.samples import ReadFailure
from node_agent.virtual import installed

_NAMES: Final[dict[int, str]] = {
    getattr(pynvml, name): name.removeprefix("NVML_ERROR_") for name in dir(pynvml) if name.startswith("NVML_ERROR_")
}

_ABSENT: Final = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
"""Statuses that mean "this GPU or driver does not have the value", which is no fault."""

_GONE: Final = frozenset(
    {
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    }
)
"""Statuses after which no other call on the GPU can answer, so that none is tried in this pass."""

UNREADABLE: Final = "UNREADABLE"
"""The error name for an answer that is no NVML error but cannot be used, such as a name that is not UTF-8."""

_HINTS: Final = {
    "LIBRARY_NOT_FOUND": "install the NVIDIA driver, or start with --virtual-gpus 8xH100",
    "DRIVER_NOT_LOADED": "load the kernel module (modprobe nvidia), or start with --virtual-gpus 8xH100",
    "NO_PERMISSION": "give this user read and write access to /dev/nvidia*",
    "LIB_RM_VERSION_MISMATCH": "the driver was upgraded beneath a loaded module: reload it or reboot",
}


class NvmlUnavailable(Exception):
    """NVML cannot be opened. `error` is NVML's name of the reason; the message says what to do."""

    def __init__(self, error: str) -> None:
        self.error = error
        hint = _HINTS.get(error, "run nvidia-smi and the kernel log for the reason")
        super().__init__(f"NVML cannot be opened ({error}): {hint}")


def error_name(error: Exception) -> str:
    """Return NVML's name of an error, such as `GPU_IS_LOST`."""
    if isinstance(error, pynvml.NVMLError):
        return _NAMES.get(error.value, f"CODE_{error.value}")
    return UNREADABLE


class Reader:
    """Reads values of one device in one pass, collecting what failed instead of raising."""

    __slots__ = ("failures", "gone", "handle")

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.failures: list[ReadFailure] = []
        self.gone = False

    def read(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `call(handle, *arguments)` returns, or None.

        None without a failure means that the device does not have the value. After a call has found the GPU gone, no
        further call is made.
        """
        if self.gone:
            return None
        try:
            return call(self.handle, *arguments)
        except pynvml.NVMLError as error:
            if error.value not in _ABSENT:
                self.failures.append(ReadFailure(call.__name__, error_name(error)))
                self.gone = error.value in _GONE
        except pynvml.NVMLLibraryMismatchError:  # the driver is older than this binding: the value is absent
            pass
        except (UnicodeDecodeError, OSError, ValueError):  # a GPU with a broken InfoROM answers with garbage
            self.failures.append(ReadFailure(call.__name__, UNREADABLE))
        return None

    def read_fields(self, field_ids: tuple[int, ...]) -> dict[int, int]:
        """Return the field values that the device has, by field id (NVML_FI_DEV_*), in one call."""
        values = self.read(pynvml.nvmlDeviceGetFieldValues, field_ids)
        found: dict[int, int] = {}
        for value in values if values is not None else ():
            status = value.nvmlReturn
            if status == pynvml.NVML_SUCCESS:
                found[value.fieldId] = _field_number(value)
            elif status in _GONE:
                self.failures.append(ReadFailure("nvmlDeviceGetFieldValues", _NAMES[status]))
                self.gone = True
                break
        return found


def _field_number(value: Any) -> int:
    """Return the member of the union that the driver filled; all fields that are read here are whole numbers."""
    kind = value.valueType
    if kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT:
        return int(value.value.uiVal)
    if kind == pynvml.NVML_VALUE_TYPE_SIGNED_INT:
        return int(value.value.siVal)
    if kind == pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG:
        return int(value.value.sllVal)
    if kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT:
        return int(value.value.usVal)
    if kind == pynvml.NVML_VALUE_TYPE_DOUBLE:
        return int(value.value.dVal)
    return int(value.value.ullVal)


@dataclass(slots=True)
class GpuSlot:
    """A place where the driver has a GPU. Its UUID is remembered when the GPU is lost."""

    index: int
    handle: Any = None
    uuid: str = ""
    failure: ReadFailure | None = None
    """Why there is no handle."""


class Nvml:
    """One use of NVML by this process. `close` before a GPU reset: a holder of handles makes a reset fail."""

    def __init__(self) -> None:
        self._open = False
        self._slots: list[GpuSlot] = []

    @property
    def is_open(self) -> bool:
        """Whether NVML can be asked."""
        return self._open

    @property
    def virtual(self) -> bool:
        """Whether the GPUs are virtual."""
        return installed() is not None

    def open(self) -> None:
        """Initialise NVML and take a handle of each GPU; a GPU that gives none keeps its slot.

        Raises:
            NvmlUnavailable: there is no driver, or it cannot be used.
        """
        if self._open:
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(error_name(error)) from error
        self._open = True
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.close()
            raise NvmlUnavailable(error_name(error)) from error
        known = {slot.index: slot.uuid for slot in self._slots}
        self._slots = [GpuSlot(index, uuid=known.get(index, "")) for index in range(count)]
        self.slots()

    def close(self) -> None:
        """Let go of all handles and shut NVML down. Safe to call twice."""
        if not self._open:
            return
        self._open = False
        for slot in self._slots:
            slot.handle = None
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:  # the driver is gone already: there is nothing left to shut down
            return

    def slots(self) -> tuple[GpuSlot, ...]:
        """Return the place of each GPU, after trying again for the handles that are missing."""
        for slot in self._slots:
            if slot.handle is None and self._open:
                _take_handle(slot)
        return tuple(self._slots)

    def text(self, call: Callable[[], str]) -> str | None:
        """Return what a system call such as `nvmlSystemGetDriverVersion` says, or None."""
        reader = Reader(None)
        value = reader.read(lambda _handle: call()) if self._open else None
        return None if value is None else str(value)


def _take_handle(slot: GpuSlot) -> None:
    try:
        slot.handle = pynvml.nvmlDeviceGetHandleByIndex(slot.index)
    except pynvml.NVMLError as error:
        slot.failure = ReadFailure("nvmlDeviceGetHandleByIndex", error_name(error))
        return
    slot.failure = None
    uuid = Reader(slot.handle).read(pynvml.nvmlDeviceGetUUID)
    if uuid:
        slot.uuid = uuid
