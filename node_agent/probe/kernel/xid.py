"""Lines of NVIDIA's drivers: XIDs of GPUs, SXids of NVSwitches, and GPUs that fell off the bus.

Forms, from the open driver (krcReportXid, osHandleGpuLost, rm_is_supported_device, NVSWITCH_PRINT_SXID):
`NVRM: Xid (PCI:0000:01:00 GPU-I:05 GPU-CI:02): 13, pid=7, name=x, ...`; before 2013 without `PCI:`; before R440
without `pid=`; `name=` since R470.
"""

import re
from dataclasses import dataclass
from typing import Final

from node_agent.probe.catalogue.nvlink import NVLINK_XIDS, find_nvlink_action
from node_agent.probe.kernel.pci import normalise_pci_bus_id
from node_agent.probe.observations import MAXIMUM_TEXT, NvlinkSubcode, StatedAction

FALLEN_XID: Final = 79
RECOVERY_ACTION_XID: Final = 154
FALLEN: Final = "fallen off the bus"
_MAXIMUM_NAME: Final = 64

_XID: Final = re.compile(
    r"NVRM:\s{0,16}Xid\s{0,2}\((?:PCI:)?([0-9A-Fa-f:.]{4,20})(?:\s[^()]{0,80})?\)\s{0,2}:\s{0,16}(\d{1,6})(?!\w)[,.:]?"
)
_SXID: Final = re.compile(
    r"(?:nvidia-nvswitch\d{0,4}:\s{0,16}|NVRM:\s{0,16})?"
    r"SXid\s{0,2}\((?:PCI:)?([0-9A-Fa-f:.]{4,20})(?:\s[^()]{0,80})?\)\s{0,2}:\s{0,16}(\d{1,6})(?!\w)[,.:]?"
)
_GPU: Final = re.compile(
    r"NVRM:\s{0,16}(?:The NVIDIA )?GPU\s{1,4}(?:at\s{1,4})?(?:PCI:)?"
    r"((?:[0-9A-Fa-f]{1,8}:)?[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,2}(?:\.[0-9A-Fa-f])?)(?![0-9A-Za-z])"
)
_NVLINK: Final = re.compile(
    r"(\w{1,40}(?:/\w{1,40}){0,3}(?: Degraded)?)\s{1,8}(Non-?fatal|(?:Link )?Fatal)\s{1,8}"
    r"(?:XC\d{1,3}\s{1,8})?(?:i(\d{1,3})\s{1,8})?Link\s{1,8}(-?\d{1,4})\s{1,8}"
    r"\((0x[0-9A-Fa-f]{1,8})[\s,]{1,8}(0x[0-9A-Fa-f]{1,8})"
)
_STATED: Final = re.compile(r"\bto\s{1,4}0x([0-9A-Fa-f]{1,8})\s{0,4}(?:\(([^()]{0,60})\))?")
_SWITCH_LINK: Final = re.compile(r"\bLink (\d{1,4})\b")
_SWITCH_SEVERITY: Final = re.compile(r"Severity (\d{1,3})\b")

_STATED_WORDS: Final = {action.value.lower(): action for action in StatedAction}
_STATED_NUMBERS: Final = {
    0: StatedAction.NONE,
    1: StatedAction.GPU_RESET,
    2: StatedAction.NODE_REBOOT,
    3: StatedAction.DRAIN_P2P,
    4: StatedAction.DRAIN_AND_RESET,
}


@dataclass(frozen=True, slots=True)
class Xid:
    """An XID as a line states it."""

    code: int
    pci_bus_id: str
    pid: int | None
    process_name: str
    detail: str
    stated_action: StatedAction | None
    nvlink: NvlinkSubcode | None


@dataclass(frozen=True, slots=True)
class Sxid:
    """An SXid as a line states it."""

    code: int
    pci_bus_id: str
    fatal: bool | None
    link: int | None
    detail: str


def parse_xid(text: str, driver_version: str) -> Xid | None:
    """Return the XID that a line states; None if it states none with a GPU and a number."""
    match = _XID.match(text)
    if match is None:
        return None
    pci_bus_id = normalise_pci_bus_id(match[1])
    if not pci_bus_id:
        return None
    code = int(match[2])
    pid, name, detail = _process(text[match.end() :].strip())
    return Xid(
        code=code,
        pci_bus_id=pci_bus_id,
        pid=pid,
        process_name=name,
        detail=detail[:MAXIMUM_TEXT],
        stated_action=parse_stated_action(detail) if code == RECOVERY_ACTION_XID else None,
        nvlink=_nvlink(code, detail, driver_version) if code in NVLINK_XIDS else None,
    )


def parse_sxid(text: str) -> Sxid | None:
    """Return the SXid that a line states; None if it states none with a switch and a number."""
    match = _SXID.match(text)
    if match is None:
        return None
    pci_bus_id = normalise_pci_bus_id(match[1])
    if not pci_bus_id:
        return None
    detail = text[match.end() :].strip()
    link = _SWITCH_LINK.search(detail)
    return Sxid(
        code=int(match[2]),
        pci_bus_id=pci_bus_id,
        fatal=_is_fatal(detail),
        link=int(link[1]) if link else None,
        detail=detail[:MAXIMUM_TEXT],
    )


def named_gpu(text: str) -> str:
    """Return the bus id of the GPU that a line of the driver is about; empty if it names none."""
    match = _GPU.match(text)
    return normalise_pci_bus_id(match[1]) if match else ""


def parse_stated_action(detail: str) -> StatedAction:
    """Return the recovery action that the text of an XID 154 arrives at; its words win over its number."""
    match = _STATED.search(detail)
    if match is None:
        return StatedAction.UNKNOWN
    words = (match[2] or "").strip().lower()
    if words:
        return _STATED_WORDS.get(words, StatedAction.UNKNOWN)
    return _STATED_NUMBERS.get(int(match[1], 16), StatedAction.UNKNOWN)


def _process(rest: str) -> tuple[int | None, str, str]:
    """Split `pid=7, name=x, what happened`; both may be missing or unknown, and a name may hold anything but `, `."""
    pid, name = None, ""
    if rest.startswith("pid="):
        printed, _, rest = rest.partition(",")
        digits = printed[4:].strip(" '")
        pid = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 10 else None  # noqa: PLR2004
        rest = rest.lstrip()
    if rest.startswith("name="):
        printed, _, rest = rest.partition(", ")
        name = printed[5:].strip(" '").rstrip(",")[:_MAXIMUM_NAME]
        name = "" if name == "<unknown>" else name
    return pid, name, rest.strip()


def _nvlink(code: int, detail: str, driver_version: str) -> NvlinkSubcode | None:
    match = _NVLINK.match(detail)
    if match is None:
        return None
    unit, severity, injected, link, intrinfo, status = match.groups()
    action = find_nvlink_action(code, unit, int(intrinfo, 16), int(status, 16), driver_version)
    return NvlinkSubcode(
        unit=unit,
        link=int(link) if int(link) >= 0 else None,
        injected=bool(injected and int(injected)),
        error_status=int(status, 16),
        intrinfo=int(intrinfo, 16),
        severity=severity,
        vendor_action=action.value if action else "",
    )


def _is_fatal(detail: str) -> bool | None:
    words = detail[:20].lower()
    if words.startswith("fatal"):
        return True
    if words.startswith(("non-fatal", "nonfatal", "correctable")):
        return False
    # The driver's dump of an error says 0 for not fatal and 1 for fatal (NVSWITCH_ERROR_SEVERITY_TYPE).
    match = _SWITCH_SEVERITY.match(detail)
    return int(match[1]) == 1 if match else None
