"""A kernel log that only one test's daemon reads, and what that daemon says of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from orquanta.v1 import health_pb2, node_pb2, repair_pb2
from tests.node_agent.daemon_process import DaemonProcess
from tests.node_agent.site import Site

NODE = "n-0123456789ab"


GPUS = ("--virtual-gpus", "2xH100")


FATAL = health_pb2.CONDITION_SEVERITY_FATAL


RAISED, CLEARED = health_pb2.HEALTH_EVENT_KIND_RAISED, health_pb2.HEALTH_EVENT_KIND_CLEARED
SUCCEEDED, REFUSED = repair_pb2.REPAIR_STATE_SUCCEEDED, repair_pb2.REPAIR_STATE_REFUSED


class Kernel:
    """A kernel log that only this test's daemon reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._handle = os.open(path, os.O_RDWR)

    @property
    def settings(self) -> str:
        return f'kernel_log = "{self.path}"\nallow_kmsg_injection = true\n'

    def xid(self, code: int, gpu: node_pb2.GpuInventory, text: str = "GPU has fallen off the bus.") -> None:
        pci = gpu.pci_bus_id[4:] if gpu.pci_bus_id.startswith("0000" + "0000") else gpu.pci_bus_id
        os.write(self._handle, f"NVRM: Xid (PCI:{pci.rpartition('.')[0]}): {code}, pid=0, {text}\n".encode())


async def gpus_of(site: Site, streams: int = 1) -> list[node_pb2.GpuInventory]:
    stream = await site.plane.up(streams)
    assert stream.hello is not None
    return list(stream.hello.inventory.gpus)


def of_kind(site: Site, kind: health_pb2.HealthEventKind.ValueType, words: str) -> list[health_pb2.HealthEvent]:
    return [event for event in site.plane.health_events if event.kind == kind and words in event.condition.id]


def ended(site: Site) -> list[repair_pb2.RepairReport]:
    """The ends of repairs that are in the books."""
    return [record.repair_report for record in site.plane.books if record.HasField("repair_report")]


async def eventually(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait until what another process says is true."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def ready(daemon: DaemonProcess) -> None:
    async def reads() -> bool:
        return bool((await daemon.status())["kernel_log"] == "read")

    await eventually(reads)
