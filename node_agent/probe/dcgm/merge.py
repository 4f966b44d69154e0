"""Fills what NVML did not tell with what DCGM tells, by UUID."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from node_agent.probe.dcgm.reading import DcgmGpu, DcgmReading
from node_agent.probe.samples import (
    EccCounts,
    GpuSample,
    PcieLink,
    RemappedRows,
    RetiredPages,
    TelemetryBatch,
    ThrottleReason,
)

MAXIMUM_AGE: Final = timedelta(seconds=90)
"""Older readings fill nothing. Exporters collect every 30 s by default."""
_MEBIBYTE: Final = 1024 * 1024


class Filler:
    """Fills samples from one reading, whose figures are put into a sample's terms once and not each second."""

    def __init__(self, reading: DcgmReading) -> None:
        self._scraped_at = reading.scraped_at
        self._values = {uuid: _values_of(gpu) for uuid, gpu in reading.gpus.items()}

    def fill(self, batch: TelemetryBatch) -> TelemetryBatch:
        """Return the batch with what it lacks filled in. What NVML has is left as it is, never added to.

        A GPU whose NVML calls fail is left alone: DCGM may go on serving the figures of a GPU that is lost, and they
        would hide it. A GPU that only DCGM has is not added: NVML's batch says which GPUs there are.
        """
        if not self._values or abs(batch.sampled_at - self._scraped_at) > MAXIMUM_AGE:
            return batch
        gpus = tuple([_fill_gpu(sample, self._values.get(sample.uuid)) for sample in batch.gpus])
        return batch if gpus == batch.gpus else replace(batch, gpus=gpus)


@dataclass(frozen=True, slots=True)
class _Values:
    """What DCGM tells of a GPU, by the names of the fields that it may fill. Any: a value has its field's type."""

    own: Mapping[str, Any]
    ecc: Mapping[str, Any]
    pcie: Mapping[str, Any]


def _values_of(gpu: DcgmGpu) -> _Values:
    dcgm = _Figures(gpu.figures)
    total, used, free = (
        dcgm.whole("DCGM_FI_DEV_FB_TOTAL", _MEBIBYTE),
        dcgm.whole("DCGM_FI_DEV_FB_USED", _MEBIBYTE),
        dcgm.whole("DCGM_FI_DEV_FB_FREE", _MEBIBYTE),
    )
    if total is None and used is not None and free is not None:
        total = used + free
    own = {
        "utilization_percent": dcgm.whole("DCGM_FI_DEV_GPU_UTIL"),
        "memory_utilization_percent": dcgm.whole("DCGM_FI_DEV_MEM_COPY_UTIL"),
        "memory_total_bytes": total,
        "memory_used_bytes": used,
        "power_watts": dcgm.number("DCGM_FI_DEV_POWER_USAGE"),
        "power_limit_watts": dcgm.number("DCGM_FI_DEV_ENFORCED_POWER_LIMIT"),
        "energy_joules": dcgm.number("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1 / 1000),
        "temperature_celsius": dcgm.whole("DCGM_FI_DEV_GPU_TEMP"),
        "memory_temperature_celsius": dcgm.whole("DCGM_FI_DEV_MEMORY_TEMP"),
        "sm_clock_mhz": dcgm.whole("DCGM_FI_DEV_SM_CLOCK"),
        "memory_clock_mhz": dcgm.whole("DCGM_FI_DEV_MEM_CLOCK"),
        "performance_state": dcgm.whole("DCGM_FI_DEV_PSTATE"),
        "throttle_reasons": _throttle_reasons(dcgm),
        "remapped_rows": _remapped_rows(dcgm),
        "retired_pages": _retired_pages(dcgm),
    }
    return _Values(_told(own), _told(_ecc(dcgm)), _told(_pcie(dcgm)))


def _told(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _fill_gpu(sample: GpuSample, values: _Values | None) -> GpuSample:
    if values is None or sample.failures:
        return sample
    changes = _missing(sample, values.own)
    if ecc := _missing(sample.ecc, values.ecc):
        changes["ecc"] = replace(sample.ecc, **ecc)
    if pcie := _missing(sample.pcie, values.pcie):
        changes["pcie"] = replace(sample.pcie, **pcie)
    return replace(sample, **changes) if changes else sample


def _missing(sample: GpuSample | EccCounts | PcieLink, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if getattr(sample, name) is None}


class _Figures:
    def __init__(self, figures: Mapping[str, float]) -> None:
        self._figures = figures

    def number(self, name: str, factor: float = 1.0) -> float | None:
        value = self._figures.get(name)
        return None if value is None or value < 0 else value * factor

    def whole(self, name: str, factor: int = 1) -> int | None:
        value = self._figures.get(name)
        return None if value is None or value < 0 else round(value * factor)


def _throttle_reasons(dcgm: _Figures) -> ThrottleReason | None:
    bits = dcgm.whole("DCGM_FI_DEV_CLOCKS_EVENT_REASONS")
    if bits is None:  # its name before DCGM 3.3
        bits = dcgm.whole("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
    return None if bits is None else ThrottleReason(bits)


def _ecc(dcgm: _Figures) -> Mapping[str, int | None]:
    return {
        "corrected_volatile": dcgm.whole("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"),
        "uncorrected_volatile": dcgm.whole("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"),
        "corrected_aggregate": dcgm.whole("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL"),
        "uncorrected_aggregate": dcgm.whole("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL"),
    }


def _pcie(dcgm: _Figures) -> Mapping[str, int | None]:
    return {
        "generation": dcgm.whole("DCGM_FI_DEV_PCIE_LINK_GEN"),
        "generation_maximum": dcgm.whole("DCGM_FI_DEV_PCIE_MAX_LINK_GEN"),
        "width": dcgm.whole("DCGM_FI_DEV_PCIE_LINK_WIDTH"),
        "width_maximum": dcgm.whole("DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH"),
        "replays": dcgm.whole("DCGM_FI_DEV_PCIE_REPLAY_COUNTER"),
    }


def _remapped_rows(dcgm: _Figures) -> RemappedRows | None:
    correctable = dcgm.whole("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS")
    uncorrectable = dcgm.whole("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS")
    if correctable is None or uncorrectable is None:
        return None
    return RemappedRows(
        correctable=correctable,
        uncorrectable=uncorrectable,
        pending=bool(dcgm.whole("DCGM_FI_DEV_ROW_REMAP_PENDING")),
        failure=bool(dcgm.whole("DCGM_FI_DEV_ROW_REMAP_FAILURE")),
    )


def _retired_pages(dcgm: _Figures) -> RetiredPages | None:
    single_bit, double_bit = dcgm.whole("DCGM_FI_DEV_RETIRED_SBE"), dcgm.whole("DCGM_FI_DEV_RETIRED_DBE")
    if single_bit is None or double_bit is None:
        return None
    pending = bool(dcgm.whole("DCGM_FI_DEV_RETIRED_PENDING"))
    return RetiredPages(single_bit=single_bit, double_bit=double_bit, pending=pending)
