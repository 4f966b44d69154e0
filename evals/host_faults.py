"""Hosts that fail: what the kernel prints and what GPUs measure, and which trouble that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_agent.probe.samples import EccCounts, RemappedRows, ThrottleReason

NOISE = (
    "systemd[1]: Started Session 112 of user train.",
    "nvidia-uvm: Loaded the UVM driver, major device number 511.",
    "NVRM: Xid (PCI): 13, pid=4242, name=python3, Graphics SM Warp Exception on (GPC 0, TPC 0, SM 0)",
    "perf: interrupt took too long (2501 > 2500), lowering kernel.perf_event_max_sample_rate to 79750",
    "NVRM: Xid (PCI): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row (0x1) marked for remapping",
)
"""What kernels print all the time, an application's own fault among it."""


@dataclass(frozen=True, slots=True)
class HostFault:
    """A fault, and the kind that must be named for it. `changes` are those of what GPU 0 measures, for `seconds`."""

    id: str
    root: str
    shown_by: str
    lines: tuple[str, ...] = ()
    changes: Mapping[str, object] = field(default_factory=dict)
    seconds: int = 0


def _xid(code: int, text: str, *, pid: bool = False) -> str:
    who = "pid=4242, name=python3" if pid else "pid='<unknown>', name=<unknown>"
    return f"NVRM: Xid (PCI): {code}, {who}, {text}"


FAULTS: tuple[HostFault, ...] = (
    HostFault("host-xid-48", "XID_48", "48", (_xid(48, "DBE (double bit error) ECC Error"),)),
    HostFault(
        "host-xid-79",
        "GPU_LOST_79",
        "79",
        (_xid(79, "GPU has fallen off the bus."), _xid(45, "Ch 00000001", pid=True), _xid(154, "GPU recovery action "
        "changed from 0x0 (None) to 0x2 (Node Reboot Required)")),
    ),
    HostFault("host-xid-94", "XID_94", "94", (_xid(94, "Contained: SM (0x1). RST: No, D-RST: No", pid=True),)),
    HostFault("host-xid-95", "XID_95", "95", (_xid(95, "Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No"),)),
    HostFault("host-xid-119", "XID_119", "119", (_xid(119, "Timeout after 6s of waiting for RPC response from GSP!"),)),
    HostFault("host-row-remap-failed", "XID_64", "64", (_xid(64, "Row Remapper: row remap failure"),)),
    HostFault(
        "host-nvlink",
        "XID_74",
        "74",
        (_xid(74, "NVLink: fatal error detected on link 3(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"),),
    ),
    HostFault(
        "host-thermal", "THERMAL", "", changes={"throttle_reasons": ThrottleReason.HW_THERMAL_SLOWDOWN}, seconds=120
    ),
    HostFault(
        "host-row-remap-pending",
        "ROW_REMAP_PENDING",
        "",
        changes={"remapped_rows": RemappedRows(0, 1, pending=True, failure=False)},
        seconds=30,
    ),
    HostFault("host-ecc", "ECC_UNCORRECTED", "", changes={"ecc": EccCounts(0, 3, 0, 3)}, seconds=30),
)  # fmt: skip
"""The faults; a kind with a code is written with it."""
