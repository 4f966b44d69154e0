"""Faults for game days: into virtual GPUs and, if the settings allow it, into the kernel log."""

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from node_agent.hardware import Hardware
from node_agent.probe.errors import ProbeAway
from node_agent.settings import Settings
from node_agent.virtual.fault import VirtualFault, VirtualFaultKind
from orquanta.v1 import node_local_pb2

log = structlog.get_logger()

_MAXIMUM_LINE_BYTES: Final = 900  # the kernel takes at most 976 of one write
_MAXIMUM_LINES: Final = 200_000  # of one order; a storm
_LINES_AT_ONCE: Final = 500
_PRIORITY: Final = b"<3>"  # as NVIDIA's driver prints

_KINDS: Final[Mapping[str, VirtualFaultKind]] = {
    **{kind.value: kind for kind in VirtualFaultKind},
    "ecc": VirtualFaultKind.ECC_UNCORRECTED,
    "pcie": VirtualFaultKind.PCIE_WIDTH,
}
_USUAL: Final[Mapping[VirtualFaultKind, int]] = {
    VirtualFaultKind.ECC_CORRECTED: 1,
    VirtualFaultKind.ECC_UNCORRECTED: 1,
    VirtualFaultKind.ROW_REMAP_PENDING: 1,
    VirtualFaultKind.ROW_REMAP_FAILED: 1,
    VirtualFaultKind.HANG: 60,
    VirtualFaultKind.THERMAL: 95,
    VirtualFaultKind.PCIE_WIDTH: 8,
    VirtualFaultKind.PCIE_REPLAYS: 100,
    VirtualFaultKind.NVLINK_ERRORS: 1000,
}
"""What a fault has where no value is given."""


class Injector:
    """Puts faults in."""

    def __init__(self, hardware: Hardware, settings: Settings) -> None:
        self._hardware = hardware
        self._settings = settings

    async def inject(self, fault: node_local_pb2.InjectFaultRequest) -> str:
        """Put a fault in and say what was done.

        Raises:
            ValueError: there is no such fault or GPU, a value is out of range, or not now.
            PermissionError: this daemon takes no such fault.
        """
        if fault.fault == "kmsg":
            return await self._print(fault.text, fault.times or 1)
        if not self._hardware.virtual:
            raise PermissionError(
                "The GPUs of this host are real: faults go into virtual ones only. Start a daemon with "
                "--virtual-gpus 8xH100 for game days."
            )
        uuid = self._uuid(fault.gpu)
        try:
            if fault.fault == "clear":
                await self._hardware.clear_virtual((uuid,) if uuid else ())
                return f"all faults were taken out of {uuid or 'all GPUs'}"
            made = self._fault(fault, uuid)
            await self._hardware.inject(made)
        except ProbeAway as error:
            raise ValueError(
                f"The probe of the virtual GPUs does not answer now ({error.error}); try again."
            ) from error
        log.warning("fault.injected", fault=made.kind.value, gpu=uuid, value=made.value, times=made.times)
        return f"{made.kind.value} with value {made.value}, {made.times} time(s), into {uuid}"

    def _fault(self, fault: node_local_pb2.InjectFaultRequest, uuid: str) -> VirtualFault:
        kind = _KINDS.get(fault.fault)
        if kind is None:
            raise ValueError(
                f"There is no fault {fault.fault[:40]!r}; known are {', '.join(sorted(_KINDS))}, clear, kmsg."
            )
        if not uuid:
            raise ValueError("Say which GPU: its index or its UUID.")
        return VirtualFault(
            kind=kind,
            gpu_uuid=uuid,
            value=fault.value or _USUAL.get(kind, 0),
            times=fault.times or (0 if kind is VirtualFaultKind.HANG else 1),
        )

    def _uuid(self, gpu: str) -> str:
        """Return the UUID of a GPU that is named by index or UUID; empty for none."""
        if not gpu:
            return ""
        found = [known.uuid for known in self._hardware.found.gpus if gpu in (known.uuid, str(known.index))]
        if not found:
            raise ValueError(
                f"This host has no GPU {gpu[:80]!r}; its indexes go from 0 on, `orquanta-node status` lists them."
            )
        return found[0]

    async def _print(self, text: str, times: int) -> str:
        if not self._settings.allow_kmsg_injection:
            raise PermissionError(
                "This daemon puts nothing into the kernel log: set allow_kmsg_injection = true in its settings, or "
                "start it with ORQUANTA_NODE_ALLOW_KMSG_INJECTION=true."
            )
        line = "".join(character for character in text if character.isprintable()).encode()
        if not line or len(line) > _MAXIMUM_LINE_BYTES or times > _MAXIMUM_LINES:
            raise ValueError(
                f"The line must have 1 to {_MAXIMUM_LINE_BYTES} printable bytes, and be put in at most "
                f"{_MAXIMUM_LINES} times."
            )
        path = Path(self._settings.kernel_log or "/dev/kmsg")
        try:
            await _write_lines(path, line, times)
        except OSError as error:
            raise ValueError(f"{path} cannot be written to: {error.strerror}.") from error
        log.warning("fault.printed", line=line.decode()[:200], times=times)
        return f"printed {times} time(s) into {path}"


async def _write_lines(path: Path, line: bytes, times: int) -> None:
    """Write lines some at a time, so that they can be read meanwhile. One write is one record of the kernel log."""
    handle, mode = await asyncio.to_thread(_open, path)
    data = (_PRIORITY if stat.S_ISCHR(mode) else b"") + line + b"\n"
    try:
        for start in range(0, times, _LINES_AT_ONCE):
            await asyncio.to_thread(_write, handle, data, min(_LINES_AT_ONCE, times - start))
    finally:
        os.close(handle)


def _open(path: Path) -> tuple[int, int]:
    """Return a descriptor to write to, and the file's mode. A FIFO is opened so that it needs no reader."""
    mode = path.stat().st_mode
    flags = os.O_RDWR if stat.S_ISFIFO(mode) else os.O_WRONLY | os.O_APPEND
    return os.open(path, flags | os.O_CLOEXEC), mode


def _write(handle: int, data: bytes, times: int) -> None:
    for _ in range(times):
        os.write(handle, data)
