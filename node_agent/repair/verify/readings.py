"""What readings of GPUs before and after load say. Pure."""

from collections.abc import Sequence
from typing import Final

from node_agent.probe.samples import GpuSample, RecoveryAction, ThrottleReason
from node_agent.repair.model import CheckOutcome
from node_agent.repair.ports import GpuReading, Reading, RepairGpu

Finding = tuple[CheckOutcome, str]

_HELD_BACK: Final = (
    ThrottleReason.HW_SLOWDOWN | ThrottleReason.HW_THERMAL_SLOWDOWN | ThrottleReason.HW_POWER_BRAKE_SLOWDOWN
)
MAXIMUM_REPLAYS: Final = 100
"""PCIe replays during the test; single ones are normal."""
MAXIMUM_LINK_ERRORS: Final = 100
"""NVLink errors of one link during the test; corrected ones in single numbers are normal."""


def nvml_sanity(gpus: Sequence[RepairGpu], reading: Reading) -> Finding:
    """Every GPU answers all calls, and neither the driver nor the memory asks for anything."""
    if not gpus:
        return CheckOutcome.NOT_CHECKED, "the host has no GPUs"
    if reading.nvml_error is not None:
        return CheckOutcome.FAILED, f"NVML does not answer: {reading.nvml_error}"
    troubles = [f"GPU {gpu.identity.index}: {text}" for gpu in gpus for text in _troubles(reading.gpus.get(gpu.uuid))]
    if troubles:
        return CheckOutcome.FAILED, "; ".join(troubles)
    return CheckOutcome.PASSED, f"{len(gpus)} GPUs answer every call; no remap is pending, no recovery is asked for"


def ecc(gpus: Sequence[RepairGpu], before: Reading, after: Reading) -> Finding:
    """No uncorrected memory error came up meanwhile."""
    rising, unknown = [], []
    for gpu in gpus:
        old, new = before.gpus.get(gpu.uuid), after.gpus.get(gpu.uuid)
        first = None if old is None else old.sample.ecc.uncorrected_volatile
        last = None if new is None else new.sample.ecc.uncorrected_volatile
        if first is None or last is None:
            unknown.append(gpu)
        elif last > first:
            rising.append(f"GPU {gpu.identity.index}: {last - first} uncorrected errors under load")
    return _judge(rising, unknown, gpus, "uncorrected errors did not rise", "ECC is off or not readable")


def pcie(gpus: Sequence[RepairGpu], before: Reading, after: Reading) -> Finding:
    """The link has its full width, and replays stayed few."""
    troubles, unknown = [], []
    for gpu in gpus:
        old, new = before.gpus.get(gpu.uuid), after.gpus.get(gpu.uuid)
        if old is None or new is None or new.sample.pcie.width is None or new.sample.pcie.width_maximum is None:
            unknown.append(gpu)
            continue
        link, index = new.sample.pcie, gpu.identity.index
        assert link.width is not None
        assert link.width_maximum is not None
        if link.width < link.width_maximum:
            troubles.append(f"GPU {index}: x{link.width} of x{link.width_maximum}")
        if link.replays is not None and old.sample.pcie.replays is not None:
            risen = link.replays - old.sample.pcie.replays
            if risen > MAXIMUM_REPLAYS:
                troubles.append(f"GPU {index}: {risen} replays under load")
    return _judge(troubles, unknown, gpus, "full width, few replays", "the PCIe link is not readable")


def nvlink(gpus: Sequence[RepairGpu], before: Reading, after: Reading) -> Finding:
    """Every link is up, and errors stayed few."""
    troubles, unknown, links = [], [], 0
    for gpu in gpus:
        old, new = before.gpus.get(gpu.uuid), after.gpus.get(gpu.uuid)
        if old is None or new is None or new.nvlinks is None:
            unknown.append(gpu)
            continue
        links += len(new.nvlinks)
        troubles += _link_troubles(gpu, old, new)
    if not troubles and not unknown and links == 0:
        return CheckOutcome.NOT_CHECKED, "the GPUs have no NVLink"
    return _judge(troubles, unknown, gpus, f"{links} links up, few errors", "NVLink is not readable")


def _link_troubles(gpu: RepairGpu, old: GpuReading, new: GpuReading) -> list[str]:
    errors = {link.link: link.errors for link in old.nvlinks or ()}
    troubles = []
    for link in new.nvlinks or ():
        where = f"GPU {gpu.identity.index} link {link.link}"
        first = errors.get(link.link)
        if not link.active:
            troubles.append(f"{where} is down")
        elif link.errors is not None and first is not None and link.errors - first > MAXIMUM_LINK_ERRORS:
            troubles.append(f"{where}: {link.errors - first} errors under load")
    return troubles


def _judge(
    troubles: list[str], unknown: list[RepairGpu], gpus: Sequence[RepairGpu], good: str, unreadable: str
) -> Finding:
    where = ", ".join(str(gpu.identity.index) for gpu in unknown)
    if troubles:
        return CheckOutcome.FAILED, "; ".join(troubles)
    if len(unknown) == len(gpus):
        return CheckOutcome.NOT_CHECKED, unreadable
    return CheckOutcome.PASSED, good + (f"; not checked on GPU {where}: {unreadable}" if unknown else "")


def _troubles(reading: GpuReading | None) -> list[str]:
    if reading is None:
        return ["NVML does not list it"]
    sample = reading.sample
    troubles = [f"{failure.function}: {failure.error}" for failure in sample.failures[:4]]
    if sample.recovery_action not in (None, RecoveryAction.NONE):
        troubles.append(f"the driver asks for {sample.recovery_action.name}")
    if sample.throttle_reasons is not None and sample.throttle_reasons & _HELD_BACK:
        troubles.append(f"held back by its hardware: {(sample.throttle_reasons & _HELD_BACK).name}")
    return troubles + _memory_troubles(sample)


def _memory_troubles(sample: GpuSample) -> list[str]:
    troubles = []
    if sample.remapped_rows is not None and sample.remapped_rows.failure:
        troubles.append("a row remap failed: no spare row is left")
    if sample.remapped_rows is not None and sample.remapped_rows.pending:
        troubles.append("a row remap is pending")
    if sample.retired_pages is not None and sample.retired_pages.pending:
        troubles.append("a page retirement is pending")
    return troubles
