"""How often probe processes started and failed."""

from dataclasses import dataclass


@dataclass(slots=True)
class ProbeStats:
    """Counts since the daemon started."""

    starts: int = 0
    stalls: int = 0
    deaths: int = 0
    """Probes that ended by themselves, or were killed by somebody else, or for sending garbage."""
    stuck: int = 0
    """Probes that were given up because the kernel did not let them go."""
