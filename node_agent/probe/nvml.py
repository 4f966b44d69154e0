"""A thin typed layer over `pynvml`: sessions, handles, and reads that never raise for a bad GPU.

It is the same for a real driver and for virtual GPUs. pynvml ships no types, so what its calls return is `Any` here and
gets its type where a sample is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from node_agent.probe.doing import Doing
from node_agent.probe.field_values import Field, get_field_values
from node_agent.probe.samples import ReadFailure

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

    __slots__ = ("doing", "failures", "gone", "handle", "uuid")

    def __init__(self, handle: Any, uuid: str = "", doing: Doing | None = None) -> None:
        """Read from `handle`. Each call is told to `doing` before it is made, as one about the GPU `uuid`."""
        self.handle = handle
        self.uuid = uuid
        self.doing = doing
        self.failures: list[ReadFailure] = []
        self.gone = False

    def again(self) -> "Reader":
        """Return a reader of the same device with failures of its own, which knows if the device is gone."""
        reader = Reader(self.handle, self.uuid, self.doing)
        reader.gone = self.gone
        return reader

    def read(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `call(handle, *arguments)` returns, or None.

        None without a failure means that the device does not have the value. After a call has found the GPU gone, no
        further call is made.
        """
        if self.gone:
            return None
        if self.doing is not None:
            self.doing.begin(call.__name__, self.uuid)
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
        return {field: value for (field, _scope), value in self.read_scoped_fields(field_ids).items()}

    def read_scoped_fields(self, fields: tuple[Field, ...]) -> dict[tuple[int, int], int]:
        """Do as `read_fields`, for fields that may have a scope, such as the number of an NVLink."""
        found: dict[tuple[int, int], int] = {}
        for field, scope, status, value in self.read(get_field_values, fields) or ():
            if value is not None:
                found[field, scope] = value
            elif status in _GONE:
                self.failures.append(ReadFailure(get_field_values.__name__, _NAMES[status]))
                self.gone = True
                break
        return found


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

    def __init__(self, doing: Doing | None = None) -> None:
        """Say before each call what it is, if somebody wants to know."""
        self.doing = doing
        self._open = False
        self._slots: list[GpuSlot] = []

    @property
    def is_open(self) -> bool:
        """Whether NVML can be asked."""
        return self._open

    def open(self) -> None:
        """Initialise NVML and take a handle of each GPU; a GPU that gives none keeps its slot.

        Raises:
            NvmlUnavailable: there is no driver, or it cannot be used.
        """
        if self._open:
            return
        self._begin("nvmlInit")
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(error_name(error)) from error
        self._open = True
        self._begin("nvmlDeviceGetCount")
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
        self._begin("nvmlShutdown")
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:  # the driver is gone already: there is nothing left to shut down
            return

    def slots(self) -> tuple[GpuSlot, ...]:
        """Return the place of each GPU, after trying again for the handles that are missing."""
        for slot in self._slots:
            if slot.handle is None and self._open:
                self._take_handle(slot)
        return tuple(self._slots)

    def reader(self, slot: GpuSlot) -> Reader:
        """Return a reader of one place; of one without a handle, the reader has found the GPU gone already."""
        reader = Reader(slot.handle, slot.uuid, self.doing)
        if slot.handle is None:
            reader.gone = True
            reader.failures.append(slot.failure or ReadFailure("nvmlInit", "UNINITIALIZED"))
        return reader

    def text(self, call: Callable[[], str]) -> str | None:
        """Return what a system call such as `nvmlSystemGetDriverVersion` says, or None."""
        reader = Reader(None)
        self._begin(call.__name__)
        value = reader.read(lambda _handle: call()) if self._open else None
        return None if value is None else str(value)

    def _take_handle(self, slot: GpuSlot) -> None:
        self._begin("nvmlDeviceGetHandleByIndex", slot.uuid)
        try:
            slot.handle = pynvml.nvmlDeviceGetHandleByIndex(slot.index)
        except pynvml.NVMLError as error:
            slot.failure = ReadFailure("nvmlDeviceGetHandleByIndex", error_name(error))
            return
        slot.failure = None
        uuid = Reader(slot.handle, slot.uuid, self.doing).read(pynvml.nvmlDeviceGetUUID)
        if uuid:
            slot.uuid = uuid

    def _begin(self, call: str, gpu_uuid: str = "") -> None:
        if self.doing is not None:
            self.doing.begin(call, gpu_uuid)
