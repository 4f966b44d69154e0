"""How long a probe process may take for what it is asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each thing may take, in seconds."""

    sample: float = 10.0
    """An NVML call that takes longer than this hangs in the driver."""
    inventory: float = 60.0
    """Opening the driver takes seconds where it has to initialise each GPU (no persistence mode)."""
    control: float = 15.0
    start: float = 60.0
    """Until a fresh process answers, on a host that is out of memory or processors."""
    bury: float = 5.0
    """Until a killed process is gone; after that it is given up."""
    first_pause: float = 0.5
    longest_pause: float = 30.0
