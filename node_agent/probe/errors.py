"""Why a probe cannot do what it is asked."""


class ProbeAway(Exception):
    """The probe cannot be asked now. `error` is why, in the way of NVML's error names."""

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(f"the probe is away ({error}); it is started again by itself")


class GpusHeld(Exception):
    """GPUs cannot be let go of: a killed probe still has them open, because the driver does not let it end."""


class BadVirtualGpus(Exception):
    """The specification of the virtual GPUs cannot be read; the message says why."""
