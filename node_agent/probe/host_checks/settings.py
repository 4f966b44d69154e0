"""What the host checks are told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GIBIBYTE: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Periods:
    """How often each check looks, in seconds."""

    ports_seconds: float = 1.0
    port_counters_seconds: float = 10.0
    disks_seconds: float = 10.0
    memory_seconds: float = 5.0
    services_seconds: float = 15.0
    clock_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """When a file system is too full: both the share and the amount must be short.

    Three percent of a large disk are plenty, and one gibibyte of a small one is.
    """

    warning_free_percent: float = 10.0
    warning_free_bytes: int = 20 * GIBIBYTE
    bad_free_percent: float = 3.0
    bad_free_bytes: int = 2 * GIBIBYTE
    warning_inodes_percent: float = 10.0
    warning_inodes: int = 1_000_000
    bad_inodes_percent: float = 3.0
    bad_inodes: int = 100_000


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """When the host is short of memory."""

    warning_available_percent: float = 5.0
    bad_available_percent: float = 2.0
    warning_stalled_percent: float = 10.0
    """Share of the last minute in which all tasks waited for memory (`full` of /proc/pressure/memory)."""
    bad_stalled_percent: float = 40.0


@dataclass(frozen=True, slots=True)
class ClockLimits:
    """When the clock is wrong, in seconds."""

    warning_error_seconds: float = 0.5
    """The kernel's own bound of its error (`maxerror`), which grows while nothing corrects the clock."""
    warning_drift_seconds: float = 1.0
    bad_drift_seconds: float = 30.0
    """The drift against the control plane at which certificates and signed policies are misjudged."""


_SERVICES: Final = ("nvidia-persistenced.service", "nvidia-dcgm.service", "dcgm.service")
FABRIC_MANAGER: Final = "nvidia-fabricmanager.service"


@dataclass(frozen=True, slots=True)
class HostCheckSettings:
    """What to look at. The paths of /proc, /sys and systemd are parameters for the tests' sake."""

    state_dir: Path
    """The daemon's own directory: jobs, logs and the spool are written there, so it must be writable."""
    mount_points: tuple[str, ...] = ("/", "/var", "/tmp")  # noqa: S108 - its space is looked at; nothing is written
    services: tuple[str, ...] = _SERVICES
    """Units that must run if they are installed and enabled."""
    fabric_manager_needed: bool = False
    """True on hosts with NVSwitches: without the fabric manager their GPUs do not reach each other."""
    expected_ports: tuple[str, ...] = ()
    """Ports such as `mlx5_0/1` that must be up; those that were up once are expected without being named."""
    periods: Periods = field(default_factory=Periods)
    disk_limits: DiskLimits = field(default_factory=DiskLimits)
    memory_limits: MemoryLimits = field(default_factory=MemoryLimits)
    clock_limits: ClockLimits = field(default_factory=ClockLimits)
    deadline_seconds: float = 5.0
    """How long a look at a file system or a port may take before it is given up."""
    sys_root: Path = Path("/sys")
    proc_root: Path = Path("/proc")
    systemctl: tuple[str, ...] = ("/usr/bin/systemctl", "/bin/systemctl")
    """Where the program may be; the first that is there is used."""
    systemd_marker: Path = Path("/run/systemd/system")
    """There only if systemd runs this host."""
