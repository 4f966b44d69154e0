"""The object that takes the place of the loaded C library beneath `pynvml`.

Its attributes are named as the C symbols. pynvml looks them up with `getattr`, passes ctypes arguments and
turns the returned status into its exceptions; a symbol that is not here becomes `NVMLError_FunctionNotFound`,
as with an old driver.
"""

import ctypes
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import pynvml

from node_agent.virtual.calls import GPU_CALLS, MIG_INSTANCE_CALLS, PAIR_CALLS, SYSTEM_CALLS, error_text
from node_agent.virtual.calls.events import SUPPORTED_EVENTS, EventCalls
from node_agent.virtual.calls.gpm import GpmCalls
from node_agent.virtual.calls.table import (
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_SUPPORTED,
    SUCCESS,
    Handler,
    put,
    target_of,
    value_of,
)
from node_agent.virtual.device import MigInstance, VirtualGpu
from node_agent.virtual.host import VirtualHost

_UNINITIALIZED: Final[int] = pynvml.NVML_ERROR_UNINITIALIZED
_HANDLE_BYTES: Final = 16

_LOOKUPS: Final = (
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetHandleBySerial",
)
_MIG_LOOKUP: Final = "nvmlDeviceGetMigDeviceHandleByIndex"
_MIG_PARENT: Final = "nvmlDeviceGetDeviceHandleFromMigDeviceHandle"
_REGISTER_EVENTS: Final = "nvmlDeviceRegisterEvents"
_SUPPORTED_EVENTS: Final = "nvmlDeviceGetSupportedEventTypes"

FAULTABLE_SYMBOLS: Final = frozenset(
    {*GPU_CALLS, *MIG_INSTANCE_CALLS, *PAIR_CALLS, *_LOOKUPS, _MIG_LOOKUP, _MIG_PARENT, _REGISTER_EVENTS}
)
"""The C functions of one GPU, in which a fault can be put."""


class VirtualLibrary:
    """Python callables in the place of `libnvidia-ml.so.1`. Safe to use from any thread, as NVML is."""

    def __init__(self, host: VirtualHost, *, absent_symbols: Collection[str] = ()) -> None:
        """Stand for `host`, without the C functions in `absent_symbols`, which an old driver would lack."""
        self.host = host
        self._lock = threading.Lock()
        self._users = 0
        # A handle is the address of memory that stays allocated, so that a caller that follows it is safe.
        self._memory: list[Any] = []
        # By the bytes of a handle, which are quicker to come by than the address that they are.
        self._targets: dict[bytes, tuple[VirtualGpu, MigInstance | None]] = {}
        self._handles: dict[str, int] = {}
        for gpu in host.gpus:
            self._handle_of(gpu, None)
        self._events = EventCalls(host.events, self._handles.get)
        gpm = GpmCalls()
        functions: dict[str, Callable[..., Any]] = {
            "nvmlInitWithFlags": self._init,
            "nvmlInit_v2": partial(self._init, 0),
            "nvmlShutdown": self._shutdown,
            "nvmlErrorString": lambda status: error_text(value_of(status)),
            "nvmlDeviceGetHandleByIndex_v2": self._by_index,
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
            "nvmlDeviceGetHandleByPciBusId_v2": self._by_pci_bus_id,
            "nvmlDeviceGetHandleBySerial": self._by_serial,
            _MIG_LOOKUP: self._mig_by_index,
            _MIG_PARENT: self._mig_parent,
            "nvmlEventSetCreate": partial(self._if_open, self._events.create),
            "nvmlEventSetWait_v2": partial(self._if_open, self._events.wait),
            "nvmlEventSetFree": partial(self._if_open, self._events.free),
            "nvmlGpmSampleAlloc": partial(self._if_open, gpm.allocate),
            "nvmlGpmSampleFree": partial(self._if_open, gpm.free),
            "nvmlGpmMetricsGet": partial(self._if_open, gpm.metrics),
            _REGISTER_EVENTS: partial(self._events_of, _REGISTER_EVENTS, self._events.register),
            _SUPPORTED_EVENTS: partial(
                self._events_of, _SUPPORTED_EVENTS, lambda _gpu, kinds: put(kinds, SUPPORTED_EVENTS)
            ),
        }
        functions.update({name: partial(self._system, handler) for name, handler in SYSTEM_CALLS.items()})
        functions.update({name: partial(self._pair, name, handler) for name, handler in PAIR_CALLS.items()})
        names = {*GPU_CALLS, *MIG_INSTANCE_CALLS}
        functions.update({name: partial(self._device, name) for name in names})
        for name in functions.keys() - set(absent_symbols):
            # Each name has a partial of its own, because pynvml sets attributes such as restype on it.
            self.__dict__[name] = partial(functions[name])

    @property
    def open(self) -> bool:
        """Whether someone has initialised NVML and not shut it down."""
        return self._users > 0

    def _init(self, _flags: Any) -> int:
        with self._lock:
            self._users += 1
        return SUCCESS

    def _shutdown(self) -> int:
        with self._lock:
            if not self._users:
                return _UNINITIALIZED
            self._users -= 1
        return SUCCESS

    def _system(self, handler: Handler, *arguments: Any) -> int:
        return handler(self.host, *arguments) if self._users else _UNINITIALIZED

    def _if_open(self, function: Callable[..., int], *arguments: Any) -> int:
        return function(*arguments) if self._users else _UNINITIALIZED

    def _events_of(self, symbol: str, handler: Handler, handle: Any, *arguments: Any) -> int:
        if not self._users:
            return _UNINITIALIZED
        target = self._target(handle)
        if target is None or target[1] is not None:
            return INVALID_ARGUMENT
        return target[0].faults.intercept(symbol) or handler(target[0], *arguments)

    def _device(self, symbol: str, handle: Any, *arguments: Any) -> int:
        if not self._users:
            return _UNINITIALIZED
        target = self._target(handle)
        if target is None:
            return INVALID_ARGUMENT
        gpu, instance = target
        status = gpu.faults.intercept(symbol)
        if status != SUCCESS:
            return status
        if instance is None:
            handler = GPU_CALLS.get(symbol)
            return NOT_SUPPORTED if handler is None else handler(gpu, *arguments)
        handler = MIG_INSTANCE_CALLS.get(symbol)
        return NOT_SUPPORTED if handler is None else handler(gpu, instance, *arguments)

    def _pair(self, symbol: str, handler: Handler, first: Any, second: Any, *arguments: Any) -> int:
        if not self._users:
            return _UNINITIALIZED
        one, other = self._target(first), self._target(second)
        if one is None or other is None or one[1] is not None or other[1] is not None:
            return INVALID_ARGUMENT
        status = one[0].faults.intercept(symbol) or other[0].faults.intercept(symbol)
        return status or handler(self.host, one[0], other[0], *arguments)

    def _by_index(self, index: Any, handle: Any) -> int:
        number = value_of(index)
        gpus = self.host.gpus
        found = gpus[number] if 0 <= number < len(gpus) else None
        return self._give("nvmlDeviceGetHandleByIndex_v2", found, handle, otherwise=INVALID_ARGUMENT)

    def _by_uuid(self, uuid: Any, handle: Any) -> int:
        text = (uuid.value or b"").decode(errors="replace")
        for gpu in self.host.gpus:
            for instance in gpu.mig or ():
                if instance.uuid == text:
                    return self._give("nvmlDeviceGetHandleByUUID", gpu, handle, instance=instance)
        found = next((gpu for gpu in self.host.gpus if gpu.uuid == text), None)
        return self._give("nvmlDeviceGetHandleByUUID", found, handle)

    def _by_pci_bus_id(self, bus_id: Any, handle: Any) -> int:
        text = (bus_id.value or b"").decode(errors="replace").upper()
        addresses = ((gpu, gpu.identity.pci) for gpu in self.host.gpus)
        found = next((gpu for gpu, pci in addresses if text in (str(pci), pci.legacy, pci.legacy[5:])), None)
        return self._give("nvmlDeviceGetHandleByPciBusId_v2", found, handle)

    def _by_serial(self, serial: Any, handle: Any) -> int:
        text = (serial.value or b"").decode(errors="replace")
        found = next((gpu for gpu in self.host.gpus if gpu.identity.serial == text), None)
        return self._give("nvmlDeviceGetHandleBySerial", found, handle)

    def _mig_by_index(self, device: Any, index: Any, handle: Any) -> int:
        target = self._target(device)
        if target is None or target[1] is not None:
            return INVALID_ARGUMENT if self._users else _UNINITIALIZED
        gpu = target[0]
        if gpu.mig is None:
            return NOT_SUPPORTED
        number = value_of(index)
        if not 0 <= number < len(gpu.mig):
            return NOT_FOUND
        return self._give(_MIG_LOOKUP, gpu, handle, instance=gpu.mig[number])

    def _mig_parent(self, mig_device: Any, handle: Any) -> int:
        target = self._target(mig_device)
        if target is None or target[1] is None:
            return INVALID_ARGUMENT if self._users else _UNINITIALIZED
        return self._give(_MIG_PARENT, target[0], handle)

    def _give(
        self,
        symbol: str,
        gpu: VirtualGpu | None,
        handle: Any,
        *,
        instance: MigInstance | None = None,
        otherwise: int = NOT_FOUND,
    ) -> int:
        """Store the handle of a GPU or MIG device, unless NVML is closed or a fault is set."""
        if not self._users:
            return _UNINITIALIZED
        if gpu is None:
            return otherwise
        status = gpu.faults.intercept(symbol)
        if status == SUCCESS:
            ctypes.c_void_p.from_buffer(target_of(handle)).value = self._handle_of(gpu, instance)
        return status

    def _handle_of(self, gpu: VirtualGpu, instance: MigInstance | None) -> int:
        key = gpu.uuid if instance is None else instance.uuid
        with self._lock:
            address = self._handles.get(key)
            if address is None:
                memory = ctypes.create_string_buffer(_HANDLE_BYTES)
                address = ctypes.addressof(memory)
                self._memory.append(memory)
                self._handles[key] = address
            self._targets[bytes(ctypes.c_void_p(address))] = (gpu, instance)
            return address

    def _target(self, handle: Any) -> tuple[VirtualGpu, MigInstance | None] | None:
        try:
            return self._targets.get(bytes(memoryview(handle)))
        except TypeError:  # not a ctypes object at all
            return None
