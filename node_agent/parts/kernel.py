"""The kernel log, from where the last daemon left it."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from node_agent.clock import Clock
from node_agent.parts.desk import HealthDesk
from node_agent.probe.kernel.reader import KernelLog, boot_id
from node_agent.probe.observations import KernelReport, XidReport

log = structlog.get_logger()


class KernelWatch:
    """Hands what the kernel prints to the health desk."""

    def __init__(self, path: str, desk: HealthDesk, clock: Clock, *, any_writer: bool = False) -> None:
        """Read nothing if `path` is empty. With `any_writer`, lines that programs wrote count as the kernel's own."""
        self._desk = desk
        self._boot_id = boot_id()
        # Only the kernel's own log has numbers that outlive the daemon.
        kept = path != "" and Path(path).is_char_device()
        after = desk.kernel_position() if kept else None
        self._log = KernelLog(Path(path), clock=clock, after=after, any_writer=any_writer) if path else None
        self._any_writer = any_writer
        self._read = False
        self.last_xids: dict[str, int] = {}
        """The last XID by PCI bus id; at most as many as the host has devices."""

    @property
    def reading(self) -> bool:
        """Whether the kernel log is being read."""
        return self._read

    def use_driver_version(self, version: str) -> None:
        """Take note of the driver's version, by which some XIDs are decoded."""
        if self._log is not None and version:
            self._log.parser.driver_version = version

    async def run(self) -> None:
        """Read until cancelled; returns if there is nothing to be read."""
        if self._log is None:
            return
        if self._any_writer:
            log.warning(
                "kernel_log.any_writer_is_believed",
                effect="whoever can write to the kernel log can have this host drained and repaired",
                remedy="take allow_kmsg_injection out of the settings when the game day is over",
            )
        self._read = True
        try:
            await self._log.run(self._take)
        finally:
            self._read = False
            self._note_position()

    def _note_position(self) -> None:
        if self._log is not None and self._log.position.sequence >= 0:
            self._desk.note_position(self._log.position)

    async def _take(self, reports: Sequence[KernelReport]) -> None:
        for report in reports:
            if isinstance(report, XidReport):
                self.last_xids[report.pci_bus_id] = report.code
        await self._desk.take_kernel(reports, self._boot_id)
