"""The figures by which observations become conditions, each with where it comes from."""

from dataclasses import dataclass, field

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Hold:
    """Hysteresis of a state that can be read at any time: bad for so long raises, good for so long clears."""

    for_seconds: float
    clear_after_seconds: float


@dataclass(frozen=True, slots=True)
class HealthRules:
    """All thresholds. Where no source is named, the figure is this product's own choice and says what it weighs.

    XID rules follow the workflows of NVIDIA's Xid Catalog (docs.nvidia.com/deploy/xid-errors, 2025); memory rules
    NVIDIA's GPU Memory Error Management guide; the PCIe replay rate is the limit of DCGM's passive health check.
    """

    # XIDs ---------------------------------------------------------------------------------------------------------
    consequence_seconds: float = 60.0
    """XID 43, 45 and faults of applications this soon after another XID of the same GPU or process follow from it.
    The driver tears channels down within seconds; a hung process may take the better part of a minute to die."""
    containment_seconds: float = 60.0
    """XID 94 or 95 this close to XID 48 speaks of the same error; both are printed within a second."""
    stated_action_seconds: float = 300.0
    """A driver that states a recovery action this soon after a fault speaks of that fault."""
    all_gpus_seconds: float = 10.0
    """The same fatal XID on nearly all GPUs of a host within this time is one fault of the driver or the host."""
    all_gpus_share: float = 0.75
    all_gpus_minimum: int = 3
    info_clear_seconds: float = 10 * MINUTE
    """A condition that is only worth knowing is over after this silence."""
    warning_clear_seconds: float = HOUR
    """A warning that came as an event, not as a state, is over after this silence."""

    # Faults of applications -----------------------------------------------------------------------------------------
    application_window_seconds: float = DAY
    """Which faults count for telling a bad GPU from a bad program: workflows 13 and 31 ask for several runs."""
    suspect_warning_holders: int = 3
    """Different jobs or processes that faulted on one GPU and on no other, for a warning."""
    suspect_warning_chance: float = 0.02
    """... if blind chance, spread over the host's GPUs, does this less often."""
    suspect_fatal_holders: int = 5
    """Different jobs (or programs, for processes outside jobs), for a test of the GPU under load, which is what the
    vendor's workflows ask for."""
    suspect_fatal_chance: float = 1e-5
    """... if blind chance, over all jobs that ran, does this less often."""
    suspect_alone_holders: int = 8
    """Of a host with one GPU, where nothing can be compared: a warning only."""
    goes_on_count: int = 30
    """Seconds in which one process faulted, within `goes_on_window_seconds`, before stopping it is proposed: after an
    exception its CUDA context is dead, so a process that keeps faulting will not end by itself."""
    goes_on_window_seconds: float = 5 * MINUTE
    goes_on_for_seconds: float = MINUTE

    # Telemetry ------------------------------------------------------------------------------------------------------
    thermal: Hold = field(default=Hold(60.0, 120.0))
    """Slowdown for heat. Boards cross the limit for seconds in normal running; a minute means that cooling fails."""
    power_brake: Hold = field(default=Hold(30.0, 120.0))
    """The power supply asks for less; normal supplies do so for moments only."""
    row_remap: Hold = field(default=Hold(0.0, 0.0))
    """The driver's own flag; there is nothing to smooth."""
    pcie_degraded: Hold = field(default=Hold(60.0, 60.0))
    """Fewer lanes or a lower generation while the GPU works; at idle both fall to save power."""
    pcie_busy_percent: int = 50
    pcie_replays_per_minute: int = 8
    """DCGM's passive check warns above 8 a minute (DCGM_LIMIT_PCI_REPLAY_RATE)."""
    pcie_replays: Hold = field(default=Hold(3 * MINUTE, 10 * MINUTE))
    ecc_corrected_per_window: int = 1000
    """Corrected errors in `rate_window_seconds`: isolated ones are normal, a failing row gives thousands."""
    ecc_corrected: Hold = field(default=Hold(MINUTE, 30 * MINUTE))
    rate_window_seconds: float = 10 * MINUTE
    nvlink_down: Hold = field(default=Hold(30.0, 30.0))
    """Longer than a link trains again after an error that it recovers from, or while its peer is reset."""
    nvlink_errors_per_minute: int = 100
    """Replays, recoveries and CRC errors of one link; a healthy link has none for hours."""
    nvlink_errors: Hold = field(default=Hold(3 * MINUTE, 10 * MINUTE))
    fabric: Hold = field(default=Hold(120.0, 10.0))
    """The fabric manager takes a minute or two to register GPUs after a start."""
    unreadable: Hold = field(default=Hold(MINUTE, MINUTE))
    """Reads of a GPU that fail, though NVML does not call it lost."""
    unreadable_fatal_seconds: float = 5 * MINUTE
    """... all of them, for so long."""
    nvml_gone: Hold = field(default=Hold(2 * MINUTE, 10.0))
    """NVML cannot be opened on a host that has GPUs; a driver that is reloaded is back sooner."""
    memory_held: Hold = field(default=Hold(5 * MINUTE, 30.0))
    memory_held_bytes: int = 4 << 30
    """Memory in use without a process; the driver itself holds up to about 2 GiB."""
    lost_samples: int = 2
    """Samples in a row in which NVML says GPU_IS_LOST."""
    missing_samples: int = 30
    """Samples in a row in which the driver does not list the GPU: a reset takes it away for some seconds."""
    missing_seconds: float = 2 * MINUTE
    """The same of the inventory."""

    # Host -----------------------------------------------------------------------------------------------------------
    service: Hold = field(default=Hold(15.0, 15.0))
    """Longer than systemd needs to restart a service by itself."""
    port: Hold = field(default=Hold(15.0, 60.0))
    clock: Hold = field(default=Hold(60.0, 60.0))
    report: Hold = field(default=Hold(0.0, 30.0))
    """Disks, memory and checks of the operator: the check itself decides what is bad."""
    stall_window_seconds: float = 10 * MINUTE
    stalls_fatal: int = 3
    """Kills of a hung probe within the window, after which the driver is taken to hang."""
    stall: Hold = field(default=Hold(0.0, MINUTE))
    hung_task_window_seconds: float = 10 * MINUTE
    hung_tasks_fatal: int = 2
    """The kernel repeats its report of a hung task every 120 s: the second says that it did not pass."""
    corrected_window_seconds: float = HOUR
    corrected_warning: int = 100
    """Corrected errors of one PCIe device or memory controller within the window, for a warning."""
    uncorrected_window_seconds: float = DAY
    uncorrected_fatal: int = 3
    """Uncorrected memory errors of the host within the window: the kernel survives single ones by giving up a page."""

    # Flapping, repeat offenders, bounds -------------------------------------------------------------------------------
    flap_raises: int = 5
    """Raised more often than this within `flap_window_seconds`: it stays, and a repair is no longer proposed; where one
    was, and the condition is fatal, a person is."""
    flap_window_seconds: float = HOUR
    lemon_repairs: int = 3
    """Repairs of one GPU or host within `lemon_window_seconds`. In published fleets a handful of machines causes most
    exclusions (arXiv 2605.09370, 2410.21680)."""
    lemon_window_seconds: float = 30 * DAY
    told_factor: int = 10
    """An event of a count at 1, then each time it has grown by this factor."""
