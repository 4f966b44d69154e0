"""The rungs of the ladder that a host can climb; moving a job is the control plane's."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from node_agent.health.model import Rung
from node_agent.repair.rungs.quarantine import Quarantine
from node_agent.repair.rungs.reboot_host import RebootHost
from node_agent.repair.rungs.reload_driver import ReloadDriver
from node_agent.repair.rungs.reset_gpu import ResetGpu
from node_agent.repair.rungs.restart_service import RestartService
from node_agent.repair.rungs.rung import Conclusion, Precondition, RungWork, Scope
from node_agent.repair.rungs.stop_process import StopProcess
from node_agent.repair.rungs.verify_only import VerifyOnly

RUNGS: Final[Mapping[Rung, RungWork]] = MappingProxyType(
    {
        rung.rung: rung
        for rung in (
            StopProcess(),
            ResetGpu(),
            RestartService(),
            ReloadDriver(),
            RebootHost(),
            Quarantine(),
            VerifyOnly(),
        )
    }
)

__all__ = ["RUNGS", "Conclusion", "Precondition", "RungWork", "Scope"]
