"""From lines of the kernel log to reports.

Two things span lines: a GPU that is named on one line and has fallen off the bus on a later one, and a hung task
whose stack tells whether it hangs in NVIDIA's driver. Everything else is a matter of one line.
"""

import re
from typing import Final

from node_agent.probe.kernel.faults import Fault, find_fault
from node_agent.probe.kernel.record import without_prefix
from node_agent.probe.kernel.xid import FALLEN, FALLEN_XID, Sxid, Xid, named_gpu, parse_sxid, parse_xid
from node_agent.probe.observations import (
    KernelFault,
    KernelFaultReport,
    KernelLine,
    KernelReport,
    SxidReport,
    XidReport,
)

_MATTERS: Final = re.compile(
    rb"NVRM|SXid|illed process|blocked |soft lockup|EDAC|emory failure|hardware memory error|AER:|PCIe Bus Error|DPC:"
    rb"|nvme|I/O error|error, dev|-fs |XFS \(|BTRFS|ournal|JBD2"
)
_OF_A_PROCESS: Final = re.compile(r".{1,15}\[\d{1,10}\]:")
"""How the kernel begins what it says of a process, such as `python3[77]: segfault at 0 ... in libm.so`: with a name
that anybody can choose, and further on with names of files. Such a line states no fault."""
_MAXIMUM_STACK: Final = 100
"""Lines after that of a hung task that may belong to its stack."""
_NAMED_WITHIN: Final = 8
"""Records between the line that names a GPU and the one that says it has fallen off the bus."""
_REMEMBERED: Final = 512
"""Texts whose meaning is remembered, so that a storm of them costs little."""


def may_matter(message: bytes) -> bool:
    """Return whether a message of the kernel can hold anything to report; cheap, and right if it says no."""
    return _MATTERS.search(message) is not None


class KernelParser:
    """Turns lines into reports. Feed it every line for which `may_matter`, and all lines while `follows`."""

    def __init__(self, driver_version: str = "") -> None:
        self._driver_version = driver_version
        self._remembered: dict[str, Xid | Sxid | None] = {}
        self._named_gpu = ""
        self._named_at = 0
        self._hung: tuple[KernelLine, Fault] | None = None
        self._stack_lines = self._frames = 0

    @property
    def driver_version(self) -> str:
        """The version of NVIDIA's driver, such as "580.65.06"; empty if not known. Decides how XID 144-150 decode."""
        return self._driver_version

    @driver_version.setter
    def driver_version(self, version: str) -> None:
        if version != self._driver_version:
            self._driver_version = version
            self._remembered.clear()

    @property
    def follows(self) -> bool:
        """Whether a report is held back until its next lines are known; `flush` gives it without them."""
        return self._hung is not None

    def feed(self, line: KernelLine, *, continues: bool = False) -> list[KernelReport]:
        """Return what a line, with those before it, reports.

        A line that `continues` a message is not its first. Only the driver's text of a GPU that has fallen off the bus
        has such lines; elsewhere one could be in the name of a file, which anybody can choose.
        """
        reports: list[KernelReport] = []
        if self._hung is not None:
            reports += self._follow(line)
        text = line.text if line.text[:4] == "NVRM" else without_prefix(line.text)
        if _OF_A_PROCESS.match(text):
            return reports
        if continues:
            return reports + (self._fallen(line, text) if self._named_at == line.sequence else [])
        if "Xid" in text or FALLEN in text or "The NVIDIA GPU" in text:
            reports += self._driver(line, text)
        elif (fault := find_fault(text)) is not None:
            if fault.fault is KernelFault.HUNG_TASK:
                reports += self.flush()
                self._hung = (line, fault)
                self._stack_lines = self._frames = 0
            else:
                reports.append(_fault_report(line, fault, in_nvidia=fault.in_nvidia))
        return reports

    def flush(self) -> list[KernelReport]:
        """Return the report that is held back, if any."""
        if self._hung is None:
            return []
        line, fault = self._hung
        self._hung = None
        # Anybody can give a process a driver's name: it counts only where the kernel printed no stack.
        return [_fault_report(line, fault, in_nvidia=fault.in_nvidia and not self._frames)]

    def _follow(self, line: KernelLine) -> list[KernelReport]:
        hung = self._hung
        self._stack_lines += 1
        if hung is not None and "+0x" in line.text:
            self._frames += 1
            if "[nvidia" in line.text:
                self._hung = None
                return [_fault_report(*hung, in_nvidia=True)]
        if "</TASK>" in line.text or self._stack_lines > _MAXIMUM_STACK:
            return self.flush()
        return []

    def _driver(self, line: KernelLine, text: str) -> list[KernelReport]:
        if text in self._remembered:
            found = self._remembered[text]
        else:
            found = parse_xid(text, self._driver_version) or parse_sxid(text)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[text] = found
        if isinstance(found, Xid):
            return [_xid_report(line, found)]
        if isinstance(found, Sxid):
            return [SxidReport(line, found.code, found.pci_bus_id, found.fatal, found.link, found.detail)]
        return self._fallen(line, text)

    def _fallen(self, line: KernelLine, text: str) -> list[KernelReport]:
        named = named_gpu(text)
        if FALLEN not in text:
            if named:
                self._named_gpu, self._named_at = named, line.sequence
            return []
        if not named and text.startswith("NVRM:") and 0 <= line.sequence - self._named_at <= _NAMED_WITHIN:
            named = self._named_gpu
        self._named_gpu = ""
        if not named:
            return []
        return [XidReport(line, FALLEN_XID, named, None, "", "GPU has fallen off the bus", implied=True)]


def _xid_report(line: KernelLine, xid: Xid) -> XidReport:
    return XidReport(
        line, xid.code, xid.pci_bus_id, xid.pid, xid.process_name, xid.detail, xid.stated_action, xid.nvlink
    )


def _fault_report(line: KernelLine, fault: Fault, *, in_nvidia: bool) -> KernelFaultReport:
    return KernelFaultReport(line, fault.fault, fault.subject, fault.corrected, in_nvidia, fault.pid)
