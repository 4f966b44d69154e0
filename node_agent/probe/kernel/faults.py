"""Faults of the host that the kernel itself prints: memory, buses, disks, file systems, hung tasks.

The texts are those of Linux 3.10 to 6.x: mm/oom_kill.c, kernel/hung_task.c, kernel/watchdog.c, drivers/edac,
drivers/pci/pcie/aer.c and dpc.c, drivers/nvme/host, block/blk-core.c, fs/ext4, fs/xfs, fs/btrfs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node_agent.probe.observations import KernelFault

_BUS_ID = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]"

_OOM: Final = re.compile(
    r"(?:(?:Memory cgroup )?[Oo]ut of memory[^:]{0,60}: )?Killed process (\d{1,10}),? \((.{0,64}?)\)(?![^\s,])"
)
_HUNG: Final = re.compile(r"INFO: task (.{1,64}):(\d{1,10}) blocked (?:for more than|in I/O wait for more than) \d")
_LOCKUP: Final = re.compile(r".{0,40}BUG: soft lockup - CPU#\d{1,5} stuck for \d{1,9}s! \[(.{1,64}):(\d{1,10})\]")
_EDAC: Final = re.compile(r"EDAC (?:\w{1,20} )?(MC\d{1,4}): (?:\d{1,10} )?(CE|UE)\b")
_MCE: Final = re.compile(r"(?:mce: )?(?:Uncorrected hardware memory error|Memory failure: 0x[0-9a-f]{1,16}: )")
_AER: Final = re.compile(rf"[\w-]{{1,40}} ({_BUS_ID}): (?:AER: )?PCIe Bus Error: severity=(\w{{1,20}})")
_AER_RECEIVED: Final = re.compile(
    rf"[\w-]{{1,40}} {_BUS_ID}: AER: (?:Multiple )?(Correct|Uncorrect)\w{{2,4}}(?: \([\w-]{{1,20}}\))? "
    rf"error (?:message )?received(?: from|:) ({_BUS_ID})"
)
_DPC: Final = re.compile(rf"[\w-]{{1,40}} ({_BUS_ID}): DPC: containment event")
_NVME: Final = re.compile(
    r"nvme (nvme\d{1,4}): (?:.{0,60}\btimeout\b|controller is down|Device not ready|Device shutdown incomplete"
    r"|Removing after probe failure|Disabling device after reset failure|.{0,20}\bfrozen state error)"
)
_NVME_BLOCK: Final = re.compile(r"(nvme\d{1,4}(?:c\d{1,4})?n\d{1,4}): .{0,80}I/O Error")
_DISK: Final = re.compile(
    r"(?:blk_update_request: |print_req_error: |end_request: )?"
    r"(?:I/O error|critical (?:target|medium|nexus|space allocation) error), dev ([\w-]{1,40})"
)
_BUFFER: Final = re.compile(r"Buffer I/O error on (?:dev|device) ([\w-]{1,40})")
_EXT: Final = re.compile(r"EXT[234]-fs( error| warning)? \((?:device )?([\w.-]{1,60})\): (.{0,120})")
_EXT_HARM: Final = re.compile(r"[Rr]emounting filesystem read-only|I/O error|[Aa]borting|[Dd]etected aborted journal")
_XFS: Final = re.compile(r"XFS \(([\w.-]{1,60})\): (.{0,160})")
_XFS_HARM: Final = re.compile(
    r"[Ii]/?O error|[Mm]etadata (?:I/O error|corruption)|[Cc]orruption|[Ss]hutting down|shut down|log error"
)
_BTRFS: Final = re.compile(r"BTRFS[: ]{1,2}(error|critical|info) \(device ([\w.-]{1,60})[^)]{0,40}\)(.{0,160})")
_JOURNAL: Final = re.compile(
    r"(?:JBD2: Error -?\d{1,4} detected .{0,80} for |Aborting journal on device )([\w-]{1,60})"
)
_DRIVER_TASK: Final = ("nvidia", "nv_", "nv-", "UVM ")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as a line states it."""

    fault: KernelFault
    subject: str
    corrected: bool = False
    in_nvidia: bool = False
    pid: int | None = None


def find_fault(text: str) -> Fault | None:
    """Return the fault of the host that a line states, or None."""
    for mark, parse in _PARSERS:
        if mark in text:
            fault = parse(text)
            if fault is not None:
                return fault
    return None


def is_driver_task(name: str) -> bool:
    """Return whether a task's name shows that it is one of NVIDIA's own."""
    return name.startswith(_DRIVER_TASK) or (name.startswith("irq/") and "nvidia" in name)


def _oom(text: str) -> Fault | None:
    match = _OOM.match(text)
    return Fault(KernelFault.OOM_KILL, match[2], pid=int(match[1])) if match else None


def _hung(text: str) -> Fault | None:
    match = _HUNG.match(text) or _LOCKUP.match(text)
    if match is None:
        return None
    return Fault(KernelFault.HUNG_TASK, match[1], in_nvidia=is_driver_task(match[1]), pid=int(match[2]))


def _edac(text: str) -> Fault | None:
    match = _EDAC.match(text)
    return Fault(KernelFault.EDAC, match[1], corrected=match[2] == "CE") if match else None


def _memory_failure(text: str) -> Fault | None:
    return Fault(KernelFault.EDAC, "memory") if _MCE.match(text) else None


def _aer(text: str) -> Fault | None:
    if match := _AER.match(text):
        return Fault(KernelFault.PCIE_AER, match[1], corrected=match[2].startswith("Correct"))
    if match := _AER_RECEIVED.match(text):
        return Fault(KernelFault.PCIE_AER, match[2], corrected=match[1] == "Correct")
    return None


def _dpc(text: str) -> Fault | None:
    match = _DPC.match(text)
    return Fault(KernelFault.PCIE_AER, match[1]) if match else None


def _nvme(text: str) -> Fault | None:
    match = _NVME.match(text) or _NVME_BLOCK.match(text)
    return Fault(KernelFault.NVME, match[1]) if match else None


def _disk(text: str) -> Fault | None:
    match = _DISK.match(text) or _BUFFER.match(text)
    if match is None:
        return None
    kind = KernelFault.NVME if match[1].startswith("nvme") else KernelFault.FILESYSTEM
    return Fault(kind, match[1])


def _ext(text: str) -> Fault | None:
    match = _EXT.match(text)
    if match is None or (match[1] != " error" and not _EXT_HARM.search(match[3])):
        return None
    return Fault(KernelFault.FILESYSTEM, match[2])


def _xfs(text: str) -> Fault | None:
    match = _XFS.match(text)
    return Fault(KernelFault.FILESYSTEM, match[1]) if match and _XFS_HARM.search(match[2]) else None


def _btrfs(text: str) -> Fault | None:
    match = _BTRFS.match(text)
    if match is None or (match[1] == "info" and "forced readonly" not in match[3]):
        return None
    return Fault(KernelFault.FILESYSTEM, match[2])


def _journal(text: str) -> Fault | None:
    match = _JOURNAL.match(text)
    return Fault(KernelFault.FILESYSTEM, match[1]) if match else None


_PARSERS: Final[tuple[tuple[str, Callable[[str], Fault | None]], ...]] = (
    ("Killed process", _oom),
    ("blocked ", _hung),
    ("soft lockup", _hung),
    ("EDAC", _edac),
    ("emory failure", _memory_failure),
    ("hardware memory error", _memory_failure),
    ("PCIe Bus Error", _aer),
    ("AER:", _aer),
    ("DPC:", _dpc),
    ("nvme", _nvme),
    ("error, dev ", _disk),
    ("Buffer I/O error", _disk),
    ("EXT", _ext),
    ("XFS (", _xfs),
    ("BTRFS", _btrfs),
    ("ournal", _journal),
    ("JBD2", _journal),
)
