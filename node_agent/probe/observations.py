"""What probes find besides telemetry: lines of the kernel log, the state of the host, probes that hang.

A probe says what it saw, never what it means: that is for `node_agent.health`.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

MAXIMUM_OBSERVATIONS: Final = 1000
"""Observations of the NVML probe that may wait to be taken."""
MAXIMUM_TEXT: Final = 500
"""Characters of a line that are kept; all text here is printable."""


class StatedAction(Enum):
    """The recovery action that a driver states: in XID 154 and, by number, through NVML."""

    NONE = "None"
    GPU_RESET = "GPU Reset Required"
    NODE_REBOOT = "Node Reboot Required"
    DRAIN_P2P = "Drain P2P"
    DRAIN_AND_RESET = "Drain and Reset"
    UNKNOWN = "unknown"
    """Words or a number that this version does not know: a demand for attention."""


@dataclass(frozen=True, slots=True)
class KernelLine:
    """One line of the kernel log."""

    sequence: int
    """The kernel's own number of the record; grows by one."""
    monotonic_seconds: float
    """When it was printed, on CLOCK_MONOTONIC."""
    priority: int
    """0 (emergency) to 7 (debug)."""
    text: str
    """Printable, without the timestamp, at most 2,000 characters."""
    read_at: datetime
    """When the daemon read it; aware, UTC."""


@dataclass(frozen=True, slots=True)
class NvlinkSubcode:
    """The parts of XID 144 to 150: which unit of which link, and what the vendor's table says about it."""

    unit: str
    link: int | None
    injected: bool
    error_status: int
    intrinfo: int
    severity: str
    """As printed: "Fatal", "Nonfatal"; empty if not printed."""
    vendor_action: str
    """The vendor's immediate action for exactly this status and driver generation; empty if not known."""


@dataclass(frozen=True, slots=True)
class XidReport:
    """The driver reported an XID of a GPU. `implied` if it was concluded from "fallen off the bus" without a code."""

    line: KernelLine
    code: int
    pci_bus_id: str
    """Normalised as `0000:03:00.0`: lower case, four digits of domain (more if needed), with function."""
    pid: int | None
    process_name: str
    detail: str
    stated_action: StatedAction | None = None
    nvlink: NvlinkSubcode | None = None
    implied: bool = False


@dataclass(frozen=True, slots=True)
class SxidReport:
    """The NVSwitch driver reported an SXid."""

    line: KernelLine
    code: int
    pci_bus_id: str
    fatal: bool | None
    """As printed; None if the line does not say."""
    link: int | None
    detail: str


class KernelFault(Enum):
    """What else the kernel reports that matters to a GPU host."""

    OOM_KILL = "oom_kill"
    HUNG_TASK = "hung_task"
    """A task hangs in the kernel; `in_nvidia` says whether in NVIDIA's driver."""
    EDAC = "edac"
    PCIE_AER = "pcie_aer"
    NVME = "nvme"
    FILESYSTEM = "filesystem"
    """An I/O error of a file system, or one remounted read-only."""


@dataclass(frozen=True, slots=True)
class KernelFaultReport:
    """A fault of the host that the kernel reported."""

    line: KernelLine
    fault: KernelFault
    subject: str
    """The device, process, memory controller or file system it is about; empty if not named."""
    corrected: bool = False
    """True if the hardware corrected it (AER, EDAC)."""
    in_nvidia: bool = False
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class KernelLoss:
    """Lines of the kernel log were overwritten before they could be read."""

    lines: int
    read_at: datetime


KernelReport = XidReport | SxidReport | KernelFaultReport | KernelLoss


class HostFinding(Enum):
    """What a look at the host can find; each is reported with its present standing, good or bad."""

    DISK_SPACE = "disk_space"
    INODES = "inodes"
    READ_ONLY = "read_only"
    SERVICE = "service"
    """fabric manager, persistenced, dcgm."""
    PORT = "port"
    """An InfiniBand or RoCE port that should be up."""
    PORT_ERRORS = "port_errors"
    CLOCK_DRIFT = "clock_drift"
    MEMORY = "memory"
    CUSTOM = "custom"
    DCGM = "dcgm"
    """The DCGM exporter that is configured cannot be used."""


class Standing(Enum):
    """How something stands."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HostReport:
    """How one thing of the host stands now. The newest report of a (finding, subject) replaces the one before."""

    finding: HostFinding
    subject: str
    """Mount point, service, port such as `mlx5_0/1`, or the name of a custom check."""
    standing: Standing
    text: str
    """Figures for a person."""
    observed_at: datetime
    gpu_uuid: str = ""
    """The GPU that a custom check is about; empty for the host."""


@dataclass(frozen=True, slots=True)
class NvmlXid:
    """NVML told of an XID through its event set. With a kernel log at hand the same XID is in a `XidReport` too."""

    code: int
    gpu_uuid: str
    pci_bus_id: str
    """Normalised as in `XidReport`; empty if the driver did not say."""
    gpu_instance_id: int | None
    """The MIG instance that it struck; None for the whole GPU."""
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class ProbeStall:
    """A probe did not answer within its deadline and was killed (`ended` False), or answers again (`ended` True).

    A probe that dies by itself three times in a row is reported so too; `doing` says what ended it.
    """

    probe: str
    """"nvml" or "dcgm"."""
    seconds: float
    observed_at: datetime
    ended: bool = False
    doing: str = ""
    """The call that hung, if known, such as `nvmlDeviceGetPowerUsage of GPU-...`."""


class ProbeObservations:
    """What the NVML probe observes beside samples, in order, until somebody takes it. For one event loop."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[ProbeStall | NvmlXid] = asyncio.Queue(MAXIMUM_OBSERVATIONS)
        self.lost = 0
        """Observations that were dropped, oldest first, because nobody took them."""

    def put(self, observation: ProbeStall | NvmlXid) -> None:
        """Add an observation."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.lost += 1
        self._waiting.put_nowait(observation)

    async def take(self) -> ProbeStall | NvmlXid:
        """Return the next observation, as soon as there is one."""
        return await self._waiting.get()
