"""Faults for game days: what is put into a virtual GPU, and which repair takes it away again."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final


class VirtualFaultKind(Enum):
    """What goes wrong. `value` of the fault means what is said here."""

    XID = "xid"
    """An XID event; `value` is its code. It is told `times` times and leaves nothing to be cured."""
    ECC_CORRECTED = "ecc_corrected"
    """`value` corrected memory errors, `times` times over."""
    ECC_UNCORRECTED = "ecc_uncorrected"
    """`value` uncorrected memory errors, `times` times over."""
    ROW_REMAP_PENDING = "row_remap_pending"
    """`value` rows wait for a reset to be remapped."""
    ROW_REMAP_FAILED = "row_remap_failed"
    """`value` rows could not be remapped: no spare is left in a bank."""
    GPU_LOST = "gpu_lost"
    """Every call says that the GPU is lost. It comes back with a reset; if `value` is 2 it takes a driver reload, if
    3 a reboot."""
    HANG = "hang"
    """A call blocks for `value` seconds, the next `times` times, or with 0 until it is cured."""
    THERMAL = "thermal"
    """The GPU is at `value` degrees Celsius and throttles accordingly."""
    NVLINK_DOWN = "nvlink_down"
    """The link number `value` is down."""
    NVLINK_ERRORS = "nvlink_errors"
    """`value` errors, `times` times over, on the link number `link`."""
    PCIE_WIDTH = "pcie_width"
    """The PCIe link has trained with `value` lanes only."""
    PCIE_REPLAYS = "pcie_replays"
    """`value` PCIe replays, `times` times over."""
    RECOVERY_ACTION = "recovery_action"
    """The driver states the recovery action with NVML's number `value`; what it asks for cures it."""


class VirtualRepair(IntEnum):
    """What is done to virtual GPUs; a later one does all that the earlier ones do."""

    GPU_RESET = 1
    DRIVER_RELOAD = 2
    REBOOT = 3
    NONE = 9
    """Of a fault: nothing cures it."""


class BadFault(ValueError):
    """The fault cannot be put into this GPU; the message says why and what to write."""


DEFAULT_CALL: Final = "nvmlDeviceGetPowerUsage"
"""The C function that hangs if none is named: it is called for each sample."""

_CURED_BY: Final = MappingProxyType(
    {
        VirtualFaultKind.XID: VirtualRepair.GPU_RESET,
        VirtualFaultKind.ECC_CORRECTED: VirtualRepair.GPU_RESET,
        VirtualFaultKind.ECC_UNCORRECTED: VirtualRepair.GPU_RESET,
        VirtualFaultKind.ROW_REMAP_PENDING: VirtualRepair.GPU_RESET,
        VirtualFaultKind.ROW_REMAP_FAILED: VirtualRepair.NONE,
        VirtualFaultKind.HANG: VirtualRepair.DRIVER_RELOAD,
        VirtualFaultKind.THERMAL: VirtualRepair.GPU_RESET,
        VirtualFaultKind.NVLINK_DOWN: VirtualRepair.GPU_RESET,
        VirtualFaultKind.NVLINK_ERRORS: VirtualRepair.GPU_RESET,
        VirtualFaultKind.PCIE_WIDTH: VirtualRepair.REBOOT,
        VirtualFaultKind.PCIE_REPLAYS: VirtualRepair.GPU_RESET,
    }
)
_RECOVERIES: Final = MappingProxyType({2: VirtualRepair.REBOOT})  # NVML's number of "node reboot"

_BOUNDS: Final = MappingProxyType(
    {
        VirtualFaultKind.XID: (1, 65_535),
        VirtualFaultKind.ECC_CORRECTED: (1, 1_000_000_000),
        VirtualFaultKind.ECC_UNCORRECTED: (1, 1_000_000_000),
        VirtualFaultKind.ROW_REMAP_PENDING: (1, 512),
        VirtualFaultKind.ROW_REMAP_FAILED: (1, 512),
        VirtualFaultKind.GPU_LOST: (0, 3),
        VirtualFaultKind.HANG: (1, 86_400),
        VirtualFaultKind.THERMAL: (0, 150),
        VirtualFaultKind.NVLINK_DOWN: (0, 35),
        VirtualFaultKind.NVLINK_ERRORS: (1, 1_000_000_000),
        VirtualFaultKind.PCIE_WIDTH: (1, 16),
        VirtualFaultKind.PCIE_REPLAYS: (1, 1_000_000_000),
        VirtualFaultKind.RECOVERY_ACTION: (1, 255),
    }
)
_MAXIMUM_TIMES: Final = 1000
_MAXIMUM_LINK: Final = 35


@dataclass(frozen=True, slots=True)
class VirtualFault:
    """One fault of one virtual GPU."""

    kind: VirtualFaultKind
    gpu_uuid: str
    value: int = 0
    times: int = 1
    link: int = 0
    """The NVLink of NVLINK_ERRORS."""
    call: str = DEFAULT_CALL
    """The C function of HANG."""
    cured_by: VirtualRepair | None = None
    """The least repair that cures it; None for what is usual for its kind."""

    @property
    def cure(self) -> VirtualRepair:
        """The least repair that cures it."""
        if self.cured_by is not None:
            return self.cured_by
        if self.kind is VirtualFaultKind.GPU_LOST:
            return VirtualRepair(max(1, self.value))
        if self.kind is VirtualFaultKind.RECOVERY_ACTION:
            return _RECOVERIES.get(self.value, VirtualRepair.GPU_RESET)
        return _CURED_BY[self.kind]

    def check(self) -> None:
        """Raise BadFault for what no virtual GPU can have."""
        least, most = _BOUNDS[self.kind]
        if not least <= self.value <= most:
            raise BadFault(f"the value of {self.kind.value} goes from {least} to {most}, not {self.value}")
        if not (0 if self.kind is VirtualFaultKind.HANG else 1) <= self.times <= _MAXIMUM_TIMES:
            raise BadFault(f"times goes from 1 to {_MAXIMUM_TIMES}, not {self.times}")
        if not 0 <= self.link <= _MAXIMUM_LINK:
            raise BadFault(f"link goes from 0 to {_MAXIMUM_LINK}, not {self.link}")
        if self.kind is VirtualFaultKind.PCIE_WIDTH and self.value & (self.value - 1):
            raise BadFault(f"a PCIe link has 1, 2, 4, 8 or 16 lanes, not {self.value}")
