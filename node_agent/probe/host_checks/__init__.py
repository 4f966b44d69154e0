"""What the daemon looks at besides GPUs and the kernel log: disks, memory, services, network ports, the clock."""

from node_agent.probe.host_checks.checks import HostChecks
from node_agent.probe.host_checks.settings import (
    ClockLimits,
    DiskLimits,
    HostCheckSettings,
    MemoryLimits,
    Periods,
)

__all__ = ["ClockLimits", "DiskLimits", "HostCheckSettings", "HostChecks", "MemoryLimits", "Periods"]
