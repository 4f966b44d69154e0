"""From the words of the vendor and the driver to severities and rungs: the one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from node_agent.health.model import Rung, Severity
from node_agent.probe.observations import StatedAction
from node_agent.probe.samples import RecoveryAction

FABRIC_MANAGER: Final = "nvidia-fabricmanager.service"
"""The systemd unit that sets up NVSwitches."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an action asks for. A warning with a repair can wait until the GPU is free; a fatal one cannot."""

    severity: Severity
    rung: Rung | None = None
    sticky: bool = False
    service: str = ""
    whole_host: bool = False
    """True if the repair is of all GPUs together, because they share a fabric."""


INFORM: Final = Decision(Severity.INFO)
WARN: Final = Decision(Severity.WARNING)
RESET: Final = Decision(Severity.FATAL, Rung.RESET_GPU, sticky=True)
REBOOT: Final = Decision(Severity.FATAL, Rung.REBOOT_HOST, sticky=True)
HAND_OVER: Final = Decision(Severity.FATAL, Rung.QUARANTINE, sticky=True)
RESET_FABRIC: Final = Decision(Severity.FATAL, Rung.RESET_GPU, sticky=True, whole_host=True)
RESTART_FABRIC_MANAGER: Final = Decision(
    Severity.FATAL, Rung.RESTART_SERVICE, sticky=True, service=FABRIC_MANAGER, whole_host=True
)

_VENDOR_ACTIONS: Final[Mapping[str, Decision]] = MappingProxyType(
    {
        # Nothing to repair. An application that faults is restarted by whoever runs it; STOP_PROCESS follows only if
        # it goes on (`applications`).
        "IGNORE": INFORM,
        "NONE": INFORM,
        "RESTART_APP": INFORM,
        "CHECK_APP": INFORM,
        "CHECK_APP/CUDA": INFORM,
        "WORKFLOW_XID_13": INFORM,
        "WORKFLOW_XID_31": INFORM,
        "WORKFLOW_XID_45": INFORM,
        "XID_137_FLOW": INFORM,
        "SYMPATHETIC_REPORT_SOLO": INFORM,
        "IGNORE (SYMPATHETIC)": INFORM,
        # The driver's statement follows in XID 154; without one, the vendor says to restart the application.
        "XID_154": INFORM,
        "XID_154_EVAL": INFORM,
        # Someone should look, the GPU serves.
        "REPORT_ISSUE": WARN,
        "UPDATE_SWFW": WARN,
        "CHECK_THERMALS": WARN,
        "CHECK_FM_CONFIG": WARN,
        "CHECK_LINK_MECHANICAL_CONNECTIONS": WARN,
        "CHECK_NVLINK_FAILURE_FLOW": WARN,
        "INVESTIGATE_SW": WARN,
        "INVESTIGATE_SW_USER": WARN,
        "INVESTIGATE_SW_USER_LINK_SI": WARN,
        "INVESTIGATE_LINK_SI": WARN,
        "INVESTIGATE_LINK_SI_AND_CABLES": WARN,
        "INVESTIGATE_PEER_DEVICE": WARN,
        "INVESTIGATE_HOST": WARN,
        "WORKFLOW_NVLINK_POTENTIALLY_FATAL_ERR": WARN,
        # With XID 63 or 64 the vendor says drain first, which every reset does.
        "RESET_GPU": RESET,
        "WORKFLOW_XID_48": RESET,
        "DRAIN_AND_RESET": RESET,
        # Judged by the registers or the sub-code of the line (`nvlink`); by these words alone, a reset is needed.
        "WORKFLOW_NVLINK_ERR": RESET,
        "WORKFLOW_NVLINK5_ERR": RESET,
        # CUDA on a GPU in use goes through unified memory, for which the vendor says to reset; see `xids`.
        "CHECK_UVM": RESET,
        "RESET_FABRIC": RESET_FABRIC,
        "RESET_ALL_GPUS_AND_NVSWITCHES": RESET_FABRIC,
        "RESTART_FM": RESTART_FABRIC_MANAGER,
        "RESTART_BM": REBOOT,
        "NODE_REBOOT": REBOOT,
        # The driver that printed it runs in the machine that owns the GPU: this one.
        "RESTART_VM": REBOOT,
        # No rung of ours mends these.
        "CONTACT_SUPPORT": HAND_OVER,
        "CHECK_MECHANICALS": HAND_OVER,
        "RUN_FIELDDIAG": HAND_OVER,
        "RUN_DCGMEUD": HAND_OVER,
        "COMPONENT_REPLACEMENT": HAND_OVER,
    }
)

APPLICATION_ACTIONS: Final = frozenset(
    {"RESTART_APP", "CHECK_APP", "CHECK_APP/CUDA", "WORKFLOW_XID_13", "WORKFLOW_XID_31"}
)
"""Actions by which the vendor says that an application is at fault."""

_STATED: Final[Mapping[StatedAction, Decision]] = MappingProxyType(
    {
        StatedAction.GPU_RESET: RESET,
        StatedAction.DRAIN_AND_RESET: RESET,
        StatedAction.NODE_REBOOT: REBOOT,
        # Its peers must let go of it first; the driver then asks for a reset or is content.
        StatedAction.DRAIN_P2P: Decision(Severity.FATAL, Rung.MOVE_JOB, sticky=True),
        StatedAction.UNKNOWN: HAND_OVER,
    }
)

_RECOVERY: Final[Mapping[RecoveryAction, StatedAction]] = MappingProxyType(
    {
        RecoveryAction.NONE: StatedAction.NONE,
        RecoveryAction.GPU_RESET: StatedAction.GPU_RESET,
        RecoveryAction.NODE_REBOOT: StatedAction.NODE_REBOOT,
        RecoveryAction.DRAIN_P2P: StatedAction.DRAIN_P2P,
        RecoveryAction.DRAIN_AND_RESET: StatedAction.DRAIN_AND_RESET,
        RecoveryAction.UNKNOWN: StatedAction.UNKNOWN,
    }
)

_CURES: Final[Mapping[Rung, frozenset[Rung]]] = MappingProxyType(
    {
        Rung.STOP_PROCESS: frozenset({Rung.STOP_PROCESS}),
        Rung.MOVE_JOB: frozenset({Rung.MOVE_JOB}),
        Rung.RESET_GPU: frozenset({Rung.STOP_PROCESS, Rung.MOVE_JOB, Rung.RESET_GPU}),
        Rung.RESTART_SERVICE: frozenset({Rung.RESTART_SERVICE}),
        Rung.RELOAD_DRIVER: frozenset({Rung.STOP_PROCESS, Rung.MOVE_JOB, Rung.RESET_GPU, Rung.RELOAD_DRIVER}),
        Rung.REBOOT_HOST: frozenset(
            {
                Rung.STOP_PROCESS,
                Rung.MOVE_JOB,
                Rung.RESET_GPU,
                Rung.RESTART_SERVICE,
                Rung.RELOAD_DRIVER,
                Rung.REBOOT_HOST,
            }
        ),
        Rung.QUARANTINE: frozenset(),
        Rung.VERIFY: frozenset({Rung.VERIFY}),
    }
)


def decide(vendor_action: str) -> Decision:
    """Return what the vendor's word asks for; a word that is not known is a warning, so that it is seen."""
    return _VENDOR_ACTIONS.get(vendor_action.strip().upper(), WARN)


def decide_stated(action: StatedAction) -> Decision | None:
    """Return what a driver's stated recovery action asks for; None if it asks for nothing."""
    return _STATED.get(action)


def stated(action: RecoveryAction) -> StatedAction:
    """Return NVML's number of a recovery action as the words of XID 154."""
    return _RECOVERY[action]


def cures(done: Rung, asked: Rung) -> bool:
    """Return whether a verified repair `done` ends a condition that asked for the repair `asked`."""
    return asked in _CURES[done]
