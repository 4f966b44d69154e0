"""The probe: a process of its own in which all NVML calls are made, because a call that hangs cannot be stopped.

It answers one request of the daemon after the other, tells of XID events by itself, and ends when its daemon does.
It imports as little as it can: a second Python on each GPU host must be small.

    python -c "from node_agent.probe.child import main; main()" '<JSON of ProbeArguments>'
"""

import ctypes
import json
import mmap
import os
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn

from node_agent.probe import lean  # isort: skip - before everything that it keeps out

from node_agent.clock import Clock, SystemClock
from node_agent.memory import give_back_code
from node_agent.probe.child_events import EventWatch
from node_agent.probe.doing import MEMORY_BYTES, Doing, ProbeThread
from node_agent.probe.frames import BadFrame, Frames, encode
from node_agent.probe.gpu_inventory import read_inventory
from node_agent.probe.nvml import Nvml, NvmlUnavailable
from node_agent.probe.telemetry import Telemetry
from node_agent.probe.wire import plain

_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9
_PIECE_BYTES: Final = 64 * 1024
_TRIM_SAMPLES: Final = 60
"""The pages of code that only ran once are given back after the tenth sample, and then after each 60."""
_FIRST_TRIM: Final = 10

assert lean  # its import is all that is needed of it

READY: Final = "ready"
OK: Final = "ok"
FAILED: Final = "failed"
BAD_FAULT: Final = "bad_fault"
BAD_SPEC: Final = "bad_spec"
XID: Final = "xid"
"""What frames of the child say: `[request, word, value]`, where request is 0 for what was not asked."""


class Link:
    """The child's end of the socket to the daemon, used as a plain descriptor: `socket` would cost 0.5 MB."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sending = threading.Lock()

    def receive(self) -> bytes:
        """Return the next piece; empty if the daemon has closed its end."""
        return os.read(self._descriptor, _PIECE_BYTES)

    def send(self, request: int, word: str, value: Any) -> None:
        """Send one frame. Safe from any thread. Any: whatever JSON can hold."""
        frame = memoryview(encode([request, word, value]))
        with self._sending:
            while frame:
                frame = frame[os.write(self._descriptor, frame) :]


class Child:
    """Serves one daemon. Any below: values of JSON frames."""

    def __init__(self, link: Link, memory: mmap.mmap, virtual: dict[str, Any] | None, clock: Clock) -> None:
        self._link = link
        self._doing = Doing(memory, ProbeThread.READING)
        self._nvml = Nvml(self._doing)
        self._telemetry = Telemetry(self._nvml, clock)
        self._watch = EventWatch(self._nvml, Doing(memory, ProbeThread.EVENTS), self._tell_xid)
        self._is_virtual = virtual is not None
        self._samples = 0
        self._operations: dict[str, Callable[..., Any]] = {
            "inventory": self._inventory,
            "sample": self._sample,
            "release": self._release,
        }
        if virtual is not None:
            self._operations |= _virtual_operations(virtual, clock)

    def serve(self) -> None:
        """Answer requests until the daemon closes its end."""
        self._link.send(0, READY, os.getpid())
        frames = Frames()
        while data := self._link.receive():
            for request in frames.feed(data):
                self._answer(*request)

    def _answer(self, request: int, operation: str, arguments: list[Any]) -> None:
        try:
            value = self._operations[operation](*arguments)
        except Exception as error:  # noqa: BLE001 - told to the daemon, which counts it
            word = BAD_FAULT if type(error).__name__ == "BadFault" else FAILED
            self._link.send(request, word, str(error)[:400] if word == BAD_FAULT else repr(error)[:400])
            return
        finally:
            self._doing.end()
        self._link.send(request, OK, value)

    def _inventory(self) -> Any:
        nvml_error = None
        try:
            self._nvml.open()
        except NvmlUnavailable as error:  # the driver may be loaded later
            nvml_error = error.error
        inventory = read_inventory(self._nvml, virtual=self._is_virtual, nvml_error=nvml_error)
        self._watch.follow()
        return plain(inventory)

    def _sample(self, fresh: bool) -> Any:
        reading = self._telemetry.read(fresh=fresh)
        self._watch.follow()
        self._samples += 1
        if self._samples == _FIRST_TRIM or self._samples % _TRIM_SAMPLES == 0:
            give_back_code()
        return plain(reading)

    def _release(self) -> list[str]:
        """Let go of the driver; return the devices that are open all the same."""
        self._watch.stop()
        self._telemetry.forget()
        self._nvml.close()
        return sorted(open_devices())

    def _tell_xid(self, code: int, gpu_uuid: str, pci_bus_id: str, gpu_instance_id: int | None) -> None:
        self._link.send(0, XID, [code, gpu_uuid, pci_bus_id, gpu_instance_id])


def open_devices() -> set[str]:
    """Return the NVIDIA devices that this process has open, such as `/dev/nvidia0`."""
    found: set[str] = set()
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)  # noqa: PTH115 - pathlib would cost 1 MB
        except OSError:  # closed meanwhile
            continue
        if target.startswith("/dev/nvidia"):
            found.add(target)
    return found


def _virtual_operations(virtual: dict[str, Any], clock: Clock) -> dict[str, Callable[..., Any]]:
    # A host with real GPUs does not pay for these modules.
    from node_agent.virtual.board import FaultBoard, fault_of  # noqa: PLC0415 - see above
    from node_agent.virtual.fault import VirtualRepair  # noqa: PLC0415 - see above
    from node_agent.virtual.install import install  # noqa: PLC0415 - see above
    from node_agent.virtual.load import GpuLoad, LoadTable  # noqa: PLC0415 - see above

    load = LoadTable()
    host = install(virtual["spec"], host_identity=virtual["host_identity"], load=load, clock=clock)
    board = FaultBoard(host, virtual["path"])

    def put_load(table: list[list[Any]]) -> None:
        load.replace({uuid: GpuLoad(percent, used, tuple(pids)) for uuid, percent, used, pids in table})

    def repair(rung: int, gpu_uuids: Collection[str]) -> str:
        return board.repair(VirtualRepair(rung), gpu_uuids)

    return {
        "load": put_load,
        "inject": lambda fields: board.inject(fault_of(fields)),
        "repair": repair,
        "clear": board.clear,
        "faults": lambda uuid: [fault.kind.value for fault in board.active(uuid)],
    }


def _die_with(daemon: int) -> None:
    """End when the daemon does, even while a call hangs; at once if it has ended meanwhile."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != daemon:
        os._exit(0)


def main() -> NoReturn:
    """Serve the daemon that started this process; never returns."""
    arguments = json.loads(sys.argv[1])
    _die_with(arguments["daemon"])
    link = Link(arguments["link"])
    memory = mmap.mmap(arguments["memory"], MEMORY_BYTES)
    os.close(arguments["memory"])
    exit_code = 0
    try:
        Child(link, memory, arguments["virtual"], SystemClock()).serve()
    except (OSError, BadFrame):  # the daemon is gone
        exit_code = 1
    except ValueError as error:
        if type(error).__name__ != "BadSpec":
            raise
        link.send(0, BAD_SPEC, str(error))
        exit_code = 2
    os._exit(exit_code)  # threads that wait in the driver do not hold this process up
