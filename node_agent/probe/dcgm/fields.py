"""DCGM's fields that are read, and the values with which DCGM says that it has none.

Names and units: DCGM's field identifiers and dcgm-exporter's default counters. Blank values: dcgm_structs.h.
"""

from typing import Final

OF_AN_INSTANCE: Final = frozenset(
    {
        "DCGM_FI_DEV_FB_FREE",
        "DCGM_FI_DEV_FB_TOTAL",
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_GPU_UTIL",
        "DCGM_FI_DEV_MEM_COPY_UTIL",
    }
)
"""Fields that, on a series of a MIG instance, are the instance's own. The others are the whole GPU's, repeated."""

OF_A_GPU: Final = OF_AN_INSTANCE | {
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_MEMORY_TEMP",
    "DCGM_FI_DEV_MEM_CLOCK",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_PCIE_LINK_GEN",
    "DCGM_FI_DEV_PCIE_LINK_WIDTH",
    "DCGM_FI_DEV_PCIE_MAX_LINK_GEN",
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_PSTATE",
    "DCGM_FI_DEV_RETIRED_DBE",
    "DCGM_FI_DEV_RETIRED_PENDING",
    "DCGM_FI_DEV_RETIRED_SBE",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE",
    "DCGM_FI_DEV_ROW_REMAP_PENDING",
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
    # Shows that the GPU is there, nothing else: this XID is up to half a minute late and has no time, so that one which
    # a repair has dealt with would look like another. The kernel's log and NVML's events tell of XIDs.
    "DCGM_FI_DEV_XID_ERRORS",
}
"""Fields whose values are kept, by GPU and, for series of a link, by link."""

_BLANKS_32: Final = range(0x7FFFFFF0, 0x80000000)
_BLANKS_64: Final = range(0x7FFFFFFFFFFFFFF0, 0x8000000000000000)
_BLANKS_FLOAT: Final = (2.0**47, 2.0**47 + 15)
_ROUNDED_BLANK_64: Final = 2.0**63
"""What remains of a 64-bit blank once it was printed as a float."""


def is_blank(value: float) -> bool:
    """Whether a value is one of those by which DCGM says "none", "not found", "not supported" or "not permitted"."""
    if isinstance(value, int):
        return value in _BLANKS_32 or value in _BLANKS_64 or _BLANKS_FLOAT[0] <= value <= _BLANKS_FLOAT[1]
    whole = value.is_integer()
    in_32 = whole and int(value) in _BLANKS_32
    return in_32 or value == _ROUNDED_BLANK_64 or (whole and _BLANKS_FLOAT[0] <= value <= _BLANKS_FLOAT[1])


def _fields_by_name() -> dict[bytes, str]:
    lengthened = {f"{name}_total".encode(): name for name in OF_A_GPU}
    return lengthened | {name.encode(): name for name in OF_A_GPU}


FIELDS_BY_NAME: Final = _fields_by_name()
"""DCGM's own name by the name of a series.

Collectors on the way append `_total` to every counter, also to those that end in `_TOTAL` already.
"""
