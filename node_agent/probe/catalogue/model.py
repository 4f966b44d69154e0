"""An entry of the catalogue."""

from dataclasses import dataclass
from datetime import date
from enum import Enum


class VendorAction(Enum):
    """The vendor's immediate action, in the vendor's own words."""

    NOT_STATED = ""
    """The vendor's catalogue has no immediate action for this code."""
    IGNORE = "IGNORE"
    RESTART_APP = "RESTART_APP"
    RESTART_VM = "RESTART_VM"
    RESTART_BM = "RESTART_BM"
    """Restart the bare metal: reboot the host."""
    RESET_GPU = "RESET_GPU"
    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    CHECK_MECHANICALS = "CHECK_MECHANICALS"
    CHECK_UVM = "CHECK_UVM"
    """RESET_GPU where unified memory or virtual GPUs are in use, otherwise IGNORE."""
    UPDATE_SWFW = "UPDATE_SWFW"
    WORKFLOW_XID_45 = "WORKFLOW_XID_45"
    """IGNORE after another XID; alone, restart the fabric manager."""
    WORKFLOW_XID_48 = "WORKFLOW_XID_48"
    """RESET_GPU; together with 63 or 64, drain first."""
    WORKFLOW_NVLINK_ERR = "WORKFLOW_NVLINK_ERR"
    """Depends on the registers that the line of an XID 74 shows."""
    WORKFLOW_NVLINK5_ERR = "WORKFLOW_NVLINK5_ERR"
    """Depends on the codes in the line; see `node_agent.probe.catalogue.nvlink`."""
    XID_154 = "XID_154"
    """Do what the line states."""
    XID_154_EVAL = "XID_154_EVAL"
    """Do what an accompanying XID 154 states; without one, RESTART_APP."""


class CatalogueSeverity(Enum):
    """How bad a code is in itself, by this project's own judgement; what comes with it may change that."""

    INFO = "info"
    """An application's own fault, or nothing to act on: the device is as good as before."""
    WARNING = "warning"
    """The device works but deserves attention."""
    FATAL = "fatal"
    """The device cannot be trusted with work until it is repaired."""


@dataclass(frozen=True, slots=True)
class XidEntry:
    """What is known of one XID. Compare `immediate_action` with the driver's stated action, which wins."""

    code: int
    name: str
    """The vendor's mnemonic."""
    meaning: str
    severity: CatalogueSeverity
    immediate_action: VendorAction
    investigatory_action: str
    """What the vendor suggests to find the cause, in the vendor's words; empty if it says nothing."""
    source: str
    dated: date
    """The date of the source."""


@dataclass(frozen=True, slots=True)
class SxidEntry:
    """What is known of one SXid.

    The vendor's guide to SXids writes sentences where its catalogue of XIDs has fixed words; `immediate_action` is the
    word that says the same. If the line itself says fatal or not, the line wins over `severity`.
    """

    code: int
    name: str
    """The driver's mnemonic, without its prefix."""
    meaning: str
    severity: CatalogueSeverity
    immediate_action: VendorAction
    source: str
    dated: date
    """The date of the source."""
