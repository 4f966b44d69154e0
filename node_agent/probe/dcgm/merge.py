"""Fills what NVML did not tell with what DCGM tells, by UUID."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

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
_PARTS: Final = frozenset({"ecc", "pcie"})
"""Parts of a sample that are always there, and are filled by themselves."""
_Sample = TypeVar("_Sample", GpuSample, EccCounts, PcieLink)


def merge(batch: TelemetryBatch, reading: DcgmReading) -> TelemetryBatch:
    """Return the batch with what it lacks filled from the reading. What NVML has is left as it is, never added to.

    A GPU whose NVML calls fail is left alone: DCGM may go on serving the figures of a GPU that is lost, and they would
    hide it. A GPU that only DCGM has is not added: NVML's batch says which GPUs there are.
    """
    if not reading.gpus or abs(batch.sampled_at - reading.scraped_at) > MAXIMUM_AGE:
        return batch
    gpus = tuple(_fill_gpu(sample, reading.gpus.get(sample.uuid)) for sample in batch.gpus)
    return batch if all(new is old for new, old in zip(gpus, batch.gpus, strict=True)) else replace(batch, gpus=gpus)


def _fill_gpu(sample: GpuSample, gpu: DcgmGpu | None) -> GpuSample:
    if gpu is None or sample.error is not None:
        return sample
    dcgm = _Figures(gpu.figures)
    total, used, free = (
        dcgm.whole("DCGM_FI_DEV_FB_TOTAL", _MEBIBYTE),
        dcgm.whole("DCGM_FI_DEV_FB_USED", _MEBIBYTE),
        dcgm.whole("DCGM_FI_DEV_FB_FREE", _MEBIBYTE),
    )
    if total is None and used is not None and free is not None:
        total = used + free
    return _fill(
        sample,
        {
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
            "ecc": _fill(sample.ecc, _ecc(dcgm)),
            "pcie": _fill(sample.pcie, _pcie(dcgm)),
            "remapped_rows": _remapped_rows(dcgm),
            "retired_pages": _retired_pages(dcgm),
        },
    )


def _fill(sample: _Sample, values: Mapping[str, Any]) -> _Sample:
    """Return the sample with its missing fields filled; the sample itself if nothing was missing that is there.

    Any: the values have the types of the fields that they are named after; nested samples are passed filled.
    """
    changes = {}
    for field in fields(sample):
        value, present = values.get(field.name), getattr(sample, field.name)
        if value is not None and (present is None or (field.name in _PARTS and value is not present)):
            changes[field.name] = value
    return replace(sample, **changes) if changes else sample


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
