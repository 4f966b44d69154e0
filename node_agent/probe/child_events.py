"""NVML's events in a thread of the probe: an XID is told the moment the driver tells it, not at the next sample."""

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from node_agent.probe.doing import Doing
from node_agent.probe.nvml import GpuSlot, Nvml

_WAIT_MILLISECONDS: Final = 500
"""How long the thread waits in the driver, and so how long `stop` may take."""
_AFTER_ERROR_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0
_WHOLE_GPU: Final = 0xFFFFFFFF

Tell = Callable[[int, str, str, int | None], None]
"""Takes the XID, the GPU's UUID, its PCI address and the MIG instance."""


class EventsHang(Exception):
    """The thread that waits for events does not come back from the driver."""


@dataclass(frozen=True, slots=True)
class _Watched:
    """A GPU whose events are waited for."""

    uuid: str
    pci_bus_id: str


class EventWatch:
    """Waits for XID events of all GPUs. Its methods are for one thread; `tell` is called in another."""

    def __init__(self, nvml: Nvml, doing: Doing, tell: Tell) -> None:
        self._nvml = nvml
        self._doing = doing
        self._tell = tell
        self._handles: dict[str, int | None] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._set: Any = None  # an opaque handle of pynvml, which ships no types

    def follow(self) -> None:
        """Watch the GPUs that can be reached now; to be called whenever that may have changed."""
        reachable = [slot for slot in self._nvml.slots() if slot.handle is not None] if self._nvml.is_open else []
        handles = {slot.uuid: address_of(slot.handle) for slot in reachable}
        if handles == self._handles:
            return
        self.stop()
        self._handles = handles
        if reachable:
            self._start(reachable)

    def stop(self) -> None:
        """Stop waiting and give the event set back. Raises EventsHang if the driver does not let go."""
        self._handles = {}
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            raise EventsHang("the wait for NVML events does not end")
        self._thread = None
        try:
            pynvml.nvmlEventSetFree(self._set)
        except pynvml.NVMLError:  # the driver is gone, and the set with it
            return

    def _start(self, slots: list[GpuSlot]) -> None:
        watched: dict[int | None, _Watched] = {}
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:  # a driver or a container without events: the kernel log tells of XIDs too
            return
        for slot in slots:
            reader = self._nvml.reader(slot)
            # Refused by MIG devices, vGPUs and drivers that have no events: then there is nothing to wait for.
            reader.read(pynvml.nvmlDeviceRegisterEvents, pynvml.nvmlEventTypeXidCriticalError, self._set)
            if not reader.failures:
                pci = reader.read(pynvml.nvmlDeviceGetPciInfo)
                watched[address_of(slot.handle)] = _Watched(slot.uuid, "" if pci is None else normal_bus_id(pci.busId))
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._wait, args=(self._set, watched, self._stopping), name="events", daemon=True
        )
        self._thread.start()

    def _wait(self, event_set: Any, watched: dict[int | None, _Watched], stopping: threading.Event) -> None:
        while not stopping.is_set():
            self._doing.begin("nvmlEventSetWait_v2")
            try:
                event = pynvml.nvmlEventSetWait_v2(event_set, _WAIT_MILLISECONDS)
            except pynvml.NVMLError as error:
                if error.value != pynvml.NVML_ERROR_TIMEOUT:
                    stopping.wait(_AFTER_ERROR_SECONDS)  # a lost GPU makes it return at once, again and again
                continue
            finally:
                self._doing.end()
            if event.eventType & pynvml.nvmlEventTypeXidCriticalError:
                gpu = watched.get(address_of(event.device), _Watched("", ""))
                instance = None if event.gpuInstanceId == _WHOLE_GPU else int(event.gpuInstanceId)
                try:
                    self._tell(int(event.eventData), gpu.uuid, gpu.pci_bus_id, instance)
                except OSError:  # the daemon is gone, and this process ends with it
                    return


def address_of(handle: Any) -> int | None:
    """Return what tells one device handle from another."""
    return ctypes.cast(handle, ctypes.c_void_p).value


def normal_bus_id(text: str | bytes) -> str:
    """Return a PCI address as the kernel writes it: `0000:1b:00.0` from NVML's `00000000:1B:00.0`."""
    address = (text.decode(errors="replace") if isinstance(text, bytes) else text).lower()
    domain, _, rest = address.partition(":")
    return f"{domain.lstrip('0').zfill(4)}:{rest}" if rest else address
