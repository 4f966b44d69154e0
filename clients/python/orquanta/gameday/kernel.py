"""The kernel's side of a game day: lines as drivers print them, written where a host reads its kernel log."""

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from orquanta.types.nodes import GpuInventory

KMSG = Path("/dev/kmsg")
_LOCK = Path("/tmp/orquanta-gameday-kmsg.lock")  # noqa: S108 - guards nothing but the tests of one machine
_CHUNK_BYTES = 32 * 1024
_FULL_PAUSE_SECONDS = 0.001
_LOCK_PAUSE_SECONDS = 0.1


def bus_id(gpu: GpuInventory) -> str:
    """Return a GPU's PCI bus id as the driver prints it, such as `0000:1b:00`."""
    domain, bus, device = gpu.pci_bus_id.lower().split(":")
    return f"{domain[-4:]}:{bus}:{device.partition('.')[0]}"


def xid(gpu: GpuInventory, code: int, text: str, *, pid: int = 0, name: str = "") -> str:
    """Return the line of an XID."""
    process = f"pid={pid}, name={name}" if pid else "pid='<unknown>', name=<unknown>"
    return f"NVRM: Xid (PCI:{bus_id(gpu)}): {code}, {process}, {text}"


async def print_lines(log: Path, lines: Iterable[str]) -> None:
    """Write lines into a kernel log as fast as its reader takes them: the machine's own, or a FIFO."""
    descriptor = _open(log)
    try:
        if log == KMSG:  # the kernel takes one line at a time
            for line in lines:
                os.write(descriptor, f"<3>{line}\n".encode())
            return
        pending = bytearray()
        for line in lines:
            pending += f"{line}\n".encode()
            if len(pending) >= _CHUNK_BYTES:
                await _write(descriptor, pending)
        await _write(descriptor, pending)
    finally:
        os.close(descriptor)


def _open(log: Path) -> int:
    device = stat.S_ISCHR(log.stat().st_mode)
    return os.open(log, os.O_WRONLY if device else os.O_RDWR | os.O_NONBLOCK)  # a FIFO then needs no reader


async def _write(descriptor: int, pending: bytearray) -> None:
    while pending:
        try:
            del pending[: os.write(descriptor, pending)]
        except BlockingIOError:
            await asyncio.sleep(_FULL_PAUSE_SECONDS)


def kmsg_obstacle() -> str:
    """Say why the machine's own kernel log cannot be used; empty if it can."""
    for access, word in ((os.R_OK, "read"), (os.W_OK, "written")):
        if not os.access(KMSG, access):
            return f"{KMSG} cannot be {word} here: it takes root, and in a container the device"
    try:
        os.close(os.open(KMSG, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        return f"{KMSG} cannot be opened: {error.strerror}"
    return ""


@asynccontextmanager
async def kmsg_alone() -> AsyncIterator[None]:
    """Wait until no other game day of this machine uses its kernel log."""
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(lock)
