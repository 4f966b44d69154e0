"""Event sets: `nvmlEventSetCreate`, `nvmlDeviceRegisterEvents`, `nvmlEventSetWait_v2`, `nvmlEventSetFree`."""

import ctypes
import threading
from collections.abc import Callable
from typing import Any, Final

import pynvml

from node_agent.virtual.calls.table import INVALID_ARGUMENT, SUCCESS, target_of, value_of
from node_agent.virtual.device import VirtualGpu
from node_agent.virtual.events import EventHub, EventSet

_TIMEOUT: Final[int] = pynvml.NVML_ERROR_TIMEOUT
_NO_INSTANCE: Final = 0xFFFFFFFF
SUPPORTED_EVENTS: Final[int] = pynvml.nvmlEventTypeXidCriticalError


class EventCalls:
    """The event functions of one library. Any: ctypes arguments, see `calls.table`."""

    def __init__(self, hub: EventHub, handle_of: Callable[[str], int | None]) -> None:
        """`handle_of` returns the device handle of a GPU by UUID."""
        self._hub = hub
        self._handle_of = handle_of
        self._lock = threading.Lock()
        self._sets: dict[int, tuple[EventSet, Any]] = {}

    def create(self, event_set: Any) -> int:
        """Make an event set."""
        memory = ctypes.create_string_buffer(16)  # a handle is an address that stays allocated
        address = ctypes.addressof(memory)
        with self._lock:
            self._sets[address] = (self._hub.create(), memory)
        ctypes.c_void_p.from_buffer(target_of(event_set)).value = address
        return SUCCESS

    def register(self, gpu: VirtualGpu, kinds: Any, event_set: Any) -> int:
        """Ask for events of one GPU."""
        found = self._find(event_set)
        if found is None or value_of(kinds) & ~pynvml.nvmlEventTypeAll:
            return INVALID_ARGUMENT
        if value_of(kinds) & ~SUPPORTED_EVENTS:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._hub.register(found, gpu.uuid, value_of(kinds))
        return SUCCESS

    def wait(self, event_set: Any, data: Any, timeout_milliseconds: Any) -> int:
        """Wait for an event."""
        found = self._find(event_set)
        if found is None:
            return INVALID_ARGUMENT
        event = self._hub.wait(found, value_of(timeout_milliseconds) / 1000)
        if event is None:
            return _TIMEOUT
        target = target_of(data)
        ctypes.c_void_p.from_buffer(target, type(target).device.offset).value = self._handle_of(event.gpu_uuid)
        target.eventType, target.eventData = event.kind, event.data
        target.gpuInstanceId = target.computeInstanceId = _NO_INSTANCE
        return SUCCESS

    def free(self, event_set: Any) -> int:
        """Give up an event set."""
        found = self._find(event_set)
        if found is None:
            return INVALID_ARGUMENT
        with self._lock:
            self._sets = {address: entry for address, entry in self._sets.items() if entry[0] is not found}
        self._hub.free(found)
        return SUCCESS

    def _find(self, event_set: Any) -> EventSet | None:
        try:
            address = ctypes.c_void_p.from_buffer(event_set).value
        except TypeError:  # not a ctypes object at all
            return None
        entry = None if address is None else self._sets.get(address)
        return None if entry is None else entry[0]
